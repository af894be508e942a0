//! How the inventory reacts to the orders service: pure, in any order, with any number of redeliveries.

use super::{Command, StockLine};
use crate::{
    orders::{OrderLine, Published},
    planted::Bug,
};

pub(super) fn react(event: &Published) -> Option<Command> {
    match event {
        Published::Created(e) => {
            let line = |line: &OrderLine| StockLine { sku: line.sku.clone(), quantity: line.quantity };
            let n_lines = if Bug::ReserveFirstLine.is_loose() { 1 } else { e.lines.len() };
            let lines = e.lines.iter().take(n_lines).map(line).collect();
            Some(Command::ReserveForOrder { order_id: e.order_id, lines })
        }
        Published::Cancelled(e) => Some(Command::CancelForOrder { order_id: e.order_id }),
        Published::Fulfilled(e) => Some(Command::CommitForOrder { order_id: e.order_id, lines: e.lines.clone() }),
        Published::Confirmed(_) | Published::Rejected(_) => None,
    }
}

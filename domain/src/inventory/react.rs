//! How the inventory answers the orders service: pure, in any order, as often as it comes.

use super::Command;
use crate::{
    planted::{self, Bug},
    public::{Public, StockLine},
};

/// The command by which the inventory answers `event`.
pub(super) fn react(event: &Public) -> Option<Command> {
    match event {
        Public::OrderCreated(e) => {
            let line = |line: &crate::public::OrderLine| StockLine { sku: line.sku.clone(), quantity: line.quantity };
            let n_lines = if planted::has(Bug::ReserveFirstLine) { 1 } else { e.lines.len() };
            let lines = e.lines.iter().take(n_lines).map(line).collect();
            Some(Command::ReserveForOrder { order_id: e.order_id, lines })
        }
        Public::OrderCancelled(e) => Some(Command::CancelForOrder { order_id: e.order_id }),
        Public::OrderFulfilled(e) => Some(Command::CommitForOrder { order_id: e.order_id, lines: e.lines.clone() }),
        Public::CustomerCreated(_)
        | Public::CustomerUpdated(_)
        | Public::OrderConfirmed(_)
        | Public::OrderRejected(_)
        | Public::OrderPaid(_)
        | Public::PaymentRefunded(_)
        | Public::StockUpdated(_)
        | Public::LowStock(_)
        | Public::StockReserved(_)
        | Public::StockRejected(_) => None,
    }
}

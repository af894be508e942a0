//! How the inventory answers the orders service: pure, in any order, as often as it comes.

use super::Command;
use crate::public::{Public, StockLine};

/// The command by which the inventory answers `event`.
pub(super) fn react(event: &Public) -> Option<Command> {
    match event {
        Public::OrderCreated(e) => {
            let line = |line: &crate::public::OrderLine| StockLine { sku: line.sku.clone(), quantity: line.quantity };
            Some(Command::ReserveForOrder { order_id: e.order_id, lines: e.lines.iter().map(line).collect() })
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

//! What the customers service tells others. It listens to nobody.

use crate::public::{CustomerChanged, Public};

use super::events::{CustomerFacts, Event};

/// What others are told of `event`: nothing personal, since a topic can't forget.
pub(super) fn publish(event: &Event) -> Vec<Public> {
    match event {
        Event::CustomerCreated(created) => vec![Public::CustomerCreated(changed(&created.customer))],
        Event::CustomerUpdated(updated) => vec![Public::CustomerUpdated(changed(&updated.customer))],
        Event::CustomerDeactivated(deactivated) => vec![Public::CustomerUpdated(changed(&deactivated.customer))],
        Event::CustomerUnchanged(_) | Event::CustomerEmailKeyClaimed(_) => Vec::new(),
    }
}

const fn changed(customer: &CustomerFacts) -> CustomerChanged {
    CustomerChanged { customer_id: customer.customer_id, active: customer.active, version: customer.version }
}

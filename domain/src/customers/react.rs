//! What the customers service publishes. It reacts to no other service.

use super::{
    events::{CustomerFacts, Event},
    public::{CustomerChanged, Published},
};

/// The public events that follow from `event`. They contain no personal data, since a topic can't forget.
pub(super) fn publish(event: &Event) -> Vec<Published> {
    match event {
        Event::CustomerCreated(created) => vec![Published::Created(changed(&created.customer))],
        Event::CustomerUpdated(updated) => vec![Published::Updated(changed(&updated.customer))],
        Event::CustomerDeactivated(deactivated) => vec![Published::Updated(changed(&deactivated.customer))],
        Event::CustomerUnchanged(_) | Event::CustomerEmailKeyClaimed(_) => Vec::new(),
    }
}

const fn changed(customer: &CustomerFacts) -> CustomerChanged {
    CustomerChanged { customer_id: customer.customer_id, active: customer.active, version: customer.version }
}

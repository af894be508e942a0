//! The order: placed, then confirmed once its stock is set aside, then paid.

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, EventEnvelope, View, event_sink::EventSink};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A line of an order.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Line {
    pub sku: String,
    pub quantity: i64,
    pub unit_price: i64,
}

/// An order as it is told: the aggregate and the read model alike.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Order {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    pub state: String,
    pub payment: String,
    pub currency: String,
    pub total: i64,
    pub paid: i64,
    pub lines: Vec<Line>,
    pub version: u64,
    pub created_at: DateTime<Utc>,
}

pub enum OrderCommand {
    Place(Order),
    Confirm,
    Reject,
    Pay { amount: i64 },
}

/// Events carry results, so that applying one twice is the same as once.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum OrderEvent {
    Placed {
        order_id: Uuid,
        customer_id: Uuid,
        currency: String,
        total: i64,
        lines: Vec<Line>,
        created_at: DateTime<Utc>,
    },
    Confirmed,
    Rejected,
    PaymentReceived {
        paid: i64,
    },
}

impl DomainEvent for OrderEvent {
    fn event_type(&self) -> String {
        let name = match self {
            Self::Placed { .. } => "OrderPlaced",
            Self::Confirmed => "OrderConfirmed",
            Self::Rejected => "OrderRejected",
            Self::PaymentReceived { .. } => "PaymentReceived",
        };
        name.to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("there is no such order")]
    Unknown,
    #[error("that is more than is open")]
    Overpaid,
}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = OrderError;
    type Services = ();

    async fn handle(&mut self, command: OrderCommand, (): &(), sink: &EventSink<Self>) -> Result<(), OrderError> {
        let event = match command {
            OrderCommand::Place(Order { order_id, customer_id, currency, total, lines, created_at, .. }) => {
                OrderEvent::Placed { order_id, customer_id, currency, total, lines, created_at }
            }
            OrderCommand::Confirm => OrderEvent::Confirmed,
            OrderCommand::Reject => OrderEvent::Rejected,
            OrderCommand::Pay { .. } if self.version == 0 => return Err(OrderError::Unknown),
            OrderCommand::Pay { amount } if self.paid + amount > self.total => return Err(OrderError::Overpaid),
            OrderCommand::Pay { amount } => OrderEvent::PaymentReceived { paid: self.paid + amount },
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: OrderEvent) {
        self.version += 1;
        match event {
            OrderEvent::Placed { order_id, customer_id, currency, total, lines, created_at } => {
                let (state, payment) = ("placed".to_owned(), "unpaid".to_owned());
                *self = Self {
                    order_id,
                    customer_id,
                    state,
                    payment,
                    currency,
                    total,
                    paid: 0,
                    lines,
                    version: self.version,
                    created_at,
                };
            }
            OrderEvent::Confirmed => "confirmed".clone_into(&mut self.state),
            OrderEvent::Rejected => "rejected".clone_into(&mut self.state),
            OrderEvent::PaymentReceived { paid } => {
                self.paid = paid;
                if paid == self.total {
                    "paid".clone_into(&mut self.payment);
                }
            }
        }
    }
}

impl View<Order> for Order {
    fn update(&mut self, event: &EventEnvelope<Order>) {
        self.apply(event.payload.clone());
    }
}

//! The stock of one SKU.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use serde::{Deserialize, Serialize};

/// How much there is, and how much of it is set aside.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Stock {
    on_hand: i64,
    reserved: i64,
}

#[derive(Clone, Copy)]
pub enum StockCommand {
    Receive { quantity: i64 },
    Reserve { quantity: i64 },
    Release { quantity: i64 },
}

/// Events carry results: cqrs-es applies an event twice before it writes a snapshot.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum StockEvent {
    Received { on_hand: i64 },
    Reserved { reserved: i64 },
}

impl DomainEvent for StockEvent {
    fn event_type(&self) -> String {
        let name = match self {
            Self::Received { .. } => "StockReceived",
            Self::Reserved { .. } => "StockReserved",
        };
        name.to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there is not enough stock")]
pub struct NotEnough;

impl Aggregate for Stock {
    const TYPE: &'static str = "stock";
    type Command = StockCommand;
    type Event = StockEvent;
    type Error = NotEnough;
    type Services = ();

    async fn handle(&mut self, command: StockCommand, (): &(), sink: &EventSink<Self>) -> Result<(), NotEnough> {
        let event = match command {
            StockCommand::Receive { quantity } => StockEvent::Received { on_hand: self.on_hand + quantity },
            StockCommand::Reserve { quantity } if self.on_hand - self.reserved < quantity => return Err(NotEnough),
            StockCommand::Reserve { quantity } => StockEvent::Reserved { reserved: self.reserved + quantity },
            StockCommand::Release { quantity } => StockEvent::Reserved { reserved: self.reserved - quantity },
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: StockEvent) {
        match event {
            StockEvent::Received { on_hand } => self.on_hand = on_hand,
            StockEvent::Reserved { reserved } => self.reserved = reserved,
        }
    }
}

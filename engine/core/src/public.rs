//! Public events: what services publish to each other and the world, as CloudEvents, one topic per type.
//!
//! A service declares its own with [`public_events!`](crate::public_events) and those it consumes with
//! [`heard!`](crate::heard).
//!
//! ## Storage format: names, fields and topics are a contract
//! Public topics are kept forever and read by programs we do not know. Fields may be added, but never renamed, removed or
//! given another meaning. They carry no personal data, since a topic can't forget.

use std::fmt::Debug;

use uuid::Uuid;

use crate::{decoding::DecodeError, schema::TopicContract};

/// The CloudEvents attributes of an event, apart from its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `ce_id`. Derived from the journal record, so every copy of the event has the same id.
    pub id: Uuid,
    /// `ce_time`, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// `ce_correlationid`: the first event of the causal chain.
    pub correlation: Uuid,
    /// `ce_causationid`: the event that caused this one. `None` if a person did.
    pub cause: Option<Uuid>,
    /// `ce_traceparent`, W3C Trace Context.
    pub trace: Option<String>,
}

/// A public topic, which is also the CloudEvents type of its events, and the journal of the service that publishes it.
pub type Topic = (&'static str, &'static str);

/// The services of a program: for each, its journal (also its name) and its topics.
pub type Services = [(&'static str, &'static [Topic])];

/// The public events that a service publishes or consumes.
pub trait PublicEvent: Clone + Debug + PartialEq + Send + Sync + Sized + 'static {
    /// Every topic of these events.
    const TOPICS: &'static [Topic];

    /// The topic, which is also the CloudEvents type.
    fn topic(&self) -> &'static str;

    /// The id of the event's subject: the CloudEvents subject, and the key of the log record.
    fn subject(&self) -> String;

    /// The subject's version: the CloudEvents sequence.
    fn version(&self) -> u64;

    fn to_json(&self) -> Vec<u8>;

    /// Decodes an event of `topic`.
    ///
    /// # Errors
    /// [`PublicError`] if the topic is unknown or `json` is not an event of it.
    fn from_json(topic: &str, json: &[u8]) -> Result<Self, PublicError>;

    /// The contract of each topic, for the publisher's document.
    fn contracts() -> Vec<TopicContract> {
        Vec::new()
    }
}

/// Why bytes are not a public event.
#[derive(Debug, thiserror::Error)]
pub enum PublicError {
    #[error("no event is published on topic {0}")]
    UnknownTopic(String),
    #[error("not an event of topic {topic}")]
    Undecodable {
        topic: &'static str,
        /// What is wrong with the JSON.
        #[source]
        source: DecodeError,
    },
}

/// The public events of a service that publishes or consumes none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nothing {}

impl PublicEvent for Nothing {
    const TOPICS: &'static [Topic] = &[];

    fn topic(&self) -> &'static str {
        match *self {}
    }

    fn subject(&self) -> String {
        match *self {}
    }

    fn version(&self) -> u64 {
        match *self {}
    }

    fn to_json(&self) -> Vec<u8> {
        match *self {}
    }

    fn from_json(topic: &str, _: &[u8]) -> Result<Self, PublicError> {
        Err(PublicError::UnknownTopic(topic.to_owned()))
    }
}

/// Declares the public events of a journal's service: for each its payload, its topic, and the payload field that
/// identifies the subject. Every payload has a `version`, that of the subject, and a [`Schema`](crate::schema::Schema). The documentation of an
/// event is part of the published contract.
///
/// ```ignore
/// orderlog_core::public_events! {
///     /// The public events of the lending service.
///     pub enum Published by Lending::JOURNAL {
///         /// A book was lent.
///         BookLent(BookLent) = "book.lent", book_id;
///     }
/// }
/// ```
#[macro_export]
macro_rules! public_events {
    (
        $(#[$doc:meta])* $visibility:vis enum $name:ident by $journal:path {
            $($(#[doc = $event_doc:literal])+ $variant:ident($event:ty) = $topic:literal, $subject:ident;)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[doc = $event_doc])+ $variant($event),)+
        }

        impl $crate::public::PublicEvent for $name {
            const TOPICS: &'static [$crate::public::Topic] =
                &[$(($topic, $journal)),+];

            fn topic(&self) -> &'static str {
                match self { $(Self::$variant(_) => $topic,)+ }
            }

            fn subject(&self) -> String {
                match self { $(Self::$variant(event) => event.$subject.to_string(),)+ }
            }

            fn version(&self) -> u64 {
                match self { $(Self::$variant(event) => event.version,)+ }
            }

            fn to_json(&self) -> Vec<u8> {
                match self { $(Self::$variant(event) => $crate::public::json_of(event),)+ }
            }

            fn from_json(topic: &str, json: &[u8]) -> Result<Self, $crate::public::PublicError> {
                match topic {
                    $($topic => $crate::public::payload($topic, json).map(Self::$variant),)+
                    other => Err($crate::public::PublicError::UnknownTopic(other.to_owned())),
                }
            }

            fn contracts() -> Vec<$crate::schema::TopicContract> {
                vec![$(
                    $crate::schema::TopicContract::of::<$event>($topic, &[$($event_doc),+], stringify!($subject))
                ),+]
            }
        }
    };
}

/// Declares the public events that a service consumes from several others: one variant per publisher, with all its events.
///
/// ```ignore
/// orderlog_core::heard! {
///     /// The public events that the lending service consumes.
///     pub enum Heard {
///         /// From the members service.
///         Members(members::Published),
///         /// From the catalogue service.
///         Catalogue(catalogue::Published),
///     }
/// }
/// ```
#[macro_export]
macro_rules! heard {
    ($(#[$doc:meta])* $visibility:vis enum $name:ident { $($(#[$of_doc:meta])* $variant:ident($published:ty),)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$of_doc])* $variant($published),)+
        }

        impl $crate::public::PublicEvent for $name {
            const TOPICS: &'static [$crate::public::Topic] = {
                const N: usize = 0 $(+ <$published as $crate::public::PublicEvent>::TOPICS.len())+;
                const ALL: [$crate::public::Topic; N] =
                    $crate::public::all_of(&[$(<$published as $crate::public::PublicEvent>::TOPICS),+]);
                &ALL
            };

            fn topic(&self) -> &'static str {
                match self { $(Self::$variant(event) => $crate::public::PublicEvent::topic(event),)+ }
            }

            fn subject(&self) -> String {
                match self { $(Self::$variant(event) => $crate::public::PublicEvent::subject(event),)+ }
            }

            fn version(&self) -> u64 {
                match self { $(Self::$variant(event) => $crate::public::PublicEvent::version(event),)+ }
            }

            fn to_json(&self) -> Vec<u8> {
                match self { $(Self::$variant(event) => $crate::public::PublicEvent::to_json(event),)+ }
            }

            fn from_json(topic: &str, json: &[u8]) -> Result<Self, $crate::public::PublicError> {
                $(if $crate::public::is_of::<$published>(topic) {
                    return <$published as $crate::public::PublicEvent>::from_json(topic, json).map(Self::$variant);
                })+
                Err($crate::public::PublicError::UnknownTopic(topic.to_owned()))
            }
        }

        $(impl From<$published> for $name {
            fn from(event: $published) -> Self {
                Self::$variant(event)
            }
        })+
    };
}

pub fn is_of<E: PublicEvent>(topic: &str) -> bool {
    E::TOPICS.iter().any(|(known, _)| *known == topic)
}

#[doc(hidden)]
pub fn json_of(payload: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(payload).expect("public events have string keys and no failing serialiser")
}

#[doc(hidden)]
pub fn payload<T: serde::de::DeserializeOwned>(topic: &'static str, json: &[u8]) -> Result<T, PublicError> {
    crate::decoding::from_slice(json).map_err(|source| PublicError::Undecodable { topic, source })
}

/// Concatenates the lists, which have `N` topics in all.
#[doc(hidden)]
pub const fn all_of<const N: usize>(lists: &[&[Topic]]) -> [Topic; N] {
    let mut all = [("", ""); N];
    let (mut n, mut list) = (0, 0);
    while list < lists.len() {
        let mut at = 0;
        while at < lists[list].len() {
            all[n] = lists[list][at];
            (n, at) = (n + 1, at + 1);
        }
        list += 1;
    }
    all
}

/// The maximum number of public events of one record. An export looks for the record that caused another one among so many.
pub const EVENTS_MAX: usize = 1_024;

/// The id of the `index`-th public event of a journal record. Every copy has the same id, whichever instance publishes it.
pub fn event_id(log_id: Uuid, offset: u64, index: usize) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    hasher.update(log_id.as_bytes()).update(&offset.to_be_bytes()).update(&(index as u64).to_be_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_an_event_has_the_same_id_and_another_event_another() {
        let log = Uuid::from_u128(1);
        assert_eq!(event_id(log, 5, 0).to_string(), "3d405b53-bc0c-8c73-8c1a-45418a5bc996");
        assert_ne!(event_id(log, 5, 0), event_id(log, 5, 1));
        assert_ne!(event_id(log, 5, 0), event_id(Uuid::from_u128(2), 5, 0));
    }
}

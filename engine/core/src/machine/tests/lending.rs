//! A service that decides by facts of another one: it lends books to known members.

use std::fmt;

use super::*;
use crate::{
    public::{Nothing, PublicError, PublicEvent},
    schema::Schema,
};

const LOANS: Kind = "loans";
const MEMBERS: Kind = "members";
/// The journal of the service that knows the members, and that of another one.
const OF_MEMBERS: &str = "members";
const OF_DOORS: &str = "doors";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Id(pub u128);

crate::schemas!(Id: { "type": "integer" });

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).fmt(f)
    }
}

impl Id {
    /// A loan's key is its bare id.
    pub fn loan(self) -> Ref {
        Ref::new(LOANS, Key::from_bytes(self.0.to_be_bytes()))
    }

    /// Not the bare id: that is the key of a loan with the same id, which anybody may ask for.
    pub fn member(self) -> Ref {
        Ref::new(MEMBERS, Key::named("member", &self.to_string()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(super) struct Member {
    pub member: Id,
    pub may_lend: bool,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(super) struct Door {
    pub door: Id,
    pub version: u64,
}

crate::public_events! {
    pub(super) enum MemberNews by OF_MEMBERS {
        /// A member joined.
        Joined(Member) = "member.joined", member;
        /// A member changed.
        Changed(Member) = "member.changed", member;
    }
}

crate::public_events! {
    pub(super) enum DoorNews by OF_DOORS {
        /// A door was opened.
        Opened(Door) = "door.opened", door;
    }
}

crate::heard! {
    pub(super) enum Heard {
        Member(MemberNews),
        Door(DoorNews),
    }
}

#[derive(Clone, Debug)]
pub(super) enum Lending {}

#[derive(Clone, Debug)]
pub(super) enum Command {
    Lend { loan: Id, member: Id },
    Return { loan: Id },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Event {
    Lent { loan: Id, member: Id },
    Returned { loan: Id },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Entity {
    Loan { is_returned: bool },
    Member(Member),
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Rejection {
    #[error("no such loan")]
    UnknownLoan,
    #[error("no such member")]
    UnknownMember,
}

impl Decider for Lending {
    const JOURNAL: &'static str = "lending";
    const COPIES: &'static [&'static str] = &["member.joined", "member.changed"];

    type Command = Command;
    type Event = Event;
    type Entity = Entity;
    type Rejection = Rejection;
    type Published = Nothing;
    type Heard = Heard;

    fn decide(command: &Command, view: &View<'_, Entity>, _: Millis) -> Result<Event, Rejection> {
        match command {
            Command::Lend { loan, member } => match view.get(&member.member()) {
                Some(Entity::Member(known)) if known.may_lend => Ok(Event::Lent { loan: *loan, member: *member }),
                Some(_) | None => Err(Rejection::UnknownMember),
            },
            Command::Return { loan } => match view.get(&loan.loan()) {
                Some(Entity::Loan { .. }) => Ok(Event::Returned { loan: *loan }),
                Some(_) | None => Err(Rejection::UnknownLoan),
            },
        }
    }

    fn target(command: &Command) -> Option<Ref> {
        match command {
            Command::Lend { .. } => None,
            Command::Return { loan } => Some(loan.loan()),
        }
    }

    fn kind(event: &Event) -> &'static str {
        match event {
            Event::Lent { .. } => "lent",
            Event::Returned { .. } => "returned",
        }
    }

    fn touches(event: &Event) -> Vec<Ref> {
        match event {
            Event::Lent { loan, .. } => vec![Ref { minted: true, ..loan.loan() }],
            Event::Returned { loan } => vec![loan.loan()],
        }
    }

    fn evolve(_: Option<Entity>, _: usize, event: &Event, _: &At) -> Entity {
        Entity::Loan { is_returned: matches!(event, Event::Returned { .. }) }
    }

    fn copy(event: &Heard) -> Option<(Ref, u64, Entity)> {
        match event {
            Heard::Member(MemberNews::Joined(it) | MemberNews::Changed(it)) => {
                Some((it.member.member(), it.version, Entity::Member(it.clone())))
            }
            Heard::Door(_) => None,
        }
    }

    fn rests_on(rejection: &Rejection) -> &'static [&'static str] {
        match rejection {
            Rejection::UnknownMember => Self::COPIES,
            Rejection::UnknownLoan => &[],
        }
    }
}

#[test]
fn what_is_heard_of_several_services_is_read_by_its_topic_and_written_as_its_publisher_does() {
    assert_eq!(Heard::TOPICS, [("member.joined", "members"), ("member.changed", "members"), ("door.opened", "doors")]);
    let opened = DoorNews::Opened(Door { door: Id(1), version: 7 });
    let heard = Heard::from_json("door.opened", &opened.to_json()).unwrap();
    assert_eq!(heard, opened.clone().into());
    assert_eq!((heard.topic(), heard.subject(), heard.version()), ("door.opened", Id(1).to_string(), 7));
    assert_eq!(heard.to_json(), opened.to_json());
    assert!(
        matches!(Heard::from_json("door.closed", b"{}"), Err(PublicError::UnknownTopic(topic)) if topic == "door.closed")
    );
    let undecodable = Heard::from_json("door.opened", b"{}");
    assert!(matches!(undecodable, Err(PublicError::Undecodable { topic: "door.opened", .. })));
    assert!(Nothing::from_json("door.opened", b"{}").is_err());
}

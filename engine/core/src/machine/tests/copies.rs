//! Copied facts: a member's news comes on two topics without a mutual order, late and repeated, and of each member the highest
//! version counts.

use super::{
    lending::{Command, Door, DoorNews, Entity, Heard, Id, Lending, Member, MemberNews, Rejection},
    *,
};
use crate::{public::PublicEvent, story::sequences};

const MEMBER: Id = Id(77);

/// What became of the member, version by version: welcomed, barred, welcome again.
fn news() -> [MemberNews; 3] {
    let changed = |version| Member { member: MEMBER, may_lend: version != 2, version };
    [MemberNews::Joined(changed(1)), MemberNews::Changed(changed(2)), MemberNews::Changed(changed(3))]
}

/// The row that the first `n_versions` versions should leave.
fn row(n_versions: usize) -> Option<(u64, Entity)> {
    let newest = news()[..n_versions].last()?.clone();
    let (_, version, entity) = Lending::copy(&newest.into())?;
    Some((version, entity))
}

fn row_of(instance: &InstanceOf<Lending>) -> Option<(u64, Entity)> {
    let aggregate = MEMBER.member();
    instance.rows.entities.get(&(aggregate.kind, aggregate.key)).cloned()
}

/// Hands over one piece of news, from the place in its topic where the instance wants to go on reading.
fn tell(instance: &mut InstanceOf<Lending>, event: &MemberNews) {
    let queued = instance.core.copying.queue.iter().filter(|(read, _)| read.topic == event.topic()).count() as u64;
    let offset = instance.core.copied_next(event.topic(), 0) + queued;
    instance.core.copy(event.topic(), 0, (offset, offset * 10), &event.clone().into());
}

#[test]
fn a_members_news_in_any_order_and_any_number_leaves_the_row_of_the_highest_version() {
    let news = news();
    for sequence in sequences(&[2, 2, 2]) {
        let mut log = Log::new();
        let mut stepwise = InstanceOf::<Lending>::started(1, &mut log);
        let mut at_once = InstanceOf::<Lending>::started(2, &mut log);
        let mut highest = 0;
        for which in &sequence {
            tell(&mut stepwise, &news[*which]);
            stepwise.run();
            highest = highest.max(which + 1);
            assert_eq!(row_of(&stepwise), row(highest), "{sequence:?}");
            tell(&mut at_once, &news[*which]);
        }
        at_once.run();
        assert_eq!(row_of(&at_once), row(3), "{sequence:?}");
        for instance in [&stepwise, &at_once] {
            let row = |topic: &str, next| CopiedRow { topic: topic.to_owned(), part: 0, next, print: (next - 1) * 10 };
            let copied = [row("member.changed", 4), row("member.joined", 2)];
            assert_eq!(instance.rows.checkpoint.copied, copied, "{sequence:?}");
        }
    }
}

#[test]
fn an_instance_that_restarts_between_two_pieces_of_news_ends_with_the_same_row() {
    let news = news();
    for sequence in sequences(&[1, 1, 1]) {
        for restart in 0..sequence.len() {
            let mut log = Log::new();
            let mut one = InstanceOf::<Lending>::started(1, &mut log);
            for (played, which) in sequence.iter().enumerate() {
                if played == restart {
                    one = InstanceOf::on(one.rows, 2);
                }
                tell(&mut one, &news[*which]);
                one.run();
            }
            assert_eq!(row_of(&one), row(3), "{sequence:?}, restarted before {restart}");
        }
    }
}

#[test]
fn a_refusal_that_other_news_could_turn_waits_until_that_is_copied() {
    let mut one = InstanceOf::<Lending>::started(1, &mut Log::new());
    let ticket = one.ask(Command::Lend { loan: Id(5), member: Id(78) }, None);
    one.core.ends(ticket, Ends { journal: 1, copied: vec![("member.joined".to_owned(), 0, 1)] });
    one.run();
    assert!(one.outcome(ticket).is_none(), "the member may be the one that is not copied yet");
    tell(&mut one, &news()[0]);
    one.run();
    one.run();
    assert!(matches!(one.outcome(ticket), Some(Outcome::Rejected(Rejection::UnknownMember))));
}

#[test]
fn news_that_is_nothing_to_copy_is_passed_over_and_not_read_again() {
    let mut log = Log::new();
    let mut one = InstanceOf::<Lending>::started(1, &mut log);
    let other = Heard::Door(DoorNews::Opened(Door { door: Id(1), version: 1 }));
    one.core.copy("member.joined", 0, (4, 7), &other);
    one.run();
    assert_eq!((row_of(&one), one.core.copied_next("member.joined", 0)), (None, 5));
}

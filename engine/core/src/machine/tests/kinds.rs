//! Keys and kinds: what is asked of one kind must not change what is known of another.

use super::{
    lending::{Command, Id, Lending, Member, MemberNews, Rejection},
    *,
};

const MEMBER: Id = Id(77);

/// A lending service that has heard of the member.
fn acquainted(log: &mut Log) -> InstanceOf<Lending> {
    let mut one = InstanceOf::<Lending>::started(1, log);
    let news = MemberNews::Joined(Member { member: MEMBER, may_lend: true, version: 1 });
    one.core.copy("member.joined", 0, (0, 0), &news.into());
    one.run();
    one
}

fn lend() -> Command {
    Command::Lend { loan: Id(5), member: MEMBER }
}

/// The id of a loan under the member's key.
fn loan_of_members_key() -> Id {
    Id(u128::from_be_bytes(*MEMBER.member().key.as_bytes()))
}

/// Whether the member can lend after somebody asked to return the loan with this id.
fn can_lend_after_returning(loan: Id) -> bool {
    let mut log = Log::new();
    let rows = acquainted(&mut log).rows;
    let mut restarted = InstanceOf::<Lending>::on(rows, 2);
    restarted.ask(Command::Return { loan }, None);
    assert!(restarted.run().is_empty());
    restarted.ask(lend(), None);
    !restarted.run().is_empty()
}

#[test]
fn an_id_that_was_just_minted_is_not_looked_up() {
    let rows = acquainted(&mut Log::new()).rows;
    let mut restarted = InstanceOf::<Lending>::on(rows, 2);
    restarted.ask(lend(), None);
    assert_eq!((restarted.run().len(), restarted.n_loaded), (1, 1), "only the member is");
}

#[test]
fn a_members_version_is_not_taken_for_that_of_a_loan_under_their_key() {
    let mut one = acquainted(&mut Log::new());
    let (command, versions) = (Command::Return { loan: loan_of_members_key() }, Some(Versions::OneOf(vec![7])));
    let request = Request { command, stamp: None, versions, origin: Origin::default(), deadline: Millis::MAX };
    let ticket = one.core.ask(request, 0);
    one.core.ends(ticket, Ends { journal: 1, copied: Vec::new() });
    one.run();
    assert!(matches!(one.outcome(ticket), Some(Outcome::Rejected(Rejection::UnknownLoan))));
}

#[test]
fn a_members_id_asked_for_as_a_loans_leaves_the_member_known() {
    assert!(can_lend_after_returning(MEMBER));
}

#[test]
fn a_members_key_asked_for_as_a_loans_leaves_the_member_known() {
    // Anybody can compute it: it is a hash without a secret, and a loan's id can be any 16 bytes.
    assert!(can_lend_after_returning(loan_of_members_key()));
}

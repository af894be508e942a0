//! What a journal tells others, held against what a topic holds: which differences are faults.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use orderlog_readmodel::{
    ExpectedEvent, FoundEvent,
    PublicationFault::{self, Disordered, Missing, Wrong},
    Publications,
};
use uuid::Uuid;

const TOPIC: &str = "stock.updated";

/// Events 1 to `n` of the journal, odd ones of one key, even ones of another.
fn expected(n: u64) -> Vec<ExpectedEvent> {
    let event = |record: u64| ExpectedEvent {
        topic: TOPIC.to_owned(),
        id: Uuid::from_u128(u128::from(record)),
        key: record % 2,
        record,
        line: 0,
        print: record,
    };
    (1..=n).map(event).collect()
}

/// The records of partition 0: the numbers of events, those below zero with other bytes; 0 is of another history.
fn faults(n: u64, records: &[i64]) -> Vec<(PublicationFault, u64, Option<u64>)> {
    let found = (0..).zip(records).map(|(offset, number)| FoundEvent {
        topic: TOPIC.to_owned(),
        partition: 0,
        offset,
        id: Uuid::from_u128(if *number == 0 { 1_000_000 } else { u128::from(number.unsigned_abs()) }),
        print: number.cast_unsigned(),
    });
    let mut publications = Publications::gather().unwrap();
    publications.expect(&expected(n)).unwrap();
    publications.find(&found.collect::<Vec<_>>()).unwrap();
    assert_eq!(publications.join().unwrap(), n);
    let faults = publications.faults().unwrap();
    faults.into_iter().map(|it| (it.fault, it.record, it.place.map(|(_, offset)| offset))).collect()
}

#[test]
fn what_is_published_once_and_in_order_is_right() {
    assert_eq!(faults(0, &[]), []);
    assert_eq!(faults(4, &[1, 2, 3, 4]), []);
    assert_eq!(faults(4, &[2, 1, 4, 3]), [], "events of different keys have no mutual order");
}

#[test]
fn copies_of_what_was_published_before_are_no_faults() {
    assert_eq!(faults(4, &[1, 2, 3, 2, 3, 4]), []);
    assert_eq!(faults(3, &[2, 3, 1, 3]), [], "an append failed in between, and all was told again from there on");
    assert_eq!(faults(4, &[1, 2, 3, 4, 1, -2, 3, 4]), [], "only the first copy counts");
}

#[test]
fn what_is_missing_wrong_or_in_another_order_is_named() {
    assert_eq!(faults(4, &[1, 2, 4]), [(Missing, 3, None)]);
    assert_eq!(faults(4, &[2, 3, 4]), [(Missing, 1, None)]);
    assert_eq!(faults(4, &[]).len(), 4);
    assert_eq!(faults(4, &[1, 2, -3, 4]), [(Wrong, 3, Some(2))]);
    assert_eq!(faults(4, &[1, 2, 3, -4]), [(Wrong, 4, Some(3))]);
    assert_eq!(faults(4, &[3, 2, 1, 4]), [(Disordered, 3, Some(0))]);
}

#[test]
fn a_wrong_first_copy_is_not_hidden_by_a_right_one_that_came_later() {
    assert_eq!(faults(4, &[1, 2, -3, 4, 1, 2, 3, 4]), [(Wrong, 3, Some(2))]);
}

#[test]
fn a_history_that_a_restore_took_away_is_no_fault() {
    assert_eq!(faults(4, &[0, 0, 1, 2, 3, 4]), [], "of another log");
    assert_eq!(faults(4, &[1, 2, -3, -4, 0, 0, 1, 2, 3, 4]), [], "published again after the restore");
    assert_eq!(faults(4, &[-1, -2, 1, 2, 3, 4]), [], "all of it was lost");
    assert_eq!(faults(4, &[1, 2, -3, -4, 1, 2]).len(), 2, "but only if it was published again");
}

#[test]
fn what_the_relay_may_not_have_come_to_is_not_missing() {
    let mut publications = Publications::gather().unwrap();
    publications.expect(&expected(4)).unwrap();
    let found = |record: u64| FoundEvent {
        topic: TOPIC.to_owned(),
        partition: 0,
        offset: record,
        id: Uuid::from_u128(u128::from(record)),
        print: record,
    };
    publications.find(&[found(1), found(3)]).unwrap();
    publications.join().unwrap();
    assert_eq!(publications.expect_only_published().unwrap(), 3);
    assert_eq!(publications.faults().unwrap().len(), 1, "the second");
}

#[test]
fn what_an_older_program_wrote_is_right_once_it_is_approved() {
    let mut publications = Publications::gather().unwrap();
    publications.expect(&expected(1)).unwrap();
    let topic = TOPIC.to_owned();
    let found = FoundEvent { topic, partition: 2, offset: 7, id: Uuid::from_u128(1), print: 99 };
    publications.find(&[found]).unwrap();
    publications.join().unwrap();
    let differing = publications.differing(None, 10).unwrap();
    assert_eq!((differing.len(), differing[0].record), (1, 1));
    assert_eq!(publications.differing(differing.last(), 10).unwrap().len(), 0);
    assert_eq!(publications.faults().unwrap().len(), 1);
    publications.approve(&differing[0]).unwrap();
    assert_eq!(publications.faults().unwrap().len(), 0);
}

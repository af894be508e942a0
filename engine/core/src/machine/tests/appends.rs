//! Appends that are refused, in doubt or too large, and what becomes of their commands.

use super::*;

#[test]
fn an_append_with_unknown_outcome_is_made_again_with_the_same_record() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let ticket = one.ask(take(1, &[("a", 1)]), None);
    let sent = one.run();
    one.core.appended(sent[0].id, Appended::Unknown, 0);
    assert!(one.run().is_empty());
    one.now = APPEND_AGAIN_MS;
    let again = one.run();
    assert_eq!(again.iter().map(|record| record.id).collect::<Vec<_>>(), [sent[0].id]);
    // Both copies land; a refusal of the second attempt would have proved nothing either.
    land(&mut log, &sent[0]);
    let offset = land(&mut log, &again[0]);
    one.core.appended(again[0].id, Appended::At(offset), one.now);
    one.read(&log, 9);
    assert!(matches!(one.outcome(ticket), Some(Outcome::Accepted(accepted)) if accepted.at.offset == 1));
    assert_eq!(one.left("a"), STOCK - 1);
}

#[test]
fn what_is_folded_is_loaded_before_it_says_no_while_something_is_in_flight() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let mut happens = |one: &mut Instance, command: Take| {
        one.ask(command, None);
        let sent = one.run();
        let offset = land(&mut log, &sent[0]);
        one.core.appended(sent[0].id, Appended::At(offset), 0);
        one.run();
    };
    happens(&mut one, take(1, &[("a", -8)]));
    assert_eq!(one.left("a"), STOCK + 8);
    one.ask(take(2, &[("a", 15)]), None);
    assert_eq!(one.run().len(), 1, "it flies");
    // Other shelves push this one out of memory.
    for (command, name) in (3..).zip(["b", "c", "d", "e"]) {
        happens(&mut one, take(command, &[(name, 1)]));
    }
    let n_loaded = one.n_loaded;
    let ticket = one.ask(take(9, &[("a", 14)]), None);
    one.run();
    assert!(one.n_loaded > n_loaded, "what is written can be loaded again, so it was forgotten");
    one.core.ends(ticket, Ends { journal: log.len() as u64, copied: Vec::new() });
    one.run();
    assert!(one.outcome(ticket).is_none(), "only the record in flight says no, and it has no verdict");
}

#[test]
fn a_clock_that_is_set_back_by_an_hour_holds_nothing_up() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    one.now = 3_600_000;
    let (command, deadline) = (take(1, &[("a", 5)]), one.now + 10 * APPEND_AGAIN_MS);
    let ticket =
        one.core.ask(Request { command, stamp: None, versions: None, origin: Origin::default(), deadline }, one.now);
    let sent = one.run();
    one.core.appended(sent[0].id, Appended::Unknown, one.now);
    one.now = 0;
    assert!(one.run().is_empty());
    one.now = APPEND_AGAIN_MS;
    assert_eq!(one.run()[0].id, sent[0].id, "it is appended again as soon as if the clock had gone on");
    one.core.appended(sent[0].id, Appended::Unknown, one.now);
    one.now = 10 * APPEND_AGAIN_MS;
    one.run();
    assert!(matches!(one.outcome(ticket), Some(Outcome::Unknown)), "and its caller waits no longer either");
}

#[test]
fn a_refused_append_takes_its_successors_with_it_and_all_are_decided_again() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let tickets = [one.ask(take(1, &[("a", 1)]), None), one.ask(take(2, &[("a", 2)]), None)];
    let pair = one.run();
    one.core.appended(pair[0].id, Appended::Refused, 0);
    assert!(one.run().is_empty(), "the key is blocked until the second is settled");
    let offset = land(&mut log, &pair[1]);
    one.core.appended(pair[1].id, Appended::At(offset), 0);
    let mut again = one.read(&log, 9);
    assert_eq!(again.len(), 1, "the first rests, the second need not");
    one.now = APPEND_AGAIN_MS;
    again.extend(one.run());
    for record in &again {
        let offset = land(&mut log, record);
        one.core.appended(record.id, Appended::At(offset), one.now);
    }
    one.run();
    assert!(tickets.iter().all(|ticket| matches!(one.outcome(*ticket), Some(Outcome::Accepted(_)))));
    assert_eq!(one.left("a"), STOCK - 3);
}

#[test]
fn a_refused_append_rests_before_it_is_decided_again_and_delays_nobody_else() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let refused = one.ask(take(1, &[("a", 1)]), None);
    let sent = one.run();
    one.core.appended(sent[0].id, Appended::Refused, 0);
    assert!(one.run().is_empty(), "it rests");
    let other = one.ask(take(2, &[("a", 2)]), None);
    let sent = one.run();
    assert_eq!(sent.len(), 1, "on the very same shelf");
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), 0);
    one.now = APPEND_AGAIN_MS - 1;
    assert!(one.run().is_empty(), "that something happened does not wake it");
    assert!(matches!(one.outcome(other), Some(Outcome::Accepted(_))));
    one.now = APPEND_AGAIN_MS;
    let sent = one.run();
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), one.now);
    one.run();
    assert!(matches!(one.outcome(refused), Some(Outcome::Accepted(_))));
}

#[test]
fn a_record_that_is_too_large_is_the_end_of_its_command_and_holds_up_nothing() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let large = one.ask(take(1, &[("a", 1)]), None);
    let sent = one.run();
    one.core.appended(sent[0].id, Appended::TooLarge, 0);
    let other = one.ask(take(2, &[("a", 2)]), None);
    let sent = one.run();
    assert!(matches!(one.outcome(large), Some(Outcome::TooLarge)));
    assert_eq!(sent.len(), 1, "the key takes the next command at once, and nothing is tried again");
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), 0);
    one.run();
    assert!(matches!(one.outcome(other), Some(Outcome::Accepted(_))));
    assert_eq!(one.left("a"), STOCK - 2);
}

#[test]
fn that_a_record_is_too_large_now_proves_nothing_about_an_attempt_in_doubt() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let ticket = one.ask(take(1, &[("a", 1)]), None);
    let sent = one.run();
    one.core.appended(sent[0].id, Appended::Unknown, 0);
    one.now = APPEND_AGAIN_MS;
    assert_eq!(one.run().len(), 1);
    one.core.appended(sent[0].id, Appended::TooLarge, one.now);
    one.run();
    assert!(one.outcome(ticket).is_none(), "the first attempt may have landed");
    land(&mut log, &sent[0]);
    one.read(&log, 9);
    assert_eq!(one.left("a"), STOCK - 1);
}

#[test]
fn a_record_that_is_always_refused_is_tried_now_and_then_until_its_time_is_up() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let command = take(1, &[("a", 1)]);
    let deadline = 5 * APPEND_AGAIN_MS;
    let ticket = one.core.ask(Request { command, stamp: None, versions: None, origin: Origin::default(), deadline }, 0);
    let mut n_attempts = 0;
    while one.outcome(ticket).is_none() {
        for record in one.run() {
            n_attempts += 1;
            one.core.appended(record.id, Appended::Refused, one.now);
        }
        one.now += 1;
    }
    assert_eq!(n_attempts, 5);
    assert!(matches!(one.outcome(ticket), Some(Outcome::Expired)), "nothing was written");
}

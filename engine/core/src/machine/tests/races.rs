//! Two instances, or two commands under way, on one aggregate: one wins, and the other is decided again.

use super::*;

#[test]
fn of_two_instances_racing_on_one_aggregate_exactly_one_wins_and_the_other_decides_again() {
    let mut log = Log::new();
    let (mut one, mut two) = (Instance::started(1, &mut log), Instance::started(2, &mut log));
    let (first, second) = (one.ask(take(1, &[("a", 8)]), None), two.ask(take(2, &[("a", 8)]), None));
    let (from_one, from_two) = (one.run(), two.run());
    land_for_both(&mut log, &mut one, &mut two, [&from_two[0], &from_one[0]]);
    assert!(matches!(two.outcome(second), Some(Outcome::Accepted(_))));
    assert!(one.wants_ends, "the loser now finds too little, but says so only after reading to the journal's end");
    one.core.ends(first, Ends { journal: 3, copied: Vec::new() });
    one.run();
    assert!(matches!(one.outcome(first), Some(Outcome::Rejected(TooLittle(name))) if name == "a"));
    assert_eq!(one.left("a"), 4);
}

#[test]
fn of_two_commands_that_saw_the_same_version_one_wins_and_the_other_is_told_the_newer_one() {
    let mut log = Log::new();
    let (mut one, mut two) = (Instance::started(1, &mut log), Instance::started(2, &mut log));
    let seen = |command, name: &str, versions| {
        let (command, origin) = (take(command, &[(name, 1)]), Origin::default());
        Request { command, stamp: None, versions: Some(versions), origin, deadline: Millis::MAX }
    };
    let told = one.core.ask(seen(1, "a", Versions::OneOf(vec![1])), 0);
    one.run();
    one.core.ends(told, Ends { journal: 1, copied: Vec::new() });
    one.run();
    assert!(matches!(one.outcome(told), Some(Outcome::OtherVersion(None))), "there is no such thing yet");
    let first = one.ask(take(2, &[("a", 1)]), None);
    let sent = one.run();
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), 0);
    one.read(&log, 9);
    two.read(&log, 9);
    assert!(matches!(one.outcome(first), Some(Outcome::Accepted(_))));

    let versions = || Versions::OneOf(vec![1]);
    let (loser, winner) = (one.core.ask(seen(3, "a", versions()), 0), two.core.ask(seen(4, "a", versions()), 0));
    let (from_one, from_two) = (one.run(), two.run());
    land_for_both(&mut log, &mut one, &mut two, [&from_two[0], &from_one[0]]);
    assert!(matches!(two.outcome(winner), Some(Outcome::Accepted(_))));
    assert!(one.outcome(loser).is_none(), "a no is told only once the journal is read to its end");
    one.core.ends(loser, Ends { journal: 4, copied: Vec::new() });
    one.run();
    assert!(matches!(one.outcome(loser), Some(Outcome::OtherVersion(Some(2)))));
    // Whatever version it has, if it only exists; and what is ahead counts too.
    let any = one.core.ask(seen(5, "a", Versions::Any), 0);
    let pipelined = one.core.ask(seen(6, "a", Versions::OneOf(vec![3])), 0);
    let sent = one.run();
    assert_eq!(sent.len(), 2, "the second has seen what the first will make");
    for record in &sent {
        let offset = land(&mut log, record);
        one.core.appended(record.id, Appended::At(offset), 0);
    }
    one.read(&log, 9);
    for ticket in [any, pipelined] {
        assert!(matches!(one.outcome(ticket), Some(Outcome::Accepted(_))));
    }
}

#[test]
fn a_pipelined_pair_behind_a_foreign_record_dies_together_and_is_decided_again() {
    let mut log = Log::new();
    let (mut one, mut two) = (Instance::started(1, &mut log), Instance::started(2, &mut log));
    let tickets = [one.ask(take(1, &[("a", 3)]), None), one.ask(take(2, &[("a", 3), ("b", 1)]), None)];
    two.ask(take(3, &[("a", 1)]), None);
    let (pair, foreign) = (one.run(), two.run());
    assert_eq!(pair.len(), 2, "the second is pipelined over the first");
    for record in [&foreign[0], &pair[0], &pair[1]] {
        let offset = land(&mut log, record);
        one.core.appended(record.id, Appended::At(offset), 0);
    }
    let again = one.read(&log, 9);
    assert!(tickets.iter().all(|ticket| one.outcome(*ticket).is_none()));
    assert_eq!(again.len(), 2, "both are decided again, at once");
    assert_eq!((one.core.tally().void, one.core.tally().lost_races), (2, 2));
    for record in &again {
        let offset = land(&mut log, record);
        one.core.appended(record.id, Appended::At(offset), 0);
    }
    one.run();
    assert!(tickets.iter().all(|ticket| matches!(one.outcome(*ticket), Some(Outcome::Accepted(_)))));
    assert_eq!((one.left("a"), one.left("b")), (STOCK - 7, STOCK - 1));
}

#[test]
fn nothing_more_is_built_on_records_that_a_foreign_one_makes_void() {
    let mut log = Log::new();
    let (mut one, mut two) = (Instance::started(1, &mut log), Instance::started(2, &mut log));
    for (command, lines) in [(1, &[("a", 1)][..]), (2, &[("a", 1), ("b", 1)]), (3, &[("c", 1)])] {
        one.ask(take(command, lines), None);
    }
    two.ask(take(4, &[("a", 1)]), None);
    let (mut ours, foreign) = (one.run(), two.run());
    land(&mut log, &foreign[0]);
    one.read(&log, 9);
    for (command, name) in (5..).zip(["a", "b", "c"]) {
        one.ask(take(command, &[(name, 1)]), None);
    }
    let more = one.run();
    assert_eq!(more.len(), 1, "only the shelf that no dead record names takes another command");
    ours.extend(more);
    for record in &ours {
        let offset = land(&mut log, record);
        one.core.appended(record.id, Appended::At(offset), 0);
    }
    let again = one.read(&log, 9);
    assert_eq!((again.len(), one.core.tally().void), (4, 2), "the two dead ones, and what waited for them");
    assert_eq!(one.left("c"), STOCK - 2);
}

#[test]
fn what_is_folded_says_no_without_waiting_for_what_is_in_flight() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    one.ask(take(1, &[("a", 1)]), None);
    assert_eq!(one.run().len(), 1);
    let ticket = one.ask(take(2, &[("a", STOCK + 1)]), None);
    one.core.ends(ticket, Ends { journal: 1, copied: Vec::new() });
    one.run();
    assert!(matches!(one.outcome(ticket), Some(Outcome::Rejected(_))), "there never was as much");
}

#[test]
fn nothing_more_is_built_on_records_behind_a_refused_one() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    one.ask(take(1, &[("a", 1)]), None);
    one.ask(take(2, &[("a", 1), ("b", 1)]), None);
    let pair = one.run();
    one.core.appended(pair[0].id, Appended::Refused, 0);
    one.ask(take(3, &[("b", 1)]), None);
    assert!(one.run().is_empty(), "the second will be void, since it was built on the first");
    one.ask(take(4, &[("c", 1)]), None);
    assert_eq!(one.run().len(), 1, "other shelves are not held up");
}

#[test]
fn a_late_copy_of_a_void_record_stays_void() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    one.ask(take(1, &[("a", 1)]), None);
    one.ask(take(2, &[("a", 1)]), None);
    let pair = one.run();
    // The second overtakes the first, and comes once more when the first has landed.
    for record in [&pair[1], &pair[0], &pair[1]] {
        land(&mut log, record);
    }
    one.read(&log, 9);
    let verdicts: Vec<_> = one.rows.records.iter().map(|record| record.verdict).collect();
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Void, Verdict::Accepted, Verdict::Void]);
    let mut late = Instance::started(3, &mut log);
    late.run();
    assert_eq!(late.rows.records, one.rows.records, "a replica that starts later sees the same");
}

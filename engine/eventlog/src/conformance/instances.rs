//! Guarantees across restarts, and for several instances that share a log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join;

use super::{Subject, append, in_time, journal, number, numbered, read_all, take, unique, until};
use crate::{EventLog, Lease, LeaseError, Mark, Partition, Position};

async fn lead(log: &dyn EventLog, group: &str, journal: &Partition) -> Arc<dyn Lease> {
    in_time("lead", log.lead(group, &journal.topic)).await.expect("a healthy log lets everybody take part")
}

async fn committed(lease: &dyn Lease, partitions: &[Partition]) -> Vec<Option<Position>> {
    in_time("committed", lease.committed(partitions)).await.expect("a healthy log knows the positions")
}

/// A position with two marks: the record before it, and one beyond it.
fn behind(partition: &Partition, next: u64) -> Position {
    let mark = |offset, print| Mark { partition: partition.clone(), offset, print };
    Position { next, marks: vec![mark(next - 1, u64::MAX - next), mark(next + 100, 0)] }
}

/// Positions, with their marks, are stored per group and partition. The last one stored wins.
pub async fn positions_are_kept_per_group(subject: Subject) {
    let log = &*subject.log;
    let (journal, other) = (journal(log, "positions").await, journal(log, "other").await);
    for partition in [&journal, &other] {
        append(log, (0..9).map(|n| numbered(partition, n)).collect()).await;
    }
    let both = [journal.clone(), other.clone()];
    let one = unique("first");
    let first = lead(log, &one, &journal).await;
    let second = lead(log, &unique("second"), &journal).await;
    until(&mut first.held(), true).await;
    until(&mut second.held(), true).await;
    assert_eq!(committed(&*first, &both).await, [None, None]);

    in_time("commit", first.commit(&[(journal.clone(), 3.into()), (other.clone(), behind(&other, 9))]))
        .await
        .expect("the lease is held");
    in_time("commit", first.commit(&[(journal.clone(), behind(&journal, 5))])).await.expect("the lease is held");
    in_time("commit", second.commit(&[(journal.clone(), 1.into())])).await.expect("the lease is held");

    let (five, nine) = (Some(behind(&journal, 5)), Some(behind(&other, 9)));
    assert_eq!(committed(&*first, &both).await, [five.clone(), nine.clone()]);
    assert_eq!(committed(&*second, &both).await, [Some(1.into()), None]);
    assert_eq!(committed(&*first, &[other.clone(), journal.clone()]).await, [nine.clone(), five.clone()]);

    let seen = async |group: &str| in_time("positions", log.positions(group, &both)).await;
    assert_eq!(seen(&one).await, Ok(vec![five, nine]), "also by a process outside of the group");
    assert_eq!(seen(&unique("nobody")).await, Ok(vec![None, None]));
    assert!(*first.held().borrow(), "looking at positions takes no part in the group");
}

/// Records, ends and positions survive a restart, and offsets continue.
pub async fn a_restart_loses_nothing(subject: Subject) {
    let Subject { log, another, keep } = subject;
    let journal = journal(&*log, "restart").await;
    let group = unique("restart");
    append(&*log, (0..3000).map(|n| numbered(&journal, n)).collect()).await;
    let before = read_all(&*log, &journal, 3000).await;
    let lease = lead(&*log, &group, &journal).await;
    until(&mut lease.held(), true).await;
    in_time("commit", lease.commit(&[(journal.clone(), behind(&journal, 1234))])).await.expect("the lease is held");
    drop(lease);
    drop(log);

    let log = in_time("open again", another()).await;
    assert_eq!(in_time("ends", log.ends(std::slice::from_ref(&journal))).await, Ok(vec![3000]));
    let mut reading = log.read(vec![(journal.clone(), 0)]);
    assert_eq!(take(&mut reading, 3000).await, before);
    let asked = std::slice::from_ref(&journal);
    assert_eq!(in_time("positions", log.positions(&group, asked)).await, Ok(vec![Some(behind(&journal, 1234))]));
    assert_eq!(in_time("positions", log.positions(&unique("nobody"), asked)).await, Ok(vec![None]));
    let lease = lead(&*log, &group, &journal).await;
    assert_eq!(committed(&*lease, asked).await, [Some(behind(&journal, 1234))]);
    assert_eq!(append(&*log, vec![numbered(&journal, 3000)]).await, [3000]);
    assert_eq!(take(&mut reading, 1).await.iter().map(number).collect::<Vec<_>>(), [3000]);
    drop(keep);
}

/// Two instances that append to one journal see the same order, and the ends that one reads cover what the other had acknowledged.
pub async fn two_writers_share_one_order(subject: Subject) {
    let one = Arc::clone(&subject.log);
    let two = in_time("open a second handle", (subject.another)()).await;
    let journal = journal(&*one, "writers").await;
    let write = async |log: &dyn EventLog, other: &dyn EventLog, first: u64| {
        for n in first..first + 100 {
            let offset = append(log, vec![numbered(&journal, n)]).await[0];
            let ends = in_time("ends", other.ends(std::slice::from_ref(&journal))).await.expect("the topic exists");
            assert!(offset < ends[0], "{offset} is acknowledged, but the end elsewhere is {ends:?}");
        }
    };
    join(write(&*one, &*two, 0), write(&*two, &*one, 1000)).await;

    let seen = read_all(&*one, &journal, 200).await;
    assert_eq!(seen, read_all(&*two, &journal, 200).await);
    for writer in [0..100, 1000..1100] {
        let own: Vec<u64> = seen.iter().map(number).filter(|n| writer.contains(n)).collect();
        assert_eq!(own, writer.collect::<Vec<_>>());
    }
}

/// One of two instances holds the lease. When it leaves, the other one takes over and sees its positions.
pub async fn lease_is_held_by_one_and_handed_over(subject: Subject) {
    let (group, journal) = (unique("lease"), journal(&*subject.log, "lease").await);
    append(&*subject.log, (0..9).map(|n| numbered(&journal, n)).collect()).await;
    let two = in_time("open a second handle", (subject.another)()).await;
    let leases = [lead(&*subject.log, &group, &journal).await, lead(&*two, &group, &journal).await];

    let (holder, waiting) = one_holds(leases).await;
    in_time("commit", holder.commit(&[(journal.clone(), 7.into())])).await.expect("the lease is held");
    drop(holder);

    until(&mut waiting.held(), true).await;
    assert_eq!(committed(&*waiting, std::slice::from_ref(&journal)).await, [Some(7.into())]);
    in_time("commit", waiting.commit(&[(journal.clone(), 8.into())])).await.expect("the lease is held");
}

/// An instance that closes the log hands its leases over immediately, even if they have not been dropped. (All instances share one
/// simulated log, which has nothing to close.)
pub async fn closing_hands_the_lease_over(subject: Subject) {
    let (group, journal) = (unique("closing"), journal(&*subject.log, "closing").await);
    let one = Arc::clone(&subject.log);
    let two = in_time("open a second handle", (subject.another)()).await;
    let leases = [lead(&*one, &group, &journal).await, lead(&*two, &group, &journal).await];
    let one_holds = Arc::ptr_eq(&one_holds(leases.clone()).await.0, &leases[0]);
    let (leaving, waiting) = if one_holds { (one, &leases[1]) } else { (two, &leases[0]) };
    leaving.close().await;
    let begun = Instant::now();
    until(&mut waiting.held(), true).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "the session times out after 6 s; it took {took:?}");
}

/// An instance that does not hold the lease can't change the holder's positions.
pub async fn a_deposed_holder_keeps_no_positions(subject: Subject) {
    let (group, journal) = (unique("deposed"), journal(&*subject.log, "deposed").await);
    append(&*subject.log, (0..9).map(|n| numbered(&journal, n)).collect()).await;
    let two = in_time("open a second handle", (subject.another)()).await;
    let leases = [lead(&*subject.log, &group, &journal).await, lead(&*two, &group, &journal).await];

    let (holder, waiting) = one_holds(leases).await;
    in_time("commit", holder.commit(&[(journal.clone(), 7.into())])).await.expect("the lease is held");
    let refused = in_time("commit", waiting.commit(&[(journal.clone(), 3.into())])).await;
    assert_eq!(refused, Err(LeaseError::Lost));
    assert_eq!(committed(&*holder, std::slice::from_ref(&journal)).await, [Some(7.into())]);
}

/// Waits until exactly one of them holds the lease. Returns the holder first.
async fn one_holds([one, two]: [Arc<dyn Lease>; 2]) -> (Arc<dyn Lease>, Arc<dyn Lease>) {
    let (mut one_held, mut two_held) = (one.held(), two.held());
    let settled = async {
        loop {
            let (one_holds, two_holds) = (*one_held.borrow_and_update(), *two_held.borrow_and_update());
            if one_holds != two_holds {
                return one_holds;
            }
            tokio::select! {
                changed = one_held.changed() => changed.expect("a lease says whether it is held as long as it lives"),
                changed = two_held.changed() => changed.expect("a lease says whether it is held as long as it lives"),
            }
        }
    };
    if in_time("one instance gets the lease", settled).await { (one, two) } else { (two, one) }
}

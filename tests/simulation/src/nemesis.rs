//! What goes wrong with processes, what is done to them in a rollout, and what goes wrong with the log as a whole.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use orderlog_core::decider::Decider;
use orderlog_domain::orders::Orders;
use orderlog_eventlog::{Partition, Position};
use orderlog_history::{Line, Outcome, SERVICES};

use crate::{
    instance::{DELIVERIES, Victim},
    shop::Shop,
    world::Faults,
};

/// A clock is wrong by at most so much.
const SKEW_MS: i64 = 3_600_000;

/// Whoever comes so late after a restore comes after the leases of the dead have been taken over.
const LATE_MS: u64 = 12_000;

/// Do harm until the end.
pub async fn rage(shop: Arc<Shop>) {
    let world = &shop.world;
    let pace = world.draw(|chance| chance.between(100, 1_500));
    // Few worlds get to see an older log; in some it is hardly older.
    let mut copy = world.draw(|chance| chance.of_1000(250)).then(Copied::default);
    let is_young = world.draw(|chance| chance.of_1000(500));
    let is_rollout = shop.victims().iter().filter_map(|it| it.life()).any(|life| life.is_older());
    loop {
        let pause = world.draw(|chance| chance.ms(pace / 4, pace));
        tokio::time::sleep(pause).await;
        match world.draw(|chance| chance.below(if is_rollout { 125 } else { 100 })) {
            0..25 => crash_one(&shop),
            25..30 => crash_all(&shop).await,
            30..45 => pause_some(&shop),
            45..58 => skew_one(&shop),
            58..76 => depose_one(&shop),
            76..82 => forget_positions(&shop),
            82..88 => {
                let faults = world.draw(Faults::drawn);
                world.note("nemesis", format_args!("{faults:?}"));
                world.set_faults(faults);
            }
            88..91 => delete_rows(&shop),
            100..115 => install_one(&shop),
            115..125 => retry_one(&shop),
            _ => match &mut copy {
                Some(_) if is_young => {
                    if let Some(ends) = without_the_last(&shop) {
                        restore(&shop, Copied { ends, positions: BTreeMap::new() }).await;
                        copy = None;
                    }
                }
                Some(copied) if copied.ends.is_empty() => {
                    world.note("nemesis", "copies the log");
                    *copied = Copied { ends: world.log.all_ends(), positions: world.log.all_positions() };
                }
                Some(copied) => {
                    restore(&shop, std::mem::take(copied)).await;
                    copy = None;
                }
                None => {}
            },
        }
    }
}

/// A copy of the log: where everything ended, and where the groups stood.
#[derive(Default)]
struct Copied {
    ends: BTreeMap<Partition, u64>,
    positions: BTreeMap<(String, Partition), Position>,
}

/// Where everything ended just before some partition's last record landed: mostly of one that facts are copied from, since others see
/// what is gone only there.
fn without_the_last(shop: &Shop) -> Option<BTreeMap<Partition, u64>> {
    let world = &shop.world;
    let is_copied = |partition: &&Partition| Orders::COPIES.contains(&partition.topic.as_ref());
    let (all, of_copied) = (world.log.all_ends(), world.draw(|chance| chance.of_1000(700)));
    let partitions: Vec<_> = all.keys().filter(|it| !of_copied || is_copied(it)).collect();
    let partition = world.draw(|chance| chance.one_of(&partitions).copied())?;
    world.ends_before_last(partition)
}

fn one(shop: &Shop) -> Option<Arc<dyn Victim>> {
    let victims = shop.victims();
    shop.world.draw(|chance| chance.one_of(&victims).cloned())
}

fn crash_one(shop: &Shop) {
    let away_ms = shop.world.draw(|chance| chance.between(1, 1_500));
    if let Some(victim) = one(shop) {
        victim.crash(away_ms);
    }
}

async fn crash_all(shop: &Shop) {
    shop.world.note("nemesis", "cuts the power");
    for victim in shop.victims() {
        victim.crash(shop.world.draw(|chance| chance.between(1, 500)));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Several, for times of their own: they come back in another order than they went.
fn pause_some(shop: &Shop) {
    for victim in shop.victims() {
        if !shop.world.draw(|chance| chance.of_1000(300)) {
            continue;
        }
        let Some(life) = victim.life() else { continue };
        shop.world.note("nemesis", format_args!("pauses {}", life.name));
        life.pause(true);
        let time = shop.world.draw(|chance| chance.ms(20, 1_500));
        shop.world.spawn(async move {
            tokio::time::sleep(time).await;
            life.pause(false);
        });
    }
}

fn skew_one(shop: &Shop) {
    let Some(life) = one(shop).and_then(|victim| victim.life()) else { return };
    let ms = shop.world.draw(|chance| match chance.below(4) {
        0 => 0,
        1 => chance.between(0, 10_000).cast_signed() - 5_000,
        _ => chance.between(0, 2 * SKEW_MS.unsigned_abs()).cast_signed() - SKEW_MS,
    });
    shop.world.note("nemesis", format_args!("sets the clock of {} off by {ms} ms", life.name));
    life.set_skew(ms);
}

fn group(shop: &Shop) -> String {
    let at = shop.world.draw(|chance| chance.below(6));
    let service = usize::try_from(at).ok().and_then(|at| SERVICES.get(at));
    service.map_or_else(|| DELIVERIES.to_owned(), |service| format!("orderlog.{service}"))
}

fn depose_one(shop: &Shop) {
    let group = group(shop);
    shop.world.note("nemesis", format_args!("moves the lease of {group}"));
    shop.world.log.drop_lease_holder(&group);
    let (log, time) = (Arc::clone(&shop.world.log), shop.world.draw(|chance| chance.ms(0, 2_000)));
    let healed = shop.healed.subscribe();
    shop.world.spawn(async move {
        tokio::time::sleep(time).await;
        // Whoever was alone gets it back.
        if !*healed.borrow() {
            log.find_lease_holder(&group);
        }
    });
}

fn forget_positions(shop: &Shop) {
    let group = group(shop);
    shop.world.note("nemesis", format_args!("loses the positions of {group}"));
    shop.world.log.forget_positions(&group);
}

fn delete_rows(shop: &Shop) {
    if let Some(victim) = one(shop) {
        shop.world.note("nemesis", "deletes rows");
        victim.delete_rows();
    }
}

/// The rollout goes on, or one step back.
fn install_one(shop: &Shop) {
    let Some(victim) = one(shop) else { return };
    shop.world.note("nemesis", "installs another program");
    if !victim.install_newest() {
        victim.install_older(&shop.world);
    }
    victim.crash(shop.world.draw(|chance| chance.between(1, 200)));
}

fn retry_one(shop: &Shop) {
    if let Some(victim) = one(shop) {
        shop.world.note("nemesis", "has somebody fold what is parked");
        victim.retry();
    }
}

/// Everything is stopped, an older copy of the log is put in place, and everything is started again.
async fn restore(shop: &Shop, copied: Copied) {
    let world = &shop.world;
    world.note("nemesis", "restores an older log");
    shop.may_start.send_replace(false);
    for victim in shop.victims() {
        match world.draw(|chance| chance.of_1000(300)) {
            // When it is started, the log has grown again.
            true => victim.come_late(LATE_MS),
            false => victim.crash(1),
        }
    }
    // What is answered in this moment belongs to the time before.
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.restore(&copied.ends);
    // Groups are where they were when it was copied, or begin anew, or are where they had come to on what is there no more.
    match world.draw(|chance| chance.below(4)) {
        0 => world.log.set_positions(copied.positions),
        1 => world.log.set_positions(BTreeMap::new()),
        _ => {}
    }
    forget_answers(shop);
    tokio::time::sleep(Duration::from_millis(50)).await;
    shop.may_start.send_replace(true);
}

/// What clients were told of records that are there no more is worth nothing; they may or may not come again.
fn forget_answers(shop: &Shop) {
    let mut lines = shop.world.lines();
    for line in lines.iter_mut() {
        if let Line::Attempt(attempt) = line {
            attempt.outcome = match attempt.outcome {
                Outcome::Refused(_) | Outcome::OtherVersion(_) | Outcome::KeyReused | Outcome::NotDone => {
                    Outcome::NotDone
                }
                Outcome::Acknowledged { .. } | Outcome::Unknown => Outcome::Unknown,
            };
        }
    }
    lines.push(Line::Restored);
}

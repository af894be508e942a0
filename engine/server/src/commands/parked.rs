//! `orderlog parked ...`: records that could not be folded, and thereby the keys that take no commands.

use std::{collections::HashSet, fmt::Write as _};

use clap::{Args, Subcommand};
use orderlog_core::{reason::Reason, words};
use orderlog_http::{names::ServiceName, point::time};
use orderlog_runtime::{
    projection::ParkedRecord,
    replica::{Discarded, Retried},
};
use serde_json::json;

use super::{
    exit::{Exit, Failure},
    projection::{ServiceArgs, Target},
    registered,
    running::Place,
    serve,
};
use crate::{
    inspect::Inspected,
    output::{self, amounts, print, print_json},
    registry::Registry,
};

/// The most queued records to print.
const N_SHOWN: usize = 20;

/// What to do with parked records.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the parked records, and why they are parked
    ///
    /// A version that can read them folds them when it starts. Records that no version can read have to be discarded.
    List(ServiceArgs),
    /// Show a parked record: header, payload, why it is parked, and the records queued behind it
    Show(One),
    /// Fold parked records as far as this program can, in order, without a rebuild
    ///
    /// A start does the same; use this for failures with another cause. Exits with 5 if anything stays parked.
    Retry(ServiceArgs),
    /// Record in the journal that a parked record has no effect, and fold the records queued behind it
    ///
    /// This can't be undone, so check first (`show`, or --dry-run). The log decides: if a program that can read the
    /// record wrote to its keys at the same moment, the record stays as it is.
    Discard {
        #[command(flatten)]
        one: One,
        /// The reason, for later readers of the journal; it is kept forever. 1 to 200 characters on one line
        #[arg(long, value_parser = |text: &str| Reason::new(text))]
        reason: Reason,
        /// Only show what would be discarded
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
}

/// One record.
#[derive(Args, Clone, Debug)]
pub struct One {
    /// The service whose journal has the record
    #[arg(value_parser = registered::<ServiceName>)]
    service: ServiceName,
    /// The offset of the record
    offset: u64,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    /// Where.
    #[command(flatten)]
    place: Place,
}

pub async fn run(registry: &'static Registry, verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::List(asked) => list(registry, asked).await,
        Verb::Retry(asked) => retry(registry, asked).await,
        Verb::Show(one) => show(registry, &one).await,
        Verb::Discard { one, reason: _, dry_run: true } => {
            show(registry, &one).await?;
            output::note("nothing was changed: without --dry-run the record is discarded, which can't be undone");
            Ok(Exit::Done)
        }
        Verb::Discard { one, reason, dry_run: false } => discard(registry, &one, reason).await,
    }
}

async fn list(registry: &'static Registry, asked: ServiceArgs) -> anyhow::Result<Exit> {
    serve::tell(&asked.place.storage, "warn")?;
    let (asked, elsewhere) = asked.here(registry).await?;
    let target = Target::look(registry, None, &asked.services.0, &asked.place, None).await?;
    target.ask(async |target| print_parked(target, &asked).await).await?;
    elsewhere.note("parked list", &asked);
    Ok(Exit::Done)
}

async fn print_parked(target: &Target, asked: &ServiceArgs) -> anyhow::Result<()> {
    let mut n = 0;
    for service in &asked.services.0 {
        for ParkedRecord { offset, keys, reason } in target.parked(*service).await? {
            n += 1;
            if asked.json {
                let journal = service.as_str();
                print_json(&json!({ "journal": journal, "offset": offset, "keys": keys, "reason": reason }))?;
            } else {
                let keys = keys.join(", ");
                print(&format!("{service}@{offset}  {reason}\n  keys that take no commands: {keys}"))?;
            }
        }
    }
    if n == 0 {
        output::note("nothing is parked");
    }
    Ok(())
}

async fn show(registry: &'static Registry, one: &One) -> anyhow::Result<Exit> {
    serve::tell(&one.place.storage, "warn")?;
    let target = Target::look(registry, None, &[one.service], &one.place, None).await?;
    let (record, sequence) = target.ask(async |target| one.find(target).await).await?;
    if one.json { print_json(&sequence.document(&record)) } else { print(&sequence.told(&record)?) }?;
    Ok(Exit::Done)
}

async fn retry(registry: &'static Registry, asked: ServiceArgs) -> anyhow::Result<Exit> {
    serve::tell(&asked.place.storage, "warn")?;
    let (asked, elsewhere) = asked.here(registry).await?;
    let target = Target::find(registry, &asked.services.0, &asked.place).await?;
    let exit = target.ask(async |target| retry_all(target, &asked).await).await?;
    if exit != Exit::Done {
        let program = words::program();
        output::note(&format!(
            "this program can't fold them: start one that can, or discard what no version will ever read \
             (`{program} parked list`, `{program} parked discard`)"
        ));
    }
    Ok(Exit::worst([exit, elsewhere.note("parked retry", &asked)]))
}

async fn retry_all(target: &Target, asked: &ServiceArgs) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    for service in &asked.services.0 {
        let Retried { before, after } = target.retry(*service).await?;
        if after > 0 {
            exit = Exit::Refused;
        }
        if asked.json {
            print_json(&json!({ "journal": service.as_str(), "before": before, "after": after }))?;
        } else if before == 0 {
            print(&format!("{service}: nothing was parked"))?;
        } else {
            let (were, still) = (if before == 1 { "was" } else { "were" }, if after == 1 { "is" } else { "are" });
            let records = amounts::count(before, "record");
            print(&format!("{service}: {records} {were} parked, {after} still {still}"))?;
        }
    }
    Ok(exit)
}

async fn discard(registry: &'static Registry, one: &One, reason: Reason) -> anyhow::Result<Exit> {
    let service = one.service;
    serve::tell(&one.place.storage, "warn")?;
    let target = Target::find(registry, &[service], &one.place).await?;
    let (discarded, folded, still_parked) = target.ask(async |target| discard_by(target, one, reason).await).await?;
    let (Discarded { by, already, .. }, offset) = (discarded, one.offset);
    if one.json {
        let journal = service.as_str();
        print_json(&json!({ "journal": journal, "offset": offset, "by": by, "already": already, "folded": folded,
            "still_parked": still_parked }))?;
    } else if already {
        print(&format!("{service}@{offset} was already discarded, by {service}@{by}"))?;
    } else {
        print(&format!("{service}@{offset} is discarded, by {service}@{by}"))?;
        let why = format!("still parked (`{} parked list` shows why)", words::program());
        for (offsets, what) in [(folded, "folded"), (still_parked, why.as_str())] {
            if !offsets.is_empty() {
                print(&format!("  {} behind it: {what}", amounts::count(offsets.len(), "record")))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Discards the record. Returns which of the records behind it are folded now, and which are still parked.
async fn discard_by(target: &Target, one: &One, reason: Reason) -> anyhow::Result<(Discarded, Vec<u64>, Vec<u64>)> {
    let (service, offset) = (one.service, one.offset);
    let before = Sequence::of(service, offset, target.parked(service).await?);
    let discarded = target.discard(service, offset, reason).await?;
    let after: HashSet<u64> = target.parked(service).await?.into_iter().map(|record| record.offset).collect();
    let behind = before.map(|sequence| sequence.behind).unwrap_or_default();
    let (still_parked, folded) = behind.into_iter().partition(|offset| after.contains(offset));
    Ok((discarded, folded, still_parked))
}

impl One {
    async fn find(&self, target: &Target) -> anyhow::Result<(Inspected, Sequence)> {
        let record = target.record(self.service, self.offset).await?;
        match Sequence::of(self.service, self.offset, target.parked(self.service).await?) {
            Some(sequence) => Ok((record, sequence)),
            None => {
                let is = record.verdict.as_deref().unwrap_or("not read yet");
                Err(Failure::refused(format!("{}@{} is not parked: it is {is}", self.service, self.offset)))
            }
        }
    }
}

/// A parked record and its sequence: the records to fold before it, and those that can be folded only after it.
struct Sequence {
    service: ServiceName,
    parked: ParkedRecord,
    before: Vec<u64>,
    behind: Vec<u64>,
}

impl Sequence {
    /// The sequence of the record at `offset`, if that is parked.
    fn of(service: ServiceName, offset: u64, mut all: Vec<ParkedRecord>) -> Option<Self> {
        let at = all.iter().position(|record| record.offset == offset)?;
        let behind = touching(&all[at], all[at + 1..].iter());
        let mut before = touching(&all[at], all[..at].iter().rev());
        before.reverse();
        Some(Self { service, parked: all.swap_remove(at), before, behind })
    }

    fn document(&self, record: &Inspected) -> serde_json::Value {
        let Self { service, parked: ParkedRecord { offset, keys, reason }, before, behind } = self;
        json!({ "journal": service.as_str(), "offset": offset, "reason": reason, "keys": keys, "before": before,
            "behind": behind, "record": record })
    }

    fn told(&self, record: &Inspected) -> anyhow::Result<String> {
        let Self { service, parked: ParkedRecord { offset, keys, reason }, before, behind } = self;
        let mut told = format!("{service}@{offset} is parked: {reason}\n");
        writeln!(told, "  keys that take no commands: {}", keys.join(", "))?;
        let Inspected { kind, time_ms, headers, value, .. } = record;
        writeln!(told, "  type     {kind}\n  time     {}", time(*time_ms))?;
        for (name, header) in headers {
            writeln!(told, "  {name:<8} {}", header.as_str().map_or_else(|| header.to_string(), str::to_owned))?;
        }
        writeln!(told, "  payload  {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))?;
        let places = |offsets: &[u64]| {
            let shown = offsets.iter().take(N_SHOWN).map(|offset| format!("{service}@{offset}")).collect::<Vec<_>>();
            let n_more = offsets.len().saturating_sub(N_SHOWN);
            if n_more == 0 { shown.join(", ") } else { format!("{} and {n_more} more", shown.join(", ")) }
        };
        if !before.is_empty() {
            writeln!(told, "  parked behind {}", places(before))?;
        }
        match behind.as_slice() {
            [] => write!(told, "  nothing is parked behind it")?,
            behind => write!(told, "  parked behind it, in this order: {}", places(behind))?,
        }
        Ok(told)
    }
}

/// The offsets of those of `others`, in order, that name a key of the record or of one already found.
fn touching<'a>(record: &'a ParkedRecord, others: impl Iterator<Item = &'a ParkedRecord>) -> Vec<u64> {
    let mut keys: HashSet<&String> = record.keys.iter().collect();
    let mut found = Vec::new();
    for other in others {
        if other.keys.iter().any(|key| keys.contains(key)) {
            keys.extend(&other.keys);
            found.push(other.offset);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_what_hangs_together_by_keys_in_order() {
        let record = |offset, keys: &[&str]| ParkedRecord {
            offset,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            reason: String::new(),
        };
        let all = || {
            vec![
                record(1, &["a"]),
                record(2, &["x"]),
                record(3, &["a", "b"]),
                record(4, &["c"]),
                record(5, &["b", "c"]),
                record(6, &["c"]),
            ]
        };
        let of = |offset| {
            Sequence::of(ServiceName::named("orders"), offset, all()).map(|sequence| (sequence.before, sequence.behind))
        };
        assert_eq!(
            of(1),
            Some((vec![], vec![3, 5, 6])),
            "the fourth was parked before its key hung together with the first"
        );
        assert_eq!(of(5), Some((vec![1, 3, 4], vec![6])));
        assert_eq!(of(2), Some((vec![], vec![])));
        assert_eq!(of(7), None);
    }
}

//! `orderlog log lint`: finds records that this program can't read, and records that orderlog would not write.

use std::collections::HashSet;

use orderlog_core::machine::{DISCARD, Discard};
use orderlog_http::names::ServiceName;
use orderlog_runtime::envelope::Envelopes;
use serde_json::{Value, json};

use super::{N_AT_A_TIME, source::Source};
use crate::{
    commands::{Services, exit::Exit, running::Place},
    inspect::{self, Inspected},
    output::{self, Stream, Style, amounts},
    registry::{AnyService, Registry},
};

/// The most unreadable records to print for each journal.
const N_SHOWN: usize = 20;

/// The findings in one journal.
struct Linted {
    journal: ServiceName,
    n_records: u64,
    unreadable: Vec<(u64, String)>,
    /// Unreadable records that are discarded, so they no longer matter.
    discarded: Vec<(u64, String)>,
    envelopes: Envelopes,
}

/// Lints the journals and prints the findings.
pub async fn run(
    registry: &'static Registry,
    services: &Services,
    as_json: bool,
    place: &Place,
) -> anyhow::Result<Exit> {
    let reading = async |source: &Source| {
        let mut all = Vec::new();
        for service in services.of(registry) {
            all.push(read(source, service).await?);
        }
        Ok(all)
    };
    let all = Source::find(registry, place).await?.ask(reading).await?;
    for linted in &all {
        if as_json {
            output::print_json(&linted.document())?;
        } else {
            linted.lines().try_for_each(|line| output::print(&line))?;
        }
    }
    let is_clean = all.iter().all(|linted| linted.unreadable.is_empty() && linted.envelopes.differences.n == 0);
    Ok(if is_clean { Exit::Done } else { Exit::Differs })
}

async fn read(source: &Source, service: &dyn AnyService) -> anyhow::Result<Linted> {
    let (mut next, mut unreadable, mut discards) = (0, Vec::new(), HashSet::new());
    let (journal, mut envelopes) = (service.name(), Envelopes::default());
    loop {
        let chunk = source.chunk(journal.as_str(), 0, next, N_AT_A_TIME).await?;
        for record in &chunk.records {
            unreadable.extend(inspect::unreadable(service, record).map(|why| (record.offset, why)));
            discards.extend(discarded_by(record));
            if let Some(what) = &record.difference {
                envelopes.differences.push(record.offset, what.clone());
            }
            if let Some(what) = &record.warning {
                envelopes.warnings.push(record.offset, what.clone());
            }
        }
        next = chunk.next;
        if chunk.next >= chunk.end {
            break;
        }
    }
    let (discarded, unreadable) = unreadable.into_iter().partition(|(offset, _)| discards.contains(offset));
    Ok(Linted { journal, n_records: next, unreadable, discarded, envelopes })
}

/// The record that this one discards, unless the read model knows that it is void.
fn discarded_by(record: &Inspected) -> Option<u64> {
    if record.kind != DISCARD || record.verdict.as_deref() == Some("void") {
        return None;
    }
    let discard: Discard = serde_json::from_value(record.value.clone()).ok()?;
    Some(discard.offset).filter(|offset| *offset < record.offset)
}

impl Linted {
    fn document(&self) -> Value {
        let found = |found: &[(u64, String)]| {
            Value::from_iter(found.iter().map(|(offset, why)| json!({ "offset": offset, "why": why })))
        };
        json!({ "journal": self.journal.as_str(), "n_records": self.n_records,
            "unreadable": found(&self.unreadable), "discarded": found(&self.discarded),
            "differences": self.envelopes.differences, "warnings": self.envelopes.warnings })
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let Self { journal, n_records, unreadable, discarded, envelopes } = self;
        let Envelopes { differences, warnings } = envelopes;
        let is_clean = unreadable.is_empty() && differences.n == 0;
        let style = if is_clean { Style::Good } else { Style::Wrong };
        let unread = format!("{} that this program can't read", unreadable.len());
        let unread = Stream::Stdout.paint(style, &unread);
        let mut first = format!("{journal}: {}, {unread}", amounts::count(*n_records, "record"));
        if !discarded.is_empty() {
            first += &format!(", {} more discarded", discarded.len());
        }
        if differences.n > 0 {
            first += &format!(", {} not as orderlog writes them", differences.n);
        }
        if warnings.n > 0 {
            first += &format!(", {} with foreign headers (a warning)", warnings.n);
        }
        let line = move |offset: &u64, why: &str| format!("  {journal}@{offset}: {why}");
        let shown = unreadable.iter().take(N_SHOWN).map(move |(offset, why)| line(offset, why));
        let odd = [differences, warnings].into_iter().flat_map(|found| found.first.iter().take(N_SHOWN));
        std::iter::once(first).chain(shown).chain(odd.map(move |found| line(&found.offset, &found.what)))
    }
}

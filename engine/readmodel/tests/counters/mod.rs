//! A tiny service to test rows with: counters by name, limits copied from elsewhere, and a ledger of steps.

use std::{fmt, sync::Arc};

use orderlog_core::{
    decider::{At, Decider, Millis, Ref, View},
    key::{Key, RecordId},
    machine::{Changes, Digest, EntityRow, Genesis, Happened, Head, RecordRow, Verdict, chain},
    public::Nothing,
};
use orderlog_readmodel::{Cell, Column, Due, Index, Ledger, Pending, SqlView, Table, Tables, Timer, ViewColumn};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone)]
pub enum Counters {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stepped {
    pub name: String,
    pub by: Vec<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Row {
    Counter { name: String, total: i64 },
    Limit { most: i64 },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Never;

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("never")
    }
}

impl std::error::Error for Never {}

impl Decider for Counters {
    const JOURNAL: &'static str = "counters";
    type Command = Stepped;
    type Event = Stepped;
    type Entity = Row;
    type Rejection = Never;
    type Published = Nothing;
    type Heard = Nothing;

    fn decide(command: &Stepped, _: &View<'_, Row>, _: Millis) -> Result<Stepped, Never> {
        Ok(command.clone())
    }
    fn target(_: &Self::Command) -> Option<Ref> {
        None
    }

    fn kind(_: &Stepped) -> &'static str {
        "stepped"
    }
    fn touches(event: &Stepped) -> Vec<Ref> {
        vec![Ref::new("counters", key(&event.name))]
    }
    fn evolve(_: Option<Row>, _: usize, event: &Stepped, _: &At) -> Row {
        Row::Counter { name: event.name.clone(), total: event.by.iter().sum() }
    }
}

pub static TABLES: Tables<Counters> = Tables {
    schema: 1,
    tables: &[
        Table {
            kind: "counters",
            columns: &[Column::new("name", "text not null"), Column::new("total", "integer")],
            cells: |row| match row {
                Row::Counter { name, total } => vec![Cell::Text(name.clone()), Cell::Integer(*total)],
                Row::Limit { .. } => vec![Cell::Null, Cell::Null],
            },
            indexes: &[Index { name: "counters_by_total", on: "(total)" }],
            copied: false,
        },
        Table { kind: "limits", columns: &[], cells: |_| vec![], indexes: &[], copied: true },
    ],
    ledgers: &[Ledger {
        name: "steps",
        columns: &[Column::new("by", "integer not null")],
        lines: |_, event| event.by.iter().map(|by| vec![Cell::Integer(*by)]).collect(),
        indexes: &[Index { name: "steps_by_size", on: "(by)" }],
    }],
    timers: &[Timer {
        name: "again",
        kind: "counters",
        column: "total",
        due: |row| match row {
            Row::Counter { name, total } => {
                let command = Stepped { name: name.clone(), by: vec![] };
                Some(Due { at_ms: *total, version: 17, command })
            }
            Row::Limit { .. } => None,
        },
    }],
    views: &[SqlView {
        name: "counters_view",
        columns: &[ViewColumn::text("name", "name"), ViewColumn::number("total", "total")],
        from: "counters",
    }],
    pending: &[Pending { name: "counters", from: "counters where total > 0", since: "total" }],
};

pub fn key(name: &str) -> Key {
    Key::named("counter", name)
}

pub fn id(number: u64) -> RecordId {
    RecordId(Uuid::from_u64_pair(7, number))
}

/// Changes that follow on each other: what a core would give.
pub struct Journal {
    pub next: u64,
    digest: Digest,
}

impl Journal {
    pub fn new() -> Self {
        Self { next: 0, digest: Digest::default() }
    }

    /// Nothing but the checkpoint.
    pub fn nothing(&self) -> Changes<Counters> {
        Changes::nothing(self.next)
    }

    /// One record per step, each about the counter of that name; totals are what the last step says.
    pub fn steps(&mut self, steps: impl IntoIterator<Item = (String, Verdict)>) -> Changes<Counters> {
        let mut changes = self.nothing();
        if self.next == 0 {
            changes.genesis = Some(Genesis { log_id: Uuid::nil(), journal: "counters".into(), hash_key: "h".into() });
        }
        for (name, verdict) in steps {
            let offset = self.next;
            self.next += 1;
            self.digest = chain(&self.digest, offset, b"", name.as_bytes());
            let (time_ms, about) = (1000 + offset.cast_signed(), key(&name));
            let (id_of, digest) = (id(offset), self.digest);
            changes.records.push(RecordRow { offset, id: id_of, time_ms, about, verdict, digest });
            if verdict != Verdict::Accepted {
                changes.heads.push((id(offset).as_key(), Head { last: id(offset), offset }));
                continue;
            }
            changes.heads.retain(|(key, _)| *key != about);
            changes.heads.push((about, Head { last: id(offset), offset }));
            let event = Arc::new(Stepped { name: name.clone(), by: vec![1, offset.cast_signed()] });
            let touched = vec![Ref::new("counters", about)];
            changes.happened.push(Happened { at: At { offset, time_ms }, event, touched });
            changes.entities.retain(|row| row.aggregate.key != about);
            changes.entities.push(EntityRow {
                aggregate: Ref::new("counters", about),
                version: offset + 1,
                offset,
                entity: Arc::new(Row::Counter { name, total: offset.cast_signed() }),
            });
        }
        changes.next = self.next;
        changes
    }
}

pub fn limit(version: u64, most: i64) -> EntityRow<Row> {
    EntityRow { aggregate: Ref::new("limits", key("limit")), version, offset: 0, entity: Arc::new(Row::Limit { most }) }
}

pub fn accepted(names: impl IntoIterator<Item = impl ToString>) -> Vec<(String, Verdict)> {
    names.into_iter().map(|name| (name.to_string(), Verdict::Accepted)).collect()
}

//! `orderlog sql`: queries the read models in the data folder, whether or not a server runs.

mod printing;

use std::{
    io,
    ops::ControlFlow,
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use orderlog_readmodel::{ReadAt, Sql, SqlError, StoreError};

use self::printing::{Format, Rows};
use super::{
    exit::{Exit, Failure},
    nearest::Nearest,
};
use crate::{output, registry::Registry};

/// How long a statement may hold a running server's write-ahead logs without a word.
const SILENT: Duration = Duration::from_secs(10);

/// A statement, and how to print its rows.
#[derive(Args, Debug)]
pub struct Query {
    /// One SELECT statement, or `-` to read it from stdin. Without it, the views are listed
    statement: Option<String>,

    /// Print comma-separated values. Default: a table on a terminal, otherwise tab-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    /// Print on stderr at which position each read model is read
    #[arg(long)]
    positions: bool,

    /// Interrupt the statement after this time
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// The folder for read models
    #[arg(short, long, env = "ORDERLOG_DATA", value_name = "DIR", default_value = "./data")]
    data: PathBuf,
}

impl Query {
    pub fn run(self, registry: &Registry) -> anyhow::Result<Exit> {
        let statement = match self.statement.as_deref() {
            Some("-") => Some(io::read_to_string(io::stdin().lock()).context("stdin can't be read")?),
            given => given.map(str::to_owned),
        };
        let sql = self.open(registry)?;
        if self.positions {
            for ReadAt { service, position } in sql.read_at() {
                output::note(&format!("{service}@{position}"));
            }
        }
        match statement {
            Some(statement) => self.within_time(&sql, || self.answer(&sql, &statement))?,
            None => output::print(&sql.views()?.join("\n"))?,
        }
        Ok(Exit::Done)
    }

    fn open(&self, registry: &Registry) -> anyhow::Result<Sql> {
        let files = registry.services.iter().map(|service| service.serving_file(&self.data));
        let files: Vec<_> = files.filter_map(Result::transpose).collect::<Result<_, _>>().map_err(unreadable)?;
        if files.is_empty() {
            return Err(Failure::refused(format!("there are no read models in {}: use --data", self.data.display())));
        }
        Sql::open(files).map_err(unreadable)
    }

    fn answer(&self, sql: &Sql, statement: &str) -> anyhow::Result<()> {
        let answer = sql.query(statement).map_err(|error| self.explained(sql, error))?;
        let columns = answer.columns();
        let mut rows = Rows::begin(Format::chosen(self.csv, self.json), &columns)?;
        let mut printed = Ok(());
        let read = answer.each(|values| {
            printed = rows.print(values);
            if printed.is_err() || output::reader_is_gone() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        printed?;
        // What came before an error is printed too.
        let n_rows = rows.finish()?;
        read.map_err(|error| self.explained(sql, error))?;
        if n_rows == 0 {
            output::note("no rows");
        }
        Ok(())
    }

    /// Runs `work` and interrupts it when its time is up. A server that it holds up is mentioned before that.
    fn within_time<T>(&self, sql: &Sql, work: impl FnOnce() -> T) -> T {
        let (limit, interrupt, is_served) = (Duration::from_secs(self.timeout), sql.interrupter(), sql.is_served());
        let silent = SILENT.min(limit);
        thread::scope(|scope| {
            let (running, ended) = mpsc::channel::<()>();
            scope.spawn(move || {
                let runs_after = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
                if !runs_after(silent) {
                    return;
                }
                if is_served && silent < limit {
                    output::note("the statement still runs: until it ends, the server's write-ahead logs grow");
                }
                if runs_after(limit - silent) {
                    interrupt();
                }
            });
            let outcome = work();
            drop(running);
            outcome
        })
    }

    fn explained(&self, sql: &Sql, error: SqlError) -> anyhow::Error {
        match error {
            SqlError::Interrupted => {
                anyhow::anyhow!("interrupted after {} s: allow the statement more time with --timeout", self.timeout)
            }
            SqlError::Rows(error) => unreadable(error),
            SqlError::Wrong(message) => Failure::usage(with_names(sql, &message).unwrap_or(message)),
            SqlError::Empty | SqlError::Several | SqlError::Parameters | SqlError::Refused(_) => {
                Failure::usage(error.to_string())
            }
        }
    }
}

fn unreadable(error: StoreError) -> anyhow::Error {
    if error.is_damage() { Failure::differs(error.to_string()) } else { error.into() }
}

/// Adds to a message about an unknown name the one that was probably meant. If it is that of a table, lists the views.
fn with_names(sql: &Sql, message: &str) -> Option<String> {
    let (what, name) = message.split_once(": ")?;
    let views = sql.views().ok()?;
    let bare = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let (name, known, list) = match what {
        "no such table" if name.contains('.') => (name.to_owned(), views.clone(), Some(views)),
        "no such table" => (name.to_owned(), views.iter().map(|view| bare(view)).collect(), Some(views)),
        "no such column" => (bare(name), sql.columns().ok()?, None),
        _ => return None,
    };
    let mut nearest = Nearest::to(&name);
    known.iter().for_each(|word| nearest.look_at(word));
    let list = list.map(|views| format!("\n  views: {}", views.join(", "))).unwrap_or_default();
    Some(format!("{message}{}{list}", nearest.question()))
}

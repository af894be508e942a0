//! What a run came to.

use std::{collections::BTreeMap, ffi::OsStr, fmt, path::Path, process::Command};

use anyhow::Result;
use orderlog_history::{History, rule};
use orderlog_tests::deployment::binary;

use crate::book::Book;

/// Faults that hit, what clients were told meanwhile, and what can't be.
#[derive(Debug, Default)]
pub struct Report {
    /// By kind; only those that hit a live operation.
    pub faults: BTreeMap<&'static str, u64>,
    /// What clients were told.
    pub told: BTreeMap<&'static str, u64>,
    /// Records in journals and topics.
    pub n_records: u64,
    /// Records of journals that lost.
    pub n_void: u64,
    /// How often a process ended by itself.
    pub n_ended: u64,
    /// Everything that can't be.
    pub violations: Vec<String>,
}

impl Report {
    /// One more of these has hit.
    pub fn hit(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// How many have hit.
    pub fn n_faults(&self) -> u64 {
        self.faults.values().sum()
    }

    /// What the log holds.
    pub fn count(&mut self, history: &History) {
        self.n_records = (history.journals.values().map(Vec::len).chain(history.topics.values().map(Vec::len)))
            .map(|n| n as u64)
            .sum();
        let judged = rule::judge(history, &mut Vec::new());
        self.n_void = judged.values().flatten().filter(|judged| !judged.accepted).count() as u64;
    }

    /// Whether the program finds these rows to be what the log makes of them. `log` says where that is.
    ///
    /// # Errors
    /// If the program can't be run.
    pub fn verify(&mut self, services: &str, log: &[impl AsRef<OsStr>], data: &Path) -> Result<()> {
        let mut verify = Command::new(binary());
        let verified = verify.args(["projection", "verify", services]).args(log).arg("--data").arg(data).output()?;
        if !verified.status.success() {
            let told = [verified.stdout, verified.stderr].concat();
            self.violations.push(format!("verify {}: {}", data.display(), String::from_utf8_lossy(&told)));
        }
        Ok(())
    }

    pub fn note(&mut self, book: &Book) {
        for (what, n) in book.counts() {
            *self.told.entry(what).or_default() += n;
        }
        self.violations.extend(book.scandals());
    }

    pub fn add(&mut self, other: Self) {
        let Self { faults, told, n_records, n_void, n_ended, violations } = other;
        faults.into_iter().for_each(|(fault, n)| *self.faults.entry(fault).or_default() += n);
        told.into_iter().for_each(|(what, n)| *self.told.entry(what).or_default() += n);
        (self.n_records, self.n_void, self.n_ended) =
            (self.n_records + n_records, self.n_void + n_void, self.n_ended + n_ended);
        self.violations.extend(violations);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "faults that hit: {}", list(&self.faults))?;
        writeln!(f, "told to clients: {}", list(&self.told))?;
        writeln!(
            f,
            "records: {}, of which {} lost; processes that ended by themselves: {}",
            self.n_records, self.n_void, self.n_ended
        )?;
        write!(f, "violations: {}", self.violations.len())?;
        self.violations.iter().take(20).try_for_each(|it| write!(f, "\n  {it}"))
    }
}

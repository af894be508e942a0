//! `docs/promises.md` names for each promise a check that exists, or says that there is none.
//!
//! Deliberately absent: whether a check asserts what its row says. Only a reader can tell.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What a row of a known gap begins its last cell with, before the reason.
const GAP: &str = "none, known gap: ";
/// Where promises are made: how a row calls it, and its file.
const SOURCES: &[(&str, &str)] = &[
    ("README", "README.md"),
    ("ARCHITECTURE", "ARCHITECTURE.md"),
    ("api", "docs/api.md"),
    ("consumers", "docs/consumers.md"),
    ("data", "docs/data.md"),
    ("operations", "docs/operations.md"),
    ("reliability", "docs/reliability.md"),
    ("security", "docs/security.md"),
    ("upgrade", "docs/upgrade.md"),
    ("openapi", "openapi/orderlog.json"),
    ("asyncapi", "openapi/asyncapi.json"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The checks that there are.
struct Checks {
    /// Each source file: its path below the root, without `.rs`, and its text.
    sources: Vec<(String, String)>,
    plants: String,
    run: String,
}

impl Checks {
    fn read() -> Self {
        let root = root();
        let mut sources = Vec::new();
        for folder in ["api", "cli", "domain", "engine", "projections", "tests"] {
            collect(&root.join(folder), &root, &mut sources);
        }
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        Self {
            sources,
            plants: text("engine/core/src/planted.rs") + &text("domain/src/planted.rs"),
            run: text("tests/run"),
        }
    }

    /// Why there is no such check.
    fn fault(&self, check: &str) -> Option<String> {
        let is_there = match check.split_once(": ") {
            Some(("rule", promise)) => self.judge_prints(promise),
            Some(("plant", bug)) => self.plants.lines().any(|line| line.trim() == format!("{bug},")),
            Some(("chaos", kind)) => self.run.contains(&format!("\"$chaos\" {kind} ")),
            Some(("step", heading)) => self.run.contains(&format!("heading \"{heading}\"")),
            _ => return self.fault_of_test(check),
        };
        (!is_there).then(|| format!("there is no {check}"))
    }

    fn judge_prints(&self, promise: &str) -> bool {
        let of_judge = |path: &str| path.starts_with("tests/history/") || path.starts_with("tests/simulation/");
        let mut texts = self.sources.iter().filter(|(path, _)| of_judge(path));
        texts.any(|(_, text)| text.contains(&format!("\"{promise}\"")))
    }

    fn fault_of_test(&self, check: &str) -> Option<String> {
        let Some((file, name)) = check.split_once("::") else {
            return Some(format!("`{check}` is neither `file::name` nor a rule, a plant, chaos or a step"));
        };
        let is_it = |path: &str| path == file || path.ends_with(&format!("/{file}"));
        let found = self.sources.iter().filter(|(path, text)| is_it(path) && has_function(text, name));
        match found.map(|(path, _)| path.as_str()).collect::<Vec<_>>()[..] {
            [] => Some(format!("there is no {check}")),
            [_] => None,
            [..] => Some(format!("`{check}` may be in several files: name more of the path")),
        }
    }
}

fn has_function(text: &str, name: &str) -> bool {
    ["(", "<"].iter().any(|next| text.contains(&format!("fn {name}{next}")))
}

fn collect(folder: &Path, root: &Path, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // A cache of `tests/run` may be large.
        if path.is_dir() && !path.ends_with(".cache") {
            collect(&path, root, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.with_extension("").strip_prefix(root).unwrap().display().to_string();
            sources.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What is wrong with the rows of a text, and how many there are.
fn faults(text: &str, checks: &Checks) -> (Vec<String>, usize) {
    let (mut faults, mut ids) = (Vec::new(), BTreeSet::new());
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|---") && !line.starts_with("| id ");
    for line in text.lines().filter(is_row) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, promise, made_in, check] = cells[..] else {
            faults.push(format!("there are not four cells in {line}"));
            continue;
        };
        if !ids.insert(id) {
            faults.push(format!("{id} is there twice"));
        }
        if !promise.ends_with('.') {
            faults.push(format!("{id} promises no sentence"));
        }
        let is_known = |source: &str| SOURCES.iter().any(|(name, _)| *name == source);
        faults.extend(made_in.split(", ").filter(|it| !is_known(it)).map(|it| format!("{id} is made in `{it}`")));
        faults.extend(faults_of_check(check, checks).into_iter().map(|fault| format!("{id}: {fault}")));
    }
    (faults, ids.len())
}

fn faults_of_check(cell: &str, checks: &Checks) -> Vec<String> {
    let mut named = cell.split('`').skip(1).step_by(2).peekable();
    if named.peek().is_none() && cell.strip_prefix(GAP).is_none_or(str::is_empty) {
        return vec![format!("there is neither a check nor `{GAP}` and a reason")];
    }
    named.filter_map(|check| checks.fault(check)).collect()
}

#[test]
fn every_promise_has_a_check_that_exists_or_is_a_known_gap() {
    let text = fs::read_to_string(root().join("docs/promises.md")).unwrap();
    let (faults, n_rows) = faults(&text, &Checks::read());
    assert!(faults.is_empty(), "docs/promises.md:\n{}", faults.join("\n"));
    assert!(n_rows > 100, "{n_rows} rows: is it still a table?");
    for (name, file) in SOURCES {
        assert!(root().join(file).is_file(), "{name} is {file}");
    }
}

#[test]
fn a_row_whose_check_is_gone_is_named() {
    let checks = Checks::read();
    let found = |row: &str| faults(row, &checks).0;
    let row = |check: &str| format!("| X-1 | It holds. | README, openapi | {check} |");
    let own = "promises::a_row_whose_check_is_gone_is_named";
    for good in [
        own.to_owned(),
        "tests/tests/".to_owned() + own,
        "rule: versions are gapless".to_owned(),
        "plant: OversellByOne".to_owned(),
        "chaos: kill".to_owned(),
        "step: trying the contract".to_owned(),
    ] {
        assert_eq!(found(&row(&format!("`{good}`; not all of it"))), [""; 0], "{good}");
    }
    assert_eq!(found(&row("none, known gap: nobody has the time")), [""; 0]);
    for (gone, told) in [
        ("`promises::what_is_not_there`", "there is no promises::what_is_not_there"),
        ("`omises::a_row_whose_check_is_gone_is_named`", "there is no omises::"),
        ("`promises::a_row`", "there is no promises::a_row"),
        ("`rule: versions are gap`", "there is no rule: versions are gap"),
        ("`plant: Oversell`", "there is no plant: Oversell"),
        ("`chaos: fire`", "there is no chaos: fire"),
        ("`step: trying`", "there is no step: trying"),
        ("`main::main`", "may be in several files"),
        ("`something`", "neither `file::name` nor"),
        ("", "neither a check nor"),
        ("none", "neither a check nor"),
        ("none, known gap: ", "neither a check nor"),
        ("the story", "neither a check nor"),
    ] {
        let found = found(&row(gone));
        assert!(
            matches!(&found[..], [fault] if fault.starts_with("X-1: ") && fault.contains(told)),
            "{gone}: {found:?}"
        );
    }
    assert_eq!(found("| X-1 | It holds. | README |"), ["there are not four cells in | X-1 | It holds. | README |"]);
    assert_eq!(found(&row(&format!("`{own}`")).replace("README", "a letter")), ["X-1 is made in `a letter`"]);
    let twice = format!("{0}\n{0}", row(&format!("`{own}`")));
    assert_eq!(found(&twice), ["X-1 is there twice"]);
}

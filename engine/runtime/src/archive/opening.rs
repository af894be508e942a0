//! Opens an export. Its manifest must list exactly what an export of this format contains.
//!
//! The records themselves are verified by [`Archive::check`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use orderlog_core::{
    decoding,
    public::{Services, Topic},
};
use serde::Deserialize;

use super::{
    Broken, Entry, FORMAT, FORMAT_WITHOUT_GAPS, MANIFEST, Manifest, Signed, Tell, VerifyingKey, file_name, journals_of,
    reading::{JournalReader, Part, check_journal},
    segments,
    signing::{self, SIGNATURE},
    writing::Reached,
};
use crate::envelope::Findings;

/// An export whose manifest is complete and consistent. Its records are not verified yet.
#[derive(Debug)]
pub struct Archive {
    pub(super) dir: PathBuf,
    /// The segments, of which there is at least one. An export that does not go on has one part, its folder.
    pub(super) parts: Vec<Part>,
    pub(super) services: Vec<(&'static str, &'static [Topic])>,
    /// The manifest of the last part, which describes all of them.
    pub manifest: Manifest,
    /// Whether the export is signed and the signature verified.
    pub signed: Signed,
    /// Files in the folder that do not belong to the export. They are never read.
    pub foreign_files: Vec<String>,
}

impl Archive {
    /// Opens the export of these services in `dir`, or its segments up to `up_to`. With a `key`, all of it must be signed by it.
    ///
    /// # Errors
    /// [`Broken`] if the folder is not an export of a known format, if a segment or journal is missing or unexpected, or if it is not
    /// signed by `key`.
    pub fn open(
        dir: &Path,
        services: &Services,
        key: Option<&VerifyingKey>,
        up_to: Option<UpTo>,
    ) -> Result<Self, Broken> {
        let failed = |source| Broken::File { file: dir.to_owned(), source };
        let mut opening = Opening { services, key, signed: Signed::Verified, foreign_files: Vec::new() };
        let mut parts: Vec<Part> = Vec::new();
        if dir.join(MANIFEST).exists() || !segments::has_segments(dir) {
            let part = opening.part(dir)?;
            alone(&part, up_to)?;
            parts.push(part);
        } else {
            let numbers = segments::numbers(dir).map_err(failed)?;
            for number in &numbers {
                if matches!(up_to, Some(UpTo::Segment(last)) if *number > last) {
                    break;
                }
                let part = opening.part(&dir.join(segments::name(*number)))?;
                if matches!(up_to, Some(UpTo::Time(last)) if part.is_later(last)) {
                    break;
                }
                let follows = follows(parts.last().map(|before| &before.manifest), &part.manifest);
                follows.map_err(|why| Broken::Manifest { file: part.dir.join(MANIFEST), why })?;
                parts.push(part);
            }
            has(dir, &numbers, &parts, up_to)?;
            opening.foreign_files.extend(other_files(dir, segments::is_ours).map_err(failed)?);
        }
        let manifest = parts.last().ok_or_else(|| Broken::NoManifest { dir: dir.to_owned() })?.manifest.clone();
        let Opening { signed, foreign_files, .. } = opening;
        Ok(Self { dir: dir.to_owned(), services: services.to_vec(), parts, manifest, signed, foreign_files })
    }

    /// Reads a journal from its beginning.
    pub(super) fn reader(&self, journal: &str) -> Result<JournalReader<'_>, Broken> {
        JournalReader::open(&self.parts, &Reached::beginning(journal))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Verifies every record and every digest, and that nothing is missing. Returns the records of each journal that have foreign
    /// headers.
    ///
    /// # Errors
    /// [`Broken`], with the first damaged record.
    pub fn check(&self, tell: Tell<'_>) -> Result<Vec<(&str, Findings)>, Broken> {
        let mut warnings = Vec::with_capacity(self.manifest.journals.len());
        for entry in &self.manifest.journals {
            warnings.push((entry.journal.as_str(), check_journal(self, entry, tell, |_, _| {})?));
        }
        Ok(warnings)
    }
}

/// A point in time to which an export that goes on is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpTo {
    /// The last segment.
    Segment(u64),
    /// The last segment that was sealed by then.
    Time(DateTime<Utc>),
}

/// What is the same for all parts, and what they have in common.
struct Opening<'a> {
    services: &'a Services,
    key: Option<&'a VerifyingKey>,
    signed: Signed,
    foreign_files: Vec<String>,
}

impl Opening<'_> {
    fn part(&mut self, dir: &Path) -> Result<Part, Broken> {
        let file = dir.join(MANIFEST);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Broken::NoManifest { dir: dir.to_owned() });
            }
            Err(source) => return Err(Broken::File { file, source }),
        };
        self.signed = self.signed.min(signing::verify(dir, &text, self.key)?);
        let unusable = |why| Broken::Manifest { file: file.clone(), why };
        let manifest = parse(&text, self.services).map_err(unusable)?;
        let failed = |source| Broken::File { file: dir.to_owned(), source };
        let foreign_files = foreign_files(dir, self.services).map_err(failed)?;
        if let Some(journal) = foreign_files.iter().find(|name| name.ends_with(&file_name(""))) {
            return Err(unusable(format!("it does not list {journal}, which is in the same folder")));
        }
        self.foreign_files.extend(foreign_files);
        Ok(Part { dir: dir.to_owned(), manifest })
    }
}

/// Checks that a part is an export of its own.
fn alone(part: &Part, up_to: Option<UpTo>) -> Result<(), Broken> {
    let why = match (part.manifest.segment, up_to) {
        (None, None) => return Ok(()),
        (Some(number), _) => format!("is segment {number} of an export: give the folder of all segments"),
        (None, Some(_)) => "has no segments, so it can only be taken as a whole".to_owned(),
    };
    Err(Broken::NoSegment { dir: part.dir.clone(), why })
}

/// Checks that a segment continues the one before.
fn follows(before: Option<&Manifest>, segment: &Manifest) -> Result<(), String> {
    let wanted = before.and_then(|before| before.segment).unwrap_or(0) + 1;
    if segment.segment != Some(wanted) {
        let found = segment.segment.map_or_else(|| "no segment".to_owned(), |found| format!("segment {found}"));
        return Err(format!(
            "it is {found}, but segment {wanted} must be next: restore what is missing, or take the segments before by --to"
        ));
    }
    let Some(before) = before else { return Ok(()) };
    if segment.export_id != before.export_id {
        return Err(format!(
            "it belongs to the export {}, the segments before to {}",
            segment.export_id, before.export_id
        ));
    }
    for entry in &segment.journals {
        let earlier = before.journals.iter().find(|it| it.journal == entry.journal);
        let is_later = |earlier: &Entry| {
            let same_log = (&entry.log_id, &entry.hash_key) == (&earlier.log_id, &earlier.hash_key);
            entry.n_records >= earlier.n_records && (same_log || earlier.log_id.is_none())
        };
        if !earlier.is_some_and(is_later) {
            return Err(format!("its journal {} does not continue that of the segment before", entry.journal));
        }
    }
    Ok(())
}

/// Checks that `up_to` was found.
fn has(dir: &Path, numbers: &[u64], parts: &[Part], up_to: Option<UpTo>) -> Result<(), Broken> {
    let last = parts.last().and_then(|part| part.manifest.segment);
    let is_found = match up_to {
        None => true,
        Some(UpTo::Segment(number)) => last == Some(number),
        Some(UpTo::Time(_)) => last.is_some(),
    };
    if is_found {
        return Ok(());
    }
    let why = match numbers {
        [] => "has no segment yet".to_owned(),
        [.., last] => format!("has segments 1 to {last} and nothing before: choose one of them, or a later time"),
    };
    Err(Broken::NoSegment { dir: dir.to_owned(), why })
}

fn parse(text: &[u8], services: &Services) -> Result<Manifest, String> {
    /// The format number alone, since a newer format may have other fields.
    #[derive(Deserialize)]
    struct Numbered {
        format: u64,
    }
    let Numbered { format } = decoding::from_slice(text).map_err(|error| error.to_string())?;
    if !(u64::from(FORMAT_WITHOUT_GAPS)..=u64::from(FORMAT)).contains(&format) {
        return Err(format!("it is of format {format}, this program knows {FORMAT_WITHOUT_GAPS} to {FORMAT}"));
    }
    // Decoded directly from the text: through a `Value`, the last of two duplicate fields would win silently.
    let manifest: Manifest = decoding::from_slice(text).map_err(|error| error.to_string())?;
    each_once(&manifest.journals, services)?;
    manifest.journals.iter().try_for_each(|entry| consistent(manifest.format, entry))?;
    Ok(manifest)
}

/// Checks that the entries are the journals of these services, each exactly once.
fn each_once(entries: &[Entry], services: &Services) -> Result<(), String> {
    let count = |journal: &str| entries.iter().filter(|entry| entry.journal == journal).count();
    let mut faults: Vec<String> = journals_of(services)
        .filter_map(|journal| match count(journal) {
            0 => Some(format!("{journal} is missing")),
            1 => None,
            n => Some(format!("{journal} is listed {n} times")),
        })
        .collect();
    let unknown = entries.iter().filter(|entry| journals_of(services).all(|journal| journal != entry.journal));
    faults.extend(unknown.map(|entry| format!("{:?} is no journal", entry.journal)));
    if faults.is_empty() {
        return Ok(());
    }
    let wanted = journals_of(services).collect::<Vec<_>>().join(", ");
    Err(format!("{}: an export of format {FORMAT} has {wanted}, each once. Take another export", faults.join(", ")))
}

/// Checks that the fields of an entry are consistent.
fn consistent(format: u32, entry: &Entry) -> Result<(), String> {
    let Entry { journal, file, n_records, first_offset, last_offset, last_digest: _, log_id, hash_key } = entry;
    if *file != file_name(journal) {
        return Err(format!("the file of {journal} must be called {}, not {file:?}", file_name(journal)));
    }
    let is_consistent = match (first_offset, last_offset) {
        (None, None) => *n_records == 0,
        (Some(0), Some(last)) if format == FORMAT_WITHOUT_GAPS => n_records.checked_sub(1) == Some(*last),
        (Some(first), Some(last)) if format > FORMAT_WITHOUT_GAPS => {
            *n_records > 0 && last.checked_sub(*first).is_some_and(|rest| n_records - 1 <= rest)
        }
        (Some(_), Some(_) | None) | (None, Some(_)) => false,
    };
    if !is_consistent {
        let at =
            |offset: &Option<u64>| offset.map_or_else(|| "none".to_owned(), |offset| format!("{journal}@{offset}"));
        return Err(format!(
            "it lists {n_records} records of {journal}, but as the first {} and as the last {}",
            at(first_offset),
            at(last_offset)
        ));
    }
    // Of format 2, a journal can have only foreign records.
    let may_lack_genesis = *n_records == 0 || format > FORMAT_WITHOUT_GAPS;
    let has_genesis = log_id.is_some();
    if hash_key.is_some() != has_genesis || (if has_genesis { *n_records == 0 } else { !may_lack_genesis }) {
        return Err(format!(
            "log_id and hash_key of {journal} must be those of its genesis, at {journal}@0 or behind it, and null if it has none"
        ));
    }
    Ok(())
}

/// Returns the names in `dir` that do not belong to an export.
fn foreign_files(dir: &Path, services: &Services) -> io::Result<Vec<String>> {
    let ours: Vec<String> =
        journals_of(services).map(file_name).chain([MANIFEST, SIGNATURE].map(str::to_owned)).collect();
    other_files(dir, |name| ours.iter().any(|it| it == name))
}

fn other_files(dir: &Path, is_ours: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut others = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !is_ours(&name) {
            others.push(name);
        }
    }
    others.sort();
    Ok(others)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SERVICES: &Services = &[("alpha", &[]), ("beta", &[]), ("gamma", &[]), ("delta", &[])];

    fn entry(journal: &str) -> Value {
        json!({ "journal": journal, "file": format!("{journal}.journal.zst"), "n_records": 2, "first_offset": 0,
            "last_offset": 1, "last_digest": "00", "log_id": uuid::Uuid::nil(), "hash_key": "f" })
    }

    fn manifest() -> Value {
        json!({ "format": 1, "export_id": uuid::Uuid::nil(), "program": "0", "time": "t", "one_moment": true,
            "journals": journals_of(SERVICES).map(entry).collect::<Vec<_>>() })
    }

    fn refusal(change: impl FnOnce(&mut Value)) -> String {
        let mut changed = manifest();
        change(&mut changed);
        parse(changed.to_string().as_bytes(), SERVICES).expect_err("it must be refused")
    }

    fn journals(manifest: &mut Value) -> &mut Vec<Value> {
        manifest["journals"].as_array_mut().expect("an array")
    }

    #[test]
    fn a_manifest_lists_exactly_the_journals_of_its_format_each_once_and_in_any_order() {
        assert!(parse(manifest().to_string().as_bytes(), SERVICES).is_ok());
        let mut reversed = manifest();
        journals(&mut reversed).reverse();
        assert!(parse(reversed.to_string().as_bytes(), SERVICES).is_ok());

        let missing = refusal(|it| drop(journals(it).remove(2)));
        assert!(missing.starts_with("gamma is missing: "), "{missing}");
        let none = refusal(|it| journals(it).clear());
        assert!(none.contains("alpha is missing, beta is missing"), "{none}");
        let twice = refusal(|it| journals(it).push(entry("beta")));
        assert!(twice.starts_with("beta is listed 2 times"), "{twice}");
        let instead = refusal(|it| journals(it)[2] = entry("beta"));
        assert!(instead.contains("beta is listed 2 times, gamma is missing"), "{instead}");
        for name in ["epsilon", "Beta", "", "../beta"] {
            let unknown = refusal(|it| journals(it).push(entry(name)));
            assert!(unknown.contains(&format!("{name:?} is no journal")), "{unknown}");
        }
    }

    #[test]
    fn what_a_manifest_says_of_a_journal_must_fit_together() {
        let refused = |field: &str, value: Value| refusal(|it| it["journals"][1][field] = value);
        assert!(refused("file", json!("../beta.journal.zst")).contains("must be called beta.journal.zst"));
        assert!(refused("file", json!("delta.journal.zst")).contains("must be called beta.journal.zst"));
        assert!(refused("n_records", json!(0)).contains("0 records of beta"));
        assert!(refused("n_records", json!(3)).contains("as the last beta@1"));
        assert!(refused("first_offset", json!(1)).contains("as the first beta@1"));
        assert!(refused("last_offset", json!(null)).contains("as the last none"));
        assert!(refused("log_id", json!(null)).contains("of its genesis"));
        assert!(refused("hash_key", json!(null)).contains("of its genesis"));
        let empty = |it: &mut Value| {
            for field in ["first_offset", "last_offset", "log_id", "hash_key"] {
                it["journals"][1][field] = json!(null);
            }
            it["journals"][1]["n_records"] = json!(0);
        };
        let mut with_an_empty_journal = manifest();
        empty(&mut with_an_empty_journal);
        assert!(parse(with_an_empty_journal.to_string().as_bytes(), SERVICES).is_ok(), "a service may never have run");
    }

    #[test]
    fn offsets_may_have_gaps_since_format_2() {
        let accepts = |format: u32, n_records: u64, first: u64, last: u64| {
            let mut changed = manifest();
            changed["format"] = json!(format);
            if format == 2 {
                changed["journals"][1]["n_records"] = json!(n_records);
                changed["journals"][1]["first_offset"] = json!(first);
                changed["journals"][1]["last_offset"] = json!(last);
            }
            parse(changed.to_string().as_bytes(), SERVICES).is_ok()
        };
        assert!(accepts(2, 2, 0, 1) && accepts(2, 2, 0, 7) && accepts(2, 1, 3, 3) && accepts(2, 2, 3, 9));
        assert!(!accepts(2, 3, 0, 1) && !accepts(2, 0, 0, 1) && !accepts(2, 1, 3, 2) && !accepts(2, 2, 3, 3));
        assert!(!accepts(0, 2, 0, 1) && !accepts(3, 2, 0, 1));
    }

    #[test]
    fn an_error_names_the_field_and_no_value() {
        for field in ["export_id", "one_moment", "journals", "format"] {
            let told = refusal(|it| it[field] = json!("eve@example.com"));
            assert!(told.starts_with(&format!("{field}: ")) && !told.contains("eve"), "{told}");
        }
        let told = refusal(|it| it["journals"][1]["n_records"] = json!("eve@example.com"));
        assert!(told.starts_with("journals.1.n_records: ") && !told.contains("eve"), "{told}");
    }

    #[test]
    fn a_field_that_is_given_twice_is_refused() {
        let text = manifest().to_string();
        let journals = text.replacen("\"journals\":", "\"journals\":[],\"journals\":", 1);
        assert!(parse(journals.as_bytes(), SERVICES).expect_err("two lists").contains("duplicate field"));
        let format = text.replacen("\"format\":1", "\"format\":2,\"format\":1", 1);
        assert!(parse(format.as_bytes(), SERVICES).expect_err("two numbers").contains("duplicate field"));
        let offset = text.replacen("\"n_records\":2", "\"n_records\":7,\"n_records\":2", 1);
        assert!(parse(offset.as_bytes(), SERVICES).expect_err("two counts").contains("duplicate field"));
    }
}

//! Checks a write-ahead log for damage. SQLite treats a log with a damaged header as empty and silently drops all commits from a
//! damaged frame on, so acknowledged records would be lost.
//!
//! The file format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The magic number, without the last bit, which is the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// Whether a write-ahead log contains commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wal {
    Empty,
    /// At least one commit.
    Commits,
}

/// Returns the path of the write-ahead log of `file`.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Checks the write-ahead log of `file`, in which each commit was fsynced before the next one began. Fsyncs it first.
///
/// A damaged frame in the last commit is indistinguishable from an unacknowledged commit that a power failure interrupted. This
/// is not an error; SQLite drops that commit.
///
/// # Errors
/// How the log is damaged, or why it can't be read.
pub(super) fn look(file: &Path) -> Result<Wal, String> {
    let wal = match File::open(beside(file)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Wal::Empty),
        opened => opened.map_err(|error| error.to_string())?,
    };
    wal.sync_all().map_err(|error| error.to_string())?;
    read(BufReader::new(wal))
}

fn read(mut bytes: impl BufRead) -> Result<Wal, String> {
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut bytes, &mut header)? {
        return Ok(Wal::Empty);
    }
    if header == [0; HEADER_BYTES] {
        return is_zero(bytes);
    }
    let mut frames = Frames::behind(&header)?;
    let mut frame = vec![0; FRAME_HEADER_BYTES + frames.page_bytes];
    while fill(&mut bytes, &mut frame)? {
        frames.add(&frame)?;
    }
    Ok(if frames.n_commits > 0 { Wal::Commits } else { Wal::Empty })
}

/// Returns `Empty` if all bytes are zero: the file system reserved room for a header that never reached the disk. SQLite fsyncs the
/// header before it writes anything after it.
fn is_zero(bytes: impl BufRead) -> Result<Wal, String> {
    for byte in bytes.bytes() {
        if byte.map_err(|error| error.to_string())? != 0 {
            return Err("its header is missing".to_owned());
        }
    }
    Ok(Wal::Empty)
}

/// Fills the buffer. Returns false if fewer bytes are left.
fn fill(bytes: &mut impl Read, buffer: &mut [u8]) -> Result<bool, String> {
    match bytes.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// The state of checking the frames of a write-ahead log.
struct Frames {
    page_bytes: usize,
    salts: [u8; 8],
    is_big_endian: bool,
    /// The checksum stored in the previous frame.
    sum: (u32, u32),
    /// The number of commits that SQLite will read.
    n_commits: usize,
    n: usize,
    /// The first frame whose checksum does not match. SQLite ignores it and all later frames.
    bad: Option<usize>,
    /// Whether a commit ended at the bad frame or after it.
    is_committed: bool,
}

impl Frames {
    fn behind(header: &[u8; HEADER_BYTES]) -> Result<Self, String> {
        let magic = number(header, 0);
        if magic & !1 != MAGIC {
            return Err("it does not begin as a write-ahead log of SQLite does".to_owned());
        }
        let is_big_endian = magic & 1 == 1;
        let sum = checksum((0, 0), &header[..24], is_big_endian);
        let page_bytes = number(header, 8) as usize;
        if sum != (number(header, 24), number(header, 28)) {
            return Err("its header is damaged: the checksum is another one".to_owned());
        }
        if number(header, 4) != VERSION || !page_bytes.is_power_of_two() || !(512..=65_536).contains(&page_bytes) {
            return Err("its header is of another version of SQLite".to_owned());
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        Ok(Self { page_bytes, salts, is_big_endian, sum, n_commits: 0, n: 0, bad: None, is_committed: false })
    }

    /// # Errors
    /// If the frame follows a commit that SQLite would drop. That commit had been fsynced.
    fn add(&mut self, frame: &[u8]) -> Result<(), String> {
        self.n += 1;
        // Otherwise the frame is left from before the log was last restarted.
        let is_of_this_round = frame[8..16] == self.salts;
        let (head, page) = (&frame[..8], &frame[FRAME_HEADER_BYTES..]);
        let sum = checksum(checksum(self.sum, head, self.is_big_endian), page, self.is_big_endian);
        self.sum = (number(frame, 16), number(frame, 20));
        let is_whole = is_of_this_round && sum == self.sum;
        let is_commit = is_of_this_round && number(frame, 4) != 0;
        match self.bad {
            None if is_whole => self.n_commits += usize::from(is_commit),
            None => (self.bad, self.is_committed) = (Some(self.n), is_commit),
            Some(bad) if is_whole && self.is_committed => return Err(format!("frame {bad} is damaged")),
            Some(_) => self.is_committed |= is_commit,
        }
        Ok(())
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(four)
}

/// Continues SQLite's checksum over `bytes`, a multiple of 8.
fn checksum((mut first, mut second): (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let big = number(bytes, 0);
        if is_big_endian { big } else { big.swap_bytes() }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::embedded::file;

    const PAGE: usize = 4096;
    const FRAME: usize = FRAME_HEADER_BYTES + PAGE;

    /// Returns the bytes of a write-ahead log with this many commits, and its number of frames.
    fn commits(n: usize) -> (Vec<u8>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.sqlite");
        let connection: Connection = file::connect(&file).unwrap();
        connection.execute_batch("create table t (x); pragma wal_checkpoint(truncate)").unwrap();
        for _ in 0..n {
            connection.execute("insert into t values (1)", []).unwrap();
        }
        let bytes = std::fs::read(beside(&file)).unwrap();
        let n_frames = bytes.len().saturating_sub(HEADER_BYTES) / FRAME;
        (bytes, n_frames)
    }

    fn look_at(bytes: &[u8]) -> Result<Wal, String> {
        read(bytes)
    }

    #[test]
    fn what_sqlite_wrote_is_whole() {
        assert_eq!(look_at(&commits(0).0), Ok(Wal::Empty));
        assert_eq!(look_at(&commits(1).0), Ok(Wal::Commits));
        assert_eq!(look_at(&commits(5).0), Ok(Wal::Commits));
    }

    #[test]
    fn any_changed_byte_before_the_last_commit_is_found() {
        let (bytes, n_frames) = commits(4);
        assert_eq!(n_frames, 4, "a frame each");
        let last = HEADER_BYTES + 3 * FRAME;
        let step = 61;
        for at in (0..HEADER_BYTES).chain((HEADER_BYTES..last - FRAME).step_by(step)) {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert!(look_at(&changed).is_err(), "{at}");
        }
        let zero = [vec![0; HEADER_BYTES], bytes[HEADER_BYTES..].to_vec()].concat();
        assert!(look_at(&zero).is_err());
    }

    #[test]
    fn what_a_power_cut_leaves_is_no_damage() {
        let (bytes, _) = commits(4);
        for length in [0, 7, HEADER_BYTES, HEADER_BYTES + 100] {
            assert_eq!(look_at(&bytes[..length]), Ok(Wal::Empty), "{length}");
        }
        assert_eq!(look_at(&bytes[..bytes.len() - 1]), Ok(Wal::Commits));
        let mut torn = bytes.clone();
        torn[HEADER_BYTES + 3 * FRAME + 1000] ^= 1;
        assert_eq!(look_at(&torn), Ok(Wal::Commits), "the last commit may not have been fsynced");
        assert_eq!(look_at(&vec![0; 3 * FRAME]), Ok(Wal::Empty));
    }

    #[test]
    fn frames_of_an_earlier_round_are_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.sqlite");
        let connection = file::connect(&file).unwrap();
        connection.execute_batch("create table t (x)").unwrap();
        let insert = |n: usize| connection.execute_batch(&"insert into t values (1);".repeat(n)).unwrap();
        insert(6);
        file::checkpoint(&connection).unwrap();
        insert(2);
        assert_eq!(look(&file), Ok(Wal::Commits));
        assert!(std::fs::metadata(beside(&file)).unwrap().len() as usize > HEADER_BYTES + 5 * FRAME);
    }
}

//! What the program prints on a terminal, at two widths.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    fs::File,
    io::Read,
    num::NonZero,
    path::Path,
    process::{Command, Stdio},
};

use orderlog_tests::{
    deployment::{Embedded, binary},
    story::{self, Shop},
};
use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// Enough for every answer, so that nothing scrolls away.
const N_ROWS: u16 = 500;

/// What a person sees after a command has ended.
struct Seen {
    code: i32,
    /// Without the empty lines below.
    lines: Vec<String>,
    /// As the program wrote it.
    raw: String,
    /// How often the program went beyond the right edge.
    n_wrapped: usize,
}

impl Seen {
    /// Everything, if it ended with this code and stayed within the terminal.
    #[track_caller]
    fn fits(self, code: i32) -> Self {
        assert_eq!((self.code, self.n_wrapped), (code, 0), "{:#?}", self.lines);
        self
    }
}

/// A terminal of so many columns.
#[derive(Clone, Copy)]
struct Terminal(u16);

impl Terminal {
    /// Runs the program on a data folder.
    fn run(self, args: &[&str], data: &Path) -> Seen {
        self.run_with(&[], args, data)
    }

    /// Runs the program on a data folder with these variables.
    fn run_with(self, variables: &[(&str, &str)], args: &[&str], data: &Path) -> Seen {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let size = Winsize { ws_row: N_ROWS, ws_col: self.0, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let end = || Stdio::from(ioctl_tiocgptpeer(&terminal, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
        let mut command = Command::new(binary());
        command.args(args).env("ORDERLOG_DATA", data).env("TERM", "xterm").env_remove("NO_COLOR");
        command.envs(variables.iter().copied()).stdin(end()).stdout(end()).stderr(end());
        let mut process = command.spawn().unwrap();
        // The command holds the other end of the terminal too.
        drop(command);
        let (mut reader, mut bytes) = (File::from(terminal), Vec::new());
        // Linux reports an error instead of the end.
        drop(reader.read_to_end(&mut bytes));
        let code = process.wait().unwrap().code().unwrap_or(-1);
        self.seen(code, &bytes)
    }

    fn seen(self, code: i32, bytes: &[u8]) -> Seen {
        let size = |n| NonZero::new(n).unwrap();
        let mut parser = vt100::Parser::new(size(N_ROWS), size(self.0), 0);
        parser.process(bytes);
        let screen = parser.screen();
        let mut lines: Vec<String> = screen.rows(0, self.0).map(|line| line.trim_end().to_owned()).collect();
        let n_filled = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        lines.truncate(n_filled);
        let n_wrapped = (0..N_ROWS).filter(|row| screen.row_wrapped(*row)).count();
        Seen { code, lines, raw: String::from_utf8_lossy(bytes).into_owned(), n_wrapped }
    }
}

#[tokio::test]
async fn progress_and_colours_leave_a_clean_screen() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    story::play(&Shop::from(&deployment), "a").await;
    for width in [80, 120] {
        let verified = Terminal(width).run(&["projection", "verify", "all"], &data).fits(0);
        assert!(verified.raw.contains("\r\x1b[2K") && verified.raw.contains("records/s"), "{:?}", verified.raw);
        assert!(!verified.lines.iter().any(|line| line.contains(" left")), "{:#?}", verified.lines);
        let status = Terminal(width).run(&["projection", "status"], &data).fits(0);
        assert_eq!(status.lines.len(), 6, "{:#?}", status.lines);
        let orders = Terminal(width).run(&["sql", "select total, * from orders_view limit 3"], &data).fits(0);
        assert!(orders.lines.len() == 4 && orders.lines[0].starts_with("total  order_id"), "{:#?}", orders.lines);
        assert!(status.raw.contains("\x1b[2mservice "), "the heading is dim: {:?}", status.raw);
        let replayed = Terminal(width).run(&["log", "replay", "orders"], &data).fits(0);
        assert!(replayed.lines[0].starts_with("position   time (UTC) "), "{:#?}", replayed.lines);
        let is_row = |(line, offset): (&String, i32)| line.starts_with(&format!("orders@{offset} "));
        assert!(replayed.lines[1..].iter().zip(0..).all(is_row), "one line a record: {:#?}", replayed.lines);
        assert!(replayed.lines.iter().any(|line| line.ends_with("..")), "{:#?}", replayed.lines);
        let topics = Terminal(width).run(&["log", "topics"], &data).fits(0);
        assert!(topics.lines.iter().any(|line| line.starts_with("low.stock ")), "{:#?}", topics.lines);
        let export = data.join(format!("export-{width}")).display().to_string();
        for verb in ["export", "check"] {
            let archived = Terminal(width).run(&["log", verb, &export], &data);
            assert!(archived.raw.contains("\r\x1b[2K") && archived.raw.contains("records/s"), "{:?}", archived.raw);
            let is_left = archived.lines.iter().any(|line| line.contains("records/s"));
            assert!(!is_left && archived.lines[0].starts_with("export "), "{:#?}", archived.lines);
        }
        for help in [&["--help"][..], &["log", "replay", "-h"], &["projection", "--help"]] {
            Terminal(width).run(help, &data).fits(0);
        }
    }
    let (wrong, args) = ("\x1b[31merror:\x1b[0m", ["parked", "show", "orders", "0"]);
    let coloured = Terminal(80).run(&args, &data).fits(5);
    assert!(coloured.raw.contains(wrong), "{:?}", coloured.raw);
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = Terminal(80).run_with(&[variable], &args, &data).fits(5);
        assert!(!plain.raw.contains('\x1b') && plain.raw.contains("error:"), "{:?}", plain.raw);
    }
    let coloured = Terminal(80).run_with(&[("NO_COLOR", "")], &args, &data).fits(5);
    assert!(coloured.raw.contains(wrong), "an empty variable is none: {:?}", coloured.raw);
    assert!(deployment.stop().await);
}

#[test]
fn short_help_fits_on_a_screen_of_any_width() {
    let data = tempfile::tempdir().unwrap();
    for columns in [80, 120] {
        for args in [&["-h"][..], &["serve", "-h"], &["log", "replay", "-h"], &["projection", "rebuild", "-h"]] {
            let seen = Terminal(columns).run(args, data.path()).fits(0);
            assert!(seen.lines.len() <= 40, "{args:?} at {columns}: {:#?}", seen.lines);
        }
        let whole = Terminal(columns).run(&["serve", "--help"], data.path()).fits(0);
        for text in ["Kafka:", "Limits:", "Examples:", "--tls-cert", "Exit codes:"] {
            assert!(whole.lines.iter().any(|line| line.contains(text)), "{text}: {:#?}", whole.lines);
        }
    }
}

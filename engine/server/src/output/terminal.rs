//! Whether an output is a terminal, how wide it is, and whether it gets colours: decided here for everything that is printed.

use std::{
    env,
    io::{self, IsTerminal},
};

use rustix::termios::tcgetwinsize;

/// The width of a terminal that does not report one.
const COLUMNS: usize = 80;

/// An output of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The meaning of a piece of text, which has a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A heading, or what matters less.
    Dim,
    Good,
    Wrong,
}

impl Stream {
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    /// The width of the terminal; `None` if the output is not a terminal.
    pub fn columns(self) -> Option<usize> {
        let size = match self {
            Self::Stdout => tcgetwinsize(io::stdout()),
            Self::Stderr => tcgetwinsize(io::stderr()),
        };
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        self.is_terminal().then_some(if columns == 0 { COLUMNS } else { columns })
    }

    /// Whether to colour: only on a terminal, and never if `NO_COLOR` is set and not empty, or `TERM` is `dumb`.
    pub fn has_colour(self) -> bool {
        self.can_redraw() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Whether it obeys escape sequences, so that a line can be replaced.
    pub fn can_redraw(self) -> bool {
        self.is_terminal() && env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
    }

    /// `text` in a style, if this output gets colours.
    pub fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Dim => 2,
            Style::Good => 32,
            Style::Wrong => 31,
        };
        if self.has_colour() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The number of columns that `text` takes. Counts a character that may be wide as two columns, even if it is not.
pub fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    // No script below Hangul Jamo has wide characters.
    if c < '\u{1100}' { 1 } else { 2 }
}

/// `text` as one line of at most this many columns. Control characters, which a terminal would obey, become dots.
pub fn cut(text: &str, columns: usize) -> String {
    let safe = text.chars().map(|c| if c.is_control() { '\u{b7}' } else { c });
    if width(text) <= columns {
        return safe.collect();
    }
    let (mut line, mut n) = (String::new(), 0);
    for c in safe {
        n += columns_of(c);
        // Two columns are for the dots.
        if n + 2 > columns {
            break;
        }
        line.push(c);
    }
    line + &"..".chars().take(columns).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_the_columns_that_it_may_take() {
        assert_eq!(cut("twelve chars", 12), "twelve chars");
        assert_eq!(cut("twelve chars", 11), "twelve ch..");
        assert_eq!(cut("twelve chars", 1), ".");
        assert_eq!(cut("", 0), "");
        assert_eq!(cut("日本語のテキスト", 10), "日本語のテキスト".chars().take(4).collect::<String>() + "..");
        assert_eq!(cut("a\x1b[2Jb\nc", 80), "a\u{b7}[2Jb\u{b7}c");
        for columns in 0..30 {
            assert!(width(&cut("日本 and a longer text, é", columns)) <= columns, "{columns}");
        }
    }
}

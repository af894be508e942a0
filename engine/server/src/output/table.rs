//! Tables for people: a heading and one line for each row, cut to the terminal.

use super::{Stream, Style, print, terminal};

/// Between two columns.
const GAP: &str = "  ";

/// A column's heading, and the side to which it is aligned.
#[derive(Clone, Copy, Debug)]
pub enum Column<'a> {
    Left(&'a str),
    /// For numbers.
    Right(&'a str),
}

/// Prints rows, which have as many cells as there are columns.
#[derive(Debug)]
pub struct Table<'a> {
    columns: Vec<Column<'a>>,
    /// Of the first rows; later ones may be wider.
    widths: Option<Vec<usize>>,
    /// Of the terminal; a line for other programs is not cut.
    n_columns: usize,
}

impl<'a> Table<'a> {
    pub fn new(columns: impl Into<Vec<Column<'a>>>) -> Self {
        Self { columns: columns.into(), widths: None, n_columns: Stream::Stdout.columns().unwrap_or(usize::MAX) }
    }

    /// Prints rows, and the heading above the first ones. Those decide how wide the columns are.
    pub fn print(&mut self, rows: &[Vec<String>]) -> anyhow::Result<()> {
        if self.widths.is_none() {
            let headings: Vec<String> = self.columns.iter().map(|column| column.heading().to_owned()).collect();
            let all = || std::iter::once(&headings).chain(rows);
            let width = |i: usize| all().map(|row| terminal::width(&row[i])).max().unwrap_or(0);
            self.widths = Some((0..self.columns.len()).map(width).collect());
            print(&Stream::Stdout.paint(Style::Dim, &self.line(&headings)))?;
        }
        rows.iter().try_for_each(|row| print(&self.line(row)))
    }

    fn line(&self, row: &[String]) -> String {
        let widths = self.widths.iter().flatten();
        let cells = self.columns.iter().zip(row).zip(widths).map(|((column, cell), width)| column.padded(cell, *width));
        terminal::cut(cells.collect::<Vec<_>>().join(GAP).trim_end(), self.n_columns)
    }
}

impl<'a> Column<'a> {
    const fn heading(self) -> &'a str {
        match self {
            Self::Left(heading) | Self::Right(heading) => heading,
        }
    }

    fn padded(self, cell: &str, width: usize) -> String {
        let padding = " ".repeat(width.saturating_sub(terminal::width(cell)));
        match self {
            Self::Left(_) => format!("{cell}{padding}"),
            Self::Right(_) => format!("{padding}{cell}"),
        }
    }
}

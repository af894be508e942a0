//! Prints the rows of a statement: a table for people, tab-separated or comma-separated values, or JSON.

use orderlog_readmodel::Value;
use serde_json::json;

use crate::output::{
    Stream, print,
    table::{Column, Table},
};

/// How many rows of a table decide how wide its columns are.
const N_FIRST: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    Tabs,
    Csv,
    Json,
}

impl Format {
    pub fn chosen(csv: bool, json: bool) -> Self {
        match (csv, json) {
            (true, _) => Self::Csv,
            (_, true) => Self::Json,
            _ if Stream::Stdout.is_terminal() => Self::Table,
            _ => Self::Tabs,
        }
    }
}

/// The rows of one statement.
pub struct Rows<'a> {
    format: Format,
    columns: &'a [String],
    n_rows: u64,
    /// Rows of a table that are not printed yet.
    first: Vec<Vec<Value>>,
    table: Option<Table<'a>>,
}

impl<'a> Rows<'a> {
    /// Prints the heading, if the format has one.
    ///
    /// # Errors
    /// If stdout can't be written.
    pub fn begin(format: Format, columns: &'a [String]) -> anyhow::Result<Self> {
        match format {
            Format::Tabs => print(&line(columns, "\t", tabbed))?,
            Format::Csv => print(&line(columns, ",", quoted))?,
            Format::Table | Format::Json => {}
        }
        Ok(Self { format, columns, n_rows: 0, first: Vec::new(), table: None })
    }

    /// Prints a row, or keeps it until the columns' widths are known.
    ///
    /// # Errors
    /// If stdout can't be written.
    pub fn print(&mut self, values: Vec<Value>) -> anyhow::Result<()> {
        self.n_rows += 1;
        match self.format {
            Format::Tabs => print(&line(&texts(&values), "\t", tabbed)),
            Format::Csv => print(&line(&texts(&values), ",", quoted)),
            Format::Json => print(&object(self.columns, &values)),
            Format::Table => {
                self.first.push(values);
                if self.first.len() < N_FIRST { Ok(()) } else { self.print_table() }
            }
        }
    }

    /// Prints what was kept. Returns the number of rows.
    ///
    /// # Errors
    /// If stdout can't be written.
    pub fn finish(mut self) -> anyhow::Result<u64> {
        if !self.first.is_empty() {
            self.print_table()?;
        }
        Ok(self.n_rows)
    }

    fn print_table(&mut self) -> anyhow::Result<()> {
        let rows = std::mem::take(&mut self.first);
        let is_number = |value: &Value| matches!(value, Value::Integer(_) | Value::Real(_) | Value::Null);
        let table = self.table.get_or_insert_with(|| {
            let aligned = |(i, name): (usize, &'a String)| match rows.iter().all(|row| is_number(&row[i])) {
                true => Column::Right(name),
                false => Column::Left(name),
            };
            Table::new(self.columns.iter().enumerate().map(aligned).collect::<Vec<_>>())
        });
        table.print(&rows.iter().map(|row| texts(row)).collect::<Vec<_>>())
    }
}

fn line(cells: &[String], between: &str, escaped: fn(&str) -> String) -> String {
    cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join(between)
}

fn tabbed(cell: &str) -> String {
    cell.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

/// As in RFC 4180.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(text).collect()
}

/// Null is an empty text, and bytes are hexadecimal.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// The row as JSON, with its columns in their order. A name that several columns have gets a number.
fn object(columns: &[String], values: &[Value]) -> String {
    let named = columns.iter().enumerate().map(|(i, name)| {
        match columns[..i].iter().filter(|before| *before == name).count() {
            0 => json!(name),
            n => json!(format!("{name}:{n}")),
        }
    });
    let value = |value: &Value| match value {
        Value::Null => json!(null),
        Value::Integer(number) => json!(number),
        Value::Real(number) => json!(number),
        Value::Text(_) | Value::Blob(_) => json!(text(value)),
    };
    let fields: Vec<_> = named.zip(values).map(|(name, cell)| format!("{name}:{}", value(cell))).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_for_their_format() {
        let cells = ["a,b", "say \"no\"", "two\nlines\tand a tab", "back\\slash", ""].map(str::to_owned);
        assert_eq!(line(&cells, ",", quoted), "\"a,b\",\"say \"\"no\"\"\",\"two\nlines\tand a tab\",back\\slash,");
        assert_eq!(line(&cells, "|", tabbed), "a,b|say \"no\"|two\\nlines\\tand a tab|back\\\\slash|");
    }

    #[test]
    fn json_keeps_types_order_and_every_column() {
        let columns = ["b", "a", "b"].map(str::to_owned);
        let row = |values: [Value; 3]| object(&columns, &values);
        let texts = row([Value::Text("\"".to_owned()), Value::Integer(i64::MAX), Value::Real(0.5)]);
        assert_eq!(texts, r#"{"b":"\"","a":9223372036854775807,"b:1":0.5}"#);
        let others = row([Value::Blob(vec![1, 255]), Value::Null, Value::Real(f64::INFINITY)]);
        assert_eq!(others, r#"{"b":"01ff","a":null,"b:1":null}"#);
    }
}

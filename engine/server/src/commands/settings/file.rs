//! The settings file: TOML with the options of `serve`, each under the name of its flag.

use std::{any::TypeId, fs, os::unix::fs::PermissionsExt, path::Path};

use clap::{Arg, ArgAction, Command, Id};
use serde_json::Value;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{super::variables::similar, masked, options};

/// The permission bits of users who are neither the owner nor in the file's group.
const OTHERS: u32 = 0o007;

/// A line that sets an option.
#[derive(Debug)]
pub struct Line {
    /// The option's id in the command line.
    pub id: Id,
    pub number: usize,
    /// The same on a command line; empty for `false`.
    pub args: Vec<String>,
}

/// Reads the settings in `file`; `serve` has the options that it may set.
///
/// # Errors
/// Everything that is wrong with the file, one line each. No value is repeated, because it may be a secret.
pub fn read(file: &Path, serve: &Command) -> Result<Vec<Line>, String> {
    let text = fs::read_to_string(file);
    let text = text.map_err(|error| format!("the settings file {} can't be read: {error}", file.display()))?;
    let line_at = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let at_line = |line: usize, fault: &str| format!("{}:{line}: {fault}", file.display());
    let table = DeTable::parse(&text)
        .map_err(|error| at_line(line_at(error.span().map_or(0, |span| span.start)), error.message()))?;
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    for (name, value) in table.get_ref() {
        let number = line_at(name.span().start);
        match setting(serve, name.get_ref(), value.get_ref()) {
            Ok((option, args)) => lines.push((option, Line { id: option.get_id().clone(), number, args })),
            Err(fault) => faults.push((number, fault)),
        }
    }
    if is_open_to_others(file) {
        let is_secret = |(option, line): &&(&Arg, Line)| line.args.iter().any(|arg| masked(option, arg) != *arg);
        faults.extend(lines.iter().find(is_secret).map(|(option, line)| (line.number, open_to_others(option, file))));
    }
    if faults.is_empty() {
        return Ok(lines.into_iter().map(|(_, line)| line).collect());
    }
    faults.sort();
    Err(faults.iter().map(|(number, fault)| at_line(*number, fault)).collect::<Vec<_>>().join("\n"))
}

fn is_open_to_others(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.permissions().mode() & OTHERS != 0)
}

fn open_to_others(option: &Arg, file: &Path) -> String {
    format!(
        "`{}` is secret, but every user of this machine can read the file: run `chmod o= {}`",
        option.get_long().unwrap_or_default(),
        file.display()
    )
}

fn setting<'a>(serve: &'a Command, name: &str, value: &DeValue<'_>) -> Result<(&'a Arg, Vec<String>), String> {
    if matches!(value, DeValue::Table(_)) {
        return Err(format!("`{name}` is a section, but settings have no sections: write `name = value`"));
    }
    let option = options(serve).find(|option| option.get_long() == Some(name)).ok_or_else(|| unknown(serve, name))?;
    let is = || format!("`{name}` must be {}, but is {}", expected(option), kind_of(value));
    Ok((option, args(option, value).ok_or_else(is)?))
}

fn unknown(serve: &Command, name: &str) -> String {
    match similar(serve, name).and_then(Arg::get_long) {
        Some(similar) => format!("there is no setting `{name}`: did you mean `{similar}`?"),
        None => format!("there is no setting `{name}`: settings are named like the options of `serve`, without `--`"),
    }
}

/// The types that an option takes in the file.
struct Takes {
    switch: bool,
    integer: bool,
    number: bool,
    text: bool,
    list: bool,
}

impl Takes {
    fn of(option: &Arg) -> Self {
        let parsed = option.get_value_parser().type_id();
        let is_switch = matches!(option.get_action(), ArgAction::SetTrue);
        let is_optional = option.get_num_args().is_some_and(|n| n.min_values() == 0);
        let integers = [
            TypeId::of::<i16>(),
            TypeId::of::<u16>(),
            TypeId::of::<i32>(),
            TypeId::of::<u32>(),
            TypeId::of::<i64>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
        ];
        let integer = integers.iter().any(|integer| parsed == *integer);
        let number = parsed == TypeId::of::<f64>();
        Self {
            switch: is_switch || is_optional,
            integer,
            number,
            text: !is_switch && !integer && !number,
            list: matches!(option.get_action(), ArgAction::Append),
        }
    }
}

/// The value as arguments of a command line; `None` if it has the wrong type.
fn args(option: &Arg, value: &DeValue<'_>) -> Option<Vec<String>> {
    let takes = Takes::of(option);
    let flag = format!("--{}", option.get_long()?);
    let with = |text: &str| Some(vec![format!("{flag}={text}")]);
    match value {
        DeValue::Boolean(is_set) if takes.switch => Some(is_set.then_some(flag).into_iter().collect()),
        DeValue::Integer(number) if takes.integer || takes.number => with(&decimal(number)),
        DeValue::Float(number) if takes.number => with(number.as_str()),
        DeValue::String(text) if takes.text => with(text),
        DeValue::Array(items) if takes.list => {
            let items =
                items.iter().map(|item| if item.get_ref().is_str() { args(option, item.get_ref()) } else { None });
            items.collect::<Option<Vec<_>>>().map(|args| args.concat())
        }
        _ => None,
    }
}

fn decimal(number: &DeInteger<'_>) -> String {
    i128::from_str_radix(number.as_str(), number.radix())
        .map_or_else(|_| number.to_string(), |number| number.to_string())
}

fn expected(option: &Arg) -> String {
    let takes = Takes::of(option);
    let types = [
        (takes.switch, "true or false"),
        (takes.integer, "an integer"),
        (takes.number, "a number"),
        (takes.text, "a string"),
        (takes.list, "a list of strings"),
    ];
    types.into_iter().filter(|(is_taken, _)| *is_taken).map(|(_, name)| name).collect::<Vec<_>>().join(" or ")
}

const fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// The option's value by its type in the file, from the texts of a command line.
pub fn value(option: &Arg, texts: Vec<String>) -> Option<Value> {
    let takes = Takes::of(option);
    if takes.text && takes.list {
        return (!texts.is_empty()).then(|| texts.into());
    }
    let text = texts.into_iter().next()?;
    if takes.text { Some(text.into()) } else { serde_json::from_str(&text).ok() }
}

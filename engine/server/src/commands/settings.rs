//! Where options get their values: the flag, else the `ORDERLOG_*` variable, else the settings file, else the default.
//!
//! Variables and settings are put in front of the flags, as if they had been written there, so that one parser checks
//! all values. Errors then name the variable, or the file and line, that a value came from.

mod file;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use clap::{Arg, ArgAction, ArgMatches, Command, Id, builder::Resettable, error::ErrorKind, parser::ValueSource};

use serde_json::{Value, json};

use super::variables::{self, Environment, SECRET, Source};

/// The id of the option that names the settings file.
pub const CONFIG: &str = "config";
const CONFIG_VARIABLE: &str = "ORDERLOG_CONFIG";
/// What is shown of a secret.
const HIDDEN: &str = "(hidden)";
/// Words in the names of librdkafka's settings that hold a secret.
const SECRET_WORDS: [&str; 4] = ["password", "secret", ".key", "oauthbearer.config"];

/// The words by which a variable sets a switch.
const ON: [&str; 4] = ["1", "true", "yes", "on"];
const OFF: [&str; 4] = ["0", "false", "no", "off"];

/// An option that is set by a source.
struct Given {
    source: Source,
    /// For variables and the file: the same on a command line.
    args: Vec<OsString>,
}

/// A command line that has everything that was given in any place.
pub struct Layers {
    pub args: Vec<OsString>,
    pub sources: Sources,
}

/// The sources of the chosen command's options; an option that is missing has its default.
#[derive(Debug, Default)]
pub struct Sources {
    chosen: Command,
    of: BTreeMap<Id, Source>,
}

/// Adds `--config` to every command that has an option of `serve`.
pub fn offered(command: Command) -> Command {
    let known: Vec<Id> = options(&command).map(|option| option.get_id().clone()).collect();
    offered_to(command, &known)
}

fn offered_to(command: Command, known: &[Id]) -> Command {
    let has_any = command.get_arguments().any(|option| known.contains(option.get_id()));
    let command = if has_any { command.arg(config()) } else { command };
    command.mut_subcommands(|command| offered_to(command, known))
}

/// The options of `serve` that the file may set; the program without a command has the same.
fn options(serve: &Command) -> impl Iterator<Item = &Arg> {
    serve.get_arguments().filter(|option| !option.is_global_set() && option.get_id() != CONFIG)
}

fn config() -> Arg {
    Arg::new(CONFIG)
        .short('c')
        .long(CONFIG)
        .env(CONFIG_VARIABLE)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("A settings file (TOML) with options of `serve`")
        .long_help(
            "A settings file (TOML) with options of `serve` under the names of their flags, such as `listen = \"127.0.0.1:9000\"`. \
             Flags and variables take precedence",
        )
}

impl Layers {
    /// Adds variables and the settings file to `args`, which begin with the program's name.
    ///
    /// # Errors
    /// If the arguments ask for help, or a variable or the file is wrong.
    pub fn of(command: &Command, args: Vec<OsString>, environment: &Environment) -> Result<Self, clap::Error> {
        let args = with_switches_inside(command, args);
        let matches = command.clone().ignore_errors(true).try_get_matches_from(&args)?;
        let (chosen, matches, n_words) = chosen(command, &matches, &args);
        let mut given = BTreeMap::new();
        for option in chosen.get_arguments() {
            if matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine) {
                given.insert(option.get_id().clone(), Given { source: Source::Flag, args: Vec::new() });
            } else if let Some((name, value)) = variables::value(option, environment)? {
                let args = variable_args(option, &name, &value)?;
                given.insert(option.get_id().clone(), Given { source: Source::Variable(name), args });
            }
        }
        let file = matches.try_get_one::<PathBuf>(CONFIG).ok().flatten().cloned();
        let is_option = |id: &Id| chosen.get_arguments().any(|option| option.get_id() == id);
        let named = environment.get(CONFIG_VARIABLE).filter(|file| !file.is_empty() && is_option(&CONFIG.into()));
        if let Some(file) = file.or_else(|| named.map(PathBuf::from)) {
            let lines = file::read(&file, command).map_err(|faults| wrong(&faults))?;
            for file::Line { id, number, args } in lines.into_iter().filter(|line| is_option(&line.id)) {
                let source = Source::File { file: file.clone(), line: number };
                let args = args.into_iter().map(OsString::from).collect();
                given.entry(id).or_insert(Given { source, args });
            }
        }
        let hidden: Vec<_> = given.keys().filter(|id| is_hidden(chosen, &given, id)).cloned().collect();
        given.retain(|id, _| !hidden.contains(id));
        let (before, after) = args.split_at(n_words.min(args.len()));
        let layered = given.values().flat_map(|given| &given.args);
        let args = before.iter().chain(layered).chain(after).cloned().collect();
        let of = given.into_iter().map(|(id, given)| (id, given.source)).collect();
        let sources = Sources { chosen: chosen.clone(), of };
        Ok(Self { args, sources })
    }
}

/// Moves switches such as `-q` from before a command's name to behind it. The parser would take them for options of the program
/// without a command, which exclude a command.
fn with_switches_inside(command: &Command, mut args: Vec<OsString>) -> Vec<OsString> {
    let is_switch = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        command.get_arguments().filter(|option| option.is_global_set()).any(|option| {
            option.get_long().is_some_and(|long| *arg == format!("--{long}"))
                || option.get_short().is_some_and(|short| *arg == format!("-{short}"))
        })
    };
    let n = args.iter().skip(1).take_while(|arg| is_switch(arg)).count();
    if args.get(n + 1).is_some_and(|word| command.find_subcommand(word).is_some()) {
        args[1..=n + 1].rotate_left(n);
    }
    args
}

/// The command that `matches` is about, its options, and how many of `args` lead to it.
fn chosen<'a>(
    command: &'a Command,
    matches: &'a ArgMatches,
    args: &[OsString],
) -> (&'a Command, &'a ArgMatches, usize) {
    let (mut command, mut matches, mut n_words) = (command, matches, 1);
    while let Some((name, inner)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name) else { break };
        let is_its_name = |word: &OsString| word == name || found.get_all_aliases().any(|alias| word == alias);
        n_words += args.iter().skip(n_words).position(is_its_name).map_or(0, |before| before + 1);
        (command, matches) = (found, inner);
    }
    (command, matches, n_words)
}

/// A command line for [`Layers::args`], which have the values of variables.
pub fn without_variables(command: Command) -> Command {
    command.mut_args(|option| option.env(Resettable::Reset)).mut_subcommands(without_variables)
}

/// The option as it would be written on a command line.
///
/// # Errors
/// If a switch is neither on nor off.
fn variable_args(option: &Arg, name: &str, value: &OsStr) -> Result<Vec<OsString>, clap::Error> {
    let mut flag = OsString::from(format!("--{}", option.get_long().unwrap_or_default()));
    let word = value.to_string_lossy().to_lowercase();
    // An option whose value may be left out can be switched, too; but 1 may be a value.
    let is_word = word != "1" && (ON.contains(&&*word) || OFF.contains(&&*word));
    let is_optional = option.get_num_args().is_some_and(|n| n.min_values() == 0);
    let is_switch = matches!(option.get_action(), ArgAction::SetTrue) || is_optional && is_word;
    if !is_switch {
        flag.push("=");
        flag.push(value);
        return Ok(vec![flag]);
    }
    match (ON.contains(&&*word), OFF.contains(&&*word)) {
        (true, _) => Ok(vec![flag]),
        (_, true) => Ok(Vec::new()),
        _ => Err(wrong(&format!("invalid value '{word}' for '{name}': use true or false"))),
    }
}

/// Whether a stronger source sets an option that excludes this one, as a flag `--hash-key` does with `hash-key-file` in
/// the file.
fn is_hidden(command: &Command, given: &BTreeMap<Id, Given>, id: &Id) -> bool {
    let excludes = |one: &Id, other: &Id| {
        let option = command.get_arguments().find(|option| option.get_id() == one);
        option.is_some_and(|option| command.get_arg_conflicts_with(option).iter().any(|it| it.get_id() == other))
    };
    let is_set = |given: &Given| given.source == Source::Flag || !given.args.is_empty();
    given.iter().any(|(other, stronger)| {
        is_set(stronger)
            && stronger.source.rank() < given[id].source.rank()
            && (excludes(other, id) || excludes(id, other))
    })
}

fn wrong(faults: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::InvalidValue, format!("{faults}\n"))
}

/// An option of `serve` with its value, as far as it may be shown.
#[derive(Debug)]
pub struct Setting {
    /// The flag without `--`.
    name: String,
    value: Option<Value>,
    /// `None` for the default.
    source: Option<Source>,
}

impl Setting {
    /// A line of a settings file; a comment if there is no value that may be shown.
    pub fn toml(&self) -> String {
        // JSON's texts, numbers and lists are also TOML's.
        let value = self.value.as_ref().map(Value::to_string);
        match value {
            Some(value) if value.contains(HIDDEN) => format!("# {} = {value}", self.name),
            Some(value) => format!("{} = {value}", self.name),
            None => format!("# {} =", self.name),
        }
    }

    pub fn source(&self) -> String {
        let default = if self.value.is_some() { "default" } else { "not set" };
        self.source.as_ref().map_or_else(|| default.to_owned(), Source::to_string)
    }

    pub fn json(&self) -> Value {
        let (source, at) = match &self.source {
            None => ("default", None),
            Some(Source::Flag) => ("flag", None),
            Some(source @ Source::Variable(_)) => ("variable", Some(source.to_string())),
            Some(source @ Source::File { .. }) => ("file", Some(source.to_string())),
        };
        json!({ "option": self.name, "value": self.value, "source": source, "at": at })
    }
}

impl Sources {
    /// Names the sources of values in an error, instead of flags that were not passed.
    pub fn named(&self, error: clap::Error) -> clap::Error {
        variables::named(error, &self.chosen, &|option| self.of.get(option.get_id()))
    }

    /// The values of those options of `serve` that the chosen command has, if `matches` are those of [`Layers::args`].
    pub fn settings(&self, serve: &Command, mut matches: &ArgMatches) -> Vec<Setting> {
        while let Some((_, inner)) = matches.subcommand() {
            matches = inner;
        }
        let options = options(serve).filter(|option| !option.is_hide_set());
        let setting = |option: &Arg| {
            let id = option.get_id();
            let raw = matches.try_get_raw(id.as_str()).ok()?;
            let texts = raw.into_iter().flatten().map(|text| masked(option, &text.to_string_lossy()));
            let value = file::value(option, texts.collect());
            Some(Setting { name: option.get_long()?.to_owned(), value, source: self.of.get(id).cloned() })
        };
        options.filter_map(setting).collect()
    }
}

/// The value without what is secret in it. It may be written as `--option=value`.
fn masked(option: &Arg, value: &str) -> String {
    if !option.is_hide_env_values_set() {
        return value.to_owned();
    }
    let flag = format!("--{}=", option.get_long().unwrap_or_default());
    if let Some(value) = value.strip_prefix(&flag) {
        return format!("{flag}{}", masked(option, value));
    }
    let names: Vec<_> = option.get_value_names().into_iter().flatten().map(|name| name.as_str()).collect();
    match (&names[..], value.split_once('=')) {
        ([SECRET], _) => HIDDEN.to_owned(),
        (["NAME=VALUE"], Some((name, _))) if SECRET_WORDS.iter().any(|word| name.contains(word)) => {
            format!("{name}={HIDDEN}")
        }
        (["NAME=VALUE"], _) => value.to_owned(),
        _ if !value.contains("://") => value.to_owned(),
        _ => masked_url(value),
    }
}

/// The URL without user, password and query.
fn masked_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return HIDDEN.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?(hidden)"));
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{query}"),
        None => format!("{scheme}://{rest}{query}"),
    }
}

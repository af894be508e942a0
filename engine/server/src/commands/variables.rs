//! Options set by `ORDERLOG_*` variables: what an empty one means, and how errors name what a value came from.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// The value name, in `--help`, of options that carry a secret.
pub const SECRET: &str = "SECRET";
/// The option without which a server requires no tokens.
const ISSUER: &str = "oidc_issuer";

const PREFIX: &str = "ORDERLOG_";

/// The values of variables.
pub type Environment = BTreeMap<String, OsString>;

/// Where a value comes from, strongest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Flag,
    Variable(String),
    File { file: PathBuf, line: usize },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
        }
    }
}

impl Source {
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Flag => 0,
            Self::Variable(_) => 1,
            Self::File { .. } => 2,
        }
    }
}

/// The variables of this process that are meant for the program.
pub fn of_process() -> Environment {
    let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named.filter(|(name, _)| name.starts_with(PREFIX)).collect()
}

/// Warnings about variables that no option has.
pub fn unknown(command: &Command, environment: &Environment) -> Vec<String> {
    let options = all_options(command);
    let is_known = |name: &str| options.iter().any(|option| option.get_env() == Some(OsStr::new(name)));
    let unknown = environment.keys().filter(|name| !is_known(name) && !is_from_kubernetes(name));
    let warning = |name: &String| {
        let flag = name.trim_start_matches(PREFIX).to_lowercase().replace('_', "-");
        let is_flag = options.iter().any(|option| option.get_long() == Some(&flag));
        let similar = similar(command, &flag).and_then(Arg::get_env).map(|name| name.to_string_lossy());
        let help = match similar {
            _ if is_flag => format!(": pass --{flag} to the commands that have this option"),
            Some(similar) => format!(": did you mean {similar}?"),
            None => String::new(),
        };
        format!("warning: the variable {name} has no effect{help}")
    };
    unknown.map(warning).collect()
}

/// The option of `serve` whose name is similar, by the rule for misspelled flags.
pub fn similar<'a>(serve: &'a Command, name: &str) -> Option<&'a Arg> {
    let error = serve.clone().try_get_matches_from(["", &format!("--{name}")]).err()?;
    let Some(ContextValue::String(flag)) = error.get(ContextKind::SuggestedArg) else { return None };
    serve.get_arguments().find(|option| option.get_long() == Some(flag.trim_start_matches('-')))
}

fn all_options(command: &Command) -> Vec<&Arg> {
    command.get_arguments().chain(command.get_subcommands().flat_map(all_options)).collect()
}

/// Kubernetes sets such variables for each service in the namespace, and a service may be called orderlog.
fn is_from_kubernetes(name: &str) -> bool {
    name.ends_with("_PORT") || ["_PORT_", "_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|part| name.contains(part))
}

/// The name and the value of the option's variable, if it is set; empty ones count as unset.
///
/// # Errors
/// If it is empty, but protects something.
pub fn value(option: &Arg, environment: &Environment) -> Result<Option<(String, OsString)>, clap::Error> {
    let Some(name) = option.get_env().and_then(OsStr::to_str) else { return Ok(None) };
    match environment.get(name) {
        Some(value) if value.is_empty() && protects(option) => {
            let message = format!("the variable {name} is empty: give it a value, or unset it\n");
            Err(clap::Error::raw(ErrorKind::ValueValidation, message))
        }
        value => Ok(value.filter(|value| !value.is_empty()).map(|value| (name.to_owned(), value.clone()))),
    }
}

/// Whether leaving this out by mistake would be insecure: secrets, their files, and the issuer of tokens.
fn protects(option: &Arg) -> bool {
    let is_secret = option.get_value_names().is_some_and(|names| names.iter().any(|name| name == SECRET));
    let is_file_of_secret = option.get_env().and_then(OsStr::to_str).is_some_and(|name| name.ends_with("_FILE"));
    is_secret || is_file_of_secret || option.get_id() == ISSUER
}

/// Replaces flags in an error with the variables or settings that their values came from.
pub fn named<'a>(error: clap::Error, command: &Command, source_of: &dyn Fn(&Arg) -> Option<&'a Source>) -> clap::Error {
    let text = error.render().to_string();
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|rest| text.find(rest)).min();
    let (told, rest) = text.split_at(end.unwrap_or(text.len()));
    let is_missing = error.kind() == ErrorKind::MissingRequiredArgument;
    let mut command = command.clone();
    // Only a built command knows how errors name its options.
    command.build();
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    for option in command.get_arguments().filter(|option| option.get_long().is_some()) {
        let flag = option.to_string();
        let name = source_of(option).and_then(|source| place(option, source));
        for line in &mut lines {
            if let Some((name, rest)) = &name {
                *line = line.replace(&format!("'{flag}'"), &format!("'{name}'{rest}"));
            }
            if line.trim() != flag {
                continue;
            }
            match (&name, option.get_env()) {
                (Some((name, rest)), _) => *line = format!("  {name}{rest}"),
                (None, Some(variable)) if is_missing => *line = format!("  {flag} or {}", variable.to_string_lossy()),
                (None, _) => {}
            }
        }
    }
    let renamed = lines.join("\n");
    if renamed == told {
        return error;
    }
    let message = format!("{}{}\n", renamed.trim_start_matches("error: "), rest.trim_end());
    clap::Error::raw(error.kind(), message)
}

/// What an error calls the option, and what it adds.
fn place(option: &Arg, source: &Source) -> Option<(String, String)> {
    match source {
        Source::Flag => None,
        Source::Variable(name) => Some((name.clone(), String::new())),
        Source::File { .. } => Some((option.get_long()?.to_owned(), format!(" in {source}"))),
    }
}

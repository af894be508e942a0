//! Options set by `ORDERLOG_*` variables: accepts the forms that deployments use, and makes errors name the variable
//! instead of a flag that was not passed.

use std::ffi::{OsStr, OsString};

use clap::{
    Arg, ArgAction, Command,
    builder::{BoolishValueParser, Resettable},
    error::ErrorKind,
};

/// The value name, in `--help`, of options that carry a secret.
pub const SECRET: &str = "SECRET";
/// The option without which a server requires no tokens.
const ISSUER: &str = "oidc_issuer";

/// Treats empty variables as unset, and lets flags be set to 1, true, yes or on.
pub fn prepared(command: Command) -> Command {
    command.mut_args(prepared_arg).mut_subcommands(prepared)
}

fn prepared_arg(arg: Arg) -> Arg {
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let arg = if is_flag { arg.value_parser(BoolishValueParser::new()) } else { arg };
    if is_empty(&arg) && !protects(&arg) { arg.env(Resettable::Reset) } else { arg }
}

fn value(arg: &Arg) -> Option<OsString> {
    std::env::var_os(arg.get_env()?)
}

fn is_empty(arg: &Arg) -> bool {
    value(arg).is_some_and(|value| value.is_empty())
}

/// Whether leaving this out by mistake would be insecure: secrets, their files, and the issuer of tokens.
fn protects(arg: &Arg) -> bool {
    let is_secret = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == SECRET));
    let is_file_of_secret = arg.get_env().and_then(OsStr::to_str).is_some_and(|name| name.ends_with("_FILE"));
    is_secret || is_file_of_secret || arg.get_id() == ISSUER
}

/// Rejects empty variables of the chosen command that protect something.
///
/// # Errors
/// An error that names the variable.
pub fn check(command: &Command, args: &[OsString]) -> Result<(), clap::Error> {
    let words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    let chosen = words.fold(command, |command, word| command.find_subcommand(word).unwrap_or(command));
    let is_missed = |option: &&Arg| protects(option) && is_empty(option) && !is_given(option, args);
    let Some(empty) = chosen.get_arguments().find(is_missed) else { return Ok(()) };
    let variable = empty.get_env().unwrap_or_default().to_string_lossy();
    let message = format!("the variable {variable} is empty: give it a value, or unset it\n");
    Err(clap::Error::raw(ErrorKind::ValueValidation, message))
}

/// Replaces flags in an error with the variables that their values came from.
pub fn named(error: clap::Error, command: &Command, args: &[OsString]) -> clap::Error {
    let text = error.render().to_string();
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|rest| text.find(rest)).min();
    let (told, rest) = text.split_at(end.unwrap_or(text.len()));
    let is_missing = error.kind() == ErrorKind::MissingRequiredArgument;
    let mut command = command.clone();
    // Only a built command knows how errors name its options.
    command.build();
    let renamed = with_variables(told, &options(&command), is_missing, args);
    if renamed == told {
        return error;
    }
    let message = format!("{}{}\n", renamed.trim_start_matches("error: "), rest.trim_end());
    clap::Error::raw(error.kind(), message)
}

fn options(command: &Command) -> Vec<&Arg> {
    let own = command.get_arguments().filter(|arg| arg.get_env().is_some() && arg.get_long().is_some());
    own.chain(command.get_subcommands().flat_map(options)).collect()
}

fn with_variables(told: &str, options: &[&Arg], is_missing: bool, args: &[OsString]) -> String {
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    for option in options {
        let (flag, variable) = (option.to_string(), option.get_env().unwrap_or_default().to_string_lossy());
        let is_from_variable = value(option).is_some() && !is_given(option, args);
        for line in &mut lines {
            if is_from_variable {
                *line = line.replace(&format!("'{flag}'"), &format!("'{variable}'"));
            }
            if line.trim() == flag && is_from_variable {
                *line = format!("  {variable}");
            } else if line.trim() == flag && is_missing {
                *line = format!("  {flag} or {variable}");
            }
        }
    }
    lines.join("\n")
}

fn is_given(option: &Arg, args: &[OsString]) -> bool {
    let flag = option.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    args.iter()
        .filter_map(|arg| arg.to_str())
        .any(|arg| arg.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
}

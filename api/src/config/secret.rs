//! Secrets are never told: not by the command line's errors either.

use std::ffi::OsStr;

use clap::{Arg, Command, builder::TypedValueParser, error::ErrorKind};

/// Reads a value that may be, or hold, a secret. What is wrong with it is told with the name of the option, and without the value,
/// which clap would add else.
#[derive(Clone, Copy, Debug)]
pub struct Untold<T>(pub fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Untold<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let parsed = value.to_str().ok_or_else(|| "it is no UTF-8".to_owned()).and_then(self.0);
        parsed.map_err(|why| {
            let name = arg.map(|arg| format!(" for '{arg}'")).unwrap_or_default();
            clap::Error::raw(ErrorKind::ValueValidation, format!("invalid value{name}: {why}\n")).with_cmd(command)
        })
    }
}

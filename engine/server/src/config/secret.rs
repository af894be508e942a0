//! Secrets, read from a variable or a file. Nothing prints them, not even the command line's errors.

use std::{
    ffi::OsStr,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use clap::{Arg, Command, builder::TypedValueParser, error::ErrorKind};

/// A value that no message may contain.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The given secret, or the one in the file.
    pub fn given_or_in(given: Option<&Self>, file: Option<&Path>) -> Result<Option<Self>, SecretError> {
        let Some(file) = file else { return Ok(given.cloned()) };
        let text = fs::read_to_string(file);
        let text = text.map_err(|source| SecretError::Unreadable { file: file.to_owned(), source })?;
        // Editors end the file with a line break.
        Ok(Some(Self(text.trim_end_matches(['\r', '\n']).to_owned())))
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why a secret is not available.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file can't be read.
    #[error("the secret in {} can't be read", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    /// It is not set.
    #[error("{user} needs a password: give it in {variable}, or in a file by {flag}")]
    Missing {
        user: &'static str,
        /// The variable that can hold it.
        variable: &'static str,
        /// The option that can name its file.
        flag: &'static str,
    },
}

/// Parses a value that may be or contain a secret. Errors name the option but omit the value, which clap would add.
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

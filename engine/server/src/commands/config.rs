//! `orderlog config ...`: the options that `serve` would have, and where their values come from.

use clap::Subcommand;

use super::{
    exit::{Exit, Failure},
    settings::Setting,
};
use crate::{config::Options, output::print, registry::Registry, server};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the value of each option of `serve`, and where it comes from, as a settings file
    ///
    /// Secrets are hidden.
    Show {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        options: Box<Options>,
    },
    /// Check the options of `serve`, from flags, variables and the settings file, without starting anything
    ///
    /// Reads the keys, certificates and secrets that the options name. Exits with 2 if `serve` would refuse them.
    Check {
        #[command(flatten)]
        options: Box<Options>,
    },
}

pub fn run(registry: &Registry, verb: &Verb, settings: &[Setting]) -> anyhow::Result<Exit> {
    match verb {
        Verb::Show { json: true, .. } => {
            for setting in settings {
                print(&setting.json().to_string())?;
            }
        }
        Verb::Show { json: false, .. } => print(&table(settings))?,
        Verb::Check { options } => {
            server::check(registry, options).map_err(|error| Failure::usage(format!("{:#}", error.with_exit())))?;
            print("the options are valid")?;
        }
    }
    Ok(Exit::Done)
}

/// TOML with the sources as comments.
fn table(settings: &[Setting]) -> String {
    let lines: Vec<_> = settings.iter().map(|setting| (setting.toml(), setting.source())).collect();
    let width = lines.iter().map(|(toml, _)| toml.chars().count()).filter(|n| *n <= 48).max().unwrap_or_default();
    let lines = lines.iter().map(|(toml, source)| format!("{toml:<width$}  # {source}"));
    lines.collect::<Vec<_>>().join("\n")
}

//! `orderlog completions` and `orderlog man`: made from the definition of the command line.

use std::{fs, path::Path};

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;
use crate::{output::print, private, registry::Registry};

/// Prints the completion script for a shell.
pub fn complete(registry: &'static Registry, shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::commands(registry), registry.about.name, &mut script);
    print(String::from_utf8(script)?.trim_end())
}

/// Writes a page for each command to `dir`, or prints the program's own.
pub fn man(registry: &'static Registry, dir: Option<&Path>) -> anyhow::Result<()> {
    let mut command = Cli::commands(registry).disable_help_subcommand(true);
    command.build();
    let Some(dir) = dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return print(String::from_utf8(page)?.trim_end());
    };
    // Pages are installed by one user and read by all.
    private::make_files_public();
    let source = format!("{} {}", registry.about.name, env!("CARGO_PKG_VERSION"));
    let written = fs::create_dir_all(dir).and_then(|()| write_pages(&command, &source, dir));
    let n_pages = written.with_context(|| format!("the pages can't be written to {}", dir.display()))?;
    print(&format!("{n_pages} pages are in {}; read one with `man -l FILE`", dir.display()))
}

fn write_pages(command: &Command, source: &str, dir: &Path) -> std::io::Result<usize> {
    Man::new(command.clone()).source(source).generate_to(dir)?;
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| write_pages(command, source, dir)).try_fold(1, |sum, n_pages| Ok(sum + n_pages?))
}

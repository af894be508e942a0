//! The program around a registry of services.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    process::ExitCode,
};

use crate::{
    commands::{Cli, Exit, exit_code},
    output, private,
    registry::Registry,
};

/// Parses the command line, runs the command, and reports errors on stderr.
pub fn main(registry: &'static Registry) -> ExitCode {
    private::begin();
    output::report_panics();
    let exit = match Cli::read(registry, std::env::args_os()) {
        Ok(cli) => run(cli, registry),
        Err(answer) => answered(&answer),
    };
    output::finish();
    exit.into()
}

#[tokio::main]
async fn run(cli: Cli, registry: &'static Registry) -> Exit {
    match cli.run(registry).await {
        Ok(exit) => exit,
        Err(error) => {
            note(&error);
            exit_code(&error)
        }
    }
}

/// Prints one line per cause, unless the line before already ends with it.
fn note(error: &anyhow::Error) {
    let mut told = String::new();
    for (i, cause) in error.chain().enumerate() {
        let cause = cause.to_string();
        if !told.ends_with(&cause) {
            output::note(&format!("{}{cause}", if i == 0 { "error: " } else { "  because: " }));
        }
        told = cause;
    }
}

/// Prints the command-line parser's answer: help, the version, or an error.
fn answered(answer: &clap::Error) -> Exit {
    if answer.use_stderr() {
        let has_colors = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let text = answer.render();
        output::note(&if has_colors { text.ansi().to_string() } else { text.to_string() });
        return Exit::Usage;
    }
    match answer.print().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            output::note(&format!("error: stdout can't be written\n  because: {error}"));
            Exit::Failed
        }
        Ok(()) | Err(_) => Exit::Done,
    }
}

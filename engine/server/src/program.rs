//! The program around a registry of services.

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use crate::{
    commands::{Cli, Exit, environment, exit_code},
    output::{self, Stream, Style},
    private,
    registry::Registry,
};

/// Parses the command line, runs the command, and reports errors on stderr.
pub fn main(registry: &'static Registry) -> ExitCode {
    private::begin();
    output::report_panics();
    let exit = match Cli::read(registry, std::env::args_os(), &environment()) {
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
            let begin = if i == 0 { Stream::Stderr.paint(Style::Wrong, "error:") } else { "  because:".to_owned() };
            output::fail(&format!("{begin} {cause}"));
        }
        told = cause;
    }
}

/// Prints the command-line parser's answer: help, the version, or an error.
fn answered(answer: &clap::Error) -> Exit {
    if answer.use_stderr() {
        let text = answer.render();
        let text = if Stream::Stderr.has_colour() { text.ansi().to_string() } else { text.to_string() };
        output::fail(text.trim_end());
        return Exit::Usage;
    }
    match answer.print().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            output::fail(&format!("error: stdout can't be written\n  because: {error}"));
            Exit::Failed
        }
        Ok(()) | Err(_) => Exit::Done,
    }
}

//! The program around a registry of services.

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use serde_json::json;

use crate::{
    commands::{Cli, Exit, environment, exit_code},
    output::{self, Stream, Style},
    private,
    registry::Registry,
};

/// Parses the command line, runs the command, and reports errors on stderr.
pub fn main(registry: &'static Registry) -> ExitCode {
    private::begin();
    registry.install_words();
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

/// Prints one line per cause, unless the line before already ends with it. With `--json`, prints one object instead.
fn note(error: &anyhow::Error) {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if causes.last().is_none_or(|before| !before.ends_with(&cause)) {
            causes.push(cause);
        }
    }
    if asks_for_json() {
        return fail_as_json(&causes.join(": "), exit_code(error));
    }
    for (i, cause) in causes.iter().enumerate() {
        let begin = if i == 0 { Stream::Stderr.paint(Style::Wrong, "error:") } else { "  because:".to_owned() };
        output::fail(&format!("{begin} {cause}"));
    }
}

/// Whether the answer is for a script, which also holds for a command line that can't be parsed.
fn asks_for_json() -> bool {
    std::env::args_os().any(|arg| arg == "--json")
}

fn fail_as_json(error: &str, exit: Exit) {
    output::fail(&json!({ "error": error, "exit_code": exit.code() }).to_string());
}

/// Prints the command-line parser's answer: help, the version, or an error.
fn answered(answer: &clap::Error) -> Exit {
    if answer.use_stderr() {
        let text = answer.render();
        if asks_for_json() {
            let text = text.to_string();
            fail_as_json(text.trim_start_matches("error: ").trim_end(), Exit::Usage);
        } else {
            let text = if Stream::Stderr.has_colour() { text.ansi().to_string() } else { text.to_string() };
            output::fail(text.trim_end());
        }
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

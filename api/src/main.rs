//! The `orderlog` program.

use std::process::ExitCode;

use clap::Parser;
use orderlog_api::cli::{Cli, exit_code};

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(exit) => exit.into(),
        Err(error) => {
            // One line per cause, unless the one before already ends with it.
            let mut told = String::new();
            for (i, cause) in error.chain().enumerate() {
                let cause = cause.to_string();
                if !told.ends_with(&cause) {
                    eprintln!("{}{cause}", if i == 0 { "error: " } else { "  because: " });
                }
                told = cause;
            }
            exit_code(&error).into()
        }
    }
}

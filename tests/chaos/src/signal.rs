//! Signals to processes.

use std::process::Command;

/// What a process is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Kill,
    Term,
    Stop,
    Cont,
}

/// Send it. To one that has ended it is sent in vain.
pub fn send(process: u32, signal: Signal) {
    let name = match signal {
        Signal::Kill => "-KILL",
        Signal::Term => "-TERM",
        Signal::Stop => "-STOP",
        Signal::Cont => "-CONT",
    };
    drop(Command::new("kill").args([name, &process.to_string()]).output());
}

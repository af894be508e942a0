//! Words in messages, and those that a program gives the engine, which knows neither its name nor what callers may be bound to.

use std::{fmt::Display, sync::OnceLock};

static WORDS: OnceLock<(&'static str, &'static str)> = OnceLock::new();

/// Sets the words of this process. Only the first call counts.
pub fn install(program: &'static str, owner: &'static str) {
    WORDS.get_or_init(|| (program, owner));
}

/// The name of the program, for its commands.
pub fn program() -> &'static str {
    WORDS.get().map_or("orderlog", |(program, _)| program)
}

/// What a caller may be bound to: `owner`, unless the program has a word for it.
pub fn owner() -> &'static str {
    WORDS.get().map_or("owner", |(_, owner)| owner)
}

/// Replaces `%program%` and `%owner%`, for texts that are constants.
pub fn fill(text: &str) -> String {
    text.replace("%program%", program()).replace("%owner%", owner())
}

/// `1 record`, `2 records`: for nouns with a regular plural.
pub fn count<N: Display + PartialEq + From<u8>>(n: N, noun: &str) -> String {
    let plural = if n == N::from(1) { "" } else { "s" };
    format!("{n} {noun}{plural}")
}

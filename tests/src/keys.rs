//! Keys, as operators make them.

use std::path::Path;

use crate::deployment::orderlog;

/// A key, made by `orderlog key create` with these arguments.
///
/// # Panics
/// If it can't be made.
pub async fn key(data: &Path, name: &str, scopes: &[&str], args: &[&str]) -> String {
    let scopes = scopes.join(",");
    let all = [&["key", "create", "--name", name, "--scope", &scopes], args].concat();
    orderlog(&all, data).await.ended_with(0).stdout.trim().to_owned()
}

/// The id in a key.
///
/// # Panics
/// If it is none.
pub fn id_of(key: &str) -> &str {
    key.split('_').nth(1).expect("a key has an id")
}

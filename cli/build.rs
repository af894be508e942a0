//! Gives release builds the commit that they are built from. Debug builds have none, so that a commit rebuilds nothing.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Sources without a history may lie in another repository.
    let is_ours = || git(&["rev-parse", "--show-prefix"]).as_deref() == Some("cli/");
    if env::var("PROFILE").as_deref() != Ok("release") || !is_ours() {
        return;
    }
    // It grows with every commit and checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
    if let Some(commit) = git(&["log", "-1", "--format=%h (%cs)"]) {
        println!("cargo::rustc-env=ORDERLOG_COMMIT={commit}");
    }
}

/// The answer of git in this folder, if there is one.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

//! The command line of the long runs. What they find is not tested here: `tests/run` breaks real processes with it.

use std::process::Command;

#[test]
fn what_nobody_can_break_is_refused_with_what_can_be() {
    let refused = Command::new(env!("CARGO_BIN_EXE_orderlog-chaos")).arg("moon").output().expect("it runs");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(["moon", "kill", "disk", "sync", "cluster"].iter().all(|it| told.contains(it)), "{told}");
}

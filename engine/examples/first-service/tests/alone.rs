//! The engine stands alone: nothing that this service is built from belongs to the shop.

use std::{path::Path, process::Command};

#[test]
fn the_engine_needs_nothing_of_the_shop() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", env!("CARGO_PKG_NAME"), "--edges", "normal,build,dev"])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .unwrap();
    let tree = format!("{}{}", String::from_utf8_lossy(&tree.stdout), String::from_utf8_lossy(&tree.stderr));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().display().to_string();
    let own: Vec<_> = tree.lines().filter(|line| line.starts_with("orderlog-")).collect();
    assert!(own.iter().any(|line| line.starts_with("orderlog-server ")), "{tree}");
    for package in own {
        assert!(package.contains(&format!("({root}/")), "{package} is not below {root}");
    }
}

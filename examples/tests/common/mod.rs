//! Programs of this package, run as their users run them.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs a program, which `cargo test` builds beside its tests, in a folder.
pub(crate) fn run(folder: &Path, name: &str, args: &[&str]) -> Output {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().with_file_name("examples").join(name);
    assert!(path.exists(), "{}: run `cargo test --workspace`", path.display());
    let mut command = Command::new(path);
    command.args(args).current_dir(folder).env("RUST_BACKTRACE", "0").output().unwrap()
}

/// What a program that did well has printed.
pub(crate) fn good(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What a program that failed has said.
pub(crate) fn fault(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

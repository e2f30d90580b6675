//! Programs of this package, run as their users run them.
#![allow(dead_code, reason = "each test binary uses its own part")]

use hydralign::burn::tensor::Device;
use hydralign::models::{SaveOptions, copy_companions, save_checkpoint};
use hydralign::prelude::*;
use hydralign_examples::base_model_dir;
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

/// A reward model: the shipped base with a head of small numbers.
pub(crate) fn put_reward(dir: &Path) {
    let base = load_checkpoint(&base_model_dir(), &Device::flex()).unwrap();
    let lora = LoraShape::default();
    let bank = ModelBank::new(&Placement::reward_model(), &Start::joint(&base), &lora, 1).unwrap();
    let model = bank.checkpoint(Role::Reward).unwrap();
    let head = model.reward_head.as_ref();
    save_checkpoint(dir, &model.trunk, head, &SaveOptions::default()).unwrap();
    copy_companions(&base_model_dir(), dir).unwrap();
}

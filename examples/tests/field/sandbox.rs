//! A folder of its own for each situation, with copies of inputs.

use crate::common;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A folder that goes when it is dropped.
pub(crate) struct Sandbox(tempfile::TempDir);

/// Where an input lies.
pub(crate) fn input(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/inputs").join(name)
}

fn copy_tree(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy_tree(&entry.path(), &to.join(entry.file_name()));
    }
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Copies an input, a file or what a folder holds, to a name in this folder; what is there stays.
    pub(crate) fn put(&self, from: &str, to: &str) -> &Self {
        let to = self.path().join(to);
        copy_tree(&input(from), &to);
        self
    }

    /// The shipped base model under a name.
    pub(crate) fn put_shipped(&self, to: &str) -> &Self {
        copy_tree(&hydralign_examples::base_model_dir(), &self.path().join(to));
        self
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.path().join(name), text).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path().join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Runs a program here; its arguments are separated by spaces.
    pub(crate) fn run(&self, name: &str, args: &str) -> Output {
        let args: Vec<&str> = args.split_whitespace().collect();
        common::run(self.path(), name, &args)
    }

    /// What a program said on both streams, after it did well.
    pub(crate) fn good(&self, name: &str, args: &str) -> String {
        let output = self.run(name, args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        common::good(&output) + &errors
    }

    /// What a program said when it refused.
    pub(crate) fn refused(&self, name: &str, args: &str) -> String {
        common::fault(&self.run(name, args))
    }
}

/// The number behind `perplexity` in what `score` said.
pub(crate) fn perplexity(said: &str) -> f64 {
    let rest = said.split("perplexity ").nth(1).expect("a perplexity");
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

//! The documents name code, tests and metrics: they have to exist.

mod common;

use common::{checkpoint, iterate, learner, ppo_config};
use hydralign::prelude::*;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What stands between single backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether Rust source declares a function, type, field or constant of that name.
fn declares(source: &str, name: &str) -> bool {
    ["fn", "struct", "enum", "trait", "const", "pub"].iter().any(|keyword| {
        source.match_indices(&format!("{keyword} {name}")).any(|(at, found)| {
            let next = source[at + found.len()..].chars().next();
            next.is_some_and(|c| !c.is_alphanumeric() && c != '_')
        })
    })
}

#[test]
fn what_the_details_name_is_there() {
    let text = read(&root().join("docs/ppo_details.md"));
    let mut named = 0;
    let mut missing = Vec::new();
    for (file, name) in quoted(&text).filter_map(|q| q.split_once(".rs::")) {
        let source = read(&root().join(format!("crates/{file}.rs")));
        named += 1;
        if !declares(&source, name) {
            missing.push(format!("{file}.rs::{name}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named > 100, "only {named} names were found: has the notation changed?");
}

#[test]
fn a_name_that_is_only_a_part_of_another_is_not_there() {
    assert!(declares("pub fn gae(rewards: &[f32])", "gae"));
    assert!(declares("    pub clip_range: f64,", "clip_range"));
    assert!(!declares("    pub clip_range_high: f64,", "clip_range"));
    assert!(!declares("// gae is called here", "gae"));
}

/// The lines of code of the first program under a heading: what a reader sees, blank lines aside.
fn program(text: &str, heading: &str) -> usize {
    let section = text.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let block = section.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    let lines = block.expect("a program").lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && *line != "#" && !line.starts_with("# ")).count()
}

#[test]
fn programs_of_a_user_are_short() {
    let page = read(&root().join("crates/hydralign/README.md"));
    let programs = [
        ("## PPO\n", 15),
        ("## DPO\n", 10),
        ("## An objective of your own\n", 40),
        ("## A loop of your own\n", 26),
    ];
    for (heading, most) in programs {
        let lines = program(&page, heading);
        assert!((5..=most).contains(&lines), "{heading}: {lines} lines");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let docs = root().join("docs");
    let files = std::fs::read_dir(&docs).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|f| f.extension().is_some_and(|e| e == "md")) {
        for target in read(&file).split("](").skip(1) {
            let target = target.split([')', '#']).next().unwrap_or_default();
            let is_file = !target.is_empty() && !target.contains("://");
            assert!(!is_file || docs.join(target).exists(), "{}: {target}", file.display());
        }
    }
}

#[test]
fn every_statistic_of_an_update_is_in_the_glossary() {
    let glossary = read(&root().join("docs/glossary.md"));
    let explained: Vec<&str> = quoted(&glossary).collect();
    let config = PpoConfig { entropy_coef: 0.01, ..ppo_config() };
    let (_, report) =
        iterate(&mut learner(&Placement::hydra_ppo(), &checkpoint()), &config, 0.0, 0);
    assert!(report.stats.len() > 10);
    for (name, _) in &report.stats {
        let name = name.strip_prefix("first_").unwrap_or(name);
        assert!(explained.contains(&name), "`{name}` is not explained");
    }
}

/// The program that the repository's page shows is the one that is run as this crate's documentation.
#[test]
fn the_program_on_the_first_page_is_run() {
    let block = |text: &str, before: &str| -> Vec<String> {
        let text = text.split(before).nth(1).unwrap().split("```rust\n").nth(1).unwrap();
        let lines = text.split("```").next().unwrap().lines();
        lines.filter(|line| !line.starts_with("# ")).map(str::to_owned).collect()
    };
    let shown = block(&read(&root().join("README.md")), "## Use as a library");
    let run = block(&read(&root().join("crates/hydralign/README.md")), "## PPO\n");
    assert_eq!(shown, run);
}

//! Configuration files: what is wrong, where, and in which field.

use hydralign_runs::{load_toml, save_toml};
use serde::{Deserialize, Serialize};
use std::fs;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    steps: usize,
    ppo: Ppo,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ppo {
    kl_coef: f64,
    clip_range: f64,
}

impl Default for Ppo {
    fn default() -> Self {
        Self { kl_coef: 0.05, clip_range: 0.2 }
    }
}

/// Loads a text and returns the error's text with the file name alone.
fn error_of(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, text).unwrap();
    let error = load_toml::<Recipe>(&path).unwrap_err().to_string();
    error.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn errors_name_file_line_column_and_field() {
    let cases = [
        (
            "steps = 5\n\n[ppo]\nkl_coef = \"low\"\n",
            "run.toml:4:11: in `ppo.kl_coef`: invalid type: string \"low\", expected f64",
        ),
        (
            "steps = 5\n[ppo]\nkl_coeff = 0.1\n",
            "run.toml:3:1: in `ppo.kl_coeff`: unknown field `kl_coeff`, expected `kl_coef` or `clip_range`",
        ),
        (
            "stepz = 5\n[ppo]\n",
            "run.toml:1:1: in `stepz`: unknown field `stepz`, expected `steps` or `ppo`",
        ),
        (
            "steps = -1\n[ppo]\n",
            "run.toml:1:9: in `steps`: invalid value: integer `-1`, expected usize",
        ),
        ("[ppo]\n", "run.toml:1:1: missing field `steps`"),
    ];
    for (text, expected) in cases {
        assert_eq!(error_of(text), expected, "for {text:?}");
    }
}

#[test]
fn syntax_errors_have_a_place_too() {
    let text = error_of("steps = 5\n\"é\" = = 3\n");
    assert!(text.starts_with("run.toml:2:7: "), "{text}");
    let text = error_of("steps = 5\nsteps = 6\n[ppo]\n");
    assert!(text.starts_with("run.toml:2:1: ") && text.contains("duplicate"), "{text}");
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.toml");
    let text = load_toml::<Recipe>(&path).unwrap_err().to_string();
    assert!(text.starts_with(&format!("cannot read `{}`: ", path.display())), "{text}");
}

#[test]
fn the_effective_configuration_holds_the_defaults_and_loads_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, "steps = 5\n[ppo]\nkl_coef = 0.1\n").unwrap();
    let recipe: Recipe = load_toml(&path).unwrap();
    let saved = folder.path().join("effective.toml");
    save_toml(&saved, &recipe).unwrap();
    assert!(fs::read_to_string(&saved).unwrap().contains("clip_range = 0.2"));
    assert_eq!(load_toml::<Recipe>(&saved).unwrap(), recipe);
}

#[test]
fn what_toml_cannot_hold_is_refused_and_not_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let text = save_toml(&path, &u64::MAX).unwrap_err().to_string();
    assert!(text.starts_with(&format!("cannot write `{}` as TOML: ", path.display())), "{text}");
    assert!(!path.exists());
}

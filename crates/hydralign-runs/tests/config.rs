//! Configuration files: what is wrong, where, and in which field.

use hydralign_runs::{Input, RunConfig, RunError, Setting, position_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    let error = RunConfig::load(&path, &Recipe::default()).unwrap_err().to_string();
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
            "run.toml:3:1: in `ppo.kl_coeff`: unknown field `kl_coeff`, expected `kl_coef` or `clip_range`: did you mean `kl_coef`?",
        ),
        (
            "stepz = 5\n[ppo]\n",
            "run.toml:1:1: in `stepz`: unknown field `stepz`, expected `steps` or `ppo`: did you mean `steps`?",
        ),
        (
            "steps = -1\n[ppo]\n",
            "run.toml:1:9: in `steps`: invalid value: integer `-1`, expected usize",
        ),
        (
            "steps = 5\n[inputs.model]\npath = \"m\"\nfingerprint = 3\n",
            "run.toml:4:15: in `inputs.model.fingerprint`: invalid type: integer `3`, expected a string",
        ),
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
    let text = RunConfig::load(&path, &Recipe::default()).unwrap_err().to_string();
    assert!(text.starts_with(&format!("cannot read `{}`: ", path.display())), "{text}");
}

#[test]
fn the_effective_configuration_holds_the_defaults_and_loads_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, "steps = 5\n[ppo]\nkl_coef = 0.1\n").unwrap();
    let mut config = RunConfig::load(&path, &Recipe::default()).unwrap();
    let input = Input { path: "data/*.jsonl".into(), fingerprint: Some("0a".into()) };
    config.inputs.insert("prompts".into(), input);
    let saved = folder.path().join("effective.toml");
    config.save(&saved).unwrap();
    assert!(fs::read_to_string(&saved).unwrap().contains("clip_range = 0.2"));
    assert_eq!(RunConfig::load(&saved, &Recipe::default()).unwrap(), config);
}

/// The defaults are those of the program, not of the nested type.
#[test]
fn a_key_of_a_nested_table_leaves_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let ours = || Recipe { steps: 7, ppo: Ppo { kl_coef: 0.9, clip_range: 0.8 } };
    fs::write(&path, "[ppo]\nkl_coef = 1\n").unwrap();
    let read = RunConfig::load(&path, &ours()).unwrap().settings;
    assert_eq!(read, Recipe { ppo: Ppo { kl_coef: 1.0, ..ours().ppo }, ..ours() });
    fs::write(&path, "").unwrap();
    assert_eq!(RunConfig::load(&path, &ours()).unwrap().settings, ours());
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Kl {
    Fixed { coef: f64 },
    Adaptive { initial: f64, target: f64 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct WithKl {
    kl: Kl,
}

#[test]
fn another_kind_replaces_a_table_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        let ours = WithKl { kl: Kl::Adaptive { initial: 0.5, target: 6.0 } };
        RunConfig::load(&path, &ours).map(|config| config.settings.kl)
    };
    assert_eq!(read("[kl]\ntarget = 3.0\n").unwrap(), Kl::Adaptive { initial: 0.5, target: 3.0 });
    let same = read("[kl]\nkind = \"adaptive\"\ntarget = 3.0\n").unwrap();
    assert_eq!(same, Kl::Adaptive { initial: 0.5, target: 3.0 });
    let other = read("[kl]\nkind = \"fixed\"\ncoef = 0.1\n").unwrap();
    assert_eq!(other, Kl::Fixed { coef: 0.1 });
    let text = read("[kl]\nkind = \"fixed\"\n").unwrap_err().to_string();
    assert!(text.contains("run.toml:1:2") && text.contains("missing field `coef`"), "{text}");
}

#[test]
fn what_toml_cannot_hold_is_refused_and_not_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let config = RunConfig { settings: BTreeMap::from([("nothing", ())]), ..RunConfig::default() };
    let text = config.save(&path).unwrap_err().to_string();
    assert!(text.starts_with(&format!("cannot write `{}` as TOML: ", path.display())), "{text}");
    assert!(!path.exists());
}

/// TOML holds integers of 64 bits with a sign; settings may be larger.
#[test]
fn an_integer_that_no_file_holds_is_named_with_the_limit() {
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Inner {
        epochs: u64,
    }
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Outer {
        seed: u64,
        inner: Inner,
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let most = i64::MAX as u64;
    let config = |seed, epochs| RunConfig {
        settings: Outer { seed, inner: Inner { epochs } },
        ..RunConfig::default()
    };
    config(most, most).save(&path).unwrap();
    assert_eq!(RunConfig::load(&path, &Outer::default()).unwrap(), config(most, most));
    for (settings, field) in
        [(config(u64::MAX, 0), "`seed`"), (config(0, most + 1), "`inner.epochs`")]
    {
        let text = settings.save(&path).unwrap_err().to_string();
        assert!(text.contains(field) && text.contains("9223372036854775807"), "{text}");
    }
    fs::write(&path, "seed = 1\n[inner]\nepochs = 18_446_744_073_709_551_615\n").unwrap();
    let text = RunConfig::load(&path, &Outer::default()).unwrap_err().to_string();
    let words = ["run.toml:3:10", "`inner.epochs`", "9223372036854775807"];
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

fn settings(texts: &[&str]) -> Vec<Setting> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_setting_is_laid_over_what_was_read_and_over_nothing_else() {
    let with = |texts: &[&str]| RunConfig::<Recipe>::default().with(&settings(texts));
    let changed = with(&["ppo.kl_coef=1e-2", " steps = 7 "]).unwrap().settings;
    assert_eq!(changed, Recipe { steps: 7, ppo: Ppo { kl_coef: 0.01, clip_range: 0.2 } });
    let inline = with(&["ppo={ clip_range = 0.5 }"]).unwrap().settings;
    assert_eq!(inline.ppo, Ppo { kl_coef: 0.05, clip_range: 0.5 });
    let error = |texts: &[&str]| with(texts).unwrap_err().to_string();
    assert_eq!(
        error(&["ppo.kl_coeff=1"]),
        "in `ppo.kl_coeff`: unknown field `kl_coeff`, expected `kl_coef` or `clip_range`: did you mean `kl_coef`?"
    );
    assert_eq!(error(&["steps=many"]), "in `steps`: invalid type: string \"many\", expected usize");
    assert_eq!(error(&["steps=1", "steps=2"]), "`steps` is set twice");
    assert_eq!(
        error(&["steps=1", "steps.of=2"]),
        "`steps` is set twice".replace("steps", "steps.of")
    );
    for text in ["steps", "=1", "ppo.=1", ".steps=1"] {
        assert!(matches!(text.parse::<Setting>(), Err(RunError::NoSetting { .. })), "{text}");
    }
}

#[test]
fn a_bare_word_is_a_string_and_nothing_is_smuggled_in() {
    let value = |text: &str| settings(&[text])[0].value();
    assert_eq!(value("budget=16GiB"), toml::Value::from("16GiB"));
    assert_eq!(value("budget=\"1\""), toml::Value::from("1"));
    assert_eq!(value("beta=ess=0.5"), toml::Value::from("ess=0.5"));
    assert_eq!(value("on=true"), toml::Value::from(true));
    assert_eq!(value("a=1\nb = 2"), toml::Value::from("1\nb = 2"));
}

#[test]
fn a_configuration_of_another_program_is_refused_and_one_of_none_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let of = |program: Option<&str>| RunConfig {
        program: program.map(str::to_owned),
        settings: BTreeMap::from([("steps".to_owned(), 3)]),
        ..RunConfig::default()
    };
    of(Some("dpo")).save(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "program = \"dpo\"\nsteps = 3\n");
    let read = RunConfig::load(&path, &BTreeMap::<String, u64>::new()).unwrap();
    assert_eq!(read, of(Some("dpo")));
    read.check_program(&path, "dpo").unwrap();
    let error = read.check_program(&path, "kto").unwrap_err().to_string();
    assert!(error.ends_with("config.toml is a configuration of dpo, and this is kto"), "{error}");
    assert!(
        matches!(of(Some("kto")).check_same(&path), Err(RunError::AnotherRun { keys, .. }) if keys == ["program"])
    );
    // Runs from before configurations named their program go on.
    of(None).save(&path).unwrap();
    of(Some("dpo")).check_same(&path).unwrap();
    of(None).check_program(&path, "kto").unwrap();
}

#[test]
fn a_key_is_found_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, "steps = 1\n[ppo]\nlr = { peak = 2.0 }\n").unwrap();
    let at = |key: &str| position_of(&path, key).unwrap();
    assert_eq!(at("steps"), Some((1, 1)));
    assert_eq!(at("ppo"), Some((2, 2)));
    assert_eq!(at("ppo.lr.peak"), Some((3, 8)));
    assert_eq!(at("ppo.kl"), None);
    assert_eq!(at("steps.of"), None);
}

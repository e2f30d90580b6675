//! A user's own files from start to end, and every way in which they can be wrong.

use hydralign::burn::tensor::Device;
use hydralign::core::Phase;
use hydralign::data::TextTokenizer;
use hydralign::models::{ModelBank, load_adapter, load_checkpoint};
use hydralign::prelude::*;
use hydralign::runs::{
    Ledger, Overwrite, PlotSpec, RunConfig, RunFolder, Schedule, StopFlag, read_metrics,
};
use hydralign_examples::data::{RunData, UserFiles, load_tokenizer};
use hydralign_examples::recipe::Recipe;
use hydralign_examples::stages::{Stages, is_numerical, placement_for};
use hydralign_examples::{base_model_dir, report};
use std::path::Path;

const PROMPTS: &str = r#"{"prompt": "Guest Mira is sad and asks for tea.\nReply:"}
{"prompt": "Guest Tom is happy and asks for rice.\nReply:", "source": "extra keys are fine"}

{"prompt": "Guest Leo is angry and asks for jam.\nReply:"}
"#;
const PAIRS: &str = r#"{"prompt": "Guest Mira is sad and asks for tea.\nReply:", "chosen": " Here is your tea.", "rejected": " Now go away!"}
{"prompt": "Guest Tom is happy and asks for rice.\nReply:", "chosen": " Here is your rice.", "rejected": " Here is your wax."}
"#;

fn tiny() -> Recipe {
    let mut recipe = Recipe::default();
    recipe.ppo.steps = 2;
    recipe.ppo.prompts = 4;
    recipe.generation.max_new_tokens = 8;
    recipe.lora.rank = 2;
    recipe
}

fn tokenizer() -> TextTokenizer {
    load_tokenizer(&base_model_dir()).unwrap()
}

fn files(dir: &Path, prompts: &str, pairs: &str) -> UserFiles {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    UserFiles {
        prompts: write("prompts.jsonl", prompts),
        preferences: write("pairs.jsonl", pairs),
        demonstrations: None,
    }
}

fn load(prompts: &str, pairs: &str) -> anyhow::Result<RunData> {
    let dir = tempfile::tempdir().unwrap();
    RunData::of_files(&files(dir.path(), prompts, pairs), &tokenizer(), None, 64, &tiny())
}

/// The files above with the shipped model, as every stage needs them.
struct Own {
    data: RunData,
    base: Checkpoint,
    tokenizer: TextTokenizer,
    device: Device,
    stop: StopFlag,
    ledger: Ledger,
}

impl Own {
    fn new() -> Self {
        let device = Device::flex();
        Self {
            data: load(PROMPTS, PAIRS).unwrap(),
            base: load_checkpoint(&base_model_dir(), &device).unwrap(),
            tokenizer: tokenizer(),
            device,
            stop: StopFlag::new(),
            ledger: Ledger::default(),
        }
    }

    fn stages<'a>(&'a self, recipe: &'a Recipe) -> Stages<'a> {
        let Self { data, tokenizer, device, stop, ledger, .. } = self;
        Stages { recipe, data, stop, device, tokenizer, ledger, checkpoints: None }
    }
}

#[test]
fn bad_rows_are_left_out_by_the_table_rows_and_counted() {
    let pairs = PAIRS.to_owned()
        + "{\"prompt\": \"Guest\", \"chosen\": \" tea\", \"rejected\": \" tea\"}\n";
    let refused = load(PROMPTS, &pairs).err().unwrap().to_string();
    assert!(refused.contains("line 3") && refused.contains("--on-bad-row skip"), "{refused}");
    let mut recipe = tiny();
    recipe.rows = toml::from_str("on_bad_row = \"skip\"\ntruncate = \"keep-end\"").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path(), PROMPTS, &pairs);
    let data = RunData::of_files(&files, &tokenizer(), None, 64, &recipe).unwrap();
    assert_eq!(data.preferences.len(), 2);
    let folder = RunFolder::create(dir.path().join("run"), Overwrite::Refuse).unwrap();
    data.rows.save(&folder).unwrap();
    let counts = std::fs::read_to_string(folder.file("data.json")).unwrap();
    let counts: serde_json::Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(counts["preferences"]["skipped"]["equal"], 1);
    assert_eq!(
        (&counts["prompts"]["rows"], &counts["preferences"]["rows"]),
        (&3.into(), &3.into())
    );
}

#[test]
fn own_files_run_from_start_to_end_and_leave_adapters_that_load() {
    let (recipe, own) = (tiny(), Own::new());
    let Own { data, device, .. } = &own;
    assert_eq!((data.prompts.len(), data.held_out.len(), data.preferences.len()), (2, 1, 2));
    let stages = own.stages(&recipe);
    let joint = stages.hydra_sft(&own.base, &mut ()).unwrap();
    let start = joint.checkpoint(Role::Actor).unwrap();
    for name in ["hydra_ppo", "j_hydra_ppo", "ppo"] {
        let (placement, start) = placement_for(name, start.clone()).unwrap();
        let bank = ModelBank::new(&placement, &Start::joint(&start), &recipe.lora, 1).unwrap();
        let bank = stages.ppo(bank, None, &mut ()).unwrap().model().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path().join("run"), Overwrite::Refuse).unwrap();
        report::save_trained(&folder, &bank, "base").unwrap();
        if name == "ppo" {
            let again = load_checkpoint(&folder.file("models/critic"), device).unwrap();
            assert!(again.reward_head.is_some(), "the value head is saved with the critic");
        } else {
            let architecture = start.trunk.architecture();
            let (_, head) =
                load_adapter(&folder.file("adapters/critic"), architecture, device).unwrap();
            assert!(head.is_some(), "the value head is saved with the critic's adapter");
            load_adapter(&folder.file("adapters/actor"), architecture, device).unwrap();
        }
    }
}

#[test]
fn a_joint_stage_with_an_adapter_gives_ppo_a_frozen_start() {
    let mut recipe = tiny();
    recipe.hydra_sft.adapter = true;
    let own = Own::new();
    let stages = own.stages(&recipe);
    let joint = stages.hydra_sft(&own.base, &mut ()).unwrap();
    let start = joint.checkpoint(Role::Actor).unwrap();
    assert!(start.adapter.is_some());
    let (placement, start) = placement_for("hydra_ppo", start).unwrap();
    assert_eq!(placement.view(Role::Reference).unwrap().adapter.as_deref(), Some("start"));
    let bank = ModelBank::new(&placement, &Start::joint(&start), &recipe.lora, 1).unwrap();
    stages.ppo(bank, None, &mut ()).unwrap().model().unwrap();
    // Full training merges it instead.
    let (placement, merged) = placement_for("ppo", start).unwrap();
    assert!(merged.adapter.is_none() && placement.adapters.is_empty());
}

#[test]
fn bad_files_name_file_line_and_field() {
    let good_pair = PAIRS.lines().next().unwrap();
    let long = format!("{{\"prompt\": \"{}\"}}\n", "tea ".repeat(80));
    let cases: [(&str, &str, &[&str]); 7] = [
        ("", PAIRS, &["prompts.jsonl"]),
        ("not json\n", PAIRS, &["prompts.jsonl", "line 1"]),
        ("{\"text\": \"x\"}\n", PAIRS, &["prompts.jsonl", "line 1", "`prompt`"]),
        (&long, PAIRS, &["prompts.jsonl", "line 1", "context"]),
        (PROMPTS, "", &["pairs.jsonl"]),
        (
            PROMPTS,
            "{\"prompt\": \"a\", \"chosen\": \"b\"}\n",
            &["pairs.jsonl", "line 1", "`rejected`"],
        ),
        (PROMPTS, &format!("{good_pair}\n{{\n"), &["pairs.jsonl", "line 2"]),
    ];
    for (prompts, pairs, expected) in cases {
        let Err(error) = load(prompts, pairs) else { panic!("{expected:?} was accepted") };
        let text = format!("{error:#}");
        assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn an_unknown_key_in_the_settings_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.toml");
    std::fs::write(&path, "seed = 1\n[ppo.ppo]\nclip_rnage = 0.1\n").unwrap();
    let text = RunConfig::load(&path, &Recipe::default()).unwrap_err().to_string();
    assert!(text.contains("run.toml:3") && text.contains("clip_rnage"), "{text}");
    // What a run saves is what it can be started from.
    let config = RunConfig { settings: tiny(), ..RunConfig::default() };
    config.save(&path).unwrap();
    assert_eq!(RunConfig::load(&path, &Recipe::default()).unwrap(), config);
}

#[test]
fn numbers_that_go_bad_stop_the_run_with_stage_step_and_phase_and_keep_the_weights() {
    let mut recipe = tiny();
    // The gradient is finite at first, and no longer at the third step.
    recipe.hydra_sft.loss.ranking_weight = 1e18;
    recipe.hydra_sft.training.lr = Schedule::constant(1.0);
    recipe.hydra_sft.training.epochs = 3;
    let own = Own::new();
    let stages = own.stages(&recipe);
    let error = stages.hydra_sft(&own.base, &mut ()).expect_err("the loss is NaN");
    let text = format!("{error:#}");
    assert!(is_numerical(&error), "{text}");
    assert!(text.contains("stage hydra_sft, step 3, phase update"), "{text}");

    // The weights of the last good step are kept.
    let trained = stages.train_hydra_sft(&own.base, &mut ()).unwrap();
    assert_eq!((trained.progress.done, trained.progress.steps), (2, 3));
    assert!(trained.ended.is_err());

    // A rate that would make noise of the weights is no step at all.
    let mut recipe = tiny();
    recipe.hydra_sft.training.lr = Schedule::constant(f64::MAX);
    let stages = Stages { recipe: &recipe, ..stages };
    let text = format!("{:#}", stages.hydra_sft(&own.base, &mut ()).expect_err("no rate"));
    assert!(text.contains("stage hydra_sft") && text.contains("`peak`"), "{text}");

    let recipe = tiny();
    let stages = Stages { recipe: &recipe, ..stages };
    let joint = stages.hydra_sft(&own.base, &mut ()).unwrap().checkpoint(Role::Actor).unwrap();
    let mut recipe = tiny();
    recipe.ppo.ppo.value_coef = 1e38;
    let stages = Stages { recipe: &recipe, ..stages };
    let bank = ModelBank::new(&Placement::hydra_ppo(), &Start::joint(&joint), &recipe.lora, 1);
    let trained = stages.ppo(bank.unwrap(), None, &mut ()).unwrap();
    let text = format!("{:#}", trained.ended.unwrap_err());
    assert!(text.contains("stage ppo, step 1, phase update"), "{text}");
    // The frozen reference is whole, and the bank can be saved.
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(dir.path().join("run"), Overwrite::Refuse).unwrap();
    report::save_trained(&folder, &trained.bank, "base").unwrap();
}

#[test]
fn an_unknown_placement_lists_the_known_ones() {
    let base = load_checkpoint(&base_model_dir(), &Device::flex()).unwrap();
    let text = placement_for("hydra", base).unwrap_err().to_string();
    assert!(text.contains("hydra_ppo") && text.contains("lora_ppo"), "{text}");
}

#[test]
fn metrics_and_plots_of_a_run_hold_every_step() {
    use hydralign::runs::MetricsFile;
    let (recipe, own) = (tiny(), Own::new());
    let stages = own.stages(&recipe);
    let joint = stages.hydra_sft(&own.base, &mut ()).unwrap().checkpoint(Role::Actor).unwrap();
    let bank = ModelBank::new(&Placement::hydra_ppo(), &Start::joint(&joint), &recipe.lora, 1);
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(dir.path().join("run"), Overwrite::Refuse).unwrap();
    let mut metrics = MetricsFile::create(&folder.file("metrics.jsonl")).unwrap();
    stages.ppo(bank.unwrap(), None, &mut metrics).unwrap().model().unwrap();
    metrics.finish().unwrap();
    let lines = read_metrics(&folder.file("metrics.jsonl")).unwrap();
    assert_eq!(lines.iter().map(|l| l.step).collect::<Vec<_>>(), [1, 2]);
    let first = &lines[0];
    assert!((first.get("first_ratio").unwrap() - 1.0).abs() < 1e-5);
    assert!(first.get("kl").unwrap().abs() < 1e-3, "nothing has moved yet");
    assert!(first.phase_seconds.iter().any(|(name, _)| name == Phase::Generate.name()));
    report::plot(&folder, false).unwrap();
    let svg = std::fs::read_to_string(folder.file("plots.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("Reward model"));
    PlotSpec::new("KL", "nats", "ppo", &["kl"]).of(&lines).unwrap();
}

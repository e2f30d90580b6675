//! Runs from a model folder: the parts that they are made of, what they leave behind, and going on.

use hydralign::models::load_adapter;
use hydralign::prelude::*;
use hydralign::train::TrainError;
use std::fs;
use std::path::{Path, PathBuf};

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/assets/base")
}

fn folder() -> ModelFolder {
    ModelFolder::load(base(), &Device::flex()).unwrap()
}

/// A file of rows in a folder that is kept as long as it is read.
fn file(dir: &Path, rows: &[&str]) -> String {
    let path = dir.join("rows.jsonl");
    fs::write(&path, rows.join("\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn short<'a>(run: PpoRun<'a>) -> PpoRun<'a> {
    let generation = GenerationConfig { max_new_tokens: 6, ..run.generation };
    let ppo = PpoConfig { epochs: 1, minibatches: 2, ..PpoConfig::default() };
    PpoRun { steps: 3, prompts_per_step: 2, samples: 2, generation, ppo, ..run }
}

const PROMPTS: [&str; 2] = [
    r#"{"prompt": "Guest Mira is sad and asks for tea.\nReply:", "name": "Mira"}"#,
    r#"{"prompt": "Guest Ada is busy and asks for silk.\nReply:", "name": "Ada"}"#,
];

fn logprobs(bank: &ModelBank) -> Vec<f32> {
    let batch = TokenBatch::whole([vec![5, 9, 13, 8, 6, 7]]).unwrap();
    let reading = Reading::Logprobs(Role::Actor);
    bank.read(&[Request::constant(reading)], &batch).unwrap().to_vec(reading).unwrap()
}

#[test]
fn ppo_from_a_folder_sees_rows_goes_on_and_leaves_an_adapter() {
    let (dir, folder) = (tempfile::tempdir().unwrap(), folder());
    let prompts = folder.prompts(&[file(dir.path(), &PROMPTS)]).unwrap();
    let seen = std::sync::Mutex::new(0);
    let reward = row_reward_fn(&folder.tokenizer, &prompts, |prompt, reply, row| {
        let name = row["name"].as_str().ok_or("no name")?;
        *seen.lock().unwrap() += usize::from(prompt.contains(name));
        Ok::<_, &str>(f32::from(reply.contains(name)) + reply.len() as f32 / 100.0)
    });
    let run = |steps: usize, checkpoints| {
        let lr = Schedule::constant(1e-3);
        let run = short(PpoRun::new(&folder, &prompts, &reward));
        PpoRun { steps, lr, checkpoints, ..run }
    };
    let whole = run(3, None).train(&mut ()).unwrap();
    assert_eq!(*seen.lock().unwrap(), 3 * 2 * 2);
    assert_ne!(logprobs(&whole), logprobs(&ModelBank::frozen(folder.model.clone())));

    // By hand, from what the run is made of.
    let by_hand = run(3, None);
    let learner = by_hand.learner().unwrap();
    let stop = StopFlag::new();
    let trained = Trainer::new("ppo", &stop).train(&by_hand.recipe(), learner, &mut ()).unwrap();
    assert_eq!(logprobs(trained.learner.model()), logprobs(&whole));

    // Stopped after its first step, and gone on with.
    let checkpoints = Some(dir.path().join("checkpoints"));
    let stopped = run(3, checkpoints.clone());
    let mut stops = stats_fn(|stats| {
        if stats.step == 1 {
            stopped.stop.stop();
        }
    });
    assert_eq!(stopped.run(&mut stops).unwrap().progress.done, 1);
    let mut steps = Vec::new();
    let resumed = run(3, checkpoints.clone());
    let resumed = resumed.train(&mut stats_fn(|stats| steps.push(stats.step))).unwrap();
    assert_eq!(steps, [2, 3]);
    assert_eq!(logprobs(&resumed), logprobs(&whole));
    // Other settings are another run, and so is another reward if it is named.
    let other = PpoRun { seed: 1, ..run(3, checkpoints.clone()) };
    assert!(other.train(&mut ()).unwrap_err().to_string().contains("another run"));
    let other = PpoRun { reward_name: "rice".into(), ..run(3, checkpoints) };
    assert!(other.train(&mut ()).unwrap_err().to_string().contains("another run"));
    // What was stopped is not taken for what was trained.
    let stopped = run(3, None);
    stopped.stop.stop();
    assert!(matches!(stopped.train(&mut ()), Err(TrainError::Stopped)));

    let out = dir.path().join("adapter");
    folder.save(&whole, &out).unwrap();
    let architecture = folder.model.trunk.architecture();
    let (adapter, _) = load_adapter(&out, architecture, &Device::flex()).unwrap();
    let read = Checkpoint { adapter: Some(adapter), ..folder.model.clone() };
    assert_eq!(logprobs(&ModelBank::frozen(read)), logprobs(&whole));
    assert!(TextTokenizer::from_dir(&out).is_ok());
}

#[test]
fn dpo_from_a_folder_prefers_what_was_chosen_and_leaves_a_model() {
    let (dir, folder) = (tempfile::tempdir().unwrap(), folder());
    let rows = [r#"{"prompt": "Guest Mira", "chosen": " is glad", "rejected": " is sad"}"#];
    let pairs = folder.preferences(&[file(dir.path(), &rows)]).unwrap();
    let run = PreferenceRun::new(&folder, pairs.clone(), Dpo::default());
    let run = PreferenceRun { epochs: 4, lr: Schedule::constant(1e-4), ..run };
    let (mut losses, mut margins) = (Vec::new(), Vec::new());
    let mut notes = stats_fn(|stats| {
        losses.extend(stats.get("loss"));
        margins.extend(stats.get("margin"));
    });
    let policy = run.train(&mut notes).unwrap();
    // ln 2 where the policy is the reference.
    assert!((losses[0] - std::f64::consts::LN_2).abs() < 1e-5, "{losses:?}");
    assert!(losses[3] < losses[0] && margins[3] > 0.0, "{losses:?} {margins:?}");
    let out = dir.path().join("model");
    folder.save(&policy, &out).unwrap();
    let read = ModelFolder::load(&out, &Device::flex()).unwrap();
    assert_eq!(logprobs(&ModelBank::frozen(read.model)), logprobs(&policy));

    // With an adapter, and no reference where the loss has none.
    let free = Dpo { reference_free: true, ..Dpo::default() };
    let lora = PreferenceRun::new(&folder, pairs, free);
    let lora = PreferenceRun { placement: Placement::sft().with_adapter("own"), ..lora };
    let policy = lora.train(&mut ()).unwrap();
    folder.save(&policy, dir.path().join("lora")).unwrap();
    assert!(dir.path().join("lora/adapter_model.safetensors").exists());
}

#[test]
fn what_is_missing_or_empty_is_named() {
    let none = ModelFolder::load("nowhere", &Device::flex()).unwrap_err().to_string();
    assert!(none.contains("nowhere"), "{none}");
    let folder = folder();
    let reward = episode_fn(|all| vec![0.0; all.len()]);
    let error = PpoRun::new(&folder, &[], &reward).train(&mut ()).unwrap_err().to_string();
    assert!(error.contains("no prompts"), "{error}");
    let error = PreferenceRun::new(&folder, vec![], Dpo::default()).train(&mut ());
    assert!(error.is_err());
    let fails = reward_fn(&folder.tokenizer, |_, _| Err::<f32, _>("the judge is out"));
    let dir = tempfile::tempdir().unwrap();
    let prompts = folder.prompts(&[file(dir.path(), &PROMPTS)]).unwrap();
    let error = short(PpoRun::new(&folder, &prompts, &fails)).train(&mut ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "stage ppo, step 1, phase score: the reward failed: episode 0: the judge is out"
    );
}

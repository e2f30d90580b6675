//! Every family and variant against transformers: logits, log-probabilities, loss and gradient
//! norm, greedy generation with padded batches, scores; and the way back to a folder.

mod common;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use common::{golden, host, ids, relative_error, tensors, whole_rows};
use hydralign_core::{Decoder, Reading, Request, Role, Roles, Sequence, TokenBatch};
use hydralign_models::{
    Checkpoint, ModelBank, SaveOptions, Start, StoredDtype, load_checkpoint, save_checkpoint,
};
use hydralign_placement::{LoraShape, Placement};
use std::path::{Path, PathBuf};

const DECODERS: [&str; 18] = [
    "llama_bias",
    "llama_linear_rope",
    "mistral",
    "mistral_full",
    "qwen2",
    "qwen2_sliding",
    "qwen3",
    "qwen3_bias",
    "gemma2",
    "gemma2_no_caps",
    "gemma3",
    "gpt2",
    "gpt2_inner",
    "gptneox",
    "gptneox_sequential",
    "opt",
    "opt_postnorm",
    "opt_nobias",
];

fn folder(name: &str) -> PathBuf {
    golden("families").join(name)
}

fn load(name: &str) -> Checkpoint {
    load_checkpoint(&folder(name), &Device::flex()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn reference(name: &str) -> std::collections::BTreeMap<String, (Vec<usize>, Vec<f64>)> {
    tensors(&folder(name).join("reference.safetensors"))
}

fn summary(name: &str, field: &str) -> f64 {
    let text = std::fs::read_to_string(folder("summary.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value[name][field].as_f64().unwrap()
}

fn logits(bank: &ModelBank, rows: &[Vec<u32>]) -> Vec<f64> {
    host(bank.all_logits(Role::Actor, &whole_rows(rows)).unwrap())
}

#[test]
fn logits_and_log_probabilities() {
    for name in DECODERS {
        let bank = ModelBank::frozen(load(name));
        let reference = reference(name);
        let rows = ids(&reference["input_ids"]);
        let error = relative_error(&logits(&bank, &rows), &reference["logits"].1);
        assert!(error < 3e-6, "{name}: logits {error:e}");
        let reading = Reading::Logprobs(Role::Actor);
        let outputs = bank.read(&[Request::constant(reading)], &whole_rows(&rows)).unwrap();
        let got = host(outputs.get(reading).unwrap());
        let error = relative_error(&got, &reference["logprobs"].1);
        assert!(error < 3e-6, "{name}: log-probabilities {error:e}");
    }
}

#[test]
fn both_spellings_of_a_configuration_are_one_model() {
    for name in DECODERS {
        let dir = tempfile::tempdir().unwrap();
        let copy = |from: &str, to: &str| {
            std::fs::copy(folder(name).join(from), dir.path().join(to)).unwrap()
        };
        copy("config_v4.json", "config.json");
        copy("model.safetensors", "model.safetensors");
        let old = load_checkpoint(dir.path(), &Device::flex()).unwrap();
        let rows = ids(&reference(name)["input_ids"]);
        let new = logits(&ModelBank::frozen(load(name)), &rows);
        assert_eq!(logits(&ModelBank::frozen(old), &rows), new, "{name}");
    }
}

#[test]
fn parameter_counts_follow_from_the_shape() {
    for name in DECODERS {
        let checkpoint = load(name);
        let counted = checkpoint.trunk.num_params();
        assert_eq!(counted as f64, summary(name, "parameters"), "{name}");
        let shape = &checkpoint.trunk.architecture().shape;
        assert_eq!(counted as u64, shape.parameters(), "{name}");
    }
}

#[test]
fn greedy_generation_of_a_left_padded_batch_is_that_of_transformers() {
    for name in DECODERS {
        let bank = ModelBank::frozen(load(name));
        let reference = reference(name);
        let (padded, mask) = (ids(&reference["pad_ids"]), ids(&reference["pad_mask"]));
        let expected = ids(&reference["greedy"]);
        let prompts: Vec<Vec<u32>> = (padded.iter().zip(&mask))
            .map(|(row, mask)| {
                row.iter().zip(mask).filter(|(_, m)| **m == 1).map(|(t, _)| *t).collect()
            })
            .collect();
        let width = padded[0].len();
        let new: Vec<&[u32]> = expected.iter().map(|row| &row[width..]).collect();

        let cached = decode(&bank, &prompts, new[0].len());
        assert_eq!(cached.iter().map(Vec::as_slice).collect::<Vec<_>>(), new, "{name}: cached");
        // Right-padded, without a cache: each token is the best after all before it.
        let rows = prompts.iter().zip(&new).map(|(p, new)| Sequence::new(p.clone(), new.to_vec()));
        let batch = TokenBatch::new(rows.collect()).unwrap();
        let all = bank.all_logits(Role::Actor, &batch).unwrap();
        let (vocab, width) = (all.dims()[2], batch.width());
        let all = host(all);
        for (row, (prompt, new)) in prompts.iter().zip(&new).enumerate() {
            for (t, &token) in new.iter().enumerate() {
                let at = (row * width + prompt.len() - 1 + t) * vocab;
                assert_eq!(best(&all[at..at + vocab]), token, "{name}: row {row}, token {t}");
            }
        }
        let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let (_, last) = bank.prefill(Role::Actor, &views, &vec![1; views.len()]).unwrap();
        let error = relative_error(&host(last), &reference["pad_last_logits"].1);
        assert!(error < 3e-6, "{name}: logits after left padding {error:e}");
    }
}

fn best(logits: &[f64]) -> u32 {
    let order = |a: &usize, b: &usize| logits[*a].total_cmp(&logits[*b]);
    (0..logits.len()).max_by(order).unwrap() as u32
}

fn decode(bank: &ModelBank, prompts: &[Vec<u32>], count: usize) -> Vec<Vec<u32>> {
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let (mut cache, mut logits) =
        bank.prefill(Role::Actor, &views, &vec![count; views.len()]).unwrap();
    let mut rows = vec![Vec::new(); prompts.len()];
    for step in 0..count {
        let vocab = logits.dims()[1];
        let values = host(logits.clone());
        let tokens: Vec<u32> = values.chunks(vocab).map(best).collect();
        rows.iter_mut().zip(&tokens).for_each(|(row, &t)| row.push(t));
        if step + 1 < count {
            logits = bank.decode(Role::Actor, &mut cache, &tokens).unwrap();
        }
    }
    rows
}

/// Σ g² over every parameter of a module.
struct SquaredNorm {
    gradients: GradientsParams,
    sum: f64,
}

impl ModuleVisitor for SquaredNorm {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.remove::<D>(param.id).expect("every parameter is trained");
        self.sum += host(gradient).iter().map(|g| g * g).sum::<f64>();
    }
}

#[test]
fn loss_and_gradient_norm() {
    for name in DECODERS {
        let checkpoint = load(name);
        let start = Start::joint(&checkpoint);
        let bank = ModelBank::new(&Placement::sft(), &start, &LoraShape::default(), 0).unwrap();
        let batch = whole_rows(&ids(&reference(name)["input_ids"]));
        let reading = Reading::Logprobs(Role::Actor);
        let outputs = bank.read(&[Request::differentiable(reading)], &batch).unwrap();
        let loss = outputs.get(reading).unwrap().mean().neg();
        let value = f64::from(loss.clone().into_scalar::<f32>());
        assert!((value / summary(name, "loss") - 1.0).abs() < 1e-6, "{name}: loss {value}");
        let trunk = bank.trunk(0).unwrap();
        let gradients = GradientsParams::from_grads(loss.backward(), trunk);
        let mut norm = SquaredNorm { gradients, sum: 0.0 };
        trunk.visit(&mut norm);
        let ratio = norm.sum.sqrt() / summary(name, "gradient_norm");
        // OPT's table of positions has two rows that no position reaches; transformers counts
        // no gradient for them either.
        assert!((ratio - 1.0).abs() < 1e-5, "{name}: gradient norm off by a factor of {ratio}");
    }
}

#[test]
fn scores_and_values_of_sequence_classifiers() {
    for name in ["qwen2_rm", "gpt2_rm", "gptneox_rm", "opt_postnorm_rm", "gemma2_rm"] {
        let checkpoint = load(name);
        let start = Start::joint(&checkpoint);
        let placement = Placement::reward_model();
        let bank = ModelBank::new(&placement, &start, &LoraShape::default(), 0).unwrap();
        let reference = reference(name);
        let (padded, mask) = (ids(&reference["input_ids"]), ids(&reference["attention_mask"]));
        let rows: Vec<Vec<u32>> = (padded.iter().zip(&mask))
            .map(|(row, mask)| row[..mask.iter().filter(|m| **m == 1).count()].to_vec())
            .collect();
        let read = |reading| {
            let outputs = bank.read(&[Request::constant(reading)], &whole_rows(&rows)).unwrap();
            host(outputs.get(reading).unwrap())
        };
        let error = relative_error(&read(Reading::Score(Role::Reward)), &reference["scores"].1);
        assert!(error < 3e-6, "{name}: scores {error:e}");
        // The value before a token is the head at the position before it.
        let width = padded[0].len();
        let values = &reference["token_values"].1;
        let expected: Vec<f64> = (rows.iter().enumerate())
            .flat_map(|(i, row)| values[i * width..i * width + row.len() - 1].to_vec())
            .collect();
        let error = relative_error(&read(Reading::Values(Role::Reward)), &expected);
        assert!(error < 3e-6, "{name}: values {error:e}");
    }
}

#[test]
fn older_files_without_a_prefix_and_with_buffers_are_the_same_model() {
    for (old, new) in [("gpt2_hub", "gpt2"), ("gptneox_hub", "gptneox")] {
        let rows = ids(&reference(new)["input_ids"]);
        let expected = logits(&ModelBank::frozen(load(new)), &rows);
        assert_eq!(logits(&ModelBank::frozen(load(old)), &rows), expected, "{old}");
    }
}

#[test]
fn half_precision_files_are_widened_exactly() {
    for name in ["qwen2_bf16", "gptneox_f16"] {
        let reference = reference(name);
        let bank = ModelBank::frozen(load(name));
        let got = logits(&bank, &ids(&reference["input_ids"]));
        let error = relative_error(&got, &reference["logits"].1);
        assert!(error < 3e-6, "{name}: {error:e}");
    }
}

/// Name, type, shape and bytes of every tensor of the safetensors files of a folder.
fn raw(dir: &Path) -> std::collections::BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let mut all = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("model") || !name.ends_with(".safetensors") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, view) in file.tensors() {
            let dtype = format!("{:?}", view.dtype());
            all.insert(name, (dtype, view.shape().to_vec(), view.data().to_vec()));
        }
    }
    all
}

#[test]
fn what_is_loaded_is_saved_bit_for_bit() {
    let reward_models = ["qwen2_rm", "gpt2_rm", "gptneox_rm", "opt_postnorm_rm", "gemma2_rm"];
    let narrow = ["qwen2_bf16", "gptneox_f16"];
    for name in DECODERS.into_iter().chain(reward_models).chain(narrow) {
        for shard_bytes in [usize::MAX, 20_000] {
            let checkpoint = load(name);
            let dir = tempfile::tempdir().unwrap();
            let options = SaveOptions { shard_bytes, ..SaveOptions::default() };
            let head = checkpoint.reward_head.as_ref();
            save_checkpoint(dir.path(), &checkpoint.trunk, head, &options).unwrap();
            assert_eq!(raw(dir.path()), raw(&folder(name)), "{name}");
            let shards = std::fs::read_dir(dir.path()).unwrap().count() > 4;
            assert_eq!(shards, shard_bytes != usize::MAX, "{name}");
            load_checkpoint(dir.path(), &Device::flex()).unwrap();
        }
    }
}

#[test]
fn saving_in_another_type_says_so_in_the_configuration() {
    let checkpoint = load("gptneox");
    let dir = tempfile::tempdir().unwrap();
    let options = SaveOptions { dtype: Some(StoredDtype::Bf16), ..SaveOptions::default() };
    save_checkpoint(dir.path(), &checkpoint.trunk, None, &options).unwrap();
    let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["dtype"], "bfloat16");
    assert!(raw(dir.path()).values().all(|(dtype, ..)| dtype == "BF16"));
    let again = load_checkpoint(dir.path(), &Device::flex()).unwrap();
    let second = tempfile::tempdir().unwrap();
    save_checkpoint(second.path(), &again.trunk, None, &SaveOptions::default()).unwrap();
    assert_eq!(raw(second.path()), raw(dir.path()), "the type is kept");
}

#[test]
fn shards_of_an_older_save_do_not_survive_a_new_one() {
    let checkpoint = load("opt");
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("model");
    let sharded = SaveOptions { shard_bytes: 20_000, ..SaveOptions::default() };
    save_checkpoint(&target, &checkpoint.trunk, None, &sharded).unwrap();
    std::fs::write(target.join("notes.txt"), "kept").unwrap();
    save_checkpoint(&target, &checkpoint.trunk, None, &SaveOptions::default()).unwrap();
    let mut names: Vec<_> = (std::fs::read_dir(&target).unwrap())
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "generation_config.json", "model.safetensors", "notes.txt"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

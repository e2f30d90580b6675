//! LoRA against peft, and scalar heads against `LlamaForSequenceClassification`.

mod common;

use burn::optim::GradientsParams;
use burn::tensor::Device;
use common::{golden, host, ids, load, reference, relative_error, tensors, whole_rows};
use hydralign_core::{Reading, Request, Role, Roles, Sequence, TokenBatch};
use hydralign_models::{Checkpoint, ModelBank, Start, load_adapter, save_adapter};
use hydralign_placement::{LoraShape, Placement};

fn with_adapter(name: &str) -> Checkpoint {
    let mut checkpoint = load("llama");
    let architecture = checkpoint.trunk.architecture().clone();
    let (adapter, head) = load_adapter(&golden(name), &architecture, &Device::flex()).unwrap();
    assert!(head.is_none());
    checkpoint.adapter = Some(adapter);
    checkpoint
}

/// One trunk, the actor through a trainable copy of the checkpoint's adapter.
fn adapted_bank(checkpoint: &Checkpoint) -> ModelBank {
    let placement = Placement::sft().with_adapter("actor").starting_from_adapter(true).unwrap();
    ModelBank::new(&placement, &Start::joint(checkpoint), &LoraShape::default(), 0).unwrap()
}

#[test]
fn logits_with_the_adapter_on_off_and_merged_are_those_of_peft() {
    for name in ["llama_lora", "llama_rslora_qv"] {
        let mut checkpoint = with_adapter(name);
        let expected = reference(name);
        let batch = whole_rows(&ids(&expected["input_ids"]));
        let on = host(adapted_bank(&checkpoint).all_logits(Role::Actor, &batch).unwrap());
        let error = relative_error(&on, &expected["logits_on"].1);
        assert!(error < 1e-5, "{name} on: {error:e}");

        let adapter = checkpoint.adapter.take().unwrap();
        let sft = |c: &Checkpoint| {
            let start = Start::joint(c);
            ModelBank::new(&Placement::sft(), &start, &LoraShape::default(), 0).unwrap()
        };
        let off = host(sft(&checkpoint).all_logits(Role::Actor, &batch).unwrap());
        let error = relative_error(&off, &reference("llama")["logits"].1);
        assert!(error < 1e-5, "{name} off: {error:e}");

        checkpoint.trunk = checkpoint.trunk.merge(&adapter).unwrap();
        let merged = host(sft(&checkpoint).all_logits(Role::Actor, &batch).unwrap());
        let error = relative_error(&merged, &expected["logits_on"].1);
        assert!(error < 1e-5, "{name} merged: {error:e}");
    }
}

#[test]
fn the_gradient_of_every_low_rank_factor_is_that_of_peft() {
    for name in ["llama_lora", "llama_rslora_qv"] {
        let checkpoint = with_adapter(name);
        let bank = adapted_bank(&checkpoint);
        let batch = whole_rows(&ids(&reference(name)["input_ids"]));
        let reading = Reading::Logprobs(Role::Actor);
        let outputs = bank.read(&[Request::differentiable(reading)], &batch).unwrap();
        let loss = outputs.get(reading).unwrap().mean().neg();
        let adapter = bank.adapter("actor").unwrap().clone();
        let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
        let dir = tempfile::tempdir().unwrap();
        let gradient = common::gradients_of(adapter, gradients);
        let architecture = checkpoint.trunk.architecture();
        save_adapter(dir.path(), &gradient, None, architecture, "llama").unwrap();
        common::assert_same_tensors(
            &tensors(&dir.path().join("adapter_model.safetensors")),
            &tensors(&golden(name).join("gradients.safetensors")),
            2e-5,
        );
    }
}

#[test]
fn a_frozen_trunk_gets_no_gradient() {
    let checkpoint = with_adapter("llama_lora");
    let bank = adapted_bank(&checkpoint);
    let batch = whole_rows(&ids(&reference("llama_lora")["input_ids"]));
    let reading = Reading::Logprobs(Role::Actor);
    let outputs = bank.read(&[Request::differentiable(reading)], &batch).unwrap();
    let mut gradients = outputs.get(reading).unwrap().mean().backward();
    let trunk = GradientsParams::from_module(&mut gradients, bank.trunk(0).unwrap());
    assert_eq!(trunk.len(), 0);
}

#[test]
fn saving_an_adapter_and_loading_it_gives_the_same_bytes() {
    let checkpoint = with_adapter("llama_lora");
    let dir = tempfile::tempdir().unwrap();
    let architecture = checkpoint.trunk.architecture();
    let head = load("llama_rm").reward_head.unwrap();
    let adapter = checkpoint.adapter.as_ref().unwrap();
    save_adapter(dir.path(), adapter, Some(&head), architecture, "llama").unwrap();
    let (again, head_again) = load_adapter(dir.path(), architecture, &Device::flex()).unwrap();
    assert_eq!(again.lora(), adapter.lora());
    let second = tempfile::tempdir().unwrap();
    save_adapter(second.path(), &again, head_again.as_ref(), architecture, "llama").unwrap();
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        let read = |d: &tempfile::TempDir| std::fs::read(d.path().join(file)).unwrap();
        assert!(read(&dir) == read(&second), "{file}");
    }
}

fn real_rows(name: &str) -> Vec<Vec<u32>> {
    let expected = reference(name);
    let masks = ids(&expected["attention_mask"]);
    let rows = ids(&expected["input_ids"]);
    rows.iter().zip(masks).map(|(r, m)| r[..m.iter().sum::<u32>() as usize].to_vec()).collect()
}

#[test]
fn scores_and_values_are_those_of_a_sequence_classifier() {
    let checkpoint = load("llama_rm");
    let start = Start::joint(&checkpoint);
    let placement = Placement::reward_model();
    let bank = ModelBank::new(&placement, &start, &LoraShape::default(), 0).unwrap();
    let expected = reference("llama_rm");
    let rows = real_rows("llama_rm");
    let batch = whole_rows(&rows);
    let score = Reading::Score(Role::Reward);
    let values = Reading::Values(Role::Reward);
    let requests = [Request::constant(score), Request::constant(values)];
    let outputs = bank.read(&requests, &batch).unwrap();
    let error = relative_error(&host(outputs.get(score).unwrap()), &expected["scores"].1);
    assert!(error < 1e-5, "scores: {error:e}");
    // The value of a token is read at the position before it, the last position predicts nothing.
    let per_row = expected["token_values"].1.chunks(expected["token_values"].0[1]);
    let packed: Vec<f64> =
        per_row.zip(&rows).flat_map(|(v, row)| v[..row.len() - 1].to_vec()).collect();
    let error = relative_error(&host(outputs.get(values).unwrap()), &packed);
    assert!(error < 1e-5, "values: {error:e}");
}

#[test]
fn a_score_is_read_at_the_last_real_token_even_if_it_equals_the_pad() {
    let checkpoint = load("llama_rm");
    let start = Start::joint(&checkpoint);
    let placement = Placement::reward_model();
    let bank = ModelBank::new(&placement, &start, &LoraShape::default(), 0).unwrap();
    let row = |p: &[u32], r: &[u32]| Sequence::new(p.to_vec(), r.to_vec());
    let score = Reading::Score(Role::Reward);
    let read = |rows: Vec<Sequence>| {
        let batch = TokenBatch::new(rows).unwrap();
        host(bank.read(&[Request::constant(score)], &batch).unwrap().get(score).unwrap())
    };
    let (short, long) = (row(&[7, 8], &[9, 0]), row(&[1, 2, 3], &[4, 5, 6, 7, 8]));
    let alone = read(vec![short.clone()])[0];
    let padded = read(vec![short, long])[0];
    assert!((alone - padded).abs() < 1e-6, "{alone} against {padded}");
    let without = read(vec![row(&[7, 8], &[9])])[0];
    assert!((alone - without).abs() > 1e-4, "the final 0 is a real token");
}

#[test]
fn a_classifier_cannot_be_asked_for_logits() {
    let checkpoint = load("llama_rm");
    let start = Start::joint(&checkpoint);
    let bank = ModelBank::new(&Placement::sft(), &start, &LoraShape::default(), 0).unwrap();
    let batch = whole_rows(&[vec![1, 2, 3]]);
    let error = bank.all_logits(Role::Actor, &batch).unwrap_err();
    assert!(error.to_string().contains("LM head"), "{error}");
}

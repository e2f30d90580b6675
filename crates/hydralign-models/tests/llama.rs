//! Llama against transformers: logits, log-probabilities, greedy generation, gradients.

mod common;

use burn::optim::GradientsParams;
use burn::tensor::Device;
use common::{golden, host, ids, load, reference, relative_error, tensors, whole_rows};
use hydralign_core::{Decoder, Reading, Request, Role, Roles, Sequence, TokenBatch};
use hydralign_models::{ModelBank, SaveOptions, Start, load_checkpoint, save_checkpoint};
use hydralign_placement::{LoraShape, Placement};

fn sft_bank(name: &str) -> ModelBank {
    let checkpoint = load(name);
    let start = Start::joint(&checkpoint);
    ModelBank::new(&Placement::sft(), &start, &LoraShape::default(), 0).unwrap()
}

fn summary(name: &str, field: &str) -> f64 {
    let text = std::fs::read_to_string(golden("summary.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value[name][field].as_f64().unwrap()
}

#[test]
fn logits_and_logprobs_are_those_of_transformers() {
    for name in ["llama", "llama31_rope"] {
        let expected = reference(name);
        let bank = sft_bank(name);
        let batch = whole_rows(&ids(&expected["input_ids"]));
        let logits = host(bank.all_logits(Role::Actor, &batch).unwrap());
        let error = relative_error(&logits, &expected["logits"].1);
        assert!(error < 1e-5, "{name}: logits off by {error:e}");
        let reading = Reading::Logprobs(Role::Actor);
        let outputs = bank.read(&[Request::constant(reading)], &batch).unwrap();
        let error = relative_error(&host(outputs.get(reading).unwrap()), &expected["logprobs"].1);
        assert!(error < 1e-5, "{name}: log-probabilities off by {error:e}");
    }
}

#[test]
fn the_older_spelling_of_the_configuration_loads_the_same_model() {
    for name in ["llama", "llama31_rope"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(golden(name).join("config_v4.json"), dir.path().join("config.json")).unwrap();
        let weights = "model.safetensors";
        std::fs::copy(golden(name).join(weights), dir.path().join(weights)).unwrap();
        let old = load_checkpoint(dir.path(), &Device::flex()).unwrap();
        let new = load(name);
        assert_eq!(old.trunk.architecture().shape, new.trunk.architecture().shape);
        assert_eq!(old.trunk.architecture().positions, new.trunk.architecture().positions);
    }
}

#[test]
fn bf16_weights_become_f32() {
    let expected = reference("llama_bf16");
    let batch = whole_rows(&ids(&reference("llama")["input_ids"]));
    let logits = host(sft_bank("llama_bf16").all_logits(Role::Actor, &batch).unwrap());
    let error = relative_error(&logits, &expected["logits_f32_from_bf16_weights"].1);
    assert!(error < 1e-5, "off by {error:e}");
}

fn argmax(logits: &[f64]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    best.0 as u32
}

/// The prompts without their left padding.
fn ragged_prompts(name: &str) -> Vec<Vec<u32>> {
    let expected = reference(name);
    let masks = ids(&expected["pad_mask"]);
    let rows = ids(&expected["pad_ids"]);
    rows.iter()
        .zip(&masks)
        .map(|(row, mask)| {
            row.iter().zip(mask).filter(|(_, m)| **m == 1).map(|(t, _)| *t).collect()
        })
        .collect()
}

/// Greedy continuation with the cache.
fn greedy(bank: &ModelBank, prompts: &[Vec<u32>], steps: usize) -> Vec<Vec<u32>> {
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let (mut cache, mut logits) =
        bank.prefill(Role::Actor, &views, &vec![steps; views.len()]).unwrap();
    let vocab = logits.dims()[1];
    let mut out = vec![Vec::new(); prompts.len()];
    for step in 0..steps {
        let tokens: Vec<u32> = host(logits.clone()).chunks(vocab).map(argmax).collect();
        out.iter_mut().zip(&tokens).for_each(|(row, &t)| row.push(t));
        if step + 1 < steps {
            logits = bank.decode(Role::Actor, &mut cache, &tokens).unwrap();
        }
    }
    out
}

#[test]
fn greedy_generation_is_that_of_transformers_with_ragged_prompts_in_one_batch() {
    for name in ["llama", "llama31_rope"] {
        let bank = sft_bank(name);
        let expected: Vec<Vec<u32>> =
            ids(&reference(name)["greedy"]).iter().map(|row| row[26..].to_vec()).collect();
        let prompts = ragged_prompts(name);
        assert_eq!(greedy(&bank, &prompts, 24), expected, "{name}: left-padded batch");
        for (prompt, expected) in prompts.iter().zip(&expected) {
            let alone = greedy(&bank, std::slice::from_ref(prompt), 24);
            assert_eq!(&alone[0], expected, "{name}: one prompt alone");
        }
    }
}

#[test]
fn cached_decoding_gives_the_logits_of_a_full_pass() {
    let bank = sft_bank("llama");
    let prompts = ragged_prompts("llama");
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let (mut cache, first) = bank.prefill(Role::Actor, &views, &vec![6; views.len()]).unwrap();
    let mut steps = vec![host(first)];
    let forced: Vec<Vec<u32>> = vec![vec![5, 9, 0], vec![7, 0, 33], vec![0, 1, 2]];
    for step in 0..3 {
        let tokens: Vec<u32> = forced.iter().map(|row| row[step]).collect();
        steps.push(host(bank.decode(Role::Actor, &mut cache, &tokens).unwrap()));
    }
    let vocab = steps[0].len() / prompts.len();
    for (row, prompt) in prompts.iter().enumerate() {
        let sequence = Sequence::new(prompt.clone(), forced[row].clone());
        let batch = TokenBatch::new(vec![sequence]).unwrap();
        let full = host(bank.all_logits(Role::Actor, &batch).unwrap());
        for (step, cached) in steps.iter().enumerate() {
            let at = (prompt.len() - 1 + step) * vocab;
            let cached = &cached[row * vocab..(row + 1) * vocab];
            let error = relative_error(cached, &full[at..at + vocab]);
            assert!(error < 2e-6, "row {row}, step {step}: {error:e}");
        }
    }
}

#[test]
fn padding_changes_nothing() {
    let bank = sft_bank("llama");
    let row = |p: &[u32], r: &[u32]| Sequence::new(p.to_vec(), r.to_vec());
    let rows = [row(&[5, 0, 7], &[0, 9]), row(&[1], &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])];
    let reading = Reading::Logprobs(Role::Actor);
    let read = |rows: Vec<Sequence>| {
        let batch = TokenBatch::new(rows).unwrap();
        host(bank.read(&[Request::constant(reading)], &batch).unwrap().get(reading).unwrap())
    };
    let alone: Vec<f64> = rows.iter().flat_map(|r| read(vec![r.clone()])).collect();
    let together = read(rows.to_vec());
    let error = relative_error(&together, &alone);
    assert!(error < 1e-6, "{error:e}");
}

#[test]
fn the_gradient_of_every_parameter_is_that_of_transformers() {
    let bank = sft_bank("llama");
    let batch = whole_rows(&ids(&reference("llama")["input_ids"]));
    let reading = Reading::Logprobs(Role::Actor);
    let outputs = bank.read(&[Request::differentiable(reading)], &batch).unwrap();
    let loss = outputs.get(reading).unwrap().mean().neg();
    let value = f64::from(loss.clone().into_scalar::<f32>());
    assert!((value - summary("llama", "loss")).abs() < 1e-5, "loss {value}");
    let trunk = bank.trunk(0).unwrap().clone();
    let gradients = GradientsParams::from_grads(loss.backward(), &trunk);
    let dir = tempfile::tempdir().unwrap();
    save_checkpoint(
        dir.path(),
        &common::gradients_of(trunk, gradients),
        None,
        &SaveOptions::default(),
    )
    .unwrap();
    common::assert_same_tensors(
        &tensors(&dir.path().join("model.safetensors")),
        &tensors(&golden("llama").join("gradients.safetensors")),
        2e-5,
    );
}

#[test]
fn tied_embeddings_get_the_gradient_of_both_uses() {
    let bank = sft_bank("llama31_rope");
    let batch = whole_rows(&ids(&reference("llama31_rope")["input_ids"]));
    let reading = Reading::Logprobs(Role::Actor);
    let outputs = bank.read(&[Request::differentiable(reading)], &batch).unwrap();
    let loss = outputs.get(reading).unwrap().mean().neg();
    let trunk = bank.trunk(0).unwrap().clone();
    let gradients = GradientsParams::from_grads(loss.backward(), &trunk);
    let dir = tempfile::tempdir().unwrap();
    save_checkpoint(
        dir.path(),
        &common::gradients_of(trunk, gradients),
        None,
        &SaveOptions::default(),
    )
    .unwrap();
    let all = tensors(&dir.path().join("model.safetensors"));
    let norm = all.values().flat_map(|(_, v)| v).map(|g| g * g).sum::<f64>().sqrt();
    let expected = summary("llama31_rope", "gradient_norm");
    assert!((norm / expected - 1.0).abs() < 1e-5, "{norm} against {expected}");
}

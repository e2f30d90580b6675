//! PEFT adapters of every kind against peft: on, off and merged; and the way back to a folder.

mod common;

use burn::module::Module;
use burn::tensor::Device;
use common::{assert_same_tensors, golden, host, ids, relative_error, tensors, whole_rows};
use hydralign_core::{Reading, Request, Role, Roles, TokenBatch};
use hydralign_models::{
    Adapter, Checkpoint, ModelBank, ScalarHead, Start, load_adapter, load_checkpoint, save_adapter,
};
use hydralign_placement::{
    AdapterSpec, AdapterStart, LoraShape, Placement, Source, TrunkSpec, View,
};
use std::path::{Path, PathBuf};

const ADAPTERS: [&str; 9] = [
    "gpt2_fused",
    "gpt2_output_only",
    "gptneox_fused",
    "qwen2_patterns",
    "mistral_regex",
    "mistral_layers",
    "mistral_exclude",
    "opt_rslora",
    "qwen2_classifier",
];

fn folder(name: &str) -> PathBuf {
    golden("adapters").join(name)
}

fn summary(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(folder("summary.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()[name].clone()
}

fn base(name: &str) -> Checkpoint {
    let base = golden("families").join(summary(name)["base"].as_str().unwrap());
    load_checkpoint(&base, &Device::flex()).unwrap()
}

fn adapter(name: &str) -> (Adapter, Option<ScalarHead>) {
    adapter_at(&folder(name), &base(name))
}

fn adapter_at(dir: &Path, base: &Checkpoint) -> (Adapter, Option<ScalarHead>) {
    load_adapter(dir, base.trunk.architecture(), &Device::flex()).unwrap()
}

/// The rows of the reference, without padding.
fn batch(name: &str) -> TokenBatch {
    let reference = tensors(&folder(name).join("reference.safetensors"));
    let mut rows = ids(&reference["input_ids"]);
    if let Some(mask) = reference.get("attention_mask") {
        for (row, mask) in rows.iter_mut().zip(ids(mask)) {
            row.truncate(mask.iter().filter(|m| **m == 1).count());
        }
    }
    whole_rows(&rows)
}

fn output(bank: &ModelBank, batch: &TokenBatch) -> Vec<f64> {
    let score = Reading::Score(Role::Reward);
    match bank.head(Role::Reward) {
        Some(_) => host(bank.read(&[Request::constant(score)], batch).unwrap().get(score).unwrap()),
        None => host(bank.all_logits(Role::Actor, batch).unwrap()),
    }
}

#[test]
fn on_off_and_merged_are_those_of_peft() {
    for name in ADAPTERS {
        let reference = tensors(&folder(name).join("reference.safetensors"));
        let batch = batch(name);
        let close = |checkpoint: Checkpoint, state: &str| {
            let got = output(&ModelBank::frozen(checkpoint), &batch);
            let error = relative_error(&got, &reference[state].1);
            assert!(error < 5e-6, "{name} {state}: {error:e}");
        };
        let base = base(name);
        let (adapter, head) = adapter(name);
        let reward_head = head.or(base.reward_head.clone());
        let merged = base.trunk.merge(&adapter).unwrap();
        close(
            Checkpoint { reward_head: reward_head.clone(), trunk: merged.clone(), adapter: None },
            "merged",
        );
        if base.reward_head.is_none() {
            let back = merged.unmerge(&adapter).unwrap();
            close(Checkpoint { reward_head: None, trunk: back, adapter: None }, "off");
        }
        close(base.clone(), "off");
        close(Checkpoint { adapter: Some(adapter), reward_head, ..base }, "on");
    }
}

#[test]
fn an_adapter_has_the_parameters_that_peft_counts() {
    for name in ADAPTERS {
        let (adapter, head) = adapter(name);
        let counted = adapter.parameters() + head.map_or(0, |h| h.num_params());
        assert_eq!(counted, summary(name)["trainable_parameters"].as_u64().unwrap() as usize);
    }
}

#[test]
fn what_is_loaded_is_saved_bit_for_bit_and_means_the_same() {
    for name in ADAPTERS {
        let base = base(name);
        let (adapter, head) = adapter(name);
        let dir = tempfile::tempdir().unwrap();
        let architecture = base.trunk.architecture();
        save_adapter(dir.path(), &adapter, head.as_ref(), architecture, "base").unwrap();
        let file = "adapter_model.safetensors";
        assert_same_tensors(
            &tensors(&dir.path().join(file)),
            &tensors(&folder(name).join(file)),
            0.0,
        );
        let (again, head) = adapter_at(dir.path(), &base);
        assert_eq!(again.lora(), adapter.lora(), "{name}");
        let on = |adapter| Checkpoint {
            adapter: Some(adapter),
            reward_head: head.clone().or(base.reward_head.clone()),
            ..base.clone()
        };
        let batch = batch(name);
        let [first, second] = [adapter, again].map(|a| output(&ModelBank::frozen(on(a)), &batch));
        assert_eq!(first, second, "{name}");
    }
}

#[test]
fn two_adapters_on_one_trunk_answer_side_by_side() {
    let of = |name: &str| Checkpoint { adapter: Some(adapter(name).0), ..base(name) };
    let (first, second) = (of("mistral_regex"), of("mistral_layers"));
    let spec = |name: &str, trainable, source| AdapterSpec {
        name: name.into(),
        trunk: 0,
        trainable,
        start: AdapterStart::CopyOf(source),
    };
    let placement = Placement {
        name: "two".into(),
        trunks: vec![TrunkSpec { source: Source::Policy, trainable: false }],
        adapters: vec![spec("a", true, Source::Policy), spec("b", false, Source::Reward)],
        views: [(Role::Actor, View::adapter(0, "a")), (Role::Reference, View::adapter(0, "b"))]
            .into(),
    };
    let start = Start { policy: &first, reward: &second };
    let bank = ModelBank::new(&placement, &start, &LoraShape::default(), 0).unwrap();
    for (role, name) in [(Role::Actor, "mistral_regex"), (Role::Reference, "mistral_layers")] {
        let got = host(bank.all_logits(role, &batch(name)).unwrap());
        let reference = tensors(&folder(name).join("reference.safetensors"));
        let error = relative_error(&got, &reference["on"].1);
        assert!(error < 5e-6, "{name}: {error:e}");
    }
}

/// The error of loading an adapter whose configuration was edited.
fn refusal(name: &str, edit: impl Fn(&mut serde_json::Value)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = "adapter_model.safetensors";
    std::fs::copy(folder(name).join(file), dir.path().join(file)).unwrap();
    let config = std::fs::read_to_string(folder(name).join("adapter_config.json")).unwrap();
    let mut config = serde_json::from_str(&config).unwrap();
    edit(&mut config);
    std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
    let base = base(name);
    load_adapter(dir.path(), base.trunk.architecture(), &Device::flex()).unwrap_err().to_string()
}

#[test]
fn a_configuration_that_does_not_fit_its_tensors_is_refused() {
    let wider = refusal("mistral_regex", |c| c["target_modules"] = "all-linear".into());
    assert!(wider.contains("k_proj.lora_A.weight") && wider.contains("is missing"), "{wider}");
    let narrower = refusal("mistral_layers", |c| c["layers_to_transform"] = 1.into());
    assert!(narrower.contains("has no place"), "{narrower}");
    let rank = refusal("qwen2_patterns", |c| c["rank_pattern"]["q_proj"] = 3.into());
    assert!(rank.contains("q_proj.lora_A.weight") && rank.contains("[2, 32]"), "{rank}");
    let nothing = refusal("mistral_regex", |c| c["target_modules"] = "nothing".into());
    assert!(nothing.contains("has no place") || nothing.contains("covers no"), "{nothing}");
    let dora = refusal("mistral_regex", |c| c["use_dora"] = true.into());
    assert!(dora.contains("`use_dora`"), "{dora}");
    let pattern = refusal("mistral_regex", |c| c["target_modules"] = "(".into());
    assert!(pattern.contains("`target_modules`") && pattern.contains("pattern"), "{pattern}");
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let (adapter, _) = adapter("gpt2_fused");
    let other = base("mistral_regex");
    let error = other.trunk.merge(&adapter).unwrap_err().to_string();
    assert!(error.contains("projection"), "{error}");
}

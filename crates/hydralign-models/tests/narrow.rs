//! Frozen matrices held in 16 bits: the numbers of a checkpoint stored so, to the last bit.

mod common;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};
use common::{host, load, relative_error, whole_rows};
use hydralign_core::{CoreError, Decoder, Differentiable, Reading, Request, Role, TokenBatch};
use hydralign_models::{
    Checkpoint, ModelBank, ModelError, SaveOptions, Start, StoredDtype, load_checkpoint,
    save_checkpoint,
};
use hydralign_placement::{Execution, LoraShape, Placement};
use std::collections::BTreeMap;

const STORED: [(&str, StoredDtype, DType); 3] = [
    ("llama_bf16", StoredDtype::Bf16, DType::BF16),
    ("families/qwen2_bf16", StoredDtype::Bf16, DType::BF16),
    ("families/gptneox_f16", StoredDtype::F16, DType::F16),
];

fn batch() -> TokenBatch {
    whole_rows(&[vec![3, 14, 15, 9, 26, 5], vec![35, 8, 9, 7], vec![9, 32, 38, 46, 26]])
}

/// Number type and identity of every parameter.
#[derive(Default)]
struct Types {
    path: Vec<String>,
    found: BTreeMap<String, DType>,
    gradients: GradientsParams,
    numbers: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for Types {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.numbers.insert(path.clone(), host(gradient));
        }
        self.found.insert(path, param.val().dtype());
    }
}

fn types(bank: &ModelBank) -> BTreeMap<String, DType> {
    let mut types = Types::default();
    bank.visit(&mut types);
    types.found
}

#[test]
fn logits_are_those_of_the_same_checkpoint_held_as_f32() {
    for (name, dtype, held) in STORED {
        let wide = ModelBank::frozen(load(name));
        let narrow = ModelBank::frozen(load(name)).with_frozen_dtype(dtype).unwrap();
        let logits = |bank: &ModelBank| host(bank.all_logits(Role::Actor, &batch()).unwrap());
        assert_eq!(logits(&wide), logits(&narrow), "{name}");
        let prompts: [&[u32]; 2] = [&[3, 14, 15], &[9]];
        let next = |bank: &ModelBank| {
            let (mut cache, first) = bank.prefill(Role::Actor, &prompts, &[2; 2]).unwrap();
            [first, bank.decode(Role::Actor, &mut cache, &[5, 6]).unwrap()].map(host)
        };
        assert_eq!(next(&wide), next(&narrow), "{name}");
        for (path, dtype) in types(&narrow) {
            let tied = wide.trunk(0).unwrap().architecture().shape.tied;
            let matrix = path.contains("projections") && path.ends_with("weight");
            let narrowed = matrix || (path.ends_with("embedding") && !tied);
            assert_eq!(dtype == held, narrowed, "{name}: {path} is {dtype:?}");
        }
        let again = narrow.with_frozen_dtype(StoredDtype::F32).unwrap();
        assert!(types(&again).values().all(|&dtype| dtype == DType::F32));
        assert_eq!(logits(&wide), logits(&again), "{name}: nothing was lost");
    }
}

#[test]
fn a_wide_checkpoint_is_rounded_and_says_so_when_saved() {
    let bank = ModelBank::frozen(load("llama")).with_frozen_dtype(StoredDtype::Bf16).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("saved");
    let trunk = bank.trunk(0).unwrap();
    save_checkpoint(&dir, trunk, None, &SaveOptions::default()).unwrap();
    let config = std::fs::read_to_string(dir.join("config.json")).unwrap();
    assert!(config.contains("\"bfloat16\""), "{config}");
    // Eight bits of precision: half a unit in the last place of the larger numbers.
    let logits = |bank: &ModelBank| host(bank.all_logits(Role::Actor, &batch()).unwrap());
    let wide = logits(&ModelBank::frozen(load("llama")));
    let error = relative_error(&logits(&bank), &wide);
    assert!((1e-5..2e-2).contains(&error), "{error:e}");
}

/// Loss gradients of a new adapter over a frozen trunk.
fn gradients(bank: &ModelBank) -> BTreeMap<String, Vec<f64>> {
    let requests = [Request::differentiable(Reading::Logprobs(Role::Actor))];
    let gradients = bank.differentiate(&requests, &batch(), |outputs| {
        Ok::<_, CoreError>(outputs.get(requests[0].reading)?.sum())
    });
    let mut collect = Types { gradients: gradients.unwrap(), ..Types::default() };
    bank.visit(&mut collect);
    collect.numbers
}

#[test]
fn adapters_over_a_narrow_trunk_learn_the_same() {
    for (name, dtype, _) in STORED {
        let start = load(name);
        let placement = Placement::sft().with_adapter("own");
        let wide =
            ModelBank::new(&placement, &Start::joint(&start), &LoraShape::default(), 3).unwrap();
        let narrow = wide.clone().with_frozen_dtype(dtype).unwrap();
        for segment_blocks in [None, Some(1)] {
            let execution = Execution { logprob_chunk: None, segment_blocks };
            let of = |bank: &ModelBank| gradients(&bank.clone().with_execution(execution).unwrap());
            let expected = of(&wide);
            assert!(!expected.is_empty());
            assert_eq!(of(&narrow), expected, "{name}, {segment_blocks:?}");
        }
    }
}

#[test]
fn a_narrow_trunk_is_saved_as_it_is_held() {
    for (name, dtype, _) in STORED {
        let bank = ModelBank::frozen(load(name)).with_frozen_dtype(dtype).unwrap();
        let expected = load(name).fingerprint();
        let copy = bank.checkpoint(Role::Actor).unwrap();
        assert_eq!(copy.fingerprint(), expected, "{name}");
        let copied = types(&ModelBank::frozen(copy.clone()));
        assert!(copied.values().all(|&dtype| dtype == DType::F32));
        for trunk in [bank.trunk(0).unwrap(), &copy.trunk] {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path().join("saved");
            save_checkpoint(&dir, trunk, None, &SaveOptions::default()).unwrap();
            let config = std::fs::read_to_string(dir.join("config.json")).unwrap();
            let stored = if dtype == StoredDtype::F16 { "float16" } else { "bfloat16" };
            assert!(config.contains(&format!("\"{stored}\"")), "{config}");
            let saved = load_checkpoint(&dir, &Device::flex()).unwrap();
            assert_eq!(saved.fingerprint(), expected, "{name}");
        }
    }
}

#[test]
fn what_is_trained_stays_f32() {
    let start = load("llama_bf16");
    let new = |placement: &Placement, start: &Checkpoint| {
        ModelBank::new(placement, &Start::joint(start), &LoraShape::default(), 3).unwrap()
    };
    let bank = new(&Placement::sft(), &start).with_frozen_dtype(StoredDtype::Bf16).unwrap();
    assert!(types(&bank).values().all(|&dtype| dtype == DType::F32));
    // Training may begin where a narrow trunk is.
    let narrow = ModelBank::frozen(start.clone()).with_frozen_dtype(StoredDtype::Bf16).unwrap();
    let from = narrow.checkpoint(Role::Actor).unwrap();
    let trained = new(&Placement::sft(), &from);
    assert!(types(&trained).values().all(|&dtype| dtype == DType::F32));
    assert_eq!(gradients(&trained), gradients(&new(&Placement::sft(), &start)));
}

#[test]
fn a_weight_that_would_become_infinite_is_refused() {
    struct Scale(f64);
    impl ModuleMapper for Scale {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            Param::from_tensor(param.val().mul_scalar(self.0)).set_require_grad(false)
        }
    }
    let mut start = load("llama_bf16");
    start.trunk = start.trunk.map(&mut Scale(1e8));
    let bank = ModelBank::frozen(start);
    let error = bank.clone().with_frozen_dtype(StoredDtype::F16).unwrap_err();
    assert!(matches!(error, ModelError::Narrowing { dtype: "float16" }), "{error}");
    bank.with_frozen_dtype(StoredDtype::Bf16).unwrap();
}

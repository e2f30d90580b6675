//! A tiny joint model with a reward head, and one PPO iteration on it.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod categories;
pub(crate) mod drive;
pub(crate) mod records;

use hydralign::algorithms::{Experience, UpdateReport};
use hydralign::burn::module::{Module, ModuleVisitor, Param};
use hydralign::burn::tensor::Tensor;
use hydralign::models::{Adapter, Architecture, ScalarHead, random_trunk};
use hydralign::prelude::*;
use hydralign::rollout::sample_prompts;
use std::collections::BTreeMap;

pub(crate) const STOP: u32 = 1;

/// Whether sweeps are to be complete: without, a part that misses no term.
pub(crate) fn full() -> bool {
    std::env::var_os("HYDRALIGN_FULL_TESTS").is_some()
}

pub(crate) fn shape() -> ModelShape {
    ModelShape {
        vocab: 17,
        hidden: 16,
        intermediate: 24,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        tied: false,
        parts: Parts::default(),
    }
}

pub(crate) fn lora() -> LoraShape {
    LoraShape { rank: 3, alpha: 6.0, ..LoraShape::default() }
}

/// A joint checkpoint of random weights.
pub(crate) fn checkpoint() -> Checkpoint {
    let device = Device::flex();
    let architecture = Architecture::llama(&shape(), 64, STOP).unwrap();
    Checkpoint {
        trunk: random_trunk(&architecture, false, 11, &device),
        adapter: None,
        reward_head: Some(ScalarHead::fresh(shape().hidden, false, 12, &device)),
    }
}

/// The same checkpoint with a trained adapter: fresh, then moved by a few supervised steps.
pub(crate) fn checkpoint_with_adapter() -> Checkpoint {
    let mut base = checkpoint();
    let placement = Placement::sft().with_adapter("sft");
    let bank = ModelBank::new(&placement, &Start::joint(&base), &lora(), 5).unwrap();
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    let rows: Vec<Sequence> =
        (0..4).map(|i| Sequence::new(vec![2, 3 + i], vec![9, 4 + i, STOP])).collect();
    for _ in 0..5 {
        let batch = hydralign::algorithms::nll_batch(&rows, 4, &Device::flex()).unwrap();
        learner.step(&Nll, &batch, 0.02).unwrap();
    }
    let adapter: &Adapter = learner.model().adapter("sft").unwrap();
    base.adapter = Some(adapter.duplicate(false));
    base
}

pub(crate) fn prompts() -> Vec<Vec<u32>> {
    vec![vec![2, 3], vec![4], vec![5, 6, 7], vec![8, 2]]
}

pub(crate) fn generate(bank: &ModelBank, seed: u64) -> Vec<Episode> {
    let sampler = SamplerConfig::default().build().unwrap();
    let config = GenerationConfig {
        max_new_tokens: 6,
        stop_tokens: vec![STOP],
        batch_size: 8,
        ..GenerationConfig::default()
    };
    let engine = Engine::new(bank, Role::Actor, &sampler, &config).unwrap();
    engine.generate(&sample_prompts(&prompts(), 2, seed, 0), &mut ()).unwrap()
}

pub(crate) fn ppo_config() -> PpoConfig {
    PpoConfig { epochs: 2, minibatches: 2, micro_batch: 4, ..PpoConfig::default() }
}

/// One iteration: sample, score, credit, update.
pub(crate) fn iterate(
    learner: &mut Learner<ModelBank>,
    config: &PpoConfig,
    lr: f64,
    seed: u64,
) -> (Experience, UpdateReport) {
    let episodes = generate(learner.model(), seed);
    let mut ppo = Ppo::new(config.clone()).unwrap();
    let sampler = SamplerConfig::default();
    let experience = ppo.experience(learner.model(), episodes, &sampler, None, &mut ()).unwrap();
    let device = Device::flex();
    let report = ppo.update(learner, &experience, lr, seed, &device, &mut ()).unwrap();
    (experience, report)
}

pub(crate) fn learner(placement: &Placement, checkpoint: &Checkpoint) -> Learner<ModelBank> {
    let bank = ModelBank::new(placement, &Start::joint(checkpoint), &lora(), 3).unwrap();
    Learner::new(bank, &OptimizerConfig::default())
}

/// Every parameter of a module by its path, with whether autodiff tracks it.
pub(crate) fn parameters<M: Module>(module: &M) -> BTreeMap<String, (bool, Vec<f32>)> {
    #[derive(Default)]
    struct Collect {
        path: Vec<String>,
        found: BTreeMap<String, (bool, Vec<f32>)>,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let tracked = value.is_require_grad();
            let data = value.into_data().iter::<f32>().collect();
            self.found.insert(self.path.join("."), (tracked, data));
        }
    }
    let mut collect = Collect::default();
    module.visit(&mut collect);
    collect.found
}

pub(crate) fn read(bank: &ModelBank, reading: Reading, episodes: &[Episode]) -> Vec<f32> {
    let batch = TokenBatch::from_episodes(episodes).unwrap();
    bank.read(&[Request::constant(reading)], &batch).unwrap().to_vec(reading).unwrap()
}

//! Parts of a user's own in whole runs: optimizers, rates of groups, a critic's head, PPO's credit and its β.

mod common;

use common::{STOP, checkpoint, lora, parameters, ppo_config, prompts};
use hydralign::advantage::{
    AdaptiveKl, AdvantageError, AdvantageEstimator, Credit, FixedKl, Gae, KlController,
};
use hydralign::algorithms::{AlgorithmError, PpoParts, nll_batch};
use hydralign::burn::module::Module;
use hydralign::burn::nn::{Linear, LinearConfig};
use hydralign::burn::optim::momentum::MomentumConfig;
use hydralign::burn::optim::{AdamConfig, AdamWConfig, LionConfig, ModuleOptimizer, SgdConfig};
use hydralign::burn::tensor::Tensor;
use hydralign::core::{Decoder, Differentiable, Gradient, episode_fn};
use hydralign::models::ValueHead;
use hydralign::prelude::*;
use hydralign::train::{Trainable, run_name};

fn bank(placement: &Placement) -> ModelBank {
    ModelBank::new(placement, &Start::joint(&checkpoint()), &lora(), 3).unwrap()
}

fn step<M: Differentiable>(learner: &mut Learner<M>, lr: f64) {
    let rows = [Sequence::new(vec![2, 3], vec![9, 4, STOP]), Sequence::new(vec![5], vec![9, STOP])];
    learner.step(&Nll, &nll_batch(&rows, 2, &Device::flex()).unwrap(), lr).unwrap();
}

fn adapter() -> ModelBank {
    bank(&Placement::sft().with_adapter("own"))
}

/// Optimizers whose states have nothing, one and two tensors for a parameter.
fn optimizers() -> [(&'static str, ModuleOptimizer); 5] {
    let momentum = SgdConfig::new().with_momentum(Some(MomentumConfig::new()));
    [
        ("adamw", AdamWConfig::new().with_epsilon(1e-5).init()),
        ("adam", AdamConfig::new().with_epsilon(1e-5).init()),
        ("lion", LionConfig::new().init()),
        ("momentum", momentum.init()),
        ("sgd", SgdConfig::new().init()),
    ]
}

fn with(own: (&str, ModuleOptimizer)) -> Learner<ModelBank> {
    Learner::with_optimizer(adapter(), own.0, own.1, Some(1.0))
}

#[test]
fn steps_of_an_optimizer_are_those_that_burn_takes() {
    for own in optimizers() {
        let (name, mut burns) = own.clone();
        let mut learner = Learner::with_optimizer(adapter(), name, own.1, None);
        let rows = [Sequence::new(vec![2, 3], vec![9, 4, STOP])];
        let (tokens, _) = nll_batch(&rows, 2, &Device::flex()).unwrap().remove(0);
        let mut model = learner.model().clone();
        for _ in 0..3 {
            learner.step(&Nll, &nll_batch(&rows, 2, &Device::flex()).unwrap(), 0.01).unwrap();
            let reading = Reading::Logprobs(Role::Actor);
            let requests = [Request::differentiable(reading)];
            let gradients = model.differentiate(&requests, &tokens, |outputs| {
                Ok::<_, AlgorithmError>(outputs.get(reading)?.mean().neg())
            });
            model = burns.step(0.01, model, gradients.unwrap());
        }
        let (learnt, expected) = (parameters(learner.model()), parameters(&model));
        for (path, (_, values)) in &expected {
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
            assert!(values.iter().zip(&learnt[path].1).all(close), "{name}: {path}");
        }
        assert_ne!(learnt, parameters(&adapter()), "{name}");
    }
}

#[test]
fn a_record_of_any_optimizer_goes_on_and_one_of_another_name_is_refused() {
    for own in optimizers() {
        let mut whole = with(own.clone());
        (0..3).for_each(|_| step(&mut whole, 0.01));
        let mut resumed = with(own.clone()).with_record(whole.to_record().unwrap()).unwrap();
        assert_eq!(resumed.steps(), 3);
        (0..2).for_each(|_| [&mut whole, &mut resumed].into_iter().for_each(|l| step(l, 0.02)));
        assert!(parameters(whole.model()) == parameters(resumed.model()), "{}", own.0);
        for other in optimizers().into_iter().filter(|other| other.0 != own.0) {
            let name = other.0;
            let refused = with(other).with_record(whole.to_record().unwrap()).err().unwrap();
            let text = refused.to_string();
            assert!(text.contains(&format!("`{}`, not `{name}`", own.0)), "{text}");
        }
    }
}

#[test]
fn a_record_of_another_state_under_the_same_name_is_refused() {
    let [_, _, lion, momentum, _] = optimizers();
    let mut learner = with(momentum);
    step(&mut learner, 0.01);
    let refused = with(("momentum", lion.1)).with_record(learner.to_record().unwrap());
    assert!(matches!(refused, Err(AlgorithmError::Record { .. })));
}

/// How far each parameter has moved, by its path: largest change.
fn moved(learner: &Learner<ModelBank>) -> Vec<(String, f32)> {
    let (before, after) = (parameters(&adapter()), parameters(learner.model()));
    let change = |(path, (_, values)): (&String, &(bool, Vec<f32>))| {
        let changes = values.iter().zip(&after[path].1).map(|(a, b)| (a - b).abs());
        (path.clone(), changes.fold(0.0, f32::max))
    };
    before.iter().map(change).collect()
}

/// SGD moves weights by rate times gradient, so that rates can be read from one step.
#[test]
fn groups_learn_at_their_own_rates_in_proportion() {
    let sgd = || Learner::with_optimizer(adapter(), "sgd", SgdConfig::new().init(), None);
    let plain = {
        let mut learner = sgd();
        // B is zero at the start, and so is the gradient of A: two steps move both.
        (0..2).for_each(|_| step(&mut learner, 1e-2));
        moved(&learner)
    };
    let one = |rates: &[(&str, f64)]| {
        let learner = rates.iter().fold(sgd(), |l, (paths, f)| l.with_rate(paths, *f).unwrap());
        let mut learner = learner;
        step(&mut learner, 1e-3);
        moved(&learner)
    };
    assert!(plain.iter().filter(|(path, _)| path.ends_with(".a")).any(|(_, by)| *by > 0.0));
    let (base, faster) = (one(&[]), one(&[(r"^adapters.*\.b$", 16.0)]));
    let mut seen = 0;
    for ((path, slow), (_, fast)) in base.iter().zip(&faster).filter(|((_, by), _)| *by > 0.0) {
        assert!(path.starts_with("adapters") && path.ends_with(".b"), "{path}");
        assert!((fast / slow - 16.0).abs() < 1e-2, "{path}: {slow} → {fast}");
        seen += 1;
    }
    assert!(seen > 2);
    // The last group that matches counts, and 0 freezes.
    let frozen = one(&[(r"\.b$", 16.0), (r"blocks\.1\.", 0.0)]);
    for ((path, slow), (_, by)) in base.iter().zip(&frozen).filter(|((_, by), _)| *by > 0.0) {
        let factor = if path.contains("blocks.1.") { 0.0 } else { 16.0 };
        assert!((by - factor * slow).abs() < 1e-6, "{path}: {slow} → {by}");
    }
}

#[test]
fn groups_that_change_nothing_and_rates_above_one_are_refused() {
    let learner = || Learner::new(adapter(), &OptimizerConfig::default());
    for (paths, what) in [("^critic_head", "it matches no trained"), ("(", "regex")] {
        let refused = learner().with_rate(paths, 2.0).err().unwrap().to_string();
        assert!(refused.contains(paths) && refused.contains(what), "{refused}");
    }
    for factor in [-1.0, f64::NAN] {
        assert!(learner().with_rate("adapters", factor).is_err());
    }
    let mut fast = learner().with_rate("adapters", 200.0).unwrap();
    let rows = [Sequence::new(vec![2, 3], vec![9, 4, STOP])];
    let batch = nll_batch(&rows, 2, &Device::flex()).unwrap();
    assert!(matches!(
        fast.step(&Nll, &batch, 0.01),
        Err(AlgorithmError::Setting { field: "learning rate", value: 2.0, .. })
    ));
    assert_eq!(parameters(fast.model()), parameters(&adapter()));
}

/// Two layers, of burn's own parts.
#[derive(Module, Debug)]
struct Perceptron {
    up: Linear,
    down: Linear,
}

impl ValueHead for Perceptron {
    fn width(&self) -> usize {
        self.up.weight.dims()[0]
    }

    fn forward(&self, hidden: Tensor<2>, _: Gradient) -> Tensor<1> {
        self.down.forward(self.up.forward(hidden).tanh()).flatten(0, 1)
    }
}

fn perceptron() -> Perceptron {
    let device = Device::flex().autodiff();
    device.seed(7);
    let linear = |from, to| LinearConfig::new(from, to).init(&device);
    Perceptron { up: linear(16, 32), down: linear(32, 1) }
}

fn ppo<'a>(prompts: &'a [Vec<u32>], steps: usize, reward: &'a dyn Reward) -> PpoRecipe<'a> {
    let stop_tokens = vec![STOP];
    let generation = GenerationConfig { max_new_tokens: 6, stop_tokens, ..Default::default() };
    let sampling = Sampling { prompts_per_round: 4, seed: 7, ..Sampling::new(prompts, generation) };
    let recipe = PpoRecipe::new(sampling, steps, &Device::flex());
    PpoRecipe { ppo: ppo_config(), reward: Some(reward), lr: Schedule::constant(0.01), ..recipe }
}

fn train<M: Differentiable + Decoder>(
    recipe: &PpoRecipe<'_>,
    learner: Learner<M>,
    checkpoints: Option<Checkpoints>,
    observer: &mut dyn Observer,
) -> Learner<M> {
    let stop = StopFlag::new();
    let trainer = Trainer { checkpoints, ..Trainer::new("ppo", &stop) };
    let trained = trainer.train(recipe, learner, observer).unwrap();
    trained.ended.unwrap();
    trained.learner
}

/// Head, optimizer and rates are all own, and the run is cut after its second step of four.
#[test]
fn a_critic_of_two_layers_learns_and_its_run_goes_on_bit_for_bit() {
    let prompts = prompts();
    let share = |e: &Episode| e.response.iter().filter(|&&t| t == 9).count() as f32 / 6.0;
    let reward = episode_fn(|all| all.iter().map(share).collect::<Vec<f32>>());
    let learner = || {
        let bank = bank(&Placement::hydra_ppo().without_reward());
        let bank = bank.with_critic_head(perceptron()).unwrap();
        let learner = Learner::with_optimizer(bank, "lion", LionConfig::new().init(), Some(1.0));
        learner.with_rate("^critic_head", 3.0).unwrap()
    };
    let whole = train(&ppo(&prompts, 4, &reward), learner(), None, &mut ());
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = || Some(Checkpoints::new(folder.path(), &run_name("own"), 1, 1));
    // The schedule is constant, so that a run of two steps is the first half of one of four.
    train(&ppo(&prompts, 2, &reward), learner(), checkpoints(), &mut ());
    let resumed = train(&ppo(&prompts, 4, &reward), learner(), checkpoints(), &mut ());
    assert_eq!(resumed.steps(), whole.steps());
    let (a, b) = (parameters(whole.model()), parameters(resumed.model()));
    assert!(a == b);
    let fresh = parameters(learner().model());
    for path in ["critic_head.up.weight", "critic_head.up.bias", "critic_head.down.weight"] {
        assert!(a[path].0 && a[path].1 != fresh[path].1, "{path} is trained");
    }
    let other = Learner::new(
        bank(&Placement::hydra_ppo().without_reward()).with_critic_head(perceptron()).unwrap(),
        &OptimizerConfig::default(),
    );
    let refused = other.with_record(Trainable::to_record(&whole).unwrap()).err().unwrap();
    assert!(refused.to_string().contains("`lion`, not `adamw`"), "{refused}");
}

/// Notes what it is given, and gives what the field's estimator would.
struct Twice(Gae);

impl AdvantageEstimator for Twice {
    fn credit(&self, rewards: &[f32], values: &[f32]) -> Result<Credit, AdvantageError> {
        let Credit { advantages, returns } = self.0.credit(rewards, values)?;
        Ok(Credit { advantages: advantages.iter().map(|a| 2.0 * a).collect(), returns })
    }
}

fn experience(config: PpoConfig, parts: &PpoParts) -> Result<Vec<Vec<f32>>, AlgorithmError> {
    let learner = common::learner(&Placement::hydra_ppo(), &checkpoint());
    let episodes = common::generate(learner.model(), 0);
    let (mut ppo, sampler) = (Ppo::with_parts(config, parts)?, SamplerConfig::default());
    let found = ppo.experience(learner.model(), episodes, &sampler, None, &mut ())?;
    Ok(found.samples.into_iter().map(|s| s.advantages).collect())
}

#[test]
fn an_estimator_of_ones_own_credits_the_tokens_and_is_checked() {
    let config = PpoConfig { whiten_advantages: false, lambda: 0.7, ..ppo_config() };
    let plain = experience(config.clone(), &PpoParts::default()).unwrap();
    let own = PpoParts::default().advantages(Twice(Gae { gamma: 1.0, lambda: 0.7 }));
    let doubled: Vec<Vec<f32>> =
        plain.iter().map(|row| row.iter().map(|a| 2.0 * a).collect()).collect();
    assert_eq!(experience(config.clone(), &own).unwrap(), doubled);

    struct Bad(Vec<f32>);
    impl AdvantageEstimator for Bad {
        fn credit(&self, _: &[f32], _: &[f32]) -> Result<Credit, AdvantageError> {
            Ok(Credit { advantages: self.0.clone(), returns: self.0.clone() })
        }
    }
    for (bad, what) in [(vec![], "advantages"), (vec![f32::NAN; 6], "advantages")] {
        let refused = experience(config.clone(), &PpoParts::default().advantages(Bad(bad)));
        assert!(refused.unwrap_err().to_string().contains(what));
    }
}

/// β after the first batch is `later`.
struct Drops {
    now: f64,
    later: f64,
}

impl KlController for Drops {
    fn coef(&self) -> f64 {
        self.now
    }

    fn update(&mut self, _: f64, _: usize) {
        self.now = self.later;
    }

    fn resume(&mut self, coef: f64) {
        self.now = coef;
    }
}

#[test]
fn a_controller_of_ones_own_chooses_beta_in_a_recipe_and_survives_its_steps() {
    let prompts = prompts();
    let reward = episode_fn(|all| vec![0.5; all.len()]);
    let betas = |parts: PpoParts| {
        let mut found = Vec::new();
        let recipe = PpoRecipe { parts, ..ppo(&prompts, 3, &reward) };
        let learner = Learner::new(bank(&Placement::hydra_ppo()), &OptimizerConfig::default());
        let mut notes = hydralign::core::stats_fn(|stats| found.extend(stats.get("kl_coef")));
        train(&recipe, learner, None, &mut notes);
        found
    };
    let own = PpoParts::default().kl(|| Drops { now: 0.3, later: 0.1 });
    assert_eq!(betas(own), [0.3, 0.1, 0.1]);
    assert_eq!(betas(PpoParts::default()), [0.05; 3]);
    let fixed = FixedKl::new(0.2).unwrap();
    assert_eq!(betas(PpoParts::default().kl(move || fixed)), [0.2; 3]);
    let steered = AdaptiveKl::new(0.1, 1e3, 10.0).unwrap();
    let falls = betas(PpoParts::default().kl(move || steered));
    assert!(falls[0] == 0.1 && falls[1] < 0.1 && falls[2] < falls[1], "{falls:?}");
}

//! What each category of a prediction is in a real run, counted by itself.

use super::drive::{checkpoint, tokens};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use hydralign_algorithms::OptimizerConfig;
use hydralign_algorithms::{Experience, Learner, Ppo, PpoBatch, PpoConfig, PpoObjective};
use hydralign_core::{Decoder, Objective, Request, Role, Roles, TokenBatch};
use hydralign_families::Architecture;
use hydralign_kernels::CountingAllocator;
use hydralign_memory::{Bookkeeping, Category, Estimate, Method, Profile, Terms, Work, Workload};
use hydralign_models::{ModelBank, Start};
use hydralign_placement::{LoraShape, Placement};
use hydralign_rollout::{Engine, GenerationConfig, Generator, SamplerConfig, sample_prompts};

/// A category of a prediction beside what was counted.
pub(crate) struct Counted {
    pub(crate) what: String,
    pub(crate) predicted: u64,
    pub(crate) measured: u64,
}

/// Bytes that are live while something is held, above those before it.
fn held<T>(make: impl FnOnce() -> T) -> u64 {
    let before = CountingAllocator::live();
    let made = make();
    let bytes = CountingAllocator::live() - before;
    drop(made);
    bytes
}

/// Bytes of the tensors of a module whose path begins in a certain way.
fn tensors<M: Module>(module: &M, of: impl Fn(&str) -> bool) -> u64 {
    struct Count<F>(Vec<String>, F, u64);
    impl<F: Fn(&str) -> bool> ModuleVisitor for Count<F> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.first().is_some_and(|first| (self.1)(first)) {
                let value = param.val();
                self.2 += (value.shape().num_elements() * value.dtype().size()) as u64;
            }
        }
    }
    let mut count = Count(Vec::new(), of, 0);
    module.visit(&mut count);
    count.2
}

/// PPO in a placement, category by category.
pub(crate) struct Case<'a> {
    pub(crate) name: String,
    pub(crate) placement: Placement,
    pub(crate) architecture: &'a Architecture,
    pub(crate) lora: &'a LoraShape,
    pub(crate) workload: &'a Workload,
}

impl Case<'_> {
    fn bank(&self, architecture: &Architecture) -> ModelBank {
        let start = checkpoint(architecture, &Device::flex());
        ModelBank::new(&self.placement, &Start::joint(&start), self.lora, 7).unwrap()
    }

    /// Every category that can be counted by itself.
    pub(crate) fn count(&self) -> Vec<Counted> {
        let (shape, w) = (&self.architecture.shape, self.workload);
        let terms = Terms::new(&self.placement, shape, self.lora, w).unwrap();
        let bank = self.bank(self.architecture);
        let mut all = vec![
            ("weights", terms.weights().unwrap(), tensors(&bank, |p| p == "trunks")),
            ("adapters", terms.adapters().unwrap(), tensors(&bank, |p| p == "adapters")),
            ("heads", terms.heads().unwrap(), tensors(&bank, |p| p.ends_with("_head"))),
            ("cache", terms.kv_cache().unwrap(), self.cache(&bank)),
            ("experience", terms.experience(10).unwrap(), self.experience(&bank)),
        ];
        let [predicted, counted] = self.graphs();
        all.push(("activations", predicted[0], counted[0]));
        all.push(("logits", predicted[1], counted[1]));
        let mut learner = Learner::new(bank, &OptimizerConfig::default());
        let entries = Bookkeeping::burn().gradient * self.trained(learner.model());
        let gradients = terms.gradients().unwrap() + entries;
        all.push(("gradients", gradients, self.gradients(&learner)));
        let state = Bookkeeping::burn().state * self.trained(learner.model());
        let optimizer = terms.optimizer().unwrap() + state;
        all.push(("optimizer", optimizer, self.optimizer(&mut learner)));
        let named = |(category, predicted, measured)| Counted {
            what: format!("{:<22} {:<14}", self.name, category),
            predicted,
            measured,
        };
        all.into_iter()
            .filter(|(_, predicted, measured)| predicted + measured > 0)
            .map(named)
            .collect()
    }

    fn trained(&self, bank: &ModelBank) -> u64 {
        struct Trained(u64);
        impl ModuleVisitor for Trained {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0 += u64::from(param.is_require_grad());
            }
        }
        let mut trained = Trained(0);
        bank.visit(&mut trained);
        trained.0
    }

    fn cache(&self, bank: &ModelBank) -> u64 {
        let batch = tokens(self.workload.generate_batch, self.workload);
        let prompts: Vec<&[u32]> = batch.sequences().iter().map(|s| &s.prompt[..]).collect();
        held(|| {
            bank.prefill(Role::Actor, &prompts, &vec![self.workload.response_tokens; prompts.len()])
                .unwrap()
                .0
        })
    }

    fn experience(&self, bank: &ModelBank) -> u64 {
        let w = self.workload;
        let prompts: Vec<Vec<u32>> =
            tokens(w.batch, w).sequences().iter().map(|s| s.prompt.clone()).collect();
        let config = GenerationConfig {
            max_new_tokens: w.response_tokens,
            batch_size: w.generate_batch,
            ..GenerationConfig::default()
        };
        let sampler = SamplerConfig::default().build().unwrap();
        let make = || -> Experience {
            let engine = Engine::new(bank, Role::Actor, &sampler, &config).unwrap();
            let episodes = engine.generate(&sample_prompts(&prompts, 1, 3, 0), &mut ()).unwrap();
            let mut ppo = Ppo::new(PpoConfig::default()).unwrap();
            ppo.experience(bank, episodes, &SamplerConfig::default(), None, &mut ()).unwrap()
        };
        held(make)
    }

    fn requests(&self) -> Vec<Request> {
        PpoObjective { config: PpoConfig::default() }.reads()
    }

    /// Bytes that the graphs hold between forward and backward pass.
    fn held_by_graphs(&self, bank: &ModelBank) -> u64 {
        let batch = tokens(self.workload.micro_batch, self.workload);
        held(|| bank.read(&self.requests(), &batch).unwrap())
    }

    /// Activations and logits, predicted and counted. Logits are what grows with the vocabulary: they are
    /// counted as the difference that doubling it makes.
    fn graphs(&self) -> [[u64; 2]; 2] {
        let method = Method::ppo(&self.placement);
        let learns = method.activities.iter().find(|a| matches!(a.work, Work::Learn(_))).unwrap();
        let (profile, mut silent) = (Profile::flex(1), Profile::flex(1));
        silent.bookkeeping.operation = 0;
        let of = |profile: &Profile| {
            let estimate =
                Estimate::new(&method, self.architecture, self.lora, self.workload, profile);
            estimate.unwrap().graphs(learns).unwrap().unwrap()
        };
        let (with, without) = (of(&profile), of(&silent));
        let operations = with.get(Category::Bookkeeping) - without.get(Category::Bookkeeping);
        let mut doubled = self.architecture.clone();
        doubled.shape.vocab *= 2;
        let once = self.held_by_graphs(&self.bank(self.architecture));
        let logits = self.held_by_graphs(&self.bank(&doubled)) - once;
        [
            [with.get(Category::Activations) + operations, with.get(Category::Logits)],
            [once - logits, logits],
        ]
    }

    fn gradients(&self, learner: &Learner<ModelBank>) -> u64 {
        let batches = self.batches();
        let objective = PpoObjective { config: PpoConfig::default() };
        drop(learner.gradients(&objective, &batches).unwrap());
        held(|| learner.gradients(&objective, &batches).unwrap())
    }

    fn optimizer(&self, learner: &mut Learner<ModelBank>) -> u64 {
        let batches = self.batches();
        let objective = PpoObjective { config: PpoConfig::default() };
        drop(learner.gradients(&objective, &batches).unwrap());
        let before = CountingAllocator::live();
        learner.step(&objective, &batches, 1e-4).unwrap();
        drop(learner.gradients(&objective, &batches).unwrap());
        CountingAllocator::live() - before
    }

    fn batches(&self) -> Vec<(TokenBatch, PpoBatch)> {
        super::drive::ppo_batches(self.workload, &Device::flex())
    }
}

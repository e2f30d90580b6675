//! The phases of every method, run for real on random models: what predictions are held against.

use burn::tensor::{Device, Tensor};
use hydralign_algorithms::{
    CriticFree, CriticFreeConfig, Dpo, HydraSft, Kto, KtoExample, Learner, Nll, OptimizerConfig,
    Pair, Pairwise, PolicyGradient, PpoBatch, PpoConfig, PpoObjective, Preference, SimPo,
    WeightedSequence, kto_batch, nll_batch, pair_batch, preference_batch, ranking_batch,
    weighted_batch,
};
use hydralign_core::{
    Decoder, Episode, Finish, Objective, Reading, Request, Role, Roles, Sequence, TokenBatch,
};
use hydralign_kernels::CountingAllocator;
use hydralign_memory::{self as memory, Activity, Dtype, Method, Work, Workload};
use hydralign_models::{
    Architecture, Checkpoint, ModelBank, ScalarHead, Start, StoredDtype, random_trunk,
};
use hydralign_placement::{LoraShape, Placement, Source};

/// A random model of an architecture, with a reward head.
pub(crate) fn checkpoint(architecture: &Architecture, device: &Device) -> Checkpoint {
    Checkpoint {
        trunk: random_trunk(architecture, false, 1, device),
        adapter: None,
        reward_head: Some(ScalarHead::fresh(architecture.shape.width(), false, 2, device)),
    }
}

/// What a phase holds: a bank that reads, or one that learns.
pub(crate) enum Held {
    Bank(ModelBank),
    Learner(Learner<ModelBank>),
}

impl Held {
    /// Builds what an activity holds, without the step that makes the optimizer's state.
    pub(crate) fn new(
        activity: &Activity,
        start: &Checkpoint,
        lora: &LoraShape,
        w: &Workload,
    ) -> Self {
        let placement = &activity.placement;
        if placement.validate().is_ok() {
            let bank = ModelBank::new(placement, &Start::joint(start), lora, 7).unwrap();
            return Held::Learner(Learner::new(carried(bank, w), &OptimizerConfig::default()));
        }
        // Reading alone: a copy, as a checkpoint that was loaded for it is.
        let adapter = placement.adapters.first().map(|spec| {
            let shape = &start.trunk.architecture().shape;
            let device = start.trunk.device();
            assert_eq!(placement.trunks[spec.trunk].source, Source::Policy);
            hydralign_models::Adapter::fresh(shape, lora, false, 7, &device)
        });
        if placement.views.keys().all(|r| r.is_scalar()) {
            // A sequence classifier has no LM head, as a reward model that is trained has none.
            let alone = Placement::reward_model();
            let bank = ModelBank::new(&alone, &Start::joint(start), lora, 7).unwrap();
            let classifier = bank.checkpoint(Role::Reward).unwrap();
            return Held::Bank(carried(ModelBank::frozen(classifier), w));
        }
        let trunk = start.trunk.duplicate(false);
        let bank = ModelBank::frozen(Checkpoint { trunk, adapter, reward_head: None });
        Held::Bank(carried(bank, w))
    }

    pub(crate) fn bank(&self) -> &ModelBank {
        match self {
            Held::Bank(bank) => bank,
            Held::Learner(learner) => learner.model(),
        }
    }
}

/// The bank as the workload says that it is held and run.
fn carried(bank: ModelBank, w: &Workload) -> ModelBank {
    let bank = bank.with_execution(w.execution).unwrap();
    match w.frozen_dtype {
        Dtype::F32 => bank,
        Dtype::F16 => bank.with_frozen_dtype(StoredDtype::F16).unwrap(),
        Dtype::Bf16 => bank.with_frozen_dtype(StoredDtype::Bf16).unwrap(),
    }
}

fn sequences(rows: usize, w: &Workload) -> Vec<Sequence> {
    let ids = |n: usize, row: usize| (0..n).map(|t| ((7 * t + row) % 61) as u32).collect();
    let row = |i| Sequence::new(ids(w.prompt_tokens, i), ids(w.response_tokens, i));
    (0..rows).map(row).collect()
}

fn reading(reading: memory::Reading) -> Reading {
    match reading {
        memory::Reading::Logprobs(role) => Reading::Logprobs(role),
        memory::Reading::Entropy(role) => Reading::Entropy(role),
        memory::Reading::Values(role) => Reading::Values(role),
        memory::Reading::Score(role) => Reading::Score(role),
    }
}

/// Does once what a phase does over and over.
pub(crate) fn run(
    method: &Method,
    activity: &Activity,
    held: &mut Held,
    w: &Workload,
    device: &Device,
) {
    match (&activity.work, held) {
        (Work::Generate(role), held) => generate(held.bank(), *role, w),
        (Work::Read(readings), held) => {
            let requests: Vec<Request> =
                readings.iter().map(|&r| Request::constant(reading(r))).collect();
            held.bank()
                .read(&requests, &tokens(w.score_batch * activity.sequences as usize, w))
                .unwrap();
        }
        (Work::Learn(_), Held::Learner(learner)) => learn(&method.name, learner, w, device),
        (Work::Learn(_), Held::Bank(_)) => panic!("{} cannot learn", method.name),
    }
}

fn generate(bank: &ModelBank, role: Role, w: &Workload) {
    let rows = sequences(w.generate_batch, w);
    let prompts: Vec<&[u32]> = rows.iter().map(|s| s.prompt.as_slice()).collect();
    let (mut cache, _) =
        bank.prefill(role, &prompts, &vec![w.response_tokens; prompts.len()]).unwrap();
    // All but the first few places are filled at once: one step at full length needs most.
    for _ in 0..w.response_tokens {
        let logits = bank.decode(role, &mut cache, &vec![3; w.generate_batch]).unwrap();
        drop(logits.into_data().try_into_vec_as::<f32>().unwrap());
    }
}

fn step<O: Objective>(
    learner: &mut Learner<ModelBank>,
    objective: &O,
    batches: &[(TokenBatch, O::Batch)],
) {
    learner.step(objective, batches, 1e-4).unwrap();
}

fn learn(name: &str, learner: &mut Learner<ModelBank>, w: &Workload, device: &Device) {
    let (rows, micro) = (sequences(w.minibatch, w), w.micro_batch);
    let pairs = || -> Vec<(Sequence, Sequence)> {
        rows.iter().zip(rows.iter().rev()).map(|(a, b)| (a.clone(), b.clone())).collect()
    };
    let preferences = |reference: bool| -> Vec<Pair> {
        let known = reference.then_some([-1.0, -1.0]);
        let pair = |(chosen, rejected)| Pair { chosen, rejected, reference: known };
        pairs().into_iter().map(pair).collect()
    };
    match name.strip_suffix("_lora").unwrap_or(name) {
        "sft" => step(learner, &Nll, &nll_batch(&rows, micro, device).unwrap()),
        "spr" => {
            let weighted = |sequence: &Sequence| WeightedSequence {
                weights: vec![1.0; sequence.response.len()],
                sequence: sequence.clone(),
            };
            let rows: Vec<_> = rows.iter().map(weighted).collect();
            step(learner, &Nll, &weighted_batch(&rows, micro, device).unwrap());
        }
        "reward_model" => {
            let batches = ranking_batch(&pairs(), micro, device).unwrap();
            step(learner, &Pairwise::default(), &batches);
        }
        "hydra_sft" => {
            let batches = preference_batch(&pairs(), micro, device).unwrap();
            step(learner, &HydraSft::default(), &batches);
        }
        "dpo" => {
            let objective = Preference { live: true, ..Preference::new(Dpo::default()) };
            step(learner, &objective, &pair_batch(&preferences(false), micro, device).unwrap());
        }
        "dpo_precomputed" => {
            let objective = Preference::new(Dpo::default());
            step(learner, &objective, &pair_batch(&preferences(true), micro, device).unwrap());
        }
        "simpo" => {
            let objective = Preference::new(SimPo::default());
            step(learner, &objective, &pair_batch(&preferences(false), micro, device).unwrap());
        }
        "kto" => {
            let example = |(i, sequence): (usize, &Sequence)| KtoExample {
                sequence: sequence.clone(),
                desirable: i % 2 == 0,
                reference: -1.0,
            };
            let rows: Vec<_> = rows.iter().enumerate().map(example).collect();
            step(learner, &Kto::default(), &kto_batch(&rows, 0.0, micro, device).unwrap());
        }
        "grpo" => critic_free(learner, CriticFreeConfig::grpo(), &rows, w, device),
        "rloo" => critic_free(learner, CriticFreeConfig::rloo(), &rows, w, device),
        "remax" => critic_free(learner, CriticFreeConfig::remax(), &rows, w, device),
        _ => {
            let objective = PpoObjective { config: PpoConfig::default() };
            step(learner, &objective, &ppo_batches(w, device));
        }
    }
}

fn critic_free(
    learner: &mut Learner<ModelBank>,
    config: CriticFreeConfig,
    rows: &[Sequence],
    w: &Workload,
    device: &Device,
) {
    let config = CriticFreeConfig { micro_batch: w.micro_batch, ..config };
    let each = |value: f32| vec![value; w.response_tokens];
    let sample = |s: &Sequence| hydralign_algorithms::GroupSample {
        episode: Episode {
            prompt: s.prompt.clone(),
            row: None,
            response: s.response.clone(),
            logprobs: each(-4.0),
            policy_logprobs: each(-4.0),
            finish: Finish::Length,
        },
        old_logprobs: each(-4.0),
        ref_logprobs: each(-4.0),
        score: 1.0,
        kl: each(0.0),
        advantages: each(1.0),
    };
    let samples: Vec<_> = rows.iter().map(sample).collect();
    let all: Vec<_> = samples.iter().collect();
    let method = CriticFree::new(config.clone()).unwrap();
    let batches = method.micro_batches(&all, 1.0, device).unwrap();
    step(learner, &PolicyGradient { config }, &batches);
}

/// Rows of a workload's lengths.
pub(crate) fn tokens(rows: usize, w: &Workload) -> TokenBatch {
    TokenBatch::new(sequences(rows, w)).unwrap()
}

/// The micro-batches of a minibatch of PPO.
pub(crate) fn ppo_batches(w: &Workload, device: &Device) -> Vec<(TokenBatch, PpoBatch)> {
    let micro_batch = |rows: &[Sequence]| {
        let tokens = TokenBatch::new(rows.to_vec()).unwrap();
        let n = tokens.response_tokens();
        let each = |value: f32| Tensor::from_data(vec![value; n].as_slice(), device);
        let batch = PpoBatch {
            old_logprobs: each(-4.0),
            advantages: each(1.0),
            old_values: each(0.0),
            returns: each(1.0),
            weights: each(1.0 / (w.minibatch * w.response_tokens) as f32),
        };
        (tokens, batch)
    };
    sequences(w.minibatch, w).chunks(w.micro_batch).map(micro_batch).collect()
}

/// Makes what threads keep for ever: each has a slab for matrix products as large as a core's cache,
/// from its first product on.
pub(crate) fn warm_up_threads(device: &Device) {
    let matrix = Tensor::<2>::ones([512, 512], device);
    let many = Tensor::<3>::ones([64, 96, 96], device);
    for _ in 0..50 {
        drop(matrix.clone().matmul(matrix.clone()));
        drop(many.clone().matmul(many.clone()));
    }
    // Below the size from which products are shared out: the calling thread's own.
    let small = Tensor::<2>::ones([64, 64], device);
    drop(small.clone().matmul(small));
}

/// The most bytes of an activity in the second of two equal rounds, above those held before.
pub(crate) fn peak(
    method: &Method,
    activity: &Activity,
    start: &Checkpoint,
    lora: &LoraShape,
    w: &Workload,
    device: &Device,
) -> u64 {
    let before = CountingAllocator::live();
    let mut held = Held::new(activity, start, lora, w);
    if activity.optimizer {
        // The step that makes the optimizer's state.
        for learns in method.activities.iter().filter(|a| matches!(a.work, Work::Learn(_))) {
            run(method, learns, &mut held, w, device);
        }
    }
    run(method, activity, &mut held, w, device);
    CountingAllocator::reset_peak();
    run(method, activity, &mut held, w, device);
    CountingAllocator::peak() - before
}

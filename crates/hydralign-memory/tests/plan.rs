//! What a planner promises: what it returns fits, more memory is never slower, and a refusal says why.

mod common;

use common::{llama_2_7b, small};
use hydralign_families::Architecture;
use hydralign_memory::{
    Budget, Dtype, Estimate, Job, MemoryError, Method, PhaseName, Profile, Rate, Rates, Workload,
    parse_bytes,
};
use hydralign_placement::{LoraShape, Placement};

fn rates() -> Rates {
    let rate = |flops| Rate { flops, block_seconds: 1e-4 };
    Rates { generate: rate(1e11), read: rate(4e11), learn: rate(3e11) }
}

/// A job's parts.
struct Parts {
    method: Method,
    architecture: Architecture,
    lora: LoraShape,
    workload: Workload,
    profile: Profile,
    rates: Rates,
}

impl Parts {
    fn new(method: Method, architecture: Architecture, workload: Workload) -> Self {
        let lora = LoraShape { rank: 16, ..LoraShape::default() };
        Self { method, architecture, lora, workload, profile: Profile::flex(2), rates: rates() }
    }

    fn job(&self) -> Job<'_> {
        Job {
            method: &self.method,
            architecture: &self.architecture,
            lora: &self.lora,
            workload: &self.workload,
            profile: &self.profile,
            rates: &self.rates,
        }
    }

    fn least(&self) -> u64 {
        match self.job().plan(0) {
            Err(MemoryError::NoFit(no)) => no.least,
            other => panic!("{other:?}"),
        }
    }
}

fn hydra() -> Parts {
    let method = Method::ppo(&Placement::hydra_ppo());
    Parts::new(method, small(), Workload::uniform(32, 64, 64))
}

#[test]
fn what_is_planned_fits_and_more_memory_is_never_slower() {
    let parts = hydra();
    let least = parts.least();
    let mut before = f64::INFINITY;
    for step in 0..40 {
        let budget = least + least * step / 10;
        let plan = parts.job().plan(budget).unwrap();
        assert!(plan.prediction.peak().unwrap().1.total() <= budget);
        assert!(plan.seconds <= before, "{budget}: {} after {before}", plan.seconds);
        before = plan.seconds;
        let Workload { batch, minibatch, prompt_tokens, response_tokens, .. } = plan.workload;
        assert_eq!((batch, minibatch, prompt_tokens, response_tokens), (32, 32, 64, 64));
    }
    let free = parts.job().plan(u64::MAX).unwrap();
    assert_eq!(free.workload, parts.workload, "nothing is given up without need");
    assert!(free.seconds <= before);
}

#[test]
fn a_byte_less_than_the_least_is_refused() {
    let parts = hydra();
    let least = parts.least();
    assert!(parts.job().plan(least).is_ok());
    let error = parts.job().plan(least - 1).unwrap_err();
    let MemoryError::NoFit(no) = &error else { panic!("{error}") };
    assert_eq!((no.least, no.budget), (least, least - 1));
    let text = error.to_string();
    assert!(text.contains("is 1 B short"), "{text}");
    assert!(text.contains("weights") && text.contains("total"), "{text}");
}

#[test]
fn a_refusal_names_what_would_fit() {
    let workload = Workload::uniform(8, 256, 256);
    let parts = Parts::new(Method::ppo(&Placement::ppo()), llama_2_7b(), workload.clone());
    let error = parts.job().plan(parse_bytes("80GB").unwrap()).unwrap_err();
    let MemoryError::NoFit(no) = &error else { panic!("{error}") };
    // Two trained copies of 6.7 billion parameters at 16 bytes each are beyond it; one frozen copy in
    // 16 bits with adapters is not.
    assert!(no.least > 200_000_000_000, "{error}");
    let ways: Vec<&str> = no.ways.iter().map(|w| w.way.as_str()).collect();
    assert!(ways.iter().any(|w| w.contains("hydra_ppo")), "{ways:?}");
    assert!(no.ways.iter().all(|w| w.bytes <= no.budget));

    let dpo = Parts::new(Method::dpo(), llama_2_7b(), workload);
    let error = dpo.job().plan(parse_bytes("40GB").unwrap()).unwrap_err();
    assert!(error.to_string().contains("adapters over frozen weights"), "{error}");

    let hopeless = dpo.job().plan(1).unwrap_err().to_string();
    assert!(hopeless.contains("a smaller model"), "{hopeless}");
}

#[test]
fn frozen_weights_are_narrowed_only_where_nothing_else_fits() {
    let parts = hydra();
    let least = parts.least();
    assert_eq!(parts.job().plan(least).unwrap().workload.frozen_dtype, Dtype::Bf16);
    assert_eq!(parts.job().plan(2 * least).unwrap().workload.frozen_dtype, Dtype::F32);
    let sft = Parts::new(Method::sft(), small(), Workload::uniform(32, 64, 64));
    let plan = sft.job().plan(sft.least()).unwrap();
    assert_eq!(plan.workload.frozen_dtype, Dtype::F32, "nothing is frozen");
}

#[test]
fn a_meter_that_reads_more_makes_a_new_plan() {
    let parts = hydra();
    let free = parts.job().plan(u64::MAX).unwrap();
    let bytes = free.prediction.peak().unwrap().1.total() * 6 / 5;
    let mut budget = Budget::new(parts.job(), bytes).unwrap();
    assert_eq!(budget.plan(), &free);
    let update = free.prediction.get(PhaseName::Update).unwrap().total();
    assert!(!budget.measured(PhaseName::Update, update).unwrap());
    assert!(!budget.measured(PhaseName::Update, update * 102 / 100).unwrap());
    assert!(budget.measured(PhaseName::Update, update * 5 / 4).unwrap());
    let careful = budget.plan().prediction.peak().unwrap().1.total();
    assert!(careful as f64 * 1.25 <= bytes as f64, "{careful} as measured, of {bytes}");
    // The same excess again is what the plan reckons with already.
    let update = budget.plan().prediction.get(PhaseName::Update).unwrap().total();
    assert!(!budget.measured(PhaseName::Update, update * 5 / 4).unwrap());
    let error = budget.measured(PhaseName::Update, update * 100).unwrap_err();
    assert!(matches!(error, MemoryError::NoFit(_)), "{error}");
}

#[test]
fn faulty_jobs_are_refused_before_any_search() {
    let too_long = Parts::new(Method::sft(), small(), Workload::uniform(1, 4000, 4000));
    let error = too_long.job().plan(u64::MAX).unwrap_err();
    assert!(matches!(error, MemoryError::Context { needed: 8000, context: 2048 }), "{error}");
    let none = Parts::new(Method::sft(), small(), Workload::uniform(0, 4, 4));
    assert!(matches!(none.job().plan(u64::MAX), Err(MemoryError::Zero { field: "batch" })));
}

#[test]
fn a_rate_is_the_line_through_two_measurements() {
    let seconds = |flops: f64, blocks: f64| flops / 2e9 + blocks * 3e-3;
    let of = |flops, blocks| (flops, blocks, seconds(flops, blocks));
    let rate = Rate::through(of(1e8, 4.0), of(9e8, 4.0));
    assert!(
        (rate.flops / 2e9 - 1.0).abs() < 1e-9 && (rate.block_seconds / 3e-3 - 1.0).abs() < 1e-9
    );
    // A larger batch that took less time: no line, but still a rate.
    let rate = Rate::through((1e8, 4.0, 0.2), (9e8, 4.0, 0.1));
    assert_eq!((rate.flops, rate.block_seconds), (9e9, 0.0));
}

#[test]
fn recomputing_costs_a_pass_and_pieces_cost_the_head() {
    let parts = hydra();
    let seconds = |segments, chunk| {
        let mut workload = parts.workload.clone();
        workload.execution.segment_blocks = segments;
        workload.execution.logprob_chunk = chunk;
        let Parts { method, architecture, lora, profile, .. } = &parts;
        let estimate = Estimate::new(method, architecture, lora, &workload, profile).unwrap();
        parts.rates.seconds(&estimate).unwrap()
    };
    let plain = seconds(None, None);
    assert!(seconds(None, Some(64)) > plain);
    assert!(seconds(Some(1), None) > plain);
    assert!(seconds(Some(1), Some(64)) > seconds(Some(1), None));
}

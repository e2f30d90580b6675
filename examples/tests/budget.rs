//! Memory budgets as their users meet them: planned, refused, kept, and the same result whatever they are.

mod common;

use common::{fault, good, run};
use hydralign::families::read_architecture;
use hydralign::memory::{
    Budget, Job, Meter, Method, PhaseName, Profile, Rate, Rates, Workload, parse_bytes,
};
use hydralign::prelude::*;
use hydralign::runs::{MetricsLine, SharedMeter, read_metrics};
use hydralign::train::BudgetWatch;
use hydralign_examples::base_model_dir;
use hydralign_examples::budget::Parts;
use std::path::Path;

fn lines(folder: &Path, out: &str) -> Vec<MetricsLine> {
    read_metrics(&folder.join(out).join("metrics.jsonl")).unwrap()
}

#[test]
fn a_run_stays_within_its_budget_and_learns_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = |out: &str, budget: &[&str]| {
        let args = [&["--smoke", "--out", out][..], budget].concat();
        good(&run(folder.path(), "hydra_rlhf", &args));
        lines(folder.path(), out)
    };
    let free = smoke("free", &[]);
    let tight = smoke("tight", &["--memory-budget", "20MiB"]);
    // The highest moment of the stages that were planned, the model that a stage starts from included.
    let stages = ["sft", "hydra_sft", "ppo"];
    let peak = |lines: &[MetricsLine]| {
        let records = lines.iter().filter(|line| stages.contains(&line.stage.as_str()));
        let planned = records.flat_map(|line| &line.memory);
        let planned = planned.filter(|r| ["generate", "score", "update"].contains(&r.phase.name()));
        planned.map(|r| r.peak).max().unwrap()
    };
    let (more, less) = (peak(&free), peak(&tight));
    assert!(less <= parse_bytes("20MiB").unwrap(), "{less}");
    assert!(more > 5 * less, "{more} without a budget, {less} with one");
    assert_eq!(free.len(), tight.len());
    for (one, other) in free.iter().zip(&tight) {
        for name in ["nll", "ranking_loss", "score", "kl", "grad_norm"] {
            let (Some(one), Some(other)) = (one.get(name), other.get(name)) else { continue };
            let scale = one.abs().max(0.1);
            assert!((one - other).abs() < 2e-3 * scale, "{name}: {one} and {other}");
        }
    }
    let config = std::fs::read_to_string(folder.path().join("tight/config.toml")).unwrap();
    assert!(config.contains("memory_budget = \"20MiB\""), "{config}");
    assert!(config.contains("segment_blocks"), "{config}");
    assert!(folder.path().join("tight/memory.svg").exists());
}

#[test]
fn a_budget_that_nothing_fits_into_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let with =
        |budget| run(folder.path(), "hydra_rlhf", &["--out", "x", "--memory-budget", budget]);
    let text = fault(&with("2MiB"));
    for part in ["memory_budget = \"2MiB\": SFT", "short", "optimizer", "total"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(fault(&with("much")).contains("`much` is not a size"));
    assert!(!folder.path().join("x").exists());
}

/// Reads the same number of bytes for ever.
struct Stuck(u64);

impl Meter for Stuck {
    fn bytes_in_use(&self) -> Option<u64> {
        Some(self.0)
    }

    fn bytes_peak(&self) -> Option<u64> {
        Some(self.0)
    }

    fn reset_peak(&self) -> bool {
        true
    }
}

#[test]
fn a_phase_that_holds_more_than_planned_changes_the_rest_of_the_run() {
    let rate = Rate { flops: 1e10, block_seconds: 1e-5 };
    let parts = Parts {
        method: Method::ppo(&Placement::hydra_ppo()),
        architecture: read_architecture(&base_model_dir()).unwrap(),
        lora: LoraShape { rank: 16, ..LoraShape::default() },
        workload: Workload::uniform(32, 16, 32),
        profile: Profile::flex(2),
        rates: Rates { generate: rate, read: rate, learn: rate },
    };
    let free = parts.job().plan(u64::MAX).unwrap();
    let predicted = free.prediction.get(PhaseName::Update).unwrap().total();
    let bytes = predicted * 11 / 10;
    let watch = |read: u64| {
        let beside = 1000;
        let meter = SharedMeter::new(Stuck(read + beside));
        BudgetWatch::new(parts.job(), bytes, meter, beside).unwrap()
    };
    assert!(watch(predicted).phase_ended(PhaseName::Update).unwrap().is_none());
    let chosen = watch(predicted * 13 / 10).phase_ended(PhaseName::Update).unwrap().unwrap();
    assert!(chosen.micro_batch < 32 || chosen.execution != Execution::default(), "{chosen:?}");
    assert_eq!((chosen.batch, chosen.minibatch), (32, 32));
    let error = watch(predicted * 1000).phase_ended(PhaseName::Update).unwrap_err();
    assert!(error.to_string().contains("short"), "{error}");
}

#[test]
fn learning_is_measured_against_the_lengths_that_were_sampled() {
    let rate = Rate { flops: 1e10, block_seconds: 1e-5 };
    let parts = Parts {
        method: Method::ppo(&Placement::hydra_ppo()),
        architecture: read_architecture(&base_model_dir()).unwrap(),
        lora: LoraShape { rank: 16, ..LoraShape::default() },
        workload: Workload::uniform(32, 16, 32),
        profile: Profile::flex(2),
        rates: Rates { generate: rate, read: rate, learn: rate },
    };
    let bytes = |prompt_tokens, response_tokens| {
        let workload = Workload { prompt_tokens, response_tokens, ..parts.workload.clone() };
        let job = Job { workload: &workload, ..parts.job() };
        let update = job.plan(u64::MAX).unwrap().prediction;
        update.get(PhaseName::Update).unwrap().total()
    };
    let (longest, short) = (bytes(16, 32), bytes(12, 20));
    assert!(short * 5 < longest * 4);
    let mut budget = Budget::new(parts.job(), longest * 11 / 10).unwrap();
    budget.sampled(12, 20).unwrap();
    // Below what the longest responses would need, and still more than these should.
    assert!(!budget.measured(PhaseName::Update, short * 102 / 100).unwrap());
    assert!(budget.measured(PhaseName::Update, longest).unwrap());
    // The next iteration's may be as long as any.
    assert!(!budget.measured(PhaseName::Generate, 1).unwrap());
    budget.sampled(1 << 20, 1 << 20).unwrap();
}

fn pairs(folder: &Path) -> String {
    let line = |i: usize| {
        format!("{{\"prompt\": \"tea {i}\", \"chosen\": \"good tea\", \"rejected\": \"no\"}}\n")
    };
    let path = folder.join("pairs.jsonl");
    std::fs::write(&path, (0..12).map(line).collect::<String>()).unwrap();
    path.display().to_string()
}

#[test]
fn a_plan_prints_a_command_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (base_model_dir().display().to_string(), pairs(folder.path()));
    let plan = |budget: &str| {
        run(folder.path(), "plan", &["--model", &model, "--data", &data, "--budget", budget])
    };
    // The whole model without checkpoints, and adapters where there is no room for its gradients.
    for (budget, method, own) in [
        ("17MiB", "dpo_precomputed", ["--checkpoint-every", "0"]),
        ("8MiB", "dpo_precomputed_lora", ["--lora-rank", "16"]),
    ] {
        let text = good(&plan(budget));
        assert!(text.contains(&format!("recommended: {method}\n")), "{text}");
        let command = text.lines().last().unwrap();
        let (name, flags) = command
            .strip_prefix("cargo run --release --example ")
            .and_then(|rest| rest.split_once(" -- "))
            .unwrap_or_else(|| panic!("{text}"));
        let flags: Vec<&str> = flags.split(' ').chain(["--out", method]).collect();
        for flag in ["--micro-batch"].iter().chain(&own) {
            assert!(flags.contains(flag), "{flags:?}");
        }
        let ran = good(&run(folder.path(), name, &flags));
        assert!(ran.contains("saved in"), "{ran}");
    }

    // A tighter one leaves the pieces, a roomy one nothing.
    let roomy = good(&plan("1GiB"));
    assert!(roomy.contains("--micro-batch 32\n") && !roomy.contains("does not fit"), "{roomy}");
    let error = fault(&plan("1MiB"));
    assert!(error.contains("no method fits into 1MiB"), "{error}");
}

#[test]
fn a_plan_refuses_what_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (base_model_dir().display().to_string(), pairs(folder.path()));
    let cases: [(&[&str], &str); 6] = [
        (&["--model", "nowhere", "--data", &data, "--budget", "1GiB"], "nowhere"),
        (&["--model", &model, "--data", "nothing.jsonl", "--budget", "1GiB"], "nothing.jsonl"),
        (&["--model", &model, "--data", &data, "--budget", "1XB"], "unknown unit `XB`"),
        (&["--model", &model, "--data", &data, "--budget", "1GiB", "--method", "magic"], "`magic`"),
        (&["--model", &model, "--data", &data, "--budget", "1GiB", "--rank", "0"], "--rank"),
        (
            &["--model", &model, "--data", &data, "--budget", "1GiB", "--max-new-tokens", "9999"],
            "leaves no room",
        ),
    ];
    for (args, reason) in cases {
        let text = fault(&run(folder.path(), "plan", args));
        assert!(text.contains(reason), "{args:?}: {text}");
    }
}

//! The same numbers as verl, TRL, OpenRLHF, torchtune and Stable-Baselines3 (`golden/README.md`).

use hydralign_advantage::{
    AdaptiveKl, KlController, KlEstimator, Moments, RewardShaping, Variance, gae, shape_rewards,
    whiten,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

type Rows = Vec<Vec<f32>>;

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn get<T: DeserializeOwned>(value: &Value, key: &str) -> T {
    serde_json::from_value(value[key].clone()).unwrap_or_else(|e| panic!("{key}: {e}"))
}

fn list(value: &Value, key: &str) -> Vec<Value> {
    get(value, key)
}

fn close(found: f64, want: f64, tolerance: f64) -> bool {
    (found - want).abs() <= tolerance * want.abs().max(1.0)
}

fn assert_rows(what: &str, found: &Rows, want: &Rows, tolerance: f64) {
    assert_eq!(
        found.iter().map(Vec::len).collect::<Vec<_>>(),
        want.iter().map(Vec::len).collect::<Vec<_>>()
    );
    for (row, (f, w)) in found.iter().zip(want).enumerate() {
        for (t, (&f, &w)) in f.iter().zip(w).enumerate() {
            assert!(close(f.into(), w.into(), tolerance), "{what} [{row}][{t}]: {f}, not {w}");
        }
    }
}

#[test]
fn advantages_and_returns() {
    for case in list(&golden("gae.json"), "cases") {
        let (gamma, lambda): (f64, f64) = (get(&case, "gamma"), get(&case, "lambda_"));
        let (rewards, values): (Rows, Rows) = (get(&case, "rewards"), get(&case, "values"));
        let credit = rewards.iter().zip(&values).map(|(r, v)| gae(r, v, gamma, lambda).unwrap());
        let (mut advantages, returns): (Rows, Rows) =
            credit.map(|c| (c.advantages, c.returns)).unzip();
        for peer in ["verl", "torchtune", "openrlhf"] {
            assert_rows(peer, &returns, &get(&case[peer], "returns"), 1e-6);
        }
        assert_rows("openrlhf", &advantages, &get(&case["openrlhf"], "advantages"), 1e-6);

        let mut kept = advantages.clone();
        whiten(&mut advantages, true, Variance::Unbiased).unwrap();
        assert_rows("verl", &advantages, &get(&case["verl"], "whitened"), 1e-6);
        whiten(&mut kept, false, Variance::Unbiased).unwrap();
        assert_rows("torchtune", &kept, &get(&case["torchtune"], "whitened_mean_added"), 1e-6);
    }
}

#[test]
fn whitened_values_and_their_moments() {
    let file = golden("whiten.json");
    let values: Rows = get(&file, "values");
    let moments = Moments::of(&values);
    let trl = &file["trl"];
    assert!(close(moments.mean().unwrap(), get(trl, "mean"), 1e-9));
    let biased = moments.variance(Variance::Biased).unwrap();
    assert!(close(biased, get(trl, "variance_biased"), 1e-9));
    let unbiased = moments.variance(Variance::Unbiased).unwrap();
    assert!(close(unbiased, get(trl, "variance_unbiased"), 1e-9));

    for output in list(&file, "outputs") {
        let (source, flag): (String, bool) = (get(&output, "source"), get(&output, "shift_mean"));
        // torchtune 0.6.1 does the opposite of what its flag says; see `peer_bugs.rs`.
        let shift_mean = flag != (source == "torchtune");
        let mut white = values.clone();
        whiten(&mut white, shift_mean, Variance::Unbiased).unwrap();
        assert_rows(&source, &white, &get(&output, "whitened"), 1e-6);
    }
}

#[test]
fn kl_estimates() {
    let file = golden("kl.json");
    let logprobs: Vec<f32> = get(&file, "logprobs");
    let ref_logprobs: Vec<f32> = get(&file, "ref_logprobs");
    let estimators = [("k1", KlEstimator::K1), ("k2", KlEstimator::K2), ("k3", KlEstimator::K3)];
    for (name, estimator) in estimators {
        let pairs = logprobs.iter().zip(&ref_logprobs);
        let found = vec![pairs.map(|(&p, &q)| estimator.estimate(p, q)).collect()];
        assert_rows(name, &found, &vec![get(&file["verl"], name)], 1e-6);
        // OpenRLHF computes in float32 and cancels.
        assert_rows(name, &found, &vec![get(&file["openrlhf"], name)], 2e-6);
    }
}

#[test]
fn shaped_rewards() {
    let file = golden("rewards.json");
    let (logprobs, ref_logprobs): (Rows, Rows) =
        (get(&file, "logprobs"), get(&file, "ref_logprobs"));
    let score: Vec<f32> = get(&file, "score");
    let kl_coef: f64 = get(&file, "kl_coef");
    let shape = |score_clip| -> Rows {
        let shaping = RewardShaping { score_clip, ..RewardShaping::default() };
        let rows = logprobs.iter().zip(&ref_logprobs).zip(&score);
        rows.map(|((p, q), &s)| shape_rewards(p, q, s, true, kl_coef, &shaping).unwrap().rewards)
            .collect()
    };
    let (free, clipped) = (shape(None), shape(Some(get(&file, "score_clip"))));
    assert_rows("openrlhf", &clipped, &get(&file["openrlhf"], "clipped"), 1e-6);
    assert_rows("openrlhf", &free, &get(&file["openrlhf"], "unclipped"), 1e-6);
    assert_rows("torchtune", &free, &get(&file["torchtune"], "unclipped"), 1e-6);
}

#[test]
fn responses_without_a_stop_token() {
    let file = golden("rewards.json");
    let lengths: Vec<usize> = get::<Rows>(&file, "logprobs").iter().map(Vec::len).collect();
    let limit = *lengths.iter().max().unwrap();
    let shaping = RewardShaping { missing_eos_penalty: Some(1.0), ..RewardShaping::default() };
    let penalised = |&n: &usize| {
        let zeros = vec![0.0; n];
        shape_rewards(&zeros, &zeros, 0.0, n < limit, 0.0, &shaping).unwrap().score < 0.0
    };
    let found: Vec<bool> = lengths.iter().map(penalised).collect();
    assert_eq!(found, get::<Vec<bool>>(&file["torchtune"], "penalised"));
}

#[test]
fn adaptive_coefficients() {
    let file = golden("controller.json");
    let (initial, target, horizon) =
        (get(&file, "initial"), get(&file, "target"), get(&file, "horizon"));
    let mut controller = AdaptiveKl::new(initial, target, horizon).unwrap();
    let kls: Vec<f64> = get(&file, "measured_kl");
    let samples: Vec<usize> = get(&file, "samples");
    let want: Vec<f64> = get(&file, "coef");
    for ((kl, n), want) in kls.into_iter().zip(samples).zip(want) {
        controller.update(kl, n);
        assert!(close(controller.coef(), want, 1e-9), "{}, not {want}", controller.coef());
    }
}

#[test]
fn running_moments() {
    let mut moments = Moments::default();
    for step in list(&golden("running.json"), "trace") {
        moments.merge(&Moments::of(&[get::<Vec<f32>>(&step, "scores")]));
        assert_eq!(moments.count(), get::<u64>(&step, "count"));
        assert!(close(moments.mean().unwrap(), get(&step, "mean"), 1e-8));
        let variance = moments.variance(Variance::Biased).unwrap();
        assert!(close(variance, get(&step, "variance"), 1e-8));
    }
}

//! One test for each known mistake of other PPOs that this crate could repeat.

use hydralign_advantage::{
    AdvantageError, KlEstimator, Moments, RewardShaping, Variance, gae, mean_sequence_kl,
    shape_rewards, whiten,
};
use serde_json::Value;

fn shape(logprobs: &[f32], ref_logprobs: &[f32], score: f32) -> Vec<f32> {
    let shaping = RewardShaping::default();
    shape_rewards(logprobs, ref_logprobs, score, true, 0.1, &shaping).unwrap().rewards
}

/// TRL issue #3750: the score goes to the padding token after the stop token, where λ < 1
/// damps it and V(pad) mixes in. Here the stop token gets all of it.
#[test]
fn the_score_reaches_the_last_real_token_undamped() {
    let (logprobs, values, score) = ([-1.0, -0.2, -0.7], [0.1, 0.2, 0.3], 2.0);
    let rewards = shape(&logprobs, &logprobs, score);
    assert_eq!(rewards, [0.0, 0.0, 2.0]);
    let credit = gae(&rewards, &values, 1.0, 0.5).unwrap();
    assert!((credit.advantages[2] - 1.7).abs() < 1e-6);

    // What one slot of padding with a value of its own would do.
    let padded = gae(&[0.0, 0.0, 0.0, 2.0], &[0.1, 0.2, 0.3, 0.9], 1.0, 0.5).unwrap();
    assert!((padded.advantages[2] - 1.7).abs() > 0.4);
}

/// TRL #2022 and #2496: the sentinel log-probability 1.0 of padded positions reached the
/// logged entropy and KL. A log-probability of 1 is refused, by position.
#[test]
fn sentinel_logprobs_are_refused() {
    let shaping = RewardShaping::default();
    let refused = |p: &[f32], q: &[f32]| shape_rewards(p, q, 0.0, true, 0.1, &shaping);
    let actor = refused(&[-1.0, 1.0], &[-1.0, -1.0]).unwrap_err();
    assert_eq!(actor.to_string(), "logprobs[1] is 1, which is no log-probability");
    let reference = refused(&[-1.0, -1.0], &[1.0, -1.0]).unwrap_err();
    let sentinel = AdvantageError::NotALogprob { what: "ref_logprobs", index: 0, value: 1.0 };
    assert_eq!(reference, sentinel);
    // Rounding of half-precision logits may lift a certain token slightly above zero.
    assert!(refused(&[0.01], &[0.0]).is_ok());
}

/// TRL #6809, #6861, #7012 and #7041: padding counted in KL, entropy and ratio statistics.
/// A statistic of ragged episodes counts each real token once, whatever the longest episode is.
#[test]
fn statistics_count_real_tokens_only() {
    let entropies = [vec![2.0f32; 2], vec![1.0; 6]];
    let moments = Moments::of(&entropies);
    assert_eq!((moments.count(), moments.mean()), (8, Some(1.25)));

    // Neither the mean over a 2 × 6 rectangle nor the mean of the episode means.
    assert_ne!(moments.mean(), Some(10.0 / 12.0));
    assert_ne!(moments.mean(), Some(1.5));
}

/// The KL that a controller steers is that of whole responses (Ziegler et al. 2019, §2.2): a
/// mean over tokens would make a target of 6 nats unreachable and drive the coefficient to 0.
/// k1 stays signed (TRL #262): clipping it at zero would bias the mean upwards.
#[test]
fn the_controlled_kl_is_a_signed_sum_per_response() {
    let logprobs: [&[f32]; 2] = [&[-1.0, -1.0, -1.0], &[-2.0]];
    let ref_logprobs: [&[f32]; 2] = [&[-3.0, -2.0, -4.0], &[-1.0]];
    let shaping = RewardShaping::default();
    let kl: Vec<Vec<f32>> = logprobs
        .iter()
        .zip(ref_logprobs)
        .map(|(p, q)| shape_rewards(p, q, 0.0, true, 0.1, &shaping).unwrap().kl)
        .collect();
    assert_eq!(kl, [vec![2.0, 1.0, 3.0], vec![-1.0]]);
    assert_eq!(mean_sequence_kl(&kl).unwrap(), 2.5);
}

/// torchtune 0.6.1 `whiten`: `shift_mean = true` adds the mean back, so its PPO never centred
/// advantages, and its test repeated the code. The golden is torchtune's own output.
#[test]
fn shift_mean_says_what_it_does() {
    let file: Value = serde_json::from_str(include_str!("golden/whiten.json")).unwrap();
    let values: Vec<Vec<f32>> = serde_json::from_value(file["values"].clone()).unwrap();
    let mean = |rows: &[Vec<f32>]| Moments::of(rows).mean().unwrap();

    let (mut shifted, mut kept) = (values.clone(), values.clone());
    whiten(&mut shifted, true, Variance::Unbiased).unwrap();
    whiten(&mut kept, false, Variance::Unbiased).unwrap();
    assert!(mean(&shifted).abs() < 1e-6);
    assert!((mean(&kept) - mean(&values)).abs() < 1e-6);

    let outputs = file["outputs"].as_array().unwrap();
    let reversed = |o: &&Value| o["source"] == "torchtune" && o["shift_mean"] == true;
    let theirs = outputs.iter().find(reversed).unwrap();
    let theirs: Vec<Vec<f32>> = serde_json::from_value(theirs["whitened"].clone()).unwrap();
    assert!((mean(&theirs) - mean(&values)).abs() < 1e-6, "the golden no longer shows the fault");
    assert!(kept.concat().iter().zip(theirs.concat()).all(|(a, b)| (a - b).abs() < 1e-5));
}

/// rlhf-book `approx_kl3` and trlX's rollout `mean_kl` take e^ℓ − 1 − ℓ of samples from π. Over
/// all tokens of a small vocabulary only e^−ℓ − 1 + ℓ has the KL as its expectation.
#[test]
fn the_exponent_of_k3_has_the_right_sign() {
    let (policy, reference) = ([0.7f64, 0.2, 0.1], [0.2f64, 0.3, 0.5]);
    let expectation = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        policy.iter().zip(reference).map(|(&p, q)| p * f(p.ln(), q.ln())).sum()
    };
    let exact = expectation(&|p, q| p - q);
    let k3 = expectation(&|p, q| KlEstimator::K3.estimate(p as f32, q as f32).into());
    let swapped = expectation(&|p, q| KlEstimator::K3.estimate(q as f32, p as f32).into());
    assert!((k3 - exact).abs() < 1e-6, "{k3}, not {exact}");
    assert!((swapped - exact).abs() > 0.3, "the wrong sign would pass unseen");
}

/// TRL PR #5338: the missing-EOS penalty looked for `eos_token` while generation stopped at a
/// configured stop token. Here no token id takes part: the generator says why it stopped.
#[test]
fn the_penalty_follows_the_stop_flag() {
    let shaping = RewardShaping { missing_eos_penalty: Some(1.5), ..RewardShaping::default() };
    let last = |stopped| {
        let shaped = shape_rewards(&[-1.0, -2.0], &[-1.0, -2.0], 1.0, stopped, 0.1, &shaping);
        shaped.unwrap().rewards[1]
    };
    assert_eq!((last(true), last(false)), (1.0, -0.5));
}

/// "N+ implementation details" (Huang et al. 2024): value targets come from the advantages
/// before whitening. A critic trained on whitened ones would learn the wrong scale.
#[test]
fn whitening_leaves_the_value_targets_alone() {
    let mut credit = gae(&[0.0, 0.0, 40.0], &[1.0, 2.0, 3.0], 1.0, 1.0).unwrap();
    whiten(&mut [&mut credit.advantages], true, Variance::Biased).unwrap();
    assert!(credit.advantages.iter().all(|a| a.abs() < 3.0));
    assert_eq!(credit.returns, [40.0, 40.0, 40.0]);
}

/// DeepSpeed-Chat #672 and TRL #5303: ends found by token id are off by one or lost when
/// pad and EOS are the same token. An episode's end is its length, down to one token.
#[test]
fn a_response_of_the_stop_token_alone_gets_its_score() {
    let rewards = shape(&[-0.5], &[-0.25], 2.0);
    assert!((rewards[0] - 2.025).abs() < 1e-6);
    let credit = gae(&rewards, &[0.5], 0.9, 0.9).unwrap();
    assert!((credit.advantages[0] - 1.525).abs() < 1e-6);
}

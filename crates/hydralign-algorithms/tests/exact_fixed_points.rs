//! Where the methods end: fixed points on responses that can be enumerated, against their exact values.

mod tabular;

use hydralign_advantage::{Normaliser, Selection, Weighting, best_of_n_kl, soft_value};
use hydralign_algorithms::{
    Cpo, Dpo, Hinge, Ipo, Kto, KtoExample, Learner, Linex, Nll, OptimizerConfig, Orpo, Pair,
    PairBatch, PairLoss, Preference, PrefixRegression, Reweighting, SimPo, Temperature, ValueFit,
    WeightedSequence, best_of, kept, kto_batch, pair_batch, prefix_batch, ranked_pairs, spin_pairs,
    weigh_tokens, weighted_batch,
};
use hydralign_core::{Objective, Sequence, TokenBatch};
use std::slice::from_ref;
use tabular::{
    ALL, REWARDS, T, Tabular, V, assert_close, device, host, normalised, optimum, prefix, rewards,
    sequences, vector,
};

/// Minimises an objective on one batch by Adam with a falling rate.
fn minimise<O: Objective>(
    model: Tabular,
    objective: &O,
    batches: &[(TokenBatch, O::Batch)],
    steps: usize,
) -> Tabular {
    let config =
        OptimizerConfig { max_grad_norm: None, epsilon: 1e-8, ..OptimizerConfig::default() };
    let mut learner = Learner::new(model, &config);
    for step in 0..steps {
        let lr = 0.1 * (1.0 - step as f64 / steps as f64).powi(2);
        learner.step(objective, batches, lr).unwrap();
    }
    learner.into_model()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// All ordered pairs of different responses, each weighted by the probability that the first is
/// preferred and that the two were drawn.
fn all_pairs(
    model: &Tabular,
    preferred: impl Fn(usize, usize) -> f64,
) -> Vec<(TokenBatch, PairBatch)> {
    let (all, reference) = (sequences(0), model.reference_probabilities(0));
    let mut pairs = Vec::new();
    let mut weights = Vec::new();
    for i in 0..ALL {
        for j in (0..ALL).filter(|&j| j != i) {
            let both = [reference[i].ln() as f32, reference[j].ln() as f32];
            let (chosen, rejected) = (all[i].clone(), all[j].clone());
            pairs.push(Pair { chosen, rejected, reference: Some(both) });
            weights.push(preferred(i, j));
        }
    }
    let mut batches = pair_batch(&pairs, pairs.len(), &device()).unwrap();
    batches[0].1.weights = vector(&normalised(&weights));
    batches
}

/// Preferences of Bradley and Terry for the enumerated scores.
fn bradley_terry(i: usize, j: usize) -> f64 {
    sigmoid(rewards()[i] - rewards()[j])
}

#[test]
fn dpo_with_exact_preferences_ends_at_the_regularised_optimum() {
    let beta = 0.5;
    let start = Tabular::uneven();
    let want = optimum(&start.reference_probabilities(0), beta);
    let batches = all_pairs(&start, bradley_terry);
    let dpo = Preference::new(Dpo { beta, ..Dpo::default() });
    let end = minimise(start, &dpo, &batches, 1500);
    assert_close("dpo", &end.probabilities(0), &want, 1e-4);
    assert!(end.gradient(&dpo, &batches).iter().all(|g| g.abs() < 1e-5));
}

/// A flipped share of labels leaves the expected gradient of robust DPO alone, and moves that of DPO.
#[test]
fn robust_dpo_sees_through_flipped_labels() {
    let model = Tabular::uneven();
    let epsilon = 0.2;
    let noisy = |i, j| (1.0 - epsilon) * bradley_terry(i, j) + epsilon * bradley_terry(j, i);
    let (clean, flipped) = (all_pairs(&model, bradley_terry), all_pairs(&model, noisy));
    let plain = Preference::new(Dpo { beta: 0.5, ..Dpo::default() });
    let robust = Dpo { beta: 0.5, label_smoothing: epsilon, robust: true, ..Dpo::default() };
    let want = model.gradient(&plain, &clean);
    assert_close("robust", &model.gradient(&Preference::new(robust), &flipped), &want, 1e-6);
    let moved = model.gradient(&plain, &flipped);
    assert!(moved.iter().zip(&want).any(|(a, b)| (a - b).abs() > 1e-3));
}

/// Two responses with the first preferred with probability p: the fixed point of a logistic loss has
/// its logit at log p/(1 − p).
fn two_responses<L: PairLoss>(loss: L, p: f64) -> Tabular {
    let start = Tabular::uneven();
    let batches = all_pairs(&start, |i, j| match (i, j) {
        (0, 4) => p,
        (4, 0) => 1.0 - p,
        _ => 0.0,
    });
    minimise(start, &Preference::new(loss), &batches, 1500)
}

fn log_ratio(model: &Tabular, reference: bool) -> f64 {
    let (pi, q) = (model.probabilities(0), model.reference_probabilities(0));
    let own = (pi[0] / pi[4]).ln();
    if reference { own - (q[0] / q[4]).ln() } else { own }
}

/// The root of the derivative of −p·log σ(h − γ) − (1 − p)·log σ(−h − γ).
fn with_margin(p: f64, gamma: f64) -> f64 {
    let slope = |h: f64| (1.0 - p) * sigmoid(gamma + h) - p * sigmoid(gamma - h);
    let (mut low, mut high) = (-20.0, 20.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    low
}

#[test]
fn logistic_losses_end_where_their_logit_is_that_of_the_preference() {
    let p: f64 = 0.7;
    let logit = (p / (1.0 - p)).ln();
    let near = |what: &str, got: f64, want: f64| {
        assert!((got - want).abs() < 2e-3, "{what}: {got} instead of {want}");
    };
    let dpo = two_responses(Dpo { beta: 0.5, ..Dpo::default() }, p);
    near("dpo", 0.5 * log_ratio(&dpo, true), logit);
    let free = Dpo { beta: 0.5, reference_free: true, ..Dpo::default() };
    near("reference-free dpo", 0.5 * log_ratio(&two_responses(free, p), false), logit);
    let cdpo = Dpo { beta: 0.5, label_smoothing: 0.3, ..Dpo::default() };
    near("conservative dpo", 0.5 * log_ratio(&two_responses(cdpo, 1.0), true), logit);
    let cpo = two_responses(Cpo { beta: 0.5, ..Cpo::default() }, p);
    near("cpo", 0.5 * log_ratio(&cpo, false), logit);
    let simpo = two_responses(SimPo::default(), p);
    near("simpo", 2.0 * log_ratio(&simpo, false) / T as f64, with_margin(p, 1.0));
    let orpo = two_responses(Orpo { lambda: 1.0 }, p).probabilities(0);
    let log_odds = |p: f64| (p.sqrt() / (1.0 - p.sqrt())).ln();
    near("orpo", log_odds(orpo[0]) - log_odds(orpo[4]), logit);
}

#[test]
fn ipo_ends_at_its_target_and_hinge_at_its_margin() {
    let ipo = two_responses(Ipo { beta: 0.25, sum: false }, 1.0);
    assert!((log_ratio(&ipo, true) / T as f64 - 2.0).abs() < 1e-3);
    let sum = two_responses(Ipo { beta: 0.25, sum: true }, 1.0);
    assert!((log_ratio(&sum, true) - 2.0).abs() < 1e-3);
    let hinge = two_responses(Hinge { beta: 0.5 }, 1.0);
    assert!(0.5 * log_ratio(&hinge, true) >= 1.0);
    let batches = all_pairs(&hinge, |i, j| f64::from(u8::from((i, j) == (0, 4))));
    let gradient =
        |model: &Tabular| model.gradient(&Preference::new(Hinge { beta: 0.5 }), &batches);
    assert!(gradient(&hinge).iter().all(|g| *g == 0.0), "past the margin nothing pushes on");
    assert!(gradient(&Tabular::uneven()).iter().any(|g| g.abs() > 0.1));
}

/// Labels that say nothing move nothing: for every response as often good as bad, 1 − σ(u) + 1 − σ(−u)
/// is constant. Labels that follow the scores raise the better half.
#[test]
fn kto_follows_its_labels() {
    let model = Tabular::uneven();
    let reference = model.reference_probabilities(0);
    let examples = |label: &dyn Fn(usize) -> Vec<bool>| -> Vec<KtoExample> {
        let one = |(i, sequence): (usize, Sequence)| {
            let reference = reference[i].ln() as f32;
            label(i).into_iter().map(move |desirable| KtoExample {
                sequence: sequence.clone(),
                desirable,
                reference,
            })
        };
        sequences(0).into_iter().enumerate().flat_map(one).collect()
    };
    let kto = Kto { beta: 0.5, ..Kto::default() };
    let both = kto_batch(&examples(&|_| vec![true, false]), 0.1, 4, &device()).unwrap();
    assert!(model.gradient(&kto, &both).iter().all(|g| g.abs() < 1e-6));
    let good = |i: usize| REWARDS[i] > 0.3;
    let labelled = kto_batch(&examples(&|i| vec![good(i)]), 0.1, ALL, &device()).unwrap();
    let before: f64 = (0..ALL).filter(|&i| good(i)).map(|i| model.probabilities(0)[i]).sum();
    let end = minimise(model, &kto, &labelled, 300).probabilities(0);
    let after: f64 = (0..ALL).filter(|&i| good(i)).map(|i| end[i]).sum();
    assert!(after > 0.99 && before < 0.6, "{before} → {after}");
}

/// SPIN stands still exactly where the policy answers as the demonstrations do.
#[test]
fn spin_rests_where_the_policy_is_the_data() {
    let model = Tabular::uneven();
    let gradient = |data: &[f64]| {
        let (answers, pi) = (model.episodes(0), model.probabilities(0));
        let mut sum = vec![0.0; 12];
        for (i, real) in sequences(0).iter().enumerate() {
            for (j, answer) in answers.iter().enumerate() {
                let pairs = spin_pairs(from_ref(real), from_ref(answer));
                assert_eq!(pairs.is_empty(), i == j);
                let Some(mut pair) = pairs.into_iter().next() else { continue };
                // The opponent is the policy itself.
                pair.reference = Some([pi[i].ln() as f32, pi[j].ln() as f32]);
                let batches = pair_batch(&[pair], 1, &device()).unwrap();
                let own = model.gradient(&Preference::new(Dpo::default()), &batches);
                tabular::add(&mut sum, &own, data[i] * pi[j]);
            }
        }
        sum
    };
    assert!(gradient(&model.probabilities(0)).iter().all(|g| g.abs() < 1e-7));
    assert!(gradient(&[1.0 / 9.0; ALL]).iter().any(|g| g.abs() > 1e-3));
}

/// Responses weighted by the policy's own probability times the weights of a method.
fn weighted_by_policy(model: &Tabular, weights: &[f32]) -> Vec<WeightedSequence> {
    let pi = model.probabilities(0);
    let row = |(i, s)| WeightedSequence::uniform(s, pi[i] as f32 * weights[i]);
    sequences(0).into_iter().enumerate().map(row).collect()
}

/// One iteration of SPR with the exact W ends at π·exp(r/β)/Z, two at π·exp(2r/β)/Z: π_ref·exp(r/β′) with
/// β′ = β/2.
#[test]
fn spr_iterations_reach_the_regularised_optimum() {
    let beta = 0.8;
    let mut model = Tabular::uneven();
    let start = model.probabilities(0);
    for k in 1..=2 {
        let pi = model.probabilities(0);
        let z: f64 = pi.iter().zip(rewards()).map(|(p, r)| p * (r / beta).exp()).sum();
        let exact = vec![beta * z.ln(); ALL];
        let weighting = Weighting { temperature: beta, clip: None, ..Weighting::default() };
        let weights = weighting.against(&REWARDS, &exact).unwrap();
        let mean: f64 = pi.iter().zip(&weights).map(|(p, &w)| p * f64::from(w)).sum();
        assert!((mean - 1.0).abs() < 1e-5, "weights average 1 under the policy");
        let batches = weighted_batch(&weighted_by_policy(&model, &weights), 4, &device()).unwrap();
        model = minimise(model, &Nll, &batches, 800);
        let want = optimum(&start, beta / f64::from(k));
        assert_close("spr", &model.probabilities(0), &want, 2e-4);
    }
}

/// With every response of a uniform policy drawn once, the estimate of W from samples is exact, and
/// SPR, AWR and RWR end at the same policy: they differ by a factor of the prompt.
#[test]
fn the_reweighting_family_agrees_on_one_prompt() {
    let groups = [sequences(0)];
    let scores = [REWARDS.to_vec()];
    let fixed = |beta| Temperature::Fixed { beta };
    let spread = {
        let mean = rewards().iter().sum::<f64>() / ALL as f64;
        (rewards().iter().map(|r| (r - mean).powi(2)).sum::<f64>() / ALL as f64).sqrt()
    };
    let methods = [
        ("spr", Reweighting { clip: None, ..Reweighting::spr(fixed(0.8)) }),
        ("awr", Reweighting { clip: None, ..Reweighting::awr(fixed(0.8)) }),
        // RWR brings the scores to variance 1, so its β is in units of their spread.
        ("rwr", Reweighting { clip: None, ..Reweighting::rwr(fixed(0.8 / spread)) }),
    ];
    let want = optimum(&[1.0 / 9.0; ALL], 0.8);
    for (name, method) in methods {
        let rows = method.weigh(&groups, &scores, None).unwrap().rows;
        let batches = weighted_batch(&rows, ALL, &device()).unwrap();
        let end = minimise(Tabular::uniform(), &Nll, &batches, 800);
        assert_close(name, &end.probabilities(0), &want, 2e-4);
    }
}

/// Leave-one-out weights of N samples have mean 1 in expectation times exp's own bias; what must hold
/// exactly is that the samples' own score does not enter their W.
#[test]
fn leave_one_out_weights_do_not_see_their_own_score() {
    let method = Weighting { normaliser: Normaliser::LeaveOneOut, clip: None, temperature: 0.8 };
    let w = |first: f32| f64::from(method.weights(&[first, 0.4, -0.3]).unwrap()[0]).ln() * 0.8;
    assert!((w(1.5) - w(0.5) - 1.0).abs() < 1e-6);
}

/// Of all pairs of samples of a uniform policy, supervised learning on the better one ends at the
/// distribution of best-of-2, whose KL is at most the closed form.
#[test]
fn best_of_n_training_ends_at_the_order_statistic() {
    let all: Vec<(Sequence, f32)> = sequences(0).into_iter().zip(REWARDS).collect();
    let (mut groups, mut scores) = (Vec::new(), Vec::new());
    for (first, r) in &all {
        for (second, s) in &all {
            groups.push(vec![first.clone(), second.clone()]);
            scores.push(vec![*r, *s]);
        }
    }
    let rows = kept(&groups, &scores, Selection::Best).unwrap();
    let drawn = best_of(&groups, &scores);
    assert_eq!(rows.iter().map(|r| r.sequence.clone()).collect::<Vec<_>>(), drawn);
    let batches = weighted_batch(&rows, 81, &device()).unwrap();
    let end = minimise(Tabular::uniform(), &Nll, &batches, 800).probabilities(0);
    let below = |r: f64| rewards().iter().filter(|x| **x <= r).count() as f64 / ALL as f64;
    let want: Vec<f64> =
        rewards().iter().map(|&r| below(r).powi(2) - (below(r) - 1.0 / 9.0).powi(2)).collect();
    assert_close("best of two", &end, &want, 2e-4);
    let kl: f64 = end.iter().map(|p| p * (p * ALL as f64).ln()).sum();
    assert!(kl < best_of_n_kl(2) + 1e-3, "{kl}");
}

/// Pairs of the best and the worst sample of a group never prefer the worse.
#[test]
fn online_pairs_follow_the_scores() {
    let groups = vec![sequences(0), sequences(0)];
    let scores = vec![REWARDS.to_vec(), vec![1.0; ALL]];
    let pairs = ranked_pairs(&groups, &scores).unwrap();
    assert_eq!(pairs.len(), 1, "a group of equals has no pair");
    assert_eq!(pairs[0].chosen.response, [2, 2]);
    assert_eq!(pairs[0].rejected.response, [0, 1]);
    assert!(ranked_pairs(&groups[..1], &[vec![f32::NAN; ALL]]).is_err());
}

/// Fitted to the score of whole responses drawn from the policy, a prefix is worth its expected score.
#[test]
fn prefix_values_are_expected_scores() {
    let model = Tabular::uneven();
    let pi = model.probabilities(0);
    // Responses in proportion to their probabilities, in hundredths.
    let counts: Vec<usize> = pi.iter().map(|p| (p * 100.0).round() as usize).collect();
    let rows: Vec<(Sequence, Vec<f32>)> = sequences(0)
        .into_iter()
        .enumerate()
        .flat_map(|(i, s)| vec![(s, vec![REWARDS[i]; T]); counts[i]])
        .collect();
    let batches = prefix_batch(&rows, 32, &device()).unwrap();
    let end = minimise(model, &PrefixRegression::of_prefixes(), &batches, 1500);
    let found = host(end.prefixes.val());
    for a in 0..V {
        let own = a * V..(a + 1) * V;
        let n: usize = own.clone().map(|i| counts[i]).sum();
        let want: f64 =
            own.clone().map(|i| counts[i] as f64 * rewards()[i]).sum::<f64>() / n as f64;
        assert!((found[prefix(0, &[a as u32])] - want).abs() < 1e-3);
        for i in own {
            assert!((found[V + i] - rewards()[i]).abs() < 1e-3);
        }
    }
}

/// The minimiser of the LINEX loss is the soft value: W of the prompt from whole responses.
#[test]
fn linex_regression_ends_at_the_soft_value() {
    let linex = Linex { temperature: 0.7, max_z: 7.0 };
    let (groups, scores) = ([sequences(0)], [REWARDS.to_vec()]);
    let values =
        fitted(1600, |fit, learner| fit.prompt_values(learner, &linex, &groups, &scores).unwrap());
    let want = soft_value(&REWARDS, 0.7).unwrap();
    assert!((values[0] - want).abs() < 1e-3, "{} instead of {want}", values[0]);
}

/// What a value model says at the end of many single steps with a falling rate.
fn fitted<R>(steps: usize, fit: impl Fn(&ValueFit, &mut Learner<Tabular>) -> R) -> R {
    let config =
        OptimizerConfig { max_grad_norm: None, epsilon: 1e-8, ..OptimizerConfig::default() };
    let mut learner = Learner::new(Tabular::uniform(), &config);
    let mut step = |lr: f64, steps: usize| {
        fit(&ValueFit { steps, lr, micro_batch: ALL, device: device() }, &mut learner)
    };
    for i in 0..steps {
        step(0.1 * (1.0 - i as f64 / steps as f64).powi(2), 1);
    }
    step(0.0, 0)
}

/// SPR's token-level form: with Q fitted to the scores, W fitted to Q by LINEX and the policy to the
/// weights, each state's policy ends at π(a|s)·exp(Q(s, a)/β)/Z(s).
#[test]
fn token_level_spr_improves_each_state_exactly() {
    let beta = 0.9;
    let rows = sequences(0);
    let q = fitted(1500, |fit, learner| fit.action_values(learner, &rows, &REWARDS).unwrap());
    let linex = Linex { temperature: beta, max_z: 7.0 };
    let w = fitted(1600, |fit, learner| fit.state_values(learner, &linex, &rows, &q).unwrap());
    let weighted = weigh_tokens(&rows, &q, &w, beta, None).unwrap();
    let batches = weighted_batch(&weighted, ALL, &device()).unwrap();
    let end = minimise(Tabular::uniform(), &Nll, &batches, 800).probabilities(0);
    // Exact values of a uniform policy, and each state's tilted distribution.
    let r = rewards();
    let mean = |a: usize| r[a * V..(a + 1) * V].iter().sum::<f64>() / V as f64;
    let tilt = |x: Vec<f64>| normalised(&x.iter().map(|q| (q / beta).exp()).collect::<Vec<_>>());
    let first = tilt((0..V).map(mean).collect());
    let want: Vec<f64> = (0..V)
        .flat_map(|a| tilt(r[a * V..(a + 1) * V].to_vec()).into_iter().map(move |p| (a, p)))
        .map(|(a, p)| first[a] * p)
        .collect();
    assert_close("token-level spr", &end, &want, 1e-3);
}

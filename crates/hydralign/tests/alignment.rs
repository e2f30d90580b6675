//! Laws of the methods beside PPO on a tiny model: what coincides, what is refused, what stays.

mod common;

use common::{checkpoint, generate, learner, lora, parameters, read};
use hydralign::algorithms::{
    AlgorithmError, CreditRule, PairBatch, Temperature, WeightedSequence, implied_accuracy,
    kto_baseline, nll_batch, pair_batch, perplexity, reference_logprobs, reward_accuracy,
    reward_scores, sampled_kl, sequences_fingerprint, sequences_of, weighted_batch, with_reference,
};
use hydralign::algorithms::{Kto, KtoExample, kto_batch};
use hydralign::core::{CoreError, episode_fn};
use hydralign::prelude::*;
use hydralign::runs::{Cached, NumberCache};

const REFERENCE: Reading = Reading::Logprobs(Role::Reference);
const ACTOR: Reading = Reading::Logprobs(Role::Actor);

fn sequence(prompt: &[u32], response: &[u32]) -> Sequence {
    Sequence::new(prompt.to_vec(), response.to_vec())
}

/// Pairs of ragged lengths.
fn pairs() -> Vec<Pair> {
    let pair = |chosen, rejected| Pair { chosen, rejected, reference: None };
    vec![
        pair(sequence(&[2, 3], &[4, 5, 6, 1]), sequence(&[2, 3], &[7, 1])),
        pair(sequence(&[4], &[9]), sequence(&[4], &[10, 11, 12, 13, 1])),
        pair(sequence(&[5, 6, 7], &[8, 8, 1]), sequence(&[5, 6, 7], &[3, 2, 1])),
        pair(sequence(&[8, 2], &[1]), sequence(&[8, 2], &[14, 15, 16])),
    ]
}

fn policy(reference: bool, reward: bool) -> Learner<ModelBank> {
    learner(&Placement::policy("policy", reference, reward), &checkpoint())
}

fn batches(pairs: &[Pair], micro: usize) -> Vec<(TokenBatch, PairBatch)> {
    pair_batch(pairs, micro, &Device::flex()).unwrap()
}

fn dpo() -> Preference<Dpo> {
    Preference::new(Dpo::default())
}

#[test]
fn dpo_starts_at_ln_2_and_leaves_the_reference_alone() {
    let mut live = policy(true, false);
    let episodes = generate(live.model(), 1);
    let before = read(live.model(), REFERENCE, &episodes);
    let objective = Preference { live: true, ..dpo() };
    let first = live.step(&objective, &batches(&pairs(), 4), 0.01).unwrap();
    assert!((first.loss - std::f64::consts::LN_2).abs() < 1e-6, "{}", first.loss);
    assert!(first.get("margin").unwrap().abs() < 1e-5);
    for _ in 0..20 {
        live.step(&objective, &batches(&pairs(), 4), 0.01).unwrap();
    }
    let after = live.gradients(&objective, &batches(&pairs(), 4)).unwrap().report;
    assert!(after.loss < 0.6 && after.get("accuracy") == Some(1.0), "{after:?}");
    assert_eq!(read(live.model(), REFERENCE, &episodes), before);
}

/// One model is enough: with references read beforehand, every step is the same to the last bit. The
/// reference pass may batch the pairs as it likes.
#[test]
fn precomputed_references_are_live_references_bit_for_bit() {
    for rows in [1, 3, 8] {
        let mut live = policy(true, false);
        let mut alone = policy(false, false);
        let frozen = ModelBank::frozen(checkpoint());
        let values = reference_logprobs(&frozen, ACTOR, &sequences_of(&pairs()), rows).unwrap();
        let known = with_reference(pairs(), &values).unwrap();
        let objective = Preference { live: true, ..dpo() };
        for step in 0..6 {
            let micro = 1 + step % 3;
            let a = live.step(&objective, &batches(&pairs(), micro), 0.01).unwrap();
            let b = alone.step(&dpo(), &batches(&known, micro), 0.01).unwrap();
            assert_eq!(a, b, "step {step}, {rows} rows a pass");
        }
        let (a, b) = (parameters(live.model()), parameters(alone.model()));
        let trained = b.iter().filter(|(_, (tracked, _))| *tracked);
        for (path, (_, numbers)) in trained {
            assert_eq!(&a[path].1, numbers, "{path}");
        }
    }
}

#[test]
fn a_missing_reference_is_named() {
    let alone = policy(false, false);
    let error = alone.gradients(&dpo(), &batches(&pairs(), 4)).err().unwrap();
    assert_eq!(error.to_string(), "the outputs hold no log-probabilities of the reference");
}

#[test]
fn kept_references_belong_to_their_model_and_data() {
    let folder = tempfile::tempdir().unwrap();
    let cache = NumberCache::new(folder.path());
    let start = checkpoint();
    let rows = sequences_of(&pairs());
    let mut read = 0;
    let mut get = |model: &Checkpoint, rows: &[Sequence]| {
        let key = [model.fingerprint(), sequences_fingerprint(rows)];
        let frozen = ModelBank::frozen(model.clone());
        let compute = || {
            read += 1;
            Ok::<_, anyhow_free::Error>(reference_logprobs(&frozen, ACTOR, rows, 4)?)
        };
        let (numbers, from) = cache.get(&[&key[0], &key[1]], rows.len(), compute).unwrap();
        (numbers, matches!(from, Cached::Found))
    };
    let (first, found) = get(&start, &rows);
    assert!(!found);
    assert_eq!(get(&start, &rows), (first.clone(), true));
    assert!(!get(&start, &rows[..6]).1, "other data");
    let adapted = common::checkpoint_with_adapter();
    let (other, found) = get(&adapted, &rows);
    assert!(!found && other != first, "an adapter is part of the model");
    assert_eq!(read, 3);
}

/// Errors of the cache and of reading in one type.
mod anyhow_free {
    #[derive(Debug)]
    pub(super) struct Error;
    impl From<hydralign::core::CoreError> for Error {
        fn from(_: hydralign::core::CoreError) -> Self {
            Self
        }
    }
}

/// The gradient of a pair of equal responses is zero, and its loss a constant.
#[test]
fn equal_responses_teach_nothing() {
    let same = sequence(&[2, 3], &[4, 5]);
    let pair = Pair { chosen: same.clone(), rejected: same, reference: Some([-3.0, -3.0]) };
    let alone = policy(false, false);
    let report = alone.gradients(&dpo(), &batches(&[pair], 1)).unwrap().report;
    assert!(report.grad_norm < 1e-6, "{}", report.grad_norm);
    assert!((report.loss - std::f64::consts::LN_2).abs() < 1e-6);
}

/// SPR, AWR and best-of-N with one sample per prompt are plain supervised learning.
#[test]
fn one_sample_per_prompt_is_supervised_fine_tuning() {
    let rows: Vec<Sequence> = pairs().into_iter().map(|p| p.chosen).collect();
    let groups: Vec<Vec<Sequence>> = rows.iter().map(|r| vec![r.clone()]).collect();
    let scores = vec![vec![3.0f32]; 4];
    let beta = Temperature::Fixed { beta: 0.3 };
    for method in [Reweighting::spr(beta), Reweighting::awr(beta)] {
        let weighted = method.weigh(&groups, &scores, None).unwrap();
        let (mut sft, mut spr) = (policy(false, false), policy(false, false));
        for _ in 0..3 {
            let plain = nll_batch(&rows, 2, &Device::flex()).unwrap();
            let own = weighted_batch(&weighted.rows, 2, &Device::flex()).unwrap();
            assert_eq!(sft.step(&Nll, &plain, 0.01).unwrap(), spr.step(&Nll, &own, 0.01).unwrap());
        }
        assert_eq!(parameters(sft.model()), parameters(spr.model()));
    }
}

#[test]
fn rows_of_no_weight_are_not_read() {
    let rows = pairs().into_iter().map(|p| p.chosen).enumerate();
    let rows: Vec<WeightedSequence> =
        rows.map(|(i, s)| WeightedSequence::uniform(s, (i % 2) as f32)).collect();
    let all = weighted_batch(&rows, 8, &Device::flex()).unwrap();
    assert_eq!(all[0].0.rows(), 2);
    let none: Vec<WeightedSequence> =
        rows.iter().map(|r| WeightedSequence::uniform(r.sequence.clone(), 0.0)).collect();
    let error = weighted_batch(&none, 8, &Device::flex()).unwrap_err();
    assert!(matches!(error, AlgorithmError::Empty { what: "responses of positive weight" }));
}

fn groups(bank: &ModelBank, seed: u64) -> Vec<Vec<Episode>> {
    generate(bank, seed).chunks(2).map(<[Episode]>::to_vec).collect()
}

/// Scores that are broken end the iteration before anything is learnt; the next one goes on.
#[test]
fn broken_rewards_are_refused_and_the_state_survives() {
    let mut learner = policy(true, true);
    let method = CriticFree::new(CriticFreeConfig::grpo()).unwrap();
    let sampler = SamplerConfig::default();
    let before = parameters(learner.model());
    type Broken = fn(&[Episode]) -> Vec<f32>;
    let rewards: [(&str, Broken); 3] = [
        ("NaN", |e| vec![f32::NAN; e.len()]),
        ("inf", |e| (0..e.len()).map(|i| if i == 3 { f32::INFINITY } else { 0.0 }).collect()),
        ("scores", |e| vec![0.0; e.len() - 1]),
    ];
    for (what, reward) in rewards {
        let reward = episode_fn(reward);
        let groups = groups(learner.model(), 1);
        let error = method
            .experience(learner.model(), groups, None, &sampler, Some(&reward), &mut ())
            .unwrap_err();
        assert!(error.to_string().contains(what), "{what}: {error}");
        assert!(matches!(error, AlgorithmError::Core(_)));
    }
    assert_eq!(parameters(learner.model()), before);
    let groups = groups(learner.model(), 1);
    let experience =
        method.experience(learner.model(), groups, None, &sampler, None, &mut ()).unwrap();
    let device = Device::flex();
    method.update(&mut learner, &experience, 0.01, 0, &device, &mut ()).unwrap();
    assert_ne!(parameters(learner.model()), before);
}

/// All scores of every group equal: no advantage and no step, whatever a KL penalty or the optimizer's
/// momentum would do.
#[test]
fn equal_scores_move_nothing() {
    let all =
        [CriticFreeConfig::dapo(None), CriticFreeConfig::dr_grpo(6), CriticFreeConfig::grpo()];
    for config in all {
        let mut learner = policy(config.needs_reference(), true);
        let before = parameters(learner.model());
        let method = CriticFree::new(config).unwrap();
        let sampler = SamplerConfig::default();
        let reward = episode_fn(|e| vec![0.7f32; e.len()]);
        let groups = groups(learner.model(), 1);
        let experience = method
            .experience(learner.model(), groups, None, &sampler, Some(&reward), &mut ())
            .unwrap();
        assert_eq!(experience.equal_groups, 1.0);
        let device = Device::flex();
        let report = method.update(&mut learner, &experience, 0.01, 0, &device, &mut ()).unwrap();
        assert_eq!((report.steps, experience.has_signal()), (0, false));
        assert_eq!(parameters(learner.model()), before);
    }
}

#[test]
fn the_first_ratio_is_one_and_micro_batches_change_nothing() {
    let sampler = SamplerConfig { temperature: 0.7, ..SamplerConfig::default() };
    for config in [
        CriticFreeConfig::grpo(),
        CriticFreeConfig::gspo(),
        CriticFreeConfig::reinforce_pp(true),
        CriticFreeConfig::rloo(),
    ] {
        let mut reports = Vec::new();
        for micro_batch in [1, 3, 8] {
            let mut learner = policy(true, true);
            let method =
                CriticFree::new(CriticFreeConfig { micro_batch, ..config.clone() }).unwrap();
            let groups = groups(learner.model(), 3);
            let experience =
                method.experience(learner.model(), groups, None, &sampler, None, &mut ()).unwrap();
            let device = Device::flex();
            let report =
                method.update(&mut learner, &experience, 0.01, 0, &device, &mut ()).unwrap();
            let ratio = report.get("first_ratio").unwrap();
            assert!((ratio - 1.0).abs() < 1e-4, "{ratio}");
            reports.push((report.get("loss").unwrap(), report.get("grad_norm").unwrap()));
        }
        for (loss, norm) in &reports {
            assert!((loss - reports[0].0).abs() < 1e-5, "{reports:?}");
            assert!((norm / reports[0].1 - 1.0).abs() < 1e-4, "{reports:?}");
        }
    }
}

/// A method whose credit compares with greedy responses says so when it gets none.
#[test]
fn remax_needs_its_greedy_responses() {
    let learner = policy(true, true);
    let method = CriticFree::new(CriticFreeConfig::remax()).unwrap();
    assert!(matches!(method.config().credit, CreditRule::ReturnToGo { .. }));
    let sampler = SamplerConfig::default();
    let single: Vec<Vec<Episode>> =
        generate(learner.model(), 1).into_iter().map(|e| vec![e]).collect();
    let run = |greedy: Option<&[Episode]>| {
        method.experience(learner.model(), single.clone(), greedy, &sampler, None, &mut ())
    };
    assert!(run(None).is_err());
    let greedy: Vec<Episode> = single.iter().map(|g| g[0].clone()).collect();
    let experience = run(Some(&greedy)).unwrap();
    // Compared with themselves, at KL 0, responses have no advantage.
    assert!(experience.samples.iter().flat_map(|s| &s.advantages).all(|a| a.abs() < 1e-4));
    assert!(run(Some(&greedy[1..])).is_err());
}

#[test]
fn kto_starts_at_one_half_and_its_baseline_is_zero_at_the_reference() {
    let mut learner = policy(true, false);
    let rows = pairs();
    let both = |p: &Pair| [(p.chosen.clone(), true), (p.rejected.clone(), false)];
    let sequences: Vec<(Sequence, bool)> = rows.iter().flat_map(both).collect();
    let references = {
        let all: Vec<Sequence> = sequences.iter().map(|(s, _)| s.clone()).collect();
        reference_logprobs(learner.model(), REFERENCE, &all, 4).unwrap()
    };
    let examples: Vec<KtoExample> = sequences
        .into_iter()
        .zip(references)
        .map(|((sequence, desirable), reference)| KtoExample { sequence, desirable, reference })
        .collect();
    let baseline = kto_baseline(learner.model(), &examples, 64, 3).unwrap();
    assert!(baseline.abs() < 1e-5, "{baseline}");
    let kto = Kto::default();
    let batches = |b| kto_batch(&examples, b, 3, &Device::flex()).unwrap();
    let first = learner.step(&kto, &batches(baseline), 0.01).unwrap();
    assert!((first.loss - 0.5).abs() < 1e-5, "{}", first.loss);
    for _ in 0..10 {
        let baseline = kto_baseline(learner.model(), &examples, 64, 3).unwrap();
        learner.step(&kto, &batches(baseline), 0.01).unwrap();
    }
    assert!(learner.gradients(&kto, &batches(0.0)).unwrap().report.loss < 0.49);
    assert!(matches!(
        kto_baseline(learner.model(), &examples[..1], 64, 3),
        Err(AlgorithmError::Empty { .. })
    ));
}

#[test]
fn evaluation_reads_what_it_says() {
    let bank = ModelBank::new(
        &Placement::policy("policy", true, true),
        &Start::joint(&checkpoint()),
        &lora(),
        3,
    )
    .unwrap();
    let rows: Vec<Sequence> = pairs().into_iter().map(|p| p.chosen).collect();
    let tokens: usize = rows.iter().map(|r| r.response.len()).sum();
    let batch = TokenBatch::new(rows.clone()).unwrap();
    let logprobs = bank.read(&[Request::constant(ACTOR)], &batch).unwrap().to_vec(ACTOR).unwrap();
    let nll = -logprobs.iter().map(|&l| f64::from(l)).sum::<f64>() / tokens as f64;
    for part in [1, 3] {
        assert!((perplexity(&bank, &rows, part).unwrap().ln() - nll).abs() < 1e-6);
    }
    let both: Vec<(Sequence, Sequence)> =
        pairs().into_iter().map(|p| (p.chosen, p.rejected)).collect();
    let ranking = reward_accuracy(&bank, &both, 3).unwrap();
    let swapped: Vec<_> = both.iter().map(|(a, b)| (b.clone(), a.clone())).collect();
    let other = reward_accuracy(&bank, &swapped, 3).unwrap();
    assert!((ranking.accuracy + other.accuracy - 1.0).abs() < 1e-12);
    assert!((ranking.margin + other.margin).abs() < 1e-6 && ranking.pairs == 4);
    assert_eq!(reward_scores(&bank, &rows, 2).unwrap().len(), 4);
    // At the start the policy is its reference.
    let implied = implied_accuracy(&bank, &both, 3).unwrap();
    assert_eq!((implied.accuracy, implied.margin), (0.5, 0.0));
    let kl = sampled_kl(&bank, REFERENCE, &generate(&bank, 1), 3).unwrap();
    assert!(kl.abs() < 1e-4, "{kl}");
    assert!(perplexity(&bank, &[], 3).is_err());
    let long = vec![sequence(&[2; 60], &[3; 9])];
    let error = perplexity(&bank, &long, 3).unwrap_err();
    assert!(matches!(error, AlgorithmError::Core(CoreError::ContextExceeded { .. })));
}

/// A response of several turns: what others say in it is read, and not predicted.
#[test]
fn a_mask_picks_tokens_out_of_what_is_read_without_it() {
    let bank = ModelBank::frozen(checkpoint());
    let whole = [sequence(&[2, 3], &[4, 5, 6, 7, 1]), sequence(&[4], &[9, 8, 1])];
    let mask = vec![true, false, false, true, true];
    let masked = [whole[0].clone().with_response_mask(mask.clone()), whole[1].clone()];
    let read = |bank: &ModelBank, rows: &[Sequence]| {
        let batch = TokenBatch::new(rows.to_vec()).unwrap();
        bank.read(&[Request::constant(ACTOR)], &batch).unwrap().to_vec(ACTOR).unwrap()
    };
    let all = read(&bank, &whole);
    let kept: Vec<f32> = [0, 3, 4, 5, 6, 7].map(|i| all[i]).to_vec();
    assert_eq!(read(&bank, &masked), kept);
    let sums = reference_logprobs(&bank, ACTOR, &masked, 2).unwrap();
    assert_eq!(sums[0], (f64::from(kept[0]) + f64::from(kept[1]) + f64::from(kept[2])) as f32);
    assert_ne!(sequences_fingerprint(&masked), sequences_fingerprint(&whole));
}

/// Learning what a mask keeps is learning the whole with weight 0 on the rest, to the last gradient;
/// so it is in pieces.
#[test]
fn a_mask_learns_as_weights_of_zero_do() {
    let whole = [sequence(&[2, 3], &[4, 5, 6, 7, 1]), sequence(&[4], &[9, 8, 1])];
    let keeps = [vec![1.0, 0.0, 0.0, 1.0, 1.0], vec![1.0; 3]];
    let weighted: Vec<WeightedSequence> = whole
        .iter()
        .zip(&keeps)
        .map(|(sequence, keeps)| WeightedSequence {
            // The mean is over all 8 tokens there, and over the 6 kept ones here.
            weights: keeps.iter().map(|w| w * 8.0 / 6.0).collect(),
            sequence: sequence.clone(),
        })
        .collect();
    let masked = [
        whole[0].clone().with_response_mask(vec![true, false, false, true, true]),
        whole[1].clone(),
    ];
    let pieces = Execution { logprob_chunk: Some(2), segment_blocks: Some(1) };
    for execution in [Execution::default(), pieces] {
        let mut by_mask = policy(false, false);
        by_mask.change_model(|bank| bank.with_execution(execution).unwrap());
        let mut by_weight = policy(false, false);
        let device = Device::flex();
        for _ in 0..3 {
            let a = by_mask.step(&Nll, &nll_batch(&masked, 1, &device).unwrap(), 0.01).unwrap();
            let batch = weighted_batch(&weighted, 2, &device).unwrap();
            let b = by_weight.step(&Nll, &batch, 0.01).unwrap();
            assert!((a.loss - b.loss).abs() < 1e-5, "{} {}", a.loss, b.loss);
            assert!((a.grad_norm - b.grad_norm).abs() < 1e-4 * b.grad_norm);
        }
    }
}

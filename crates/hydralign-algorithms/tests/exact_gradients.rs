//! Expected gradients of the critic-free methods, summed over every possible rollout, against exact
//! gradients that autodiff takes of the expectation itself.

mod tabular;

use hydralign_advantage::{GroupAdvantage, GroupBaseline, GroupScale};
use hydralign_algorithms::{
    Aggregation, AlgorithmError, CreditRule, CriticFree, CriticFreeConfig, KlInLoss,
    PolicyGradient, RatioLevel, ReturnBaseline, Surrogate,
};
use hydralign_core::{Episode, episode_fn};
use hydralign_rollout::SamplerConfig;
use tabular::{ALL, T, Tabular, add, assert_close, device, reward, rewards, vector};

/// The gradient of one rollout of groups.
fn gradient_of(
    method: &CriticFree,
    model: &Tabular,
    groups: Vec<Vec<Episode>>,
    greedy: Option<&[Episode]>,
) -> Vec<f64> {
    let sampler = SamplerConfig::default();
    let experience = method
        .experience(model, groups, greedy, &sampler, Some(&episode_fn(reward)), &mut ())
        .unwrap();
    let samples: Vec<_> = experience.samples.iter().collect();
    let batches = method.micro_batches(&samples, 1.0, &device()).unwrap();
    model.gradient(&PolicyGradient { config: method.config().clone() }, &batches)
}

/// E over all groups of `n` responses of the gradient, by enumeration.
fn expected_gradient(config: CriticFreeConfig, model: &Tabular, n: u32) -> Vec<f64> {
    let method = CriticFree::new(config).unwrap();
    let (all, pi) = (model.episodes(0), model.probabilities(0));
    let best = (0..ALL).max_by(|&a, &b| pi[a].total_cmp(&pi[b])).unwrap();
    let greedy = [all[best].clone()];
    let mut sum = vec![0.0; 12];
    for combination in 0..ALL.pow(n) {
        let picks: Vec<usize> = (0..n).map(|k| combination / ALL.pow(k) % ALL).collect();
        let probability: f64 = picks.iter().map(|&i| pi[i]).product();
        let group = picks.iter().map(|&i| all[i].clone()).collect();
        add(&mut sum, &gradient_of(&method, model, vec![group], Some(&greedy)), probability);
    }
    sum
}

/// −∇E[r], the exact policy gradient as a loss.
fn exact(model: &Tabular) -> Vec<f64> {
    model.exact_gradient(0, |log_pi| log_pi.exp().mul(vector(&rewards())).neg())
}

/// −∇(E[r] − β·KL(π‖π_ref)).
fn exact_with_kl(model: &Tabular, beta: f64) -> Vec<f64> {
    let log_ref: Vec<f64> = model.reference_probabilities(0).iter().map(|p| p.ln()).collect();
    model.exact_gradient(0, |log_pi| {
        let gap = log_pi.clone().sub(vector(&log_ref)).mul_scalar(beta);
        log_pi.exp().mul(gap.sub(vector(&rewards())))
    })
}

fn scaled(values: &[f64], factor: f64) -> Vec<f64> {
    values.iter().map(|v| v * factor).collect()
}

#[test]
fn rloo_is_unbiased() {
    let model = Tabular::uneven();
    let config = CriticFreeConfig { kl_reward: 0.0, ..CriticFreeConfig::rloo() };
    for n in [2, 3] {
        let found = expected_gradient(config.clone(), &model, n);
        assert_close("rloo", &found, &exact(&model), 2e-6);
    }
}

#[test]
fn rloo_with_kl_in_the_reward_climbs_the_regularised_objective() {
    let model = Tabular::uneven();
    let config = CriticFreeConfig { kl_reward: 0.4, ..CriticFreeConfig::rloo() };
    let found = expected_gradient(config, &model, 2);
    assert_close("rloo with kl", &found, &exact_with_kl(&model, 0.4), 2e-6);
}

/// The ratio of the whole response is 1 at the first step, so its gradient is that of REINFORCE.
#[test]
fn rloo_on_the_clipped_ratio_starts_like_reinforce() {
    let model = Tabular::uneven();
    let config = CriticFreeConfig {
        kl_reward: 0.0,
        surrogate: Surrogate::clipped(0.2, 0.2),
        ratio: RatioLevel::Sequence,
        aggregation: Aggregation::SequenceMean,
        ..CriticFreeConfig::rloo()
    };
    let found = expected_gradient(config, &model, 2);
    assert_close("clipped rloo", &found, &exact(&model), 2e-6);
}

/// A mean that includes the response itself shrinks the gradient by (n − 1)/n and turns it nowhere.
#[test]
fn dr_grpo_is_the_policy_gradient_up_to_a_factor() {
    let model = Tabular::uneven();
    for n in [2, 3] {
        let found = expected_gradient(CriticFreeConfig::dr_grpo(T), &model, n);
        let factor = f64::from(n - 1) / f64::from(n) / T as f64;
        assert_close("dr_grpo", &found, &scaled(&exact(&model), factor), 2e-6);
    }
}

/// In a group of two, a GRPO advantage is ±1/√2 for the better and the worse: the method climbs the
/// probability of beating a response of the policy as it was.
#[test]
fn grpo_with_two_responses_climbs_the_win_rate() {
    let model = Tabular::uneven();
    let (pi, r) = (model.probabilities(0), rewards());
    let wins: Vec<f64> = r
        .iter()
        .map(|a| r.iter().zip(&pi).map(|(b, p)| p * (a - b).signum() * f64::from(a != b)).sum())
        .collect();
    let want = model.exact_gradient(0, |log_pi| log_pi.exp().mul(vector(&wins)).neg());
    let exactly = GroupAdvantage { epsilon: 0.0, ..GroupAdvantage::default() };
    let credit = CreditRule::Group(exactly);
    let methods = [
        ("grpo", CriticFreeConfig { kl_loss: KlInLoss::default(), ..CriticFreeConfig::grpo() }),
        ("dapo", CriticFreeConfig::dapo(None)),
        ("gspo", CriticFreeConfig::gspo()),
    ];
    for (name, config) in methods {
        let found = expected_gradient(CriticFreeConfig { credit, ..config }, &model, 2);
        // A mean over tokens or over the response has its length in it.
        let factor = 0.5f64.sqrt() / T as f64;
        assert_close(name, &found, &scaled(&want, factor), 2e-6);
    }
}

#[test]
fn returns_to_go_without_a_baseline_and_against_the_greedy_response() {
    let model = Tabular::uneven();
    let want = scaled(&exact(&model), 1.0 / T as f64);
    for (name, baseline) in [("none", ReturnBaseline::None), ("greedy", ReturnBaseline::Greedy)] {
        let credit = CreditRule::ReturnToGo { gamma: 1.0, baseline, whiten: false };
        let plain = CriticFreeConfig { kl_reward: 0.0, credit, ..CriticFreeConfig::remax() };
        assert_close(name, &expected_gradient(plain.clone(), &model, 1), &want, 2e-6);
        let surrogate = Surrogate::clipped(0.2, 0.2);
        let clipped = CriticFreeConfig { surrogate, ..plain };
        assert_close(name, &expected_gradient(clipped, &model, 1), &want, 2e-6);
    }
}

#[test]
fn returns_with_kl_in_the_reward_climb_the_regularised_objective() {
    let model = Tabular::uneven();
    let baseline = ReturnBaseline::None;
    let credit = CreditRule::ReturnToGo { gamma: 1.0, baseline, whiten: false };
    let config =
        CriticFreeConfig { kl_reward: 0.3, credit, ..CriticFreeConfig::reinforce_pp(false) };
    let want = scaled(&exact_with_kl(&model, 0.3), 1.0 / T as f64);
    assert_close("reinforce++", &expected_gradient(config, &model, 1), &want, 2e-6);
}

/// The gradient of k3 in the loss is that of KL(π_ref‖π) in the states that the policy visits;
/// corrected by the ratio it is that of KL(π‖π_ref).
#[test]
fn kl_in_the_loss_is_the_divergence_that_it_says() {
    let model = Tabular::uneven();
    let nothing =
        GroupAdvantage { baseline: GroupBaseline::None, scale: GroupScale::None, epsilon: 0.0 };
    for corrected in [false, true] {
        let config = CriticFreeConfig {
            credit: CreditRule::Group(nothing),
            kl_loss: KlInLoss { coef: 1.0, corrected },
            aggregation: Aggregation::SequenceSum,
            ..CriticFreeConfig::grpo()
        };
        let with = expected_gradient(config.clone(), &model, 1);
        let none = CriticFreeConfig { kl_loss: KlInLoss::default(), ..config };
        let without = expected_gradient(none, &model, 1);
        let penalty: Vec<f64> = with.iter().zip(&without).map(|(a, b)| a - b).collect();
        assert_close("kl", &penalty, &model.state_kl_gradient(!corrected), 5e-6);
    }
}

#[test]
fn grpo_with_one_response_per_group_is_refused() {
    let model = Tabular::uneven();
    let group = vec![vec![model.episodes(0)[0].clone()]];
    let sampler = SamplerConfig::default();
    for config in [CriticFreeConfig::grpo(), CriticFreeConfig::rloo(), CriticFreeConfig::gspo()] {
        let method = CriticFree::new(config).unwrap();
        let error = method
            .experience(&model, group.clone(), None, &sampler, Some(&episode_fn(reward)), &mut ())
            .unwrap_err();
        assert_eq!(error.to_string(), "1 responses in a group, but at least 2 are needed");
    }
    let remax = CriticFree::new(CriticFreeConfig::remax()).unwrap();
    let error = remax
        .experience(&model, group, None, &sampler, Some(&episode_fn(reward)), &mut ())
        .unwrap_err();
    assert!(matches!(error, AlgorithmError::Empty { what: "greedy response of every prompt" }));
}

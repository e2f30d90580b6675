//! Losses, gradients, optimizer and one whole PPO iteration against verl, OpenRLHF, torchtune,
//! TRL and torch.

mod common;

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use common::{Table, any_batch, assert_close, flat, flat32, golden, host, trained, vector};
use hydralign_advantage::{KlControl, RewardShaping};
use hydralign_algorithms::{
    Experience, Learner, Nll, OptimizerConfig, PairWeights, Ppo, PpoBatch, PpoConfig, TokenWeights,
    clip_global_norm, pairwise_loss, policy_loss, value_loss,
};
use hydralign_core::{CoreError, Episode, Finish, Outputs, Reading, Request, Roles, TokenBatch};
use hydralign_rollout::SamplerConfig;
use serde_json::Value;

const TOLERANCE: f64 = 2e-6;

fn ppo_batch(case: &Value) -> PpoBatch {
    let get = |name: &str| vector(&flat32(&case[name]));
    let n = flat(&case["logprobs"]).len();
    PpoBatch {
        old_logprobs: get("old_logprobs"),
        advantages: get("advantages"),
        old_values: get("old_values"),
        returns: get("returns"),
        weights: vector(&vec![1.0 / n as f32; n]),
    }
}

fn stat(stats: &[(&'static str, Tensor<1>)], name: &str) -> f64 {
    let (_, value) = stats.iter().find(|(n, _)| *n == name).unwrap();
    f64::from(value.clone().into_scalar::<f32>())
}

fn gradient(param: &Param<Tensor<1>>, loss: Tensor<1>) -> Vec<f64> {
    host(param.val().grad(&loss.backward()).expect("a gradient"))
}

fn field(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("no number `{name}`"))
}

#[test]
fn ppo_losses_and_gradients_are_those_of_verl_openrlhf_and_torchtune() {
    for case in golden("ppo_loss.json")["cases"].as_array().unwrap() {
        let batch = ppo_batch(case);
        let (low, high) = (field(case, "clip_low"), field(case, "clip_high"));
        let logprobs = trained(&flat32(&case["logprobs"]));
        let values = trained(&flat32(&case["values"]));
        let policy = policy_loss(logprobs.val(), &batch, low, high);
        let critic = value_loss(values.val(), &batch, case["value_clip"].as_f64());
        let policy_gradient = gradient(&logprobs, policy.value.clone());
        let value_gradient = gradient(&values, critic.value.clone());
        for peer in ["verl", "openrlhf", "torchtune"] {
            let Some(expected) = case.get(peer) else { continue };
            let check = |name: &str, got: f64| {
                assert_close(
                    &format!("{peer} {name}"),
                    &[got],
                    &[field(expected, name)],
                    TOLERANCE,
                );
            };
            check("policy_loss", stat(&policy.stats, "policy_loss"));
            check("value_loss", stat(&critic.stats, "value_loss"));
            check("clip_fraction", stat(&policy.stats, "clip_fraction"));
            if expected.get("value_clip_fraction").is_some() {
                check("value_clip_fraction", stat(&critic.stats, "value_clip_fraction"));
            }
            let coef = expected["value_coef"].as_f64().unwrap_or(1.0);
            let scaled: Vec<f64> = value_gradient.iter().map(|g| g * coef).collect();
            let what = format!("{peer} policy gradient");
            assert_close(&what, &policy_gradient, &flat(&expected["policy_gradient"]), TOLERANCE);
            let what = format!("{peer} value gradient");
            assert_close(&what, &scaled, &flat(&expected["value_gradient"]), TOLERANCE);
        }
    }
}

#[test]
fn pairwise_losses_and_gradients_are_those_of_trl() {
    let file = golden("pairwise.json");
    let (chosen, rejected) = (flat32(&file["chosen"]), flat32(&file["rejected"]));
    let n = chosen.len();
    for case in file["cases"].as_array().unwrap() {
        let scores = trained(&[chosen.clone(), rejected.clone()].concat());
        let mut weights = PairWeights::mean(n, n, &Device::flex());
        if !case["margin"].is_null() {
            weights = weights.with_margins(flat32(&case["margin"]), &Device::flex());
        }
        let centring = case["centring"].as_f64().unwrap_or(0.0);
        let loss = pairwise_loss(scores.val(), &weights, centring);
        assert_close("loss", &host(loss.value.clone()), &[field(case, "loss")], TOLERANCE);
        let expected = [flat(&case["chosen_gradient"]), flat(&case["rejected_gradient"])].concat();
        assert_close("gradient", &gradient(&scores, loss.value), &expected, TOLERANCE);
    }
}

/// A table whose log-probabilities are the parameter, trained by a loss with a given gradient.
#[test]
fn adamw_follows_torch_step_by_step() {
    for case in golden("optimizer.json")["adamw"].as_array().unwrap() {
        let config = OptimizerConfig {
            beta_1: field(case, "beta_1") as f32,
            beta_2: field(case, "beta_2") as f32,
            epsilon: field(case, "eps") as f32,
            weight_decay: field(case, "weight_decay") as f32,
            max_grad_norm: None,
        };
        let start = flat32(&case["start"]);
        let mut learner = Learner::new(Table::new(&start, &[0.0], &[0.0]), &config);
        let steps = case["gradients"].as_array().unwrap().iter();
        for (wanted, expected) in steps.zip(case["trace"].as_array().unwrap()) {
            // The gradient of −Σ w·logprob with respect to the log-probabilities is −w.
            let weights = flat32(wanted).iter().map(|g| -g).collect();
            let batch = (any_batch(start.len()), TokenWeights::new(weights, &Device::flex()));
            learner.step(&Nll, &[batch], field(case, "lr")).unwrap();
            let got = host(learner.model().logprobs.val());
            assert_close("parameter", &got, &flat(expected), TOLERANCE);
        }
        assert_close("untouched", &host(learner.model().values.val()), &[0.0], 0.0);
    }
}

#[derive(Module, Debug)]
struct Several {
    tensors: Vec<Param<Tensor<1>>>,
}

#[test]
fn the_global_norm_is_clipped_like_in_torch() {
    for case in golden("optimizer.json")["clip_grad_norm"].as_array().unwrap() {
        let before: Vec<Vec<f32>> = case["before"].as_array().unwrap().iter().map(flat32).collect();
        let module = Several { tensors: before.iter().map(|v| trained(v)).collect() };
        let mut gradients = GradientsParams::new();
        for (param, values) in module.tensors.iter().zip(&before) {
            gradients.register(param.id, vector(values));
        }
        let max = Some(field(case, "max_norm"));
        let (mut clipped, norm) = clip_global_norm(&module, gradients, max);
        assert_close("norm", &[norm], &[field(case, "norm")], TOLERANCE);
        for (param, expected) in module.tensors.iter().zip(case["after"].as_array().unwrap()) {
            let got = host(clipped.remove::<1>(param.id).unwrap());
            assert_close("clipped", &got, &flat(expected), TOLERANCE);
        }
    }
}

/// Answers by row: the first prompt token of a row names it.
struct PerRow<'a>(&'a Value);

impl Roles for PerRow<'_> {
    fn read(&self, requests: &[Request], batch: &TokenBatch) -> Result<Outputs, CoreError> {
        let rows = || batch.sequences().iter().map(|s| s.prompt[0] as usize);
        let pack =
            |name: &str| -> Vec<f32> { rows().flat_map(|i| flat32(&self.0[name][i])).collect() };
        let mut outputs = Outputs::new();
        for request in requests {
            let values = match request.reading {
                Reading::Logprobs(_) => pack("ref_logprobs"),
                Reading::Values(_) | Reading::PrefixValues(_) => pack("old_values"),
                Reading::Score(_) => pack("score"),
                reading => return Err(CoreError::MissingReading { reading }),
            };
            outputs.insert(request.reading, vector(&values));
        }
        Ok(outputs)
    }
}

fn iteration(file: &Value) -> Experience {
    let config = PpoConfig {
        kl: KlControl::Fixed { coef: field(file, "kl_coef") },
        shaping: RewardShaping {
            score_clip: Some(field(file, "score_clip") as f32),
            ..RewardShaping::default()
        },
        lambda: field(file, "lambda_"),
        gamma: field(file, "gamma"),
        score_batch: 3,
        ..PpoConfig::default()
    };
    let episode = |(i, row): (usize, &Value)| {
        let logprobs = flat32(row);
        Episode {
            prompt: vec![i as u32],
            row: None,
            response: vec![0; logprobs.len()],
            policy_logprobs: logprobs.clone(),
            logprobs,
            finish: Finish::Stop,
        }
    };
    let rows = file["old_logprobs"].as_array().unwrap();
    let episodes = rows.iter().enumerate().map(episode).collect();
    let mut ppo = Ppo::new(config).unwrap();
    let sampler = SamplerConfig::default();
    ppo.experience(&PerRow(file), episodes, &sampler, None, &mut ()).unwrap()
}

#[test]
fn one_iteration_from_scores_to_gradients_is_that_of_openrlhf_and_verl() {
    let file = golden("ppo_iteration.json");
    let experience = iteration(&file);
    let pack = |of: fn(&hydralign_algorithms::Sample) -> &Vec<f32>| -> Vec<f32> {
        experience.samples.iter().flat_map(|s| of(s).clone()).collect()
    };
    let wide = |v: Vec<f32>| v.into_iter().map(f64::from).collect::<Vec<f64>>();
    assert_close("rewards", &wide(pack(|s| &s.rewards)), &flat(&file["rewards"]), TOLERANCE);
    assert_close("returns", &wide(pack(|s| &s.returns)), &flat(&file["returns"]), TOLERANCE);
    assert_close("whitened", &wide(pack(|s| &s.advantages)), &flat(&file["whitened"]), TOLERANCE);

    let n = flat(&file["logprobs"]).len();
    let batch = PpoBatch {
        old_logprobs: vector(&pack(|s| &s.old_logprobs)),
        advantages: vector(&pack(|s| &s.advantages)),
        old_values: vector(&pack(|s| &s.values)),
        returns: vector(&pack(|s| &s.returns)),
        weights: vector(&vec![1.0 / n as f32; n]),
    };
    let clip = field(&file, "clip_range");
    let logprobs = trained(&flat32(&file["logprobs"]));
    let values = trained(&flat32(&file["values"]));
    let policy = policy_loss(logprobs.val(), &batch, clip, clip);
    let critic = value_loss(values.val(), &batch, Some(field(&file, "value_clip")));
    for (stats, name) in [
        (&policy.stats, "policy_loss"),
        (&policy.stats, "clip_fraction"),
        (&critic.stats, "value_loss"),
        (&critic.stats, "value_clip_fraction"),
    ] {
        assert_close(name, &[stat(stats, name)], &[field(&file, name)], 1e-5);
    }
    let got = gradient(&logprobs, policy.value);
    assert_close("policy gradient", &got, &flat(&file["policy_gradient"]), 1e-5);
    let got = gradient(&values, critic.value);
    assert_close("value gradient", &got, &flat(&file["value_gradient"]), 1e-5);
}

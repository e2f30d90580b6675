//! The same losses, gradients and weights as other trainers and the authors' code
//! (`golden/README.md`): policy gradients without a critic, Gumbel regression, advantage weights.

mod common;

use burn::tensor::Device;
use common::{Table, assert_close, flat, flat32, golden, host};
use hydralign_advantage::{Variance, Weighting, whiten};
use hydralign_algorithms::{
    Aggregation, CriticFree, CriticFreeConfig, GroupSample, KlInLoss, Linex, Nll, PolicyGradient,
    RatioLevel, Surrogate, WeightedSequence, linex_batch, weighted_batch,
};
use hydralign_core::{Episode, Finish, Objective, Roles, Sequence};
use serde_json::Value;

const TOLERANCE: f64 = 1e-5;

/// What this crate does not offer, by the part of the goldens that it stands in.
const LEFT_OUT: [(&str, &str, &str); 8] = [
    // The paper's GSPO-token. The loss is the same, but each token has the gradient of its own
    // advantage, where the ratio of a response has that of all of its tokens.
    ("policy_gradient", "gspo_per_token", "a ratio of responses with advantages of tokens"),
    ("xql", "gumbel_clip_all", "a bound on z that is below 0 is refused"),
    ("xql", "gumbel_log", "no logarithm of the Gumbel loss"),
    ("xql", "gumbel_log_warm", "no logarithm of the Gumbel loss"),
    ("xql", "gumbel_log_cut", "no logarithm of the Gumbel loss"),
    ("xql", "gumbel_log_low", "no logarithm of the Gumbel loss"),
    ("xql", "expectile_0.7", "no expectile regression"),
    ("xql", "expectile_0.9", "no expectile regression"),
];

/// Calls `check` with every case that is not left out.
fn for_each_case(part: &str, cases: &Value, mut check: impl FnMut(&str, &Value)) {
    let cases = cases.as_array().unwrap();
    let left: Vec<&str> =
        LEFT_OUT.iter().filter(|(p, ..)| *p == part).map(|(_, name, _)| *name).collect();
    let mut reproduced = 0;
    for case in cases {
        let name = case["name"].as_str().unwrap();
        if !left.contains(&name) {
            check(name, case);
            reproduced += 1;
        }
    }
    assert_eq!(reproduced + left.len(), cases.len(), "{part}");
}

fn setting(case: &Value, name: &str) -> f64 {
    case["settings"][name].as_f64().unwrap_or_else(|| panic!("no number `{name}`"))
}

fn rows(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().unwrap().iter().map(flat32).collect()
}

fn trl_grpo(case: &Value) -> CriticFreeConfig {
    let settings = &case["settings"];
    let sequence = settings["importance_sampling_level"] == "sequence";
    let method = match settings["loss_type"].as_str().unwrap() {
        "grpo" if sequence => CriticFreeConfig::gspo(),
        "grpo" => CriticFreeConfig::grpo(),
        "dr_grpo" => CriticFreeConfig::dr_grpo(setting(case, "max_completion_length") as usize),
        // Over one minibatch they are the same.
        "bnpo" | "dapo" => CriticFreeConfig::dapo(None),
        loss_type => panic!("no method for {loss_type}"),
    };
    let corrected = settings["use_bias_correction_kl"].as_bool().unwrap();
    CriticFreeConfig {
        surrogate: Surrogate::Clipped {
            low: setting(case, "epsilon"),
            high: setting(case, "epsilon_high"),
            dual: settings["delta"].as_f64(),
        },
        kl_loss: KlInLoss { coef: setting(case, "beta"), corrected },
        ..method
    }
}

fn verl_aggregation(case: &Value) -> Aggregation {
    match case["settings"]["loss_agg_mode"].as_str().unwrap() {
        "token-mean" => Aggregation::TokenMean,
        "seq-mean-token-mean" => Aggregation::SequenceMean,
        "seq-mean-token-sum" => Aggregation::SequenceSum,
        "seq-mean-token-sum-norm" => {
            // Without a factor verl takes the width of the padded batch, which here is asked for.
            let width = rows(&case["logprobs"]).iter().map(Vec::len).max().unwrap();
            let factor = case["settings"]["loss_scale_factor"].as_u64();
            Aggregation::Constant { length: factor.map_or(width, |n| n as usize) }
        }
        mode => panic!("no aggregation for {mode}"),
    }
}

/// The method whose loss the peer computes.
fn method(case: &Value) -> CriticFreeConfig {
    let verl = |dual| Surrogate::Clipped {
        low: setting(case, "clip_ratio_low"),
        high: setting(case, "clip_ratio_high"),
        dual,
    };
    match case["peer"].as_str().unwrap() {
        "trl GRPOTrainer" => trl_grpo(case),
        "verl compute_policy_loss_vanilla" => CriticFreeConfig {
            surrogate: verl(Some(setting(case, "clip_ratio_c"))),
            aggregation: verl_aggregation(case),
            ..CriticFreeConfig::dapo(None)
        },
        "verl compute_policy_loss_gspo" => CriticFreeConfig {
            surrogate: verl(None),
            aggregation: verl_aggregation(case),
            ..CriticFreeConfig::gspo()
        },
        "sail-sg/understand-r1-zero ZeroMathLearner" => {
            let range = setting(case, "cliprange");
            let method = match case["settings"]["generate_max_length"].as_u64() {
                Some(length) => CriticFreeConfig::dr_grpo(length as usize),
                None => CriticFreeConfig::grpo(),
            };
            CriticFreeConfig {
                surrogate: Surrogate::clipped(range, range),
                kl_loss: KlInLoss { coef: setting(case, "beta"), corrected: false },
                ..method
            }
        }
        // The loss of a response is one clipped term, so that it is shared among its tokens.
        "trl RLOOTrainer" => CriticFreeConfig {
            surrogate: Surrogate::clipped(setting(case, "epsilon"), setting(case, "epsilon")),
            ratio: RatioLevel::Sequence,
            aggregation: Aggregation::SequenceMean,
            ..CriticFreeConfig::rloo()
        },
        // Only the loss: the authors' returns, which the case gives, hold the KL of the same token
        // alone, where those of the method here hold that of all tokens from it on.
        "liziniu/ReMax DeepSpeedReMaxTrainer" => CriticFreeConfig::remax(),
        peer => panic!("no method for {peer}"),
    }
}

fn sample(old_logprobs: Vec<f32>, ref_logprobs: Vec<f32>, advantages: Vec<f32>) -> GroupSample {
    let episode = Episode {
        prompt: vec![0],
        row: None,
        response: vec![0; old_logprobs.len()],
        logprobs: old_logprobs.clone(),
        policy_logprobs: old_logprobs.clone(),
        finish: Finish::Stop,
    };
    GroupSample { episode, old_logprobs, ref_logprobs, score: 0.0, kl: Vec::new(), advantages }
}

/// The responses of a case, credited as the case says.
fn samples(case: &Value) -> Vec<GroupSample> {
    // On policy the old log-probabilities are the new ones.
    let old = if case["old_logprobs"].is_null() { "logprobs" } else { "old_logprobs" };
    let reference = case["ref_logprobs"].as_array();
    let one = |(i, old): (usize, Vec<f32>)| {
        let n = old.len();
        let advantages = &case["advantages"][i];
        let advantages = match advantages.as_f64() {
            Some(advantage) => vec![advantage as f32; n],
            None => flat32(advantages),
        };
        let reference = reference.map_or_else(Vec::new, |rows| flat32(&rows[i]));
        sample(old, reference, advantages)
    };
    rows(&case[old]).into_iter().enumerate().map(one).collect()
}

struct Outcome {
    loss: f64,
    gradient: Vec<f64>,
    clip_fraction: f64,
    kl_loss: f64,
}

/// The loss of the case's responses, which are the first micro-batch of a minibatch with `rest`
/// tokens more.
fn evaluate(config: &CriticFreeConfig, case: &Value, rest: usize) -> Outcome {
    let mut minibatch = samples(case);
    let config = CriticFreeConfig { micro_batch: minibatch.len(), ..config.clone() };
    if rest > 0 {
        minibatch.push(sample(vec![-1.0; rest], Vec::new(), vec![1.0; rest]));
    }
    let method = CriticFree::new(config.clone()).unwrap();
    let minibatch: Vec<&GroupSample> = minibatch.iter().collect();
    let (tokens, batch) = &method.micro_batches(&minibatch, 1.0, &Device::flex()).unwrap()[0];
    let model = Table::new(&flat32(&case["logprobs"]), &[0.0], &[0.0]);
    let objective = PolicyGradient { config };
    let outputs = model.read(&objective.reads(), tokens).unwrap();
    let loss = objective.loss(&outputs, batch).unwrap();
    let stat = |name| {
        let found = loss.stats.iter().find(|(n, _)| *n == name);
        found.map_or(0.0, |(_, value)| host(value.clone())[0])
    };
    Outcome {
        clip_fraction: stat("clip_fraction"),
        kl_loss: stat("kl_loss"),
        gradient: host(model.logprobs.val().grad(&loss.value.clone().backward()).unwrap()),
        loss: host(loss.value)[0],
    }
}

/// Statistics are means over tokens, whatever the aggregation. TRL's of ratios of whole responses are means
/// over rows, and are left out.
fn check_statistics(name: &str, config: &CriticFreeConfig, found: &Outcome, case: &Value) {
    let by_row =
        case["peer"].as_str().unwrap().starts_with("trl") && config.ratio != RatioLevel::Token;
    for (field, found) in [("clip_fraction", found.clip_fraction), ("kl", found.kl_loss)] {
        match case[field].as_f64() {
            Some(want) if !(by_row && field == "clip_fraction") => {
                assert_close(&format!("{field} of {name}"), &[found], &[want], TOLERANCE);
            }
            _ => {}
        }
    }
}

#[test]
fn policy_gradients() {
    for_each_case("policy_gradient", &golden("policy_gradient.json")["cases"], |name, case| {
        let config = method(case);
        let tokens = flat(&case["logprobs"]).len();
        let items = case["settings"]["num_items_in_batch"].as_u64();
        let outcome = evaluate(&config, case, items.map_or(0, |n| n as usize - tokens));
        assert_close(name, &[outcome.loss], &flat(&case["loss"]), TOLERANCE);
        let what = format!("gradient of {name}");
        assert_close(&what, &outcome.gradient, &flat(&case["gradient"]), TOLERANCE);
        if items.is_none() {
            check_statistics(name, &config, &outcome, case);
        }
    });
}

/// The settings above write over those of the constructors; in these cases they change nothing.
#[test]
fn the_constructors_are_the_published_settings() {
    let file = golden("policy_gradient.json");
    let find = |name: &str| {
        let cases = file["cases"].as_array().unwrap();
        method(cases.iter().find(|case| case["name"] == name).unwrap())
    };
    assert_eq!(find("grpo_kl"), CriticFreeConfig::grpo());
    assert_eq!(find("dr_grpo"), CriticFreeConfig::dr_grpo(16));
    assert_eq!(find("dapo_clip_higher"), CriticFreeConfig::dapo(None));
    assert_eq!(find("gspo_narrow"), CriticFreeConfig::gspo());
}

/// Q is `diff` and V, which the model answers, 0.
#[test]
fn gumbel_regression() {
    for_each_case("xql", &golden("offline.json")["xql"], |name, case| {
        let diff = flat32(&case["diff"]);
        // No bound is one that no z reaches.
        let max_z = case["settings"]["max_clip"].as_f64().unwrap_or(1e6);
        let linex = Linex { temperature: setting(case, "loss_temp"), max_z };
        let model = Table::new(&[0.0], &vec![0.0; diff.len()], &[0.0]);
        let states = Sequence::new(vec![0], vec![0; diff.len()]);
        let batches = linex_batch(&model, &linex, &[(states, diff)], 1, &Device::flex()).unwrap();
        let (tokens, batch) = &batches[0];
        let outputs = model.read(&linex.reads(), tokens).unwrap();
        let loss = linex.loss(&outputs, batch).unwrap().value;
        let gradient = host(model.values.val().grad(&loss.backward()).unwrap());
        assert_close(name, &host(loss), &flat(&case["loss"]), TOLERANCE);
        // V is subtracted.
        let want: Vec<f64> = flat(&case["gradient"]).iter().map(|g| -g).collect();
        assert_close(&format!("gradient of {name}"), &gradient, &want, TOLERANCE);
    });
}

fn weighting(temperature: f64, clip: Option<f64>) -> Weighting {
    Weighting { temperature, clip, ..Weighting::default() }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn advantage_weights() {
    let file = golden("offline.json");
    for case in file["awr"].as_array().unwrap() {
        let mut leads = [flat32(&case["advantages"])];
        if !case["values"].is_null() {
            let (returns, values) = (flat32(&case["returns"]), flat32(&case["values"]));
            leads = [returns.iter().zip(&values).map(|(r, v)| r - v).collect()];
            // AWR adds 10⁻⁵ to σ and `whiten` 10⁻⁸ to σ²: here nobody sees it.
            whiten(&mut leads, true, Variance::Biased).unwrap();
            assert_close("advantages", &wide(&leads[0]), &flat(&case["advantages"]), TOLERANCE);
        }
        let temperature = case["temp"].as_f64().unwrap();
        let zeros = vec![0.0; leads[0].len()];
        let weigh = |clip| wide(&weighting(temperature, clip).against(&leads[0], &zeros).unwrap());
        let weights = weigh(case["weight_clip"].as_f64());
        let want = flat(&case["weights"]);
        assert_eq!(weights.len(), want.len());
        // One by one, since the largest is hundreds of times the smallest.
        for (found, want) in weights.iter().zip(want) {
            assert_close("weight", &[*found], &[want], TOLERANCE);
        }
        if let Some(want) = case["unclipped_mean"].as_f64() {
            let free = weigh(None);
            let mean = free.iter().sum::<f64>() / free.len() as f64;
            assert_close("mean weight", &[mean], &[want], TOLERANCE);
        }
    }
}

/// XQL's actor: the same weights, with 1/β for its temperature, and the likelihood under them.
#[test]
fn weighted_likelihood() {
    let file = golden("offline.json");
    for case in file["actor"].as_array().unwrap() {
        let pairs = flat32(&case["q1"]).into_iter().zip(flat32(&case["q2"]));
        let q: Vec<f32> = pairs.map(|(a, b)| a.min(b)).collect();
        let weighting = weighting(1.0 / case["temperature"].as_f64().unwrap(), Some(100.0));
        let weights = weighting.against(&q, &flat(&case["v"])).unwrap();
        let action = || Sequence::new(vec![0], vec![0]);
        let rows: Vec<WeightedSequence> =
            weights.iter().map(|&w| WeightedSequence::uniform(action(), w)).collect();
        let batches = weighted_batch(&rows, rows.len(), &Device::flex()).unwrap();
        let (tokens, batch) = &batches[0];
        let model = Table::new(&flat32(&case["logprobs"]), &[0.0], &[0.0]);
        let outputs = model.read(&Nll.reads(), tokens).unwrap();
        let loss = Nll.loss(&outputs, batch).unwrap().value;
        let gradient = host(model.logprobs.val().grad(&loss.backward()).unwrap());
        assert_close("loss", &host(loss), &flat(&case["loss"]), TOLERANCE);
        assert_close("gradient", &gradient, &flat(&case["gradient"]), TOLERANCE);
    }
}

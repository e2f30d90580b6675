//! The same advantages without a critic, and the same punishment of length, as verl, TRL, OpenRLHF
//! and the learner of Dr. GRPO (`golden/README.md`).

use hydralign_advantage::{
    GroupAdvantage, GroupBaseline, GroupScale, OverlongPenalty, RewardShaping, Variance,
    returns_to_go, shape_rewards, whiten,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

type Rows = Vec<Vec<f32>>;

/// Wide enough for f32, and narrow enough to tell TRL's ε of 10⁻⁴ from verl's 10⁻⁶.
const TOLERANCE: f64 = 1e-5;

/// How much of a case is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Whole,
    /// The response that is alone in its group.
    Alone,
    /// Responses longer than the limit.
    TooLong,
}

/// What the crate does not offer. Every other number of the file is reproduced.
const LEFT_OUT: [(&str, Part, &str); 12] = [
    ("grpo_std", Part::Alone, "a group of one is refused; verl divides its reward by 1 + epsilon"),
    ("rloo_vectorized", Part::Alone, "a group of one is refused; verl gives 0"),
    ("opo", Part::Whole, "no baseline is weighted by length"),
    ("passk_std", Part::Whole, "no pass@k"),
    ("passk_mean", Part::Whole, "no pass@k"),
    ("trl_grpo_alone", Part::Whole, "a group of one is refused; TRL gives 0"),
    ("trl_grpo_missing", Part::Whole, "a response without a score is refused; TRL gives 0"),
    ("trl_rloo_missing", Part::Whole, "a response without a score is refused; TRL gives 0"),
    ("trl_rloo_clip", Part::Whole, "scores are clipped to [-c, c], not to [-2, 1]"),
    ("overlong_half", Part::Whole, "the punishment has no factor"),
    ("overlong_verl_0.5", Part::Whole, "the punishment has no factor"),
    ("overlong_verl_1.0", Part::TooLong, "ends at -1 as in the paper, where verl goes on"),
];

fn left_out(name: &str, part: Part) -> bool {
    LEFT_OUT.iter().any(|(n, p, _)| *n == name && *p == part)
}

fn get<T: DeserializeOwned>(value: &Value, key: &str) -> T {
    serde_json::from_value(value[key].clone()).unwrap_or_else(|e| panic!("{key}: {e}"))
}

fn list(value: &Value, key: &str) -> Vec<Value> {
    get(value, key)
}

fn assert_row(what: &str, found: &[f32], want: &[f32]) {
    assert_eq!(found.len(), want.len(), "{what}");
    for (t, (&f, &w)) in found.iter().zip(want).enumerate() {
        let (f, w) = (f64::from(f), f64::from(w));
        assert!((f - w).abs() <= TOLERANCE * w.abs().max(1.0), "{what} [{t}]: {f}, not {w}");
    }
}

fn assert_rows(what: &str, found: &[Vec<f32>], want: &[Vec<f32>]) {
    assert_eq!(found.len(), want.len(), "{what}");
    for (row, (f, w)) in found.iter().zip(want).enumerate() {
        assert_row(&format!("{what} [{row}]"), f, w);
    }
}

fn rule(baseline: GroupBaseline, scale: GroupScale, epsilon: f64) -> GroupAdvantage {
    GroupAdvantage { baseline, scale, epsilon }
}

fn mean_only() -> GroupAdvantage {
    rule(GroupBaseline::Mean, GroupScale::None, 0.0)
}

fn leave_one_out() -> GroupAdvantage {
    rule(GroupBaseline::LeaveOneOut, GroupScale::None, 0.0)
}

/// All numbers compared with each other, whatever rows they are in.
fn as_one_group(rule: GroupAdvantage, rows: &[Vec<f32>]) -> Rows {
    let mut all = rule.advantages(&[rows.concat()]).unwrap().concat().into_iter();
    rows.iter().map(|row| all.by_ref().take(row.len()).collect()).collect()
}

fn whitened(mut rows: Rows, variance: Variance) -> Rows {
    whiten(&mut rows, true, variance).unwrap();
    rows
}

/// Responses with one score each.
struct Case {
    name: String,
    settings: Value,
    scores: Vec<f32>,
    groups: Vec<usize>,
    lengths: Vec<usize>,
    kl: Rows,
}

impl Case {
    fn read(case: &Value) -> Self {
        let lengths: Vec<usize> = get(case, "lengths");
        let kl = case["kl"].is_array().then(|| get(case, "kl"));
        Self {
            name: get(case, "name"),
            settings: get(case, "settings"),
            scores: get(case, "rewards"),
            groups: get(case, "groups"),
            kl: kl.unwrap_or_else(|| lengths.iter().map(|&n| vec![0.0; n]).collect()),
            lengths,
        }
    }

    fn setting(&self, name: &str) -> f64 {
        self.settings[name].as_f64().unwrap_or_else(|| panic!("{}: no {name}", self.name))
    }

    fn is_alone(&self, response: usize) -> bool {
        self.groups.iter().filter(|&&g| g == self.groups[response]).count() == 1
    }

    /// Advantages of responses whose groups are mixed. A response alone keeps its score, as in
    /// verl: the crate does that only where it is told to have no baseline.
    fn compared(&self, rule: GroupAdvantage) -> Vec<f32> {
        let ids = 0..=*self.groups.iter().max().unwrap();
        let members = |id| (0..self.groups.len()).filter(|&i| self.groups[i] == id).collect();
        let (alone, groups): (Vec<Vec<usize>>, Vec<_>) =
            ids.map(members).partition(|members: &Vec<usize>| members.len() == 1);
        let mut found = vec![f32::NAN; self.groups.len()];
        let keep = self::rule(GroupBaseline::None, GroupScale::None, 0.0);
        for (rule, groups) in [(rule, groups), (keep, alone)] {
            let score = |group: &Vec<usize>| group.iter().map(|&i| self.scores[i]).collect();
            let scores: Rows = groups.iter().map(score).collect();
            let advantages = rule.advantages(&scores).unwrap();
            for (i, advantage) in groups.concat().into_iter().zip(advantages.concat()) {
                found[i] = advantage;
            }
        }
        found
    }

    fn with_scores(&self, scores: Vec<f32>) -> Self {
        let (name, settings) = (self.name.clone(), self.settings.clone());
        let (groups, lengths) = (self.groups.clone(), self.lengths.clone());
        Self { name, settings, scores, groups, lengths, kl: self.kl.clone() }
    }

    /// One number per response, for each of its tokens.
    fn spread(&self, numbers: &[f32]) -> Rows {
        numbers.iter().zip(&self.lengths).map(|(&x, &n)| vec![x; n]).collect()
    }

    /// Returns of the score at the last token and of the KL penalty at each.
    fn returns(&self, kl_coef: f64, score_clip: Option<f32>, gamma: f64) -> Rows {
        let shaping = RewardShaping { score_clip, ..RewardShaping::default() };
        let one = |(&score, kl): (&f32, &Vec<f32>)| {
            // Log-probabilities whose difference is the KL, without rounding.
            let logprobs: Vec<f32> = kl.iter().map(|k| k.min(0.0)).collect();
            let reference: Vec<f32> = kl.iter().map(|k| (-k).min(0.0)).collect();
            let shaped = shape_rewards(&logprobs, &reference, score, true, kl_coef, &shaping);
            returns_to_go(&shaped.unwrap().rewards, gamma).unwrap()
        };
        self.scores.iter().zip(&self.kl).map(one).collect()
    }
}

/// Advantages, and returns where the peer has them.
fn credit(file: &Value, case: &Case) -> (Option<Rows>, Rows) {
    let by_response = |rule| (None, case.spread(&case.compared(rule)));
    if let Some(estimator) = case.settings["estimator"].as_str() {
        return openrlhf(case, estimator);
    }
    match case.name.as_str() {
        "grpo_std" => {
            let epsilon = case.setting("epsilon");
            by_response(rule(GroupBaseline::Mean, GroupScale::Group, epsilon))
        }
        "understand_r1_zero_grpo" => {
            by_response(rule(GroupBaseline::Mean, GroupScale::Group, 1e-8))
        }
        "trl_grpo_group" => by_response(GroupAdvantage::default()),
        "trl_grpo_batch" => {
            by_response(GroupAdvantage { scale: GroupScale::Batch, ..GroupAdvantage::default() })
        }
        "grpo_mean" | "trl_grpo_none" | "understand_r1_zero_drgrpo" => by_response(mean_only()),
        "rloo" | "rloo_vectorized" | "trl_rloo" => by_response(leave_one_out()),
        "trl_rloo_normalized" => {
            let rows: Rows = case.compared(leave_one_out()).into_iter().map(|a| vec![a]).collect();
            // TRL divides by σ + 10⁻⁴ here too, where `whiten` has √(σ² + 10⁻⁸).
            let rows = as_one_group(GroupAdvantage::default(), &rows);
            (None, case.spread(&rows.concat()))
        }
        "trl_rloo_kl" => {
            // The first return is all that a response earns.
            let returns = case.returns(case.setting("beta"), None, 1.0);
            let case = case.with_scores(returns.iter().map(|row| row[0]).collect());
            (None, case.spread(&case.compared(leave_one_out())))
        }
        "remax_0.0" | "remax_0.05" => {
            let baselines: Vec<f32> = get(file, "reward_baselines");
            let leads = case.scores.iter().zip(baselines).map(|(r, b)| r - b).collect();
            let returns = |case: &Case| case.returns(case.setting("kl_coef"), None, 1.0);
            (Some(returns(case)), returns(&case.with_scores(leads)))
        }
        // verl whitens with n − 1. `CriticFree` of the algorithms does it with n, as OpenRLHF.
        "reinforce_plus_plus_baseline" => {
            let leads = case.spread(&case.compared(mean_only()));
            (None, whitened(leads, Variance::Unbiased))
        }
        name if name.starts_with("reinforce_plus_plus_") => {
            let returns = case.returns(case.setting("kl_coef"), None, case.setting("gamma"));
            (Some(returns.clone()), whitened(returns, Variance::Unbiased))
        }
        name => panic!("nothing for {name}"),
    }
}

/// OpenRLHF subtracts the baseline, clips, adds the KL penalty and takes returns, in this order.
fn openrlhf(case: &Case, estimator: &str) -> (Option<Rows>, Rows) {
    let leads = match estimator {
        "rloo" => case.compared(leave_one_out()),
        "group_norm" => case.compared(rule(GroupBaseline::Mean, GroupScale::Group, 1e-9)),
        "dr_grpo" | "reinforce_baseline" => case.compared(mean_only()),
        "flash_reinforce" => mean_only().advantages(&[&case.scores]).unwrap().concat(),
        "reinforce" => case.scores.clone(),
        name => panic!("nothing for {name}"),
    };
    let clip: Option<[f32; 2]> = get(&case.settings, "clip_range");
    let score_clip = clip.map(|[low, high]| {
        assert_eq!(low, -high);
        high
    });
    let gamma = case.setting("gamma");
    let returns = case.with_scores(leads).returns(case.setting("kl_coef"), score_clip, gamma);
    let mean_of_tokens: bool = get(&case.settings, "no_std_norm");
    let advantages = match estimator {
        "reinforce" | "reinforce_baseline" if mean_of_tokens => as_one_group(mean_only(), &returns),
        "reinforce" | "reinforce_baseline" => whitened(returns.clone(), Variance::Biased),
        _ => returns.clone(),
    };
    (Some(returns), advantages)
}

/// The peer's advantages of every token.
fn wanted(file: &Value, case: &Case) -> Rows {
    match serde_json::from_value::<Vec<f32>>(file["advantages"].clone()) {
        Ok(numbers) => case.spread(&numbers),
        Err(_) => get(file, "advantages"),
    }
}

fn check_advantages(file: &Value) {
    let case = Case::read(file);
    let (returns, advantages) = credit(file, &case);
    if file["returns"].is_array() {
        let what = format!("returns of {}", case.name);
        assert_rows(&what, &returns.expect("returns"), &get::<Rows>(file, "returns"));
    }
    let without = left_out(&case.name, Part::Alone);
    let keep = |i: &usize| !(without && case.is_alone(*i));
    let kept: Vec<usize> = (0..case.groups.len()).filter(keep).collect();
    assert_eq!(kept.len() < case.groups.len(), without, "{}", case.name);
    let wanted = wanted(file, &case);
    for i in kept {
        assert_row(&format!("{} [{i}]", case.name), &advantages[i], &wanted[i]);
    }
}

fn check_punishments(file: &Value) {
    let (name, settings): (String, Value) = (get(file, "name"), get(file, "settings"));
    let (max, cache) = (get(&settings, "max_length"), get(&settings, "buffer"));
    let penalty = OverlongPenalty { max, cache };
    let (lengths, wanted): (Vec<usize>, Vec<f32>) =
        (get(file, "lengths"), get(file, "punishments"));
    let without = left_out(&name, Part::TooLong);
    let pairs = lengths.iter().zip(&wanted).filter(|(length, _)| !(without && **length > max));
    let (lengths, kept): (Vec<usize>, Vec<f32>) = pairs.unzip();
    assert_eq!(kept.len() < wanted.len(), without, "{name}");
    let found: Vec<f32> = lengths.into_iter().map(|length| penalty.of(length).unwrap()).collect();
    assert_row(&name, &found, &kept);
}

#[test]
fn every_case_is_that_of_the_peers_or_left_out_for_a_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/groups.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (cases, overlong) = (list(&file, "cases"), list(&file, "overlong"));
    let whole = |case: &&Value| !left_out(case["name"].as_str().unwrap(), Part::Whole);
    let advantages: Vec<&Value> = cases.iter().filter(whole).collect();
    let punishments: Vec<&Value> = overlong.iter().filter(whole).collect();
    advantages.iter().for_each(|case| check_advantages(case));
    punishments.iter().for_each(|case| check_punishments(case));

    let left = LEFT_OUT.iter().filter(|(_, part, _)| *part == Part::Whole).count();
    assert_eq!(advantages.len() + punishments.len() + left, cases.len() + overlong.len());
    let reproduced: Vec<&Value> = [advantages, punishments].concat();
    for (name, part, why) in LEFT_OUT {
        let found = reproduced.iter().any(|case| case["name"] == name);
        assert_eq!(found, part != Part::Whole, "{name}: {why}");
    }
}

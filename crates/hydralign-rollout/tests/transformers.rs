//! The sampler against what transformers does to the same logits (`golden/generate.py`).

use hydralign_rollout::{Sampler, SamplerConfig};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    logits: Vec<Option<f32>>,
    policy_logprobs: Vec<Option<f32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    chain: Vec<String>,
    sampler: SamplerConfig,
    suppressed: Vec<u32>,
    probs: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/warpers.json")).unwrap()
}

impl Row {
    fn logits(&self) -> Vec<f32> {
        self.logits.iter().map(|l| l.unwrap_or(f32::NEG_INFINITY)).collect()
    }

    fn has_ties(&self) -> bool {
        matches!(self.name.as_str(), "ties" | "flat")
    }
}

/// Walks through the golden distribution: at the middle of each token's share the sampler must
/// draw that token, with that probability. Shares that start and end where they should leave no
/// room for a token too many or too few. Edges carry the rounding of f32 exponentials, so that the
/// middle of a share below 1e-5 may lie outside it.
fn mismatch(row: &Row, case: &Case, sampler: SamplerConfig) -> Option<String> {
    let logits = row.logits();
    let sampler = sampler.build().unwrap();
    let mut edge = 0.0;
    for (token, &p) in case.probs.iter().enumerate() {
        let start = edge;
        edge += p;
        if p < 1e-5 {
            continue;
        }
        let draw = sampler.sample(&logits, &case.suppressed, start + p / 2.0).unwrap();
        let policy = row.policy_logprobs[token].unwrap();
        let same = draw.token as usize == token
            && (f64::from(draw.logprob) - p.ln()).abs() < 1e-5
            && (draw.policy_logprob - policy).abs() < 1e-5;
        if !same {
            return Some(format!("{}/{}: token {token}, p {p}: {draw:?}", row.name, case.name));
        }
    }
    None
}

#[test]
fn every_chain_of_filters_gives_the_distribution_of_transformers() {
    let golden = golden();
    assert_eq!(golden.rows.len() * golden.rows[0].cases.len(), 90);
    for row in &golden.rows {
        // Which of several equal tokens top-p keeps is left to torch's unstable sort.
        for case in row.cases.iter().filter(|c| !row.has_ties() || c.sampler.top_p.is_none()) {
            assert_eq!(mismatch(row, case, case.sampler), None);
        }
    }
}

#[test]
fn among_ties_top_p_keeps_as_many_tokens_as_transformers_and_the_lowest_ids() {
    for row in golden().rows.iter().filter(|r| r.has_ties()) {
        for case in row.cases.iter().filter(|c| c.sampler.top_p.is_some()) {
            let (logits, sampler) = (row.logits(), case.sampler.build().unwrap());
            let mut ours = vec![0.0; logits.len()];
            let mut edge = 0.0;
            while edge < 1.0 - 1e-5 {
                let draw = sampler.sample(&logits, &case.suppressed, edge + 1e-7).unwrap();
                ours[draw.token as usize] = f64::from(draw.logprob).exp();
                edge += ours[draw.token as usize];
            }
            let off = |i: usize| case.suppressed.contains(&(i as u32));
            for (i, j) in (0..ours.len()).flat_map(|j| (0..j).map(move |i| (i, j))) {
                let tie = logits[i] == logits[j] && !off(i) && !off(j);
                assert!(!tie || ours[i] >= ours[j] - 1e-6, "{}: {i} before {j}", case.name);
            }
            let mut theirs = case.probs.clone();
            ours.sort_by(f64::total_cmp);
            theirs.sort_by(f64::total_cmp);
            for (a, b) in ours.iter().zip(&theirs) {
                assert!((a - b).abs() < 1e-6, "{}/{}: {ours:?}", row.name, case.name);
            }
        }
    }
}

#[test]
fn the_order_of_the_filters_is_the_documented_one() {
    let golden = golden();
    let all = golden.rows[0].cases.iter().find(|c| c.name == "suppressed_all").unwrap();
    let order = [
        "MinNewTokensLengthLogitsProcessor",
        "TemperatureLogitsWarper",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
        "MinPLogitsWarper",
    ];
    assert_eq!(all.chain, order);
}

/// The goldens tell settings apart: whatever chain of one filter is changed a little, some row
/// notices.
#[test]
fn other_settings_do_not_match() {
    let rows: Vec<Row> = golden().rows.into_iter().filter(|r| !r.has_ties()).collect();
    let change = |case: &str, s: SamplerConfig| match case {
        "cold" | "hot" => SamplerConfig { temperature: s.temperature * 1.01, ..s },
        "top_k_1" | "top_k_5" => SamplerConfig { top_k: s.top_k.map(|k| k + 1), ..s },
        "top_p_half" | "top_p_95" => SamplerConfig { top_p: s.top_p.map(|p| p * 0.9), ..s },
        "min_p_10" | "min_p_1" => SamplerConfig { min_p: s.min_p.map(|p| p * 0.7), ..s },
        other => panic!("{other} has several filters"),
    };
    for name in
        ["cold", "hot", "top_k_1", "top_k_5", "top_p_half", "top_p_95", "min_p_10", "min_p_1"]
    {
        let noticed = rows.iter().any(|row| {
            let case = row.cases.iter().find(|c| c.name == name).unwrap();
            mismatch(row, case, change(name, case.sampler)).is_some()
        });
        assert!(noticed, "a changed {name} passes every golden");
    }
}

//! The same losses and gradients of pairs and labels as TRL and the authors' own code
//! (`golden/README.md`).

mod common;

use burn::tensor::Device;
use common::{Table, any_batch, assert_close, flat, flat32, golden, host};
use hydralign_algorithms::{
    Cpo, Dpo, Hinge, Ipo, Kto, KtoExample, Orpo, Pair, PairLoss, Preference, SimPo, kto_batch,
    pair_batch,
};
use hydralign_core::{Objective, Roles, Sequence};
use serde_json::Value;

/// Half of the precision that f32 promises over sums of ten numbers.
const TOLERANCE: f64 = 5e-6;

fn rows(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().unwrap().iter().map(flat32).collect()
}

fn sequence(tokens: usize) -> Sequence {
    Sequence::new(vec![0], vec![0; tokens])
}

fn sum(row: &[f32]) -> f32 {
    row.iter().map(|&x| f64::from(x)).sum::<f64>() as f32
}

fn setting(case: &Value, name: &str) -> f64 {
    case["settings"][name].as_f64().unwrap_or(0.0)
}

/// Loss and gradient of a whole minibatch whose log-probabilities are the model's parameters.
fn check<O: Objective>(
    name: &str,
    objective: &O,
    batch: &O::Batch,
    case: &Value,
    sides: [&str; 2],
) {
    let logprobs: Vec<f32> = sides.iter().flat_map(|side| flat32(&case[side])).collect();
    let model = Table::new(&logprobs, &[0.0], &[0.0]);
    let outputs = model.read(&objective.reads(), &any_batch(logprobs.len())).unwrap();
    let loss = objective.loss(&outputs, batch).unwrap().value;
    let gradient = host(model.logprobs.val().grad(&loss.backward()).unwrap());
    assert_close(name, &host(loss), &[case["loss"].as_f64().unwrap()], TOLERANCE);
    let want = |side: &&str| flat(&case[format!("gradient_{side}")]);
    let want: Vec<f64> = sides.iter().flat_map(want).collect();
    assert_close(&format!("gradient of {name}"), &gradient, &want, TOLERANCE);
}

fn check_pairs<L: PairLoss>(name: &str, loss: L, nll_weight: f64, case: &Value) {
    let references = case["ref_chosen"]
        .as_array()
        .map(|_| (rows(&case["ref_chosen"]), rows(&case["ref_rejected"])));
    let lengths = rows(&case["chosen"]).into_iter().zip(rows(&case["rejected"]));
    let pairs: Vec<Pair> = lengths
        .enumerate()
        .map(|(i, (chosen, rejected))| Pair {
            chosen: sequence(chosen.len()),
            rejected: sequence(rejected.len()),
            reference: references.as_ref().map(|(w, l)| [sum(&w[i]), sum(&l[i])]),
        })
        .collect();
    let batches = pair_batch(&pairs, pairs.len(), &Device::flex()).unwrap();
    let objective = Preference { loss, nll_weight, live: false };
    check(name, &objective, &batches[0].1, case, ["chosen", "rejected"]);
}

#[test]
fn pairs() {
    let file = golden("preference.json");
    let mut skipped = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (beta, label_smoothing) = (setting(case, "beta"), setting(case, "label_smoothing"));
        let dpo = Dpo { beta, label_smoothing, ..Dpo::default() };
        let weights = case["settings"]["loss_weights"].as_array();
        let sft = weights.and_then(|w| w.get(1)).and_then(Value::as_f64).unwrap_or(0.0);
        let kind = name.split('_').next().unwrap();
        match kind {
            _ if name == "simpo_hinge" => skipped.push(name),
            "dpo" | "cdpo" => check_pairs(name, dpo, sft, case),
            "robust" => check_pairs(name, Dpo { robust: true, ..dpo }, 0.0, case),
            "reference" => check_pairs(name, Dpo { reference_free: true, ..dpo }, 0.0, case),
            "hinge" => check_pairs(name, Hinge { beta }, 0.0, case),
            "ipo" => check_pairs(name, Ipo { beta, sum: name.contains("sum") }, 0.0, case),
            "simpo" => {
                let gamma_beta_ratio = setting(case, "gamma_beta_ratio");
                let simpo = SimPo { beta, gamma_beta_ratio, label_smoothing };
                check_pairs(name, simpo, setting(case, "sft_weight"), case);
            }
            "cpo" => {
                check_pairs(name, Cpo { beta, label_smoothing }, setting(case, "cpo_alpha"), case);
            }
            "orpo" => {
                let lambda = if beta > 0.0 { beta } else { setting(case, "alpha") };
                check_pairs(name, Orpo { lambda }, 1.0, case);
            }
            "spin" if name.contains("hinge") => check_pairs(name, Hinge { beta }, 0.0, case),
            "spin" => check_pairs(name, dpo, 0.0, case),
            _ => panic!("no loss for {name}"),
        }
    }
    // SimPO's code also offers a hinge in place of its logistic loss; this crate does not.
    assert_eq!(skipped, ["simpo_hinge"]);
}

#[test]
fn labels() {
    for case in golden("preference.json")["kto"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let mut examples = Vec::new();
        for (side, desirable) in [("desirable", true), ("undesirable", false)] {
            let references = rows(&case[format!("ref_{side}")]);
            for (row, reference) in rows(&case[side]).iter().zip(&references) {
                let reference = sum(reference);
                examples.push(KtoExample { sequence: sequence(row.len()), desirable, reference });
            }
        }
        let baseline = case["kl_estimate"].as_f64().unwrap();
        let kto = Kto {
            beta: setting(case, "beta"),
            desirable_weight: setting(case, "desirable_weight"),
            undesirable_weight: setting(case, "undesirable_weight"),
        };
        let batches = kto_batch(&examples, baseline, examples.len(), &Device::flex()).unwrap();
        check(name, &kto, &batches[0].1, case, ["desirable", "undesirable"]);
        // z₀ from the mismatched rows themselves.
        let ratios = rows(&case["kl"]).into_iter().zip(rows(&case["ref_kl"]));
        let ratios: Vec<f64> =
            ratios.map(|(p, q)| f64::from(sum(&p)) - f64::from(sum(&q))).collect();
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!((mean.max(0.0) - baseline).abs() < 1e-5, "{name}");
    }
}

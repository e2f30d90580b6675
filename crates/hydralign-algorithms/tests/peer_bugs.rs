//! Mistakes of other trainers that the objectives and the learner could repeat.

mod common;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use common::{assert_close, host, trained};
use hydralign_algorithms::{
    HydraSft, HydraSftConfig, Learner, Nll, OptimizerConfig, nll_batch, preference_batch,
};
use hydralign_core::{
    CoreError, Differentiable, Objective, Outputs, Reading, Request, Roles, Sequence, TokenBatch,
};

/// log π of a token is a parameter of the token, the score of a response one of its last token.
#[derive(Module, Debug)]
struct PerToken {
    logprobs: Param<Tensor<1>>,
    scores: Param<Tensor<1>>,
}

const LOGPROBS: [f32; 5] = [-0.1, -0.9, -2.5, -4.0, -1.2];
const SCORES: [f32; 5] = [0.3, -1.1, 0.8, 0.2, -0.6];

impl Roles for PerToken {
    fn read(&self, requests: &[Request], batch: &TokenBatch) -> Result<Outputs, CoreError> {
        let of = |table: &Param<Tensor<1>>, tokens: Vec<u32>| {
            let ids: Vec<i64> = tokens.into_iter().map(i64::from).collect();
            table.val().select(0, Tensor::<1, Int>::from_data(ids.as_slice(), &Device::flex()))
        };
        let last = || batch.sequences().iter().map(|s| *s.response.last().unwrap()).collect();
        let mut outputs = Outputs::new();
        for request in requests {
            let value = match request.reading {
                Reading::Logprobs(_) => of(&self.logprobs, batch.targets()),
                Reading::Score(_) => of(&self.scores, last()),
                other => return Err(CoreError::MissingReading { reading: other }),
            };
            outputs.insert(request.reading, value);
        }
        Ok(outputs)
    }
}

impl Differentiable for PerToken {}

/// Responses of one to seven tokens.
fn ragged() -> Vec<Sequence> {
    let responses: [&[u32]; 5] = [&[0], &[3, 2, 3, 4], &[1, 1], &[3, 3, 0, 1, 3, 2, 3], &[2, 3, 2]];
    responses.iter().map(|r| Sequence::new(vec![0], r.to_vec())).collect()
}

/// Loss and gradient norm of one minibatch, and the parameters after a step on it.
fn step<O: Objective>(objective: &O, batches: &[(TokenBatch, O::Batch)]) -> (f64, f64, Vec<f64>) {
    let config = OptimizerConfig { max_grad_norm: None, ..OptimizerConfig::default() };
    let model = PerToken { logprobs: trained(&LOGPROBS), scores: trained(&SCORES) };
    let mut learner = Learner::new(model, &config);
    let report = learner.step(objective, batches, 0.1).unwrap();
    let model = learner.into_model();
    let parameters = [host(model.logprobs.val()), host(model.scores.val())].concat();
    (report.loss, report.grad_norm, parameters)
}

fn assert_same(what: &str, got: &(f64, f64, Vec<f64>), expected: &(f64, f64, Vec<f64>)) {
    assert_close(what, &[got.0, got.1], &[expected.0, expected.1], 1e-6);
    assert_close(what, &got.2, &expected.2, 1e-6);
}

/// transformers #34191, TRL #2175 and #2604: under gradient accumulation each micro-batch was
/// averaged over its own tokens, so short rows weighed more than long ones; ms-swift #10084: a
/// last window with fewer micro-batches was divided by the full count. Both are the same here
/// as the mean over all tokens of the minibatch, whatever the split and with a rest.
#[test]
fn gradient_accumulation_is_the_mean_over_the_whole_minibatch() {
    let rows = ragged();
    let whole = step(&Nll, &nll_batch(&rows, rows.len(), &Device::flex()).unwrap());
    let all = rows.iter().flat_map(|r| &r.response).map(|&t| -f64::from(LOGPROBS[t as usize]));
    let mean = all.clone().sum::<f64>() / all.count() as f64;
    assert_close("the mean over the tokens", &[whole.0], &[mean], 1e-6);
    for micro_batch in [1, 2, 3, 4] {
        let batches = nll_batch(&rows, micro_batch, &Device::flex()).unwrap();
        assert_eq!(batches.len(), 5usize.div_ceil(micro_batch));
        assert_same(&format!("micro-batches of {micro_batch}"), &step(&Nll, &batches), &whole);
    }
    // What the mean of the rows' means would be: far enough to be seen.
    let of_row = |r: &Sequence| {
        let sum: f64 = r.response.iter().map(|&t| -f64::from(LOGPROBS[t as usize])).sum();
        sum / r.response.len() as f64
    };
    let mean_of_means = rows.iter().map(of_row).sum::<f64>() / 5.0;
    assert!((mean_of_means - mean).abs() > 0.1, "{mean_of_means} and {mean}");
}

/// The same for the joint loss, where tokens and pairs have different divisors.
#[test]
fn the_joint_loss_does_not_depend_on_the_split_either() {
    let rejected = ragged().into_iter().rev();
    let pairs: Vec<(Sequence, Sequence)> = ragged().into_iter().zip(rejected).collect();
    let objective = HydraSft { config: HydraSftConfig { ranking_weight: 0.7, centring: 0.1 } };
    let whole = step(&objective, &preference_batch(&pairs, 5, &Device::flex()).unwrap());
    for micro_batch in [1, 2, 3, 4] {
        let batches = preference_batch(&pairs, micro_batch, &Device::flex()).unwrap();
        assert_same(
            &format!("micro-batches of {micro_batch}"),
            &step(&objective, &batches),
            &whole,
        );
    }
}

/// Only the chosen response is imitated: a cross-entropy over both would teach the rejected one.
/// Both enter the ranking.
#[test]
fn the_rejected_response_is_ranked_and_not_imitated() {
    let row = |response: &[u32]| Sequence::new(vec![0], response.to_vec());
    let pairs = [(row(&[1, 1]), row(&[2, 3]))];
    let batches = preference_batch(&pairs, 1, &Device::flex()).unwrap();
    let (_, _, parameters) = step(&HydraSft::default(), &batches);
    let moved = |before: &[f32], after: &[f64]| -> Vec<bool> {
        before.iter().zip(after).map(|(&b, &a)| f64::from(b) != a).collect()
    };
    let (logprobs, scores) = parameters.split_at(LOGPROBS.len());
    assert_eq!(moved(&LOGPROBS, logprobs), [false, true, false, false, false]);
    assert_eq!(moved(&SCORES, scores), [false, true, false, true, false]);
}

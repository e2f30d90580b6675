use crate::learner::add_numbers;
use crate::{AlgorithmError, Readout, StepReport};
use hydralign_core::{
    CoreError, Episode, Objective, Reading, Request, Role, Roles, Sequence, TokenBatch,
};

const ACTOR: Reading = Reading::Logprobs(Role::Actor);
const REFERENCE: Reading = Reading::Logprobs(Role::Reference);
const SCORE: Reading = Reading::Score(Role::Reward);

/// exp of the mean negative log-likelihood per response token.
///
/// # Errors
/// [`AlgorithmError::Empty`] without sequences; what reading reports.
pub fn perplexity<M: Roles + ?Sized>(
    model: &M,
    sequences: &[Sequence],
    rows: usize,
) -> Result<f64, AlgorithmError> {
    let tokens: usize = sequences.iter().map(|s| s.response_tokens()).sum();
    if tokens == 0 {
        return Err(AlgorithmError::Empty { what: "tokens" });
    }
    let sums = Readout::of(model, sequences, &[ACTOR], 1.0, rows)?.sums(ACTOR)?;
    Ok((-sums.iter().sum::<f64>() / tokens as f64).exp())
}

/// An objective's statistics over micro-batches, its loss last, without a gradient: what
/// [`Learner::step`](crate::Learner::step) would report of them, up to rounding.
///
/// # Errors
/// [`AlgorithmError::Empty`] without micro-batches; what reading or the loss report.
pub fn objective_values<M: Roles + ?Sized, O: Objective>(
    model: &M,
    objective: &O,
    micro_batches: &[(TokenBatch, O::Batch)],
) -> Result<Vec<(&'static str, f64)>, AlgorithmError> {
    if micro_batches.is_empty() {
        return Err(AlgorithmError::Empty { what: "micro-batches" });
    }
    let requests: Vec<Request> =
        objective.reads().into_iter().map(|request| Request::constant(request.reading)).collect();
    let mut report = StepReport::default();
    for (tokens, batch) in micro_batches {
        let loss = objective.loss(&model.read(&requests, tokens)?, batch)?;
        add_numbers(&mut report, &loss.value, &loss.stats);
    }
    report.stats.push(("loss", report.loss));
    Ok(report.stats)
}

/// The reward model's score of each sequence.
///
/// # Errors
/// What reading reports.
pub fn scores<M: Roles + ?Sized>(
    model: &M,
    sequences: &[Sequence],
    rows: usize,
) -> Result<Vec<f32>, CoreError> {
    Ok(Readout::of(model, sequences, &[SCORE], 1.0, rows)?.take(SCORE)?.concat())
}

/// How a reward ranks pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranking {
    /// Share of the pairs whose chosen response scores higher; ties count half.
    pub accuracy: f64,
    /// Mean lead of the chosen response.
    pub margin: f64,
    /// Number of pairs.
    pub pairs: usize,
}

impl Ranking {
    /// The ranking of scores: chosen and rejected of each pair.
    ///
    /// # Errors
    /// [`AlgorithmError::Empty`] without pairs.
    pub fn of(scores: &[(f64, f64)]) -> Result<Self, AlgorithmError> {
        if scores.is_empty() {
            return Err(AlgorithmError::Empty { what: "pairs" });
        }
        let n = scores.len() as f64;
        let right = |(a, b): &(f64, f64)| {
            if a > b {
                1.0
            } else if a == b {
                0.5
            } else {
                0.0
            }
        };
        Ok(Self {
            accuracy: scores.iter().map(right).sum::<f64>() / n,
            margin: scores.iter().map(|(a, b)| a - b).sum::<f64>() / n,
            pairs: scores.len(),
        })
    }
}

/// How the reward model ranks `(chosen, rejected)` pairs: the accuracy of RewardBench (Lambert et
/// al. 2024).
///
/// # Errors
/// As [`Ranking::of`], and what reading reports.
pub fn reward_accuracy<M: Roles + ?Sized>(
    model: &M,
    pairs: &[(Sequence, Sequence)],
    rows: usize,
) -> Result<Ranking, AlgorithmError> {
    let all: Vec<Sequence> = pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    let scores = scores(model, &all, rows)?;
    let both: Vec<(f64, f64)> = scores.chunks(2).map(|s| (s[0].into(), s[1].into())).collect();
    Ranking::of(&both)
}

/// How the policy's own implied reward log π − log π_ref ranks pairs.
///
/// # Errors
/// As [`reward_accuracy`].
pub fn implied_accuracy<M: Roles + ?Sized>(
    model: &M,
    pairs: &[(Sequence, Sequence)],
    rows: usize,
) -> Result<Ranking, AlgorithmError> {
    let all: Vec<Sequence> = pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    let read = Readout::of(model, &all, &[ACTOR, REFERENCE], 1.0, rows)?;
    let ratio = read.sums(ACTOR)?.into_iter().zip(read.sums(REFERENCE)?).map(|(p, q)| p - q);
    let ratio: Vec<f64> = ratio.collect();
    Ranking::of(&ratio.chunks(2).map(|r| (r[0], r[1])).collect::<Vec<_>>())
}

/// An unbiased estimate of KL(π‖π_ref) in nats per response, from samples of π at temperature 1: the
/// mean of Σ_t (log π − log π_ref).
///
/// `reading` is how `model` is asked for log π_ref: as the reference of a bank, or as the actor of one
/// that holds nothing else.
///
/// # Errors
/// [`AlgorithmError::Empty`] without episodes; what reading reports.
pub fn sampled_kl<M: Roles + ?Sized>(
    model: &M,
    reading: Reading,
    episodes: &[Episode],
    rows: usize,
) -> Result<f64, AlgorithmError> {
    if episodes.is_empty() {
        return Err(AlgorithmError::Empty { what: "episodes" });
    }
    let sequences: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
    let reference = Readout::of(model, &sequences, &[reading], 1.0, rows)?.sums(reading)?;
    let own = episodes.iter().map(|e| e.policy_logprobs.iter().map(|&p| f64::from(p)).sum::<f64>());
    let total: f64 = own.zip(reference).map(|(p, q)| p - q).sum();
    Ok(total / episodes.len() as f64)
}

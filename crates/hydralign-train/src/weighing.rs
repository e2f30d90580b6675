use crate::work::{learnt, read};
use crate::{Load, Policy, TrainError, Values};
use burn::tensor::Device;
use hydralign_advantage::Selection;
use hydralign_algorithms::{
    Linex, OptimizerConfig, Reweighted, Reweighting, SuperHf, ValueFit, WeightedSequence, kept,
    prompt_of, weigh_tokens,
};
use hydralign_core::{Observer, Phase, Sequence};

/// How the scored responses of an iteration become what the policy learns.
#[derive(Clone, Copy)]
pub enum Weighing<'a> {
    /// Every response with a weight from its scores: SPR, AWR, RWR.
    Scores(Reweighting),
    /// SPR with a learned W: the policy's first value model is fitted to the scores, in so many optimizer steps.
    LearnedValue {
        /// The weights.
        rule: Reweighting,
        /// The fit of W.
        linex: Linex,
        /// Optimizer steps of the fit.
        steps: usize,
    },
    /// SPR's Algorithm 1, with a weight for each token: the policy's first value model is fitted to the scores (Q),
    /// its second to the first (W).
    Tokens {
        /// β.
        temperature: f64,
        /// Largest weight.
        clip: Option<f64>,
        /// Optimizer steps of each fit.
        steps: usize,
    },
    /// Chosen responses alone: RAFT and best-of-N training, ReST with a given threshold.
    Choice(Selection),
    /// ReST's rising filter: responses above this quantile of the scores, to which it rises over the run.
    Rising {
        /// The quantile of the last iteration.
        quantile: f64,
    },
    /// The best responses, tied to a reference: SuperHF.
    Tied {
        /// The loss.
        objective: SuperHf,
        /// The reference; it is made when it reads and dropped when it has.
        reference: Load<'a>,
    },
}

/// Responses of an iteration, by prompt.
pub(crate) struct Scored {
    pub(crate) groups: Vec<Vec<Sequence>>,
    pub(crate) scores: Vec<Vec<f32>>,
}

/// Where in a run the weights are computed, and with what.
pub(crate) struct Turn<'a> {
    pub(crate) step: usize,
    pub(crate) steps: usize,
    pub(crate) lr: f64,
    pub(crate) micro_batch: usize,
    pub(crate) optimizer: &'a OptimizerConfig,
    pub(crate) device: Device,
}

/// What is learnt, and how the weights came out.
pub(crate) type Weighed = (Vec<WeightedSequence>, Values);

impl Weighing<'_> {
    /// Value models that the policy must have.
    pub fn values(&self) -> usize {
        match self {
            Self::LearnedValue { .. } => 1,
            Self::Tokens { .. } => 2,
            _ => 0,
        }
    }

    pub(crate) fn weigh(
        &self,
        policy: &mut Policy,
        scored: &Scored,
        turn: &Turn<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Weighed, TrainError> {
        let Scored { groups, scores } = scored;
        match *self {
            Self::Scores(rule) => Ok(weights(rule.weigh(groups, scores, None)?)),
            Self::Choice(selection) => Ok(chosen(kept(groups, scores, selection)?)),
            Self::Tied { .. } => Ok(chosen(kept(groups, scores, Selection::Best)?)),
            Self::Rising { quantile } => {
                let progress = turn.step as f64 / turn.steps as f64;
                let selection = Selection::Quantile { quantile: quantile * progress.min(1.0) };
                Ok(chosen(kept(groups, scores, selection)?))
            }
            Self::LearnedValue { rule, linex, steps } => {
                observer.phase(Phase::Update);
                let prompts: Vec<Sequence> = groups.iter().flatten().map(prompt_of).collect();
                learnt(&prompts, false, steps, observer);
                read(&prompts, false, steps, observer);
                let fit = turn.fit(steps);
                let values = policy.fit(0, turn.optimizer, |learner| {
                    fit.prompt_values(learner, &linex, groups, scores)
                })?;
                Ok(weights(rule.weigh(groups, scores, Some(&values))?))
            }
            Self::Tokens { temperature, clip, steps } => {
                observer.phase(Phase::Update);
                let rows = groups.concat();
                learnt(&rows, false, 2 * steps, observer);
                read(&rows, false, steps + 2, observer);
                let (fit, linex) = (turn.fit(steps), Linex { temperature, ..Linex::default() });
                let q = policy.fit(0, turn.optimizer, |learner| {
                    fit.action_values(learner, &rows, &scores.concat())
                })?;
                let w = policy.fit(1, turn.optimizer, |learner| {
                    fit.state_values(learner, &linex, &rows, &q)
                })?;
                Ok(chosen(weigh_tokens(&rows, &q, &w, temperature, clip)?))
            }
        }
    }
}

impl Turn<'_> {
    fn fit(&self, steps: usize) -> ValueFit {
        let (lr, micro_batch, device) = (self.lr, self.micro_batch, self.device.clone());
        ValueFit { steps, lr, micro_batch, device }
    }
}

fn weights(weighted: Reweighted) -> Weighed {
    let values = [
        ("beta", weighted.temperature),
        ("ess", weighted.ess),
        ("clipped", weighted.clipped),
        ("mean_weight", weighted.mean_weight),
    ];
    (weighted.rows, values.map(|(name, value)| (name.to_owned(), value)).into())
}

fn chosen(rows: Vec<WeightedSequence>) -> Weighed {
    let count = rows.len() as f64;
    (rows, vec![("learnt".to_owned(), count)])
}

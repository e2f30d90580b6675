use super::{Method, Round, Turn};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::algorithms::{
    Pair, PairLoss, Preference, pair_batch, reference_logprobs, sequences_of, with_reference,
};
use hydralign::core::random::permutation;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::Schedule;

/// DPO and its relatives on the data set's pairs. Where the loss has a reference, its
/// log-probabilities are read first; then one model is held.
pub struct PairMethod {
    learner: Option<Learner<ModelBank>>,
    objective: Preference<Box<dyn PairLoss>>,
    pairs: Vec<Pair>,
    minibatch: usize,
    steps: usize,
    lr: Schedule,
    rounds: usize,
}

impl PairMethod {
    /// A run from the lab's fine-tuned model, `steps` optimizer steps of `minibatch` pairs a round, for
    /// as many rounds as `flops` operations pay for.
    ///
    /// # Errors
    /// Numbers that overflow.
    pub fn new(
        lab: &Lab,
        loss: Box<dyn PairLoss>,
        nll_weight: f64,
        (minibatch, steps): (usize, usize),
        lr: Schedule,
        flops: f64,
    ) -> Result<Self> {
        let pair = |(chosen, rejected): &(Sequence, Sequence)| Pair {
            chosen: chosen.clone(),
            rejected: rejected.clone(),
            reference: None,
        };
        let pairs = lab.data.preferences.iter().map(pair).collect();
        let objective = Preference { loss, nll_weight, live: false };
        let mut method = Self { learner: None, objective, pairs, minibatch, steps, lr, rounds: 0 };
        let mut spent = 0.0;
        while spent < flops {
            let rows = sequences_of(&method.picked(lab, method.rounds));
            spent += method.flops(lab, &rows)?;
            method.rounds += 1;
        }
        Ok(method)
    }

    fn picked(&self, lab: &Lab, round: usize) -> Vec<Pair> {
        self.indices(lab, round).iter().map(|&i| self.pairs[i].clone()).collect()
    }

    fn flops(&self, lab: &Lab, rows: &[Sequence]) -> Result<f64> {
        let reference = match self.objective.loss.needs_reference() {
            true => lab.reading_flops(rows, true)?,
            false => 0.0,
        };
        Ok(lab.learning_flops(rows, true)? + reference)
    }

    /// The pairs of a round: the data are gone through in a new order each time round.
    fn indices(&self, lab: &Lab, round: usize) -> Vec<usize> {
        let n = self.pairs.len();
        let (count, seed) = (self.minibatch * self.steps, lab.seed("pairs"));
        let first = round * count;
        let orders = first / n..=(first + count) / n;
        let order = orders.flat_map(|k| permutation(n, seed, k as u64));
        order.skip(first % n).take(count).collect()
    }

    /// Log-probabilities of the reference for those of these pairs that have none yet.
    fn refer(&mut self, lab: &Lab, indices: &[usize], observer: &mut dyn Observer) -> Result<()> {
        let missing: Vec<usize> =
            indices.iter().copied().filter(|&i| self.pairs[i].reference.is_none()).collect();
        if !self.objective.loss.needs_reference() || missing.is_empty() {
            return Ok(());
        }
        observer.phase(Phase::Score);
        let picked: Vec<Pair> = missing.iter().map(|&i| self.pairs[i].clone()).collect();
        let rows = sequences_of(&picked);
        let reference = ModelBank::frozen(lab.sft()?);
        let batch = lab.recipe.ppo.ppo.score_batch;
        let reading = Reading::Logprobs(Role::Actor);
        let values = reference_logprobs(&reference, reading, &rows, batch)?;
        for (i, pair) in missing.into_iter().zip(with_reference(picked, &values)?) {
            self.pairs[i] = pair;
        }
        Ok(())
    }
}

impl Method for PairMethod {
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        let Turn { round, .. } = turn;
        if round == 0 {
            // All references that the run will need, while no other model is held.
            let all: Vec<usize> = (0..self.rounds).flat_map(|r| self.indices(lab, r)).collect();
            self.refer(lab, &all, observer)?;
        }
        let picked = self.picked(lab, round);
        let flops = self.flops(lab, &sequences_of(&picked))?;
        observer.phase(Phase::Update);
        if self.learner.is_none() {
            self.learner = Some(policy_learner(lab)?);
        }
        let learner = self.learner.as_mut().expect("just made");
        let lr = Turn { round, rounds: self.rounds }.lr(&self.lr);
        let mut stats = Vec::new();
        for part in picked.chunks(self.minibatch) {
            let micro = lab.recipe.ppo.ppo.micro_batch / 2;
            let report =
                learner.step(&self.objective, &pair_batch(part, micro, &lab.device)?, lr)?;
            stats = report.stats.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        }
        Ok(Round { sampled_tokens: 0, flops, stats })
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        match &self.learner {
            Some(learner) => lab.respond(learner.model(), prompts, &SamplerConfig::default()),
            None => lab.respond(&ModelBank::frozen(lab.sft()?), prompts, &SamplerConfig::default()),
        }
    }
}

/// The fine-tuned model, all weights trained, and nothing beside it.
pub(super) fn policy_learner(lab: &Lab) -> Result<Learner<ModelBank>> {
    let sft = lab.sft()?;
    let placement = Placement::policy("policy", false, false);
    let bank = ModelBank::new(&placement, &Start::joint(&sft), &lab.recipe.lora, 0)?;
    Ok(Learner::new(bank, &lab.recipe.optimizer))
}

use super::preference::policy_learner;
use super::{Method, Round, Turn};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::algorithms::nll_batch;
use hydralign::core::random::permutation;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::Schedule;

/// More supervised fine-tuning on the demonstrations: the control that no feedback enters.
pub struct SftMethod {
    learner: Learner<ModelBank>,
    minibatch: usize,
    steps: usize,
    lr: Schedule,
}

impl SftMethod {
    /// A run from the lab's fine-tuned model, `steps` optimizer steps of `minibatch` rows a round.
    ///
    /// # Errors
    /// A model that cannot be loaded.
    pub fn new(lab: &Lab, (minibatch, steps): (usize, usize), lr: Schedule) -> Result<Self> {
        Ok(Self { learner: policy_learner(lab)?, minibatch, steps, lr })
    }
}

impl Method for SftMethod {
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        observer.phase(Phase::Update);
        let all = &lab.data.demonstrations;
        let (count, seed) = (self.minibatch * self.steps, lab.seed("demonstrations"));
        let first = turn.round * count;
        let orders = first / all.len()..=(first + count) / all.len();
        let order = orders.flat_map(|k| permutation(all.len(), seed, k as u64));
        let rows: Vec<Sequence> =
            order.skip(first % all.len()).take(count).map(|i| all[i].clone()).collect();
        let lr = turn.lr(&self.lr);
        let mut stats = Vec::new();
        for part in rows.chunks(self.minibatch) {
            let batches = nll_batch(part, lab.recipe.ppo.ppo.micro_batch, &lab.device)?;
            let report = self.learner.step(&Nll, &batches, lr)?;
            stats = report.stats.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        }
        Ok(Round { sampled_tokens: 0, flops: lab.learning_flops(&rows, true)?, stats })
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        lab.respond(self.learner.model(), prompts, &SamplerConfig::default())
    }
}

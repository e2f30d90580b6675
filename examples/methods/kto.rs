use super::{Method, Round, Turn};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::algorithms::{Kto, KtoExample, kto_baseline, kto_batch, reference_logprobs};
use hydralign::core::random::permutation;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::Schedule;

/// KTO on the data set's pairs as single responses: chosen ones are desirable, rejected ones are not.
///
/// z₀ is read from policy and reference over mismatched responses, so both are held.
pub struct KtoMethod {
    learner: Learner<ModelBank>,
    kto: Kto,
    examples: Vec<KtoExample>,
    minibatch: usize,
    steps: usize,
    lr: Schedule,
}

impl KtoMethod {
    /// A run from the lab's fine-tuned model, `steps` optimizer steps of `minibatch` responses a round.
    ///
    /// # Errors
    /// Models that cannot be loaded.
    pub fn new(
        lab: &Lab,
        kto: Kto,
        (minibatch, steps): (usize, usize),
        lr: Schedule,
    ) -> Result<Self> {
        let sft = lab.sft()?;
        let placement = Placement::policy("kto", true, false);
        let bank = ModelBank::new(&placement, &Start::joint(&sft), &lab.recipe.lora, 0)?;
        let learner = Learner::new(bank, &lab.recipe.optimizer);
        let both = |(chosen, rejected): &(Sequence, Sequence)| {
            [(chosen.clone(), true), (rejected.clone(), false)]
        };
        let example = |(sequence, desirable)| KtoExample { sequence, desirable, reference: 0.0 };
        let examples = lab.data.preferences.iter().flat_map(both).map(example).collect();
        Ok(Self { learner, kto, examples, minibatch, steps, lr })
    }
}

impl Method for KtoMethod {
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        let Turn { round, .. } = turn;
        let n = self.examples.len();
        let (count, seed) = (self.minibatch * self.steps, lab.seed("labels"));
        let first = round * count;
        let orders = first / n..=(first + count) / n;
        let picked =
            orders.flat_map(|k| permutation(n, seed, k as u64)).skip(first % n).take(count);
        let mut picked: Vec<KtoExample> = picked.map(|i| self.examples[i].clone()).collect();
        let rows: Vec<Sequence> = picked.iter().map(|e| e.sequence.clone()).collect();
        observer.phase(Phase::Score);
        let batch = lab.recipe.ppo.ppo.score_batch;
        let context = self.learner.model().context();
        let reading = Reading::Logprobs(Role::Reference);
        let references = reference_logprobs(self.learner.model(), reading, &rows, batch)?;
        picked.iter_mut().zip(references).for_each(|(e, r)| e.reference = r);
        // Learning, the reference, and policy and reference on mismatched responses.
        let flops = lab.learning_flops(&rows, true)? + 3.0 * lab.reading_flops(&rows, true)?;
        let lr = turn.lr(&self.lr);
        let mut stats = Vec::new();
        for part in picked.chunks(self.minibatch) {
            observer.phase(Phase::Score);
            let baseline = kto_baseline(self.learner.model(), part, context, batch)?;
            observer.phase(Phase::Update);
            let micro = lab.recipe.ppo.ppo.micro_batch;
            let batches = kto_batch(part, baseline, micro, &lab.device)?;
            let report = self.learner.step(&self.kto, &batches, lr)?;
            stats = report.stats.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
            stats.push(("baseline".to_owned(), baseline));
        }
        Ok(Round { sampled_tokens: 0, flops, stats })
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        lab.respond(self.learner.model(), prompts, &SamplerConfig::default())
    }
}

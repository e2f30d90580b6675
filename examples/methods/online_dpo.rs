use super::{Method, Round, Turn, grouped, mean, sequences, tokens};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::algorithms::{
    Dpo, Preference, pair_batch, ranked_pairs, reference_logprobs, sequences_of, with_reference,
};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::Schedule;

/// Online DPO: pairs are the best and the worst of the policy's own samples by the reward model, the
/// reference is the fine-tuned model.
pub struct OnlineDpo {
    learner: Learner<ModelBank>,
    objective: Preference<Dpo>,
    prompts: usize,
    samples: usize,
    epochs: usize,
    lr: Schedule,
}

impl OnlineDpo {
    /// A run from the lab's fine-tuned model, with `prompts` × `samples` episodes a round.
    ///
    /// # Errors
    /// Models that cannot be loaded.
    pub fn new(
        lab: &Lab,
        dpo: Dpo,
        (prompts, samples): (usize, usize),
        epochs: usize,
        lr: Schedule,
    ) -> Result<Self> {
        let (sft, reward) = (lab.sft()?, lab.reward_model()?);
        let start = Start { policy: &sft, reward: &reward };
        let placement = Placement::policy("online_dpo", true, true);
        let bank = ModelBank::new(&placement, &start, &lab.recipe.lora, 0)?;
        let learner = Learner::new(bank, &lab.recipe.optimizer);
        let objective = Preference::new(dpo);
        Ok(Self { learner, objective, prompts, samples, epochs, lr })
    }
}

impl Method for OnlineDpo {
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        let Turn { round, .. } = turn;
        observer.phase(Phase::Generate);
        let prompts = lab.prompts(round, self.prompts, self.samples);
        let model = self.learner.model();
        let episodes = lab.respond(model, &prompts, &SamplerConfig::default())?;
        let rows = sequences(&episodes);
        observer.phase(Phase::Score);
        let batch = lab.recipe.ppo.ppo.score_batch;
        let scores = hydralign::algorithms::reward_scores(model, &rows, batch)?;
        let (groups, by_group) = (grouped(&rows, self.samples), grouped(&scores, self.samples));
        let pairs = ranked_pairs(&groups, &by_group)?;
        let pair_rows = sequences_of(&pairs);
        let reading = Reading::Logprobs(Role::Reference);
        let pairs = with_reference(pairs, &reference_logprobs(model, reading, &pair_rows, batch)?)?;
        let flops = lab.sampling_flops(&episodes)?
            + lab.reading_flops(&rows, false)?
            + lab.reading_flops(&pair_rows, true)?
            + lab.learning_flops(&pair_rows, true)? * self.epochs as f64;
        let mut stats =
            vec![("score".to_owned(), mean(&scores)), ("pairs".to_owned(), pairs.len() as f64)];
        observer.phase(Phase::Update);
        let lr = turn.lr(&self.lr);
        if !pairs.is_empty() {
            for _ in 0..self.epochs {
                let micro = lab.recipe.ppo.ppo.micro_batch / 2;
                let batches = pair_batch(&pairs, micro, &lab.device)?;
                let report = self.learner.step(&self.objective, &batches, lr)?;
                stats.extend(report.stats.iter().map(|(n, v)| ((*n).to_owned(), *v)));
            }
        }
        Ok(Round { sampled_tokens: tokens(&episodes), flops, stats })
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        lab.respond(self.learner.model(), prompts, &SamplerConfig::default())
    }
}

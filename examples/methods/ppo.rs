use super::{Method, Round, Turn, sequences, tokens};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::Schedule;

/// PPO with four full models.
pub struct PpoMethod {
    learner: Learner<ModelBank>,
    ppo: Ppo,
    episodes: usize,
    lr: Schedule,
}

impl PpoMethod {
    /// A run from the lab's fine-tuned model, the critic from its reward model.
    ///
    /// # Errors
    /// Settings out of range; models that cannot be loaded.
    pub fn new(lab: &Lab, config: PpoConfig, episodes: usize, lr: Schedule) -> Result<Self> {
        let (sft, reward) = (lab.sft()?, lab.reward_model()?);
        let start = Start { policy: &sft, reward: &reward };
        let bank = ModelBank::new(&Placement::ppo(), &start, &lab.recipe.lora, 0)?;
        let learner = Learner::new(bank, &lab.recipe.optimizer);
        Ok(Self { learner, ppo: Ppo::new(config)?, episodes, lr })
    }
}

impl Method for PpoMethod {
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        let Turn { round, .. } = turn;
        observer.phase(Phase::Generate);
        let sampler = SamplerConfig::default();
        let prompts = lab.prompts(round, self.episodes, 1);
        let episodes = lab.respond(self.learner.model(), &prompts, &sampler)?;
        let rows = sequences(&episodes);
        let sampled_tokens = tokens(&episodes);
        let (with, without) = (lab.reading_flops(&rows, true)?, lab.reading_flops(&rows, false)?);
        // Reference with logits, reward and critic without; actor and critic learn.
        let learning = lab.learning_flops(&rows, true)? + lab.learning_flops(&rows, false)?;
        let flops = lab.sampling_flops(&episodes)?
            + with
            + 2.0 * without
            + learning * self.ppo.config().epochs as f64;
        let experience =
            self.ppo.experience(self.learner.model(), episodes, &sampler, None, observer)?;
        let lr = turn.lr(&self.lr);
        let seed = lab.seed(&format!("update {round}"));
        let report =
            self.ppo.update(&mut self.learner, &experience, lr, seed, &lab.device, observer)?;
        let mut stats = vec![
            ("score".to_owned(), experience.mean(|s| s.score.into())),
            ("kl".to_owned(), experience.mean_kl),
        ];
        stats.extend(report.stats);
        Ok(Round { sampled_tokens, flops, stats })
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        lab.respond(self.learner.model(), prompts, &SamplerConfig::default())
    }
}

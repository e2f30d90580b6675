use super::{Method, Round, Turn, grouped, sequences, tokens};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::algorithms::{CreditRule, CriticFree, CriticFreeConfig, ReturnBaseline};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::Schedule;

/// GRPO and its relatives, RLOO, REINFORCE++, ReMax.
pub struct GroupMethod {
    learner: Learner<ModelBank>,
    method: CriticFree,
    prompts: usize,
    samples: usize,
    lr: Schedule,
}

impl GroupMethod {
    /// A run from the lab's fine-tuned model, with `prompts` × `samples` episodes a round.
    ///
    /// # Errors
    /// Settings out of range; models that cannot be loaded.
    pub fn new(
        lab: &Lab,
        config: CriticFreeConfig,
        (prompts, samples): (usize, usize),
        lr: Schedule,
    ) -> Result<Self> {
        let placement = Placement::policy("critic_free", config.needs_reference(), true);
        let (sft, reward) = (lab.sft()?, lab.reward_model()?);
        let start = Start { policy: &sft, reward: &reward };
        let bank = ModelBank::new(&placement, &start, &lab.recipe.lora, 0)?;
        let learner = Learner::new(bank, &lab.recipe.optimizer);
        Ok(Self { learner, method: CriticFree::new(config)?, prompts, samples, lr })
    }

    fn needs_greedy(&self) -> bool {
        let credit = self.method.config().credit;
        matches!(credit, CreditRule::ReturnToGo { baseline: ReturnBaseline::Greedy, .. })
    }
}

impl Method for GroupMethod {
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        let Turn { round, .. } = turn;
        observer.phase(Phase::Generate);
        let sampler = SamplerConfig::default();
        let prompts = lab.prompts(round, self.prompts, self.samples);
        let episodes = lab.respond(self.learner.model(), &prompts, &sampler)?;
        let greedy = match self.needs_greedy() {
            true => {
                let first: Vec<Prompt> = prompts.iter().step_by(self.samples).cloned().collect();
                Some(lab.respond(self.learner.model(), &first, &SamplerConfig::greedy())?)
            }
            false => None,
        };
        let extra = greedy.as_deref().unwrap_or_default();
        let (rows, more) = (sequences(&episodes), sequences(extra));
        let config = self.method.config();
        let mut flops = lab.sampling_flops(&episodes)? + lab.sampling_flops(extra)?;
        flops += lab.reading_flops(&rows, false)? + lab.reading_flops(&more, false)?;
        if config.needs_reference() {
            flops += lab.reading_flops(&rows, true)?;
        }
        flops += lab.learning_flops(&rows, true)? * config.epochs as f64;
        let sampled_tokens = tokens(&episodes) + tokens(extra);
        let groups = grouped(&episodes, self.samples);
        let experience = self.method.experience(
            self.learner.model(),
            groups,
            greedy.as_deref(),
            &sampler,
            None,
            observer,
        )?;
        let lr = turn.lr(&self.lr);
        let seed = lab.seed(&format!("update {round}"));
        let report =
            self.method.update(&mut self.learner, &experience, lr, seed, &lab.device, observer)?;
        let mut stats = vec![
            ("score".to_owned(), experience.mean(|s| s.score.into())),
            ("equal_groups".to_owned(), experience.equal_groups),
        ];
        stats.extend(experience.mean_kl.map(|kl| ("kl".to_owned(), kl)));
        stats.extend(report.stats);
        Ok(Round { sampled_tokens, flops, stats })
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        lab.respond(self.learner.model(), prompts, &SamplerConfig::default())
    }
}

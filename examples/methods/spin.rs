use super::{Method, Round, Turn, tokens};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::algorithms::{
    Dpo, Preference, pair_batch, reference_logprobs, sequences_of, spin_pairs, with_reference,
};
use hydralign::core::random::permutation;
use hydralign::models::{ModelBank, SaveOptions, load_checkpoint, save_checkpoint};
use hydralign::prelude::*;
use hydralign::rollout::sample_prompts;
use hydralign::runs::Schedule;
use std::path::PathBuf;

/// SPIN: demonstrations against the policy's own answers to the same prompts. The opponent and
/// reference of a round is the policy of the round before; one model is held at a time.
pub struct SpinMethod {
    policy: PathBuf,
    objective: Preference<Dpo>,
    prompts: usize,
    epochs: usize,
    lr: Schedule,
}

impl SpinMethod {
    /// A run from the lab's fine-tuned model, `prompts` demonstrations a round.
    ///
    /// # Errors
    /// A model that cannot be loaded or saved.
    pub fn new(lab: &Lab, dpo: Dpo, prompts: usize, epochs: usize, lr: Schedule) -> Result<Self> {
        let policy = lab.scratch(&format!("spin-{}", std::process::id()));
        save_checkpoint(&policy, &lab.sft()?.trunk, None, &SaveOptions::default())?;
        Ok(Self { policy, objective: Preference::new(dpo), prompts, epochs, lr })
    }
}

impl Drop for SpinMethod {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.policy); // a scratch copy
    }
}

impl Method for SpinMethod {
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        let Turn { round, .. } = turn;
        observer.phase(Phase::Generate);
        let all = &lab.data.demonstrations;
        let order =
            permutation(all.len(), lab.seed("spin"), (round * self.prompts / all.len()) as u64);
        let first = round * self.prompts % all.len();
        let real: Vec<Sequence> =
            order.iter().cycle().skip(first).take(self.prompts).map(|&i| all[i].clone()).collect();
        let questions: Vec<Vec<u32>> = real.iter().map(|s| s.prompt.clone()).collect();
        let offset = (round * self.prompts) as u64;
        let prompts = sample_prompts(&questions, 1, lab.seed("rollout"), offset);
        let opponent = ModelBank::frozen(load_checkpoint(&self.policy, &lab.device)?);
        let answers = lab.respond(&opponent, &prompts, &SamplerConfig::default())?;
        observer.phase(Phase::Score);
        let pairs = spin_pairs(&real, &answers);
        let rows = sequences_of(&pairs);
        let batch = lab.recipe.ppo.ppo.score_batch;
        let reading = Reading::Logprobs(Role::Actor);
        let pairs = with_reference(pairs, &reference_logprobs(&opponent, reading, &rows, batch)?)?;
        drop(opponent);
        let flops = lab.sampling_flops(&answers)?
            + lab.reading_flops(&rows, true)?
            + lab.learning_flops(&rows, true)? * self.epochs as f64;
        observer.phase(Phase::Update);
        let start = load_checkpoint(&self.policy, &lab.device)?;
        let placement = Placement::policy("spin", false, false);
        let bank = ModelBank::new(&placement, &Start::joint(&start), &lab.recipe.lora, 0)?;
        drop(start);
        let mut learner = Learner::new(bank, &lab.recipe.optimizer);
        let lr = turn.lr(&self.lr);
        let mut stats = vec![("pairs".to_owned(), pairs.len() as f64)];
        for _ in 0..self.epochs {
            let micro = lab.recipe.ppo.ppo.micro_batch / 2;
            let report =
                learner.step(&self.objective, &pair_batch(&pairs, micro, &lab.device)?, lr)?;
            stats.extend(report.stats.iter().map(|(n, v)| ((*n).to_owned(), *v)));
        }
        observer.phase(Phase::Report);
        let trained = learner.into_model().checkpoint(Role::Actor)?;
        save_checkpoint(&self.policy, &trained.trunk, None, &SaveOptions::default())?;
        Ok(Round { sampled_tokens: tokens(&answers), flops, stats })
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        let bank = ModelBank::frozen(load_checkpoint(&self.policy, &lab.device)?);
        lab.respond(&bank, prompts, &SamplerConfig::default())
    }
}

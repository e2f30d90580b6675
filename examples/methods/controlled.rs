use super::{Method, Round, Turn, mean, sequences, tokens};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::advantage::best_of_n_kl;
use hydralign::algorithms::{PrefixRegression, Readout, prefix_batch};
use hydralign::core::{ActionHead, CoreError};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::rollout::{Blockwise, Guided};
use hydralign::runs::Schedule;

/// How a prefix scorer steers decoding.
#[derive(Clone, Copy, Debug)]
pub enum Control {
    /// Every token, tilted by λ times its value.
    Tokens {
        /// λ.
        weight: f64,
    },
    /// Blocks: the best of some continuations by the value of the prefix that they end in.
    Blocks {
        /// Continuations of each block.
        continuations: usize,
        /// Tokens of a block.
        length: usize,
    },
}

/// Controlled decoding (CD-FUDGE): the fine-tuned model stays as it is, a prefix scorer learns from
/// its scored samples and steers it.
pub struct ControlledMethod {
    learner: Learner<ModelBank>,
    control: Control,
    episodes: usize,
    epochs: usize,
    lr: Schedule,
}

impl ControlledMethod {
    /// A scorer that starts from the lab's reward model.
    ///
    /// # Errors
    /// Models that cannot be loaded.
    pub fn new(lab: &Lab, control: Control, episodes: usize, lr: Schedule) -> Result<Self> {
        let reward = lab.reward_model()?;
        let placement = Placement::value_model();
        let bank = ModelBank::new(&placement, &Start::joint(&reward), &lab.recipe.lora, 0)?;
        let bank = match control {
            Control::Tokens { .. } => bank.with_action_heads(false, lab.seed("action heads"))?,
            Control::Blocks { .. } => bank,
        };
        let learner = Learner::new(bank, &lab.recipe.optimizer);
        Ok(Self { learner, control, episodes, epochs: 2, lr })
    }

    fn objective(&self) -> PrefixRegression {
        match self.control {
            Control::Tokens { .. } => PrefixRegression::of_actions(ActionHead::First),
            Control::Blocks { .. } => PrefixRegression::of_prefixes(),
        }
    }
}

impl Method for ControlledMethod {
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        observer.phase(Phase::Generate);
        let prompts = lab.prompts(turn.round, self.episodes, 1);
        let sft = ModelBank::frozen(lab.sft()?);
        let episodes = lab.respond(&sft, &prompts, &SamplerConfig::default())?;
        drop(sft);
        observer.phase(Phase::Score);
        let rows = sequences(&episodes);
        let scores = lab.scores(&rows)?;
        observer.phase(Phase::Update);
        let target = |(s, &r): (&Sequence, &f32)| (s.clone(), vec![r; s.response_tokens()]);
        let targets: Vec<(Sequence, Vec<f32>)> = rows.iter().zip(&scores).map(target).collect();
        let lr = turn.lr(&self.lr);
        let objective = self.objective();
        let mut stats = vec![("score".to_owned(), mean(&scores))];
        for _ in 0..self.epochs {
            let batches = prefix_batch(&targets, lab.recipe.ppo.ppo.micro_batch, &lab.device)?;
            let report = self.learner.step(&objective, &batches, lr)?;
            stats.extend(report.stats.iter().map(|(n, v)| ((*n).to_owned(), *v)));
        }
        self.learner.change_model(|bank| bank.follow_action_heads(1.0));
        let flops = lab.sampling_flops(&episodes)?
            + lab.reading_flops(&rows, false)?
            + lab.learning_flops(&rows, matches!(self.control, Control::Tokens { .. }))?
                * self.epochs as f64;
        Ok(Round { sampled_tokens: tokens(&episodes), flops, stats })
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        let sft = ModelBank::frozen(lab.sft()?);
        let sampler = SamplerConfig::default().build()?;
        let scorer = self.learner.model();
        let generation = &lab.recipe.generation;
        match self.control {
            Control::Tokens { weight } => {
                let guided = Guided::new(&sft, scorer, Role::Critic, weight);
                let engine = Engine::new(&guided, Role::Actor, &sampler, generation)?;
                Ok(engine.generate(prompts, &mut ())?)
            }
            Control::Blocks { continuations, length } => {
                // The last block of a response may be longer than what is left of the context.
                let block = GenerationConfig {
                    max_new_tokens: length,
                    max_length: Some(sft.context()),
                    ..generation.clone()
                };
                let engine = Engine::new(&sft, Role::Actor, &sampler, &block)?;
                let reading = Reading::PrefixValues(Role::Critic);
                let rows = lab.recipe.ppo.ppo.score_batch;
                let value = |rows_of: &[Sequence]| -> Result<Vec<f32>, CoreError> {
                    let read = Readout::of(scorer, rows_of, &[reading], 1.0, rows)?;
                    let last = |row: &Vec<f32>| row.last().copied().unwrap_or(f32::NAN);
                    Ok(read.get(reading)?.iter().map(last).collect())
                };
                let longest = generation.max_new_tokens;
                let blocks = Blockwise::new(&engine, value, continuations, longest)?
                    .with_max_length(block.max_length);
                Ok(blocks.generate(prompts, &mut ())?)
            }
        }
    }

    fn known_kl(&self, episodes: &[Episode]) -> Option<f64> {
        let Control::Blocks { continuations, length } = self.control else { return None };
        let blocks: usize = episodes.iter().map(|e| e.response.len().div_ceil(length)).sum();
        Some(best_of_n_kl(continuations) * blocks as f64 / episodes.len().max(1) as f64)
    }
}

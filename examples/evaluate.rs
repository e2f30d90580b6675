//! Quality on held-out prompts: gold score, win rate, reward, KL.

use crate::data::gold_scores;
use crate::recipe::Recipe;
use anyhow::Result;
use hydralign::core::random::sub_seed;
use hydralign::data::TextTokenizer;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::rollout::sample_prompts;
use hydralign::runs::{StopFlag, WinRate, paired_win_rate};
use std::ops::ControlFlow;

/// One model's responses to the held-out prompts, with their gold scores where known.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Responses, `samples` per prompt.
    pub episodes: Vec<Episode>,
    /// Gold score of each; empty where there is none.
    pub gold: Vec<f64>,
}

impl Judged {
    /// Mean gold score.
    pub fn mean_gold(&self) -> Option<f64> {
        hydralign::runs::mean(&self.gold)
    }

    /// How often these responses are better than another model's to the same prompts.
    pub fn against(&self, other: &Judged) -> Option<WinRate> {
        paired_win_rate(&self.gold, &other.gold)
    }
}

/// Samples one role's responses.
///
/// # Errors
/// What sampling reports; [`Cancelled`](hydralign::rollout::RolloutError) on an interrupt.
pub fn respond(
    bank: &ModelBank,
    prompts: &[Prompt],
    generation: &GenerationConfig,
    sampler: &SamplerConfig,
    stop: &StopFlag,
) -> Result<Vec<Episode>> {
    let sampler = sampler.build()?;
    let engine = Engine::new(bank, Role::Actor, &sampler, generation)?;
    let mut monitor = |_: &hydralign::rollout::Progress| match stop.is_stopped() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    Ok(engine.generate(prompts, &mut monitor)?)
}

/// Responses to every held-out prompt, drawn with the same random numbers for every model; none without
/// held-out prompts.
///
/// # Errors
/// As [`respond`] and [`gold_scores`].
pub fn judge(
    bank: &ModelBank,
    held_out: &[Vec<u32>],
    recipe: &Recipe,
    gold: Option<&TextTokenizer>,
    stop: &StopFlag,
) -> Result<Judged> {
    if held_out.is_empty() {
        return Ok(Judged { episodes: Vec::new(), gold: Vec::new() });
    }
    let seed = sub_seed(recipe.seed, "evaluation");
    let prompts = sample_prompts(held_out, recipe.evaluation.samples, seed, 0);
    let sampler = SamplerConfig::default();
    let episodes = respond(bank, &prompts, &recipe.generation, &sampler, stop)?;
    let gold = match gold {
        Some(tokenizer) => gold_scores(tokenizer, &episodes)?,
        None => Vec::new(),
    };
    Ok(Judged { episodes, gold })
}

/// Mean reward-head score of episodes.
///
/// # Errors
/// What reading reports.
pub fn mean_score(bank: &ModelBank, episodes: &[Episode], rows: usize) -> Result<f64> {
    let reading = Reading::Score(Role::Reward);
    let mut sum = 0.0;
    for part in episodes.chunks(rows.max(1)) {
        let batch = TokenBatch::from_episodes(part)?;
        let scores = bank.read(&[Request::constant(reading)], &batch)?.to_vec(reading)?;
        sum += scores.iter().map(|&s| f64::from(s)).sum::<f64>();
    }
    Ok(sum / episodes.len() as f64)
}

use super::rounds::{Respond, Rounds, Scorer};
use super::{Method, Round, Turn};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::advantage::best_of_n_kl;
use hydralign::algorithms::{PrefixRegression, Readout, best_of};
use hydralign::core::random::sub_seed;
use hydralign::core::{ActionHead, CoreError};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::rollout::{Blockwise, Guided, Key};
use hydralign::train::PrefixValueRecipe;

/// Best-of-N as sampling: nothing is learnt, every answer costs N samples and N scores.
pub(super) struct BestOfN<'a> {
    pub(super) lab: &'a Lab,
    pub(super) n: usize,
}

impl Method for BestOfN<'_> {
    fn round(&mut self, _: Turn, _: &mut dyn Observer) -> Result<Round> {
        Ok(Round::default())
    }

    fn respond(&self, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        // Each of the N samples has random numbers of its own.
        let again = |prompt: &Prompt, k: usize| {
            let Key { seed, episode } = prompt.key;
            let seed = sub_seed(seed, &format!("sample {k}"));
            Prompt { key: Key { seed, episode }, ..prompt.clone() }
        };
        let all: Vec<Prompt> =
            prompts.iter().flat_map(|p| (0..self.n).map(move |k| again(p, k))).collect();
        let sft = ModelBank::frozen(self.lab.sft()?);
        let episodes = self.lab.respond(&sft, &all, &SamplerConfig::default())?;
        drop(sft);
        let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
        let scores: Vec<Vec<f32>> =
            self.lab.scores(&rows)?.chunks(self.n).map(<[f32]>::to_vec).collect();
        let groups: Vec<Vec<Episode>> = episodes.chunks(self.n).map(<[_]>::to_vec).collect();
        Ok(best_of(&groups, &scores))
    }

    fn known_kl(&self, _: &[Episode]) -> Option<f64> {
        Some(best_of_n_kl(self.n))
    }
}

/// Controlled decoding: the fine-tuned model stays as it is, a prefix scorer, which starts from the reward model, learns
/// from its scored samples and steers it by the values of tokens or of prefixes.
fn controlled<'a>(
    lab: &'a Lab,
    (bank, objective): (ModelBank, PrefixRegression),
    episodes: usize,
    lr: Schedule,
) -> Rounds<'a, Learner<ModelBank>, hydralign::train::Stateless> {
    let scorer = Scorer::passing(lab);
    Rounds::of_learner(
        lab,
        bank,
        Box::new(move |run, turn, context| {
            let recipe = PrefixValueRecipe {
                objective,
                policy: &|| Ok(lab.load("sft")?),
                sampling: lab.sampling(episodes, 1),
                reward: &scorer,
                steps: turn.rounds,
                epochs: 2,
                micro_batch: lab.recipe.ppo.ppo.micro_batch,
                lr: turn.rate(&lr),
            };
            Ok((run.advance(&recipe, 1, context)?, scorer.spent()))
        }),
    )
}

fn value_model(lab: &Lab) -> Result<ModelBank> {
    let start = lab.reward_model()?;
    let placement = Placement::value_model();
    Ok(ModelBank::new(&placement, &Start::joint(&start), &lab.recipe.lora, 0)?)
}

/// Every token is tilted by `weight` times its value.
pub(super) fn by_tokens<'a>(
    lab: &'a Lab,
    weight: f64,
    episodes: usize,
    lr: Schedule,
) -> Result<Box<dyn Method + 'a>> {
    let bank = value_model(lab)?.with_action_heads(false, lab.seed("action heads"))?;
    let objective = PrefixRegression::of_actions(ActionHead::First);
    let respond: Respond<'a, Learner<ModelBank>> = Box::new(move |scorer, prompts| {
        let sft = ModelBank::frozen(lab.sft()?);
        let guided = Guided::new(&sft, scorer.model(), Role::Critic, weight);
        let sampler = SamplerConfig::default().build()?;
        let engine = Engine::new(&guided, Role::Actor, &sampler, &lab.recipe.generation)?;
        Ok(engine.generate(prompts, &mut ())?)
    });
    Ok(Box::new(Rounds { respond, ..controlled(lab, (bank, objective), episodes, lr) }))
}

/// Continuations of each block.
const CONTINUATIONS: usize = 4;
/// Tokens of a block.
const BLOCK: usize = 8;

/// Every block is the best of some continuations by the value of the prefix that they end in.
pub(super) fn by_blocks<'a>(
    lab: &'a Lab,
    episodes: usize,
    lr: Schedule,
) -> Result<Box<dyn Method + 'a>> {
    let respond: Respond<'a, Learner<ModelBank>> =
        Box::new(move |scorer, prompts| blocks(lab, scorer.model(), prompts));
    let known_kl = |episodes: &[Episode]| {
        let blocks: usize = episodes.iter().map(|e| e.response.len().div_ceil(BLOCK)).sum();
        Some(best_of_n_kl(CONTINUATIONS) * blocks as f64 / episodes.len().max(1) as f64)
    };
    let fitted = (value_model(lab)?, PrefixRegression::of_prefixes());
    Ok(Box::new(Rounds { respond, known_kl, ..controlled(lab, fitted, episodes, lr) }))
}

fn blocks(lab: &Lab, scorer: &ModelBank, prompts: &[Prompt]) -> Result<Vec<Episode>> {
    let (sft, sampler) = (ModelBank::frozen(lab.sft()?), SamplerConfig::default().build()?);
    // The last block of a response may be longer than what is left of the context.
    let block = GenerationConfig {
        max_new_tokens: BLOCK,
        max_length: Some(sft.context()),
        ..lab.recipe.generation.clone()
    };
    let engine = Engine::new(&sft, Role::Actor, &sampler, &block)?;
    let (reading, batch) = (Reading::PrefixValues(Role::Critic), lab.recipe.ppo.ppo.score_batch);
    let value = |rows: &[Sequence]| -> Result<Vec<f32>, CoreError> {
        let read = Readout::of(scorer, rows, &[reading], 1.0, batch)?;
        let last = |row: &Vec<f32>| row.last().copied().unwrap_or(f32::NAN);
        Ok(read.get(reading)?.iter().map(last).collect())
    };
    let longest = lab.recipe.generation.max_new_tokens;
    let blocks = Blockwise::new(&engine, value, CONTINUATIONS, longest)?;
    Ok(blocks.with_max_length(block.max_length).generate(prompts, &mut ())?)
}

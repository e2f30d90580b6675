use super::Method;
use super::rounds::{Rounds, Scorer};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::train::{CriticFreeRecipe, OnlineDpoRecipe, PairUpdate, PpoRecipe};

/// PPO with four full models; the critic starts from the reward model.
pub(super) fn ppo<'a>(
    lab: &'a Lab,
    ppo: PpoConfig,
    episodes: usize,
    lr: Schedule,
) -> Result<Box<dyn Method + 'a>> {
    let (sft, reward) = (lab.sft()?, lab.reward_model()?);
    let start = Start { policy: &sft, reward: &reward };
    let bank = ModelBank::new(&Placement::ppo(), &start, &lab.recipe.lora, 0)?;
    Ok(Box::new(Rounds::of_learner(
        lab,
        bank,
        Box::new(move |run, turn, context| {
            let recipe = PpoRecipe {
                ppo: ppo.clone(),
                lr: turn.rate(&lr),
                ..PpoRecipe::new(lab.sampling(episodes, 1), turn.rounds, &lab.device)
            };
            Ok((run.advance(&recipe, 1, context)?, 0.0))
        }),
    )))
}

/// GRPO and its relatives, RLOO, REINFORCE++, ReMax, with `prompts` × `samples` episodes a round.
pub(super) fn critic_free<'a>(
    lab: &'a Lab,
    method: CriticFreeConfig,
    (prompts, samples): (usize, usize),
    lr: Schedule,
) -> Result<Box<dyn Method + 'a>> {
    let placement = Placement::policy("critic_free", method.needs_reference(), false);
    let bank = ModelBank::new(&placement, &Start::joint(&lab.sft()?), &lab.recipe.lora, 0)?;
    let scorer = Scorer::held(lab)?;
    Ok(Box::new(Rounds::of_learner(
        lab,
        bank,
        Box::new(move |run, turn, context| {
            let recipe = CriticFreeRecipe {
                method: method.clone(),
                sampling: lab.sampling(prompts, samples),
                sampling_rounds: 1,
                reward: &scorer,
                steps: turn.rounds,
                lr: turn.rate(&lr),
                device: lab.device.clone(),
            };
            Ok((run.advance(&recipe, 1, context)?, scorer.spent()))
        }),
    )))
}

/// Online DPO: the reference is the fine-tuned model, pairs are learnt in two steps.
pub(super) fn online_dpo<'a>(
    lab: &'a Lab,
    dpo: Dpo,
    (prompts, samples): (usize, usize),
    lr: Schedule,
) -> Result<Box<dyn Method + 'a>> {
    let placement = Placement::policy("online_dpo", true, false);
    let bank = ModelBank::new(&placement, &Start::joint(&lab.sft()?), &lab.recipe.lora, 0)?;
    let scorer = Scorer::held(lab)?;
    Ok(Box::new(Rounds::of_learner(
        lab,
        bank,
        Box::new(move |run, turn, context| {
            let recipe = OnlineDpoRecipe {
                objective: Preference::new(dpo),
                sampling: lab.sampling(prompts, samples),
                reward: &scorer,
                steps: turn.rounds,
                update: pair_update(lab),
                lr: turn.rate(&lr),
                device: lab.device.clone(),
            };
            Ok((run.advance(&recipe, 1, context)?, scorer.spent()))
        }),
    )))
}

/// Two passes over the pairs of a round, a step each.
pub(super) fn pair_update(lab: &Lab) -> PairUpdate {
    let PpoConfig { micro_batch, score_batch, .. } = lab.recipe.ppo.ppo;
    PairUpdate { epochs: 2, minibatches: 1, micro_batch: micro_batch / 2, score_batch }
}

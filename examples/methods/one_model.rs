use super::Method;
use super::on_policy::pair_update;
use super::rounds::{Rounds, Scorer};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::prelude::*;
use hydralign::train::{Load, Offline, OneModelRecipe, Policy, SpinRecipe, Weighing};

/// What makes a weighing; the fine-tuned model is its reference, if it has one.
pub(super) type Weigh = fn(f64, Load<'_>) -> Weighing<'_>;

/// Supervised learning on the policy's own samples, two passes over them, `PAIRS` responses a step; `offline` pairs of
/// the data set are mixed into each round.
pub(super) fn reweighting<'a>(
    lab: &'a Lab,
    (weigh, beta): (Weigh, f64),
    (prompts, samples): (usize, usize),
    offline: usize,
    lr: Schedule,
) -> Result<Box<dyn Method + 'a>> {
    let policy = Policy::new(lab.sft()?)?;
    let values = weigh(beta, &|| Ok(lab.load("sft")?)).values();
    let policy = match values {
        0 => policy,
        count => policy.with_values(&lab.reward_model()?, count)?,
    };
    let scorer = Scorer::passing(lab);
    let pair = |(a, b): &(Sequence, Sequence)| vec![a.clone(), b.clone()];
    let groups: Vec<Vec<Sequence>> = lab.data.preferences.iter().map(pair).collect();
    Ok(Box::new(Rounds::of_policy(
        lab,
        policy,
        Box::new(move |run, turn, context| {
            let reference = || Ok(lab.load("sft")?);
            let recipe = OneModelRecipe {
                method: weigh(beta, &reference),
                sampling: lab.sampling(prompts, samples),
                offline: Offline { groups: &groups, per_round: offline },
                reward: &scorer,
                steps: turn.rounds,
                epochs: 2,
                minibatch: super::supervised::PAIRS,
                micro_batch: lab.recipe.ppo.ppo.micro_batch,
                optimizer: lab.recipe.optimizer,
                lr: turn.rate(&lr),
                execution: Execution::default(),
            };
            Ok((run.advance(&recipe, 1, context)?, scorer.spent()))
        }),
    )))
}

/// SPIN with `count` demonstrations a round.
pub(super) fn spin<'a>(
    lab: &'a Lab,
    dpo: Dpo,
    count: usize,
    lr: Schedule,
) -> Result<Box<dyn Method + 'a>> {
    Ok(Box::new(Rounds::of_policy(
        lab,
        Policy::new(lab.sft()?)?,
        Box::new(move |run, turn, context| {
            let recipe = SpinRecipe {
                objective: Preference::new(dpo),
                demonstrations: &lab.data.demonstrations,
                demonstrations_per_round: count,
                sampler: SamplerConfig::default(),
                generation: lab.recipe.generation.clone(),
                seed: lab.recipe.seed,
                steps: turn.rounds,
                update: pair_update(lab),
                optimizer: lab.recipe.optimizer,
                lr: turn.rate(&lr),
                execution: Execution::default(),
            };
            Ok((run.advance(&recipe, 1, context)?, 0.0))
        }),
    )))
}

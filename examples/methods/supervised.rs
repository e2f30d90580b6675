use super::rounds::{Go, Respond, Rounds};
use super::{Method, Turn};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::algorithms::{
    Cycles, Ilql, IlqlRow, Kto, KtoExample, Order as _, kto_baseline, kto_batch, nll_batch,
    pair_batch, reference_logprobs, sequences_of, with_reference,
};
use hydralign::models::ModelBank;
use hydralign::placement::View;
use hydralign::prelude::*;
use hydralign::rollout::Guided;
use hydralign::train::{IlqlRecipe, Stateless, Supervised};
use std::collections::BTreeSet;

/// Pairs of an optimizer step; single responses are twice as many.
pub(super) const PAIRS: usize = 32;
/// Optimizer steps of a round.
const STEPS: usize = 4;

/// The data are gone through in a new order each time round.
fn cycles(lab: &Lab, name: &str, items: usize, minibatch: usize) -> Cycles {
    Cycles { items, minibatch, steps: usize::MAX, seed: lab.seed(name) }
}

/// The items of a round.
fn picked<T: Clone>(order: &Cycles, round: usize, all: &[T]) -> Vec<T> {
    let steps = STEPS * round..STEPS * (round + 1);
    steps.flat_map(|step| of(all, &order.minibatch(step))).collect()
}

fn of<T: Clone>(all: &[T], items: &[usize]) -> Vec<T> {
    items.iter().map(|&i| all[i].clone()).collect()
}

/// The fine-tuned model, all weights trained, and the reference beside it if the method holds it.
fn policy(lab: &Lab, reference: bool) -> Result<ModelBank> {
    let placement = Placement::policy("policy", reference, false);
    Ok(ModelBank::new(&placement, &Start::joint(&lab.sft()?), &lab.recipe.lora, 0)?)
}

/// More supervised fine-tuning on the demonstrations: the control that no feedback enters.
pub(super) fn sft<'a>(lab: &'a Lab, lr: Schedule) -> Result<Box<dyn Method + 'a>> {
    let rows = &lab.data.demonstrations;
    let micro_batch = lab.recipe.ppo.ppo.micro_batch;
    Ok(Box::new(Rounds::of_learner(
        lab,
        policy(lab, false)?,
        Box::new(move |run, turn, context| {
            let recipe = Supervised {
                objective: Nll,
                order: cycles(lab, "demonstrations", rows.len(), 2 * PAIRS),
                lr: turn.rate(&lr),
                batch: |_: &ModelBank, items: &[usize]| {
                    Ok(nll_batch(&of(rows, items), micro_batch, &lab.device)?)
                },
            };
            Ok((run.advance(&recipe, STEPS, context)?, 0.0))
        }),
    )))
}

/// DPO and its relatives on the data set's pairs, for as many rounds as `flops` pay for. Where the loss has a
/// reference, all its log-probabilities that the run needs are read first; then one model is held.
pub(super) fn pairs<'a>(
    lab: &'a Lab,
    objective: Preference<Box<dyn PairLoss>>,
    lr: Schedule,
    flops: f64,
    observer: &mut dyn Observer,
) -> Result<Box<dyn Method + 'a>> {
    let mut pairs: Vec<Pair> = lab.data.preferences.iter().cloned().map(Pair::from).collect();
    let order = cycles(lab, "pairs", pairs.len(), PAIRS);
    let refers = objective.loss.needs_reference();
    let reading = move |rows: &[Sequence]| match refers {
        true => lab.reading_flops(rows, true),
        false => Ok(0.0),
    };
    let (mut rounds, mut spent) = (0, 0.0);
    while spent < flops {
        let rows = sequences_of(&picked(&order, rounds, &pairs));
        spent += lab.learning_flops(&rows, true)? + reading(&rows)?;
        rounds += 1;
    }
    if refers {
        observer.phase(Phase::Score);
        refer(lab, &mut pairs, &order, rounds)?;
    }
    let micro_batch = lab.recipe.ppo.ppo.micro_batch / 2;
    Ok(Box::new(Rounds::of_learner(
        lab,
        policy(lab, false)?,
        Box::new(move |run, turn, context| {
            let recipe = Supervised {
                objective: &objective,
                order,
                lr: Turn { rounds, ..turn }.rate(&lr),
                batch: |_: &ModelBank, items: &[usize]| {
                    Ok(pair_batch(&of(&pairs, items), micro_batch, &lab.device)?)
                },
            };
            let values = run.advance(&recipe, STEPS, context)?;
            Ok((values, reading(&sequences_of(&picked(&order, turn.round, &pairs)))?))
        }),
    )))
}

/// Reads log π_ref of the pairs of so many rounds.
fn refer(lab: &Lab, pairs: &mut [Pair], order: &Cycles, rounds: usize) -> Result<()> {
    let needed: BTreeSet<usize> =
        (0..rounds * STEPS).flat_map(|step| order.minibatch(step)).collect();
    let needed: Vec<usize> = needed.into_iter().collect();
    let picked = of(pairs, &needed);
    let reference = ModelBank::frozen(lab.sft()?);
    let (reading, batch) = (Reading::Logprobs(Role::Actor), lab.recipe.ppo.ppo.score_batch);
    let values = reference_logprobs(&reference, reading, &sequences_of(&picked), batch)?;
    for (i, pair) in needed.into_iter().zip(with_reference(picked, &values)?) {
        pairs[i] = pair;
    }
    Ok(())
}

/// KTO on the data set's pairs as single responses: chosen ones are desirable, rejected ones are not. z₀ is read from
/// policy and reference over mismatched responses, so both are held.
pub(super) fn kto<'a>(lab: &'a Lab, kto: Kto, lr: Schedule) -> Result<Box<dyn Method + 'a>> {
    let both = |(chosen, rejected): &(Sequence, Sequence)| {
        [(chosen.clone(), true), (rejected.clone(), false)]
    };
    let example = |(sequence, desirable)| KtoExample { sequence, desirable, reference: 0.0 };
    let all: Vec<KtoExample> = lab.data.preferences.iter().flat_map(both).map(example).collect();
    let PpoConfig { micro_batch, score_batch, .. } = lab.recipe.ppo.ppo;
    let order = cycles(lab, "labels", all.len(), 2 * PAIRS);
    let rows = |part: &[KtoExample]| -> Vec<Sequence> {
        part.iter().map(|e| e.sequence.clone()).collect()
    };
    Ok(Box::new(Rounds::of_learner(
        lab,
        policy(lab, true)?,
        Box::new(move |run, turn, context| {
            let recipe = Supervised {
                objective: kto,
                order,
                lr: turn.rate(&lr),
                batch: |bank: &ModelBank, items: &[usize]| {
                    let mut part = of(&all, items);
                    let reading = Reading::Logprobs(Role::Reference);
                    let read = reference_logprobs(bank, reading, &rows(&part), score_batch)?;
                    part.iter_mut().zip(read).for_each(|(e, r)| e.reference = r);
                    let baseline = kto_baseline(bank, &part, bank.context(), score_batch)?;
                    Ok(kto_batch(&part, baseline, micro_batch, &lab.device)?)
                },
            };
            let values = run.advance(&recipe, STEPS, context)?;
            // The reference, and policy and reference on mismatched responses.
            let rows = rows(&picked(&order, turn.round, &all));
            Ok((values, 3.0 * lab.reading_flops(&rows, true)?))
        }),
    )))
}

/// How far ILQL's target heads follow after each round.
const FOLLOW: f64 = 0.1;

/// ILQL on the data set's pairs: +1 at the end of a chosen response, −1 at the end of a rejected one. Policy, value and
/// action heads share one trained trunk; decoding is tilted by `weight` times the action values.
pub(super) fn ilql<'a>(
    lab: &'a Lab,
    objective: Ilql,
    weight: f64,
    lr: Schedule,
) -> Result<Box<dyn Method + 'a>> {
    let mut placement = Placement::policy("ilql", false, false);
    placement.views.insert(Role::Critic, View::trunk(0));
    let seed = lab.seed("ilql heads");
    let bank = ModelBank::new(&placement, &Start::joint(&lab.sft()?), &lab.recipe.lora, seed)?;
    let bank = bank.with_action_heads(objective.two_heads, seed)?;
    let row = |sequence: &Sequence, last: f32| {
        let mut rewards = vec![0.0; sequence.response_tokens()];
        *rewards.last_mut().expect("a response has a token") = last;
        IlqlRow { sequence: sequence.clone(), rewards }
    };
    let both = |(good, bad): &(Sequence, Sequence)| [row(good, 1.0), row(bad, -1.0)];
    let rows: Vec<IlqlRow> = lab.data.preferences.iter().flat_map(both).collect();
    let order = cycles(lab, "ilql rows", rows.len(), 2 * PAIRS);
    let go: Go<'a, Learner<ModelBank>, Stateless> = Box::new(move |run, turn, context| {
        let recipe = IlqlRecipe {
            objective,
            rows: &rows,
            order,
            lr: turn.rate(&lr),
            follow: FOLLOW,
            follow_every: STEPS,
            micro_batch: lab.recipe.ppo.ppo.micro_batch,
            device: &lab.device,
        };
        let values = run.advance(&recipe, STEPS, context)?;
        let rows = picked(&order, turn.round, &rows);
        let rows: Vec<Sequence> = rows.into_iter().map(|row| row.sequence).collect();
        // The action heads cost about what the LM head does, each, and their copies a third of it.
        let heads = lab.learning_flops(&rows, true)? - lab.learning_flops(&rows, false)?;
        Ok((values, heads * 2.0 * (4.0 / 3.0)))
    });
    let respond: Respond<'a, Learner<ModelBank>> = Box::new(move |learner, prompts| {
        let guided = Guided::new(learner.model(), learner.model(), Role::Critic, weight);
        let sampler = SamplerConfig::default().build()?;
        let engine = Engine::new(&guided, Role::Actor, &sampler, &lab.recipe.generation)?;
        Ok(engine.generate(prompts, &mut ())?)
    });
    Ok(Box::new(Rounds { respond, ..Rounds::of_learner(lab, bank, go) }))
}

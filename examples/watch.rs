//! Flags of programs that measure what they train, keep the best, and say what is done when something goes bad.

use crate::note;
use crate::resume::ResumeArgs;
use crate::setup::Setup;
use anyhow::{Context, Result, ensure};
use hydralign::core::random::{in_rounds, sub_seed};
use hydralign::data::hold_out;
use hydralign::prelude::*;
use hydralign::train::{
    BestBy, Better, Evaluate, Evaluation, Guards, HeldOutPrompts, Limit, OnFault, OnNumbers,
    Sampling,
};
use serde::Serialize;
use std::collections::HashSet;

/// What a run is watched by.
pub struct Watch<'a, T> {
    /// What is measured during the training.
    pub evaluation: Option<Evaluate<'a, T>>,
    /// Which checkpoint stays as the best.
    pub best: Option<BestBy>,
    /// What is done when something goes bad.
    pub guards: Guards,
}

impl<T> Default for Watch<'_, T> {
    /// Nothing is measured, and what goes bad ends the run.
    fn default() -> Self {
        Self { evaluation: None, best: None, guards: Guards::default() }
    }
}

/// Flags of evaluation, the best checkpoint, and numbers that go bad.
#[derive(clap::Args, Debug, Serialize)]
pub struct WatchArgs {
    /// Measure what is held out after every so many steps, and after the last.
    #[arg(long, value_name = "STEPS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<usize>,
    /// Keep the checkpoint that is the best by a number that is measured, as eval_loss, and save its model as `best`.
    #[arg(long, value_name = "NAME", requires = "eval_every")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_metric: Option<String>,
    /// Whether less or more of that number is better [default: by its name].
    #[arg(long, value_name = "less|more", requires = "best_metric")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_is: Option<Better>,
    /// End the training after so many evaluations in a row that were not better.
    #[arg(long, value_name = "EVALUATIONS", requires = "best_metric")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// How much better one must be to count for the patience [default: at all].
    #[arg(long, value_name = "CHANGE", requires = "patience")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_change: Option<f64>,
    /// Whether a loss or gradient that is not finite ends the run, has its step left out, or has it taken again at half
    /// the rate: stop, skip or halve.
    #[arg(long, value_name = "ACTION", default_value = "stop")]
    pub on_non_finite: OnNumbers,
}

/// Flags of programs that learn from rows and measure some of them.
#[derive(clap::Args, Debug, Serialize)]
pub struct EvalRowArgs {
    /// Share of the rows, prompt by prompt, that is measured and not learnt from [default: 0.1].
    #[arg(long, value_name = "SHARE", requires = "eval_every")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_share: Option<f64>,
}

/// Flags of programs that sample and score.
#[derive(clap::Args, Debug, Serialize)]
pub struct RolloutGuardArgs {
    /// Whether a reward that fails ends the run or has its step left out: stop or skip.
    #[arg(long, value_name = "ACTION", default_value = "stop")]
    pub on_reward_error: OnFault,
    /// Whether responses that are all empty end the run or have their step left out: stop or skip.
    #[arg(long, value_name = "ACTION", default_value = "stop")]
    pub on_empty: OnFault,
}

/// Flags of programs that report a KL to a reference, and an entropy.
#[derive(clap::Args, Debug, Serialize)]
pub struct LimitArgs {
    /// The largest KL to the reference, in nats per response.
    #[arg(long, value_name = "NATS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_limit: Option<f64>,
    /// Whether a KL above it ends the run, has its step left out, or halves the rate from there on [default: stop].
    #[arg(long, value_name = "ACTION", requires = "kl_limit")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_kl: Option<OnNumbers>,
    /// The smallest entropy, in nats per token.
    #[arg(long, value_name = "NATS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_limit: Option<f64>,
    /// What an entropy below it does, as `--on-kl` [default: stop].
    #[arg(long, value_name = "ACTION", requires = "entropy_limit")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_entropy: Option<OnNumbers>,
}

impl WatchArgs {
    /// # Errors
    /// A count of 0, a negative change, a number of which it must be said whether more is better; a best
    /// checkpoint without checkpoints.
    pub fn check(&self, resume: &ResumeArgs) -> Result<()> {
        ensure!(
            self.best_metric.is_none() || resume.checkpoint_every > 0,
            "--best-metric keeps the best checkpoint: --checkpoint-every must be at least 1"
        );
        crate::flags::counts(&[
            ("--eval-every", self.eval_every.unwrap_or(1)),
            ("--patience", self.patience.unwrap_or(1)),
        ])?;
        crate::flags::not_negative("--min-change", self.min_change.unwrap_or(0.0))?;
        self.best().map(drop)
    }

    fn best(&self) -> Result<Option<BestBy>> {
        let Some(metric) = &self.best_metric else { return Ok(None) };
        let known = self.best_is.map_or_else(|| Better::of(metric), Some);
        let better = known.with_context(|| {
            format!("--best-metric {metric}: --best-is says whether less or more of it is better")
        })?;
        let (patience, min_change) = (self.patience, self.min_change.unwrap_or(0.0));
        Ok(Some(BestBy { metric: metric.clone(), better, patience, min_change }))
    }

    /// What a run is watched by.
    ///
    /// # Errors
    /// As [`WatchArgs::check`].
    pub fn with<'a, T>(
        &self,
        evaluation: &'a dyn Evaluation<T>,
        guards: Guards,
    ) -> Result<Watch<'a, T>> {
        let evaluation = self.eval_every.map(|every| Evaluate { every, evaluation });
        let guards = Guards { non_finite: self.on_non_finite, ..guards };
        Ok(Watch { evaluation, best: self.best()?, guards })
    }

    /// Divides rows into those to learn from and those that are measured, which come in a random order, for KTO
    /// compares neighbours; without an evaluation all are learnt from.
    ///
    /// # Errors
    /// A share that is not in (0, 1); too few prompts to do without some.
    pub fn divide<R>(
        &self,
        share: &EvalRowArgs,
        rows: Vec<R>,
        prompt: impl Fn(&R) -> &Vec<u32>,
        seed: u64,
    ) -> Result<(Vec<R>, Vec<R>)> {
        if self.eval_every.is_none() {
            return Ok((rows, Vec::new()));
        }
        let share = share.eval_share();
        let seed = sub_seed(seed, "evaluation rows");
        let prompts: Vec<&Vec<u32>> = rows.iter().map(prompt).collect();
        let parts = hold_out(&prompts, &HashSet::new(), share, seed).context("--eval-share")?;
        drop(prompts);
        let (count, all) = (parts.held_out.len(), rows.len());
        ensure!(count > 0, "--eval-every: {all} rows are too few to measure some");
        let mut rows: Vec<Option<R>> = rows.into_iter().map(Some).collect();
        let order = in_rounds(count, seed, 0, count).into_iter().map(|i| parts.held_out[i]);
        let held_out: Vec<R> = order.filter_map(|i| rows[i].take()).collect();
        let learnt: Vec<R> = rows.into_iter().flatten().collect();
        crate::say!("{} rows are measured, {} are learnt from", held_out.len(), learnt.len());
        Ok((learnt, held_out))
    }

    /// The prompts that are held out, each answered once, in a stream of random numbers of its own.
    ///
    /// # Errors
    /// An evaluation is asked for, and no prompts are held out.
    pub fn prompts<'a>(
        &self,
        setup: &'a Setup,
        reward: &'a dyn Reward,
        reference: Option<Reading>,
    ) -> Result<HeldOutPrompts<'a>> {
        let held_out = &setup.data.held_out;
        ensure!(
            self.eval_every.is_none() || !held_out.is_empty(),
            "--eval-every: no prompts are held out, for there are too few"
        );
        let sampling = Sampling {
            prompts_per_round: held_out.len(),
            seed: sub_seed(setup.seed, "evaluation"),
            ..Sampling::new(held_out, setup.generation.clone())
        };
        Ok(HeldOutPrompts { sampling, reward: Some(reward), reference, rows: setup.passes.rows() })
    }
}

impl EvalRowArgs {
    fn eval_share(&self) -> f64 {
        self.eval_share.unwrap_or(0.1)
    }

    /// # Errors
    /// A share that is not between 0 and 1.
    pub fn check(&self) -> Result<()> {
        let share = self.eval_share();
        ensure!(
            share > 0.0 && share < 1.0,
            "--eval-share must be above 0 and below 1: it is {share}"
        );
        Ok(())
    }
}

impl RolloutGuardArgs {
    /// What is done about rewards and responses.
    pub fn guards(&self) -> Guards {
        Guards { reward: self.on_reward_error, empty: self.on_empty, ..Guards::default() }
    }
}

impl LimitArgs {
    /// The same with limits.
    pub fn guards(&self, guards: Guards) -> Guards {
        let limit = |at: Option<f64>, action: Option<OnNumbers>| {
            at.map(|at| Limit { at, action: action.unwrap_or_default() })
        };
        let kl = limit(self.kl_limit, self.on_kl);
        Guards { kl, entropy: limit(self.entropy_limit, self.on_entropy), ..guards }
    }

    /// # Errors
    /// A limit out of range.
    pub fn check(&self) -> Result<()> {
        Ok(self.guards(Guards::default()).validate()?)
    }
}

/// Tells the user what a guard has done.
pub fn tell(text: &str) {
    note(text);
}

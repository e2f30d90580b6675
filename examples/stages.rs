//! The three stages: SFT, Hydra-SFT, PPO. Each takes a checkpoint and gives one back.

use crate::budget::{Watch, carried};
use crate::data::{RunData, gold_scores};
use crate::evaluate::respond;
use crate::memory::{experience_bytes, has_pools, hold_models};
use crate::note;
use crate::recipe::{Recipe, Supervised as Supervision};
use anyhow::{Context, Result};
use hydralign::algorithms::{
    AlgorithmError, Epochs, Order as _, Pairwise, UpdateReport, nll_batch, preference_batch,
    ranking_batch,
};
use hydralign::core::random::{in_rounds, sub_seed};
use hydralign::core::{CoreError, Objective};
use hydralign::data::TextTokenizer;
use hydralign::memory::{Category, PhaseName, Workload};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::rollout::{RolloutStats, sample_prompts};
use hydralign::runs::{Ledger, Steps};
use hydralign::train::TrainError;

/// What every stage needs to know of its run.
pub struct Stages<'a> {
    /// Settings.
    pub recipe: &'a Recipe,
    /// Data.
    pub data: &'a RunData,
    /// Set by Ctrl-C: the step under way is finished, the rest is skipped.
    pub stop: &'a StopFlag,
    /// Where tensors live.
    pub device: &'a Device,
    /// The tokenizer.
    pub tokenizer: &'a TextTokenizer,
    /// Told what the stages hold.
    pub ledger: &'a Ledger,
}

/// What a supervised stage leaves behind, however it ended.
pub struct Trained {
    /// The weights after the last good step.
    pub bank: ModelBank,
    /// How far it came.
    pub progress: Steps,
    /// What ended it early, but for a signal.
    pub ended: Result<()>,
}

impl Trained {
    /// The model.
    ///
    /// # Errors
    /// What ended the stage early.
    pub fn model(self) -> Result<ModelBank> {
        self.ended.map(|()| self.bank)
    }
}

fn stats(stage: &str, step: usize, steps: usize, values: Vec<(String, f64)>) -> Stats {
    Stats { stage: stage.to_owned(), step, steps, values }
}

/// Writes down that the optimizer's state is there, after the first step.
struct Holding<'a> {
    ledger: &'a Ledger,
    moments: u64,
}

impl Observer for Holding<'_> {
    fn stats(&mut self, _: &Stats) {
        self.ledger.hold(Category::Optimizer, self.moments);
    }
}

/// Says that a stage ends before its warm-up does, as it does where data are few.
fn note_warm_up(stage: &str, schedule: &Schedule, steps: usize) {
    let (highest, Schedule { peak, warmup, .. }) = (schedule.highest(steps), schedule);
    if highest < *peak {
        note(&format!(
            "{stage}: {steps} steps end within the warm-up of {warmup}: the learning rate reaches {highest:.1e} of {peak:.1e}"
        ));
    }
}

/// PPO under way, with what a plan may change.
struct PpoRun<'a> {
    ppo: Ppo,
    generation: GenerationConfig,
    watch: Option<Watch<'a>>,
}

impl PpoRun<'_> {
    /// A phase has ended: the rest is carried out as the budget allows.
    fn ended(&mut self, phase: PhaseName, learner: &mut Learner<ModelBank>) -> Result<()> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        match watch.phase_ended(phase)? {
            Some(chosen) => self.adopt(&chosen, learner),
            None => Ok(()),
        }
    }

    fn adopt(&mut self, chosen: &Workload, learner: &mut Learner<ModelBank>) -> Result<()> {
        self.generation.batch_size = chosen.generate_batch;
        self.ppo.set_rows(chosen.score_batch, chosen.micro_batch)?;
        let mut refused = None;
        learner.change_model(|bank| {
            let before = bank.clone();
            carried(bank, chosen.execution, chosen.frozen_dtype).unwrap_or_else(|error| {
                refused = Some(error);
                before
            })
        });
        refused.map_or(Ok(()), Err)
    }
}

impl Stages<'_> {
    /// Minibatch by minibatch; the bank keeps what it has learnt however that ends.
    fn supervise<O: Objective>(
        &self,
        (stage, seed): (&str, &str),
        (bank, start): (ModelBank, &Checkpoint),
        objective: O,
        (settings, items): (&Supervision, usize),
        observer: &mut dyn Observer,
        batch: impl Fn(&[usize]) -> Result<Vec<(TokenBatch, O::Batch)>, CoreError>,
    ) -> Result<Trained> {
        let moments = hold_models(self.ledger, &bank, Some(start), &self.recipe.lora);
        let learner = Learner::new(bank, &self.recipe.optimizer);
        let Supervision { minibatch, epochs, lr, .. } = settings.clone();
        let seed = sub_seed(self.recipe.seed, seed);
        let order = Epochs { items, minibatch, epochs, seed };
        note_warm_up(stage, &lr, order.steps());
        let batch = |_: &ModelBank, items: &[usize]| Ok(batch(items)?);
        let recipe = Supervised { objective, order, lr, batch };
        let mut holding = Holding { ledger: self.ledger, moments };
        let mut observers = (&mut holding, observer);
        let trainer = Trainer::new(stage, self.stop);
        let trained = trainer.train(&recipe, learner, &mut observers);
        let trained = trained.with_context(|| format!("stage {stage}"))?;
        let (bank, ended) = (trained.learner.into_model(), trained.ended.map_err(Into::into));
        Ok(Trained { bank, progress: trained.progress, ended })
    }

    /// Supervised fine-tuning on the demonstrations, all weights.
    ///
    /// # Errors
    /// A model that cannot be built.
    pub fn train_sft(&self, base: &Checkpoint, observer: &mut dyn Observer) -> Result<Trained> {
        let settings = &self.recipe.sft;
        let rows = &self.data.demonstrations;
        let bank = ModelBank::new(&Placement::sft(), &Start::joint(base), &self.recipe.lora, 0)?;
        let bank = bank.with_execution(settings.execution)?;
        let batch = |items: &[usize]| {
            let rows: Vec<Sequence> = items.iter().map(|&i| rows[i].clone()).collect();
            nll_batch(&rows, settings.micro_batch, self.device)
        };
        let of = (settings, rows.len());
        self.supervise(("sft", "sft"), (bank, base), Nll, of, observer, batch)
    }

    /// [`Stages::train_sft`] to its end.
    ///
    /// # Errors
    /// What training reports, with the step at which it happened.
    pub fn sft(&self, base: &Checkpoint, observer: &mut dyn Observer) -> Result<ModelBank> {
        self.train_sft(base, observer)?.model()
    }

    /// A reward model on the preference pairs, all weights, with the settings of the joint stage.
    ///
    /// # Errors
    /// A model that cannot be built.
    pub fn train_reward_model(
        &self,
        start: &Checkpoint,
        observer: &mut dyn Observer,
    ) -> Result<Trained> {
        let settings = &self.recipe.hydra_sft.training;
        let pairs = &self.data.preferences;
        let seed = sub_seed(self.recipe.seed, "reward model weights");
        let placement = Placement::reward_model();
        let bank = ModelBank::new(&placement, &Start::joint(start), &self.recipe.lora, seed)?;
        let bank = bank.with_execution(settings.execution)?;
        let batch = |items: &[usize]| {
            let pairs: Vec<_> = items.iter().map(|&i| pairs[i].clone()).collect();
            ranking_batch(&pairs, settings.micro_batch, self.device)
        };
        let (names, of) = (("reward_model", "reward model"), (settings, pairs.len()));
        self.supervise(names, (bank, start), Pairwise::default(), of, observer, batch)
    }

    /// Hydra-SFT on the preference pairs: LM head and reward head together.
    ///
    /// # Errors
    /// A model that cannot be built.
    pub fn train_hydra_sft(
        &self,
        start: &Checkpoint,
        observer: &mut dyn Observer,
    ) -> Result<Trained> {
        let settings = &self.recipe.hydra_sft;
        let pairs = &self.data.preferences;
        let placement = match settings.adapter {
            true => Placement::hydra_sft().with_adapter("start"),
            false => Placement::hydra_sft(),
        };
        let seed = sub_seed(self.recipe.seed, "hydra_sft weights");
        let bank = ModelBank::new(&placement, &Start::joint(start), &self.recipe.lora, seed)?;
        let bank = bank.with_execution(settings.training.execution)?;
        let batch = |items: &[usize]| {
            let pairs: Vec<_> = items.iter().map(|&i| pairs[i].clone()).collect();
            preference_batch(&pairs, settings.training.micro_batch, self.device)
        };
        let (names, of) = (("hydra_sft", "hydra_sft"), (&settings.training, pairs.len()));
        let objective = HydraSft { config: settings.loss };
        self.supervise(names, (bank, start), objective, of, observer, batch)
    }

    /// [`Stages::train_hydra_sft`] to its end.
    ///
    /// # Errors
    /// What training reports, with the step at which it happened.
    pub fn hydra_sft(&self, start: &Checkpoint, observer: &mut dyn Observer) -> Result<ModelBank> {
        self.train_hydra_sft(start, observer)?.model()
    }

    /// PPO with the recipe's placement. The bank holds the last good weights also when an error
    /// ends the stage early. With a watch, phases that hold more than planned change how the rest is
    /// carried out.
    pub fn ppo(
        &self,
        bank: ModelBank,
        watch: Option<Watch<'_>>,
        observer: &mut dyn Observer,
    ) -> (ModelBank, Result<()>) {
        let mut learner = Learner::new(bank, &self.recipe.optimizer);
        let result = self.ppo_steps(&mut learner, watch, observer);
        (learner.into_model(), result)
    }

    fn ppo_steps(
        &self,
        learner: &mut Learner<ModelBank>,
        watch: Option<Watch<'_>>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let settings = &self.recipe.ppo;
        let generation = self.recipe.generation.clone();
        let mut run = PpoRun { ppo: Ppo::new(settings.ppo.clone())?, generation, watch };
        let moments = hold_models(self.ledger, learner.model(), None, &self.recipe.lora);
        let on_host = !has_pools(self.device);
        note_warm_up("ppo", &settings.lr, settings.steps);
        for step in 1..=settings.steps {
            if self.stop.is_stopped() {
                break;
            }
            observer.phase(Phase::Generate);
            let prompts = self.prompts_of(step);
            let sampler = &settings.sampler;
            let episodes = respond(learner.model(), &prompts, &run.generation, sampler, self.stop);
            let episodes = match episodes {
                Err(_) if self.stop.is_stopped() => break,
                other => other.with_context(|| at("ppo", step, Phase::Generate))?,
            };
            run.ended(PhaseName::Generate, learner)?;
            let experience = run
                .ppo
                .experience(learner.model(), episodes, sampler, None, observer)
                .with_context(|| at("ppo", step, Phase::Score))?;
            run.ended(PhaseName::Score, learner)?;
            if on_host {
                self.ledger.hold(Category::Experience, experience_bytes(&experience));
            }
            let lr = settings.lr.lr(step, settings.steps);
            let seed = sub_seed(self.recipe.seed, &format!("ppo update {step}"));
            let report = run
                .ppo
                .update(learner, &experience, lr, seed, self.device, observer)
                .with_context(|| at("ppo", step, Phase::Update))?;
            run.ended(PhaseName::Update, learner)?;
            self.ledger.hold(Category::Optimizer, moments);
            observer.phase(Phase::Report);
            let values = self.ppo_values(&experience, &report, lr)?;
            observer.stats(&stats("ppo", step, settings.steps, values));
            self.ledger.hold(Category::Experience, 0);
        }
        Ok(())
    }

    /// The prompts of an iteration: the data is gone through in a new order each time round.
    fn prompts_of(&self, step: usize) -> Vec<Prompt> {
        let (settings, all) = (&self.recipe.ppo, &self.data.prompts);
        let seed = sub_seed(self.recipe.seed, "prompts");
        let first = (step - 1) * settings.prompts;
        let prompts = in_rounds(all.len(), seed, first, settings.prompts);
        let prompts: Vec<Vec<u32>> = prompts.into_iter().map(|i| all[i].clone()).collect();
        let seed = sub_seed(self.recipe.seed, "rollout");
        sample_prompts(&prompts, settings.samples, seed, (first * settings.samples) as u64)
    }

    fn ppo_values(
        &self,
        experience: &hydralign::algorithms::Experience,
        report: &UpdateReport,
        lr: f64,
    ) -> Result<Vec<(String, f64)>> {
        let mut values: Vec<(String, f64)> = Vec::new();
        let mut add = |name: &str, value: f64| values.push((name.to_owned(), value));
        add("score", experience.mean(|s| s.score.into()));
        let episodes: Vec<Episode> = experience.samples.iter().map(|s| s.episode.clone()).collect();
        if self.data.has_gold {
            let gold = gold_scores(self.tokenizer, &episodes)?;
            add("gold", gold.iter().sum::<f64>() / gold.len() as f64);
        }
        add("kl", experience.mean_kl);
        add("entropy", experience.entropy());
        if let Some(rollout) = RolloutStats::of(&episodes) {
            add("length", rollout.mean_length);
            add("stopped", rollout.stopped_fraction);
        }
        add("kl_coef", experience.kl_coef);
        add("lr", lr);
        add("update_steps", report.steps as f64);
        report.stats.iter().for_each(|(name, value)| add(name, *value));
        Ok(values)
    }
}

/// Where an error happened, for the person who reads it.
fn at(stage: &str, step: usize, phase: Phase) -> String {
    format!("stage {stage}, step {step}, phase {phase}")
}

/// True if an error means that the numbers went bad, not the input.
pub fn is_numerical(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        matches!(e.downcast_ref(), Some(AlgorithmError::NonFinite { .. }))
            || e.downcast_ref().is_some_and(TrainError::is_numerical)
    })
}

/// The placement of a run, for a checkpoint with or without an adapter of its own. Where all
/// weights are trained, the adapter is merged first.
///
/// # Errors
/// An unknown name.
pub fn placement_for(name: &str, start: Checkpoint) -> Result<(Placement, Checkpoint)> {
    let known = Placement::five_ppos().map(|p| p.name).join(", ");
    let placement = Placement::by_name(name)
        .with_context(|| format!("unknown placement `{name}` (known: {known})"))?;
    let Some(adapter) = &start.adapter else { return Ok((placement, start)) };
    if placement.trunks.iter().any(|t| t.trainable) {
        let trunk = start.trunk.merge(adapter)?;
        let merged = Checkpoint { trunk, adapter: None, reward_head: start.reward_head.clone() };
        return Ok((placement, merged));
    }
    Ok((placement.starting_from_adapter(true)?, start))
}

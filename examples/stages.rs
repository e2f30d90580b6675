//! The three stages: SFT, Hydra-SFT, PPO. Each takes a checkpoint and gives one back.

use crate::data::{RunData, gold_scores};
use crate::memory::has_pools;
use crate::note;
use crate::recipe::{Recipe, Supervised as Supervision};
use anyhow::{Context, Result};
use hydralign::algorithms::{
    AlgorithmError, Epochs, Experience, Order as _, Pairwise, nll_batch, preference_batch,
    ranking_batch,
};
use hydralign::core::random::sub_seed;
use hydralign::core::{CoreError, Objective};
use hydralign::data::TextTokenizer;
use hydralign::memory::Category;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{Ledger, Steps};
use hydralign::train::{
    BudgetWatch, HookedPpo, PpoHooks, PpoMemory, Rows, StageCheckpoints, TrainError, Values,
    hold_models,
};
use std::cell::RefCell;

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
    /// Where checkpoints go; none keeps none.
    pub checkpoints: Option<&'a StageCheckpoints>,
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

/// Keeps the books of PPO, and adds the true scores where the program knows them.
struct Looks<'a> {
    memory: PpoMemory<'a>,
    gold: Option<&'a TextTokenizer>,
}

impl PpoHooks<ModelBank> for Looks<'_> {
    fn rows(&self) -> Option<Rows> {
        self.memory.rows()
    }

    fn phase_ended(
        &mut self,
        phase: Phase,
        learner: &mut Learner<ModelBank>,
    ) -> Result<(), TrainError> {
        self.memory.phase_ended(phase, learner)
    }

    fn scored(&mut self, experience: &Experience) -> Result<Values, TrainError> {
        let mut values = self.memory.scored(experience)?;
        if let Some(tokenizer) = self.gold {
            let episodes: Vec<Episode> =
                experience.samples.iter().map(|s| s.episode.clone()).collect();
            let gold = gold_scores(tokenizer, &episodes);
            let gold = gold.map_err(|error| CoreError::Other(error.into()))?;
            values.push(("gold".into(), gold.iter().sum::<f64>() / gold.len() as f64));
        }
        Ok(values)
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
        let Supervision { minibatch, epochs, lr, checkpoint_every, .. } = settings.clone();
        let seed = sub_seed(self.recipe.seed, seed);
        let order = Epochs { items, minibatch, epochs, seed };
        note_warm_up(stage, &lr, order.steps());
        let batch = |_: &ModelBank, items: &[usize]| Ok(batch(items)?);
        let recipe = Supervised { objective, order, lr, batch };
        let mut holding = Holding { ledger: self.ledger, moments };
        let mut observers = (&mut holding, observer);
        self.train(stage, checkpoint_every, &recipe, learner, &mut observers)
    }

    /// From the newest checkpoint of the stage, if there is one.
    fn train<R: hydralign::train::Recipe<Learner<ModelBank>>>(
        &self,
        stage: &str,
        every: usize,
        recipe: &R,
        learner: Learner<ModelBank>,
        observer: &mut dyn Observer,
    ) -> Result<Trained> {
        let checkpoints = self.checkpoints.and_then(|all| all.of(stage, every));
        let trainer = Trainer { checkpoints, ..Trainer::new(stage, self.stop) };
        let trained = trainer.train(recipe, learner, observer);
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

    /// PPO with the recipe's placement. With a watch, phases that hold more than planned change how the rest
    /// is carried out.
    ///
    /// # Errors
    /// Settings out of range; a checkpoint that cannot be read.
    pub fn ppo(
        &self,
        bank: ModelBank,
        watch: Option<BudgetWatch<'_>>,
        observer: &mut dyn Observer,
    ) -> Result<Trained> {
        let settings = &self.recipe.ppo;
        note_warm_up("ppo", &settings.lr, settings.steps);
        let on_host = !has_pools(self.device);
        let memory = PpoMemory::new(&bank, &self.recipe.lora, watch, self.ledger, on_host);
        let gold = self.data.has_gold.then_some(self.tokenizer);
        let sampling = self.recipe.sampling(&self.data.prompts);
        let recipe = PpoRecipe {
            ppo: settings.ppo.clone(),
            lr: settings.lr,
            ..PpoRecipe::new(sampling, settings.steps, self.device)
        };
        let recipe = HookedPpo { recipe, hooks: RefCell::new(Looks { memory, gold }) };
        let learner = Learner::new(bank, &self.recipe.optimizer);
        self.train("ppo", settings.checkpoint_every, &recipe, learner, observer)
    }
}

/// True if an error means that the numbers went bad, not the input.
pub fn is_numerical(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        matches!(e.downcast_ref(), Some(AlgorithmError::NonFinite { .. }))
            || e.downcast_ref().is_some_and(TrainError::is_numerical)
    })
}

/// The placement of a run whose start has an adapter of its own or not. Where all weights are trained, the
/// adapter is merged first.
///
/// # Errors
/// An unknown name.
pub fn placement_of(name: &str, from_adapter: bool) -> Result<Placement> {
    let known = Placement::five_ppos().map(|p| p.name).join(", ");
    let placement = Placement::by_name(name)
        .with_context(|| format!("unknown placement `{name}` (known: {known})"))?;
    let whole = placement.trunks.iter().any(|t| t.trainable);
    Ok(if from_adapter && !whole { placement.starting_from_adapter(true)? } else { placement })
}

/// [`placement_of`] a checkpoint, and what it starts from.
///
/// # Errors
/// An unknown name.
pub fn placement_for(name: &str, start: Checkpoint) -> Result<(Placement, Checkpoint)> {
    let placement = placement_of(name, start.adapter.is_some())?;
    let whole = placement.trunks.iter().any(|t| t.trainable);
    let start = match &start.adapter {
        Some(adapter) if whole => {
            let trunk = start.trunk.merge(adapter)?;
            Checkpoint { trunk, adapter: None, reward_head: start.reward_head.clone() }
        }
        _ => start,
    };
    Ok((placement, start))
}

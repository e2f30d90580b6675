use crate::{Checkpoints, ModelFolder, Supervised, TrainError, Trained, Trainer, run_name};
use hydralign_algorithms::{
    Epochs, Learner, OptimizerConfig, Pair, PairLoss, Preference, pair_batch, reference_logprobs,
    sequences_fingerprint, sequences_of, with_reference,
};
use hydralign_core::random::sub_seed;
use hydralign_core::{Observer, Reading, Role};
use hydralign_models::{ModelBank, Start};
use hydralign_placement::{LoraShape, Placement};
use hydralign_runs::{Schedule, StopFlag};
use std::fmt::Debug;
use std::path::PathBuf;

/// A run of preference learning from a model, pairs and a loss: DPO and its relatives. The reference is read once,
/// before anything is trained, and is not held beside it.
pub struct PreferenceRun<'a, L> {
    /// What the run starts from.
    pub folder: &'a ModelFolder,
    /// The pairs to learn from.
    pub pairs: Vec<Pair>,
    /// Loss, and the weight of the likelihood beside it. A reference that is read along (`live`) needs a placement
    /// that has one.
    pub objective: Preference<L>,
    /// Which weights are trained.
    pub placement: Placement,
    /// Shape of fresh adapters.
    pub lora: LoraShape,
    /// AdamW and the gradient norm.
    pub optimizer: OptimizerConfig,
    /// Learning rate of each step.
    pub lr: Schedule,
    /// Passes over the pairs.
    pub epochs: usize,
    /// Pairs of a step.
    pub minibatch: usize,
    /// Pairs that are differentiated at a time; memory depends on it, results do not.
    pub micro_batch: usize,
    /// Seed of the order and of fresh adapters.
    pub seed: u64,
    /// Where the newest two checkpoints are kept, one after each hundred steps. A run that finds some of its own there
    /// goes on from the newest, bit for bit on the CPU.
    pub checkpoints: Option<PathBuf>,
    /// Ends the run between two steps.
    pub stop: StopFlag,
}

impl<'a, L: PairLoss + Clone + Debug> PreferenceRun<'a, L> {
    /// One epoch in steps of 32 pairs, all weights trained at 1e-5 falling to 0.
    pub fn new(folder: &'a ModelFolder, pairs: Vec<Pair>, loss: L) -> Self {
        Self {
            folder,
            pairs,
            objective: Preference { loss, nll_weight: 0.0, live: false },
            placement: Placement::sft(),
            lora: LoraShape::default(),
            optimizer: OptimizerConfig::default(),
            lr: Schedule::linear(1e-5),
            epochs: 1,
            minibatch: 32,
            micro_batch: 8,
            seed: 0,
            checkpoints: None,
            stop: StopFlag::new(),
        }
    }

    /// The pairs with what the start says of them, where the loss compares with it.
    fn referenced(&self) -> Result<Vec<Pair>, TrainError> {
        if self.objective.live || !self.objective.loss.needs_reference() {
            return Ok(self.pairs.clone());
        }
        let (frozen, reading) =
            (ModelBank::frozen(self.folder.model.clone()), Reading::Logprobs(Role::Actor));
        let rows = 2 * self.micro_batch.max(1);
        let values = reference_logprobs(&frozen, reading, &sequences_of(&self.pairs), rows)?;
        Ok(with_reference(self.pairs.clone(), &values)?)
    }

    /// Trains to the end, and gives the trained model.
    ///
    /// # Errors
    /// What [`PreferenceRun::run`] reports, and what has ended it, [`TrainError::Stopped`] included: the newest
    /// checkpoint is then what is left.
    pub fn train(&self, observer: &mut dyn Observer) -> Result<ModelBank, TrainError> {
        let Trained { learner, progress, ended, .. } = self.run(observer)?;
        ended?;
        match progress.done < progress.steps {
            true => Err(TrainError::Stopped),
            false => Ok(learner.into_model()),
        }
    }

    /// Trains to the end; what was learnt before a fault is not lost.
    ///
    /// # Errors
    /// Settings out of range, no pairs, a model that cannot be built; a checkpoint that cannot be read.
    pub fn run(
        &self,
        observer: &mut dyn Observer,
    ) -> Result<Trained<Learner<ModelBank>>, TrainError> {
        let (pairs, device, rows) = (self.referenced()?, self.folder.device(), self.micro_batch);
        let (start, seed) = (Start::joint(&self.folder.model), sub_seed(self.seed, "weights"));
        let bank = ModelBank::new(&self.placement, &start, &self.lora, seed)?;
        let Self { epochs, minibatch, seed, .. } = *self;
        let recipe = Supervised {
            objective: self.objective.clone(),
            order: Epochs { items: pairs.len(), minibatch, epochs, seed },
            lr: self.lr,
            batch: |_: &ModelBank, items: &[usize]| {
                let pairs: Vec<Pair> = items.iter().map(|&i| pairs[i].clone()).collect();
                Ok(pair_batch(&pairs, rows, &device)?)
            },
        };
        let checkpoints = self.checkpoints.as_ref();
        let checkpoints = checkpoints.map(|folder| Checkpoints::new(folder, &self.name(), 100, 2));
        let trainer = Trainer { checkpoints, ..Trainer::new("preference", &self.stop) };
        trainer.train(&recipe, Learner::new(bank, &self.optimizer), observer)
    }

    fn name(&self) -> String {
        let Self { objective, placement, lora, optimizer, lr, epochs, minibatch, seed, .. } = self;
        let model = self.folder.model.fingerprint();
        let pairs = sequences_fingerprint(&sequences_of(&self.pairs));
        run_name(&format!(
            "{model} {pairs} {objective:?} {placement:?} {lora:?} {optimizer:?} {lr:?} {epochs} {minibatch} {seed}"
        ))
    }
}

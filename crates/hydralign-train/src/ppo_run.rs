use crate::{
    Checkpoints, ModelFolder, PpoRecipe, Sampling, TrainError, Trained, Trainer, run_name,
};
use hydralign_algorithms::{Learner, OptimizerConfig, PpoConfig, PpoParts};
use hydralign_core::random::sub_seed;
use hydralign_core::{Observer, Reward};
use hydralign_data::PromptSource;
use hydralign_models::{ModelBank, Start};
use hydralign_placement::{LoraShape, Placement};
use hydralign_rollout::{GenerationConfig, SamplerConfig};
use hydralign_runs::{Schedule, StopFlag};
use std::path::PathBuf;

/// A run of PPO from a model, prompts and a reward, with a setting for everything else.
///
/// It is a [`PpoRecipe`], a [`Learner`] and a [`Trainer`], each of which can be taken out to go on by hand.
pub struct PpoRun<'a> {
    /// What the run starts from.
    pub folder: &'a ModelFolder,
    /// Tokens of the prompts to learn from.
    pub prompts: Vec<Vec<u32>>,
    /// The score of a response; none takes it from the model's reward head, which a placement with a reward reads.
    pub reward: Option<&'a dyn Reward>,
    /// Which weights serve which role.
    pub placement: Placement,
    /// Shape of fresh adapters.
    pub lora: LoraShape,
    /// Settings of PPO.
    pub ppo: PpoConfig,
    /// A KL controller and an estimator of advantages of your own.
    pub parts: PpoParts,
    /// AdamW and the gradient norm.
    pub optimizer: OptimizerConfig,
    /// Learning rate of each iteration.
    pub lr: Schedule,
    /// Iterations.
    pub steps: usize,
    /// Prompts of an iteration.
    pub prompts_per_step: usize,
    /// Responses to each of them.
    pub samples: usize,
    /// How responses are drawn.
    pub sampler: SamplerConfig,
    /// Length limit, stop tokens, rows at a time.
    pub generation: GenerationConfig,
    /// Seed of weights, prompts, responses and minibatches.
    pub seed: u64,
    /// Where the newest two checkpoints are kept, one after each ten steps. A run that finds some of its own there
    /// goes on from the newest, bit for bit on the CPU. Its name holds model, prompts, settings and `reward_name`.
    pub checkpoints: Option<PathBuf>,
    /// Names the reward, of which checkpoints cannot know more: with another name it is another run.
    pub reward_name: String,
    /// Ends the run between two steps.
    pub stop: StopFlag,
}

impl<'a> PpoRun<'a> {
    /// 100 iterations of 32 responses with up to 64 tokens, in the Hydra placement without a reward model: one trunk
    /// is held, actor and critic are adapters. Everything else is the default of its type.
    pub fn new(folder: &'a ModelFolder, prompts: &[PromptSource], reward: &'a dyn Reward) -> Self {
        let (stop_tokens, max_length) =
            (folder.tokenizer.eos_ids().to_vec(), Some(folder.context()));
        let generation = GenerationConfig { stop_tokens, max_length, ..Default::default() };
        Self {
            folder,
            reward: Some(reward),
            placement: Placement::hydra_ppo().without_reward(),
            lora: LoraShape::default(),
            ppo: PpoConfig::default(),
            parts: PpoParts::default(),
            optimizer: OptimizerConfig::default(),
            lr: Schedule::linear(1e-4),
            steps: 100,
            prompts_per_step: 32,
            samples: 1,
            sampler: SamplerConfig::default(),
            generation,
            seed: 0,
            checkpoints: None,
            reward_name: String::new(),
            stop: StopFlag::new(),
            prompts: prompts.iter().map(|prompt| prompt.tokens.clone()).collect(),
        }
    }

    /// The steps of the run.
    pub fn recipe(&self) -> PpoRecipe<'_> {
        let sampling = Sampling {
            prompts: &self.prompts,
            prompts_per_round: self.prompts_per_step,
            samples: self.samples,
            sampler: self.sampler,
            generation: self.generation.clone(),
            seed: self.seed,
        };
        let recipe = PpoRecipe::new(sampling, self.steps, &self.folder.device());
        let (ppo, parts) = (self.ppo.clone(), self.parts.clone());
        PpoRecipe { ppo, parts, reward: self.reward, lr: self.lr, ..recipe }
    }

    /// What the run trains, at its start.
    ///
    /// # Errors
    /// What [`ModelBank::new`] refuses.
    pub fn learner(&self) -> Result<Learner<ModelBank>, TrainError> {
        let (start, seed) = (Start::joint(&self.folder.model), sub_seed(self.seed, "weights"));
        let bank = ModelBank::new(&self.placement, &start, &self.lora, seed)?;
        Ok(Learner::new(bank, &self.optimizer))
    }

    /// Trains to the end, and gives the trained model.
    ///
    /// # Errors
    /// What [`PpoRun::run`] reports, and what has ended it, [`TrainError::Stopped`] included: the newest checkpoint
    /// is then what is left.
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
    /// Settings out of range; a checkpoint that cannot be read.
    pub fn run(
        &self,
        observer: &mut dyn Observer,
    ) -> Result<Trained<Learner<ModelBank>>, TrainError> {
        let checkpoints = self.checkpoints.as_ref();
        let checkpoints = checkpoints.map(|folder| Checkpoints::new(folder, &self.name(), 10, 2));
        let trainer = Trainer { checkpoints, ..Trainer::new("ppo", &self.stop) };
        trainer.train(&self.recipe(), self.learner()?, observer)
    }

    fn name(&self) -> String {
        let Self { placement, lora, ppo, parts, optimizer, lr, steps, reward_name, .. } = self;
        let model = self.folder.model.fingerprint();
        let sampling = self.recipe().sampling;
        run_name(&format!(
            "{model} {sampling:?} {placement:?} {lora:?} {ppo:?} {parts:?} {optimizer:?} {lr:?} {steps} {reward_name}"
        ))
    }
}

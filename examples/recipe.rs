//! Settings of a run, as they stand in a TOML file. Unknown keys are errors.

use crate::rows::RowArgs;
use anyhow::{Context, Result, ensure};
use hydralign::advantage::KlControl;
use hydralign::algorithms::{HydraSftConfig, OptimizerConfig, PpoConfig};
use hydralign::memory::Dtype;
use hydralign::memory::parse_bytes;
use hydralign::prelude::{Execution, GenerationConfig, LoraShape, Placement, SamplerConfig};
use hydralign::runs::{Decay, Schedule};
use hydralign::train::Sampling;
use serde::{Deserialize, Serialize};

/// A supervised stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervised {
    /// Passes over the data.
    pub epochs: usize,
    /// Items per optimizer step.
    pub minibatch: usize,
    /// Items that are differentiated at a time.
    pub micro_batch: usize,
    /// Learning rate.
    pub lr: Schedule,
    /// How passes are carried out.
    pub execution: Execution,
    /// Steps from one checkpoint to the next; 0 writes none, and a run that is resumed begins the stage anew.
    pub checkpoint_every: usize,
}

impl Default for Supervised {
    fn default() -> Self {
        let lr = Schedule { peak: 1e-3, decay: Decay::Cosine, warmup: 10 };
        let execution = Execution::default();
        Self { epochs: 1, minibatch: 64, micro_batch: 64, lr, execution, checkpoint_every: 100 }
    }
}

impl Supervised {
    fn validate(&self) -> Result<()> {
        counts(&[
            ("epochs", self.epochs),
            ("minibatch", self.minibatch),
            ("micro_batch", self.micro_batch),
        ])?;
        self.lr.validate().context("lr")?;
        self.execution.validate().context("execution")
    }
}

fn counts(settings: &[(&str, usize)]) -> Result<()> {
    settings.iter().try_for_each(|(name, count)| {
        ensure!(*count > 0, "`{name}` must be at least 1");
        Ok(())
    })
}

/// The joint stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Joint {
    /// Epochs, batches, learning rate.
    pub training: Supervised,
    /// γ and centring.
    pub loss: HydraSftConfig,
    /// Train an adapter over the frozen model instead of all weights. PPO then starts from that
    /// adapter and keeps a frozen copy of it as its reference.
    pub adapter: bool,
}

impl Default for Joint {
    fn default() -> Self {
        let loss = HydraSftConfig { ranking_weight: 0.5, ..HydraSftConfig::default() };
        Self { training: Supervised::default(), loss, adapter: false }
    }
}

impl Joint {
    fn validate(&self) -> Result<()> {
        self.training.validate().context("training")?;
        self.loss.validate().context("loss")
    }
}

/// The reinforcement-learning stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reinforcement {
    /// Iterations of sample, score, credit, update.
    pub steps: usize,
    /// Prompts of one iteration.
    pub prompts: usize,
    /// Responses per prompt.
    pub samples: usize,
    /// Learning rate.
    pub lr: Schedule,
    /// How responses are drawn.
    pub sampler: SamplerConfig,
    /// PPO itself.
    pub ppo: PpoConfig,
    /// How passes are carried out.
    pub execution: Execution,
    /// Number format in which the matrices of frozen trunks are held.
    pub frozen_dtype: Dtype,
    /// As in the supervised stages.
    pub checkpoint_every: usize,
}

impl Default for Reinforcement {
    fn default() -> Self {
        Self {
            steps: 30,
            prompts: 64,
            samples: 1,
            lr: Schedule::linear(1e-3),
            sampler: SamplerConfig::default(),
            ppo: PpoConfig {
                epochs: 2,
                minibatches: 2,
                micro_batch: 32,
                kl: KlControl::Fixed { coef: 0.1 },
                ..PpoConfig::default()
            },
            execution: Execution::default(),
            frozen_dtype: Dtype::F32,
            checkpoint_every: 10,
        }
    }
}

impl Reinforcement {
    fn validate(&self) -> Result<()> {
        counts(&[("steps", self.steps), ("prompts", self.prompts), ("samples", self.samples)])?;
        self.lr.validate().context("lr")?;
        self.sampler.validate().context("sampler")?;
        self.ppo.validate().context("ppo")?;
        self.execution.validate().context("execution")
    }
}

/// How quality is measured on held-out prompts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// Responses per prompt and model.
    pub samples: usize,
    /// Share of the user's own prompts that is held out.
    pub held_out: f64,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self { samples: 4, held_out: 0.1 }
    }
}

impl Evaluation {
    fn validate(&self) -> Result<()> {
        let Self { samples, held_out } = *self;
        counts(&[("samples", samples)])?;
        ensure!(
            held_out > 0.0 && held_out < 1.0,
            "`held_out` is {held_out}, but must be above 0 and below 1"
        );
        Ok(())
    }
}

/// Sizes of the shipped task's data sets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskSizes {
    /// Demonstrations for SFT.
    pub demonstrations: usize,
    /// Preference pairs for Hydra-SFT.
    pub preferences: usize,
}

impl Default for TaskSizes {
    fn default() -> Self {
        Self { demonstrations: 2_000, preferences: 8_000 }
    }
}

/// A whole run: SFT → Hydra-SFT → PPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Name of one of the five placements.
    pub placement: String,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Bytes that no stage may exceed, such as "16GiB": rows at a time, pieces of passes and the format of
    /// frozen matrices are then chosen so that it fits. None of that changes what is learnt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_budget: Option<String>,
    /// Newest checkpoints of a stage that stay.
    pub keep_checkpoints: usize,
    /// Shape of every adapter.
    pub lora: LoraShape,
    /// AdamW, the same in all stages.
    pub optimizer: OptimizerConfig,
    /// Length limit and decode batch; stop tokens come from the tokenizer.
    pub generation: GenerationConfig,
    /// Supervised fine-tuning.
    pub sft: Supervised,
    /// Hydra-SFT.
    pub hydra_sft: Joint,
    /// PPO.
    pub ppo: Reinforcement,
    /// Evaluation.
    pub evaluation: Evaluation,
    /// What becomes of rows of the user's files that cannot be learnt from.
    pub rows: RowArgs,
    /// The shipped task.
    pub task: TaskSizes,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            placement: "hydra_ppo".into(),
            seed: 0,
            memory_budget: None,
            keep_checkpoints: 2,
            lora: LoraShape { rank: 16, alpha: 32.0, ..LoraShape::default() },
            optimizer: OptimizerConfig::default(),
            generation: GenerationConfig {
                max_new_tokens: 32,
                batch_size: 64,
                ..GenerationConfig::default()
            },
            sft: Supervised::default(),
            hydra_sft: Joint::default(),
            ppo: Reinforcement::default(),
            evaluation: Evaluation::default(),
            rows: RowArgs::default(),
            task: TaskSizes::default(),
        }
    }
}

impl Recipe {
    /// Checks every setting, those of all stages.
    ///
    /// # Errors
    /// The first that is out of its range, with the tables that it is in.
    pub fn validate(&self) -> Result<()> {
        ensure!(
            Placement::by_name(&self.placement).is_some(),
            "unknown `placement` `{}` (known: {})",
            self.placement,
            Placement::five_ppos().map(|p| p.name).join(", ")
        );
        self.evaluation.validate().context("evaluation")?;
        counts(&[("preferences", self.task.preferences)]).context("task")?;
        counts(&[("keep_checkpoints", self.keep_checkpoints)])?;
        if let Some(text) = &self.memory_budget {
            parse_bytes(text).context("memory_budget")?;
        }
        self.lora.validate().context("lora")?;
        self.optimizer.validate().context("optimizer")?;
        self.generation.validate().context("generation")?;
        self.sft.validate().context("sft")?;
        self.hydra_sft.validate().context("hydra_sft")?;
        self.ppo.validate().context("ppo")
    }

    /// What PPO draws responses to, and how.
    pub fn sampling<'a>(&self, prompts: &'a [Vec<u32>]) -> Sampling<'a> {
        Sampling {
            prompts,
            prompts_per_round: self.ppo.prompts,
            samples: self.ppo.samples,
            sampler: self.ppo.sampler,
            generation: self.generation.clone(),
            seed: self.seed,
        }
    }

    /// The same run in a few seconds, to see that everything works. It learns next to nothing.
    pub fn smoke(mut self) -> Self {
        self.task = TaskSizes { demonstrations: 64, preferences: 64 };
        self.ppo.steps = 3;
        self.ppo.prompts = 16;
        self.evaluation.samples = 1;
        self
    }
}

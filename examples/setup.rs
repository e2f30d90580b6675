//! What the short recipes begin with: the shipped task's models and data, or the user's own.

use crate::budget::carried;
use crate::data::{gold_scores, load_tokenizer};
use crate::device;
use crate::evaluate::respond;
use crate::lab::Lab;
use crate::recipe::Recipe;
use anyhow::{Context, Result, ensure};
use hydralign::algorithms::reward_scores;
use hydralign::data::{ChatTemplate, Reader, TextTokenizer};
use hydralign::memory::Dtype;
use hydralign::models::{
    ModelBank, SaveOptions, copy_companions, load_checkpoint, save_checkpoint,
};
use hydralign::prelude::*;
use hydralign::rollout::sample_prompts;
use hydralign::runs::{Overwrite, RunFolder, StopFlag, mean};
use std::path::{Path, PathBuf};

/// How much is done at a time: memory depends on it, results do not. The program `plan` prints values that
/// fit into a budget.
#[derive(clap::Args, Clone, Debug)]
pub struct PassArgs {
    /// Responses that are decoded at a time.
    #[arg(long, value_name = "ROWS")]
    pub generate_batch: Option<usize>,
    /// Sequences that are read without a gradient at a time.
    #[arg(long, value_name = "ROWS")]
    pub score_batch: Option<usize>,
    /// Rows, or pairs, that are differentiated at a time.
    #[arg(long, value_name = "ROWS")]
    pub micro_batch: Option<usize>,
    /// Tokens per piece in which the vocabulary is visited [default: all at once].
    #[arg(long, value_name = "TOKENS")]
    pub logprob_chunk: Option<usize>,
    /// Blocks that are recomputed together in a backward pass [default: nothing is recomputed].
    #[arg(long, value_name = "BLOCKS")]
    pub segment_blocks: Option<usize>,
    /// Number format of the matrices of frozen models: f32, f16 or bf16.
    #[arg(long, default_value = "f32")]
    pub frozen_dtype: Dtype,
}

impl PassArgs {
    /// A bank that is held and run like this.
    ///
    /// # Errors
    /// A matrix with a number too large for the format.
    pub fn carry(&self, bank: ModelBank) -> Result<ModelBank> {
        carried(bank, self.execution(), self.frozen_dtype)
    }

    fn execution(&self) -> Execution {
        let Self { logprob_chunk, segment_blocks, .. } = *self;
        Execution { logprob_chunk, segment_blocks }
    }

    /// Sequences that are read at a time.
    pub fn rows(&self) -> usize {
        self.score_batch.unwrap_or(64)
    }

    fn check(&self) -> Result<()> {
        let rows = [
            ("--generate-batch", self.generate_batch),
            ("--score-batch", self.score_batch),
            ("--micro-batch", self.micro_batch),
        ];
        for (flag, count) in rows {
            ensure!(count != Some(0), "{flag} must be at least 1");
        }
        Ok(self.execution().validate()?)
    }
}

/// Flags that the recipes share.
#[derive(clap::Args, Debug)]
pub struct CommonArgs {
    /// Your own policy in Hugging Face layout [default: the shipped task's fine-tuned model].
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// A sequence-classification model as the reward [default: the shipped task's].
    #[arg(long, value_name = "DIR", requires = "model")]
    pub reward: Option<PathBuf>,
    /// Prompts, one {"prompt": …} a line, or Parquet.
    #[arg(long, value_name = "FILE", requires = "model")]
    pub prompts: Option<PathBuf>,
    /// Pairs, one {"prompt": …, "chosen": …, "rejected": …} a line, or Parquet.
    #[arg(long, value_name = "FILE", requires = "model")]
    pub preferences: Option<PathBuf>,
    /// Folder of the trained model.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Longest response, in tokens.
    #[arg(long, default_value_t = 32)]
    pub max_new_tokens: usize,
    /// flex, wgpu or cuda, as far as this binary was built with them.
    #[arg(long, default_value = "flex")]
    pub device: String,
    /// A few seconds, to see that everything works.
    #[arg(long)]
    pub smoke: bool,
    /// How much is done at a time.
    #[command(flatten)]
    pub passes: PassArgs,
}

/// A policy, a reward, data, and where the result goes.
pub struct Setup {
    /// Where the policy starts.
    pub policy: Checkpoint,
    /// The reward model, if there is one.
    pub reward: Option<Checkpoint>,
    /// The tokenizer.
    pub tokenizer: TextTokenizer,
    /// Where tensors live.
    pub device: Device,
    /// Length limit, decode batch and stop tokens.
    pub generation: GenerationConfig,
    /// Prompts to learn from.
    pub prompts: Vec<Vec<u32>>,
    /// Prompts that quality is shown on.
    pub held_out: Vec<Vec<u32>>,
    /// Pairs to learn from.
    pub pairs: Vec<(Sequence, Sequence)>,
    /// The run's folder.
    pub folder: RunFolder,
    /// Set by Ctrl-C.
    pub stop: StopFlag,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// How much is done at a time.
    pub passes: PassArgs,
    companions: PathBuf,
    has_gold: bool,
}

impl CommonArgs {
    /// Loads everything.
    ///
    /// # Errors
    /// A file that is missing or malformed, named.
    pub fn open(&self, name: &str, stop: &StopFlag) -> Result<Setup> {
        self.passes.check()?;
        let named = || PathBuf::from(format!("runs/{name}-{}", self.seed));
        let path = self.out.clone().unwrap_or_else(named);
        let overwrite = if self.out.is_some() { Overwrite::Refuse } else { Overwrite::Replace };
        let folder = RunFolder::create(path, overwrite)?;
        let mut setup = match &self.model {
            Some(dir) => self.own(dir, folder, stop)?,
            None => self.shipped(folder, stop)?,
        };
        let decoded = self.passes.generate_batch.unwrap_or(setup.generation.batch_size);
        setup.generation.batch_size = decoded;
        Ok(setup)
    }

    fn shipped(&self, folder: RunFolder, stop: &StopFlag) -> Result<Setup> {
        let mut recipe = Recipe { seed: self.seed, ..Recipe::default() };
        if self.smoke {
            recipe = recipe.smoke();
        }
        recipe.generation.max_new_tokens = self.max_new_tokens;
        let kind = if self.smoke { "smoke" } else { "lab" };
        let lab = Lab::open(recipe, PathBuf::from(format!("runs/{kind}-{}", self.seed)), stop)?;
        Ok(Setup {
            policy: lab.sft()?,
            reward: Some(lab.reward_model()?),
            device: lab.device.clone(),
            generation: lab.recipe.generation.clone(),
            prompts: lab.data.prompts.clone(),
            held_out: lab.data.held_out.clone(),
            pairs: lab.data.preferences.clone(),
            tokenizer: lab.tokenizer,
            folder,
            stop: stop.clone(),
            seed: self.seed,
            passes: self.passes.clone(),
            companions: crate::base_model_dir(),
            has_gold: true,
        })
    }

    fn own(&self, dir: &Path, folder: RunFolder, stop: &StopFlag) -> Result<Setup> {
        let device = device::open(&self.device)?;
        let policy = load_checkpoint(dir, &device)?;
        let reward = self.reward.as_deref().map(|dir| load_checkpoint(dir, &device)).transpose()?;
        if let Some(reward) = &reward {
            ensure!(reward.reward_head.is_some(), "the reward model has no `score.weight`");
        }
        let tokenizer = load_tokenizer(dir)?;
        let template = ChatTemplate::from_dir(dir)?;
        let context = policy.trunk.architecture().context;
        let room = context.checked_sub(self.max_new_tokens).filter(|room| *room > 0);
        let room = room.with_context(|| {
            format!("a context of {context} leaves no room for {} new tokens", self.max_new_tokens)
        })?;
        let reader =
            |context| Reader { template: template.as_ref(), ..Reader::new(&tokenizer, context) };
        let names = |path: &PathBuf| [path.display().to_string()];
        let mut prompts = match &self.prompts {
            Some(path) => reader(room + 1).prompts(&names(path))?.0,
            None => Vec::new(),
        };
        let pairs = match &self.preferences {
            Some(path) => reader(context).preferences(&names(path))?.0,
            None => Vec::new(),
        };
        let held_out = prompts.split_off(prompts.len() - prompts.len() / 10);
        let generation = GenerationConfig {
            max_new_tokens: self.max_new_tokens,
            stop_tokens: tokenizer.eos_ids().to_vec(),
            ..GenerationConfig::default()
        };
        Ok(Setup {
            policy,
            reward,
            device,
            generation,
            held_out,
            prompts,
            pairs: pairs.into_iter().map(|p| (p.chosen, p.rejected)).collect(),
            tokenizer,
            folder,
            stop: stop.clone(),
            seed: self.seed,
            passes: self.passes.clone(),
            companions: dir.to_owned(),
            has_gold: false,
        })
    }
}

impl Setup {
    /// The reward model.
    ///
    /// # Errors
    /// None was given.
    pub fn reward(&self) -> Result<&Checkpoint> {
        self.reward.as_ref().context("--reward DIR is needed: a model with a `score.weight`")
    }

    /// Prompts to learn from.
    ///
    /// # Errors
    /// None were given.
    pub fn prompts(&self) -> Result<&[Vec<u32>]> {
        ensure!(!self.prompts.is_empty(), "--prompts FILE with some prompts is needed");
        Ok(&self.prompts)
    }

    /// Pairs to learn from.
    ///
    /// # Errors
    /// None were given.
    pub fn pairs(&self) -> Result<&[(Sequence, Sequence)]> {
        ensure!(!self.pairs.is_empty(), "--preferences FILE with some pairs is needed");
        Ok(&self.pairs)
    }

    /// `samples` responses of a policy to each of some prompts; `round` names the random numbers.
    ///
    /// # Errors
    /// What sampling reports.
    pub fn sample(
        &self,
        bank: &ModelBank,
        prompts: &[Vec<u32>],
        samples: usize,
        round: usize,
    ) -> Result<Vec<Episode>> {
        let offset = (round * prompts.len() * samples) as u64;
        let prompts = sample_prompts(prompts, samples, self.seed, offset);
        respond(bank, &prompts, &self.generation, &SamplerConfig::default(), &self.stop)
    }

    /// The prompts of a round: the data are gone through again and again.
    ///
    /// # Errors
    /// There are none.
    pub fn prompts_of(&self, round: usize, count: usize) -> Result<Vec<Vec<u32>>> {
        let all = self.prompts()?;
        Ok(all.iter().cycle().skip(round * count % all.len()).take(count).cloned().collect())
    }

    /// Scores by a reward model that is loaded for it alone.
    ///
    /// # Errors
    /// There is none, or it cannot read the sequences.
    pub fn scores(&self, sequences: &[Sequence]) -> Result<Vec<f32>> {
        let bank = ModelBank::frozen(self.reward()?.clone());
        let bank = self.passes.carry(bank)?;
        Ok(reward_scores(&bank, sequences, self.passes.rows())?)
    }

    /// One line on how good responses are: the true score where the program knows it, else the reward
    /// model's.
    ///
    /// # Errors
    /// What reading or decoding report.
    pub fn describe(&self, episodes: &[Episode]) -> Result<String> {
        let length = episodes.iter().map(|e| e.response.len()).sum::<usize>();
        let length = length as f64 / episodes.len().max(1) as f64;
        let mut text = format!("{} responses of {length:.1} tokens", episodes.len());
        if self.has_gold {
            let gold = mean(&gold_scores(&self.tokenizer, episodes)?).unwrap_or(f64::NAN);
            text += &format!(", gold score {gold:.2}");
        }
        if self.reward.is_some() && !episodes.is_empty() {
            let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
            let scores: Vec<f64> = self.scores(&rows)?.into_iter().map(f64::from).collect();
            text += &format!(", reward {:.2}", mean(&scores).unwrap_or(f64::NAN));
        }
        Ok(text)
    }

    /// How good a policy is on the held-out prompts.
    ///
    /// # Errors
    /// As [`Setup::sample`] and [`Setup::describe`].
    pub fn show(&self, bank: &ModelBank) -> Result<String> {
        if self.held_out.is_empty() {
            return Ok("no prompts are held out".into());
        }
        self.describe(&self.sample(bank, &self.held_out, 1, usize::MAX >> 32)?)
    }

    /// Saves the policy in Hugging Face layout, with its tokenizer, and returns the folder.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, bank: &ModelBank) -> Result<PathBuf> {
        let dir = self.folder.file("model");
        let trained = bank.checkpoint(Role::Actor)?;
        save_checkpoint(&dir, &trained.trunk, None, &SaveOptions::default())?;
        copy_companions(&self.companions, &dir)?;
        Ok(dir)
    }
}

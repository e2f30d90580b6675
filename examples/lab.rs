//! What every method of the comparison starts from: a fine-tuned model and a reward model of the
//! shipped task, made once per seed and kept in a folder.

use crate::data::{RunData, gold_scores, load_tokenizer};
use crate::evaluate::respond;
use crate::recipe::Recipe;
use crate::stages::{Stages, Trained};
use crate::{base_model_dir, device};
use anyhow::{Context, Result, bail};
use hydralign::algorithms::{reward_scores, sampled_kl, sequences_fingerprint};
use hydralign::core::Fingerprint;
use hydralign::core::random::sub_seed;
use hydralign::data::TextTokenizer;
use hydralign::memory::{PassTokens, forward_flops, generate_flops, train_flops};
use hydralign::models::{ModelBank, ModelError, SaveOptions, load_checkpoint, save_checkpoint};
use hydralign::prelude::*;
use hydralign::rollout::sample_prompts;
use hydralign::runs::{Ledger, StopFlag, WinRate, paired_win_rate, write_atomic};
use hydralign::train::Sampling;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The models and data of one seed.
pub struct Lab {
    /// Settings of the stages before, of generation and of evaluation.
    pub recipe: Recipe,
    /// The task's data.
    pub data: RunData,
    /// Its tokenizer.
    pub tokenizer: TextTokenizer,
    /// Where tensors live.
    pub device: Device,
    /// Set by Ctrl-C.
    pub stop: StopFlag,
    /// The shape of all models.
    pub shape: ModelShape,
    folder: PathBuf,
    made_of: String,
}

/// How good a policy is on the held-out prompts.
#[derive(Clone, Debug)]
pub struct Quality {
    /// The responses.
    pub episodes: Vec<Episode>,
    /// True score of each.
    pub gold: Vec<f64>,
    /// The reward model's score of each.
    pub reward: Vec<f64>,
    /// Sampled KL from the fine-tuned model, nats per response.
    pub kl: f64,
}

impl Quality {
    /// How often these responses are better than others to the same prompts.
    pub fn against(&self, other: &[f64]) -> Option<WinRate> {
        paired_win_rate(&self.gold, other)
    }
}

impl Lab {
    /// Opens the lab of a seed, training and saving what its folder does not hold yet, or holds of another
    /// version, recipe or base model.
    ///
    /// # Errors
    /// What training or saving report; an interrupt.
    pub fn open(recipe: Recipe, folder: PathBuf, stop: &StopFlag) -> Result<Self> {
        let (lab, base) = Self::planned(recipe, folder, stop)?;
        lab.prepare(&base)?;
        Ok(lab)
    }

    /// The lab of a seed with its base model, of which nothing is made yet.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn planned(recipe: Recipe, folder: PathBuf, stop: &StopFlag) -> Result<(Self, Checkpoint)> {
        let device = device::open("flex")?;
        let tokenizer = load_tokenizer(&base_model_dir())?;
        let base = load_checkpoint(&base_model_dir(), &device)?;
        let mut recipe = recipe;
        recipe.generation.stop_tokens = tokenizer.eos_ids().to_vec();
        let data = RunData::of_task(&tokenizer, base.trunk.architecture().context, &recipe)?;
        let shape = base.trunk.architecture().shape.clone();
        let made_of = made_of(&recipe, &base, &data)?;
        let stop = stop.clone();
        let lab = Self { recipe, data, tokenizer, device, stop, shape, folder, made_of };
        Ok((lab, base))
    }

    /// A reward model of the right shape that has learnt nothing.
    ///
    /// # Errors
    /// A model that cannot be built.
    pub fn untrained_reward(base: &Checkpoint) -> Result<Checkpoint> {
        let (placement, start) = (Placement::reward_model(), Start::joint(base));
        let bank = ModelBank::new(&placement, &start, &LoraShape::default(), 0)?;
        Ok(bank.checkpoint(Role::Reward)?)
    }

    /// A name of all that the lab's models follow from.
    pub fn made_of(&self) -> &str {
        &self.made_of
    }

    /// Trains and saves what the folder does not hold.
    ///
    /// # Errors
    /// What training or saving report; an interrupt.
    pub fn prepare(&self, base: &Checkpoint) -> Result<()> {
        let Self { recipe, data, stop, device, tokenizer, .. } = self;
        let ledger = Ledger::default();
        let stages =
            Stages { recipe, data, stop, device, tokenizer, ledger: &ledger, checkpoints: None };
        std::fs::create_dir_all(&self.folder)?;
        self.keep("sft", Role::Actor, || stages.train_sft(base, &mut ()))?;
        self.keep("reward", Role::Reward, || stages.train_reward_model(&self.sft()?, &mut ()))
    }

    /// Makes a model, unless the folder holds it and a file beside it says that it was made of the same.
    fn keep(&self, name: &str, role: Role, make: impl FnOnce() -> Result<Trained>) -> Result<()> {
        let (dir, note) = (self.folder.join(name), self.folder.join(format!("{name}.made_of")));
        if dir.exists() && std::fs::read_to_string(&note).is_ok_and(|of| of == self.made_of) {
            return Ok(());
        }
        // What is replaced must not be taken for what it was, wherever this is cut off.
        match std::fs::remove_file(&note) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error)?,
            _ => save_trained(&dir, role, make()?)?,
        }
        Ok(write_atomic(&note, self.made_of.as_bytes())?)
    }

    /// An error once Ctrl-C was pressed: what was under way is not finished.
    ///
    /// # Errors
    /// Exactly then.
    pub fn check_stopped(&self) -> Result<()> {
        if self.stop.is_stopped() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// The fine-tuned model, from its file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn sft(&self) -> Result<Checkpoint> {
        Ok(self.load("sft")?)
    }

    /// The reward model, from its file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn reward_model(&self) -> Result<Checkpoint> {
        Ok(self.load("reward")?)
    }

    /// A model, `sft` or `reward`, from its file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn load(&self, name: &str) -> Result<Checkpoint, ModelError> {
        load_checkpoint(&self.folder.join(name), &self.device)
    }

    /// The seed of a named part.
    pub fn seed(&self, name: &str) -> u64 {
        sub_seed(self.recipe.seed, name)
    }

    /// What a method samples: so many prompts a round, and so many responses to each.
    pub fn sampling(&self, prompts: usize, samples: usize) -> Sampling<'_> {
        let generation = self.recipe.generation.clone();
        let (prompts_per_round, seed) = (prompts, self.recipe.seed);
        let sampling = Sampling::new(&self.data.prompts, generation);
        Sampling { prompts_per_round, samples, seed, ..sampling }
    }

    /// A policy's responses to prompts.
    ///
    /// # Errors
    /// What sampling reports.
    pub fn respond(
        &self,
        bank: &ModelBank,
        prompts: &[Prompt],
        sampler: &SamplerConfig,
    ) -> Result<Vec<Episode>> {
        respond(bank, prompts, &self.recipe.generation, sampler, &self.stop)
    }

    /// The reward model's scores of responses. It is loaded for that and dropped.
    ///
    /// # Errors
    /// A model that cannot be loaded or read.
    pub fn scores(&self, sequences: &[Sequence]) -> Result<Vec<f32>> {
        let bank = ModelBank::frozen(self.reward_model()?);
        Ok(reward_scores(&bank, sequences, self.recipe.ppo.ppo.score_batch)?)
    }

    /// Prompts that quality is measured on, with the same random numbers for every policy.
    pub fn held_out(&self) -> Vec<Prompt> {
        let samples = self.recipe.evaluation.samples;
        sample_prompts(&self.data.held_out, samples, self.seed("evaluation"), 0)
    }

    /// The quality of responses to [`Lab::held_out`].
    ///
    /// # Errors
    /// What reading or decoding report.
    pub fn quality(&self, episodes: Vec<Episode>) -> Result<Quality> {
        let gold = gold_scores(&self.tokenizer, &episodes)?;
        let sequences: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
        let reward = self.scores(&sequences)?.into_iter().map(f64::from).collect();
        let sft = ModelBank::frozen(self.sft()?);
        let rows = self.recipe.ppo.ppo.score_batch;
        let kl = sampled_kl(&sft, Reading::Logprobs(Role::Actor), &episodes, rows)?;
        Ok(Quality { episodes, gold, reward, kl })
    }

    /// Operations of sampling the responses of these sequences.
    ///
    /// # Errors
    /// Numbers that overflow.
    pub fn sampling_flops(&self, sequences: &[Sequence]) -> Result<f64> {
        let one = |s: &Sequence| {
            generate_flops(&self.shape, s.prompt.len() as u64, s.response.len() as u64)
        };
        sequences.iter().map(|e| Ok(one(e)? as f64)).sum()
    }

    /// Operations of reading these sequences once, with predictions of their responses or, for a
    /// scalar head, without.
    ///
    /// # Errors
    /// Numbers that overflow.
    pub fn reading_flops(&self, sequences: &[Sequence], logits: bool) -> Result<f64> {
        let one = |s: &Sequence| forward_flops(&self.shape, pass(s, logits));
        sequences.iter().map(|s| Ok(one(s)? as f64)).sum()
    }

    /// Operations of learning from these sequences once, all weights trained.
    ///
    /// # Errors
    /// Numbers that overflow.
    pub fn learning_flops(&self, sequences: &[Sequence], logits: bool) -> Result<f64> {
        let one = |s: &Sequence| train_flops(&self.shape, pass(s, logits), true);
        sequences.iter().map(|s| Ok(one(s)? as f64)).sum()
    }

    /// Gold scores of the fine-tuned model itself on the held-out prompts.
    ///
    /// # Errors
    /// What sampling reports.
    pub fn baseline(&self) -> Result<Quality> {
        let sft = ModelBank::frozen(self.sft()?);
        let episodes = self.respond(&sft, &self.held_out(), &SamplerConfig::default())?;
        drop(sft);
        self.quality(episodes).context("the fine-tuned model")
    }
}

/// A name of all that models follow from which a recipe trains on the shipped task: the base model, the
/// data, the settings of the stages and the version of the library.
///
/// # Errors
/// Never in practice: settings are plain data.
pub fn made_of(recipe: &Recipe, base: &Checkpoint, data: &RunData) -> Result<String> {
    let mut fingerprint = Fingerprint::new("hydralign stages 1");
    fingerprint.text(env!("CARGO_PKG_VERSION"));
    fingerprint.text(&base.fingerprint());
    let Recipe { seed, lora, optimizer, sft, hydra_sft, .. } = recipe;
    fingerprint.text(&serde_json::to_string(&(seed, lora, optimizer, sft, hydra_sft))?);
    fingerprint.text(&sequences_fingerprint(&data.demonstrations));
    let pairs: Vec<Sequence> =
        data.preferences.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    fingerprint.text(&sequences_fingerprint(&pairs));
    Ok(fingerprint.finish())
}

fn pass(sequence: &Sequence, logits: bool) -> PassTokens {
    let predicted = if logits { sequence.response_tokens() as u64 } else { 0 };
    PassTokens { tokens: sequence.len() as u64, predicted }
}

/// Saves what a stage has learnt. What is not complete goes beside its place: nothing may start from it
/// by mistake.
fn save_trained(path: &Path, role: Role, trained: Trained) -> Result<()> {
    let Trained { bank, progress, ended } = trained;
    let complete = ended.is_ok() && progress.done == progress.steps;
    let mut name = path.as_os_str().to_owned();
    name.push(if complete { "" } else { "-unfinished" });
    let path = PathBuf::from(name);
    if complete || progress.done > 0 {
        let saved = bank.checkpoint(role)?;
        let head = saved.reward_head.as_ref().filter(|_| role == Role::Reward);
        save_checkpoint(&path, &saved.trunk, head, &SaveOptions::default())?;
    }
    let kept = match progress.done {
        0 => "nothing was learnt".to_owned(),
        _ => format!("the weights {progress} are in {}", path.display()),
    };
    match ended {
        Err(error) => Err(error.context(kept)),
        Ok(()) if !complete => {
            bail!("stopped: {kept}; the same command begins that stage anew")
        }
        Ok(()) => Ok(()),
    }
}

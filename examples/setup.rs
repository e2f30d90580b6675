//! What the short recipes begin with: the shipped task's models and data, or the user's own.

use crate::adapter::{AdapterArgs, base_name};
use crate::data::{gold_scores, inputs, load_tokenizer, note_ending};
use crate::device;
use crate::evaluate::respond;
use crate::held_out::HeldOut;
use crate::lab::Lab;
use crate::recipe::Recipe;
use crate::reward::{OwnReward, RewardEnding};
use crate::rows::{RowArgs, RowCounts};
use crate::{note, say};
use anyhow::{Context, Result, anyhow, ensure};
use hydralign::algorithms::sequences_fingerprint;
use hydralign::core::CoreError;
use hydralign::core::random::sub_seed;
use hydralign::data::{ChatTemplate, PromptSource, Reader, TextTokenizer, find_files};
use hydralign::memory::Dtype;
use hydralign::models::{
    ModelBank, SaveOptions, copy_companions, load_checkpoint, save_adapter, save_checkpoint,
};
use hydralign::prelude::*;
use hydralign::rewards::ModelText;
use hydralign::rollout::sample_prompts;
use hydralign::runs::{
    CHECKPOINTS, CommandLine, Inputs, Kept, NumberCache, Overwrite, Place, RunConfig, RunError,
    RunFolder, RunStatus, Sample, SamplesFile, Setting, Steps, StopFlag, keep_in, mean,
    record_command,
};
use hydralign::train::carried;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How much is done at a time: memory depends on it, results do not. The program `plan` prints values that
/// fit into a budget.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct PassArgs {
    /// Responses that are decoded at a time [default: 16; of the shipped task 64].
    #[arg(long, value_name = "ROWS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate_batch: Option<usize>,
    /// Sequences that are read without a gradient at a time [default: 64].
    #[arg(long, value_name = "ROWS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_batch: Option<usize>,
    /// Rows, or pairs, that are differentiated at a time.
    #[arg(long, value_name = "ROWS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Tokens per piece in which the vocabulary is visited [default: all at once].
    #[arg(long, value_name = "TOKENS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprob_chunk: Option<usize>,
    /// Blocks that are recomputed together in a backward pass [default: nothing is recomputed].
    #[arg(long, value_name = "BLOCKS")]
    #[serde(skip_serializing_if = "Option::is_none")]
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
        Ok(carried(bank, self.execution(), self.frozen_dtype)?)
    }

    /// How passes are carried out.
    pub fn execution(&self) -> Execution {
        let Self { logprob_chunk, segment_blocks, .. } = *self;
        Execution { logprob_chunk, segment_blocks }
    }

    /// Sequences that are read at a time.
    pub fn rows(&self) -> usize {
        self.score_batch.unwrap_or(SCORE_BATCH)
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

/// Sequences that are read at a time, unless a flag says otherwise.
const SCORE_BATCH: usize = 64;

/// Flags that the recipes share.
#[derive(clap::Args, Debug, Serialize)]
pub struct CommonArgs {
    /// Your own policy in Hugging Face layout [default: the shipped task's fine-tuned model].
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub model: Option<PathBuf>,
    /// A sequence-classification model as the reward [default: the shipped task's].
    #[arg(long, value_name = "DIR", requires = "model")]
    #[serde(skip)]
    pub reward: Option<PathBuf>,
    /// Whether the reward model sees an end behind each response [default: as-sampled].
    #[arg(long, value_enum, requires = "reward")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_ending: Option<RewardEnding>,
    /// Prompts, one {"prompt": …} a line, or Parquet.
    #[arg(long, value_name = "FILE", requires = "model")]
    #[serde(skip)]
    pub prompts: Option<PathBuf>,
    /// Pairs, one {"prompt": …, "chosen": …, "rejected": …} a line, or Parquet.
    #[arg(long, value_name = "FILE", requires = "model")]
    #[serde(skip)]
    pub preferences: Option<PathBuf>,
    /// Run folder; `model` in it is the trained model [default: runs/NAME-SEED].
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub out: Option<PathBuf>,
    /// Replace an earlier result there, when the new one is complete.
    #[arg(long)]
    #[serde(skip)]
    pub overwrite: bool,
    /// Settings and input files of an earlier run, its config.toml; flags override them.
    #[arg(long, value_name = "FILE.toml")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// One setting beside the file, by the name of its flag; it wins over the file.
    #[arg(long, value_name = "KEY=VALUE")]
    #[serde(skip)]
    pub set: Vec<Setting>,
    /// Read all inputs, refuse what a run would refuse, and say what it would do: nothing is written.
    #[arg(long)]
    #[serde(skip)]
    pub dry_run: bool,
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
    /// Rows that cannot be learnt from.
    #[command(flatten)]
    #[serde(flatten)]
    pub rows: RowArgs,
    /// How much is done at a time.
    #[command(flatten)]
    #[serde(flatten)]
    pub passes: PassArgs,
    /// What is trained.
    #[command(flatten)]
    #[serde(flatten)]
    pub adapter: AdapterArgs,
}

/// A policy, a reward, data, and where the result goes.
pub struct Setup {
    /// Where the policy starts.
    pub policy: Checkpoint,
    /// The reward model, if there is one.
    pub reward: Option<OwnReward>,
    /// The tokenizer.
    pub tokenizer: TextTokenizer,
    /// Where tensors live.
    pub device: Device,
    /// Length limit, decode batch and stop tokens.
    pub generation: GenerationConfig,
    /// Prompts to learn from, and those that quality is shown on.
    pub data: HeldOut,
    /// Pairs to learn from.
    pub pairs: Vec<(Sequence, Sequence)>,
    /// Where the result may go.
    pub place: Place,
    /// The user's files, with fingerprints.
    pub inputs: Inputs,
    /// What became of their rows.
    pub rows: RowCounts,
    /// Set by Ctrl-C.
    pub stop: StopFlag,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// How much is done at a time.
    pub passes: PassArgs,
    /// Shape of fresh adapters, if such are trained.
    pub lora: Option<LoraShape>,
    /// What is learnt and saved: a policy, or a reward model.
    pub learns: Role,
    /// Name of the program, which is that of its stage.
    name: String,
    device_name: String,
    reading: String,
    pub(crate) companions: PathBuf,
    has_gold: bool,
}

/// Share of the user's own prompts that quality is shown on.
const HELD_OUT: f64 = 0.1;

impl CommonArgs {
    /// Writes the defaults out, so that the saved settings show them; `micro_batch` is the program's, if it
    /// has one.
    pub fn fill(&mut self, micro_batch: Option<usize>) {
        self.passes.generate_batch.get_or_insert(self.decoded());
        self.passes.score_batch.get_or_insert(SCORE_BATCH);
        self.adapter.fill();
        self.passes.micro_batch = self.passes.micro_batch.or(micro_batch);
        if self.reward.is_some() {
            self.reward_ending.get_or_insert_default();
        }
    }

    /// Whether all weights that are held are trained, but for a reference.
    pub fn nothing_frozen(&self) -> bool {
        self.reward.is_none() && !self.adapter.is_set()
    }

    /// Responses that are decoded at a time.
    fn decoded(&self) -> usize {
        let own = || match self.model {
            Some(_) => GenerationConfig::default().batch_size,
            None => Recipe::default().generation.batch_size,
        };
        self.passes.generate_batch.unwrap_or_else(own)
    }

    /// Loads everything. Nothing is written yet.
    ///
    /// # Errors
    /// A file that is missing or malformed, named.
    pub fn open(&self, name: &str, stop: &StopFlag) -> Result<Setup> {
        self.passes.check()?;
        ensure!(self.max_new_tokens > 0, "--max-new-tokens must be at least 1");
        let mut setup = match &self.model {
            Some(dir) => self.own(dir, name, stop)?,
            None => self.shipped(name, stop)?,
        };
        if let Some(lora) = &setup.lora {
            let widest = setup.policy.trunk.architecture().shape.hidden;
            ensure!(
                lora.rank <= widest,
                "--lora-rank {} is above the {widest} of the states: such adapters are larger than what they adapt",
                lora.rank
            );
        }
        setup.generation.batch_size = self.decoded();
        Ok(setup)
    }

    fn place(&self, name: &str) -> Place {
        Place {
            out: self.out.clone(),
            default: PathBuf::from(format!("runs/{name}-{}", self.seed)),
            existing: existing(self.overwrite),
            repeatable: self.model.is_none(),
        }
    }

    fn inputs(&self) -> Result<Inputs> {
        let Self { model, reward, prompts, preferences, .. } = self;
        inputs(&[
            ("model", model.as_deref()),
            ("adapter", self.adapter.adapter.as_deref()),
            ("reward", reward.as_deref()),
            ("prompts", prompts.as_deref()),
            ("preferences", preferences.as_deref()),
        ])
    }

    /// What the bits of a reference's log-probabilities follow from, beside the model and what it reads. On
    /// the CPU they do not change with how much is read at a time.
    fn reading(&self) -> String {
        let (rows, tokens) = (self.passes.rows(), self.passes.logprob_chunk);
        let numbers = if self.adapter.is_set() { self.passes.frozen_dtype } else { Dtype::F32 };
        let reading = format!("{} {}", self.device, numbers.name());
        match self.device.as_str() {
            "flex" => reading,
            _ => format!("{reading}, {rows} rows, {tokens:?} tokens"),
        }
    }

    fn shipped(&self, name: &str, stop: &StopFlag) -> Result<Setup> {
        let mut recipe = Recipe { seed: self.seed, ..Recipe::default() };
        if self.smoke {
            recipe = recipe.smoke();
        }
        recipe.generation.max_new_tokens = self.max_new_tokens;
        let kind = if self.smoke { "smoke" } else { "lab" };
        let folder = PathBuf::from(format!("runs/{kind}-{}", self.seed));
        let (lab, policy, reward) = match self.dry_run {
            true => untrained(recipe, folder, stop)?,
            false => {
                let lab = Lab::open(recipe, folder, stop)?;
                let (policy, reward) = (lab.sft()?, lab.reward_model()?);
                (lab, policy, reward)
            }
        };
        Ok(Setup {
            policy,
            reward: Some(OwnReward::of_policy(reward, lab.tokenizer.clone())?),
            device: lab.device.clone(),
            generation: lab.recipe.generation.clone(),
            data: HeldOut {
                prompts: lab.data.prompts.clone(),
                held_out: lab.data.held_out.clone(),
                notes: Vec::new(),
            },
            pairs: lab.data.preferences.clone(),
            tokenizer: lab.tokenizer,
            place: self.place(name),
            inputs: Inputs::new(),
            rows: RowCounts::default(),
            stop: stop.clone(),
            seed: self.seed,
            passes: self.passes.clone(),
            lora: self.adapter.shape()?,
            learns: Role::Actor,
            name: name.to_owned(),
            device_name: self.device.clone(),
            reading: self.reading(),
            companions: crate::base_model_dir(),
            has_gold: true,
        })
    }

    fn own(&self, dir: &Path, name: &str, stop: &StopFlag) -> Result<Setup> {
        let inputs = self.inputs()?;
        let device = device::open(&self.device)?;
        let mut policy = load_checkpoint(dir, &device)?;
        self.adapter.load(&mut policy, &device)?;
        let tokenizer = load_tokenizer(dir)?.with_rows(policy.trunk.architecture().shape.vocab);
        let template = ChatTemplate::from_dir(dir)?;
        note_ending(template.as_ref(), &tokenizer);
        let context = policy.trunk.architecture().context;
        let room = context.checked_sub(self.max_new_tokens).filter(|room| *room > 0);
        let room = room.with_context(|| {
            format!("a context of {context} leaves no room for {} new tokens", self.max_new_tokens)
        })?;
        let reader = |context| {
            let reader = Reader::new(&tokenizer, context);
            self.rows.apply(Reader { template: template.as_ref(), ..reader })
        };
        let given = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let mut rows = RowCounts::default();
        let prompts = match given(&self.prompts) {
            Some(path) => {
                let read = reader(room + 1).prompt_sources(&[&path]);
                let read = read.map_err(|e| e.with_response(self.max_new_tokens, context));
                rows.told("prompts", &path, &self.rows, read)?
            }
            None => Vec::new(),
        };
        let pairs = match given(&self.preferences) {
            Some(path) => {
                let read = reader(context).preferences(&[&path]);
                rows.told("preferences", &path, &self.rows, read)?
            }
            None => Vec::new(),
        };
        let tokens: Vec<Vec<u32>> = prompts.iter().map(|prompt| prompt.tokens.clone()).collect();
        let elsewhere = pairs.iter().map(|p| &p.chosen.prompt);
        let seed = sub_seed(self.seed, "held out");
        let mut data = HeldOut::divide(&tokens, elsewhere, HELD_OUT, seed)?;
        let pairs = data.without("preferences", pairs, |p| &p.chosen.prompt)?;
        data.say();
        let vocab = policy.trunk.architecture().shape.vocab;
        let reward = self.own_reward(&reader(context), vocab, prompts, &device)?;
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
            data,
            pairs: pairs.into_iter().map(|p| (p.chosen, p.rejected)).collect(),
            tokenizer,
            place: self.place(name),
            inputs,
            rows,
            stop: stop.clone(),
            seed: self.seed,
            passes: self.passes.clone(),
            lora: self.adapter.shape()?,
            learns: Role::Actor,
            name: name.to_owned(),
            device_name: self.device.clone(),
            reading: self.reading(),
            companions: dir.to_owned(),
            has_gold: false,
        })
    }

    /// The reward model, if one is given. `reader` is the policy's, whose vocabulary has so many tokens.
    fn own_reward(
        &self,
        reader: &Reader<'_>,
        vocab: usize,
        mut prompts: Vec<PromptSource>,
        device: &Device,
    ) -> Result<Option<OwnReward>> {
        let Some(dir) = &self.reward else { return Ok(None) };
        if let Some(path) = &self.preferences {
            prompts.extend(reader.prompt_sources(&[path.display().to_string()])?.0);
        }
        let (tokenizer, template) = (reader.tokenizer.clone(), reader.template.cloned());
        let policy = (ModelText { tokenizer, template }, vocab);
        OwnReward::open(dir, device, policy, prompts, self.reward_ending.unwrap_or_default().into())
            .map(Some)
    }
}

/// The shipped task's lab with models of the right shape that nothing was trained for.
fn untrained(
    recipe: Recipe,
    folder: PathBuf,
    stop: &StopFlag,
) -> Result<(Lab, Checkpoint, Checkpoint)> {
    note(&format!(
        "the shipped task's fine-tuned model and its reward model are trained first, unless {} holds them",
        folder.display()
    ));
    let (lab, base) = Lab::planned(recipe, folder, stop)?;
    let reward = Lab::untrained_reward(&base)?;
    Ok((lab, base, reward))
}

impl Setup {
    /// The starting policy, read as it begins: in its own numbers where all weights are trained, whatever the
    /// format of frozen models, and else in those of the frozen weights below the adapter, so that policy and
    /// reference begin as one function.
    ///
    /// # Errors
    /// As [`PassArgs::carry`].
    pub fn start(&self) -> Result<ModelBank> {
        let numbers = if self.trains_adapters() { self.passes.frozen_dtype } else { Dtype::F32 };
        let frozen = ModelBank::frozen(self.policy.clone());
        Ok(carried(frozen, self.passes.execution(), numbers)?)
    }

    /// The key under which the starting policy's log-probabilities of sequences may be kept: all that
    /// they follow from.
    pub fn reference_key(&self, sequences: &[Sequence]) -> [String; 3] {
        [self.policy.fingerprint(), sequences_fingerprint(sequences), self.reading.clone()]
    }

    /// The reward model.
    ///
    /// # Errors
    /// None was given.
    pub fn reward(&self) -> Result<&OwnReward> {
        self.reward.as_ref().context("--reward DIR is needed: a model with a `score.weight`")
    }

    /// Prompts to learn from.
    ///
    /// # Errors
    /// None were given.
    pub fn prompts(&self) -> Result<&[Vec<u32>]> {
        ensure!(!self.data.prompts.is_empty(), "--prompts FILE with some prompts is needed");
        Ok(&self.data.prompts)
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

    /// Scores by a reward model that is held for it alone.
    ///
    /// # Errors
    /// There is none, or it cannot read the sequences.
    pub fn scores(&self, sequences: &[Sequence]) -> Result<Vec<f32>> {
        let reward = self.reward()?;
        let bank = self.passes.carry(reward.bank())?;
        reward.scores(&bank, sequences, self.passes.rows())
    }

    /// A reward model that is built when it is asked and dropped when it has answered.
    ///
    /// # Errors
    /// There is none.
    pub fn passing_reward(&self) -> Result<impl Reward> {
        let reward = self.reward()?;
        let passes = self.passes.clone();
        Ok(Passing { reward, passes })
    }

    /// How good responses are, by name: the true score where the program knows it, and the reward model's if
    /// there is one.
    ///
    /// # Errors
    /// What reading or decoding report.
    fn judge(&self, episodes: &[Episode]) -> Result<Vec<(&'static str, Vec<f64>)>> {
        let mut scores = Vec::new();
        if self.has_gold {
            scores.push(("gold score", gold_scores(&self.tokenizer, episodes)?));
        }
        if self.reward.is_some() && !episodes.is_empty() {
            let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
            scores.push(("reward", self.scores(&rows)?.into_iter().map(f64::from).collect()));
        }
        Ok(scores)
    }

    /// One line on how good responses are.
    ///
    /// # Errors
    /// What reading or decoding report.
    pub fn describe(&self, episodes: &[Episode]) -> Result<String> {
        Ok(line(episodes, &self.judge(episodes)?))
    }

    /// How good a policy is on the held-out prompts, in a line, and what it says to them; `step` steps are in
    /// it.
    fn show(&self, bank: &ModelBank, step: usize) -> Result<(String, Vec<Sample>)> {
        if self.learns == Role::Reward {
            return Ok(("a reward model, which gives no responses".into(), Vec::new()));
        }
        if self.data.held_out.is_empty() {
            return Ok(("no prompts are held out".into(), Vec::new()));
        }
        let episodes = self.sample(bank, &self.data.held_out, 1, usize::MAX >> 32)?;
        let scores = self.judge(&episodes)?;
        let sample = |(index, episode): (usize, &Episode)| -> Result<Sample> {
            let finite = |values: &[f64]| values.get(index).copied().filter(|v| v.is_finite());
            let scores = scores.iter().map(|(name, of)| ((*name).to_owned(), finite(of)));
            Ok(Sample {
                stage: self.name.clone(),
                step,
                prompt: self.tokenizer.decode(&episode.prompt, true)?,
                response: self.tokenizer.decode(&episode.response, true)?,
                scores: scores.collect(),
            })
        };
        let samples = episodes.iter().enumerate().map(sample).collect::<Result<_>>()?;
        Ok((line(&episodes, &scores), samples))
    }

    /// How good a policy is on the held-out prompts, before anything is learnt; what it says to them is
    /// written into the run's folder, if there is one.
    ///
    /// # Errors
    /// As [`Setup::sample`] and [`Setup::describe`]; a file that cannot be written; a signal.
    pub fn show_start(&self, bank: &ModelBank, folder: Option<&RunFolder>) -> Result<String> {
        let (text, samples) = match self.show(bank, 0) {
            Err(_) if self.stop.is_stopped() => return Err(nothing_learnt()),
            shown => shown?,
        };
        let path = folder.map(|folder| folder.file(SAMPLES));
        let file = path.map(|path| match self.place.existing {
            Overwrite::Continue => SamplesFile::resume(&path, |_| true),
            _ => SamplesFile::create(&path),
        });
        if let Some(mut file) = file.transpose()? {
            file.write(&samples)?;
        }
        Ok(text)
    }

    /// Makes the run's folder, after all inputs are read and before anything is computed, and writes the
    /// settings into it.
    ///
    /// # Errors
    /// A folder that holds an earlier result, or cannot be written.
    pub fn begin<A: Serialize>(&self, settings: &A) -> Result<RunFolder> {
        let folder = begin(&self.place, &self.config(settings))?;
        let goes_on = self.place.existing == Overwrite::Continue;
        let command = CommandLine::of_process(&self.device_name);
        record_command(folder.path(), goes_on, command)?;
        self.rows.save(&folder)?;
        Ok(folder)
    }

    /// The configuration of the run.
    fn config<A>(&self, settings: A) -> RunConfig<A> {
        RunConfig { program: Some(self.name.clone()), settings, inputs: self.inputs.clone() }
    }

    /// What [`Setup::begin`] refuses; nothing is made.
    ///
    /// # Errors
    /// As [`Setup::begin`].
    pub fn check_place<A: Serialize>(&self, settings: &A) -> Result<()> {
        check_place(&self.place, &self.config(settings))
    }

    /// What a run does before its first step; an error is written into its folder's status.
    ///
    /// # Errors
    /// Those of the work.
    pub fn prepare<T>(&self, folder: &RunFolder, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = work();
        if let Err(error) = &done {
            let status = match self.stop.is_stopped() {
                true => RunStatus::stopped(),
                false => RunStatus::failed(format!("{error:#}")),
            };
            folder.set_not_begun(&status)?;
            report(folder.path());
        }
        done
    }

    /// Log-probabilities of references that runs beside this one may use too: the folder `references`
    /// beside the run's own.
    pub fn references(&self) -> NumberCache {
        NumberCache::new(self.place.folder().with_file_name("references"))
    }

    /// Saves what was learnt, then says where it is and how good it is, and writes the run's report.
    ///
    /// # Errors
    /// What ended the training early, with where the weights are; weights that cannot be saved.
    pub fn finish(
        &self,
        folder: RunFolder,
        bank: &ModelBank,
        progress: Steps,
        ended: Result<()>,
    ) -> Result<()> {
        let save = |dir: &Path| -> Result<()> { self.save(bank, dir) };
        let kept = match keep_in(&folder, self.result(), progress, ended, &self.stop, save) {
            Ok(kept) => kept,
            Err(error) => {
                report(folder.path());
                return Err(error);
            }
        };
        // What was learnt is saved, so whatever goes wrong with showing it is told after the rest is done.
        let after = self.after(&folder, bank, progress.done);
        match kept {
            Kept::Complete(_) => {
                let path = folder.finish()?;
                say!("saved in {}", path.join(self.result()).display());
                report(&path);
            }
            Kept::Stopped(path) => {
                say!("stopped: the weights {progress} are saved in {}", path.display());
                report(folder.path());
            }
        }
        match after {
            Err(_) if self.stop.is_stopped() => Ok(()),
            text => {
                say!("after:  {}", text?);
                Ok(())
            }
        }
    }

    /// Writes what a policy says to the held-out prompts after its last step; a line on how good it is.
    fn after(&self, folder: &RunFolder, bank: &ModelBank, step: usize) -> Result<String> {
        let (text, samples) = self.show(bank, step)?;
        SamplesFile::resume(&folder.file(SAMPLES), |sample| sample.step < step)?.write(&samples)?;
        Ok(text)
    }

    /// Writes the policy in Hugging Face layout with its tokenizer, or its adapter in PEFT layout.
    pub(crate) fn save(&self, bank: &ModelBank, dir: &Path) -> Result<()> {
        if self.learns == Role::Reward {
            return self.save_reward_model(bank, dir);
        }
        let trained = bank.checkpoint(Role::Actor)?;
        if let Some(adapter) = &trained.adapter {
            let base = base_name(&self.companions)?;
            return Ok(save_adapter(dir, adapter, None, trained.trunk.architecture(), &base)?);
        }
        save_checkpoint(dir, &trained.trunk, None, &SaveOptions::default())?;
        copy_companions(&self.companions, dir)?;
        Ok(())
    }
}

/// Name of the file of responses in a run's folder.
const SAMPLES: &str = "samples.jsonl";

/// Writes the report of a run. What the run has learnt is saved already, so a page that cannot be written is
/// told and no fault of the run.
pub fn report(folder: &Path) {
    if let Err(error) = hydralign::report::write(folder) {
        note(&format!("there is no report: {error}"));
    }
}

fn line(episodes: &[Episode], scores: &[(&str, Vec<f64>)]) -> String {
    let length = episodes.iter().map(|e| e.response.len()).sum::<usize>();
    let length = length as f64 / episodes.len().max(1) as f64;
    let mut text = format!("{} responses of {length:.1} tokens", episodes.len());
    for (name, values) in scores {
        text += &format!(", {name} {:.2}", mean(values).unwrap_or(f64::NAN));
    }
    text
}

struct Passing<'a> {
    reward: &'a OwnReward,
    passes: PassArgs,
}

impl Reward for Passing<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        let bank = self.passes.carry(self.reward.bank());
        let bank = bank.map_err(|error| CoreError::Other(error.into()))?;
        self.reward.by(&bank, self.passes.rows()).score(episodes)
    }
}

/// What becomes of an earlier result, by `--overwrite`.
pub fn existing(overwrite: bool) -> Overwrite {
    if overwrite { Overwrite::Replace } else { Overwrite::Refuse }
}

/// What a run ends with that was stopped before its first step.
pub fn nothing_learnt() -> anyhow::Error {
    RunError::NothingLearnt { why: "stopped".into() }.into()
}

/// Makes a run's folder, or says what the user can do.
///
/// # Errors
/// As [`Place::begin`].
pub fn begin<T: Serialize>(place: &Place, config: &RunConfig<T>) -> Result<RunFolder> {
    place.begin(config, &read_by(config)?).map_err(|error| advised(place, error))
}

/// What [`begin`] refuses; nothing is made.
///
/// # Errors
/// As [`Place::check`].
pub fn check_place<T: Serialize>(place: &Place, config: &RunConfig<T>) -> Result<()> {
    place.check(config, &read_by(config)?).map_err(|error| advised(place, error))
}

fn read_by<T>(config: &RunConfig<T>) -> Result<Vec<PathBuf>> {
    let read: Vec<&str> = config.inputs.values().map(|input| input.path.as_str()).collect();
    Ok(find_files(&read)?)
}

fn advised(place: &Place, error: RunError) -> anyhow::Error {
    match error {
        RunError::NotEmpty { .. } => anyhow!(
            "{error}: --out DIR names another folder, --overwrite replaces it when the new result is complete{}",
            match place.folder().join(CHECKPOINTS).exists() {
                true => ", --resume DIR goes on with it",
                false => "",
            }
        ),
        RunError::InputInFolder { .. } | RunError::NotARunFolder { .. } | RunError::Busy { .. } => {
            anyhow!("{error}: --out DIR names another folder")
        }
        other => other.into(),
    }
}

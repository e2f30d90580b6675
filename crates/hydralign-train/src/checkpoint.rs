use crate::{TrainError, Trainable, TrainerState};
use burn::tensor::Bytes;
use hydralign_algorithms::LearnerRecord;
use hydralign_core::Fingerprint;
use hydralign_runs::{RunError, require_space, write_dir_atomic};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// How the files are laid out; another number is refused.
const FORMAT: u32 = 2;
const MANIFEST: &str = "checkpoint.toml";
const WEIGHTS: &str = "weights.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const STEP: &str = "step-";

/// Where a run is between two steps, and all that decides what follows.
#[derive(Clone, Debug)]
pub struct CheckpointState {
    /// Steps of the recipe that are done.
    pub step: usize,
    /// Weights, optimizer, optimizer steps.
    pub learner: LearnerRecord,
    /// What the recipe carries.
    pub recipe: toml::Table,
    /// What the trainer carries.
    pub trainer: TrainerState,
}

impl CheckpointState {
    /// Copies the state of a run.
    ///
    /// # Errors
    /// [`TrainError::State`] for a state that TOML cannot express; what the learner reports.
    pub fn of<T: Trainable, S: Serialize>(
        step: usize,
        learner: &T,
        state: &S,
        trainer: &TrainerState,
    ) -> Result<Self, TrainError> {
        let (recipe, learner) = (to_table(state)?, learner.to_record()?);
        Ok(Self { step, learner, recipe, trainer: *trainer })
    }

    /// What the recipe carries.
    ///
    /// # Errors
    /// [`TrainError::State`] if it is the state of another recipe.
    pub fn recipe_state<S: DeserializeOwned>(&self) -> Result<S, TrainError> {
        from_table(self.recipe.clone())
    }
}

/// What a recipe carries, written down.
pub(crate) fn to_table<S: Serialize>(state: &S) -> Result<toml::Table, TrainError> {
    let table = toml::Table::try_from(state);
    table.map_err(|e| TrainError::State { reason: e.to_string() })
}

/// The same, read.
pub(crate) fn from_table<S: DeserializeOwned>(table: toml::Table) -> Result<S, TrainError> {
    table.try_into().map_err(|e| TrainError::State { reason: e.to_string() })
}

/// What a checkpoint says of itself; the first line of its file is the digest of the others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    run: String,
    step: usize,
    optimizer: String,
    optimizer_steps: usize,
    recipe: toml::Table,
    trainer: TrainerState,
    files: BTreeMap<String, String>,
}

/// The checkpoints of a run: `step-00000010` and so on in a folder, each whole or not there.
///
/// A checkpoint is written beside its name, synced and renamed, while the next steps are taken; the older ones
/// go when it is there, but for the one that was named the best. Whatever is not exactly what was written is refused.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    run: String,
    every: usize,
    keep: usize,
    last: Option<usize>,
    best: Option<usize>,
    beside: u64,
    writer: Option<JoinHandle<Result<(), TrainError>>>,
}

impl Checkpoints {
    /// Checkpoints in a folder, which is made when the first is written: one after each `every` steps, of which
    /// the newest `keep` stay; 0 counts as 1. `run` names everything else that decides the steps: settings,
    /// models and data.
    pub fn new(folder: impl Into<PathBuf>, run: &str, every: usize, keep: usize) -> Self {
        let (folder, run) = (folder.into(), run.to_owned());
        let (every, keep) = (every.max(1), keep.max(1));
        Self { folder, run, every, keep, last: None, best: None, beside: 0, writer: None }
    }

    /// The same, on a disk that the run will also write so many bytes of other files to, as of its model.
    #[must_use]
    pub fn beside(mut self, bytes: u64) -> Self {
        self.beside = bytes;
        self
    }

    /// The checkpoint of this step stays until another one is named.
    pub fn keep_best(&mut self, step: usize) {
        self.best = Some(step);
    }

    /// Looks whether there will be room for all checkpoints that stay, for the one that is being written, and for what
    /// is written beside them. `best` says that one more stays.
    ///
    /// # Errors
    /// [`RunError::DiskSpace`] with the bytes that are needed and those that are free.
    pub fn require_space(&self, learner: &LearnerRecord, best: bool) -> Result<(), TrainError> {
        let all = self.keep + 1 + usize::from(best);
        let missing = all.saturating_sub(steps_in(&self.folder)?.len()).max(1);
        let bytes = learner.largest_bytes().saturating_mul(missing as u64);
        let bytes = bytes.saturating_add(self.beside);
        let what = format!("{missing} checkpoints and the model");
        Ok(require_space(&self.folder, bytes, &what)?)
    }

    /// Whether one belongs after this step.
    pub fn due(&self, step: usize) -> bool {
        step.is_multiple_of(self.every)
    }

    /// Whether this step was the last that was written.
    pub fn holds(&self, step: usize) -> bool {
        self.last == Some(step)
    }

    /// The step of the newest; none if there is none.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn newest_step(&self) -> Result<Option<usize>, TrainError> {
        Ok(steps_in(&self.folder)?.pop())
    }

    /// Reads that of a step.
    ///
    /// # Errors
    /// As [`Checkpoints::newest`].
    pub fn read(&self, step: usize) -> Result<CheckpointState, TrainError> {
        read(&self.path(step), &self.run, step)
    }

    /// Reads the newest; none if there is none.
    ///
    /// # Errors
    /// [`TrainError::Damaged`] with the file and what is wrong with it; [`TrainError::OtherRun`].
    pub fn newest(&self) -> Result<Option<CheckpointState>, TrainError> {
        let step = self.newest_step()?;
        step.map(|step| self.read(step)).transpose()
    }

    /// Writes a checkpoint, while the caller goes on; waits for the one before.
    ///
    /// # Errors
    /// What writing the one before has met; [`RunError::DiskSpace`] if there is no room for this one. Those that are
    /// there stay.
    pub fn write(&mut self, state: CheckpointState) -> Result<(), TrainError> {
        self.wait()?;
        let what = format!("the checkpoint of step {}", state.step);
        require_space(&self.folder, state.learner.bytes(), &what)?;
        let (step, path, run) = (state.step, self.path(state.step), self.run.clone());
        let (folder, keep, best) = (self.folder.clone(), self.keep, self.best);
        self.last = Some(step);
        self.writer = Some(std::thread::spawn(move || {
            fs::create_dir_all(&folder).map_err(io("create", &folder))?;
            write_dir_atomic(&path, |dir| write(dir, run, &state))?;
            let steps = steps_in(&folder)?;
            let old = steps.iter().rev().filter(|&&s| s <= step).skip(keep);
            old.filter(|&&s| Some(s) != best)
                .map(|&s| folder.join(name(s)))
                .try_for_each(|old| fs::remove_dir_all(&old).map_err(io("remove", &old)))
        }));
        Ok(())
    }

    /// Waits until all that was given is on the disk.
    ///
    /// # Errors
    /// What writing has met.
    pub fn wait(&mut self) -> Result<(), TrainError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        writer.join().unwrap_or_else(|_| {
            let reason = "the thread that wrote it has panicked".into();
            Err(TrainError::Damaged { path: self.folder.clone(), reason })
        })
    }

    /// The folder of a step's checkpoint.
    pub fn path(&self, step: usize) -> PathBuf {
        self.folder.join(name(step))
    }
}

/// Where the stages of a run keep their checkpoints: each in a folder of its own name.
#[derive(Clone, Debug)]
pub struct StageCheckpoints {
    /// Holds a folder for each stage.
    pub folder: PathBuf,
    /// As in [`Checkpoints::new`].
    pub run: String,
    /// Newest checkpoints that stay, of each stage.
    pub keep: usize,
}

impl StageCheckpoints {
    /// Those of a stage, one after each `every` steps; none for 0.
    pub fn of(&self, stage: &str, every: usize) -> Option<Checkpoints> {
        (every > 0).then(|| Checkpoints::new(self.folder.join(stage), &self.run, every, self.keep))
    }

    /// Steps of a stage that its newest checkpoint holds; 0 without one.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn done(&self, stage: &str) -> Result<usize, TrainError> {
        Ok(steps_in(&self.folder.join(stage))?.pop().unwrap_or(0))
    }
}

/// Names a run by its settings, inputs with fingerprints included, and by the version of this library, whose
/// next one may take other steps.
pub fn run_name(settings: &str) -> String {
    let mut name = Fingerprint::new(concat!("run of hydralign ", env!("CARGO_PKG_VERSION")));
    name.text(settings);
    name.finish()
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        let _ = self.wait(); // whoever wants to know has asked
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    let path = path.to_owned();
    move |reason| RunError::Io { action, path, reason }.into()
}

fn name(step: usize) -> String {
    format!("{STEP}{step:08}")
}

/// The steps of which there is a checkpoint, in order.
fn steps_in(folder: &Path) -> Result<Vec<usize>, TrainError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let file = entry.map_err(io("list", folder))?.file_name();
        let step = file.to_str().and_then(|file| file.strip_prefix(STEP)?.parse::<usize>().ok());
        steps.extend(step);
    }
    steps.sort_unstable();
    Ok(steps)
}

fn digest(bytes: &[u8]) -> String {
    let mut fingerprint = Fingerprint::new("checkpoint file");
    let mut rest = bytes;
    let read = fingerprint.content(&mut rest);
    debug_assert!(read.is_ok(), "memory can be read");
    fingerprint.finish()
}

fn write(dir: &Path, run: String, state: &CheckpointState) -> Result<(), TrainError> {
    let mut files = BTreeMap::new();
    for (name, bytes) in [(WEIGHTS, &state.learner.weights), (OPTIMIZER, &state.learner.optimizer)]
    {
        let path = dir.join(name);
        fs::write(&path, &bytes[..]).map_err(io("write", &path))?;
        files.insert(name.to_owned(), digest(bytes));
    }
    let manifest = Manifest {
        format: FORMAT,
        run,
        step: state.step,
        optimizer: state.learner.optimizer_name.clone(),
        optimizer_steps: state.learner.steps,
        recipe: state.recipe.clone(),
        trainer: state.trainer,
        files,
    };
    let path = dir.join(MANIFEST);
    let text =
        toml::to_string(&manifest).map_err(|e| TrainError::State { reason: e.to_string() })?;
    let text = format!("# {}\n{text}", digest(text.as_bytes()));
    fs::write(&path, text).map_err(io("write", &path))
}

fn read(dir: &Path, run: &str, step: usize) -> Result<CheckpointState, TrainError> {
    let manifest = read_manifest(&dir.join(MANIFEST), step)?;
    if manifest.run != run {
        return Err(TrainError::OtherRun { path: dir.to_owned() });
    }
    let file = |name: &str| {
        let path = dir.join(name);
        let bytes = fs::read(&path).map_err(io("read", &path))?;
        if manifest.files.get(name) == Some(&digest(&bytes)) {
            return Ok(Bytes::from_bytes_vec(bytes));
        }
        Err(TrainError::Damaged { path, reason: "it is not what was written".into() })
    };
    let learner = LearnerRecord {
        weights: file(WEIGHTS)?,
        optimizer: file(OPTIMIZER)?,
        optimizer_name: manifest.optimizer,
        steps: manifest.optimizer_steps,
    };
    Ok(CheckpointState { step, learner, recipe: manifest.recipe, trainer: manifest.trainer })
}

fn read_manifest(path: &Path, step: usize) -> Result<Manifest, TrainError> {
    let damaged =
        |reason: &str| TrainError::Damaged { path: path.to_owned(), reason: reason.into() };
    let bytes = fs::read(path).map_err(io("read", path))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is no text"))?;
    let (first, rest) = text.split_once('\n').ok_or_else(|| damaged("it is cut off"))?;
    if first.strip_prefix("# ") != Some(&digest(rest.as_bytes())) {
        return Err(damaged("it is not what was written"));
    }
    let format =
        toml::from_str::<toml::Table>(rest).ok().and_then(|t| t.get("format")?.as_integer());
    match format {
        Some(format) if format == i64::from(FORMAT) => {}
        Some(format) => {
            return Err(damaged(&format!("format {format}; this program reads {FORMAT}")));
        }
        None => return Err(damaged("it names no format")),
    }
    let manifest: Manifest = toml::from_str(rest).map_err(|e| damaged(&e.to_string()))?;
    match manifest.step == step {
        true => Ok(manifest),
        false => Err(damaged(&format!("it is of step {}", manifest.step))),
    }
}

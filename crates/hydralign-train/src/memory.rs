//! PPO inside a memory budget, and a ledger of what it holds.

use crate::{PpoHooks, Rows, TrainError, Values};
use burn::module::Module;
use hydralign_algorithms::{Experience, Learner, Sample};
use hydralign_core::{Phase, Role};
use hydralign_memory::{Budget, Category, Dtype, Job, Meter, PhaseName, Workload};
use hydralign_models::{Checkpoint, ModelBank, StoredDtype};
use hydralign_placement::{Execution, LoraShape};
use hydralign_runs::{Above, Ledger, SharedMeter};

/// Bytes of a 32-bit number.
const NUMBER: u64 = 4;

/// Watches that each phase of a run stays within its budget.
pub struct BudgetWatch<'a> {
    budget: Budget<'a>,
    meter: Above<SharedMeter>,
}

impl<'a> BudgetWatch<'a> {
    /// A watch over a job; `beside` are bytes that the meter counts but that are not the run's.
    ///
    /// # Errors
    /// A job that cannot stay within the budget.
    pub fn new(
        job: Job<'a>,
        bytes: u64,
        meter: SharedMeter,
        beside: u64,
    ) -> Result<Self, TrainError> {
        let watch = Self { budget: Budget::new(job, bytes)?, meter: Above::new(meter, beside) };
        watch.meter.reset_peak();
        Ok(watch)
    }

    /// The responses of an iteration are there, and with them its lengths.
    ///
    /// # Errors
    /// Numbers that overflow.
    pub fn sampled(&mut self, experience: &Experience) -> Result<(), TrainError> {
        let lengths = |of: fn(&Sample) -> usize| experience.samples.iter().map(of).max();
        let prompt = lengths(|s| s.episode.prompt.len());
        let response = lengths(|s| s.episode.response.len());
        Ok(self.budget.sampled(prompt.unwrap_or(1), response.unwrap_or(1))?)
    }

    /// Looks at what a phase has held. Where that is more than its plan says, what is left of the run is
    /// planned anew, and the new choices are returned.
    ///
    /// # Errors
    /// A budget that nothing fits into any more.
    pub fn phase_ended(&mut self, phase: PhaseName) -> Result<Option<Workload>, TrainError> {
        let peak = self.meter.bytes_peak();
        self.meter.reset_peak();
        let Some(peak) = peak else { return Ok(None) };
        let changed = self.budget.measured(phase, peak)?;
        Ok(changed.then(|| self.budget.plan().workload.clone()))
    }
}

/// Keeps PPO within a budget, if there is one, and a ledger of what it holds.
pub struct PpoMemory<'a> {
    watch: Option<BudgetWatch<'a>>,
    rows: Option<Rows>,
    ledger: Ledger,
    moments: u64,
    on_host: bool,
}

impl<'a> PpoMemory<'a> {
    /// Writes what a bank holds into the ledger. `on_host` says that the ledger's meter counts the host's
    /// bytes, where responses and their numbers are.
    pub fn new(
        bank: &ModelBank,
        lora: &LoraShape,
        watch: Option<BudgetWatch<'a>>,
        ledger: &Ledger,
        on_host: bool,
    ) -> Self {
        let (moments, ledger) = (hold_models(ledger, bank, None, lora), ledger.clone());
        Self { watch, rows: None, ledger, moments, on_host }
    }
}

impl PpoHooks<ModelBank> for PpoMemory<'_> {
    fn rows(&self) -> Option<Rows> {
        self.rows
    }

    fn phase_ended(
        &mut self,
        phase: Phase,
        learner: &mut Learner<ModelBank>,
    ) -> Result<(), TrainError> {
        if learner.steps() > 0 {
            self.ledger.hold(Category::Optimizer, self.moments);
        }
        if phase == Phase::Report {
            self.ledger.hold(Category::Experience, 0);
        }
        let name = match phase {
            Phase::Generate => PhaseName::Generate,
            Phase::Score => PhaseName::Score,
            Phase::Update => PhaseName::Update,
            _ => return Ok(()),
        };
        let Some(watch) = &mut self.watch else { return Ok(()) };
        let Some(chosen) = watch.phase_ended(name)? else { return Ok(()) };
        self.rows = Some(Rows {
            generate: chosen.generate_batch,
            score: chosen.score_batch,
            micro_batch: chosen.micro_batch,
        });
        let bank = carried(learner.model().clone(), chosen.execution, chosen.frozen_dtype)?;
        learner.change_model(|_| bank);
        Ok(())
    }

    fn scored(&mut self, experience: &Experience) -> Result<Values, TrainError> {
        if let Some(watch) = &mut self.watch {
            watch.sampled(experience)?;
        }
        if self.on_host {
            self.ledger.hold(Category::Experience, experience_bytes(experience));
        }
        Ok(Values::new())
    }
}

/// A bank that carries out passes and holds frozen matrices in a certain way.
///
/// # Errors
/// A matrix with a number too large for the format.
pub fn carried(
    bank: ModelBank,
    execution: Execution,
    frozen: Dtype,
) -> Result<ModelBank, TrainError> {
    let bank = bank.with_execution(execution)?;
    Ok(match frozen {
        Dtype::F32 => bank,
        Dtype::F16 => bank.with_frozen_dtype(StoredDtype::F16)?,
        Dtype::Bf16 => bank.with_frozen_dtype(StoredDtype::Bf16)?,
    })
}

/// Bytes of a checkpoint's numbers.
pub fn checkpoint_bytes(checkpoint: &Checkpoint) -> u64 {
    let adapter = checkpoint.adapter.as_ref().map_or(0, |a| a.parameters());
    let head = checkpoint.reward_head.as_ref().map_or(0, |h| h.num_params());
    NUMBER * (checkpoint.trunk.num_params() + adapter + head) as u64
}

/// Writes into a ledger what a bank holds, with the checkpoint that is kept beside it, and
/// nothing else. Returns the bytes that its optimizer will hold after the first step.
pub fn hold_models(
    ledger: &Ledger,
    bank: &ModelBank,
    beside: Option<&Checkpoint>,
    lora: &LoraShape,
) -> u64 {
    let placement = bank.placement();
    let trunks: Vec<_> = (0..placement.trunks.len()).filter_map(|i| bank.trunk(i)).collect();
    let adapters = placement.adapters.iter().filter_map(|a| bank.adapter(&a.name));
    let heads = [Role::Critic, Role::Reward].into_iter().filter_map(|role| bank.head(role));
    let weights: u64 = trunks.iter().map(|trunk| trunk.num_params() as u64).sum();
    ledger.clear();
    ledger.hold(Category::Weights, NUMBER * weights + beside.map_or(0, checkpoint_bytes));
    ledger.hold(Category::Adapters, NUMBER * adapters.map(|a| a.parameters() as u64).sum::<u64>());
    ledger.hold(Category::Heads, NUMBER * heads.map(|h| h.num_params() as u64).sum::<u64>());
    // AdamW: two moments a trained number.
    trunks.first().map_or(0, |trunk| {
        2 * NUMBER * placement.trained_parameters(&trunk.architecture().shape, lora)
    })
}

/// Bytes of the numbers of an experience, on the host.
fn experience_bytes(experience: &Experience) -> u64 {
    let numbers = experience.samples.iter().map(|s| {
        let response = [
            s.episode.response.len(),
            s.episode.logprobs.len(),
            s.episode.policy_logprobs.len(),
            s.old_logprobs.len(),
            s.ref_logprobs.len(),
            s.values.len(),
            s.rewards.len(),
            s.kl.len(),
            s.advantages.len(),
            s.returns.len(),
        ];
        (s.episode.prompt.len() + response.iter().sum::<usize>()) as u64
    });
    NUMBER * numbers.sum::<u64>()
}

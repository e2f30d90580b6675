use crate::shadow::{Bank, Batch, Buffer, Ledger, Lines, Model, Store, Tape};
use crate::{
    Activity, Category, Footprint, MemoryError, Method, Prediction, Profile, Terms, Work, Workload,
};
use hydralign_families::Architecture;
use hydralign_placement::LoraShape;
use std::rc::Rc;

/// Most blocks that a prediction goes through one by one.
const MOST_BLOCKS: usize = 4096;

/// A method with its models and workload, checked.
#[derive(Clone, Debug)]
pub struct Estimate<'a> {
    pub(crate) method: &'a Method,
    pub(crate) architecture: &'a Architecture,
    pub(crate) lora: &'a LoraShape,
    pub(crate) workload: &'a Workload,
    pub(crate) profile: &'a Profile,
}

impl<'a> Estimate<'a> {
    /// Checks the parts against themselves and each other.
    ///
    /// # Errors
    /// [`MemoryError::Placement`], [`MemoryError::Zero`], [`MemoryError::PartExceedsWhole`],
    /// [`MemoryError::UnevenHeads`], [`MemoryError::Context`], [`MemoryError::TooLarge`],
    /// [`MemoryError::Overflow`].
    pub fn new(
        method: &'a Method,
        architecture: &'a Architecture,
        lora: &'a LoraShape,
        workload: &'a Workload,
        profile: &'a Profile,
    ) -> Result<Self, MemoryError> {
        profile.validate()?;
        let shape = &architecture.shape;
        for activity in &method.activities {
            Terms::new(&activity.placement, shape, lora, workload)?.check()?;
        }
        if shape.layers > MOST_BLOCKS {
            let (value, most) = (shape.layers, MOST_BLOCKS);
            return Err(MemoryError::TooLarge { field: "layers", value, most });
        }
        let (needed, context) = (workload.tokens()?, architecture.context as u64);
        if needed > context {
            return Err(MemoryError::Context { needed, context });
        }
        Ok(Self { method, architecture, lora, workload, profile })
    }

    /// The most bytes of every phase that the method goes through.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn predict(&self) -> Result<Prediction, MemoryError> {
        let mut prediction = Prediction::default();
        for activity in &self.method.activities {
            prediction.raise(activity.phase, self.activity(activity)?);
        }
        Ok(prediction)
    }

    /// Bytes at the highest moment of an activity, in the second iteration of a run: the optimizer has
    /// its state.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn activity(&self, activity: &Activity) -> Result<Footprint, MemoryError> {
        self.simulate(activity, |model| self.run(model, activity), Ledger::peak)
    }

    /// What is held between the forward and the backward pass of a micro-batch, by plain
    /// differentiation: beside the models what the graphs keep. None for activities that do not learn.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn graphs(&self, activity: &Activity) -> Result<Option<Footprint>, MemoryError> {
        let Work::Learn(requests) = &activity.work else { return Ok(None) };
        let batch = self.batch(activity, self.workload.micro_batch);
        let read = |model: &Model<'_>| model.read(requests, batch);
        self.simulate(activity, read, Ledger::live).map(Some)
    }

    /// Runs something on simulated models and reads the book while its result is alive.
    fn simulate<T>(
        &self,
        activity: &Activity,
        run: impl FnOnce(&Model<'_>) -> Result<T, MemoryError>,
        look: fn(&Ledger) -> Result<Lines, MemoryError>,
    ) -> Result<Footprint, MemoryError> {
        let book = Rc::new(Ledger::new(self.profile));
        let tape = Tape::new(&book);
        let store = Store::new(&book, &tape, self.workload.compute_dtype.bytes());
        let (shape, lora, workload) = (&self.architecture.shape, self.lora, self.workload);
        let bank = Bank::new(store, &activity.placement, shape, lora, workload);
        if activity.optimizer {
            bank.store.start_optimizer();
        }
        let terms = Terms::new(&activity.placement, shape, lora, workload)?;
        let experience = terms.experience(self.method.experience)?;
        let _held = book.under(Category::Experience, || Buffer::new(&book, experience));
        let copy = self.checkpoint()?;
        let _copy = book.under(Category::Checkpoint, || Buffer::new(&book, copy));
        let _names = workload.checkpoints.then(|| bank.store.record());
        let model = Model { bank: &bank, architecture: self.architecture, workload };
        book.reset_peak();
        let _result = run(&model)?;
        Footprint::new(look(&book)?)
    }

    /// What is held while a checkpoint is written. That goes on beside the next steps, whatever they do.
    fn checkpoint(&self) -> Result<u64, MemoryError> {
        if !self.workload.checkpoints {
            return Ok(0);
        }
        let of = |activity: &Activity| {
            Terms::new(&activity.placement, &self.architecture.shape, self.lora, self.workload)?
                .checkpoint()
        };
        self.method.activities.iter().map(of).try_fold(0, |most, copy| Ok(most.max(copy?)))
    }

    fn batch(&self, activity: &Activity, items: usize) -> Batch {
        let [prompt, response] =
            [self.workload.prompt_tokens, self.workload.response_tokens].map(|n| n as u64);
        Batch {
            rows: activity.sequences.saturating_mul(items as u64),
            tokens: prompt.saturating_add(response),
            response,
        }
    }

    fn run(&self, model: &Model<'_>, activity: &Activity) -> Result<(), MemoryError> {
        let workload = self.workload;
        let [prompt, response] =
            [workload.prompt_tokens, workload.response_tokens].map(|n| n as u64);
        let batch = |items: usize| self.batch(activity, items);
        match &activity.work {
            Work::Generate(role) => {
                model.generate(*role, workload.generate_batch as u64, prompt, response)
            }
            Work::Read(readings) => {
                let requests: Vec<_> =
                    readings.iter().map(|&r| crate::Request::constant(r)).collect();
                model.read(&requests, batch(workload.score_batch)).map(drop)
            }
            Work::Learn(requests) => {
                let parts = workload.minibatch.div_ceil(workload.micro_batch) as u64;
                model.step(requests, batch(workload.micro_batch), parts)
            }
        }
    }
}

/// Bytes of every phase, from plain values.
///
/// # Errors
/// As [`Estimate::new`] and [`Estimate::predict`].
pub fn predict(
    method: &Method,
    architecture: &Architecture,
    lora: &LoraShape,
    workload: &Workload,
    profile: &Profile,
) -> Result<Prediction, MemoryError> {
    Estimate::new(method, architecture, lora, workload, profile)?.predict()
}

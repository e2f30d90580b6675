use crate::{
    Activity, Category, Dtype, Estimate, Footprint, MemoryError, Method, NoFit, Prediction,
    Profile, Rates, Way, Work, Workload,
};
use hydralign_families::Architecture;
use hydralign_placement::{Execution, LoraShape};
use serde::Serialize;

/// Pieces in which the vocabulary may be visited, from the fastest on.
const CHUNKS: [Option<usize>; 5] = [None, Some(1024), Some(256), Some(64), Some(16)];

/// What a plan leaves free beyond a prediction: a fiftieth of it, half of what the library keeps on the
/// host, which is known less exactly than tensors are, and 64 KiB for what does not grow with the run.
/// Predictions are held within 3 % of measurements; the largest shortfall in their tests is 2 %.
fn with_margin(footprint: &Footprint) -> u64 {
    let total = footprint.total();
    let more = total / 50 + footprint.get(Category::Bookkeeping) / 2 + (64 << 10);
    total.saturating_add(more)
}

/// What is to be planned: the method, its models, and the batches that it should take at once if there
/// were no budget. Batch, minibatch and lengths stay as they are; what a plan chooses changes bytes and
/// seconds, never the result (beyond rounding).
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The method.
    pub method: &'a Method,
    /// Its models.
    pub architecture: &'a Architecture,
    /// Its adapters.
    pub lora: &'a LoraShape,
    /// The workload wanted.
    pub workload: &'a Workload,
    /// The backend.
    pub profile: &'a Profile,
    /// Its speed.
    pub rates: &'a Rates,
}

/// A workload that fits into a budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The workload, its choices made.
    pub workload: Workload,
    /// What it needs.
    pub prediction: Prediction,
    /// Seconds that an iteration with one epoch takes by the rates.
    pub seconds: f64,
}

/// A choice for one activity.
#[derive(Clone)]
struct Candidate {
    workload: Workload,
    seconds: f64,
}

impl Job<'_> {
    /// The fastest workload that stays within a budget of bytes, by the rates.
    ///
    /// Chosen are the rows that are decoded, read and differentiated at a time, the pieces of the
    /// vocabulary and of the trunk in which passes are carried out and, where nothing else fits, 16-bit
    /// storage of frozen weights. Each phase needs only its own choices to fit, so each is searched by
    /// itself, fastest first.
    ///
    /// # Errors
    /// [`MemoryError::NoFit`] where nothing fits, with what would; what [`Estimate::new`] reports.
    pub fn plan(&self, budget: u64) -> Result<Plan, MemoryError> {
        Estimate::new(self.method, self.architecture, self.lora, self.workload, self.profile)?;
        for frozen_dtype in self.formats() {
            let wanted = Workload { frozen_dtype, ..self.workload.clone() };
            let mut best: Option<Plan> = None;
            for chunk in self.chunks() {
                let found = self.with_chunk(&wanted, chunk, budget)?;
                best = match (best, found) {
                    (Some(b), Some(f)) => Some(if f.seconds < b.seconds { f } else { b }),
                    (b, f) => b.or(f),
                };
            }
            if let Some(plan) = best {
                return Ok(plan);
            }
        }
        Err(MemoryError::NoFit(Box::new(self.no_fit(budget)?)))
    }

    /// Number formats of frozen weights, the wanted one first.
    fn formats(&self) -> Vec<Dtype> {
        let wanted = self.workload.frozen_dtype;
        let frozen = |a: &Activity| a.placement.trunks.iter().any(|t| !t.trainable);
        let helps = wanted == Dtype::F32 && self.method.activities.iter().any(frozen);
        if helps { vec![wanted, Dtype::Bf16] } else { vec![wanted] }
    }

    fn chunks(&self) -> Vec<Option<usize>> {
        let w = self.workload;
        let rows = w.minibatch.max(w.score_batch);
        let most = rows.saturating_mul(2).saturating_mul(w.response_tokens);
        CHUNKS.into_iter().filter(|c| c.is_none_or(|c| c < most)).collect()
    }

    fn with_chunk(
        &self,
        wanted: &Workload,
        logprob_chunk: Option<usize>,
        budget: u64,
    ) -> Result<Option<Plan>, MemoryError> {
        let execution = Execution { logprob_chunk, ..Execution::default() };
        let mut workload = Workload { execution, ..wanted.clone() };
        let mut seconds = 0.0;
        for activity in &self.method.activities {
            let Some(chosen) = self.fastest(activity, &workload, budget)? else { return Ok(None) };
            workload = chosen.workload;
            seconds += chosen.seconds;
        }
        let profile = self.profile;
        let estimate =
            Estimate::new(self.method, self.architecture, self.lora, &workload, profile)?;
        let prediction = estimate.predict()?;
        Ok(Some(Plan { prediction, seconds, workload }))
    }

    /// The fastest way to carry out an activity that fits.
    fn fastest(
        &self,
        activity: &Activity,
        workload: &Workload,
        budget: u64,
    ) -> Result<Option<Candidate>, MemoryError> {
        let mut candidates = self
            .candidates(activity, workload)
            .into_iter()
            .map(|workload| {
                let seconds = self.rates.activity(self.architecture, activity, &workload)?;
                Ok(Candidate { workload, seconds })
            })
            .collect::<Result<Vec<_>, MemoryError>>()?;
        // A stable sort: of equals the first, which changes least.
        candidates.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        for candidate in candidates {
            if with_margin(&self.footprint(activity, &candidate.workload)?) <= budget {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    fn footprint(&self, activity: &Activity, w: &Workload) -> Result<Footprint, MemoryError> {
        let profile = self.profile;
        Estimate::new(self.method, self.architecture, self.lora, w, profile)?.activity(activity)
    }

    /// The ways to carry out an activity, the wanted one first.
    fn candidates(&self, activity: &Activity, w: &Workload) -> Vec<Workload> {
        let with = |change: &dyn Fn(&mut Workload)| {
            let mut changed = w.clone();
            change(&mut changed);
            changed
        };
        match &activity.work {
            Work::Generate(_) => {
                halvings(w.generate_batch).map(|n| with(&|w| w.generate_batch = n)).collect()
            }
            Work::Read(_) => {
                halvings(w.score_batch).map(|n| with(&|w| w.score_batch = n)).collect()
            }
            Work::Learn(_) => {
                let pieces: Vec<_> = self.segments().collect();
                halvings(w.micro_batch)
                    .flat_map(|n| pieces.iter().map(move |&blocks| (n, blocks)))
                    .map(|(n, blocks)| {
                        with(&|w| {
                            w.micro_batch = n;
                            w.execution.segment_blocks = blocks;
                        })
                    })
                    .collect()
            }
        }
    }

    /// Numbers of blocks that may be recomputed together: none, then L, L/2, L/4 … 1.
    fn segments(&self) -> impl Iterator<Item = Option<usize>> {
        std::iter::once(None).chain(halvings(self.architecture.shape.layers).map(Some))
    }

    /// The least that any choice needs, and what else would fit.
    fn no_fit(&self, budget: u64) -> Result<NoFit, MemoryError> {
        let least = self.least(self.method)?;
        let mut ways = Vec::new();
        for (way, method) in crate::ways::others(self.method) {
            if method != *self.method {
                ways.push(Way { way, bytes: needs(&self.least(&method)?) });
            }
        }
        ways.retain(|w| w.bytes <= budget);
        let most = least.iter().max_by_key(|(_, footprint)| with_margin(footprint));
        let (phase, needed) = most.map(|(p, f)| (p, f.clone())).unwrap_or_default();
        let least = with_margin(&needed);
        Ok(NoFit { budget, least, phase, needed, ways })
    }

    /// What a method needs when every choice is for the fewest bytes. Pieces have a price of their own,
    /// which small models feel, so they are tried and not taken for granted.
    fn least(&self, method: &Method) -> Result<Prediction, MemoryError> {
        let Job { architecture, lora, workload, profile, rates, .. } = *self;
        let job = Job { method, architecture, lora, workload, profile, rates };
        let frozen_dtype = job.formats().pop().unwrap_or(workload.frozen_dtype);
        let mut best: Option<Prediction> = None;
        for logprob_chunk in job.chunks() {
            for segment_blocks in [None, Some(1)] {
                let workload = Workload {
                    generate_batch: 1,
                    score_batch: 1,
                    micro_batch: 1,
                    frozen_dtype,
                    execution: Execution { logprob_chunk, segment_blocks },
                    ..workload.clone()
                };
                let estimate = Estimate::new(method, architecture, lora, &workload, profile)?;
                let found = estimate.predict()?;
                best = best.filter(|b| needs(b) <= needs(&found)).or(Some(found));
            }
        }
        Ok(best.unwrap_or_default())
    }
}

/// What a prediction's peak needs, margin included.
fn needs(prediction: &Prediction) -> u64 {
    prediction.iter().map(|(_, footprint)| with_margin(footprint)).max().unwrap_or(0)
}

/// n, ⌈n/2⌉, ⌈n/4⌉ … 1.
fn halvings(n: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(n), |&n| (n > 1).then(|| n.div_ceil(2)))
}

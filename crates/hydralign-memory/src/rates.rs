use crate::count::{product, sum};
use crate::{
    Activity, Estimate, MemoryError, PassTokens, Work, Workload, forward_flops, generate_flops,
    train_flops,
};
use hydralign_families::Architecture;
use serde::{Deserialize, Serialize};

const WHAT: &str = "the operations of an iteration";

/// How fast a device does one kind of work: seconds = operations / rate + blocks · overhead.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Floating-point operations a second.
    pub flops: f64,
    /// Seconds that going through one block takes beside its operations.
    pub block_seconds: f64,
}

impl Rate {
    /// The rate through two measurements `(operations, blocks, seconds)` of different size. Noise may put
    /// the line through nonsense: then all time is counted as operations of the larger one.
    pub fn through(small: (f64, f64, f64), large: (f64, f64, f64)) -> Self {
        let [(f1, b1, t1), (f2, b2, t2)] = [small, large];
        let determinant = f1 * b2 - f2 * b1;
        let per_flop = (t1 * b2 - t2 * b1) / determinant;
        let block_seconds = (f1 * t2 - f2 * t1) / determinant;
        match per_flop > 0.0 && block_seconds >= 0.0 && (per_flop * block_seconds).is_finite() {
            true => Self { flops: 1.0 / per_flop, block_seconds },
            false => Self { flops: f2 / t2, block_seconds: 0.0 },
        }
    }

    fn seconds(&self, flops: u64, blocks: u64) -> f64 {
        flops as f64 / self.flops + blocks as f64 * self.block_seconds
    }
}

/// How fast a device samples, reads and learns: what orders the plans that fit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Sampling with a cache.
    pub generate: Rate,
    /// Passes without a graph.
    pub read: Rate,
    /// Passes with their backward pass.
    pub learn: Rate,
}

/// What an activity does in one iteration.
struct Effort {
    flops: u64,
    blocks: u64,
}

impl Rates {
    /// Seconds of one iteration of a workload with one epoch of learning.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn seconds(&self, estimate: &Estimate<'_>) -> Result<f64, MemoryError> {
        let activities = estimate.method.activities.iter();
        activities.map(|a| self.activity(estimate.architecture, a, estimate.workload)).sum()
    }

    /// Seconds of one activity in one iteration.
    pub(crate) fn activity(
        &self,
        architecture: &Architecture,
        activity: &Activity,
        workload: &Workload,
    ) -> Result<f64, MemoryError> {
        let (rate, effort) = match &activity.work {
            Work::Generate(_) => (&self.generate, sampling(architecture, workload)?),
            Work::Read(_) => (&self.read, reading(architecture, activity, workload)?),
            Work::Learn(_) => (&self.learn, learning(architecture, activity, workload)?),
        };
        Ok(rate.seconds(effort.flops, effort.blocks))
    }
}

fn rounds(batch: usize, part: usize) -> u64 {
    batch.div_ceil(part.max(1)) as u64
}

fn sampling(architecture: &Architecture, w: &Workload) -> Result<Effort, MemoryError> {
    let shape = &architecture.shape;
    let [prompt, response] = [w.prompt_tokens, w.response_tokens].map(|n| n as u64);
    let one = generate_flops(shape, prompt, response)?;
    let passes = product(WHAT, &[rounds(w.batch, w.generate_batch), response])?;
    Ok(Effort {
        flops: product(WHAT, &[w.batch as u64, one])?,
        blocks: product(WHAT, &[passes, shape.layers as u64])?,
    })
}

fn reading(a: &Architecture, activity: &Activity, w: &Workload) -> Result<Effort, MemoryError> {
    let passes = activity.passes()?;
    let one = passes.iter().map(|p| forward_flops(&a.shape, tokens(w, p.logits)?));
    let one = sum(WHAT, &one.collect::<Result<Vec<_>, _>>()?)?;
    let layers = a.shape.layers as u64;
    let blocks = product(WHAT, &[rounds(w.batch, w.score_batch), passes.len() as u64, layers])?;
    Ok(Effort { flops: product(WHAT, &[w.batch as u64, activity.sequences, one])?, blocks })
}

/// A backward pass goes through the blocks once more, and twice where they are recomputed.
fn learning(a: &Architecture, activity: &Activity, w: &Workload) -> Result<Effort, MemoryError> {
    let shape = &a.shape;
    let (mut flops, mut walks) = (0, 0);
    for pass in activity.passes()? {
        let all = tokens(w, pass.logits)?;
        let body = forward_flops(shape, PassTokens { predicted: 0, ..all })?;
        let forward = forward_flops(shape, all)?;
        let mut parts = vec![flops];
        if pass.gradient {
            parts.push(train_flops(shape, all, pass.trained)?);
            let again = w.execution.segment_blocks.is_some();
            parts.extend(again.then_some(body));
            parts.extend(w.execution.logprob_chunk.map(|_| forward - body));
            walks += if again { 3 } else { 2 };
        } else {
            parts.push(forward);
            walks += 1;
        }
        flops = sum(WHAT, &parts)?;
    }
    let blocks = [rounds(w.batch, w.micro_batch), walks, shape.layers as u64];
    Ok(Effort {
        flops: product(WHAT, &[w.batch as u64, activity.sequences, flops])?,
        blocks: product(WHAT, &blocks)?,
    })
}

fn tokens(w: &Workload, logits: bool) -> Result<PassTokens, MemoryError> {
    let predicted = if logits { w.response_tokens as u64 } else { 0 };
    Ok(PassTokens { tokens: w.tokens()?, predicted })
}

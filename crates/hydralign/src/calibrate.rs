//! How fast a device is: measured on two blocks of the widths in question.

use crate::algorithms::{AlgorithmError, Nll, nll_batch};
use crate::core::{
    CoreError, Decoder, Differentiable, Objective, Request, Role, Roles, Sequence, TokenBatch,
};
use crate::families::Architecture;
use crate::memory::{
    MemoryError, PassTokens, Rate, Rates, forward_flops, generate_flops, train_flops,
};
use crate::models::{Checkpoint, ModelBank, ModelError, Start, random_trunk};
use crate::placement::{LoraShape, ModelShape, Placement};
use burn::tensor::Device;
use std::time::Instant;
use thiserror::Error;

/// Blocks of the model that is timed.
const BLOCKS: usize = 2;
/// Tokens of its prompts and of its responses.
const TOKENS: usize = 16;
/// Rows of the small and of the large measurement.
const ROWS: [usize; 2] = [1, 8];
/// Times that each is taken; the median counts.
const TIMES: usize = 3;

/// What can go wrong while a device is timed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// The model could not be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model could not be run.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A batch could not be made.
    #[error(transparent)]
    Algorithm(#[from] AlgorithmError),
    /// A shape whose operations cannot be counted.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Times sampling, reading and learning on two random blocks of an architecture's widths, with its
/// vocabulary, and puts a line through two batch sizes each.
///
/// It takes about a second for small models and holds two blocks, one embedding and one LM head.
///
/// # Errors
/// [`CalibrationError`].
pub fn calibrate(architecture: &Architecture, device: &Device) -> Result<Rates, CalibrationError> {
    let shape = ModelShape { layers: BLOCKS, ..architecture.shape.clone() };
    let thin = Architecture { shape, ..architecture.clone() };
    let trunk = random_trunk(&thin, false, 0, device);
    let start = Checkpoint { trunk, adapter: None, reward_head: None };
    let placement = Placement::sft();
    let bank = ModelBank::new(&placement, &Start::joint(&start), &LoraShape::default(), 0)?;
    Ok(Rates {
        generate: rate(|rows| generate(&bank, &thin.shape, rows))?,
        read: rate(|rows| read(&bank, &thin.shape, rows))?,
        learn: rate(|rows| learn(&bank, &thin.shape, rows))?,
    })
}

/// Operations, blocks and seconds.
type Timing = (f64, f64, f64);

fn rate(
    mut run: impl FnMut(usize) -> Result<Timing, CalibrationError>,
) -> Result<Rate, CalibrationError> {
    run(ROWS[0])?;
    let mut median = |rows| -> Result<Timing, CalibrationError> {
        let mut all = (0..TIMES).map(|_| run(rows)).collect::<Result<Vec<_>, _>>()?;
        all.sort_by(|a, b| a.2.total_cmp(&b.2));
        Ok(all[TIMES / 2])
    };
    Ok(Rate::through(median(ROWS[0])?, median(ROWS[1])?))
}

fn sequences(rows: usize) -> Vec<Sequence> {
    vec![Sequence::new(vec![0; TOKENS], vec![0; TOKENS]); rows]
}

fn pass() -> PassTokens {
    PassTokens { tokens: 2 * TOKENS as u64, predicted: TOKENS as u64 }
}

fn generate(bank: &ModelBank, shape: &ModelShape, rows: usize) -> Result<Timing, CalibrationError> {
    let prompt = [0; TOKENS];
    let prompts = vec![&prompt[..]; rows];
    let began = Instant::now();
    let (mut cache, mut logits) = bank.prefill(Role::Actor, &prompts, &vec![TOKENS; rows])?;
    for _ in 1..TOKENS {
        logits = bank.decode(Role::Actor, &mut cache, &vec![0; rows])?;
    }
    drop(logits.into_data());
    let seconds = began.elapsed().as_secs_f64();
    let flops = rows as u64 * generate_flops(shape, TOKENS as u64, TOKENS as u64)?;
    Ok((flops as f64, (TOKENS * BLOCKS) as f64, seconds))
}

fn read(bank: &ModelBank, shape: &ModelShape, rows: usize) -> Result<Timing, CalibrationError> {
    let batch = TokenBatch::new(sequences(rows))?;
    let requests: Vec<Request> =
        Nll.reads().into_iter().map(|r| Request::constant(r.reading)).collect();
    let began = Instant::now();
    let outputs = bank.read(&requests, &batch)?;
    drop(outputs.to_vec(requests[0].reading)?);
    let seconds = began.elapsed().as_secs_f64();
    Ok((rows as f64 * forward_flops(shape, pass())? as f64, BLOCKS as f64, seconds))
}

fn learn(bank: &ModelBank, shape: &ModelShape, rows: usize) -> Result<Timing, CalibrationError> {
    let batches = nll_batch(&sequences(rows), rows, &bank.device())?;
    let began = Instant::now();
    for (tokens, batch) in &batches {
        let loss = |outputs: &_| Ok::<_, CoreError>(Nll.loss(outputs, batch)?.value);
        let gradients = bank.differentiate(&Nll.reads(), tokens, loss)?;
        drop(gradients);
    }
    bank.device().sync().map_err(|e| CoreError::Other(Box::new(e)))?;
    let seconds = began.elapsed().as_secs_f64();
    Ok((rows as f64 * train_flops(shape, pass(), true)? as f64, 2.0 * BLOCKS as f64, seconds))
}

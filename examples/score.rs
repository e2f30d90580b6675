//! Log-probabilities, perplexity and reward scores of given texts.
//!
//! ```text
//! cargo run --release --example score -- --model DIR --input FILE.jsonl
//! echo '{"prompt": "2 + 2 =", "completion": " 4"}' | cargo run --release --example score -- --model DIR
//! ```
#![allow(clippy::print_stderr, reason = "a program talks to its user")]

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use hydralign::data::{Rows, TextTokenizer};
use hydralign::kernels::retain_freed_memory;
use hydralign::prelude::*;
use hydralign::rewards::unpadded;
use hydralign::runs::{StopFlag, stop_on_ctrl_c};
use hydralign_examples::model::Model;
use hydralign_examples::output::{Output, files_of, standard_input};
use hydralign_examples::tensor_spool::TensorSpool;
use hydralign_examples::{device, unless_broken_pipe};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Scores tokens, texts, or completions of prompts with a model in Hugging Face layout.
///
/// Reads one JSON object a row, other keys ignored: {"tokens": [..]}, {"text": ".."} or
/// {"prompt": "..", "completion": ".."}. Writes one object a line: `tokens`; `logprobs`, of each
/// token given those before it, so one fewer than tokens; their `sum`; and, for a model with a
/// reward head, `score`. A completion is not empty, unless --eos ends it.
#[derive(Parser, Debug)]
struct Args {
    /// Model folder: config.json, model.safetensors or its shards, tokenizer.json for text.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// PEFT adapter to look through.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Rows to score, JSON Lines (also packed), a JSON array or Parquet; standard input without.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where to write; standard output without.
    #[arg(long, value_name = "FILE.jsonl")]
    out: Option<PathBuf>,
    /// Store the logits of line i as tensor `logits.i`, `[tokens, vocab]`.
    #[arg(long, value_name = "FILE.safetensors")]
    logits: Option<PathBuf>,
    /// Replace earlier files of --out and --logits, when the new ones are complete.
    #[arg(long)]
    overwrite: bool,
    /// End completions with the model's end-of-text token, as reward models were often trained.
    #[arg(long)]
    eos: bool,
    /// Tokens per forward pass, padding included. Memory and speed, not results, depend on it.
    #[arg(long, default_value_t = 4096, value_name = "TOKENS")]
    batch_tokens: usize,
    /// flex, wgpu or cuda, as far as this binary was built with them.
    #[arg(long, default_value = "flex")]
    device: String,
}

/// One line of output.
#[derive(Debug, Default, Serialize)]
struct Scored {
    tokens: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
}

fn main() -> Result<()> {
    retain_freed_memory();
    unless_broken_pipe(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    ensure!(args.batch_tokens > 0, "--batch-tokens must be positive");
    let model = Model::open(&args.model, args.adapter.as_deref(), &device::open(&args.device)?)?;
    ensure!(
        args.logits.is_none() || model.trunk().has_lm_head(),
        "--logits: {} has no LM head",
        args.model.display()
    );
    let given = |path: &Option<PathBuf>| path.clone().filter(|p| p != Path::new("-"));
    let mut needed = vec![given(&args.input).unwrap_or_else(standard_input)];
    needed.extend(files_of([Some(args.model.as_path()), args.adapter.as_deref()]));
    let stop = stop_on_ctrl_c()?;
    let out = Output::open(args.out.as_deref(), &needed, args.overwrite)?;
    needed.extend(given(&args.out));
    let spool = |path| TensorSpool::new(path, &needed, args.overwrite);
    let mut scorer = Scorer {
        model: &model,
        stop: &stop,
        out,
        logits: args.logits.as_deref().map(spool).transpose()?,
        batch_tokens: args.batch_tokens,
        lines: 0,
        sum: 0.0,
        predicted: 0,
    };
    if let Err(error) =
        score_rows(&mut scorer, args.input.as_deref().unwrap_or(Path::new("-")), args.eos)
    {
        scorer.out.kept(scorer.lines).iter().for_each(|note| eprintln!("{note}"));
        return Err(error);
    }
    scorer.finish()
}

fn score_rows(scorer: &mut Scorer<'_>, input: &Path, eos: bool) -> Result<()> {
    let model = scorer.model;
    let mut waiting = Vec::new();
    for row in Rows::new(vec![input.to_owned()]) {
        let row = row?;
        ensure!(!scorer.stop.is_stopped(), "interrupted");
        let place = || format!("{}, {} {}", row.path.display(), row.unit.name(), row.number);
        waiting.push(read_row(&row.fields, model, eos).with_context(place)?);
        // Enough to sort by length, and no more than a bounded part of any input.
        if waiting.len() == 256 {
            scorer.score(std::mem::take(&mut waiting))?;
        }
    }
    scorer.score(waiting)?;
    ensure!(scorer.lines > 0, "{}: no lines to score", input.display());
    Ok(())
}

/// What a row may hold, of which it holds one.
const EXPECTED: &str = "expected {\"tokens\": [..]}, {\"text\": \"..\"} or {\"prompt\": \"..\", \"completion\": \"..\"}";

/// The tokens of a row, checked against the model.
fn read_row(row: &Map<String, Value>, model: &Model, eos: bool) -> Result<Vec<u32>> {
    let there = |field: &str| row.get(field).is_some_and(|value| !value.is_null());
    let text = |field: &str| match row.get(field) {
        Some(Value::String(text)) => Ok(text.as_str()),
        _ => bail!("`{field}` is no text; {EXPECTED}"),
    };
    let tokens = match (there("tokens"), there("text"), there("prompt") || there("completion")) {
        (true, false, false) => tokens_of(&row["tokens"])?,
        (false, true, false) => model.tokenizer()?.encode(text("text")?, true)?,
        (false, false, true) if !eos && text("completion")?.is_empty() => {
            bail!("`completion` is empty: there is nothing to score; a prompt alone is a `text`")
        }
        (false, false, true) => {
            pair(model.tokenizer()?, text("prompt")?, text("completion")?, eos)?
        }
        (false, false, false) => bail!("{EXPECTED}"),
        _ => bail!("more than one of `tokens`, `text` and `prompt`; {EXPECTED}"),
    };
    let architecture = model.trunk().architecture();
    let (context, vocab) = (architecture.context, architecture.shape.vocab);
    ensure!(!tokens.is_empty(), "there is nothing to score");
    ensure!(
        tokens.len() <= context,
        "{} tokens, but the model has a context of {context}",
        tokens.len()
    );
    match tokens.iter().find(|&&t| t as usize >= vocab) {
        Some(token) => bail!("token {token} is outside the vocabulary of {vocab}"),
        None => Ok(tokens),
    }
}

/// The ids in a list, which may be written as `512.0`.
fn tokens_of(list: &Value) -> Result<Vec<u32>> {
    let id = |value: &Value| {
        let number =
            value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n));
        number
            .map(|n| n as u32)
            .with_context(|| format!("`tokens` holds {value}, which is no token; {EXPECTED}"))
    };
    list.as_array()
        .with_context(|| format!("`tokens` is no list; {EXPECTED}"))?
        .iter()
        .map(id)
        .collect()
}

/// The prompt keeps its tokens, and no token straddles the border to what follows it.
fn pair(tokenizer: &TextTokenizer, prompt: &str, completion: &str, eos: bool) -> Result<Vec<u32>> {
    let mut tokens = tokenizer.encode(prompt, true)?;
    tokens.extend(tokenizer.encode_after(prompt, completion)?);
    let ends = |last: &u32| *last == tokenizer.eos_id() || tokenizer.eos_ids().contains(last);
    if eos && !tokens.last().is_some_and(ends) {
        tokens.push(tokenizer.eos_id());
    }
    Ok(tokens)
}

/// Consecutive lines of the order whose padded rectangle stays within the budget, or one line.
fn batches<'a>(order: &'a [usize], lines: &[Vec<u32>], budget: usize) -> Vec<&'a [usize]> {
    let (mut batches, mut first) = (Vec::new(), 0);
    for (i, &line) in order.iter().enumerate() {
        // The order is by length: the newest is the widest.
        if i > first && (i + 1 - first) * lines[line].len() > budget {
            batches.push(&order[first..i]);
            first = i;
        }
    }
    if first < order.len() {
        batches.push(&order[first..]);
    }
    batches
}

struct Scorer<'a> {
    model: &'a Model,
    stop: &'a StopFlag,
    out: Output,
    logits: Option<TensorSpool>,
    batch_tokens: usize,
    lines: usize,
    sum: f64,
    predicted: usize,
}

impl Scorer<'_> {
    /// Scores some lines in batches of like length and writes them in their order.
    fn score(&mut self, lines: Vec<Vec<u32>>) -> Result<()> {
        let mut order: Vec<usize> = (0..lines.len()).collect();
        order.sort_by_key(|&i| lines[i].len());
        let mut scored: Vec<Scored> = Vec::new();
        scored.resize_with(lines.len(), Scored::default);
        let mut logits = vec![Vec::new(); lines.len()];
        for batch in batches(&order, &lines, self.batch_tokens) {
            ensure!(!self.stop.is_stopped(), "interrupted");
            self.read(batch, &lines, &mut scored, &mut logits)?;
        }
        for (i, (mut scored, tokens)) in scored.into_iter().zip(lines).enumerate() {
            if let Some(spool) = &mut self.logits {
                let dims = [tokens.len(), logits[i].len() / tokens.len()];
                spool.push(format!("logits.{}", self.lines), dims, &logits[i])?;
            }
            scored.tokens = tokens;
            self.sum += scored.sum.unwrap_or(0.0);
            self.predicted += scored.logprobs.as_ref().map_or(0, Vec::len);
            serde_json::to_writer(&mut self.out, &scored)?;
            self.out.write_all(b"\n")?;
            self.lines += 1;
        }
        Ok(())
    }

    /// One forward pass for what it answers, and one for logits if they are asked for.
    fn read(
        &self,
        batch: &[usize],
        lines: &[Vec<u32>],
        scored: &mut [Scored],
        logits: &mut [Vec<f32>],
    ) -> Result<()> {
        let bank = &self.model.bank;
        let predicts = self.model.trunk().has_lm_head();
        let tokens = TokenBatch::whole(batch.iter().map(|&i| lines[i].clone()))?;
        let logprobs = Reading::Logprobs(Role::Actor);
        let score = Reading::Score(Role::Reward);
        let mut requests = Vec::new();
        let predictions = predicts && tokens.response_tokens() > 0;
        requests.extend(predictions.then(|| Request::constant(logprobs)));
        requests.extend(bank.head(Role::Reward).map(|_| Request::constant(score)));
        let outputs = bank.read(&requests, &tokens)?;
        if predicts {
            let values = if predictions { outputs.to_vec(logprobs)? } else { Vec::new() };
            let mut rest = values.as_slice();
            for &i in batch {
                let row;
                (row, rest) = rest.split_at(lines[i].len() - 1);
                let place = self.lines + i + 1;
                ensure!(
                    row.iter().all(|v| v.is_finite()),
                    "line {place} of those scored: a log-probability is not finite"
                );
                // An empty sum is −0.
                scored[i].sum = Some(row.iter().map(|&v| f64::from(v)).sum::<f64>() + 0.0);
                scored[i].logprobs = Some(row.to_vec());
            }
        }
        if bank.head(Role::Reward).is_some() {
            for (&i, value) in batch.iter().zip(outputs.to_vec(score)?) {
                scored[i].score = Some(value);
            }
            self.before_padding(batch, lines, scored)?;
            for &i in batch {
                let place = self.lines + i + 1;
                ensure!(
                    scored[i].score.is_some_and(f32::is_finite),
                    "line {place} of those scored: the score is not finite"
                );
            }
        }
        if self.logits.is_some() {
            let all = bank.all_logits(Role::Actor, &tokens)?;
            let vocab = all.dims()[2];
            let all: Vec<f32> = all.into_data().iter::<f32>().collect();
            for (row, &i) in batch.iter().enumerate() {
                let from = row * tokens.width() * vocab;
                logits[i] = all[from..from + lines[i].len() * vocab].to_vec();
            }
        }
        Ok(())
    }

    /// Reads the scores of lines that end in what the model takes for padding where transformers does.
    fn before_padding(
        &self,
        batch: &[usize],
        lines: &[Vec<u32>],
        scored: &mut [Scored],
    ) -> Result<()> {
        let padding = self.model.trunk().architecture().padding();
        let score = Reading::Score(Role::Reward);
        for &i in batch {
            let tokens = unpadded(&lines[i], padding);
            if tokens.len() < lines[i].len() {
                let row = TokenBatch::whole([tokens.to_vec()])?;
                let outputs = self.model.bank.read(&[Request::constant(score)], &row)?;
                scored[i].score = outputs.to_vec(score)?.first().copied();
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        self.out.finish()?;
        if let Some(spool) = self.logits {
            spool.finish()?;
        }
        if self.predicted > 0 {
            let mean = self.sum / self.predicted as f64;
            eprintln!(
                "perplexity {:.4} over {} tokens of {} lines",
                (-mean).exp(),
                self.predicted,
                self.lines
            );
        }
        Ok(())
    }
}

//! Log-probabilities, perplexity and reward scores of given texts.
//!
//! ```text
//! cargo run --release --example score -- --model DIR --input FILE.jsonl
//! echo '{"prompt": "2 + 2 =", "completion": " 4"}' | cargo run --release --example score -- --model DIR
//! ```
#![allow(clippy::print_stderr, reason = "a program talks to its user")]

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use hydralign::data::TextTokenizer;
use hydralign::kernels::retain_freed_memory;
use hydralign::prelude::*;
use hydralign_examples::model::Model;
use hydralign_examples::tensor_spool::TensorSpool;
use hydralign_examples::{device, unless_broken_pipe};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Scores tokens, texts, or completions of prompts with a model in Hugging Face layout.
///
/// Reads one JSON object a line: {"tokens": [..]}, {"text": ".."} or
/// {"prompt": "..", "completion": ".."}. Writes one object a line: `tokens`; `logprobs`, of each
/// token given those before it, so one fewer than tokens; their `sum`; and, for a model with a
/// reward head, `score`.
#[derive(Parser, Debug)]
struct Args {
    /// Model folder: config.json, model.safetensors or its shards, tokenizer.json for text.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// PEFT adapter to look through.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Lines to score; standard input without.
    #[arg(long, value_name = "FILE.jsonl")]
    input: Option<PathBuf>,
    /// Where to write; standard output without.
    #[arg(long, value_name = "FILE.jsonl")]
    out: Option<PathBuf>,
    /// Store the logits of line i as tensor `logits.i`, `[tokens, vocab]`.
    #[arg(long, value_name = "FILE.safetensors")]
    logits: Option<PathBuf>,
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

/// One line of input.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Tokens { tokens: Vec<u32> },
    Text { text: String },
    Pair { prompt: String, completion: String },
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
    let (name, input) = open_input(args.input.as_deref())?;
    let mut scorer = Scorer {
        model: &model,
        out: open_output(args.out.as_deref())?,
        logits: args.logits.as_deref().map(TensorSpool::new).transpose()?,
        batch_tokens: args.batch_tokens,
        lines: 0,
        sum: 0.0,
        predicted: 0,
    };
    let mut waiting = Vec::new();
    for (i, line) in input.lines().enumerate() {
        let place = || format!("{name}, line {}", i + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        waiting.push(read_line(&line, &model, args.eos).with_context(place)?);
        // Enough to sort by length, and no more than a bounded part of any input.
        if waiting.len() == 256 {
            scorer.score(std::mem::take(&mut waiting))?;
        }
    }
    scorer.score(waiting)?;
    scorer.finish(&name)
}

fn open_input(path: Option<&Path>) -> Result<(String, Box<dyn BufRead>)> {
    Ok(match path.filter(|p| *p != Path::new("-")) {
        Some(path) => {
            let name = path.display().to_string();
            let file = File::open(path).with_context(|| name.clone())?;
            (name, Box::new(BufReader::new(file)))
        }
        None => ("standard input".into(), Box::new(io::stdin().lock())),
    })
}

fn open_output(path: Option<&Path>) -> Result<Box<dyn Write>> {
    Ok(match path.filter(|p| *p != Path::new("-")) {
        Some(path) => {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(io::stdout().lock())),
    })
}

/// The tokens of a line, checked against the model.
fn read_line(line: &str, model: &Model, eos: bool) -> Result<Vec<u32>> {
    // The parser's own message for an untagged enum names no field.
    let line: Line = serde_json::from_str(line).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => anyhow::anyhow!(
            "expected {{\"tokens\": [..]}}, {{\"text\": \"..\"}} or {{\"prompt\": \"..\", \"completion\": \"..\"}}"
        ),
        _ => anyhow::anyhow!("not JSON: {e}"),
    })?;
    let tokens = match line {
        Line::Tokens { tokens } => tokens,
        Line::Text { text } => model.tokenizer()?.encode(&text, true)?,
        Line::Pair { prompt, completion } => pair(model.tokenizer()?, &prompt, &completion, eos)?,
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

/// Prompt and completion are tokenised apart, so that no token straddles their border.
fn pair(tokenizer: &TextTokenizer, prompt: &str, completion: &str, eos: bool) -> Result<Vec<u32>> {
    let mut tokens = tokenizer.encode(prompt, true)?;
    tokens.extend(tokenizer.encode(completion, false)?);
    if eos && tokens.last().is_none_or(|last| !tokenizer.eos_ids().contains(last)) {
        tokens.extend(tokenizer.eos_ids().first());
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
    out: Box<dyn Write>,
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

    fn finish(mut self, name: &str) -> Result<()> {
        ensure!(self.lines > 0, "{name}: no lines to score");
        self.out.flush()?;
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

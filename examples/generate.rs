//! Text from a model: prompts, files of prompts, or a chat.
//!
//! ```text
//! cargo run --release --example generate -- --model DIR --prompt "Once upon a time"
//! cargo run --release --example generate -- --model DIR --chat
//! cargo run --release --example generate -- --model DIR --input PROMPTS.jsonl --samples 4 --out OUT.jsonl
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

use anyhow::{Result, bail, ensure};
use clap::Parser;
use hydralign::core::Finish;
use hydralign::data::{
    ChatTemplate, Message, Reader, RenderOptions, TextStream, TextTokenizer, find_files,
};
use hydralign::kernels::retain_freed_memory;
use hydralign::prelude::*;
use hydralign::rollout::{Monitor, Progress, RolloutError, sample_prompts};
use hydralign::runs::{StopFlag, stop_on_ctrl_c};
use hydralign_examples::data::note_ending;
use hydralign_examples::model::Model;
use hydralign_examples::output::{Output, files_of};
use hydralign_examples::rows::{RowArgs, Truncate, advised, tell};
use hydralign_examples::{device, unless_broken_pipe};
use serde::Serialize;
use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Generates text with a model in Hugging Face layout.
#[derive(Parser, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["prompt", "input", "chat"])))]
#[command(mut_arg("on_bad_row", |a| a.conflicts_with_all(["prompt", "chat"])))]
#[command(mut_arg("truncate", |a| a.conflicts_with_all(["prompt", "chat"])))]
struct Args {
    /// Model folder: config.json, model.safetensors or its shards, tokenizer.json.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// PEFT adapter to look through.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// A prompt, as the model shall read it; may be given several times.
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// Rows with a `prompt`, a text or a list of messages; JSON Lines or Parquet, or a pattern.
    #[arg(long, value_name = "FILE")]
    input: Vec<String>,
    /// Rows of --input that cannot be answered.
    #[command(flatten)]
    rows: RowArgs,
    /// Talk to the model: turns from the terminal or from standard input, one a line.
    #[arg(long)]
    chat: bool,
    /// What the system says before the first turn, of --chat.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["prompt", "input"])]
    system: Option<String>,
    /// The most likely token each time, instead of a random one.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
    greedy: bool,
    /// Logits are divided by it.
    #[arg(long, default_value_t = 1.0)]
    temperature: f32,
    /// Only the k most likely tokens.
    #[arg(long)]
    top_k: Option<usize>,
    /// Only the smallest set of most likely tokens that holds this share.
    #[arg(long)]
    top_p: Option<f32>,
    /// Only tokens at least this fraction as likely as the most likely one.
    #[arg(long)]
    min_p: Option<f32>,
    /// Seed of what is drawn.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Responses for each prompt.
    #[arg(long, default_value_t = 1, conflicts_with = "chat")]
    samples: usize,
    /// Longest response. Prompts that leave less room get as much as there is, unless --truncate cuts them.
    #[arg(long, default_value_t = 128)]
    max_new_tokens: usize,
    /// Go on after a token that ends a text.
    #[arg(long)]
    ignore_eos: bool,
    /// Prompts that are decoded together.
    #[arg(long, default_value_t = 16, conflicts_with = "chat")]
    batch_size: usize,
    /// Write JSON Lines with file and row, prompt, text, tokens and log-probabilities instead of printing.
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "chat")]
    out: Option<PathBuf>,
    /// Replace an earlier file of --out, when the new one is complete.
    #[arg(long, requires = "out")]
    overwrite: bool,
    /// flex, wgpu or cuda, as far as this binary was built with them.
    #[arg(long, default_value = "flex")]
    device: String,
}

fn main() -> Result<()> {
    retain_freed_memory();
    unless_broken_pipe(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    ensure!(args.samples > 0, "--samples must be positive");
    let stop = stop_on_ctrl_c()?;
    let model = Model::open(&args.model, args.adapter.as_deref(), &device::open(&args.device)?)?;
    ensure!(model.trunk().has_lm_head(), "{}: has no LM head", args.model.display());
    let writer = Writer {
        args,
        stop: &stop,
        tokenizer: model.tokenizer()?,
        template: ChatTemplate::from_dir(model.dir())?,
        model: &model,
        context: model.trunk().architecture().context,
    };
    if args.chat || !args.input.is_empty() {
        note_ending(writer.template.as_ref(), writer.tokenizer);
    }
    match args.chat {
        true => writer.chat(),
        false => writer.answer(),
    }
}

/// A prompt and where it was read.
#[derive(Debug)]
struct Asked {
    tokens: Vec<u32>,
    place: Option<Place>,
}

/// A row of a file.
#[derive(Clone, Debug, Serialize)]
struct Place {
    file: PathBuf,
    /// From 1, those that were left out counted: as a message would name it.
    row: usize,
}

/// One line of `--out`.
#[derive(Debug, Serialize)]
struct Written {
    #[serde(flatten)]
    place: Option<Place>,
    prompt: String,
    text: String,
    prompt_tokens: Vec<u32>,
    tokens: Vec<u32>,
    /// Of each token under the model itself, before any filter.
    logprobs: Vec<f32>,
    /// `stop` at a token that ends a text, `length` at the limit.
    finish: &'static str,
}

struct Writer<'a> {
    args: &'a Args,
    stop: &'a StopFlag,
    tokenizer: &'a TextTokenizer,
    template: Option<ChatTemplate>,
    model: &'a Model,
    context: usize,
}

impl Writer<'_> {
    /// Responses to prompts of the command line or of files.
    fn answer(&self) -> Result<()> {
        let prompts = self.prompts()?;
        let streamed = prompts.len() == 1 && self.args.samples == 1 && self.args.out.is_none();
        if streamed {
            self.stream(&prompts[0].tokens)?;
            println!();
            return Ok(());
        }
        let mut inputs = find_files(&self.args.input)?;
        inputs.extend(files_of([Some(self.args.model.as_path()), self.args.adapter.as_deref()]));
        let mut out = Output::open(self.args.out.as_deref(), &inputs, self.args.overwrite)?;
        let mut written = 0;
        if let Err(error) = self.answer_all(&prompts, &mut out, &mut written) {
            out.kept(written).iter().for_each(|note| eprintln!("{note}"));
            return Err(error);
        }
        out.finish()
    }

    fn answer_all(&self, prompts: &[Asked], out: &mut Output, written: &mut usize) -> Result<()> {
        let (mut seen, samples) = (0, self.args.samples);
        for chunk in prompts.chunks(self.args.batch_size.max(1)) {
            let offset = (seen * samples) as u64;
            let tokens: Vec<Vec<u32>> = chunk.iter().map(|asked| asked.tokens.clone()).collect();
            let episodes = self.generate(&tokens, offset, &mut Quiet(self.stop))?;
            for (i, episode) in episodes.iter().enumerate() {
                self.write(out, chunk[i / samples].place.clone(), episode)?;
                *written += 1;
            }
            seen += chunk.len();
            out.flush()?;
        }
        Ok(())
    }

    fn write(&self, out: &mut dyn Write, place: Option<Place>, episode: &Episode) -> Result<()> {
        let written = Written {
            place,
            prompt: self.tokenizer.decode(&episode.prompt, false)?,
            text: self.tokenizer.decode(&episode.response, true)?,
            prompt_tokens: episode.prompt.clone(),
            tokens: episode.response.clone(),
            logprobs: episode.policy_logprobs.clone(),
            finish: match episode.finish {
                Finish::Stop => "stop",
                Finish::Length => "length",
            },
        };
        if self.args.out.is_some() {
            serde_json::to_writer(&mut *out, &written)?;
            return Ok(out.write_all(b"\n")?);
        }
        Ok(writeln!(out, "── {}\n{}\n", written.prompt.trim_end(), written.text)?)
    }

    fn prompts(&self) -> Result<Vec<Asked>> {
        let template = self.template.as_ref();
        let reader = Reader { template, ..Reader::new(self.tokenizer, self.room()?) };
        let reader = self.args.rows.apply(reader);
        let mut prompts = Vec::new();
        for text in &self.args.prompt {
            let tokens = hydralign::data::encode_prompt(self.tokenizer, text, self.context)?;
            prompts.push(Asked { tokens, place: None });
        }
        if !self.args.input.is_empty() {
            let read = reader.prompt_sources(&self.args.input);
            let (read, report) = read.map_err(|error| advised(error, &self.args.rows))?;
            tell(&self.args.input.join(", "), &report);
            prompts.extend(read.into_iter().map(|source| Asked {
                tokens: source.tokens,
                place: Some(Place { file: source.path.to_path_buf(), row: source.row }),
            }));
        }
        Ok(prompts)
    }

    /// Tokens that a prompt may have and one more: prompts that are cut leave room for a whole response.
    fn room(&self) -> Result<usize> {
        let cuts = matches!(self.args.rows.truncate, Truncate::KeepEnd | Truncate::KeepStart);
        let (longest, context) = (self.args.max_new_tokens, self.context);
        ensure!(
            !cuts || longest < context,
            "--max-new-tokens {longest} leaves nothing of the context of {context} for prompts: a smaller number lets --truncate fit them"
        );
        Ok(if cuts { context + 1 - longest.max(1) } else { context })
    }

    fn generate(
        &self,
        prompts: &[Vec<u32>],
        offset: u64,
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Episode>> {
        let args = self.args;
        let config = GenerationConfig {
            max_new_tokens: args.max_new_tokens,
            max_length: Some(self.context),
            stop_tokens: match args.ignore_eos {
                true => Vec::new(),
                false => self.tokenizer.eos_ids().to_vec(),
            },
            batch_size: args.batch_size,
            ..GenerationConfig::default()
        };
        let Args { greedy, temperature, top_k, top_p, min_p, .. } = *args;
        let sampler = SamplerConfig { temperature, top_k, top_p, min_p, greedy }.build()?;
        let engine = Engine::new(&self.model.bank, Role::Actor, &sampler, &config)?;
        let prompts = sample_prompts(prompts, args.samples, args.seed, offset);
        engine.generate(&prompts, monitor).map_err(|e| match e {
            RolloutError::Cancelled { .. } => anyhow::anyhow!("interrupted"),
            other => other.into(),
        })
    }

    /// One response, printed as it is drawn. Returns its text; what Ctrl-C cuts short is kept.
    fn stream(&self, prompt: &[u32]) -> Result<String> {
        let text = TextStream::new(self.tokenizer, true);
        let mut printer = Printer { text, stop: self.stop, failure: None };
        let result = self.generate(std::slice::from_ref(&prompt.to_vec()), 0, &mut printer);
        let tokens = printer.finish()?;
        match result {
            Ok(_) => {}
            Err(_) if self.stop.is_stopped() => eprintln!("\n[interrupted]"),
            Err(e) => return Err(e),
        }
        Ok(self.tokenizer.decode(&tokens, true)?)
    }

    /// Turns of a user, answered one after another.
    fn chat(&self) -> Result<()> {
        let Some(template) = &self.template else {
            bail!("{}: has no chat template", self.model.dir().display());
        };
        let asks = io::stdin().is_terminal();
        let mut turns: Vec<Message> = Vec::new();
        turns.extend(self.args.system.as_deref().map(|text| Message::new("system", text)));
        let mut lines = io::stdin().lock().lines();
        loop {
            if asks {
                print!("> ");
                io::stdout().flush()?;
            }
            let Some(line) = lines.next().transpose()? else { break };
            if line.trim().is_empty() {
                continue;
            }
            turns.push(Message::new("user", line));
            let options = RenderOptions { add_generation_prompt: true, ..Default::default() };
            let text = template.render(&turns, &options)?;
            let prompt = self.tokenizer.encode(&text, false)?;
            ensure!(
                prompt.len() < self.context,
                "the conversation has {} tokens, the model a context of {}",
                prompt.len(),
                self.context
            );
            let answer = self.stream(&prompt)?;
            println!();
            if self.stop.is_stopped() {
                break;
            }
            turns.push(Message::new("assistant", answer));
        }
        Ok(())
    }
}

/// Watches for Ctrl-C and nothing else.
struct Quiet<'a>(&'a StopFlag);

impl Monitor for Quiet<'_> {
    fn step(&mut self, _: &Progress) -> ControlFlow<()> {
        if self.0.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Prints tokens as text while they come, as far as no later token can change it.
struct Printer<'a> {
    text: TextStream<'a>,
    stop: &'a StopFlag,
    failure: Option<anyhow::Error>,
}

impl Printer<'_> {
    /// Prints what is left. Returns the tokens of the response.
    fn finish(self) -> Result<Vec<u32>> {
        if let Some(e) = self.failure {
            return Err(e);
        }
        let tokens = self.text.tokens().to_vec();
        print_now(&self.text.finish()?)?;
        Ok(tokens)
    }
}

fn print_now(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

impl Monitor for Printer<'_> {
    fn step(&mut self, _: &Progress) -> ControlFlow<()> {
        let ends = self.failure.is_some() || self.stop.is_stopped();
        if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn token(&mut self, _: usize, token: u32) {
        let pushed = self.text.push(token);
        if let Err(e) = pushed.map_err(Into::into).and_then(|text| print_now(&text)) {
            self.failure.get_or_insert(e);
        }
    }
}

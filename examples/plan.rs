//! Which method fits into a memory budget on a model and a data set, with which settings, and the command
//! that runs it. Only the model's `config.json` and tokenizer are read.
//!
//! ```text
//! cargo run --release --example plan -- --model DIR --data pairs.jsonl --budget 24GiB
//! cargo run --release --example plan -- --model DIR --data prompts.jsonl --budget 800MB --max-new-tokens 64
//! ```
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use hydralign::calibrate;
use hydralign::data::{ChatTemplate, Reader, TextTokenizer};
use hydralign::families::{Architecture, read_architecture};
use hydralign::memory::{
    Dtype, MemoryError, Method, Plan, Rates, Workload, format_bytes, parse_bytes,
};
use hydralign::prelude::*;
use hydralign_examples::budget::{Parts, longest, table};
use hydralign_examples::data::load_tokenizer;
use hydralign_examples::rows::{RowArgs, tell};
use hydralign_examples::say;
use hydralign_examples::{device, memory, unless_broken_pipe};
use std::path::PathBuf;

/// Recommends a method and settings that fit into a memory budget.
#[derive(Parser, Debug)]
struct Args {
    /// A model in Hugging Face layout.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Pairs ({"prompt", "chosen", "rejected"}) or prompts ({"prompt"}), JSONL or Parquet.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Rows that cannot be learnt from.
    #[command(flatten)]
    rows: RowArgs,
    /// Bytes that the run may hold, such as 24GiB or 800MB.
    #[arg(long, value_name = "SIZE")]
    budget: String,
    /// Only this method, by its name in `memory_table`.
    #[arg(long)]
    method: Option<String>,
    /// Longest response that is sampled, in tokens.
    #[arg(long, default_value_t = 32)]
    max_new_tokens: usize,
    /// Rank of adapters.
    #[arg(long, default_value_t = 16)]
    rank: usize,
    /// flex, wgpu or cuda, as far as this binary was built with them.
    #[arg(long, default_value = "flex")]
    device: String,
}

/// What there is to learn from.
enum Data {
    /// Lengths of the longest prompt and the longest response.
    Pairs(usize, usize),
    /// Length of the longest prompt.
    Prompts(usize),
}

/// A method and the workload of its program.
struct Choice {
    name: &'static str,
    method: Method,
    workload: Workload,
    /// The stage before it, which trains from a model that is held beside.
    before: Option<(Method, Workload)>,
}

impl Choice {
    /// The same with adapters in place of all weights.
    fn with_adapter(&self, name: &'static str) -> Self {
        let method = self.method.clone().with_adapter();
        Self { name, method, workload: self.workload.clone(), before: None }
    }
}

fn main() -> Result<()> {
    unless_broken_pipe(run())
}

fn run() -> Result<()> {
    let args = Args::parse();
    let budget = parse_bytes(&args.budget)?;
    ensure!(args.max_new_tokens > 0, "--max-new-tokens must be at least 1");
    ensure!(args.rank > 0, "--rank must be at least 1");
    let device = device::open(&args.device)?;
    let architecture = read_architecture(&args.model)?;
    let data = args.data(&architecture)?;
    let options = args.options(&data)?;
    let rates = calibrate(&architecture, &device)?;
    let mut planned = Vec::new();
    let mut refused = Vec::new();
    for option in options {
        match args.plan(&option, &architecture, rates, budget)? {
            Ok(plan) => planned.push((option, plan)),
            Err(reason) => refused.push((option, reason)),
        }
    }
    say!("{} at a budget of {}\n", args.describe(&architecture, &data), format_bytes(budget));
    if !planned.is_empty() {
        say!("{}", table(planned.iter().map(|(o, plan)| (o.name, plan)))?.to_text());
        for (option, plan) in &planned {
            say!("{:<18} {:>10.2} s an iteration, about", option.name, plan.seconds);
        }
    }
    for (option, reason) in &refused {
        say!("\n{} does not fit: {reason}", option.name);
    }
    let Some((option, plan)) = planned.first() else {
        bail!("no method fits into {}", args.budget)
    };
    say!("\nrecommended: {}\n\n{}", option.name, args.command(option, plan));
    Ok(())
}

impl Args {
    fn describe(&self, architecture: &Architecture, data: &Data) -> String {
        let what = match data {
            Data::Pairs(prompt, response) => {
                format!("pairs of up to {prompt} + {response} tokens")
            }
            Data::Prompts(prompt) => {
                format!("prompts of up to {prompt} tokens, {} new ones", self.max_new_tokens)
            }
        };
        format!("{} parameters, {what},", architecture.shape.parameters())
    }

    /// The lengths of the data: pairs if it has them, else prompts.
    fn data(&self, architecture: &Architecture) -> Result<Data> {
        let tokenizer: TextTokenizer = load_tokenizer(&self.model)?;
        let template = ChatTemplate::from_dir(&self.model)?;
        let context = architecture.context;
        let room = context.checked_sub(self.max_new_tokens).filter(|room| *room > 0);
        let room = room.with_context(|| {
            format!("a context of {context} leaves no room for {} new tokens", self.max_new_tokens)
        })?;
        let reader = |context| {
            let reader = Reader::new(&tokenizer, context);
            self.rows.apply(Reader { template: template.as_ref(), ..reader })
        };
        let name = self.data.display().to_string();
        ensure!(name != "-", "--data: the programs cannot read standard input again; name a file");
        let pairs = match reader(context).preferences(&[&name]) {
            Ok((pairs, report)) => {
                tell(&name, &report);
                pairs
            }
            Err(no_pairs) => {
                let prompts = reader(room + 1).prompts(&[&name]);
                let (prompts, report) = prompts
                    .map_err(|e| anyhow::anyhow!("no pairs: {no_pairs}; no prompts: {e}"))?;
                tell(&name, &report);
                let most = prompts.iter().map(Vec::len).max();
                return Ok(Data::Prompts(most.context("the data holds no prompts")?));
            }
        };
        ensure!(!pairs.is_empty(), "the data holds no pairs");
        let (prompt, response) = longest(pairs.iter().flat_map(|p| [&p.chosen, &p.rejected]));
        Ok(Data::Pairs(prompt, response))
    }

    /// The methods for the data, the one to be preferred first, with the batches that its program uses.
    fn options(&self, data: &Data) -> Result<Vec<Choice>> {
        let new = self.max_new_tokens;
        let options = match *data {
            Data::Pairs(prompt, response) => {
                let pairs = Workload::uniform(32, prompt, response);
                let rollout = Workload {
                    minibatch: 32,
                    micro_batch: 32,
                    ..Workload::uniform(64, prompt, new)
                };
                let ppo = |name| Choice {
                    name,
                    method: Method::by_name(name).unwrap_or_else(Method::sft),
                    workload: rollout.clone(),
                    before: Some((Method::hydra_sft(), Workload::uniform(64, prompt, response))),
                };
                let dpo = Choice {
                    name: "dpo_precomputed",
                    method: Method::dpo_precomputed(),
                    workload: pairs,
                    before: None,
                };
                let lora = dpo.with_adapter("dpo_precomputed_lora");
                vec![dpo, lora, ppo("hydra_ppo"), ppo("j_hydra_ppo"), ppo("ppo")]
            }
            Data::Prompts(prompt) => {
                let grpo = Workload {
                    minibatch: 32,
                    micro_batch: 32,
                    ..Workload::uniform(64, prompt, new)
                };
                let spr = Workload {
                    minibatch: 32,
                    micro_batch: 32,
                    generate_batch: 64,
                    score_batch: 64,
                    ..Workload::uniform(256, prompt, new)
                };
                let grpo =
                    Choice { name: "grpo", method: Method::grpo(), workload: grpo, before: None };
                let spr =
                    Choice { name: "spr", method: Method::spr(), workload: spr, before: None };
                let adapted = [grpo.with_adapter("grpo_lora"), spr.with_adapter("spr_lora")];
                [grpo, spr].into_iter().chain(adapted).collect()
            }
        };
        let Some(wanted) = &self.method else { return Ok(options) };
        let names: Vec<&str> = options.iter().map(|o| o.name).collect();
        let names = names.join(", ");
        let chosen: Vec<Choice> = options.into_iter().filter(|o| o.name == wanted).collect();
        ensure!(
            !chosen.is_empty(),
            "`{wanted}` is not planned for such data (planned are: {names})"
        );
        Ok(chosen)
    }

    fn plan(
        &self,
        option: &Choice,
        architecture: &Architecture,
        rates: Rates,
        budget: u64,
    ) -> Result<Result<Plan, String>> {
        let plan = |method: &Method, workload: &Workload, budget: u64| {
            let parts = Parts {
                method: method.clone(),
                architecture: architecture.clone(),
                lora: LoraShape { rank: self.rank, ..LoraShape::default() },
                workload: workload.clone(),
                profile: memory::profile(),
                rates,
            };
            parts.job().plan(budget)
        };
        if let Some((method, workload)) = &option.before {
            let beside = 4 * architecture.shape.parameters();
            match plan(method, workload, budget.saturating_sub(beside)) {
                Ok(_) => {}
                Err(MemoryError::NoFit(reason)) => {
                    let model = format_bytes(beside);
                    let stage = format!("{} beside its start of {model}: {reason}", method.name);
                    return Ok(Err(stage));
                }
                Err(other) => return Err(other.into()),
            }
        }
        // A run without checkpoints cannot go on where it was cut, but it needs no room for them.
        let with = Workload { checkpoints: true, ..option.workload.clone() };
        let found = match plan(&option.method, &with, budget) {
            Err(MemoryError::NoFit(_)) => plan(&option.method, &option.workload, budget),
            found => found,
        };
        match found {
            Ok(plan) => Ok(Ok(plan)),
            Err(MemoryError::NoFit(reason)) => Ok(Err(reason.to_string())),
            Err(other) => Err(other.into()),
        }
    }

    /// The command line that runs a plan.
    fn command(&self, option: &Choice, plan: &Plan) -> String {
        let (model, data) = (self.model.display(), self.data.display());
        let w = &plan.workload;
        let pieces = [
            ("--logprob-chunk", w.execution.logprob_chunk),
            ("--segment-blocks", w.execution.segment_blocks),
        ];
        let pieces = pieces.iter().filter_map(|(flag, n)| n.map(|n| format!(" {flag} {n}")));
        let mut pieces: String = pieces.collect();
        // The reference of dpo is read as the policy begins.
        if w.frozen_dtype != Dtype::F32 && option.name != "dpo_precomputed" {
            pieces += &format!(" --frozen-dtype {}", w.frozen_dtype.name());
        }
        if option.name.ends_with("_lora") {
            pieces += &format!(" --lora-rank {}", self.rank);
        }
        if !w.checkpoints {
            pieces += " --checkpoint-every 0";
        }
        let rows = self.rows.flags();
        let run = |example: &str| {
            format!("cargo run --release --example {example} -- --model {model}{rows}")
        };
        match option.name {
            "dpo_precomputed" | "dpo_precomputed_lora" => format!(
                "{} --preferences {data} --score-batch {} --micro-batch {}{pieces}",
                run("dpo"),
                2 * w.score_batch,
                w.micro_batch,
            ),
            "grpo" | "spr" | "grpo_lora" | "spr_lora" => format!(
                "{} --reward REWARD_DIR --prompts {data} --max-new-tokens {} --generate-batch {} --score-batch {} --micro-batch {}{pieces}",
                run(option.name.trim_end_matches("_lora")),
                self.max_new_tokens,
                w.generate_batch,
                w.score_batch,
                w.micro_batch,
            ),
            placement => format!(
                "{} --prompts {data} --preferences {data} --placement {placement} --rank {} --max-new-tokens {} --memory-budget {}",
                run("hydra_rlhf"),
                self.rank,
                self.max_new_tokens,
                self.budget,
            ),
        }
    }
}

//! The report of a comparison: tables, plots, and what went wrong. The page holds everything that it
//! shows.

use super::summary::{Summary, summaries};
use super::{Outcome, Point};
use anyhow::Result;
use hydralign::memory::format_bytes;
use hydralign::runs::{Cell, LinePlot, Series, Table, write_atomic};
use std::path::Path;

/// Methods that belong together in a plot.
const FAMILIES: [(&str, &[&str]); 4] = [
    (
        "policy gradients",
        &[
            "ppo",
            "grpo",
            "dr_grpo",
            "dapo",
            "gspo",
            "rloo",
            "reinforce_pp",
            "reinforce_pp_baseline",
            "remax",
        ],
    ),
    (
        "re-weighting",
        &[
            "spr",
            "spr_ess",
            "spr_loo",
            "spr_learned",
            "spr_max",
            "spr_offline",
            "spr_token",
            "awr",
            "rwr",
        ],
    ),
    (
        "choice and decoding",
        &[
            "sft",
            "raft",
            "rest",
            "superhf",
            "spin",
            "ilql",
            "cd",
            "cd_blocks",
            "best_of_4",
            "best_of_16",
        ],
    ),
    ("preferences", &["dpo", "cdpo", "ipo", "hinge", "simpo", "cpo", "orpo", "kto", "online_dpo"]),
];

/// What W is, in the ablation.
const ABLATION: [(&str, &str); 6] = [
    ("rwr", "0, scores standardised (RWR)"),
    ("awr", "V, the mean score (AWR)"),
    ("spr", "log-mean-exp (SPR; also the closed form under Gumbel noise)"),
    ("spr_loo", "log-mean-exp of the others"),
    ("spr_learned", "W_φ, learnt"),
    ("spr_max", "the best score"),
];

/// Writes `report.md` and `report.html`.
///
/// # Errors
/// A file that cannot be written.
pub fn write(folder: &Path, outcomes: &[Outcome]) -> Result<()> {
    let sections = sections(outcomes)?;
    let mut markdown = String::from("# Methods compared\n");
    let mut html = String::new();
    for section in &sections {
        markdown += &format!("\n## {}\n\n{}\n", section.title, section.text);
        html += &format!("<h2>{}</h2>\n<p>{}</p>\n", section.title, section.text);
        if let Some(table) = &section.table {
            markdown += &format!("\n{}", table.to_markdown());
            html += &format!("<div class=\"scroll\">{}</div>\n", table.to_html());
        }
        if let Some(svg) = &section.svg {
            let name = format!("{}.svg", section.file);
            markdown += &format!("\n![{}]({name})\n", section.title);
            html += &format!("<div class=\"scroll\">{svg}</div>\n");
            write_atomic(&folder.join(name), svg.as_bytes())?;
        }
    }
    write_atomic(&folder.join("report.md"), markdown.as_bytes())?;
    write_atomic(&folder.join("report.html"), page(&html).as_bytes())?;
    Ok(())
}

/// The main table, for a terminal.
///
/// # Errors
/// Never in practice: rows have as many cells as there are headers.
pub fn terminal(outcomes: &[Outcome]) -> Result<String> {
    Ok(quality(&summaries(outcomes))?.to_text())
}

struct Section {
    title: &'static str,
    file: &'static str,
    text: String,
    table: Option<Table>,
    svg: Option<String>,
}

impl Section {
    fn new(title: &'static str, file: &'static str, text: impl Into<String>) -> Self {
        Self { title, file, text: text.into(), table: None, svg: None }
    }

    fn table(mut self, table: Table) -> Self {
        self.table = Some(table);
        self
    }

    fn plot(mut self, plots: &[LinePlot]) -> Result<Self> {
        if !plots.is_empty() {
            self.svg = Some(LinePlot::panels(plots)?);
        }
        Ok(self)
    }
}

fn sections(outcomes: &[Outcome]) -> Result<Vec<Section>> {
    let all = summaries(outcomes);
    let gflops = |p: &Point| p.flops / 1e9;
    let (tokens, kl) = (|p: &Point| p.tokens as f64, |p: &Point| p.kl);
    let (gold, reward) = (|p: &Point| p.gold, |p: &Point| p.reward);
    let gold_flops = over(&all, ("gold score", gold), ("Gflop", gflops), true);
    let sampling: Vec<Summary> = summaries(outcomes).into_iter().filter(samples).collect();
    let gold_tokens = over(&sampling, ("gold score", gold), ("tokens", tokens), true);
    let nats = "KL, nats per response";
    let frontier = over(&all, ("gold score", gold), (nats, kl), false);
    let reward_frontier = over(&all, ("reward model's score", reward), (nats, kl), false);
    let mut sections = vec![
        Section::new("Quality", "quality", introduction(outcomes)).table(quality(&all)?),
        Section::new("Faults and what does not improve", "faults", faults(outcomes, &all)),
        Section::new(
            "Gold score over operations",
            "gold-flops",
            "Mean over seeds, one standard deviation as a band.",
        )
        .plot(&gold_flops)?,
        Section::new("Gold score over sampled tokens", "gold-tokens", "Methods that sample.")
            .plot(&gold_tokens)?,
        Section::new(
            "Gold score over KL",
            "frontier",
            "How far a policy goes from the fine-tuned model, and what it gains. Means over seeds.",
        )
        .plot(&frontier)?,
        Section::new(
            "Reward over KL",
            "reward-frontier",
            "The reward model's view of the same: where it rises and the gold score falls, the \
             reward is exploited.",
        )
        .plot(&reward_frontier)?,
        Section::new(
            "Memory and time",
            "cost",
            "Highest bytes of each phase above what was live before the run, exact, the largest of \
             the seeds. Seconds and CPU seconds are of the whole run, evaluation left out.",
        )
        .table(cost(&all)?),
    ];
    let ablation = ablation(&all)?;
    sections.extend(ablation.map(|table| {
        Section::new(
            "What W is",
            "ablation",
            "The same weights exp((r − W)/β) with each W, the same everything else.",
        )
        .table(table)
    }));
    let (table, plots) = sensitivity(&all)?;
    if let Some(table) = table {
        let text = "The same method with other temperatures or penalties.";
        sections.push(Section::new("Sensitivity to β", "beta", text).table(table).plot(&plots)?);
    }
    Ok(sections)
}

fn introduction(outcomes: &[Outcome]) -> String {
    let Some(first) = outcomes.first() else { return String::new() };
    let gold: Vec<f64> = outcomes.iter().filter_map(|o| o.points.first()).map(|p| p.gold).collect();
    let start = hydralign::runs::mean(&gold).unwrap_or(f64::NAN);
    format!(
        "Every method starts from the same fine-tuned model of its seed (gold score {start:.2} on \
         average) and, where it uses one, the same reward model. “Equal tokens”: after {} sampled \
         tokens. “Equal operations”: after {:.0}·10⁹ floating-point operations of sampling, scoring \
         and learning; those of training the reward model are not counted. Wins are over the \
         fine-tuned model's response to the same held-out prompt by the true score, ties count half. \
         Mean ± sample standard deviation over seeds.",
        first.token_budget,
        first.flop_budget / 1e9
    )
}

fn quality(all: &[Summary]) -> Result<Table> {
    let mut table = Table::new(&[
        "method",
        "gold, equal tokens",
        "wins, %",
        "gold, equal operations",
        "wins, %",
        "KL",
        "reward",
        "length",
        "seeds",
    ]);
    for s in all {
        let cell = |of: &dyn Fn(&Outcome) -> Option<f64>, decimals| {
            let (mean, std) = s.mean_std(of);
            Cell::mean_std(mean, std, decimals)
        };
        table.row([
            Cell::text(&s.variant),
            cell(&|o| o.equal_tokens().map(|p| p.gold), 2),
            cell(&|o| o.equal_tokens().map(|p| 100.0 * p.win_rate), 1),
            cell(&|o| o.equal_flops().map(|p| p.gold), 2),
            cell(&|o| o.equal_flops().map(|p| 100.0 * p.win_rate), 1),
            cell(&|o| o.equal_flops().map(|p| p.kl), 2),
            cell(&|o| o.equal_flops().map(|p| p.reward), 2),
            cell(&|o| o.equal_flops().map(|p| p.length), 1),
            Cell::count(s.runs.len() as u64),
        ])?;
    }
    Ok(table)
}

fn cost(all: &[Summary]) -> Result<Table> {
    let mut table = Table::new(&[
        "method", "generate", "score", "update", "peak", "seconds", "CPU s", "tokens", "Gflop",
    ]);
    for s in all {
        let bytes = |b: Option<u64>| Cell::text(b.map_or("–".into(), format_bytes)).right();
        let of = |phase: &str| bytes(s.runs.iter().filter_map(|o| o.peak_of(phase)).max());
        let mean = |f: &dyn Fn(&Outcome) -> Option<f64>| s.mean_std(f).0;
        let sum = |o: &Outcome, f: &dyn Fn(&super::PhaseRow) -> f64| o.phases.iter().map(f).sum();
        table.row([
            Cell::text(&s.variant),
            of("generate"),
            of("score"),
            of("update"),
            bytes(s.runs.iter().map(|o| o.peak()).max().filter(|peak| *peak > 0)),
            Cell::number(mean(&|o| Some(sum(o, &|p| p.seconds))), 1),
            Cell::number(mean(&|o| Some(sum(o, &|p| p.cpu.unwrap_or(f64::NAN)))), 1),
            Cell::number(mean(&|o| o.end().map(|p| p.tokens as f64)), 0),
            Cell::number(mean(&|o| o.end().map(|p| p.flops / 1e9)), 0),
        ])?;
    }
    Ok(table)
}

fn faults(outcomes: &[Outcome], all: &[Summary]) -> String {
    let mut text = String::new();
    for o in outcomes {
        if let Some(error) = &o.error {
            text += &format!("{}, seed {}: {error}. ", o.variant, o.seed);
        }
    }
    let last = |s: &Summary| s.mean_std(&|o| o.end().map(|p| p.win_rate)).0;
    let worse: Vec<&str> =
        all.iter().filter(|s| last(s) <= 0.5).map(|s| s.variant.as_str()).collect();
    if !worse.is_empty() {
        text += &format!("Not better than the fine-tuned model at the end: {}.", worse.join(", "));
    }
    if text.is_empty() {
        text += "No run ended early, and every method ends better than the fine-tuned model.";
    }
    text
}

fn samples(s: &Summary) -> bool {
    s.runs.iter().any(|o| o.end().is_some_and(|p| p.tokens > 0))
}

/// One panel per family: a number over another of the methods without settings of their own.
fn over(
    all: &[Summary],
    (y_label, y): (&str, impl Fn(&Point) -> f64),
    (x_label, x): (&str, impl Fn(&Point) -> f64),
    banded: bool,
) -> Vec<LinePlot> {
    let mut plots = Vec::new();
    for (title, methods) in FAMILIES {
        let own = |s: &&Summary| methods.contains(&s.variant.as_str());
        let series: Vec<Series> =
            all.iter().filter(own).filter_map(|s| s.series(&x, &y, banded)).collect();
        if !series.is_empty() {
            plots.push(LinePlot {
                title: title.to_owned(),
                x_label: x_label.to_owned(),
                y_label: y_label.to_owned(),
                series,
            });
        }
    }
    plots
}

fn ablation(all: &[Summary]) -> Result<Option<Table>> {
    let mut table = Table::new(&[
        "W",
        "method",
        "gold, equal tokens",
        "gold, equal operations",
        "wins, %",
        "KL",
    ]);
    let mut rows = 0;
    for (method, what) in ABLATION {
        let Some(s) = all.iter().find(|s| s.variant == method) else { continue };
        let cell = |of: &dyn Fn(&Outcome) -> Option<f64>, decimals| {
            let (mean, std) = s.mean_std(of);
            Cell::mean_std(mean, std, decimals)
        };
        table.row([
            Cell::text(what),
            Cell::text(method),
            cell(&|o| o.equal_tokens().map(|p| p.gold), 2),
            cell(&|o| o.equal_flops().map(|p| p.gold), 2),
            cell(&|o| o.equal_flops().map(|p| 100.0 * p.win_rate), 1),
            cell(&|o| o.equal_flops().map(|p| p.kl), 2),
        ])?;
        rows += 1;
    }
    Ok((rows > 1).then_some(table))
}

/// Variants that differ in β, as a table and a plot.
fn sensitivity(all: &[Summary]) -> Result<(Option<Table>, Vec<LinePlot>)> {
    let mut table =
        Table::new(&["method", "β", "gold, equal operations", "wins, %", "KL", "seeds"]);
    let mut methods: Vec<&str> = Vec::new();
    let mut varied: Vec<&Summary> = all.iter().filter(|s| s.beta().is_some()).collect();
    varied.sort_by(|a, b| {
        (a.method(), a.beta())
            .partial_cmp(&(b.method(), b.beta()))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    for s in &varied {
        let cell = |of: &dyn Fn(&Outcome) -> Option<f64>, decimals| {
            let (mean, std) = s.mean_std(of);
            Cell::mean_std(mean, std, decimals)
        };
        table.row([
            Cell::text(s.method()),
            Cell::number(s.beta().unwrap_or(f64::NAN), 2),
            cell(&|o| o.equal_flops().map(|p| p.gold), 2),
            cell(&|o| o.equal_flops().map(|p| 100.0 * p.win_rate), 1),
            cell(&|o| o.equal_flops().map(|p| p.kl), 2),
            Cell::count(s.runs.len() as u64),
        ])?;
        if !methods.contains(&s.method()) {
            methods.push(s.method());
        }
    }
    let series = |method: &&str| {
        let own: Vec<&&Summary> = varied.iter().filter(|s| s.method() == *method).collect();
        let gold = |s: &&&Summary| s.mean_std(&|o: &Outcome| o.equal_flops().map(|p| p.gold));
        let x = own.iter().filter_map(|s| s.beta()).map(f64::log10).collect();
        let mut series = Series::new(*method, x, own.iter().map(|s| gold(s).0).collect());
        series.band = Some(own.iter().map(|s| gold(s).1.unwrap_or(f64::NAN)).collect());
        series
    };
    let plot = LinePlot {
        title: "Gold score at equal operations".into(),
        x_label: "log₁₀ β".into(),
        y_label: "gold score".into(),
        series: methods.iter().map(series).collect(),
    };
    let found = !varied.is_empty();
    Ok((found.then_some(table), if found { vec![plot] } else { Vec::new() }))
}

fn page(body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Methods compared</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Methods compared</h1>\n{body}</body>\n</html>\n"
    )
}

const STYLE: &str = "\
body { font: 15px/1.5 system-ui, 'Segoe UI', Arial, sans-serif; color: #1f2328; max-width: 1320px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
p { max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #d8dee4; text-align: left;
  white-space: nowrap; }
th { border-bottom: 2px solid #8c959f; } .number { text-align: right;
  font-variant-numeric: tabular-nums; }
tr:hover td { background: #f6f8fa; }
";

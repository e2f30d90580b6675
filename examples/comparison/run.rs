use super::{Outcome, PhaseRow, Point, Variant};
use crate::lab::{Lab, Quality};
use crate::memory;
use crate::methods::{Method, Settings, Turn, build};
use anyhow::Result;
use hydralign::kernels::CountingAllocator;
use hydralign::runs::{PhaseClock, mean};
use std::fmt;

/// What each method may use.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Sampled tokens.
    pub tokens: usize,
    /// Floating-point operations.
    pub flops: f64,
    /// Prompts of a round.
    pub prompts: usize,
    /// Responses to each.
    pub samples: usize,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, flops, prompts, samples } = self;
        let gflops = flops / 1e9;
        write!(f, "{tokens} tokens, {gflops} Gflop, {prompts} prompts, {samples} samples")
    }
}

/// Points at which quality is measured, beside those where a budget is reached.
const POINTS: usize = 5;
/// Rounds after which a method that spends next to nothing is ended.
const MOST_ROUNDS: usize = 1000;

/// Runs a method until both budgets are spent, and measures it on the way. None on an interrupt.
///
/// # Errors
/// Models that cannot be loaded. A fault of the method itself ends its run and is part of its outcome.
pub fn run(
    variant: &Variant,
    seed: u64,
    lab: &Lab,
    baseline: &Quality,
    budget: &Budget,
) -> Result<Option<Outcome>> {
    let mut clock = memory::clock(CountingAllocator::live());
    let settings = Settings {
        prompts: budget.prompts,
        samples: budget.samples,
        flops: budget.flops,
        beta: variant.beta,
        lr: variant.lr,
    };
    let mut method = build(&variant.method, lab, &settings, &mut clock)?;
    let mut run =
        Run { lab, baseline, budget, outcome: start(variant, seed, lab, baseline, budget) };
    let result = run.rounds(method.as_mut(), &mut clock);
    if lab.stop.is_stopped() {
        return Ok(None);
    }
    run.outcome.error = result.err().map(|e| format!("{e:#}"));
    run.outcome.phases = phases(&mut clock);
    Ok(Some(run.outcome))
}

struct Run<'a> {
    lab: &'a Lab,
    baseline: &'a Quality,
    budget: &'a Budget,
    outcome: Outcome,
}

impl Run<'_> {
    fn rounds(&mut self, method: &mut dyn Method, clock: &mut PhaseClock) -> Result<()> {
        let (mut tokens, mut flops, mut rounds) = (0, 0.0, 1);
        for round in 0..MOST_ROUNDS {
            let done = method.round(Turn { round, rounds }, clock)?;
            clock.stop();
            self.lab.check_stopped()?;
            tokens += done.sampled_tokens;
            flops += done.flops;
            self.outcome.last = done.stats;
            if round == 0 {
                rounds = self.expected_rounds(tokens, flops);
            }
            // A method that samples nothing has no budget of tokens to reach.
            let samples = tokens > 0;
            let by_tokens = samples && tokens >= self.budget.tokens;
            let by_flops = flops >= self.budget.flops || flops == 0.0;
            let first_by_tokens = by_tokens && self.outcome.at_tokens.is_none();
            let first_by_flops = by_flops && self.outcome.at_flops.is_none();
            let due = (round + 1) % rounds.div_ceil(POINTS) == 0;
            if due || first_by_tokens || first_by_flops {
                let point = Some(self.outcome.points.len());
                self.measure(method, (round + 1, tokens, flops), clock)?;
                self.outcome.at_tokens = self.outcome.at_tokens.or(point.filter(|_| by_tokens));
                self.outcome.at_flops = self.outcome.at_flops.or(point.filter(|_| by_flops));
            }
            if by_flops && (by_tokens || !samples) {
                break;
            }
        }
        Ok(())
    }

    /// Rounds until both budgets are spent, after what the first one has cost.
    fn expected_rounds(&self, tokens: usize, flops: f64) -> usize {
        let by = |budget: f64, spent: f64| if spent > 0.0 { (budget / spent).ceil() } else { 1.0 };
        let by_tokens = by(self.budget.tokens as f64, tokens as f64);
        by_tokens.max(by(self.budget.flops, flops)).min(MOST_ROUNDS as f64) as usize
    }

    fn measure(
        &mut self,
        method: &dyn Method,
        (round, tokens, flops): (usize, usize, f64),
        clock: &mut PhaseClock,
    ) -> Result<()> {
        let seconds = clock.totals().iter().map(|t| t.wall.as_secs_f64()).sum();
        let episodes = method.respond(&self.lab.held_out())?;
        let mut quality = self.lab.quality(episodes)?;
        quality.kl = method.known_kl(&quality.episodes).unwrap_or(quality.kl);
        let mut point = point(&quality, self.baseline);
        (point.round, point.tokens, point.flops, point.seconds) = (round, tokens, flops, seconds);
        self.outcome.points.push(point);
        Ok(())
    }
}

fn start(variant: &Variant, seed: u64, lab: &Lab, baseline: &Quality, budget: &Budget) -> Outcome {
    Outcome {
        settings: budget.to_string(),
        made_of: lab.made_of().to_owned(),
        variant: variant.to_string(),
        method: variant.method.clone(),
        beta: variant.beta,
        seed,
        token_budget: budget.tokens,
        flop_budget: budget.flops,
        points: vec![point(baseline, baseline)],
        at_tokens: None,
        at_flops: None,
        phases: Vec::new(),
        error: None,
        last: Vec::new(),
    }
}

fn point(quality: &Quality, baseline: &Quality) -> Point {
    let episodes = &quality.episodes;
    let tokens: usize = episodes.iter().map(|e| e.response.len()).sum();
    Point {
        round: 0,
        tokens: 0,
        flops: 0.0,
        seconds: 0.0,
        gold: mean(&quality.gold).unwrap_or(f64::NAN),
        win_rate: quality.against(&baseline.gold).map_or(f64::NAN, |w| w.rate),
        reward: mean(&quality.reward).unwrap_or(f64::NAN),
        kl: quality.kl,
        length: tokens as f64 / episodes.len().max(1) as f64,
    }
}

fn phases(clock: &mut PhaseClock) -> Vec<PhaseRow> {
    let row = |t: &hydralign::runs::PhaseTotal| PhaseRow {
        phase: t.phase.name().to_owned(),
        seconds: t.wall.as_secs_f64(),
        cpu: t.cpu.map(|c| c.as_secs_f64()),
        peak: t.peak_bytes.unwrap_or(0),
    };
    clock.totals().iter().map(row).collect()
}

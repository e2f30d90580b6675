use anyhow::{Context, Result, ensure};
use hydralign::runs::write_atomic;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The policy at some moment of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Rounds done.
    pub round: usize,
    /// Tokens sampled to learn from.
    pub tokens: usize,
    /// Operations spent.
    pub flops: f64,
    /// Seconds spent, evaluation left out.
    pub seconds: f64,
    /// Mean true score on the held-out prompts.
    pub gold: f64,
    /// Share of the responses with a higher true score than the fine-tuned model's; ties count half.
    pub win_rate: f64,
    /// Mean score of the reward model.
    pub reward: f64,
    /// KL from the fine-tuned model, nats per response.
    pub kl: f64,
    /// Mean length of the responses, tokens.
    pub length: f64,
}

/// One phase of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhaseRow {
    /// `generate`, `score`, `credit`, `update`, `report`.
    pub phase: String,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// CPU seconds of all threads.
    pub cpu: Option<f64>,
    /// Highest bytes above what was live before the run.
    pub peak: u64,
}

/// One method with one seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Budgets and sizes that all methods of a comparison share; empty in files that do not say.
    #[serde(default)]
    pub settings: String,
    /// What the models that it starts from were made of.
    #[serde(default)]
    pub made_of: String,
    /// The method with its settings.
    pub variant: String,
    /// The method.
    pub method: String,
    /// β, where it is not the method's own.
    pub beta: Option<f64>,
    /// The seed.
    pub seed: u64,
    /// The budget of tokens.
    pub token_budget: usize,
    /// The budget of operations.
    pub flop_budget: f64,
    /// Quality over the run; the first is the fine-tuned model.
    pub points: Vec<Point>,
    /// The point at which the budget of tokens was reached; none if the method samples nothing.
    pub at_tokens: Option<usize>,
    /// The point at which the budget of operations was reached.
    pub at_flops: Option<usize>,
    /// Time and memory by phase.
    pub phases: Vec<PhaseRow>,
    /// What ended the run early.
    pub error: Option<String>,
    /// Statistics of the last round.
    pub last: Vec<(String, f64)>,
}

impl Outcome {
    /// Highest bytes of all phases.
    pub fn peak(&self) -> u64 {
        self.phases.iter().map(|p| p.peak).max().unwrap_or(0)
    }

    /// Highest bytes of a phase.
    pub fn peak_of(&self, phase: &str) -> Option<u64> {
        self.phases.iter().find(|p| p.phase == phase).map(|p| p.peak)
    }

    /// The point of equal tokens.
    pub fn equal_tokens(&self) -> Option<&Point> {
        self.points.get(self.at_tokens?)
    }

    /// The point of equal operations.
    pub fn equal_flops(&self) -> Option<&Point> {
        self.points.get(self.at_flops?)
    }

    /// The last point of all.
    pub fn end(&self) -> Option<&Point> {
        self.points.last()
    }

    /// A line for the terminal.
    pub fn line(&self) -> String {
        let (Some(first), Some(last)) = (self.points.first(), self.end()) else {
            return format!("seed {}, {}: nothing measured", self.seed, self.variant);
        };
        let fault = self.error.as_ref().map_or(String::new(), |e| format!(", ended by: {e}"));
        format!(
            "seed {}, {}: gold {:.2} → {:.2}, wins {:.1} %, KL {:.2}, {} tokens, {:.0} Gflop, {:.1} s{fault}",
            self.seed,
            self.variant,
            first.gold,
            last.gold,
            100.0 * last.win_rate,
            last.kl,
            last.tokens,
            last.flops / 1e9,
            last.seconds,
        )
    }

    /// Writes the outcome.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        Ok(write_atomic(path, serde_json::to_string_pretty(self)?.as_bytes())?)
    }

    /// An outcome from its file.
    ///
    /// # Errors
    /// A file that cannot be read, with its name.
    pub fn read(path: &Path) -> Result<Self> {
        let named = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(named)?;
        serde_json::from_str(&text).with_context(named)
    }

    /// Every outcome of a folder, by method and seed.
    ///
    /// # Errors
    /// A file that cannot be read, with its name; outcomes with different settings.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>> {
        let mut outcomes: Vec<(PathBuf, Self)> = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "json") {
                let outcome = Self::read(&path)?;
                outcomes.push((path, outcome));
            }
        }
        outcomes.sort_by(|(_, a), (_, b)| (&a.variant, a.seed).cmp(&(&b.variant, b.seed)));
        for pair in outcomes.windows(2) {
            let [(first, a), (second, b)] = pair else { continue };
            ensure!(
                a.settings == b.settings,
                "{} was made with [{}] and {} with [{}]: they cannot be compared",
                first.display(),
                a.settings,
                second.display(),
                b.settings
            );
        }
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }
}

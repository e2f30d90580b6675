use crate::Sequence;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a run is doing; memory and time are reported per phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Loading and building models.
    Load,
    /// Sampling responses.
    Generate,
    /// Reading reference, reward and values.
    Score,
    /// Advantages on the host.
    Credit,
    /// Gradient steps.
    Update,
    /// Measuring quality on held-out prompts.
    Evaluate,
    /// Writing metrics, plots and checkpoints.
    Report,
}

impl Phase {
    /// The lower-case name that files and tables use.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Load => "load",
            Phase::Generate => "generate",
            Phase::Score => "score",
            Phase::Credit => "credit",
            Phase::Update => "update",
            Phase::Evaluate => "evaluate",
            Phase::Report => "report",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Numbers of one step of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Stage of the run: `sft`, `hydra_sft`, `ppo` …
    pub stage: String,
    /// Step within the stage, from 1.
    pub step: usize,
    /// Steps that the stage will take.
    pub steps: usize,
    /// Named values, in the order in which they are reported.
    pub values: Vec<(String, f64)>,
}

impl Stats {
    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }
}

/// What a model does with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// Samples their responses.
    Sample,
    /// Reads them without a gradient.
    Read,
    /// Learns from them.
    Learn,
}

/// Passes of a model over rows, as a step asks for them: what tokens and operations are counted from. Roles
/// count as models of their own, also where they share a trunk.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// What is done.
    pub kind: WorkKind,
    /// The rows.
    pub rows: &'a [Sequence],
    /// Whether tokens of the responses are predicted or valued over the vocabulary; a scalar head does not.
    pub predicts: bool,
    /// How often.
    pub passes: usize,
}

/// Is told of phases, work and statistics: progress bars, metric files and memory meters are observers.
pub trait Observer {
    /// A phase begins; the one before has ended.
    fn phase(&mut self, _phase: Phase) {}

    /// A model goes over rows, within a step.
    fn work(&mut self, _work: &Work<'_>) {}

    /// A step is done.
    fn stats(&mut self, _stats: &Stats) {}
}

impl Observer for () {}

/// Several observers, told in order.
#[derive(Default)]
pub struct Observers<'a>(pub Vec<&'a mut dyn Observer>);

impl Observer for Observers<'_> {
    fn phase(&mut self, phase: Phase) {
        self.0.iter_mut().for_each(|o| o.phase(phase));
    }

    fn work(&mut self, work: &Work<'_>) {
        self.0.iter_mut().for_each(|o| o.work(work));
    }

    fn stats(&mut self, stats: &Stats) {
        self.0.iter_mut().for_each(|o| o.stats(stats));
    }
}

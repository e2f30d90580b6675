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
///
/// Tuples, lists and options of observers are observers, as are references and boxes; [`stats_fn`] and [`phase_fn`]
/// make one of a closure, and `()` listens to nothing.
pub trait Observer {
    /// A phase begins; the one before has ended.
    fn phase(&mut self, _phase: Phase) {}

    /// A model goes over rows, within a step.
    fn work(&mut self, _work: &Work<'_>) {}

    /// A step is done.
    fn stats(&mut self, _stats: &Stats) {}
}

impl Observer for () {}

impl<T: Observer + ?Sized> Observer for &mut T {
    fn phase(&mut self, phase: Phase) {
        (**self).phase(phase);
    }

    fn work(&mut self, work: &Work<'_>) {
        (**self).work(work);
    }

    fn stats(&mut self, stats: &Stats) {
        (**self).stats(stats);
    }
}

impl<T: Observer + ?Sized> Observer for Box<T> {
    fn phase(&mut self, phase: Phase) {
        (**self).phase(phase);
    }

    fn work(&mut self, work: &Work<'_>) {
        (**self).work(work);
    }

    fn stats(&mut self, stats: &Stats) {
        (**self).stats(stats);
    }
}

/// Nobody, or one.
impl<T: Observer> Observer for Option<T> {
    fn phase(&mut self, phase: Phase) {
        self.iter_mut().for_each(|o| o.phase(phase));
    }

    fn work(&mut self, work: &Work<'_>) {
        self.iter_mut().for_each(|o| o.work(work));
    }

    fn stats(&mut self, stats: &Stats) {
        self.iter_mut().for_each(|o| o.stats(stats));
    }
}

/// Several of a kind, told in order; `&mut dyn Observer` is a kind.
impl<T: Observer> Observer for Vec<T> {
    fn phase(&mut self, phase: Phase) {
        self.iter_mut().for_each(|o| o.phase(phase));
    }

    fn work(&mut self, work: &Work<'_>) {
        self.iter_mut().for_each(|o| o.work(work));
    }

    fn stats(&mut self, stats: &Stats) {
        self.iter_mut().for_each(|o| o.stats(stats));
    }
}

macro_rules! observers_in_tuples {
    ($(($($name:ident . $index:tt),+)),+) => {$(
        /// Several, told in order.
        impl<$($name: Observer),+> Observer for ($($name,)+) {
            fn phase(&mut self, phase: Phase) {
                $(self.$index.phase(phase);)+
            }

            fn work(&mut self, work: &Work<'_>) {
                $(self.$index.work(work);)+
            }

            fn stats(&mut self, stats: &Stats) {
                $(self.$index.stats(stats);)+
            }
        }
    )+};
}

observers_in_tuples!(
    (A.0),
    (A.0, B.1),
    (A.0, B.1, C.2),
    (A.0, B.1, C.2, D.3),
    (A.0, B.1, C.2, D.3, E.4),
    (A.0, B.1, C.2, D.3, E.4, F.5)
);

/// A closure over statistics as an [`Observer`].
#[derive(Clone, Copy, Debug)]
pub struct StatsFn<F>(F);

/// Makes an [`Observer`] of a closure that is told of each step's statistics.
///
/// ```
/// use hydralign_core::{Observer, Stats, stats_fn};
///
/// let mut losses = Vec::new();
/// let mut observer = stats_fn(|stats| losses.extend(stats.get("loss")));
/// observer.stats(&Stats { stage: "sft".into(), step: 1, steps: 1, values: vec![("loss".into(), 0.5)] });
/// assert_eq!(losses, [0.5]);
/// ```
pub fn stats_fn<F: FnMut(&Stats)>(told: F) -> StatsFn<F> {
    StatsFn(told)
}

impl<F: FnMut(&Stats)> Observer for StatsFn<F> {
    fn stats(&mut self, stats: &Stats) {
        self.0(stats);
    }
}

/// A closure over phases as an [`Observer`].
#[derive(Clone, Copy, Debug)]
pub struct PhaseFn<F>(F);

/// Makes an [`Observer`] of a closure that is told when a phase begins.
pub fn phase_fn<F: FnMut(Phase)>(told: F) -> PhaseFn<F> {
    PhaseFn(told)
}

impl<F: FnMut(Phase)> Observer for PhaseFn<F> {
    fn phase(&mut self, phase: Phase) {
        self.0(phase);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it is told, under its name.
    struct Noted<'a>(char, &'a std::sync::Mutex<String>);

    impl Observer for Noted<'_> {
        fn phase(&mut self, phase: Phase) {
            *self.1.lock().unwrap() += &format!("{}:{phase} ", self.0);
        }

        fn stats(&mut self, stats: &Stats) {
            *self.1.lock().unwrap() += &format!("{}:{} ", self.0, stats.step);
        }
    }

    fn tell(observer: &mut dyn Observer) {
        observer.phase(Phase::Update);
        let values = vec![("loss".into(), 0.5)];
        observer.stats(&Stats { stage: "sft".into(), step: 7, steps: 9, values });
    }

    #[test]
    fn all_of_several_observers_are_told_in_order() {
        let told = std::sync::Mutex::new(String::new());
        let noted = |name| Noted(name, &told);
        let (mut first, mut last) = (noted('d'), noted('f'));
        let listed: Vec<&mut dyn Observer> = vec![&mut last];
        let nobody: Option<Noted<'_>> = None;
        let boxed: Box<dyn Observer + '_> = Box::new(noted('c'));
        tell(&mut (
            (noted('a'), Some(noted('b'))),
            boxed,
            &mut first,
            nobody,
            (noted('e'),),
            listed,
        ));
        let expected: String = "abcdef".chars().map(|c| format!("{c}:update ")).collect();
        let expected = "abcdef".chars().fold(expected, |all, c| all + &format!("{c}:7 "));
        assert_eq!(*told.lock().unwrap(), expected);
    }

    #[test]
    fn closures_are_told_of_statistics_or_phases_and_may_be_sent() {
        fn sendable<T: Send>(observer: T) -> T {
            observer
        }
        let (mut losses, mut phases) = (Vec::new(), Vec::new());
        let mut both = sendable((
            stats_fn(|stats: &Stats| losses.extend(stats.get("loss"))),
            phase_fn(|phase| phases.push(phase)),
        ));
        std::thread::scope(|scope| {
            scope.spawn(|| tell(&mut both));
        });
        assert_eq!((losses, phases), (vec![0.5], vec![Phase::Update]));
    }
}

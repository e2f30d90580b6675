use crate::format::{duration, significant};
use crate::look::Look;
use hydralign_core::{Observer, Phase, Stats};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shows how far a run is: a bar a stage on a terminal, plain lines elsewhere.
///
/// A bar is erased when its stage ends and leaves one summary line, so whatever is printed
/// next starts on a clean line. Dropping ends the stage too.
pub struct Progress {
    look: Look,
    watched: Vec<String>,
    every: usize,
    out: Box<dyn Write>,
    target: Box<dyn Fn() -> ProgressDrawTarget>,
    clock: Box<dyn Fn() -> Duration>,
    began: Duration,
    stage: Option<Stage>,
    bar: Option<ProgressBar>,
}

/// The stage that is under way.
#[derive(Debug)]
struct Stage {
    /// A continued run does not begin at step 1.
    first_step: usize,
    last: Stats,
}

impl Progress {
    /// Progress on standard error: bars if it is a terminal, otherwise a line every `every`
    /// steps. `TERM=dumb` gets lines, `NO_COLOR` bars without colour.
    pub fn stderr(watched: &[&str], every: usize) -> Self {
        let look = Look::detect(std::io::stderr().is_terminal(), |name| std::env::var(name).ok());
        let out = Box::new(std::io::stderr());
        Self::new(look, watched, every, out, ProgressDrawTarget::stderr)
    }

    /// A plain line to `out` every `every` steps and at the end of each stage.
    pub fn lines(out: impl Write + 'static, watched: &[&str], every: usize) -> Self {
        Self::new(Look::Lines, watched, every, Box::new(out), ProgressDrawTarget::hidden)
    }

    fn new(
        look: Look,
        watched: &[&str],
        every: usize,
        out: Box<dyn Write>,
        target: impl Fn() -> ProgressDrawTarget + 'static,
    ) -> Self {
        let start = Instant::now();
        Self {
            look,
            watched: watched.iter().map(|&name| name.to_owned()).collect(),
            every: every.max(1),
            out,
            target: Box::new(target),
            clock: Box::new(move || start.elapsed()),
            began: Duration::ZERO,
            stage: None,
            bar: None,
        }
    }

    /// Ends the stage that is under way and leaves a clean line.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if let Some(stage) = self.stage.take() {
            let Stats { stage: name, step, steps, .. } = &stage.last;
            let time = duration(self.elapsed());
            let values = self.values(&stage.last);
            self.print(&format!("{name} {step}/{steps} in {time}{values}"));
        }
        self.began = (self.clock)();
    }

    /// Time since the stage before ended.
    fn elapsed(&self) -> Duration {
        (self.clock)().saturating_sub(self.began)
    }

    fn print(&mut self, line: &str) {
        // A closed terminal is no reason to end a run.
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }

    /// The watched statistics that this step has.
    fn values(&self, stats: &Stats) -> String {
        (self.watched.iter())
            .filter_map(|name| Some(format!("  {name} {}", significant(stats.get(name)?))))
            .collect()
    }

    /// The bar, made when there is first something to show.
    fn bar(&mut self) -> &ProgressBar {
        self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, (self.target)());
            bar.set_style(style("{msg}"));
            bar
        })
    }

    fn draw(&mut self, stats: &Stats, text: String, color: bool) {
        let (first, stage) = (self.bar().length().is_none(), stats.stage.clone());
        let bar = self.bar();
        if first {
            let colors = if color { ".cyan/black.bright" } else { "" };
            bar.set_length(stats.steps as u64);
            bar.set_style(style(&format!(
                "{{prefix}} [{{bar:24{colors}}}] {{pos}}/{{len}}{{msg}}"
            )));
            bar.set_prefix(stage);
        }
        bar.set_message(text);
        bar.set_position(stats.step as u64);
        bar.tick();
    }
}

impl Observer for Progress {
    fn phase(&mut self, phase: Phase) {
        if self.look == Look::Lines {
            return;
        }
        let text = match &self.stage {
            Some(stage) => {
                let values = self.values(&stage.last);
                format!("{}{values}  ({phase})", pace(stage, self.elapsed()))
            }
            None => format!("{phase} …"),
        };
        self.bar().set_message(text);
        self.bar().tick();
    }

    fn stats(&mut self, stats: &Stats) {
        if self.stage.as_ref().is_some_and(|stage| stage.last.stage != stats.stage) {
            self.finish();
        }
        let first_step = self.stage.as_ref().map_or(stats.step, |stage| stage.first_step);
        let stage = Stage { first_step, last: stats.clone() };
        let text = pace(&stage, self.elapsed()) + &self.values(stats);
        self.stage = Some(stage);
        match self.look {
            _ if stats.step >= stats.steps => self.finish(),
            Look::Bars { color } => self.draw(stats, text, color),
            Look::Lines if stats.step.is_multiple_of(self.every) => {
                self.print(&format!("{} {}/{}{text}", stats.stage, stats.step, stats.steps));
            }
            Look::Lines => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("look", &self.look)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// Rate and time left, from the mean over the stage so far.
fn pace(stage: &Stage, elapsed: Duration) -> String {
    let done = stage.last.step.saturating_sub(stage.first_step) + 1;
    let each = elapsed.div_f64(done as f64);
    let left = each.mul_f64(stage.last.steps.saturating_sub(stage.last.step) as f64);
    let rate = match each.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{} a step", duration(each)),
        seconds => format!("{} steps/s", significant(seconds.recip())),
    };
    format!("  {rate}, {} left", duration(left))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::InMemoryTerm;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A writer whose content a test can read.
    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.borrow().clone()).unwrap()
        }
    }

    fn stats(stage: &str, step: usize, steps: usize) -> Stats {
        let values = vec![("score".to_owned(), step as f64 / 8.0), ("kl".to_owned(), 0.5)];
        Stats { stage: stage.to_owned(), step, steps, values }
    }

    /// A clock that goes on by `seconds` at each call of the returned closure.
    fn timed(progress: &mut Progress) -> impl Fn(f64) + use<> {
        let time = Rc::new(RefCell::new(0.0));
        let read = time.clone();
        progress.clock = Box::new(move || Duration::from_secs_f64(*read.borrow()));
        move |seconds| *time.borrow_mut() += seconds
    }

    #[test]
    fn lines_come_every_n_steps_and_at_the_end_of_a_stage() {
        let out = Shared::default();
        let mut progress = Progress::lines(out.clone(), &["score", "none"], 2);
        let wait = timed(&mut progress);
        progress.phase(Phase::Load);
        let mut step = |stage: &str, step, steps, seconds| {
            wait(seconds);
            progress.stats(&stats(stage, step, steps));
        };
        (1..=5).for_each(|i| step("sft", i, 5, 0.25));
        // Continued at step 7 and left before its last step.
        (7..=8).for_each(|i| step("ppo", i, 20, 30.0));
        drop(progress);
        let expected = "\
sft 2/5  4.000 steps/s, 0.8s left  score 0.2500
sft 4/5  4.000 steps/s, 0.2s left  score 0.5000
sft 5/5 in 1.2s  score 0.6250
ppo 8/20  30.0s a step, 6m 00s left  score 1.000
ppo 8/20 in 1m 00s  score 1.000
";
        assert_eq!(out.text(), expected);
    }

    #[test]
    fn a_bar_shows_the_phase_and_leaves_one_clean_line() {
        let (out, term) = (Shared::default(), InMemoryTerm::new(10, 100));
        let screen = term.clone();
        let target = move || ProgressDrawTarget::term_like(Box::new(term.clone()));
        let look = Look::Bars { color: false };
        let mut progress = Progress::new(look, &["kl"], 1, Box::new(out.clone()), target);
        let wait = timed(&mut progress);
        progress.phase(Phase::Load);
        assert_eq!(screen.contents(), "load …");
        wait(2.0);
        progress.stats(&stats("ppo", 1, 4));
        let bar = "ppo [━━━━━━╸─────────────────] 1/4  2.0s a step, 6.0s left  kl 0.5000";
        assert_eq!(screen.contents(), bar);
        progress.phase(Phase::Update);
        assert_eq!(screen.contents(), format!("{bar}  (update)"));
        assert_eq!(out.text(), "");
        progress.finish();
        assert_eq!(screen.contents(), "", "the bar is gone");
        assert_eq!(out.text(), "ppo 1/4 in 2.0s  kl 0.5000\n");
        progress.finish();
        assert_eq!(out.text().lines().count(), 1, "nothing more to end");
    }

    #[test]
    fn a_new_stage_ends_the_one_before() {
        let out = Shared::default();
        let mut progress = Progress::lines(out.clone(), &[], 100);
        let wait = timed(&mut progress);
        wait(1.0);
        progress.stats(&stats("sft", 1, 4));
        progress.stats(&stats("ppo", 1, 4));
        assert_eq!(out.text(), "sft 1/4 in 1.0s\n");
    }
}

//! Schedules and statistics against other people's code.

use hydralign_runs::{Decay, Schedule, mean, sample_std, win_rate};
use serde::Deserialize;

#[derive(Deserialize)]
struct Schedules {
    peak: f64,
    cases: Vec<ScheduleCase>,
}

#[derive(Deserialize)]
struct ScheduleCase {
    decay: Decay,
    warmup: usize,
    steps: usize,
    lr: Vec<f64>,
}

#[test]
fn schedules_are_those_of_torch_and_transformers() {
    let golden: Schedules = serde_json::from_str(include_str!("goldens/schedule.json")).unwrap();
    assert_eq!(golden.cases.len(), 18);
    for ScheduleCase { decay, warmup, steps, lr } in golden.cases {
        let schedule = Schedule { peak: golden.peak, decay, warmup };
        assert_eq!(lr.len(), steps);
        for (step, expected) in (1..).zip(lr) {
            let got = schedule.lr(step, steps);
            let place = format!("{decay:?}, warm-up {warmup}, step {step} of {steps}");
            assert!((got - expected).abs() < 1e-15, "{place}: {got} instead of {expected}");
        }
    }
}

#[test]
fn the_highest_rate_is_below_the_peak_where_the_warm_up_has_no_end() {
    for decay in [Decay::Constant, Decay::Linear, Decay::Cosine] {
        let schedule = Schedule { peak: 1.0, decay, warmup: 10 };
        assert_eq!(schedule.highest(1), 1.0 / 11.0);
        assert_eq!(schedule.highest(10), 10.0 / 11.0);
        assert_eq!(schedule.highest(11), 1.0);
        for steps in [1, 5, 10, 11, 12, 40] {
            let rates = (1..=steps).map(|step| schedule.lr(step, steps));
            assert_eq!(rates.fold(0.0, f64::max), schedule.highest(steps), "{decay:?} {steps}");
        }
    }
}

#[test]
fn a_schedule_learns_in_every_step_and_never_above_its_peak() {
    for decay in [Decay::Constant, Decay::Linear, Decay::Cosine] {
        for warmup in 0..12 {
            let schedule = Schedule { peak: 1.0, decay, warmup };
            let rates: Vec<f64> = (1..=10).map(|step| schedule.lr(step, 10)).collect();
            assert!(rates.iter().all(|&lr| lr > 0.0 && lr <= 1.0), "{schedule:?}: {rates:?}");
            let after = if decay == Decay::Constant { 1.0 } else { 0.0 };
            assert_eq!(schedule.lr(100, 10), after);
        }
    }
}

#[test]
fn a_schedule_reads_from_toml_with_its_defaults() {
    let schedule: Schedule = toml::from_str("peak = 3e-6").unwrap();
    assert_eq!(schedule, Schedule::linear(3e-6));
    let schedule: Schedule = toml::from_str("peak = 1e-5\ndecay = \"cosine\"\nwarmup = 3").unwrap();
    assert_eq!(schedule, Schedule { peak: 1e-5, decay: Decay::Cosine, warmup: 3 });
    assert!(toml::from_str::<Schedule>("peak = 1e-5\nwarm_up = 3").is_err());
}

#[derive(Deserialize)]
struct Statistics {
    win_rates: Vec<WinRateCase>,
    moments: Vec<Moments>,
}

#[derive(Deserialize)]
struct WinRateCase {
    counts: [usize; 3],
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Moments {
    values: Vec<f64>,
    mean: f64,
    std: f64,
}

fn statistics() -> Statistics {
    serde_json::from_str(include_str!("goldens/statistics.json")).unwrap()
}

#[test]
fn win_rates_are_those_of_statsmodels() {
    for WinRateCase { counts: [wins, ties, losses], low, high } in statistics().win_rates {
        let got = win_rate(wins, ties, losses).unwrap();
        assert!((got.low - low).abs() < 1e-12, "{wins} {ties} {losses}: {got:?}, low {low}");
        assert!((got.high - high).abs() < 1e-12, "{wins} {ties} {losses}: {got:?}, high {high}");
        assert!(0.0 <= got.low && got.low <= got.rate && got.rate <= got.high && got.high <= 1.0);
    }
    assert_eq!(win_rate(1, 2, 1).unwrap().rate, 0.5);
    assert_eq!(win_rate(0, 0, 0), None);
}

#[test]
fn moments_are_those_of_scipy() {
    for Moments { values, mean: m, std } in statistics().moments {
        assert!((mean(&values).unwrap() - m).abs() <= 1e-12 * m.abs().max(1.0));
        assert!((sample_std(&values).unwrap() - std).abs() < 1e-9, "{values:?}");
    }
    assert_eq!(mean(&[]), None);
    assert_eq!((mean(&[3.0]), sample_std(&[3.0])), (Some(3.0), None));
}

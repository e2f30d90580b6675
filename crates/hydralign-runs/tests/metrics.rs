//! Metrics files: order, non-finite values, torn lines and continued runs.

use hydralign_core::{Observer, Phase, Stats};
use hydralign_memory::{Category, Meter};
use hydralign_runs::{Ledger, MetricsFile, MetricsLine, read_metrics};
use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::rc::Rc;

fn stats(stage: &str, step: usize, values: &[(&str, f64)]) -> Stats {
    let values = values.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    Stats { stage: stage.to_owned(), step, steps: 9, values }
}

fn steps(lines: &[MetricsLine]) -> Vec<(String, usize)> {
    lines.iter().map(|line| (line.stage.clone(), line.step)).collect()
}

#[test]
fn lines_come_back_as_they_were_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut file = MetricsFile::create(&path).unwrap();
    file.phase(Phase::Generate);
    file.phase(Phase::Update);
    file.stats(&stats("ppo", 1, &[("score", 0.5), ("kl", -0.25), ("a b\"c", 3e-7)]));
    // Readable while the run goes on.
    let lines = read_metrics(&path).unwrap();
    assert_eq!(steps(&lines), [("ppo".to_owned(), 1)]);
    let names: Vec<&str> = lines[0].values.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["score", "kl", "a b\"c"]);
    assert_eq!(lines[0].get("kl"), Some(-0.25));
    assert_eq!(lines[0].get("a b\"c"), Some(3e-7));
    assert_eq!(lines[0].get("none"), None);
    assert_eq!(lines[0].steps, 9);
    let phases: Vec<&str> = lines[0].phase_seconds.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(phases, ["generate", "update"]);
    assert!(lines[0].phase_seconds.iter().map(|(_, s)| s).sum::<f64>() <= lines[0].seconds);
    file.finish().unwrap();
}

#[test]
fn numbers_come_back_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut file = MetricsFile::create(&path).unwrap();
    // Midpoints of two neighbours in single precision, which the last bit rounds to one or the other.
    let number = |i: u32| {
        let single = f32::from_bits(0x3090_0000 + i * 7919);
        f64::midpoint(f64::from(single), f64::from(single.next_up()))
    };
    let values = |step: u32| (0..100).map(move |i| (format!("v\"{i}"), number(100 * step + i)));
    for step in 0..100 {
        let (stage, values) = ("ppo".to_owned(), values(step).collect());
        file.stats(&Stats { stage, step: step as usize, steps: 100, values });
    }
    let lines = read_metrics(&path).unwrap();
    for (line, step) in lines.iter().zip(0..) {
        for (name, value) in values(step) {
            assert_eq!(line.get(&name).map(f64::to_bits), Some(value.to_bits()), "{name} {step}");
        }
    }
    assert_eq!(lines.len(), 100);
}

#[test]
fn values_that_json_cannot_hold_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut file = MetricsFile::create(&path).unwrap();
    let values = [("a", f64::NAN), ("b", 1.0), ("c", f64::INFINITY), ("d", f64::NEG_INFINITY)];
    file.stats(&stats("ppo", 1, &values));
    file.finish().unwrap();

    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""values":{"a":null,"b":1.0,"c":null,"d":null}"#), "{text}");
    assert!(text.contains(r#""non_finite":[["a","NaN"],["c","inf"],["d","-inf"]]"#), "{text}");
    let line = &read_metrics(&path).unwrap()[0];
    assert!(line.get("a").unwrap().is_nan());
    assert_eq!(line.get("b"), Some(1.0));
    assert_eq!(line.get("c"), Some(f64::INFINITY));
    assert_eq!(line.get("d"), Some(f64::NEG_INFINITY));
}

#[test]
fn a_torn_last_line_is_left_out_and_a_bad_one_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut file = MetricsFile::create(&path).unwrap();
    (1..=2).for_each(|step| file.stats(&stats("ppo", step, &[("score", 1.0)])));
    file.finish().unwrap();
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
    for cut in second..whole.len() - 1 {
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(read_metrics(&path).unwrap().len(), 1, "cut at byte {cut}");
    }
    // Only the line break is lost: the line is whole.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(read_metrics(&path).unwrap().len(), 2);

    fs::write(&path, [&whole[..], b"{\"stage\":\n", &whole[..]].concat()).unwrap();
    let text = read_metrics(&path).unwrap_err().to_string();
    let expected = format!("{}:3: not a metrics line: ", path.display());
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn a_continued_run_goes_on_after_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut file = MetricsFile::create(&path).unwrap();
    file.stats(&stats("sft", 5, &[]));
    (1..=4).for_each(|step| file.stats(&stats("ppo", step, &[("score", step as f64)])));
    file.finish().unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"sta").unwrap();
    let before = read_metrics(&path).unwrap();

    // The checkpoint is of step 2.
    let keep = |line: &MetricsLine| line.stage != "ppo" || line.step <= 2;
    let mut file = MetricsFile::resume(&path, keep).unwrap();
    file.stats(&stats("ppo", 3, &[("score", 30.0)]));
    file.finish().unwrap();
    let lines = read_metrics(&path).unwrap();
    assert_eq!(lines[..3], before[..3]);
    assert_eq!(steps(&lines[3..]), [("ppo".to_owned(), 3)]);
    assert_eq!(lines[3].get("score"), Some(30.0));
    assert!(lines[3].seconds > lines[2].seconds, "the clock goes on");
}

/// A meter that a test sets, without a peak of its own.
#[derive(Clone, Default)]
struct Set(Rc<Cell<u64>>);

impl Meter for Set {
    fn bytes_in_use(&self) -> Option<u64> {
        Some(self.0.get())
    }

    fn bytes_peak(&self) -> Option<u64> {
        None
    }
}

#[test]
fn a_line_tells_what_its_phases_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let (meter, ledger) = (Set::default(), Ledger::default());
    let mut file = MetricsFile::create(&path).unwrap().with_memory(meter.clone(), &ledger);
    ledger.hold(Category::Weights, 70);
    ledger.hold(Category::KvCache, 7);
    meter.0.set(100);
    file.phase(Phase::Generate);
    meter.0.set(300);
    file.phase(Phase::Update);
    ledger.hold(Category::KvCache, 0);
    file.stats(&stats("ppo", 1, &[]));
    file.stats(&stats("ppo", 2, &[]));
    file.finish().unwrap();

    let text = fs::read_to_string(&path).unwrap();
    let held =
        r#""live_before":100,"live_after":300,"peak":300,"held":{"weights":70,"kv_cache":7}"#;
    assert!(text.contains(held), "{text}");
    let lines = read_metrics(&path).unwrap();
    let phases = |line: &MetricsLine| line.memory.iter().map(|r| r.phase).collect::<Vec<_>>();
    assert_eq!(phases(&lines[0]), [Phase::Generate, Phase::Update]);
    assert_eq!(phases(&lines[1]), [Phase::Update], "since the line before");
    let [generate, update] = &lines[0].memory[..] else { panic!("{lines:?}") };
    assert_eq!((generate.held.len(), update.held.len()), (2, 1));
    assert!(generate.start <= generate.end && generate.end <= update.start);
    let rest = &lines[1].memory[0];
    assert!(update.end <= rest.start);

    // A last line that is torn within its records is left out like any other.
    let cut = text.len() - 20;
    assert!(text[cut..].contains("weights"), "{text}");
    fs::write(&path, &text[..cut]).unwrap();
    assert_eq!(read_metrics(&path).unwrap(), lines[..1]);

    // What a continued run writes goes on in time, and what it keeps is kept whole.
    fs::write(&path, &text).unwrap();
    let mut file = MetricsFile::resume(&path, |_| true).unwrap().with_memory(meter, &ledger);
    file.phase(Phase::Score);
    file.stats(&stats("ppo", 3, &[]));
    file.finish().unwrap();
    let again = read_metrics(&path).unwrap();
    assert_eq!(again[..2], lines[..]);
    assert!(again[2].memory[0].start >= lines[1].seconds);
}

/// The number is one that serde_json reads with another last digit; the last line lost its end.
#[test]
fn lines_that_are_kept_stay_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let line = |step| {
        format!(
            r#"{{"stage":"dpo","step":{step},"steps":3,"seconds":1.5,"values":{{"reward":-1.1920928244535391e-8}},"phase_seconds":{{}}}}"#
        )
    };
    let old = format!("{}\n{}", line(1), line(2));
    fs::write(&path, &old).unwrap();
    MetricsFile::resume(&path, |_| true).unwrap().finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{old}\n"));
}

#[test]
fn a_file_without_memory_says_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    // As it was before there were records.
    let old = concat!(
        r#"{"stage":"ppo","step":3,"steps":200,"seconds":41.2,"values":{"score":0.61,"kl":null},"#,
        r#""phase_seconds":{"generate":6.1,"score":1.9},"non_finite":[["kl","NaN"]]}"#,
        "\n"
    );
    fs::write(&path, old).unwrap();
    assert_eq!(read_metrics(&path).unwrap()[0].memory, []);
    let mut file = MetricsFile::resume(&path, |_| true).unwrap();
    file.phase(Phase::Score);
    file.stats(&stats("ppo", 4, &[]));
    file.finish().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(old) && !text.contains("memory"), "{text}");
}

#[test]
fn tensorboard_has_each_step_of_a_continued_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let board = folder.path().join("tensorboard");
    let mut file = MetricsFile::create(&path).unwrap().with_tensorboard(&board).unwrap();
    (1..=5).for_each(|step| file.stats(&stats("dpo", step, &[("loss", step as f64)])));
    drop(file);
    let keep = |line: &MetricsLine| line.step <= 3;
    let mut file = MetricsFile::resume(&path, keep).unwrap().with_tensorboard(&board).unwrap();
    (4..=6).for_each(|step| file.stats(&stats("dpo", step, &[("loss", -(step as f64))])));
    file.finish().unwrap();
    let files: Vec<_> = fs::read_dir(&board).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let bytes = fs::read(&files[0]).unwrap();
    // A value stands behind its tag: field 2, four bytes.
    let tag = b"dpo/loss\x15";
    let values: Vec<f32> = (bytes.windows(tag.len() + 4))
        .filter(|window| window.starts_with(tag))
        .map(|window| f32::from_le_bytes(window[tag.len()..].try_into().unwrap()))
        .collect();
    assert_eq!(values, [1.0, 2.0, 3.0, -4.0, -5.0, -6.0]);
}

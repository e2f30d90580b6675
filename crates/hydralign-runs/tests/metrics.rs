//! Metrics files: order, non-finite values, torn lines and continued runs.

use hydralign_core::{Observer, Phase, Stats};
use hydralign_runs::{MetricsFile, MetricsLine, read_metrics};
use std::fs;
use std::io::Write;

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

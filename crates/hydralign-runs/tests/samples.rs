//! Files of responses: sets, torn lines and continued runs.

use hydralign_runs::{Sample, SamplesFile, read_samples};
use std::fs::{self, OpenOptions};
use std::io::Write;

fn sample(step: usize, response: &str) -> Sample {
    let scores = vec![("reward".to_owned(), Some(0.5)), ("gold".to_owned(), None)];
    let (prompt, response) = ("Was\tist \"π\"?\n".to_owned(), response.to_owned());
    Sample { stage: "dpo".into(), step, prompt, response, scores }
}

fn said(samples: &[Sample]) -> Vec<(usize, &str)> {
    samples.iter().map(|s| (s.step, s.response.as_str())).collect()
}

#[test]
fn samples_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.jsonl");
    let mut file = SamplesFile::create(&path).unwrap();
    let before = [sample(0, "eins\n"), sample(0, "")];
    file.write(&before).unwrap();
    assert_eq!(read_samples(&path).unwrap(), before, "at once");
    file.write(&[sample(9, "zwei")]).unwrap();
    assert_eq!(said(&read_samples(&path).unwrap()), [(0, "eins\n"), (0, ""), (9, "zwei")]);
    let text = fs::read_to_string(&path).unwrap();
    let line = r#"{"stage":"dpo","step":9,"prompt":"Was\tist \"π\"?\n","response":"zwei","scores":{"reward":0.5,"gold":null}}"#;
    assert_eq!(text.lines().next_back(), Some(line));
}

#[test]
fn a_run_that_goes_on_has_each_set_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.jsonl");
    let mut file = SamplesFile::resume(&path, |_| true).unwrap();
    for step in [0, 5, 10] {
        file.write(&[sample(step, "a"), sample(step, "b")]).unwrap();
    }
    drop(file);
    let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
    torn.write_all(b"{\"stage\":\"dpo\",\"st").unwrap();
    // The checkpoint is of step 5, whose set is written again.
    let mut file = SamplesFile::resume(&path, |sample| sample.step <= 5).unwrap();
    let kept = [(0, "a"), (0, "b"), (5, "a"), (5, "b")];
    assert_eq!(said(&read_samples(&path).unwrap()), kept);
    file.write(&[sample(5, "c")]).unwrap();
    file.write(&[sample(10, "d")]).unwrap();
    let all = read_samples(&path).unwrap();
    assert_eq!(said(&all), [(0, "a"), (0, "b"), (5, "c"), (10, "d")]);
    fs::write(&path, "{}\n{\"stage\":1}\n").unwrap();
    let error = read_samples(&path).unwrap_err().to_string();
    assert!(error.contains("samples.jsonl:1: not a samples line: missing field"), "{error}");
}

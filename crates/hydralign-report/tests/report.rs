//! What a report shows of a run, what it leaves out, and that nothing of a run can act in it.

use hydralign_core::{Observer, Phase, Stats};
use hydralign_report::{compare, report, write};
use hydralign_runs::{
    CommandLine, MetricsFile, MetricsLine, PhaseBytes, PredictedBytes, RunState, RunStatus, Sample,
    SamplesFile, record_command, record_predicted,
};
use std::fs;
use std::path::Path;

const ATTACK: &str =
    "</p></title></style><script>alert(1)</script><img src=x onerror=\"a()\">&lt;'\u{202e}";

fn stats(file: &mut MetricsFile, stage: &str, step: usize, values: &[(&str, f64)]) {
    let values = values.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    file.stats(&Stats { stage: stage.to_owned(), step, steps: 20, values });
}

fn sample(stage: &str, step: usize, prompt: &str, response: &str, reward: f64) -> Sample {
    let scores = vec![("reward".to_owned(), Some(reward))];
    let (stage, prompt, response) = (stage.to_owned(), prompt.to_owned(), response.to_owned());
    Sample { stage, step, prompt, response, scores }
}

/// A run of twenty steps, whose texts are `odd`.
fn run(folder: &Path, odd: &str) {
    let status = RunStatus { reason: Some(odd.to_owned()), ..RunStatus::new(RunState::Failed) };
    fs::write(folder.join("status.json"), toml_free_json(&status)).unwrap();
    let config =
        format!("lr = 0.001\nname = {}\n\n[inputs.model]\npath = {}\n", quoted(odd), quoted(odd));
    fs::write(folder.join("config.toml"), config).unwrap();
    let mut metrics = MetricsFile::create(&folder.join("metrics.jsonl")).unwrap();
    for step in 1..=20 {
        metrics.phase(Phase::Update);
        let loss = if step == 7 { f64::NAN } else { 1.0 / step as f64 };
        stats(&mut metrics, odd, step, &[("loss", loss), (odd, 0.25), ("never", f64::INFINITY)]);
    }
    metrics.finish().unwrap();
    let mut samples = SamplesFile::create(&folder.join("samples.jsonl")).unwrap();
    let set = |step, said: &str| -> Vec<Sample> {
        let prompts = (0..30).map(|i| format!("prompt {i} {odd}"));
        prompts
            .map(|prompt| sample(odd, step, &prompt, &format!("{said}\n{odd}"), step as f64))
            .collect()
    };
    samples.write(&set(0, "first words")).unwrap();
    samples.write(&set(10, "middle words")).unwrap();
    let mut last = set(20, "last words");
    last.reverse();
    samples.write(&last).unwrap();
    let command =
        CommandLine { command: vec!["dpo".into(), odd.into()], ..CommandLine::of_process(odd) };
    record_command(folder, false, command).unwrap();
    let phases = vec![(odd.to_owned(), 1 << 20)];
    record_predicted(folder, PredictedBytes { stage: odd.into(), phases, budget: None }).unwrap();
}

fn toml_free_json(status: &RunStatus) -> String {
    let reason = status.reason.as_deref().unwrap_or_default();
    format!("{{\"state\":\"failed\",\"reason\":{}}}", quoted(reason))
}

/// A string as TOML and JSON both write it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Names of elements in the order in which they begin; each that begins has to end.
fn elements(html: &str) -> Vec<String> {
    let (mut names, mut open) = (Vec::new(), Vec::new());
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name: String = tag
            .trim_start_matches(['/', '!'])
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric())
            .collect();
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_ref(), Some(&name), "an end that has no beginning");
        } else {
            names.push(name.clone());
            let void = tag.ends_with('/') || ["meta", "doctype"].contains(&name.as_str());
            open.extend((!void).then_some(name));
        }
    }
    assert!(open.is_empty(), "never ended: {open:?}");
    names
}

#[test]
fn nothing_of_a_run_acts_in_its_page() {
    let root = tempfile::tempdir().unwrap();
    let (odd, plain) = (root.path().join("odd"), root.path().join("plain"));
    for (folder, text) in [(&odd, ATTACK), (&plain, "x")] {
        fs::create_dir(folder).unwrap();
        run(folder, text);
    }
    let pages = [&odd, &plain].map(|folder| report(folder).unwrap());
    for (page, folder) in pages.iter().zip([&odd, &plain]) {
        for element in elements(page) {
            let known = "html head meta title style body main h1 h2 h3 h4 section dl div dt dd p figure figcaption b \
                         span svg g rect text line polyline circle polygon article table tr th td pre doctype";
            assert!(
                known.split_whitespace().any(|k| k == element),
                "{element} in {}",
                folder.display()
            );
        }
        // The name of SVG's vocabulary is no address that is gone to.
        assert!(!page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "").contains("://"));
    }
    assert_eq!(elements(&pages[0]), elements(&pages[1]), "the same elements, whatever the text");
    assert!(pages[0].contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let both = compare(&[&odd, &plain]).unwrap();
    assert!(!elements(&both).iter().any(|e| e == "script" || e == "img"));
}

#[test]
fn a_report_says_what_the_run_left() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "dpo");
    let path = write(folder.path()).unwrap();
    assert_eq!(path, folder.path().join("report.html"));
    let page = fs::read_to_string(path).unwrap();
    let has = |text: &str| assert!(page.contains(text), "{text} is not in {page}");
    has("<dd>failed</dd>");
    has("<dd>20 of 20 steps</dd>");
    has("<b>loss</b><span> 1.000 → 0.05000, not finite at 1 step</span>");
    has("<b>never</b><span>, not finite at 20 steps</span>");
    has("lr = 0.001");
    has("<td>before dpo</td><td class=\"number\">30</td><td class=\"number\">0</td>");
    has("<td>after 10 steps of dpo</td>");
    has("12 of 30 prompts");
    has("<pre>dpo dpo</pre>");
    has("<td class=\"number\">1.00 MiB</td>");
    // The first of each pair belongs to the prompt of the last.
    assert_eq!(page.matches("first words").count(), 12);
    assert_eq!(page.matches("last words").count(), 12);
    assert_eq!(page.matches("middle words").count(), 0);
    assert_eq!(page.matches("prompt 29 dpo").count(), 1);
    // Three statistics, of which one is never finite.
    assert_eq!(page.matches("<figure>").count(), 3);
    assert_eq!(page.matches("<svg").count(), 2);
}

#[test]
fn what_a_run_has_not_left_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let page = report(folder.path()).unwrap();
    assert!(page.contains("<dd>unknown</dd>") && !page.contains("<h2>"), "{page}");
    fs::write(folder.path().join("metrics.jsonl"), "{}\n").unwrap();
    let error = report(folder.path()).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl:1"), "{error}");
}

#[test]
fn runs_are_laid_over_each_other() {
    let root = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| root.path().join(name));
    for (folder, rate) in [(&a, "0.001"), (&b, "0.002"), (&c, "0.001")] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("config.toml"), format!("lr = {rate}\nseed = 0\n")).unwrap();
        let mut metrics = MetricsFile::create(&folder.join("metrics.jsonl")).unwrap();
        for step in 1..=3 {
            let mut values = vec![("loss", step as f64)];
            values.extend((*folder == c).then_some(("only_c", 0.5)));
            stats(&mut metrics, "dpo", step, &values);
        }
        metrics.finish().unwrap();
    }
    let page = compare(&[&a, &b, &c]).unwrap();
    let row = "<tr><td>lr</td><td>0.001</td><td>0.002</td><td>0.001</td></tr>";
    assert!(page.contains(row) && !page.contains("<td>seed</td>"), "{page}");
    assert!(page.contains("<td>dpo/loss</td><td class=\"number\">3.000</td>"), "{page}");
    let (loss, only) = page.split_once("<b>only_c</b>").unwrap();
    let loss = loss.rsplit_once("<figure>").unwrap().0;
    let lines = |svg: &str| svg.matches("<polyline").count();
    assert_eq!((lines(loss), lines(only)), (3, 1));
    // A run has the same colour everywhere.
    assert!(only.contains("stroke=\"#009e73\""), "{only}");
    let twice = compare(&[&a, &a]).unwrap();
    assert!(twice.contains("None: the runs have the same settings."));
}

#[test]
fn every_colour_of_a_plot_has_its_counterpart_in_the_dark() {
    let style = include_str!("../src/style.css");
    let folder = tempfile::tempdir().unwrap();
    let categories = hydralign_memory::Category::ALL;
    let held = categories.iter().map(|&category| (category, 10)).collect();
    let record = PhaseBytes {
        phase: Phase::Update,
        start: 0.0,
        end: 1.0,
        live_before: 0,
        live_after: 0,
        peak: 1000,
        held,
    };
    let mut line = MetricsLine {
        stage: "s".into(),
        step: 1,
        steps: 1,
        seconds: 1.0,
        values: vec![("v".into(), Some(1.0))],
        phase_seconds: vec![("update".into(), 1.0)],
        non_finite: Vec::new(),
        memory: vec![record],
    };
    let mut folders = Vec::new();
    for index in 0..8 {
        line.step = index + 1;
        let dir = folder.path().join(index.to_string());
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("metrics.jsonl"), serde_json::to_string(&line).unwrap() + "\n").unwrap();
        folders.push(dir);
    }
    let folders: Vec<&Path> = folders.iter().map(|f| f.as_path()).collect();
    let pages = compare(&folders).unwrap() + &report(folders[0]).unwrap();
    let drawn = pages.split("</style>").skip(1).map(|rest| rest.split("<style>").next().unwrap());
    let mut seen = 0;
    for attribute in ["fill", "stroke"] {
        let begin = format!(" {attribute}=\"#");
        for page in drawn.clone() {
            for rest in page.split(&begin).skip(1) {
                let rule = format!("[{attribute}='#{}']", &rest[..6]);
                assert!(style.contains(&rule), "{rule} is not in the style");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

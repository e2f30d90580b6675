//! How a run was started, and what it was expected to hold.

use hydralign_runs::{
    CommandLine, PredictedBytes, read_commands, read_predicted, record_command, record_predicted,
};

#[test]
fn each_part_of_a_run_has_its_command() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    assert!(read_commands(dir).unwrap().is_empty());
    let command = |text: &str| {
        let this = CommandLine::of_process("flex");
        assert!(this.command[0].starts_with("provenance"), "{this:?}");
        assert!(!this.command[0].contains('/') && this.started > 1_700_000_000, "{this:?}");
        CommandLine { command: vec!["dpo".into(), text.into()], ..this }
    };
    record_command(dir, true, command("one")).unwrap();
    record_command(dir, true, command("two\n")).unwrap();
    let texts = || -> Vec<String> {
        read_commands(dir).unwrap().into_iter().map(|line| line.command[1].clone()).collect()
    };
    assert_eq!(texts(), ["one", "two\n"]);
    record_command(dir, false, command("anew")).unwrap();
    assert_eq!(texts(), ["anew"]);
}

#[test]
fn a_stage_has_one_prediction() {
    let folder = tempfile::tempdir().unwrap();
    let predicted = |stage: &str, bytes, budget| PredictedBytes {
        stage: stage.into(),
        phases: vec![("update".into(), bytes), ("generate".into(), 7)],
        budget,
    };
    for (stage, bytes) in [("sft", 1), ("ppo", 2), ("sft", u64::MAX)] {
        record_predicted(folder.path(), predicted(stage, bytes, None)).unwrap();
    }
    let expected = [predicted("ppo", 2, None), predicted("sft", u64::MAX, None)];
    assert_eq!(read_predicted(folder.path()).unwrap(), expected);
}

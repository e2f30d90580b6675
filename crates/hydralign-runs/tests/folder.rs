//! Run folders and atomic writes: what is there afterwards is whole.

use hydralign_runs::{
    Kept, Overwrite, Place, RunConfig, RunError, RunFolder, RunState, RunStatus, Steps, StopFlag,
    keep, write_atomic, write_dir_atomic,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".hydralign-run" && name != "status.json")
        .collect();
    names.sort();
    names
}

/// A run that saves one result.
fn run(path: &Path, overwrite: Overwrite, text: &str) -> Result<RunFolder, RunError> {
    let folder = RunFolder::create(path, overwrite)?;
    write_atomic(&folder.file("metrics.jsonl"), b"x")?;
    write_atomic(&folder.result("model")?, text.as_bytes())?;
    Ok(folder)
}

fn model(path: &Path) -> String {
    fs::read_to_string(path.join("model")).unwrap()
}

#[test]
fn a_result_is_not_overwritten_by_accident() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("runs/a");
    assert_eq!(run(&path, Overwrite::Refuse, "one").unwrap().finish().unwrap(), path);
    let error = RunFolder::create(&path, Overwrite::Refuse).unwrap_err();
    assert!(matches!(error, RunError::NotEmpty { .. }));
    assert!(error.to_string().contains("is not empty"), "{error}");

    drop(RunFolder::create(&path, Overwrite::Continue).unwrap());
    assert_eq!(names(&path), ["metrics.jsonl", "model"]);
}

#[test]
fn a_result_stays_until_its_replacement_is_complete() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a");
    run(&path, Overwrite::Refuse, "one").unwrap().finish().unwrap();
    // A run that fails before it keeps anything is not in the way of the next.
    drop(RunFolder::create(&path, Overwrite::Replace).unwrap());
    let two = run(&path, Overwrite::Replace, "two").unwrap();
    assert_eq!(two.path(), root.path().join("a.new"));
    assert_eq!((model(&path), model(two.path())), ("one".into(), "two".into()));
    // One that is stopped keeps what it has, and the next goes elsewhere.
    drop(two);
    let three = run(&path, Overwrite::Replace, "three").unwrap();
    assert_eq!(three.path(), root.path().join("a.new-2"));
    assert_eq!(three.finish().unwrap(), path);
    assert_eq!(model(&path), "three");
    assert_eq!(names(root.path()), ["a", "a.new"]);
    assert!(RunFolder::create(&path, Overwrite::Refuse).is_err(), "it is guarded again");
}

#[test]
fn a_folder_in_which_nothing_was_kept_is_free_and_one_in_use_is_not() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a");
    let first = RunFolder::create(&path, Overwrite::Refuse).unwrap();
    write_atomic(&first.file("config.toml"), b"x").unwrap();
    for overwrite in [Overwrite::Refuse, Overwrite::Replace, Overwrite::Continue] {
        let error = RunFolder::create(&path, overwrite).unwrap_err();
        assert!(matches!(error, RunError::Busy { .. }), "{error}");
    }
    drop(first);
    let second = RunFolder::create(&path, Overwrite::Refuse).unwrap();
    assert_eq!(second.path(), path);
    second.result("model").unwrap();
    assert!(matches!(RunFolder::create(&path, Overwrite::Replace), Err(RunError::Busy { .. })));
}

#[test]
fn a_power_failure_between_two_renames_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a");
    run(&path, Overwrite::Refuse, "one").unwrap();
    fs::rename(&path, root.path().join("a.hydralign-previous")).unwrap();
    assert!(matches!(RunFolder::create(&path, Overwrite::Refuse), Err(RunError::NotEmpty { .. })));
    assert_eq!(model(&path), "one");
}

#[test]
fn a_run_that_may_be_repeated_replaces_itself_and_no_other() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a");
    let begin = |text: &'static str| {
        let same = move |p: &Path| fs::read_to_string(p.join("config")).is_ok_and(|t| t == text);
        let folder = RunFolder::create_numbered(&path, same).unwrap();
        write_atomic(&folder.file("config"), text.as_bytes()).unwrap();
        folder.result("model").unwrap();
        folder.finish().unwrap()
    };
    assert_eq!(begin("x"), path);
    assert_eq!(begin("y"), root.path().join("a-2"));
    assert_eq!(begin("x"), path);
    assert_eq!(begin("y"), root.path().join("a-2"));
    assert_eq!(names(root.path()), ["a", "a-2"]);
}

#[test]
fn a_foreign_folder_is_never_emptied_or_continued() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("thesis.tex"), b"years of work").unwrap();
    for overwrite in [Overwrite::Replace, Overwrite::Continue] {
        let error = RunFolder::create(root.path(), overwrite).unwrap_err();
        assert!(matches!(error, RunError::NotARunFolder { .. }));
    }
    assert_eq!(names(root.path()), ["thesis.tex"]);
}

#[test]
fn continuing_removes_what_a_crash_left_half_written() {
    let root = tempfile::tempdir().unwrap();
    RunFolder::create(root.path(), Overwrite::Refuse).unwrap().result("x").unwrap();
    let file = |name: &str| root.path().join(name);
    fs::write(file("config.toml"), b"whole").unwrap();
    fs::write(file("config.toml.partial"), b"ha").unwrap();
    // A crash between the two renames of a checkpoint folder, one level down.
    fs::create_dir_all(file("checkpoints/latest.hydralign-previous")).unwrap();
    fs::write(file("checkpoints/latest.hydralign-previous/weights"), b"old").unwrap();
    fs::create_dir(file("checkpoints/latest.partial")).unwrap();
    // A crash after both renames.
    fs::create_dir(file("best")).unwrap();
    fs::create_dir(file("best.hydralign-previous")).unwrap();

    RunFolder::create(root.path(), Overwrite::Continue).unwrap();
    assert_eq!(names(root.path()), ["best", "checkpoints", "config.toml"]);
    assert_eq!(names(&file("checkpoints")), ["latest"]);
    assert_eq!(fs::read(file("checkpoints/latest/weights")).unwrap(), b"old");
    assert_eq!(fs::read(file("config.toml")).unwrap(), b"whole");
}

#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.json");
    write_atomic(&path, b"old").unwrap();
    write_atomic(&path, b"new, and longer").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new, and longer");
    assert_eq!(names(root.path()), ["a.json"]);

    // A folder of that name cannot be replaced by a file: the error names it, nothing stays.
    let taken = root.path().join("taken");
    fs::create_dir_all(taken.join("inside")).unwrap();
    let error = write_atomic(&taken, b"x").unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write `{}`: ", taken.display())), "{error}");
    assert_eq!(names(root.path()), ["a.json", "taken"]);

    let missing = root.path().join("no/such/folder/a");
    let error = write_atomic(&missing, b"x").unwrap_err().to_string();
    assert!(error.contains(&missing.display().to_string()), "{error}");
}

#[test]
fn a_folder_is_replaced_whole_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("checkpoint");
    let fill = |text: &'static str| {
        move |folder: &Path| -> Result<(), RunError> {
            fs::create_dir(folder.join("sub")).unwrap();
            write_atomic(&folder.join("sub/weights"), text.as_bytes())
        }
    };
    write_dir_atomic(&path, fill("one")).unwrap();
    write_dir_atomic(&path, fill("two")).unwrap();
    assert_eq!(fs::read(path.join("sub/weights")).unwrap(), b"two");

    let torn = |folder: &Path| -> Result<(), RunError> {
        fs::write(folder.join("weights"), b"ha").unwrap();
        write_atomic(&folder.join("no/such/folder"), b"")
    };
    assert!(write_dir_atomic(&path, torn).is_err());
    assert_eq!(fs::read(path.join("sub/weights")).unwrap(), b"two");
    assert_eq!(names(root.path()), ["checkpoint"]);
}

fn state(path: &Path) -> RunState {
    RunFolder::status_of(path).unwrap().state
}

#[test]
fn a_folder_says_how_its_run_ended() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let begin = |name: &str| RunFolder::create(at(name), Overwrite::Refuse).unwrap();
    let run = |name: &str, done, begun, ended: Result<(), RunError>, stop: &StopFlag| {
        let progress = Steps { done, steps: 5, begun };
        keep(begin(name), "model", progress, ended, stop, |dir| write_atomic(&dir.join("w"), b"x"))
    };
    let (go, stop) = (StopFlag::new(), StopFlag::new());
    stop.stop();
    let fault = || Err(RunError::EmptyPlot { title: "loss".into() });

    let under_way = begin("running");
    assert_eq!(state(&at("running")), RunState::Running);
    drop(under_way);
    assert_eq!(state(&at("running")), RunState::Failed, "nobody finished it");

    assert!(matches!(run("finished", 5, false, Ok(()), &go).unwrap(), Kept::Complete(_)));
    assert_eq!(RunFolder::status_of(&at("finished")), Some(RunStatus::new(RunState::Finished)));

    run("stopped", 3, false, Ok(()), &stop).unwrap();
    let progress = Steps { done: 3, steps: 5, begun: false };
    assert_eq!(RunFolder::status_of(&at("stopped")), Some(RunStatus::stopped().after(progress)));
    let text = fs::read_to_string(at("stopped/status.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({"state": "stopped", "progress": {"done": 3, "steps": 5}});
    assert_eq!(value, expected);

    run("failed", 2, true, fault(), &go).unwrap_err();
    let failed = RunFolder::status_of(&at("failed")).unwrap();
    assert_eq!(failed.progress, Some(Steps { done: 2, steps: 5, begun: true }));
    assert!(failed.reason.unwrap().contains("`loss`"));

    run("nothing", 0, false, fault(), &go).unwrap_err();
    assert_eq!(state(&at("nothing")), RunState::Failed);
    run("early", 0, false, Ok(()), &stop).unwrap_err();
    assert_eq!(state(&at("early")), RunState::Stopped);
}

/// `q/../q` is `q`; a path that does not lead anywhere yet may have a dot-dot too.
#[test]
fn a_folder_has_one_name() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("q");
    let keep = |path: &Path, overwrite| {
        let folder = RunFolder::create(path, overwrite).unwrap();
        fs::write(folder.result("weights").unwrap(), b"new").unwrap();
        folder.finish().unwrap();
    };
    keep(&path, Overwrite::Refuse);
    keep(&path.join("../q"), Overwrite::Replace);
    assert!(path.join("weights").exists());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    keep(&path.join("../r"), Overwrite::Refuse);
    assert!(root.path().join("r/weights").exists());
}

/// A name of the user's is not taken for the program's own.
#[test]
fn a_run_that_was_named_previous_stays() {
    let root = tempfile::tempdir().unwrap();
    let (path, older) = (root.path().join("q"), root.path().join("q.previous"));
    for folder in [&older, &path] {
        let folder = RunFolder::create(folder, Overwrite::Refuse).unwrap();
        fs::write(folder.result("weights").unwrap(), b"old").unwrap();
        folder.finish().unwrap();
    }
    RunFolder::create(&path, Overwrite::Replace).unwrap().finish().unwrap();
    assert!(older.join("weights").exists());
    fs::remove_dir_all(&path).unwrap();
    RunFolder::create(&path, Overwrite::Refuse).unwrap();
    assert!(older.join("weights").exists());
}

fn place(out: &Path, overwrite: bool) -> Place {
    let out = Some(out.to_owned());
    let existing = if overwrite { Overwrite::Replace } else { Overwrite::Refuse };
    Place { out, default: "runs/x".into(), existing, repeatable: false }
}

#[cfg(unix)]
#[test]
fn what_a_run_reads_is_not_replaced_by_it() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    run(&at("r"), Overwrite::Refuse, "one").unwrap().finish().unwrap();
    fs::create_dir_all(at("r/weights")).unwrap();
    fs::write(at("r/weights/w"), "x").unwrap();
    fs::create_dir(at("elsewhere")).unwrap();
    symlink(at("r"), at("link")).unwrap();
    symlink(at("r/weights/w"), at("elsewhere/w")).unwrap();
    run(&at("s"), Overwrite::Refuse, "two").unwrap().finish().unwrap();
    let begin = |out: &str, read: &str| {
        place(&at(out), true).begin(
            &RunConfig { settings: BTreeMap::<String, u64>::new(), ..RunConfig::default() },
            &[at(read)],
        )
    };
    for (out, read) in [
        ("r", "r"),
        ("r", "r/weights"),
        ("r", "r/weights/w"),
        ("r", "s/../r/weights"),
        ("link", "r/weights"),
        ("r", "link/weights"),
        ("r", "elsewhere"),
        ("r", "elsewhere/w"),
    ] {
        let error = begin(out, read).unwrap_err();
        assert!(matches!(error, RunError::InputInFolder { .. }), "{out} {read}: {error}");
        let text = error.to_string();
        let both = [at(out), at(read)].iter().all(|p| text.contains(&p.display().to_string()));
        assert!(both, "{text}");
    }
    assert_eq!(names(&at("r")), ["metrics.jsonl", "model", "weights"]);
    assert!(!at("r.new").exists());
    begin("r", "s/model").unwrap();
}

/// The link stays, also one that leads nowhere yet.
#[cfg(unix)]
#[test]
fn the_folder_behind_a_link_is_replaced() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("disk")).unwrap();
    symlink("disk/r", at("link")).unwrap();
    symlink("link", at("second")).unwrap();
    for (name, text) in [("link", "one"), ("second", "two")] {
        let there = run(&at(name), Overwrite::Replace, text).unwrap().finish().unwrap();
        assert_eq!(there, at("disk/r"));
        assert!(fs::symlink_metadata(at(name)).unwrap().is_symlink(), "{name}");
        assert_eq!(model(&at("link")), text);
    }
    fs::create_dir(at("disk/m")).unwrap();
    symlink("disk/m", at("model")).unwrap();
    write_dir_atomic(&at("model"), |dir| write_atomic(&dir.join("w"), b"x")).unwrap();
    assert!(fs::symlink_metadata(at("model")).unwrap().is_symlink());
    assert_eq!(names(&at("disk/m")), ["w"]);
    fs::remove_dir_all(at("disk/m")).unwrap();
    fs::remove_file(at("model")).unwrap();
    assert_eq!(names(root.path()), ["disk", "link", "second"]);
    assert_eq!(names(&at("disk")), ["r"]);
    symlink("circle", at("circle")).unwrap();
    assert!(matches!(run(&at("circle"), Overwrite::Refuse, "x"), Err(RunError::Io { .. })));
}

/// A check says what the beginning would, wherever that would be, and leaves everything as it is.
#[test]
fn a_place_that_is_checked_is_refused_as_a_run_would_be_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("foreign")).unwrap();
    fs::write(at("foreign/thesis"), "x").unwrap();
    fs::create_dir(at("begun")).unwrap();
    RunFolder::create(at("begun"), Overwrite::Refuse).unwrap();
    run(&at("held"), Overwrite::Refuse, "one").unwrap().finish().unwrap();
    run(&at("gone"), Overwrite::Refuse, "one").unwrap().finish().unwrap();
    fs::rename(at("gone"), at("gone.hydralign-previous")).unwrap();
    let config = RunConfig { settings: BTreeMap::from([("a", 1)]), ..RunConfig::default() };
    let kind =
        |result: Result<(), RunError>| result.map_err(|error| std::mem::discriminant(&error));
    let before = names(root.path());
    let mut refused = 0;
    for name in ["absent", "empty", "foreign", "begun", "held", "gone"] {
        for overwrite in [false, true] {
            let place = place(&at(name), overwrite);
            let checked = kind(place.check(&config, &[]));
            assert_eq!(names(root.path()), before, "{name}");
            refused += usize::from(checked.is_err());
            if checked.is_err() || name == "absent" {
                assert_eq!(kind(place.begin(&config, &[]).map(drop)), checked, "{name}");
                let _ = fs::remove_dir_all(at("absent"));
            }
            if name == "gone" && at("gone").exists() {
                fs::rename(at("gone"), at("gone.hydralign-previous")).unwrap();
            }
        }
    }
    assert_eq!(refused, 4, "foreign twice, held and gone once");
}

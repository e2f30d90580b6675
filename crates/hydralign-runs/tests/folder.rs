//! Run folders and atomic writes: what is there afterwards is whole.

use hydralign_runs::{Overwrite, RunError, RunFolder, write_atomic, write_dir_atomic};
use std::fs;
use std::path::Path;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".hydralign-run")
        .collect();
    names.sort();
    names
}

#[test]
fn a_run_is_not_overwritten_by_accident() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("runs/a");
    let folder = RunFolder::create(&path, Overwrite::Refuse).unwrap();
    write_atomic(&folder.file("metrics.jsonl"), b"x").unwrap();

    let error = RunFolder::create(&path, Overwrite::Refuse).unwrap_err();
    assert!(matches!(error, RunError::NotEmpty { .. }));
    let text = format!(
        "run folder `{}` is not empty; choose another, continue that run, or replace it",
        path.display()
    );
    assert_eq!(error.to_string(), text);

    RunFolder::create(&path, Overwrite::Continue).unwrap();
    assert_eq!(names(&path), ["metrics.jsonl"]);
    RunFolder::create(&path, Overwrite::Replace).unwrap();
    assert_eq!(names(&path), Vec::<String>::new());
    // Still a run folder: it may be replaced again, and is still guarded.
    write_atomic(&folder.file("a"), b"").unwrap();
    RunFolder::create(&path, Overwrite::Replace).unwrap();
    assert!(RunFolder::create(&path, Overwrite::Refuse).is_err());
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
    RunFolder::create(root.path(), Overwrite::Refuse).unwrap();
    let file = |name: &str| root.path().join(name);
    fs::write(file("config.toml"), b"whole").unwrap();
    fs::write(file("config.toml.partial"), b"ha").unwrap();
    // A crash between the two renames of a checkpoint folder, one level down.
    fs::create_dir_all(file("checkpoints/latest.previous")).unwrap();
    fs::write(file("checkpoints/latest.previous/weights"), b"old").unwrap();
    fs::create_dir(file("checkpoints/latest.partial")).unwrap();
    // A crash after both renames.
    fs::create_dir(file("best")).unwrap();
    fs::create_dir(file("best.previous")).unwrap();

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

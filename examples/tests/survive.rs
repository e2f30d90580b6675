//! What happens to runs beside their own work: folders that cannot be written, disks that are full, other processes,
//! clocks, terminals. Each ends with a clear error or goes on, and nothing that was learnt is lost.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "what cannot be run here is told")]

mod common;

use common::{fault, good, put_reward, run};
use hydralign::runs::{MetricsLine, read_metrics};
use hydralign_examples::base_model_dir;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pairs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/inputs/runs/pairs40.jsonl");
    fs::copy(pairs, folder.path().join("pairs.jsonl")).unwrap();
    put_reward(&folder.path().join("reward"));
    folder
}

/// Steps of a run, with a checkpoint after each.
const STEPS: usize = 18;

fn args() -> String {
    let model = base_model_dir().display().to_string();
    format!(
        "--model {model} --preferences pairs.jsonl --epochs 6 --minibatch 16 --max-new-tokens 4 --checkpoint-every 1"
    )
}

fn program(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join(name)
}

fn dpo(folder: &Path, args: &str) -> Output {
    run(folder, "dpo", &args.split_whitespace().collect::<Vec<_>>())
}

/// A script with `$DPO` and `$ARGS`.
fn script(folder: &Path, before: &[&str], text: &str) -> Output {
    let (shell, rest) =
        before.split_first().map_or(("sh", &[][..]), |(first, rest)| (*first, rest));
    let mut command = Command::new(shell);
    command.args(rest);
    if !before.is_empty() {
        command.arg("sh");
    }
    command.args(["-c", text]).current_dir(folder).env("DPO", program("dpo")).env("ARGS", args());
    command.env("RUST_BACKTRACE", "0").output().unwrap()
}

/// In a name space of its own a process may mount; not where a system forbids that.
const MOUNTS: [&str; 2] = ["unshare", "-rm"];

fn may_mount() -> bool {
    let mut command = Command::new(MOUNTS[0]);
    let mount = "mount -t tmpfs -o size=1m none /tmp";
    command.args([MOUNTS[1], "sh", "-c", mount]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn model(folder: &Path, out: &str) -> Vec<u8> {
    fs::read(folder.join(out).join("model/model.safetensors")).unwrap()
}

/// Step and values of each line.
type Reported = Vec<(usize, Vec<(String, Option<f64>)>)>;

fn reported(folder: &Path, out: &str) -> Reported {
    let lines = read_metrics(&folder.join(out).join("metrics.jsonl")).unwrap();
    lines.into_iter().map(|line: MetricsLine| (line.step, line.values)).collect()
}

fn checkpoints(folder: &Path, out: &str) -> Vec<String> {
    let names = fs::read_dir(folder.join(out).join("checkpoints")).unwrap();
    let mut names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Model and metrics of the run that nothing happened to.
fn whole() -> &'static (Vec<u8>, Reported) {
    static WHOLE: OnceLock<(Vec<u8>, Reported)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = folder();
        good(&dpo(folder.path(), &format!("{} --out WHOLE", args())));
        (model(folder.path(), "WHOLE"), reported(folder.path(), "WHOLE"))
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A disk that becomes full, or read-only, while a run writes to it: the run ends with the reason, its last good
/// checkpoint stays, and when the disk is well again it goes on to the bits of a run that nothing happened to.
#[test]
fn a_disk_that_fails_under_a_run_loses_nothing() {
    if !may_mount() {
        println!("not run: this system lets no process mount");
        return;
    }
    let folder = folder();
    let (expected, metrics) = whole();
    let cases = [
        (
            "full",
            "cat /dev/zero > DISK/filler",
            "rm DISK/filler",
            ["no room for the checkpoint of step", "No space left"],
        ),
        (
            "read-only",
            "mount --bind DISK/OUT/checkpoints DISK/OUT/checkpoints; mount -o remount,bind,ro DISK/OUT/checkpoints",
            "umount DISK/OUT/checkpoints",
            ["Read-only file system", "Read-only file system"],
        ),
    ];
    for (what, harm, mend, reasons) in cases {
        let lines = format!(
            "mkdir -p DISK; mount -t tmpfs -o size=200m none DISK
            $DPO $ARGS --out DISK/OUT >said 2>&1 & run=$!
            while kill -0 $run && ! ls DISK/OUT/checkpoints/step-0000000[2-9]; do sleep 0.01; done >/dev/null 2>&1
            kill -STOP $run; {{ {harm}; }} 2>/dev/null; kill -CONT $run
            wait $run; echo status $?; cat said
            {mend}; ls DISK/OUT/checkpoints; echo mended
            $DPO --resume DISK/OUT 2>&1; echo status $?
            cp -r DISK/OUT AFTER-{what}"
        );
        let output = script(folder.path(), &MOUNTS, &lines);
        let said = text(&output.stdout);
        let (broken, mended) = said.split_once("mended\n").unwrap();
        assert!(broken.contains("status 1\n"), "{what}: {said}");
        assert!(reasons.iter().any(|reason| broken.contains(reason)), "{what}: {said}");
        assert!(broken.lines().last().unwrap().starts_with("step-000000"), "{what}: {said}");
        let from = mended.split("goes on after step ").nth(1).unwrap();
        let from: usize = from.split_whitespace().next().unwrap().parse().unwrap();
        assert!((2..STEPS).contains(&from), "{what}: {said}");
        assert!(mended.contains("status 0\n"), "{what}: {said}");
        let after = format!("AFTER-{what}");
        assert!(model(folder.path(), &after) == *expected, "{what}: the model, from {from}");
        assert_eq!(&reported(folder.path(), &after), metrics, "{what}: from {from}");
        assert_eq!(checkpoints(folder.path(), &after).len(), 2, "{what}: nothing is left over");
    }
}

/// The same where no file may grow: what cannot be written to the end is not there at all.
#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
    let folder = folder();
    let (expected, metrics) = whole();
    let lines = "$DPO $ARGS --out OUT >/dev/null 2>&1 & run=$!
        while kill -0 $run && ! ls OUT/checkpoints/step-0000000[2-9]; do sleep 0.01; done >/dev/null 2>&1
        kill -KILL $run; wait $run
        ls OUT/checkpoints | grep -v partial
        (trap '' XFSZ; ulimit -f 2000; exec $DPO --resume OUT); echo status $?
        echo then; ls OUT/checkpoints";
    let output = script(folder.path(), &[], lines);
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(said.contains("status 1\n"), "{said}{errors}");
    assert!(errors.contains("checkpoints/step-") && errors.contains("File too large"), "{errors}");
    let (before, after) = said.split_once("then\n").unwrap();
    let steps = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("step-")).map(str::to_owned).collect()
    };
    assert_eq!(steps(before), steps(after), "{said}");
    good(&dpo(folder.path(), "--resume OUT"));
    assert!(model(folder.path(), "OUT") == *expected);
    assert_eq!(&reported(folder.path(), "OUT"), metrics);
}

/// Before anything is computed: what is needed and what there is.
#[test]
fn a_disk_that_is_too_small_is_named_before_the_training() {
    if !may_mount() {
        println!("not run: this system lets no process mount");
        return;
    }
    let folder = folder();
    let lines = "mkdir DISK; mount -t tmpfs -o size=20m none DISK
        $DPO $ARGS --out DISK/OUT; echo status $?; ls DISK/OUT; cat DISK/OUT/status.json";
    let output = script(folder.path(), &MOUNTS, lines);
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(said.contains("status 1\n") && said.contains("\"failed\""), "{said}{errors}");
    let start = "no room for 3 checkpoints and the model on the disk of `DISK/OUT/checkpoints`: ";
    let rest = errors.split(start).nth(1).unwrap_or_else(|| panic!("{errors}"));
    let numbers = rest.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let [needed, free] = numbers.collect::<Vec<u64>>()[..2] else { panic!("{rest}") };
    assert!(free <= 20 << 20 && needed > free, "{errors}");
    assert!(
        !said.lines().any(|line| line == "checkpoints") && !errors.contains("preference_loss"),
        "{said}{errors}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named_before_the_training() {
    let folder = folder();
    let run = "$DPO $ARGS --out DISK/OUT; echo status $?";
    let output = match may_mount() {
        true => {
            let mount = "mkdir DISK; mount -t tmpfs -o ro none DISK";
            script(folder.path(), &MOUNTS, &format!("{mount}; {run}"))
        }
        // Who may not mount is no superuser, who may write anywhere.
        false => script(folder.path(), &[], &format!("mkdir -m 555 DISK; {run}")),
    };
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(said, "status 1\n", "{errors}");
    let reasons = ["Read-only file system", "Permission denied"];
    assert!(errors.contains("DISK/OUT"), "{errors}");
    assert!(reasons.iter().any(|reason| errors.contains(reason)), "{errors}");
}

/// A run that is under way, and is ended when it is dropped.
struct Running(Child);

impl Running {
    fn start(folder: &Path, args: &str) -> Self {
        let mut command = Command::new(program("dpo"));
        command.args(args.split_whitespace()).current_dir(folder);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn wait_for(&mut self, path: &Path) {
        let began = Instant::now();
        while !path.exists() {
            assert!(began.elapsed() < Duration::from_secs(120), "{}", path.display());
            assert!(self.0.try_wait().unwrap().is_none(), "it has ended");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

#[test]
fn of_two_processes_on_one_folder_the_second_refuses_and_the_first_goes_on() {
    let folder = folder();
    let (expected, metrics) = whole();
    let mut first = Running::start(folder.path(), &format!("{} --out OUT", args()));
    first.wait_for(&folder.path().join("OUT/checkpoints/step-00000001"));
    // Held still, so that it does not end meanwhile.
    let signal = |name: &str| {
        let id = first.0.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    signal("-STOP");
    for second in [
        "--resume OUT".to_owned(),
        format!("{} --out OUT", args()),
        format!("{} --out OUT --overwrite", args()),
    ] {
        let said = fault(&dpo(folder.path(), &second));
        assert!(said.contains("another process is writing to `OUT`"), "{second}: {said}");
    }
    signal("-CONT");
    assert!(first.0.wait().unwrap().success());
    assert!(model(folder.path(), "OUT") == *expected);
    assert_eq!(&reported(folder.path(), "OUT"), metrics);
    assert!(!folder.path().join("OUT.new").exists());
}

/// Which checkpoint is the newest, and how long a run took, do not follow from the time of day.
#[test]
fn a_clock_that_was_set_back_changes_nothing() {
    let folder = folder();
    let (expected, metrics) = whole();
    let mut first = Running::start(folder.path(), &format!("{} --out OUT", args()));
    first.wait_for(&folder.path().join("OUT/checkpoints/step-00000003"));
    drop(first);
    // As if the later a file was written, the earlier the clock was.
    let steps = checkpoints(folder.path(), "OUT");
    let now = SystemTime::now();
    for (age, step) in steps.iter().enumerate() {
        let step = folder.path().join("OUT/checkpoints").join(step);
        let files = fs::read_dir(&step).unwrap().map(|e| e.unwrap().path());
        for path in files.chain([step.clone()]) {
            let day = Duration::from_secs(86_400 * (age as u64 + 1));
            File::open(path).unwrap().set_modified(now - day).unwrap();
        }
    }
    let in_a_year = now + Duration::from_secs(365 * 86_400);
    for name in ["metrics.jsonl", "config.toml", ".hydralign-run"] {
        File::open(folder.path().join("OUT").join(name)).unwrap().set_modified(in_a_year).unwrap();
    }
    let said = good(&dpo(folder.path(), "--resume OUT"));
    let newest: Vec<&String> = steps.iter().filter(|s| !s.contains("partial")).collect();
    let newest: usize = newest.last().unwrap().trim_start_matches("step-").parse().unwrap();
    assert!(said.contains(&format!("goes on after step {newest}")), "{said}");
    assert!(model(folder.path(), "OUT") == *expected);
    assert_eq!(&reported(folder.path(), "OUT"), metrics);
    let lines = read_metrics(&folder.path().join("OUT/metrics.jsonl")).unwrap();
    assert!(lines.windows(2).all(|two| two[0].seconds <= two[1].seconds), "time goes forwards");
}

/// Both streams gone, and then a hangup: the run saves what it has, and goes on later.
#[test]
fn a_lost_terminal_ends_a_run_well() {
    let folder = folder();
    let (expected, metrics) = whole();
    let lines = "mkfifo gone; (read line < gone) & exec 3>gone
        env --default-signal=HUP $DPO $ARGS --out OUT >&3 2>&3 3>&- & run=$!
        exec 3>&-; echo > gone &
        while kill -0 $run && ! ls OUT/checkpoints/step-0000000[2-9]; do sleep 0.01; done >/dev/null 2>&1
        kill -HUP $run; kill -HUP $run; wait $run; echo status $?";
    let output = script(folder.path(), &[], lines);
    let said = text(&output.stdout);
    assert!(said.contains("status 0\n"), "{said}{}", text(&output.stderr));
    let status = fs::read_to_string(folder.path().join("OUT/status.json")).unwrap();
    assert!(status.contains("stopped"), "{status}");
    assert!(folder.path().join("OUT/model/model.safetensors").exists());
    // Started without any stream, and never a terminal.
    let output = script(folder.path(), &[], "$DPO --resume OUT >&- 2>&- <&-; echo status $?");
    assert_eq!(text(&output.stdout), "status 0\n");
    assert!(model(folder.path(), "OUT") == *expected);
    assert_eq!(&reported(folder.path(), "OUT"), metrics);
}

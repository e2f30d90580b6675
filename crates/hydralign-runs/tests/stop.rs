//! Ctrl-C, on a child process that is this test again.
#![cfg(unix)]

use hydralign_runs::stop_on_ctrl_c;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const CHILD: &str = "HYDRALIGN_STOP_TEST";

/// What a binary does: works until it is asked to stop, then tidies up.
fn polite() {
    let mut out = std::io::stderr();
    let stop = stop_on_ctrl_c().unwrap();
    writeln!(out, "ready").unwrap();
    while !stop.is_stopped() {
        sleep(Duration::from_millis(5));
    }
    writeln!(out, "tidied").unwrap();
}

/// A step that takes forever.
fn stubborn() {
    let mut out = std::io::stderr();
    let stop = stop_on_ctrl_c().unwrap();
    writeln!(out, "ready").unwrap();
    while !stop.is_stopped() {
        sleep(Duration::from_millis(5));
    }
    writeln!(out, "asked").unwrap();
    sleep(Duration::from_secs(60));
    writeln!(out, "survived").unwrap();
}

/// True if this process was started with Ctrl-C, SIGTERM or SIGHUP ignored, as background jobs
/// of scripts are; children inherit it.
fn signals_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let bit = |signal: u32| 1u64 << (signal - 1);
    ignored & (bit(1) | bit(2) | bit(15)) != 0
}

/// This test again, as a child that signals reach.
fn child_command() -> Command {
    let this = env::current_exe().unwrap();
    if !signals_are_ignored() {
        return Command::new(this);
    }
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM"]).arg(this);
    command
}

fn start(test: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child = child_command()
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap());
    (child, lines)
}

/// Reads up to that line; false if the output ends before it.
fn comes(lines: &mut BufReader<ChildStderr>, wanted: &str) -> bool {
    lines.by_ref().lines().map_while(Result::ok).any(|line| line == wanted)
}

fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn interrupt(child: &Child) {
    send(child, "-INT");
}

#[test]
fn the_first_ctrl_c_asks() {
    if env::var_os(CHILD).is_some() {
        return polite();
    }
    let (mut child, mut lines) = start("the_first_ctrl_c_asks");
    assert!(comes(&mut lines, "ready"));
    interrupt(&child);
    assert!(comes(&mut lines, "tidied"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_second_ctrl_c_ends_the_process() {
    if env::var_os(CHILD).is_some() {
        return stubborn();
    }
    let (mut child, mut lines) = start("the_second_ctrl_c_ends_the_process");
    assert!(comes(&mut lines, "ready"));
    interrupt(&child);
    assert!(comes(&mut lines, "asked"));
    interrupt(&child);
    assert!(!comes(&mut lines, "survived"));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_second_signal_of_another_kind_ends_it_too_but_a_terminal_may_hang_up_twice() {
    let this = "a_second_signal_of_another_kind_ends_it_too_but_a_terminal_may_hang_up_twice";
    if env::var_os(CHILD).is_some() {
        return stubborn();
    }
    let (mut child, mut lines) = start(this);
    assert!(comes(&mut lines, "ready"));
    send(&child, "-HUP");
    assert!(comes(&mut lines, "asked"));
    send(&child, "-HUP");
    sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none());
    send(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// `nohup` ignores SIGHUP, `&` in a script SIGINT: the others ask all the same.
#[test]
fn only_the_ignored_signal_stays_ignored() {
    if env::var_os(CHILD).is_some() {
        return polite();
    }
    for (ignored, asks) in [("HUP", "-TERM"), ("INT", "-TERM"), ("TERM", "-INT")] {
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT,TERM").arg(format!("--ignore-signal={ignored}"));
        command.arg(env::current_exe().unwrap());
        command.args(["--exact", "only_the_ignored_signal_stays_ignored", "--nocapture"]);
        command.env(CHILD, "1").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        assert!(comes(&mut lines, "ready"));
        send(&child, &format!("-{ignored}"));
        sleep(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "{ignored} stays ignored");
        send(&child, asks);
        assert!(comes(&mut lines, "tidied"), "{asks} is handled where {ignored} is ignored");
        assert!(child.wait().unwrap().success());
    }
}

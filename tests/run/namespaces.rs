//! A tracer in namespaces of its own, as in a container.

use serde_json::Value;
use std::{
    process::{Command, Output},
    time::{SystemTime, UNIX_EPOCH},
};
use tests::{Steps, needs, program, tracejob};

/// `tracejob run` of a workload that opens a file, by unshare(1) with these options; `None` where there is no such program or option,
/// and prints it.
fn run_in(test: &str, options: &[&str]) -> Option<Output> {
    let works = |command: &mut Command| command.output().is_ok_and(|out| out.status.success());
    if !works(Command::new("unshare").args(options).arg("true")) {
        println!("SKIPPED {test}: there is no unshare(1) with {options:?} here");
        return None;
    }
    let workload = program("workload").into_os_string();
    let steps = "open openat /dev/null 0 0".words();
    let words = ["run", "open", "-o", "json", "--"].map(Into::into);
    let words: Vec<_> = words.into_iter().chain([workload]).chain(steps).collect();
    let traced = tracejob(&words);
    let mut command = Command::new("unshare");
    command
        .args(options)
        .arg(traced.get_program())
        .args(traced.get_args());
    Some(command.output().unwrap())
}

fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
}

#[test]
fn rows_of_a_tracer_in_another_time_namespace_have_the_time_of_the_wall() {
    needs!("open");
    let began = unix_ns();
    let test = "namespaces::rows_of_a_tracer_in_another_time_namespace_have_the_time_of_the_wall";
    let Some(out) = run_in(test, &["--time", "--boottime", "86400"]) else {
        return;
    };
    let text = String::from_utf8(out.stdout).unwrap();
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows: Vec<Value> = rows.filter(|row| row["path"] == "/dev/null").collect();
    assert_eq!(rows.len(), 1, "{text}");
    let time = rows[0]["time"].as_u64().unwrap();
    // Clocks are compared, so 20 ms are granted.
    assert!(
        (began - 20_000_000..unix_ns() + 20_000_000).contains(&time),
        "{time} and {began}"
    );
}

#[test]
fn a_command_in_another_pid_namespace_is_refused_with_what_to_do() {
    needs!("open");
    let test = "namespaces::a_command_in_another_pid_namespace_is_refused_with_what_to_do";
    let Some(out) = run_in(test, &["--pid", "--fork", "--mount-proc"]) else {
        return;
    };
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("-- COMMAND") && stderr.contains("hostPID"),
        "{stderr}"
    );
}

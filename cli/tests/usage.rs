//! Tests of help and of errors about the command line. No test here traces.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Output, Stdio},
};

fn tracejob(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tracejob"))
        .args(line.split_whitespace())
        .env_remove("RUST_BACKTRACE")
        .env_remove("TRACEJOB_AGENT")
        .stdin(Stdio::null())
        .output()
        .expect("the program was built with this test")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("it only prints UTF-8")
}

#[test]
fn a_mistake_names_the_thing_and_the_remedy_and_the_status_is_2() {
    let mut said = String::new();
    for line in include_str!("mistakes.txt").lines() {
        let Output {
            status,
            stdout,
            stderr,
        } = tracejob(line);
        assert_eq!(status.code(), Some(2), "{line}");
        assert!(stdout.is_empty(), "{line}");
        let stderr = text(stderr);
        assert!(stderr.starts_with("error: "), "{line}: {stderr}");
        said.push_str(&format!("$ tracejob {line}\n{stderr}\n"));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn what_a_machine_refuses_has_status_1() {
    for (line, wanted) in [
        (
            "run -f /nonexistent.yaml --host",
            "error: cannot read /nonexistent.yaml: No such file",
        ),
        (
            "run open --host -o json=/nonexistent/rows",
            "error: cannot write /nonexistent/rows: No such file",
        ),
        (
            "run open --host -o json=/tmp",
            "error: cannot write /tmp: it is a directory",
        ),
    ] {
        let Output { status, stderr, .. } = tracejob(line);
        assert_eq!(status.code(), Some(1), "{line}");
        let stderr = text(stderr);
        assert!(stderr.starts_with(wanted), "{line}: {stderr}");
    }
}

#[test]
fn a_job_that_selects_pods_names_the_flags_for_one_host() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/checkout.yaml");
    let Output { status, stderr, .. } = tracejob(&format!("run -f {file}"));
    assert_eq!(status.code(), Some(2));
    let stderr = text(stderr);
    assert!(
        stderr.ends_with("checkout.yaml selects pods, which requires a cluster; on a single host add --pid, --container, --cgroup, -- CMD or --host\n"),
        "{stderr}"
    );
}

#[test]
fn help_has_examples_and_is_printed_to_standard_output() {
    let tracers: Vec<String> = tracers::ALL
        .iter()
        .map(|tracer| format!("run {} --help", tracer.name()))
        .collect();
    let fixed = [
        "--help",
        "list --help",
        "describe --help",
        "doctor --help",
        "run --help",
        "version --help",
        "completions --help",
    ];
    for line in fixed.into_iter().chain(tracers.iter().map(String::as_str)) {
        let Output {
            status,
            stdout,
            stderr,
        } = tracejob(line);
        assert_eq!(status.code(), Some(0), "{line}");
        assert!(stderr.is_empty(), "{line}");
        let stdout = text(stdout);
        assert!(
            stdout.contains("Examples:\n  ") && stdout.contains("Usage: tracejob"),
            "{line}: {stdout}"
        );
        assert!(
            stdout.lines().all(|line| line.chars().count() <= 100),
            "{line}: {stdout}"
        );
        assert!(!stdout.contains('\x1b'), "{line}");
    }
    assert_eq!(tracejob("").status.code(), Some(2), "nothing asked for");
    assert!(text(tracejob("--version").stdout).starts_with("tracejob "));
    insta::assert_snapshot!(text(tracejob("--help").stdout));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tracejob"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    assert!(stderr.is_empty(), "{}", text(stderr));
}

#[test]
fn completions_contain_every_tracer() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(tracejob(&format!("completions {shell}")).stdout);
        for tracer in tracers::ALL {
            assert!(script.contains(tracer.name()), "{shell}: {}", tracer.name());
        }
    }
}

//! Requests that cannot be traced are refused with a reason, and leave no process.

use tests::{Cgroup, Trace, Workload, needs, program};

/// Checks that a run does not start: its status and its message.
fn refused(trace: Trace, status: i32, words: &[&str]) {
    // A run that starts by mistake ends by itself, so that the test can report it.
    let outcome = trace.with(&["--duration", "10s"]).run();
    assert!(!outcome.started(), "{}", outcome.stderr);
    assert_eq!(outcome.status, Some(status), "{}", outcome.stderr);
    for word in words {
        assert!(
            outcome.stderr.contains(word),
            "no {word:?} in {}",
            outcome.stderr
        );
    }
    assert!(outcome.rows.is_empty());
}

#[test]
fn a_process_that_does_not_exist_is_named() {
    needs!("open");
    // One that did exist.
    let mut workload = Workload::behind_gate("getppid 1");
    let pid = workload.pid().to_string();
    workload.kill();
    refused(
        Trace::of("open").with(&["--pid", &pid]),
        1,
        &["process", &pid, "does not exist"],
    );
}

#[test]
fn one_of_two_containers_that_is_not_there_is_named_and_nothing_is_traced() {
    needs!("open");
    let group = Cgroup::named(&format!("docker-{:064x}.scope", std::process::id()));
    let here = format!("{:064x}", std::process::id());
    let gone = format!(
        "{:064x}",
        0xdead_0000_0000_u64 + u64::from(std::process::id())
    );
    refused(
        Trace::of("open").with(&["--container", &here, "--container", &gone]),
        1,
        &["no container here", &gone],
    );
    drop(group);
}

#[test]
fn a_thread_is_no_process() {
    needs!("open");
    let mut workload = Workload::behind_gate("threads 1 say-tid-until-eof");
    workload.go();
    let tid = workload.message("tid").to_string();
    refused(Trace::of("open").with(&["--pid", &tid]), 1, &[&tid]);
    workload.end();
}

#[test]
fn a_process_that_has_ended_and_is_not_waited_for_is_not_traced_for_ever() {
    needs!("open");
    // Its child is a zombie until it ends itself.
    let mut workload = Workload::behind_gate("zombie , until-eof");
    workload.go();
    let zombie = workload.message("zombie").to_string();
    let outcome = Trace::of("open")
        .with(&["--pid", &zombie, "--duration", "20s"])
        .run();
    if outcome.started() {
        assert_eq!(outcome.account().ended, "target_gone");
    } else {
        assert_eq!(outcome.status, Some(1));
    }
    workload.end();
}

#[test]
fn a_command_that_does_not_exist_is_named_with_the_reason() {
    needs!("open");
    let command = vec!["/no/such/command".into()];
    refused(
        Trace::of("open").command(command),
        1,
        &["/no/such/command", "No such file"],
    );
}

#[test]
fn a_command_that_may_not_be_executed_is_named_with_the_reason() {
    needs!("open");
    refused(
        Trace::of("open").command(vec!["/dev/null".into()]),
        1,
        &["/dev/null", "denied"],
    );
}

#[test]
fn nothing_selected_is_not_everything() {
    needs!("open");
    refused(
        Trace::of("open"),
        2,
        &["--pid", "--container", "--cgroup", "--host"],
    );
}

#[test]
fn a_cgroup_that_does_not_exist_is_named() {
    needs!("open");
    refused(
        Trace::of("open").with(&["--cgroup", "no/such/group"]),
        1,
        &["no/such/group"],
    );
}

#[test]
fn a_folder_that_is_no_cgroup_is_refused() {
    needs!("open");
    refused(
        Trace::of("open").with(&["--cgroup", "/tmp"]),
        1,
        &["/tmp", "cgroup"],
    );
}

#[test]
fn a_container_that_does_not_exist_is_named() {
    needs!("open");
    let id = "0123456789abcdef".repeat(4);
    refused(Trace::of("open").with(&["--container", &id]), 1, &[&id]);
}

#[test]
fn a_tracer_that_does_not_exist_is_named_with_the_nearest() {
    needs!("open");
    refused(
        Trace::of("tcp_conect").workload("getppid 1"),
        2,
        &["tcp_conect", "tcp_connect"],
    );
}

#[test]
fn a_target_beyond_the_kernels_numbers_is_refused() {
    needs!("open");
    for pid in ["0", "4294967295", "99999999999", "-1", "x"] {
        let outcome = Trace::of("open").with(&[&format!("--pid={pid}")]).run();
        assert!(!outcome.started(), "{pid}: {}", outcome.stderr);
        assert!(
            matches!(outcome.status, Some(1 | 2)),
            "{pid}: {:?}",
            outcome.status
        );
    }
}

#[test]
fn missing_capabilities_are_named() {
    if std::env::var_os("TRACEJOB_TEST_CAPS").is_some() {
        return; // Something else is dropped there already.
    }
    let tracejob = tests::tracejob_path();
    let output = std::process::Command::new(program("workload"))
        .args(["with-caps", "perfmon"])
        .arg(tracejob)
        .args(["run", "open", "--", "true"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("CAP_BPF") && stderr.contains("setcap"),
        "{stderr}"
    );
}

//! Ends of a run: by its duration, its limit, its target, its command, or a signal.

use serde_json::json;
use std::ffi::OsStr;
use tests::{Cgroup, Trace, Workload, deadline, needs};

const MS: u64 = 1_000_000;
/// As late as a busy machine may be, ns: less than a thousand times the durations below.
const LATE: u64 = deadline().as_nanos() as u64;

/// A process that only waits.
fn waiting() -> Workload {
    Workload::behind_gate("getppid 7")
}

#[test]
fn a_duration_is_kept() {
    needs!("syscall_count");
    let workload = waiting();
    let elapsed = |ms: u64| {
        let trace = Trace::of("syscall_count").with(&["--duration", &format!("{ms}ms")]);
        let outcome = trace.of_process(&workload).run();
        let account = outcome.complete();
        assert_eq!(account.ended, "duration");
        account.elapsed_ns
    };
    for ms in [300, 900] {
        // Never early. How late is the machine's affair, but not a mistaken unit's.
        let ns = elapsed(ms);
        assert!((ms * MS..ms * MS + LATE).contains(&ns), "{ns}");
    }
}

#[test]
fn a_command_is_terminated_when_its_time_is_over() {
    needs!("open");
    let outcome = Trace::of("open")
        .with(&["--duration", "300ms"])
        .workload("pause-forever")
        .run();
    let account = outcome.complete();
    assert_eq!(account.ended, "duration");
    assert!(account.elapsed_ns < LATE);
}

#[test]
fn a_limit_of_events_is_kept_to_the_event_and_what_is_beyond_is_counted() {
    needs!("open");
    let mut workload = Workload::behind_gate("open-times 500 openat /dev/null 0 0");
    let trace = Trace::of("open")
        .with(&["--max-events", "123"])
        .of_process(&workload)
        .start();
    // All of them are in the ring before the reader sees the first.
    trace.while_stopped(|| workload.finish());
    let outcome = trace.finish();
    let account = outcome.complete();
    assert_eq!((account.delivered, outcome.rows.len()), (123, 123));
    assert_eq!((account.produced, account.beyond_limit), (500, 377));
    assert_eq!(account.ended, "max_events");
}

#[test]
fn a_limit_that_is_not_reached_changes_nothing() {
    needs!("open");
    let mut workload = Workload::behind_gate("open-times 50 openat /dev/null 0 0");
    let trace = Trace::of("open")
        .with(&["--max-events", "51"])
        .of_process(&workload)
        .start();
    workload.finish();
    let outcome = trace.finish();
    assert_eq!(outcome.complete().delivered, 50);
    assert_eq!(outcome.account().ended, "target_gone");
}

#[test]
fn a_run_ends_when_its_target_is_gone() {
    needs!("open");
    let mut workload = waiting();
    let trace = Trace::of("open").of_process(&workload).start();
    workload.finish();
    assert_eq!(trace.finish().complete().ended, "target_gone");
}

#[test]
fn a_run_ends_when_its_target_is_killed() {
    needs!("open");
    let mut workload = waiting();
    let trace = Trace::of("open").of_process(&workload).start();
    workload.kill();
    assert_eq!(trace.finish().complete().ended, "target_gone");
}

/// A cgroup with a workload in it that waits, which opens 50 files then.
fn occupied(group: Cgroup) -> (Cgroup, Workload) {
    let workload = Workload::behind_gate("open-times 50 openat /dev/null 0 0");
    group.add(workload.pid());
    (group, workload)
}

#[test]
fn a_run_ends_when_its_cgroup_is_removed() {
    needs!("open");
    let first_version = Cgroup::of_version_1(&format!("tracejob-test-{}-ends", std::process::id()));
    for group in [Some(Cgroup::new()), first_version].into_iter().flatten() {
        let (group, mut workload) = occupied(group);
        let trace = Trace::of("open")
            .with(&[OsStr::new("--cgroup"), group.path().as_os_str()])
            .start();
        workload.finish();
        drop(group);
        let outcome = trace.finish();
        assert_eq!(outcome.complete().delivered, 50);
        assert_eq!(outcome.account().ended, "target_gone");
    }
}

#[test]
fn a_run_ends_when_its_container_is_removed_though_another_has_its_name() {
    needs!("open");
    let id = format!("{:08x}{:08x}", std::process::id(), 0x00ad_d1e5).repeat(4);
    let name = format!("docker-{id}.scope");
    let (group, mut workload) = occupied(Cgroup::named(&name));
    let trace = Trace::of("open").with(&["--container", &id]).start();
    workload.finish();
    let (_second, mut workload) = trace.while_stopped(|| {
        drop(group);
        occupied(Cgroup::named(&name))
    });
    let outcome = trace.finish();
    assert_eq!(outcome.complete().delivered, 50);
    assert_eq!(outcome.account().ended, "target_gone");
    workload.finish();
}

#[test]
fn a_run_of_several_targets_ends_with_the_last_of_them() {
    needs!("open");
    let (first, mut workload) = occupied(Cgroup::new());
    let (second, mut late) = occupied(Cgroup::new());
    let mut process = waiting();
    let trace = Trace::of("open")
        .with(&[OsStr::new("--cgroup"), first.path().as_os_str()])
        .with(&[OsStr::new("--cgroup"), second.path().as_os_str()])
        .of_process(&process)
        .start();
    workload.finish();
    drop(first);
    process.finish();
    // What is left is traced still.
    trace.wait_for_rows(50);
    late.finish();
    drop(second);
    let outcome = trace.finish();
    assert!(outcome.complete().delivered >= 100);
    assert_eq!(outcome.account().ended, "target_gone");
}

#[test]
fn a_run_goes_on_while_a_child_of_its_target_lives() {
    needs!("open");
    // The parent ends at once, its child waits for the end of its stdin.
    let steps = "abandon until-eof ; open openat /dev/null 0 0 ; say done";
    let mut workload = Workload::behind_gate(&steps);
    let trace = Trace::of("open").of_process(&workload).start();
    workload.go();
    workload.wait_for_exit();
    // What the child does now is traced still.
    workload.close();
    workload.wait_for("done");
    let outcome = trace.finish();
    assert_eq!(outcome.complete().ended, "target_gone");
    assert_eq!(outcome.row()["path"], json!("/dev/null"));
    assert_ne!(outcome.row()["pid"], json!(workload.pid()));
}

#[test]
fn a_run_ends_with_its_command_and_reports_its_status() {
    needs!("open");
    for status in [0, 7] {
        let outcome = Trace::of("open").workload(&format!("exit {status}")).run();
        let account = outcome.complete();
        assert_eq!(account.ended, "command");
        assert_eq!(account.raw["command"], json!({ "exit_status": status }));
    }
}

#[test]
fn a_command_that_is_killed_by_a_signal_is_reported() {
    needs!("open");
    let outcome = Trace::of("open").workload("kill 9").run();
    assert_eq!(outcome.complete().ended, "command");
    assert_eq!(outcome.account().raw["command"], json!({ "signal": 9 }));
}

#[test]
fn an_interrupted_run_prints_all_of_its_rows() {
    needs!("open");
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut workload =
            Workload::behind_gate("open-times 300 openat /dev/null 0 0 , say done , until-eof");
        let trace = Trace::of("open").of_process(&workload).start();
        workload.go();
        workload.wait_for("done");
        trace.signal(signal);
        let outcome = trace.finish();
        assert_eq!(outcome.complete().delivered, 300);
        assert_eq!(outcome.account().ended, "stopped");
        workload.end();
    }
}

#[test]
fn a_command_goes_on_being_traced_by_its_children_until_it_ends_itself() {
    needs!("open");
    let steps = "fork open-times 10 openat /dev/null 0 0 , open-times 5 openat /dev/null 0 0";
    let outcome = Trace::of("open").workload(&steps).run();
    outcome.complete();
    assert_eq!(outcome.rows_where("path", "/dev/null").len(), 15);
}

#[test]
fn several_ways_to_select_add_up() {
    needs!("open");
    let group = Cgroup::new();
    let steps = "open openat /dev/null 0 0";
    let mut workloads = [(); 3].map(|()| Workload::behind_gate(&steps));
    group.add(workloads[0].pid());
    let trace = Trace::of("open")
        .with(&["--cgroup".as_ref(), group.path().as_os_str()])
        .of_process(&workloads[1])
        .start();
    for workload in &mut workloads {
        workload.finish();
    }
    trace.wait_for_rows(2);
    let outcome = trace.stop();
    assert_eq!(outcome.complete().produced, 2);
    for workload in &workloads[..2] {
        outcome.row_where("pid", workload.pid());
    }
}

#[test]
fn a_process_that_is_there_when_tracing_begins_and_forks_all_the_time_loses_no_child() {
    needs!("syscall_count");
    let mut workload = Workload::behind_gate("fork-until-byte 200");
    workload.go();
    workload.wait_for("forking");
    let trace = Trace::of("syscall_count")
        .of_process(&workload)
        .with(&["--per-process"])
        .start();
    // Everything is attached: processes that start from here on are counted.
    workload.go();
    assert!(workload.wait().success());
    let outcome = trace.finish();
    let closed = outcome.rows_where("syscall", "close");
    let failed = closed
        .iter()
        .filter(|row| row["errors"] == json!({ "EBADF": 1 }));
    outcome.saw(failed.count() as u64, 200);
    // Those that were born meanwhile are there whole or not at all.
    let before = outcome.rows_where("syscall", "getppid");
    assert!(before.iter().all(|row| row["count"] == 1));
}

//! Whose files are seen: processes with children and threads, namespaces, containers, the host; and all of them, however many.

use super::{Folder, os, steps, traced};
use serde_json::json;
use std::ffi::OsStr;
use tests::{Cgroup, Trace, Workload, bytes, needs};

#[test]
fn the_command_is_seen_from_its_first_call_on() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let outcome = Trace::of("open")
        .workload(&steps(&[&"open", &"openat", &file, &"0", &"0"]))
        .run();
    outcome.complete();
    let row = outcome.row_where("path", bytes(os(&file)));
    assert_eq!(row["pid"], json!(outcome.report().pid));
    // Nothing of what starts the command is in it.
    assert_eq!(
        outcome.rows_where("pid", outcome.report().pid).len(),
        outcome.rows.len()
    );
}

#[test]
fn another_process_is_not_seen() {
    needs!("open");
    let folder = Folder::new();
    let (mine, other) = (folder.file("mine"), folder.file("other"));
    let mut beside = Workload::behind_gate(&steps(&[
        &"open-times",
        &"50",
        &"openat",
        &other,
        &"0",
        &"0",
    ]));
    let mut selected =
        Workload::behind_gate(&steps(&[&"open-times", &"2", &"openat", &mine, &"0", &"0"]));
    let trace = Trace::of("open").of_process(&selected).start();
    beside.finish();
    selected.finish();
    let outcome = trace.finish();
    assert_eq!(outcome.complete().produced, 2);
    assert_eq!(outcome.rows_where("path", bytes(os(&mine))).len(), 2);
}

#[test]
fn a_process_is_traced_with_the_children_it_has_and_those_that_are_yet_to_come() {
    needs!("open");
    let folder = Folder::new();
    let (before, after) = (folder.file("before"), folder.file("after"));
    // The first child waits at the gate of its own; grandchildren come when everything runs.
    let words = steps(&[
        &"fork", &"gate", &";", &"open", &"openat", &before, &"0", &"0", &";", &"fork", &"open",
        &"openat", &after, &"0", &"0",
    ]);
    let mut workload = Workload::child_behind_gate(&words);
    let trace = Trace::of("open").of_process(&workload).start();
    workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let child = outcome.row_where("path", bytes(os(&before)));
    let grandchild = outcome.row_where("path", bytes(os(&after)));
    assert_ne!(child["pid"], json!(workload.pid()));
    assert_ne!(grandchild["pid"], child["pid"]);
}

#[test]
fn a_fork_in_the_middle_loses_and_doubles_nothing() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let mut words = Vec::new();
    for _ in 0..50 {
        words.extend(steps(&[&"open", &"openat", &file, &"0", &"0", &","]));
        words.extend(steps(&[
            &"fork",
            &"open-times",
            &"3",
            &"openat",
            &file,
            &"0",
            &"0",
            &",",
        ]));
    }
    words.pop();
    let (outcome, report, workload) = traced(
        &words
            .iter()
            .map(|word| word as &dyn AsRef<OsStr>)
            .collect::<Vec<_>>(),
    );
    outcome.saw(outcome.account().produced, 50 + 150);
    let own = outcome.rows_where("pid", workload.pid()).len();
    outcome.saw(own as u64, 50);
    for child in report.all("child") {
        outcome.saw(outcome.rows_where("pid", child).len() as u64, 3);
    }
}

#[test]
fn threads_have_their_own_numbers_and_their_process_in_common() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let (outcome, report, workload) = traced(&[
        &"threads",
        &"4",
        &"open-times",
        &"25",
        &"openat",
        &file,
        &"0",
        &"0",
    ]);
    let produced = outcome.account().produced;
    outcome.saw(produced, 100);
    let rows = outcome.rows_where("pid", workload.pid());
    assert_eq!(rows.len() as u64, produced);
    for tid in report.all("tid") {
        outcome.saw(outcome.rows_where("tid", tid).len() as u64, 25);
    }
}

#[test]
fn a_process_in_a_pid_namespace_has_both_its_numbers() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let (outcome, report, _) = traced(&[&"newpid", &"open", &"openat", &file, &"0", &"0"]);
    let row = outcome.row_where("path", bytes(os(&file)));
    assert_eq!(row["pid"], report.note("child"));
    assert_eq!(row["ns_pid"], json!(1));
}

#[test]
fn a_container_is_traced_by_the_beginning_of_its_id_with_everything_below_it() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let id: String = format!("{:08x}{:08x}", std::process::id(), 0xc0ff_ee00u32).repeat(4);
    let container = Cgroup::named(&format!("cri-containerd-{id}.scope"));
    let inner = container.below("inner");
    let beside = Cgroup::new();
    let mut workloads = [&container, &inner, &beside].map(|group| {
        let workload = Workload::behind_gate(&steps(&[&"open", &"openat", &file, &"0", &"0"]));
        group.add(workload.pid());
        workload
    });
    let trace = Trace::of("open").with(&["--container", &id[..16]]).start();
    for workload in &mut workloads {
        workload.finish();
    }
    let outcome = trace.stop();
    assert_eq!(outcome.complete().produced, 2);
    assert_eq!(
        outcome.row_where("cgroup", container.id())["pid"],
        json!(workloads[0].pid())
    );
    assert_eq!(
        outcome.row_where("cgroup", inner.id())["pid"],
        json!(workloads[1].pid())
    );
}

mod here {
    use super::*;

    #[test]
    fn a_storm_is_counted_to_the_last_call() {
        needs!("open");
        let folder = Folder::new();
        let file = folder.file("file");
        let mut workload = Workload::behind_gate(&steps(&[
            &"open-times",
            &"5000",
            &"openat",
            &file,
            &"0",
            &"0",
        ]));
        let trace = Trace::of("open")
            .with(&["--ring", "4KiB"])
            .of_process(&workload)
            .start();
        trace.while_nobody_reads(|| workload.finish());
        let outcome = trace.finish();
        let account = outcome.account();
        assert_eq!(account.produced, 5000);
        assert_eq!(account.delivered + account.lost.ring_full, 5000);
        assert!(
            account.lost.ring_full > 0 && account.delivered > 0,
            "{}",
            account.raw
        );
        assert_eq!(outcome.status, Some(3));
    }
}

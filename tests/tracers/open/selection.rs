//! Selection of processes with children and threads, namespaces, containers and the host, in any number.

use super::{Folder, os, traced};
use serde_json::json;
use tests::{Cgroup, Trace, Workload, bytes, needs};

#[test]
fn the_command_is_seen_from_its_first_call_on() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let outcome = Trace::of("open")
        .workload(&format!("open openat {} 0 0", file.display()))
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
fn a_process_is_traced_with_the_children_it_has_and_those_that_are_yet_to_come() {
    needs!("open");
    let folder = Folder::new();
    let (before, after) = (folder.file("before"), folder.file("after"));
    // The first child waits at the gate of its own; grandchildren come when everything runs.
    let words = format!(
        "fork gate ; open openat {} 0 0 ; fork open openat {} 0 0",
        before.display(),
        after.display()
    );
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
    let path = file.display();
    let both = format!("open openat {path} 0 0 , fork open-times 3 openat {path} 0 0");
    let (outcome, report, workload) = traced(&vec![both; 50].join(" , "));
    outcome.saw(outcome.account().produced, 50 + 150);
    let own = outcome.rows_where("pid", workload.pid()).len();
    outcome.saw(own as u64, 50);
    for child in report.all("child") {
        outcome.saw(outcome.rows_where("pid", child).len() as u64, 3);
    }
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
        let workload = Workload::behind_gate(&format!("open openat {} 0 0", file.display()));
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

//! A killed tracer leaves nothing in the kernel, and its targets continue.

use std::collections::BTreeSet;
use tests::{Trace, Tracing, Workload, held_by, in_kernel, needs, until};

fn kinds(held: &BTreeSet<String>) -> BTreeSet<&str> {
    held.iter()
        .map(|one| one.split(' ').next().unwrap())
        .collect()
}

/// Kills a run in the middle of a storm, and waits until nothing of it is left.
fn leaves_nothing(trace: Tracing) {
    let held = held_by(trace.pid());
    assert!(
        kinds(&held).is_superset(&BTreeSet::from(["map", "prog"])),
        "{held:?}"
    );
    let there = in_kernel();
    assert!(held.is_subset(&there), "{held:?} {there:?}");
    trace.kill();
    until("the kernel to forget it", || {
        in_kernel().is_disjoint(&held).then_some(())
    });
}

#[test]
fn a_killed_tracer_of_a_ring_leaves_no_program_no_map_and_no_link() {
    needs!("open");
    let mut workload = Workload::behind_gate("open-storm until-byte 1 /dev/null");
    let trace = Trace::of("open").counting().of_process(&workload).start();
    workload.go();
    trace.wait_for_rows(1000);
    leaves_nothing(trace);
    // It continues until its stdin is closed, and reports.
    workload.go();
    assert!(workload.wait().success());
    assert!(workload.reports()[0].number("rounds") > 0);
}

#[test]
fn a_killed_tracer_of_a_map_leaves_no_program_no_map_and_no_link() {
    needs!("syscall_count");
    let mut workload = Workload::behind_gate("storm until-byte 1");
    let trace = Trace::of("syscall_count").of_process(&workload).start();
    workload.go();
    leaves_nothing(trace);
    workload.go();
    assert!(workload.wait().success());
    assert!(workload.reports()[0].number("rounds") > 0);
}

#[test]
fn a_killed_tracer_of_stacks_leaves_no_program_no_map_and_no_link() {
    needs!("page_fault");
    let mut workload = Workload::behind_gate("touch 2000 write , until-eof");
    let trace = Trace::of("page_fault").of_process(&workload).start();
    workload.go();
    leaves_nothing(trace);
    workload.end();
}

#[test]
fn a_command_goes_on_when_its_tracer_is_killed() {
    needs!("open");
    let trace = Trace::of("open")
        .workload("say running , sleep-and-say 1000 done")
        .start();
    let messages = trace.listen();
    messages.wait_for("running");
    trace.kill();
    messages.wait_for("done");
}

#[test]
fn a_tracer_that_ends_by_itself_leaves_nothing_either() {
    needs!("open");
    let mut workload = Workload::behind_gate("getppid 1");
    let trace = Trace::of("open").of_process(&workload).start();
    let held = held_by(trace.pid());
    workload.finish();
    trace.finish().complete();
    until("the kernel to forget it", || {
        in_kernel().is_disjoint(&held).then_some(())
    });
}

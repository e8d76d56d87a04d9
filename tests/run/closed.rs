//! What a run keeps from others of its user, and what not.

use tests::{Trace, Workload, must_be_closed, needs, take_over};

#[test]
fn a_process_of_its_user_without_capabilities_cannot_attach_to_a_run() {
    needs!("open");
    let mut workload = Workload::behind_gate(&["getppid", "1"]);
    let trace = Trace::of("open").of_process(&workload).start();
    must_be_closed(trace.pid());
    workload.finish();
    trace.finish().complete();
}

#[test]
fn a_command_of_a_run_is_as_open_as_without_one() {
    needs!("open");
    let outcome = Trace::of("open").workload(&["is-dumpable"]).run();
    assert_eq!(outcome.report().number("dumpable"), 1);
    outcome.complete();
}

#[test]
fn a_process_that_does_not_close_itself_is_open_to_its_user() {
    let mut workload = Workload::child_behind_gate(&[
        "with-caps",
        "",
        tests::program("workload").to_str().unwrap(),
        "gate",
    ]);
    assert_eq!(take_over(workload.pid()), [0, 0]);
    workload.finish();
}

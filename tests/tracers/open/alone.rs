//! What other traces and programs would disturb: on the test kernels these tests run one at a time.

use super::{Folder, os};
use serde_json::json;
use tests::{Trace, Workload, bytes, in_vm, needs};

#[test]
fn the_host_is_everything_but_the_tracer_itself() {
    needs!("open");
    if !in_vm() {
        println!(
            "SKIPPED open::alone::the_host_is_everything_but_the_tracer_itself: other processes run on this machine"
        );
        return;
    }
    let folder = Folder::new();
    let (one, two) = (folder.file("one"), folder.file("two"));
    let mut workloads = [&one, &two]
        .map(|file| Workload::behind_gate(&format!("open openat {} 0 0", file.display())));
    let trace = Trace::of("open").with(&["--host"]).start();
    let tracer = trace.pid();
    for workload in &mut workloads {
        workload.finish();
    }
    let outcome = trace.stop();
    outcome.complete();
    for (file, workload) in [&one, &two].into_iter().zip(&workloads) {
        assert_eq!(
            outcome.row_where("path", bytes(os(file)))["pid"],
            json!(workload.pid())
        );
    }
    assert_eq!(outcome.rows_where("pid", tracer).len(), 0);
}

//! `locks_kernel` against threads that contend for the lock of their address space.

use crate::{
    conformance::{Entry, Expects, Identity, conforms},
    has_frame,
};
use tests::{Trace, Workload, needs, needs_names, sum};

/// The entry of the conformance suite.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    // What runs on another CPU may hold a spin lock that the process takes.
    only: &[("lock", "mutex")],
    besides: 2,
    unit: 20,
    ..Entry::of("locks_kernel", "contend 1 {}", Expects::Count(1))
};
conforms!(CONFORMANCE);

#[test]
fn waits_for_a_mutex_are_counted_with_their_durations() {
    needs!("locks_kernel");
    let mut workload = Workload::behind_gate("timed contend 20 10");
    let trace = Trace::of("locks_kernel").of_process(&workload);
    let trace = trace.with(&["--min-wait", "15ms"]).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let rows: Vec<_> = outcome.rows.iter().collect();
    assert_eq!(sum(&rows, "waits"), 10, "{rows:?}");
    for row in &rows {
        assert!(row["lock"].to_string().contains("mutex"), "{row}");
    }
    let (total, took) = (sum(&rows, "total_ns"), report.number("ns"));
    assert!(
        (200_000_000..took).contains(&total),
        "{total} of {took}: {rows:?}"
    );
}

/// Names of functions, which the test kernels have not.
mod here {
    use super::*;

    #[test]
    fn threads_that_map_memory_at_once_wait_for_the_lock_of_their_address_space() {
        needs!("locks_kernel");
        needs_names!();
        let mut workload = Workload::behind_gate("comm a_mapper , threads 4 map-and-unmap 20000");
        let trace = Trace::of("locks_kernel").of_process(&workload).start();
        let began = std::time::Instant::now();
        workload.finish();
        let most = 5 * began.elapsed().as_nanos() as u64;
        let outcome = trace.finish();
        outcome.complete();
        let rows: Vec<_> = outcome
            .rows
            .iter()
            .filter(|row| row["lock"].to_string().contains("write"))
            .collect();
        let (waits, total) = (sum(&rows, "waits"), sum(&rows, "total_ns"));
        assert!(waits >= 10, "{:?}", outcome.rows);
        assert!((1..most).contains(&total), "{total} of {most}");
        let of_mmap = rows
            .iter()
            .filter(|row| has_frame(row, "kernel_stack", "map"));
        let of_mmap: Vec<_> = of_mmap.copied().collect();
        assert!(sum(&of_mmap, "waits") * 2 >= waits, "{rows:?}");
    }
}

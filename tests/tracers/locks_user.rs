//! `locks_user` against waits in futex(2) whose number is known.

use crate::{
    conformance::{Entry, Expects, Identity, conforms},
    has_frame,
};
use tests::{Trace, Workload, needs, needs_names, sum};

/// The entry of the conformance suite.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    // A thread that waits for the end of another one waits in futex(2).
    besides: 5,
    unit: 20,
    ..Entry::of("locks_user", "futex-waits 1 {}", Expects::Count(1))
};
conforms!(CONFORMANCE);

/// Names of functions, which the test kernels have not.
mod here {
    use super::*;

    #[test]
    fn a_wait_that_times_out_is_counted_with_its_duration_and_stack() {
        needs!("locks_user");
        needs_names!();
        let mut workload = Workload::behind_gate("comm a_waiter , futex-waits 20 10");
        let trace = Trace::of("locks_user").of_process(&workload).start();
        workload.finish();
        let outcome = trace.finish();
        outcome.complete();
        let rows = outcome.rows_where("comm", "a_waiter");
        assert_eq!(
            (sum(&rows, "waits"), sum(&rows, "timeouts")),
            (10, 10),
            "{rows:?}"
        );
        let total = sum(&rows, "total_ns");
        assert!((200_000_000..300_000_000).contains(&total), "{total}");
        for row in rows {
            assert!(has_frame(row, "user_stack", "futex_waits"), "{row}");
        }
    }
}

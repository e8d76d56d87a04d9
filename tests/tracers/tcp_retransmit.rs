//! `tcp_retransmit` against connections without an answer, and the kernel's own count of retransmitted segments.

use crate::{
    conformance::{Entry, Expects, Identity, conforms},
    during,
    tcp_connect::silent_port,
};
use serde_json::json;
use std::fs;
use tests::{Cgroup, Net, Trace, Wanted, Workload, cgroup_of, check, needs};

/// The entry of the conformance suite. All connections wait at the same time, and each ends after its first repetition.
const CONFORMANCE: Entry = Entry {
    identity: Identity {
        process: Some("pid"),
        thread: None,
        in_namespace: None,
        cgroup: Some("cgroup"),
    },
    storm: 200,
    ..Entry::of("tcp_retransmit", "unanswered {}", Expects::Events(1))
};
conforms!(CONFORMANCE);

#[test]
fn a_syn_without_an_answer_is_one_row_for_each_retransmission() {
    needs!("tcp_retransmit");
    let mut workload = Workload::behind_gate_after("comm a_caller", "unanswered 1");
    let trace = Trace::of("tcp_retransmit").of_process(&workload).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    check(
        outcome.row(),
        &[
            ("time", during(&report)),
            ("cgroup", cgroup_of(std::process::id()).into()),
            ("pid", workload.pid().into()),
            ("comm", "a_caller".into()),
            ("saddr", "127.0.0.1".into()),
            ("daddr", "127.0.0.1".into()),
            ("sport", Wanted::Within(1, 65535)),
            ("dport", report.number("port").into()),
            ("state", "SYN_SENT".into()),
            ("sent", true.into()),
        ],
    );
}

#[test]
fn connections_that_lose_nothing_have_no_row() {
    needs!("tcp_retransmit");
    let mut workload = Workload::behind_gate("connections 20 1000");
    let trace = Trace::of("tcp_retransmit").of_process(&workload).start();
    workload.finish();
    assert_eq!(trace.finish().complete().produced, 0);
}

/// Segments that a network namespace has sent again, from its /proc/…/net/snmp.
fn sent_again(counters: &str) -> u64 {
    let text = fs::read_to_string(counters).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let names = lines.next().unwrap().split_whitespace();
    let values = lines.next().unwrap().split_whitespace();
    let value = names.zip(values).find(|(name, _)| *name == "RetransSegs");
    value.unwrap().1.parse().unwrap()
}

#[test]
fn a_connection_from_before_the_trace_is_selected_by_its_sockets_cgroup() {
    needs!("tcp_retransmit");
    let (_listener, _clients, port) = silent_port();
    let group = Cgroup::new();
    let steps = format!("say begins , connect 127.0.0.1:{port} 0 0");
    let mut workload = Workload::behind_gate(&steps);
    group.add(workload.pid());
    workload.go();
    workload.wait_for("begins");
    let trace = Trace::of("tcp_retransmit").with(&["--max-events", "1"]);
    let trace = trace.with(&["--cgroup".as_ref(), group.path().as_os_str()]);
    let outcome = trace.start().finish();
    workload.kill();
    let row = outcome.row();
    // It connected before the trace began.
    assert_eq!((&row["pid"], &row["comm"]), (&json!(0), &json!("")));
    assert_eq!(row["cgroup"], json!(group.id()));
    assert_eq!(
        (&row["dport"], &row["state"]),
        (&json!(port), &json!("SYN_SENT"))
    );
}

mod here {
    use super::*;

    #[test]
    fn rows_are_as_many_as_the_kernel_counts_in_their_network() {
        needs!("tcp_retransmit");
        let net = Net::new();
        let (rows, counted) = std::thread::scope(|scope| {
            let traced = scope.spawn(|| {
                net.enter();
                let counters = "/proc/thread-self/net/snmp";
                let mut workload = Workload::behind_gate("unanswered 37");
                let trace = Trace::of("tcp_retransmit").of_process(&workload).start();
                let before = sent_again(counters);
                workload.finish();
                let outcome = trace.finish();
                outcome.complete();
                (outcome.rows.len() as u64, sent_again(counters) - before)
            });
            traced.join().unwrap()
        });
        assert_eq!((rows, counted), (37, 37));
    }

    #[test]
    fn an_option_shows_only_one_port() {
        needs!("tcp_retransmit");
        let outcome = Trace::of("tcp_retransmit")
            .with(&["--port", "1"])
            .workload("unanswered 2")
            .run();
        assert_eq!(outcome.complete().produced, 0);
    }
}

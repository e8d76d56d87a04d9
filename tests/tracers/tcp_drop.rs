//! `tcp_drop` against packets to ports without a listener.

use crate::{
    Columns, Task,
    conformance::{Entry, Expects, conforms},
    during,
};
use serde_json::Value;
use std::fs;
use tests::{Net, Outcome, Trace, Wanted, Workload, check, needs};

/// The entry of the conformance suite. A SYN to a closed port is dropped in the context of the process that sends it; the answer is not.
const CONFORMANCE: Entry = Entry {
    storm: 500,
    also: &[("reasons", 1)],
    ..Entry::of(
        "tcp_drop",
        "connect-times {} 127.0.0.1:9",
        Expects::Events(1),
    )
};
conforms!(CONFORMANCE);

/// Returns the columns of the drop of a SYN to a port without a listener.
fn columns(task: &Task, report: &tests::Report, address: &str, port: u64) -> Columns {
    let mut wanted = task.columns();
    wanted.extend([
        ("time", during(report)),
        ("reason", "SKB_DROP_REASON_NO_SOCKET".into()),
        // No socket was found for the packet.
        ("state", "".into()),
        ("saddr", address.into()),
        ("daddr", address.into()),
        ("sport", Wanted::Within(1, 65535)),
        ("dport", port.into()),
    ]);
    wanted
}

/// Names of the frames of a row's stack.
fn frames(row: &Value) -> Vec<&str> {
    let stack = row["kernel_stack"].as_array().unwrap();
    stack
        .iter()
        .filter_map(|frame| frame["name"].as_str())
        .collect()
}

fn dropped(address: &str, to: &str, receives: &str) {
    let mut workload = Workload::behind_gate_after(
        "ids 4321 1234 , comm a_sender",
        &format!("connect-times 1 {to}"),
    );
    let task = Task {
        uid: 4321,
        gid: 1234,
        comm: "a_sender",
        ..Task::workload(&workload)
    };
    let trace = Trace::of("tcp_drop").of_process(&workload).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let row = outcome.row();
    let mut wanted = columns(&task, &report, address, 9);
    wanted.extend([
        ("location", row["location"].clone().into()),
        ("kernel_stack", row["kernel_stack"].clone().into()),
    ]);
    check(row, &wanted);
    // Where names of the kernel are hidden, both have none.
    let location = row["location"].as_str().unwrap();
    let function = location.split('+').next().unwrap();
    assert!([receives, "[kernel]"].contains(&function), "{row}");
    assert!(frames(row).contains(&function), "{row}");
    // The same drop, counted.
    let [counted] = outcome.of_dataset("reasons")[..] else {
        panic!("{:?}", outcome.further);
    };
    let mut wanted: Columns = vec![("dataset", "reasons".into()), ("drops", 1.into())];
    for column in ["reason", "state", "pid", "comm", "cgroup"] {
        wanted.push((column, row[column].clone().into()));
    }
    check(counted, &wanted);
}

#[test]
fn a_syn_to_a_closed_ipv4_port_is_one_row_with_no_socket() {
    needs!("tcp_drop");
    dropped("127.0.0.1", "127.0.0.1:9", "tcp_v4_rcv");
}

#[test]
fn a_syn_to_a_closed_ipv6_port_is_one_row_with_no_socket() {
    needs!("tcp_drop");
    dropped("::1", "[::1]:9", "tcp_v6_rcv");
}

#[test]
fn connections_without_a_drop_have_no_row() {
    needs!("tcp_drop");
    let mut workload = Workload::behind_gate("connections 20 1000");
    let trace = Trace::of("tcp_drop").of_process(&workload).start();
    workload.finish();
    assert_eq!(trace.finish().complete().produced, 0);
}

/// Number of resets that a network namespace has sent, from its /proc/…/net/snmp.
fn resets_sent(counters: &str) -> u64 {
    let text = fs::read_to_string(counters).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let names = lines.next().unwrap().split_whitespace();
    let values = lines.next().unwrap().split_whitespace();
    let value = names.zip(values).find(|(name, _)| *name == "OutRsts");
    value.unwrap().1.parse().unwrap()
}

/// Drops that `reasons` counts.
fn counted(outcome: &Outcome) -> u64 {
    let reasons = outcome.of_dataset("reasons");
    let drops = reasons.iter().map(|row| row["drops"].as_u64().unwrap());
    drops.sum()
}

mod here {
    use super::*;

    #[test]
    fn drops_are_as_many_as_the_resets_that_their_network_sent() {
        needs!("tcp_drop");
        let net = Net::new();
        let (rows, reasons, resets) = std::thread::scope(|scope| {
            let traced = scope.spawn(|| {
                net.enter();
                let counters = "/proc/thread-self/net/snmp";
                let mut workload = Workload::behind_gate("connect-times 37 127.0.0.1:9");
                let trace = Trace::of("tcp_drop").of_process(&workload).start();
                let before = resets_sent(counters);
                workload.finish();
                let outcome = trace.finish();
                outcome.complete();
                let resets = resets_sent(counters) - before;
                (outcome.rows.len() as u64, counted(&outcome), resets)
            });
            traced.join().unwrap()
        });
        assert_eq!((rows, reasons, resets), (37, 37, 37));
    }

    #[test]
    fn reasons_are_counted_to_the_last_drop_whatever_becomes_of_rows() {
        needs!("tcp_drop");
        const DROPS: u64 = 3000;
        let mut workload = Workload::behind_gate(&format!("connect-times {DROPS} 127.0.0.1:9"));
        let trace = Trace::of("tcp_drop").with(&["--ring", "4KiB"]);
        let trace = trace.of_process(&workload).start();
        trace.while_stopped(|| workload.finish());
        let outcome = trace.finish();
        let account = outcome.account();
        let drops = counted(&outcome);
        // A busy kernel handles a few packets in a thread of its own, which is not selected: these are in neither dataset.
        assert!(
            (DROPS * 9 / 10..=DROPS).contains(&drops),
            "{:?}",
            outcome.further
        );
        let pids = outcome.further.iter().map(|row| &row["pid"]);
        assert!(pids.into_iter().all(|pid| *pid == workload.pid()));
        // Each drop is produced once for each dataset, and only rows were lost.
        assert_eq!(account.produced, 2 * drops, "{}", account.raw);
        let lost = account.lost.ring_full + account.lost.over_quota;
        assert!(lost > 0, "{}", account.raw);
        assert_eq!(account.lost.total(), lost, "{}", account.raw);
        let rows = outcome.rows.len() as u64;
        assert_eq!((account.delivered, rows + lost), (drops + rows, drops));
    }

    #[test]
    fn one_dataset_may_be_selected() {
        needs!("tcp_drop");
        let trace = |dataset| {
            let trace = Trace::of("tcp_drop").with(&["--dataset", dataset]);
            trace.workload("connect-times 3 127.0.0.1:9").run()
        };
        let reasons = trace("reasons");
        assert_eq!(reasons.rows.len(), 0);
        assert_eq!(reasons.of_dataset("reasons")[0]["drops"], 3);
        let first = trace("tcp_drop");
        assert_eq!((first.rows.len(), first.further.len()), (3, 0));
        let refused = trace("reason");
        assert_eq!(refused.status, Some(2), "{}", refused.stderr);
    }

    #[test]
    fn an_option_shows_only_one_port() {
        needs!("tcp_drop");
        let workload = "connect-times 2 127.0.0.1:9 , connect-times 3 127.0.0.1:11";
        let outcome = Trace::of("tcp_drop")
            .with(&["--port", "11"])
            .workload(workload)
            .run();
        // A row and one of a reason's count each.
        assert_eq!(outcome.complete().produced, 6);
        assert!(outcome.rows.iter().all(|row| row["dport"] == 11));
    }
}

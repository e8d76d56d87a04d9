//! Subflows of MPTCP connections.

use super::*;
use std::process::Command;
use tests::{mptcp_here, mptcp_socket, program};

/// Which end a row is of, and its bytes.
fn check_subflow(row: &Value, task: u32, connected: bool, rx: u64, tx: u64) {
    assert_eq!(row["pid"], json!(task), "{row}");
    assert_eq!(
        (&row["connected"], &row["mptcp"]),
        (&json!(connected), &json!(true)),
        "{row}"
    );
    assert_eq!(
        (&row["rx_bytes"], &row["tx_bytes"]),
        (&json!(rx), &json!(tx)),
        "{row}"
    );
    assert_ne!(row["mptcp_token"], json!(0), "{row}");
    assert_ne!(row["duration_ns"], json!(0), "{row}");
}

#[test]
fn both_ends_of_an_mptcp_connection_are_a_row_each_of_their_processes() {
    needs!("tcp_life");
    if !mptcp_here(
        "tcp_life::mptcp::both_ends_of_an_mptcp_connection_are_a_row_each_of_their_processes",
    ) {
        return;
    }
    let mut serving = staying("", "mptcp serve 127.0.0.1:0 700 5000 1");
    serving.go();
    let port = serving.message("listening").as_u64().unwrap();
    let (mut connecting, task) = workload(&format!("mptcp connect 127.0.0.1:{port} 5000 700"));
    let trace = Trace::of("tcp_life")
        .of_process(&serving)
        .of_process(&connecting)
        .start();
    connecting.go();
    let (outcome, report) = rows(trace, 2, &mut [&mut serving, &mut connecting]);
    outcome.complete();
    assert_eq!(outcome.rows.len(), 2, "{:?}", outcome.rows);
    let (server, client) = (
        outcome.row_where("pid", serving.pid()),
        outcome.row_where("pid", connecting.pid()),
    );
    check_subflow(server, serving.pid(), false, 5000, 700);
    check_subflow(client, connecting.pid(), true, 700, 5000);
    assert_ne!(server["mptcp_token"], client["mptcp_token"]);
    assert_eq!(
        (&server["sport"], &server["dport"]),
        (&client["dport"], &client["sport"])
    );
    let ends = Ends {
        address: "127.0.0.1",
        sport: report.number("sport"),
        dport: port,
        rx: 700,
        tx: 5000,
        connected: true,
        mptcp: true,
    };
    check(client, &columns(&task, &report, &ends));
}

#[test]
fn an_accepted_mptcp_connection_that_its_peer_breaks_off_is_a_row_of_its_server() {
    needs!("tcp_life");
    if !mptcp_here(
        "tcp_life::mptcp::an_accepted_mptcp_connection_that_its_peer_breaks_off_is_a_row_of_its_server",
    ) {
        return;
    }
    let mut serving = staying("", "mptcp serve-until-broken-off 127.0.0.1:0 55");
    let trace = Trace::of("tcp_life").of_process(&serving).start();
    serving.go();
    let port = serving.message("listening").as_u64().unwrap() as u16;
    let socket = mptcp_socket().unwrap();
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    rustix::net::connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    // Closed with unread bytes.
    until("its bytes", || {
        (stream.peek(&mut [0; 100]).unwrap() == 55).then_some(())
    });
    drop(stream);
    let (outcome, _) = rows(trace, 1, &mut [&mut serving]);
    outcome.complete();
    check_subflow(outcome.row(), serving.pid(), false, 0, 55);
}

#[test]
fn an_mptcp_socket_with_a_tcp_peer_is_one_row() {
    needs!("tcp_life");
    if !mptcp_here("tcp_life::mptcp::an_mptcp_socket_with_a_tcp_peer_is_one_row") {
        return;
    }
    let (server, port) = server("127.0.0.1:0", 300, 1);
    let to = format!("127.0.0.1:{port}");
    let mut connecting = staying("", &format!("mptcp connect {to} 200 300"));
    let trace = Trace::of("tcp_life").of_process(&connecting).start();
    connecting.go();
    assert_eq!(join(server), 200);
    let (outcome, _) = rows(trace, 1, &mut [&mut connecting]);
    outcome.complete();
    let row = outcome.row();
    assert_eq!(
        (&row["pid"], &row["mptcp"], &row["connected"]),
        (&json!(connecting.pid()), &json!(true), &json!(true))
    );
    assert_eq!(
        (&row["rx_bytes"], &row["tx_bytes"]),
        (&json!(300), &json!(200))
    );
}

#[test]
fn a_tcp_connection_that_an_mptcp_listener_accepts_is_one_row_of_plain_tcp() {
    needs!("tcp_life");
    if !mptcp_here(
        "tcp_life::mptcp::a_tcp_connection_that_an_mptcp_listener_accepts_is_one_row_of_plain_tcp",
    ) {
        return;
    }
    let mut serving = staying("", "mptcp serve 127.0.0.1:0 10 20 1");
    let trace = Trace::of("tcp_life").of_process(&serving).start();
    serving.go();
    let port = serving.message("listening").as_u64().unwrap();
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    assert_eq!(exchange(stream, 20), 10);
    let (outcome, _) = rows(trace, 1, &mut [&mut serving]);
    outcome.complete();
    let row = outcome.row();
    assert_eq!(
        (&row["pid"], &row["mptcp"], &row["mptcp_token"]),
        (&json!(serving.pid()), &json!(false), &json!(0))
    );
    assert_eq!(
        (&row["rx_bytes"], &row["tx_bytes"]),
        (&json!(20), &json!(10))
    );
}

/// A workload that makes a connection with one further subflow, in a network namespace whose path manager makes them.
pub(crate) fn with_a_further_subflow(test: &str) -> Option<Workload> {
    let set_up = "ip link set lo up && ip mptcp limits set subflow 2 add_addr_accepted 2 && ip mptcp endpoint add 127.0.0.2 dev lo subflow";
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", script]);
        command
    };
    if !unshared(set_up)
        .output()
        .is_ok_and(|tried| tried.status.success())
    {
        println!("SKIPPED {test}: there is no unshare(1) or ip-mptcp(8) here");
        return None;
    }
    let workload = program("workload");
    let script = format!(
        "{set_up} && exec {} gate , mptcp-subflows 1 100000 3000",
        workload.display()
    );
    Some(Workload::of_command_behind_gate(&mut unshared(&script)))
}

#[test]
fn each_subflow_of_an_mptcp_connection_is_a_row_of_its_process() {
    needs!("tcp_life");
    let name = "tcp_life::mptcp::each_subflow_of_an_mptcp_connection_is_a_row_of_its_process";
    if !mptcp_here(name) {
        return;
    }
    let Some(mut workload) = with_a_further_subflow(name) else {
        return;
    };
    let trace = Trace::of("tcp_life").of_process(&workload).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    assert_eq!(outcome.rows.len(), 4, "{:?}", outcome.rows);
    let child = report.note("child");
    for (pid, rx, tx, connected) in [
        (json!(report.pid), 3000, 100_000, true),
        (child, 100_000, 3000, false),
    ] {
        let rows = outcome.rows_where("pid", pid);
        assert_eq!(rows.len(), 2, "{:?}", outcome.rows);
        assert_eq!(rows[0]["mptcp_token"], rows[1]["mptcp_token"]);
        assert_ne!(rows[0]["mptcp_token"], json!(0));
        // A connection may send bytes once more over another subflow, and then both ends count them twice.
        assert!(sum(&rows, "rx_bytes") > rx);
        assert!(sum(&rows, "tx_bytes") > tx);
        for row in rows {
            assert_eq!(
                (&row["mptcp"], &row["connected"]),
                (&json!(true), &json!(connected))
            );
            assert_ne!(row["duration_ns"], json!(0));
        }
    }
}

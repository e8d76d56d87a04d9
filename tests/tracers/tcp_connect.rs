//! `tcp_connect` against connections with known addresses and results.

use crate::{
    Columns, Task, at_most,
    conformance::{Entry, Expects, conforms},
    during, result,
};
use rustix::net::{AddressFamily, SocketType};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
};
use tests::{Outcome, Report, Steps, Trace, Workload, check, join, needs};

/// The entry of the conformance suite. A refused attempt is a row like any other.
const CONFORMANCE: Entry = Entry::of(
    "tcp_connect",
    "connect-times {} 127.0.0.1:9",
    Expects::Events(1),
);
conforms!(CONFORMANCE);

/// Returns a listener, for which the kernel accepts connections.
fn listener(address: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Returns a port without a listener. It is bound while the socket lives, so that no other process listens there.
fn closed_port(address: &str) -> (OwnedFd, u16) {
    let address: SocketAddr = address.parse().unwrap();
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    let bound: SocketAddr = rustix::net::getsockname(&socket)
        .unwrap()
        .try_into()
        .unwrap();
    (socket, bound.port())
}

/// Returns a port that does not answer: its queue of accepted connections is full.
pub(crate) fn silent_port() -> (OwnedFd, Vec<OwnedFd>, u16) {
    let (socket, port) = closed_port("127.0.0.1:0");
    rustix::net::listen(&socket, 0).unwrap();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connect = || {
        let flags = rustix::net::SocketFlags::NONBLOCK;
        let client =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        let _ = rustix::net::connect(&client, &to);
        client
    };
    // A queue of length 0 takes one.
    let clients = (0..3).map(|_| connect()).collect();
    (socket, clients, port)
}

fn columns(task: &Task, report: &Report, daddr: &str, dport: u16, sport: u16) -> Columns {
    let mut wanted = columns_of_any(task, report, daddr, dport, sport);
    wanted.push(("mptcp", false.into()));
    wanted
}

/// The same without whether it is an MPTCP socket's.
fn columns_of_any(task: &Task, report: &Report, daddr: &str, dport: u16, sport: u16) -> Columns {
    let mut wanted = task.columns();
    wanted.extend([
        ("time", during(report)),
        ("latency_ns", at_most(report)),
        ("saddr", daddr.into()),
        ("daddr", daddr.into()),
        ("sport", sport.into()),
        ("dport", dport.into()),
    ]);
    wanted
}

/// A workload as a user of its own and of a name of its own, traced from its gate to its end.
fn traced(steps: &(impl Steps + ?Sized)) -> (Outcome, Report, Task) {
    let mut workload = Workload::behind_gate_after("ids 4321 1234 , comm a_client", steps);
    let trace = Trace::of("tcp_connect").of_process(&workload).start();
    let report = workload.finish();
    let task = Task {
        uid: 4321,
        gid: 1234,
        comm: "a_client",
        ..Task::workload(&workload)
    };
    (trace.finish(), report, task)
}

fn established(address: &str, shown: &str) {
    let (_listener, port) = listener(&format!("{address}:0"));
    // No bytes are sent: the workload waits for the end of the stream.
    let target = format!("{address}:{port}");
    let server = std::thread::spawn(move || drop(_listener.accept().unwrap()));
    let (outcome, report, task) = traced(&format!("connect {target} 0 0"));
    join(server);
    outcome.complete();
    let mut wanted = columns(&task, &report, shown, port, report.number("sport") as u16);
    wanted.extend(result(0, None));
    wanted.push(("established", true.into()));
    check(outcome.row(), &wanted);
}

#[test]
fn an_established_connection_is_one_row_with_its_ends() {
    needs!("tcp_connect");
    established("127.0.0.1", "127.0.0.1");
}

#[test]
fn an_established_ipv6_connection_is_one_row_with_its_ends() {
    needs!("tcp_connect");
    established("[::1]", "::1");
}

#[test]
fn an_ipv4_connection_of_an_ipv6_socket_is_shown_as_ipv4() {
    needs!("tcp_connect");
    let (listener, port) = listener("127.0.0.1:0");
    let target = format!("[::ffff:127.0.0.1]:{port}");
    let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let (outcome, report, task) = traced(&format!("connect {target} 0 0"));
    join(server);
    outcome.complete();
    let mut wanted = columns(
        &task,
        &report,
        "127.0.0.1",
        port,
        report.number("sport") as u16,
    );
    wanted.extend(result(0, None));
    wanted.push(("established", true.into()));
    check(outcome.row(), &wanted);
}

#[test]
fn a_socket_that_connects_to_itself_is_one_established_connection() {
    needs!("tcp_connect");
    let (outcome, report, task) = traced("connect-to-itself");
    outcome.complete();
    let port = report.number("sport") as u16;
    let mut wanted = columns(&task, &report, "127.0.0.1", port, port);
    wanted.extend(result(0, None));
    wanted.push(("established", true.into()));
    check(outcome.row(), &wanted);
}

fn refused(address: &str, shown: &str) {
    let (_bound, port) = closed_port(&format!("{address}:0"));
    let (outcome, report, task) = traced(&format!("connect {address}:{port} 0 0"));
    outcome.complete();
    assert_eq!(report.note("result"), json!(-libc::ECONNREFUSED));
    let row = outcome.row();
    let sport = row["sport"].as_u64().unwrap() as u16;
    assert_ne!(sport, 0);
    let mut wanted = columns(&task, &report, shown, port, sport);
    wanted.extend(result(-111, Some("ECONNREFUSED")));
    wanted.push(("established", false.into()));
    check(row, &wanted);
}

#[test]
fn a_refused_connection_is_one_row_with_established_no() {
    needs!("tcp_connect");
    refused("127.0.0.1", "127.0.0.1");
}

#[test]
fn a_refused_ipv6_connection_is_one_row_with_established_no() {
    needs!("tcp_connect");
    refused("[::1]", "::1");
}

#[test]
fn an_attempt_that_its_owner_gives_up_is_one_row_with_ecanceled() {
    needs!("tcp_connect");
    let (_socket, _clients, port) = silent_port();
    let (outcome, report, task) = traced(&format!("give-up 127.0.0.1:{port}"));
    outcome.complete();
    let mut wanted = columns(
        &task,
        &report,
        "127.0.0.1",
        port,
        report.number("sport") as u16,
    );
    wanted.extend(result(-125, Some("ECANCELED")));
    wanted.push(("established", false.into()));
    check(outcome.row(), &wanted);
}

#[test]
fn an_attempt_without_an_answer_is_one_row_with_etimedout_and_its_whole_wait() {
    needs!("tcp_connect");
    let (_socket, _clients, port) = silent_port();
    let (outcome, report, task) = traced(&format!("time-out 127.0.0.1:{port}"));
    outcome.complete();
    assert_eq!(report.note("result"), json!(-libc::ETIMEDOUT));
    let row = outcome.row();
    let mut wanted = columns(
        &task,
        &report,
        "127.0.0.1",
        port,
        row["sport"].as_u64().unwrap() as u16,
    );
    wanted.extend(result(-110, Some("ETIMEDOUT")));
    wanted.push(("established", false.into()));
    check(row, &wanted);
    // Two packets, the second after 1 s, and 2 s more for its answer: tcp(7), TCP_SYNCNT.
    let latency = row["latency_ns"].as_u64().unwrap();
    let (began, ended) = report.boottime_ns;
    assert!(
        (2_500_000_000..=ended - began).contains(&latency),
        "{latency}"
    );
}

#[test]
fn an_attempt_without_a_route_is_not_seen() {
    needs!("tcp_connect");
    // A new network namespace has no route at all: its loopback device is down.
    let mut workload = Workload::behind_gate_after("newnet", "connect 127.0.0.1:9 0 0");
    let trace = Trace::of("tcp_connect").of_process(&workload).start();
    assert_eq!(workload.finish().note("result"), json!(-libc::ENETUNREACH));
    assert_eq!(trace.finish().complete().produced, 0);
}

/// An MPTCP socket connects to an address.
fn mptcp(to: &str) -> (Outcome, Report, Task) {
    traced(&format!("mptcp connect {to} 0 0"))
}

#[test]
fn an_mptcp_socket_that_connects_is_one_row_with_its_ends() {
    needs!("tcp_connect");
    if !tests::mptcp_here("tcp_connect::an_mptcp_socket_that_connects_is_one_row_with_its_ends") {
        return;
    }
    let socket = tests::mptcp_socket().unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    rustix::net::listen(&socket, 1).unwrap();
    let listener = TcpListener::from(socket);
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let (outcome, report, task) = mptcp(&format!("127.0.0.1:{port}"));
    join(server);
    outcome.complete();
    let sport = report.number("sport") as u16;
    let mut wanted = columns_of_any(&task, &report, "127.0.0.1", port, sport);
    wanted.extend(result(0, None));
    wanted.extend([("established", true.into()), ("mptcp", true.into())]);
    check(outcome.row(), &wanted);
}

#[test]
fn a_refused_mptcp_connection_is_one_row_with_econnrefused() {
    needs!("tcp_connect");
    if !tests::mptcp_here("tcp_connect::a_refused_mptcp_connection_is_one_row_with_econnrefused") {
        return;
    }
    let (_bound, port) = closed_port("127.0.0.1:0");
    let (outcome, report, task) = mptcp(&format!("127.0.0.1:{port}"));
    outcome.complete();
    assert_eq!(report.note("result"), json!(-libc::ECONNREFUSED));
    let row = outcome.row();
    let sport = row["sport"].as_u64().unwrap() as u16;
    let mut wanted = columns_of_any(&task, &report, "127.0.0.1", port, sport);
    wanted.extend(result(-111, Some("ECONNREFUSED")));
    wanted.extend([("established", false.into()), ("mptcp", true.into())]);
    check(row, &wanted);
}

#[test]
fn a_further_subflow_of_an_mptcp_connection_is_no_row() {
    needs!("tcp_connect");
    let name = "tcp_connect::a_further_subflow_of_an_mptcp_connection_is_no_row";
    if !tests::mptcp_here(name) {
        return;
    }
    let Some(mut workload) = crate::tcp_life::mptcp::with_a_further_subflow(name) else {
        return;
    };
    let trace = Trace::of("tcp_connect").of_process(&workload).start();
    workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    assert_eq!(outcome.row()["pid"], json!(workload.pid()));
    assert_eq!(outcome.row()["saddr"], json!("127.0.0.1"));
}

mod here {
    use super::*;

    #[test]
    fn options_show_only_one_port_and_only_failures() {
        needs!("tcp_connect");
        let (_open, open) = listener("127.0.0.1:0");
        let (_closed, closed) = closed_port("127.0.0.1:0");
        let (open_at, closed_at) = (format!("127.0.0.1:{open}"), format!("127.0.0.1:{closed}"));
        let steps = format!("connect-times 3 {open_at} , connect-times 2 {closed_at}");
        let shown = |options: &[&str]| {
            let outcome = Trace::of("tcp_connect")
                .with(options)
                .workload(&steps)
                .run();
            let ports: Vec<&Value> = outcome.rows.iter().map(|row| &row["dport"]).collect();
            let of = |port: u16| ports.iter().filter(|shown| ***shown == json!(port)).count();
            assert_eq!(outcome.complete().produced as usize, of(open) + of(closed));
            (of(open), of(closed))
        };
        assert_eq!(shown(&[]), (3, 2));
        assert_eq!(shown(&["--port", &open.to_string()]), (3, 0));
        assert_eq!(shown(&["--port", &closed.to_string()]), (0, 2));
        assert_eq!(shown(&["--failed-only"]), (0, 2));
        assert_eq!(
            shown(&["--failed-only", "--port", &open.to_string()]),
            (0, 0)
        );
    }
}

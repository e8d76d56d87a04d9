//! `tcp_life` against connections with known bytes.

use crate::{
    Columns, Task,
    conformance::{Entry, Expects, conforms},
    during,
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread::JoinHandle,
};
use tests::{
    Outcome, Report, Steps, Trace, Tracing, Wanted, Workload, check, join, needs, sum, until,
};

/// The entry of the conformance suite. The process has both ends of each connection. The last packet may arrive late.
const CONFORMANCE: Entry = Entry {
    late: true,
    storm: 200,
    ..Entry::of("tcp_life", "connections {} 10", Expects::Events(2))
};
conforms!(CONFORMANCE);

/// Whole reads and whole writes of one end of a connection; what it sent and what it got.
fn exchange(mut stream: TcpStream, send: usize) -> usize {
    stream.write_all(&vec![5; send]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap()
}

/// A server that is not traced: it reads every connection to its end, and sends.
fn server(address: &str, send: usize, connections: usize) -> (JoinHandle<usize>, u16) {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let streams = (0..connections).map(|_| listener.accept().unwrap().0);
        streams.map(|stream| exchange(stream, send)).sum()
    };
    (std::thread::spawn(serve), port)
}

/// A workload that stays when its steps are done: the last packet of a connection may come late, and without a process to trace
/// the trace would be over.
fn staying(before: &(impl Steps + ?Sized), steps: &(impl Steps + ?Sized)) -> Workload {
    let mut words = steps.words();
    words.extend([",", "until-eof"].map(Into::into));
    Workload::behind_gate_after(before, &words)
}

/// Waits for a number of rows, and for the end of the workload.
fn rows(trace: Tracing, count: u64, workloads: &mut [&mut Workload]) -> (Outcome, Report) {
    trace.wait_for_rows(count);
    let report = workloads
        .iter_mut()
        .map(|workload| workload.end())
        .last()
        .unwrap();
    (trace.finish(), report)
}

/// A workload as a user of its own and of a name of its own.
fn workload(steps: &(impl Steps + ?Sized)) -> (Workload, Task) {
    let workload = staying("ids 4321 1234 , comm a_peer", steps);
    let task = Task {
        uid: 4321,
        gid: 1234,
        comm: "a_peer",
        ..Task::workload(&workload)
    };
    (workload, task)
}

struct Ends<'a> {
    address: &'a str,
    sport: u64,
    dport: u64,
    rx: u64,
    tx: u64,
    connected: bool,
    mptcp: bool,
}

fn columns(task: &Task, report: &Report, ends: &Ends<'_>) -> Columns {
    let (began, ended) = report.boottime_ns;
    let token = match ends.mptcp {
        true => Wanted::Within(1, u32::MAX.into()),
        false => 0.into(),
    };
    let mut wanted = task.columns();
    wanted.extend([
        ("time", during(report)),
        ("duration_ns", Wanted::Within(1, ended - began)),
        ("saddr", ends.address.into()),
        ("daddr", ends.address.into()),
        ("sport", ends.sport.into()),
        ("dport", ends.dport.into()),
        ("rx_bytes", ends.rx.into()),
        ("tx_bytes", ends.tx.into()),
        // On loopback a busy machine may repeat a segment.
        ("retransmits", Wanted::Within(0, 100)),
        ("connected", ends.connected.into()),
        ("mptcp", ends.mptcp.into()),
        ("mptcp_token", token),
    ]);
    wanted
}

fn client(address: &str, shown: &str, send: usize, receive: usize) {
    let (server, port) = server("[::]:0", receive, 1);
    let (mut workload, task) = workload(&format!("connect {address}:{port} {send} {receive}"));
    let trace = Trace::of("tcp_life").of_process(&workload).start();
    workload.go();
    assert_eq!(join(server), send);
    let (outcome, report) = rows(trace, 1, &mut [&mut workload]);
    outcome.complete();
    let ends = Ends {
        address: shown,
        sport: report.number("sport"),
        dport: port.into(),
        rx: receive as u64,
        tx: send as u64,
        connected: true,
        mptcp: false,
    };
    check(outcome.row(), &columns(&task, &report, &ends));
}

#[test]
fn a_connection_is_one_row_with_every_byte_each_way() {
    needs!("tcp_life");
    client("127.0.0.1", "127.0.0.1", 123_456, 7_890);
}

#[test]
fn a_socket_that_connects_to_itself_is_one_connection_of_the_end_that_connects() {
    needs!("tcp_life");
    let (mut workload, task) = workload("connect-to-itself");
    let trace = Trace::of("tcp_life").of_process(&workload).start();
    workload.go();
    let (outcome, report) = rows(trace, 1, &mut [&mut workload]);
    outcome.complete();
    let ends = Ends {
        address: "127.0.0.1",
        sport: report.number("sport"),
        dport: report.number("sport"),
        rx: 5,
        tx: 5,
        connected: true,
        mptcp: false,
    };
    check(outcome.row(), &columns(&task, &report, &ends));
}

#[test]
fn an_ipv6_connection_is_one_row_with_every_byte_each_way() {
    needs!("tcp_life");
    client("[::1]", "::1", 10, 1_000_000);
}

#[test]
fn an_ipv4_connection_of_an_ipv6_socket_is_shown_as_ipv4() {
    needs!("tcp_life");
    client("[::ffff:127.0.0.1]", "127.0.0.1", 1, 2);
}

#[test]
fn a_connection_without_a_byte_is_a_row_with_none() {
    needs!("tcp_life");
    client("127.0.0.1", "127.0.0.1", 0, 0);
}

fn served(address: &str, shown: &str, send: usize, receive: usize) {
    let (mut workload, task) = workload(&format!("serve {address}:0 {send} {receive} 1"));
    let trace = Trace::of("tcp_life").of_process(&workload).start();
    workload.go();
    let port = workload.message("listening").as_u64().unwrap();
    let stream = TcpStream::connect(format!("{address}:{port}")).unwrap();
    let peer = stream.local_addr().unwrap().port();
    assert_eq!(exchange(stream, receive), send);
    let (outcome, report) = rows(trace, 1, &mut [&mut workload]);
    outcome.complete();
    let ends = Ends {
        address: shown,
        sport: port,
        dport: peer.into(),
        rx: receive as u64,
        tx: send as u64,
        connected: false,
        mptcp: false,
    };
    check(outcome.row(), &columns(&task, &report, &ends));
}

#[test]
fn an_accepted_connection_is_one_row_of_the_process_that_serves_it() {
    needs!("tcp_life");
    served("127.0.0.1", "127.0.0.1", 54_321, 98_765);
}

#[test]
fn an_accepted_ipv6_connection_is_one_row_of_the_process_that_serves_it() {
    needs!("tcp_life");
    served("[::1]", "::1", 3, 200_000);
}

#[test]
fn a_connection_belongs_to_the_child_that_reads_what_its_parent_accepted() {
    needs!("tcp_life");
    let mut workload = staying("", "serve-by-child 127.0.0.1:0 10 20");
    let trace = Trace::of("tcp_life").of_process(&workload).start();
    workload.go();
    let port = workload.message("listening").as_u64().unwrap();
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    assert_eq!(exchange(stream, 20), 10);
    let (outcome, report) = rows(trace, 1, &mut [&mut workload]);
    outcome.complete();
    let row = outcome.row();
    assert_eq!(row["pid"], report.note("child"));
    assert_eq!(
        (&row["rx_bytes"], &row["tx_bytes"]),
        (&json!(20), &json!(10))
    );
}

/// Both ends of a connection in traced processes.
fn both_ends() -> (Outcome, u32, u32) {
    let mut serving = staying("", "serve 127.0.0.1:0 1000 500 1");
    serving.go();
    let port = serving.message("listening").as_u64().unwrap();
    let mut connecting = staying("", &format!("connect 127.0.0.1:{port} 500 1000"));
    let trace = Trace::of("tcp_life")
        .of_process(&serving)
        .of_process(&connecting)
        .start();
    connecting.go();
    let (outcome, _) = rows(trace, 2, &mut [&mut serving, &mut connecting]);
    (outcome, serving.pid(), connecting.pid())
}

#[test]
fn both_ends_of_a_connection_are_a_row_each() {
    needs!("tcp_life");
    let (outcome, serving, connecting) = both_ends();
    outcome.complete();
    assert_eq!(outcome.rows.len(), 2);
    let (server, client) = (
        outcome.row_where("pid", serving),
        outcome.row_where("pid", connecting),
    );
    assert_eq!(
        (&server["connected"], &client["connected"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        (&server["sport"], &server["dport"]),
        (&client["dport"], &client["sport"])
    );
    assert_eq!(
        (&server["rx_bytes"], &server["tx_bytes"]),
        (&json!(500), &json!(1000))
    );
    assert_eq!(
        (&client["rx_bytes"], &client["tx_bytes"]),
        (&json!(1000), &json!(500))
    );
}

#[test]
fn an_attempt_that_fails_is_no_connection() {
    needs!("tcp_life");
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut workload = Workload::behind_gate(&format!("connect-times 3 127.0.0.1:{port}"));
    let trace = Trace::of("tcp_life").of_process(&workload).start();
    workload.finish();
    assert_eq!(trace.finish().complete().produced, 0);
}

#[test]
fn a_connection_that_was_open_before_is_reported_with_all_its_bytes_and_no_duration() {
    needs!("tcp_life");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = format!("127.0.0.1:{port}");
    let mut workload =
        Workload::child_behind_gate(&format!("connect-before-gate {target} 700 900 , until-eof"));
    let stream = listener.accept().unwrap().0;
    let trace = Trace::of("tcp_life").of_process(&workload).start();
    workload.go();
    assert_eq!(exchange(stream, 900), 700);
    let (outcome, _) = rows(trace, 1, &mut [&mut workload]);
    outcome.complete();
    let row = outcome.row();
    assert_eq!(row["pid"], json!(workload.pid()));
    assert_eq!(
        (&row["rx_bytes"], &row["tx_bytes"]),
        (&json!(900), &json!(700))
    );
    assert_eq!(row["duration_ns"], json!(0));
    // The connection began before the trace, so the connecting end is unknown.
    assert_eq!(row["connected"], Value::Null);
}

/// Traces a connection without an ordinary end; returns the bytes that the traced end received and sent.
fn broken_off(steps: &(impl Steps + ?Sized), other: impl FnOnce(&mut Workload)) -> (u64, u64) {
    let mut workload = staying("", steps);
    let trace = Trace::of("tcp_life").of_process(&workload).start();
    workload.go();
    other(&mut workload);
    let (outcome, _) = rows(trace, 1, &mut [&mut workload]);
    outcome.complete();
    let row = outcome.row();
    assert_eq!(row["pid"], json!(workload.pid()));
    (
        row["rx_bytes"].as_u64().unwrap(),
        row["tx_bytes"].as_u64().unwrap(),
    )
}

#[test]
fn a_connection_that_is_reset_is_a_row_with_what_was_acknowledged() {
    needs!("tcp_life");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    assert_eq!(
        broken_off(&format!("connect-and-reset {at} 4321"), |_| ()),
        (0, 4321)
    );
}

#[test]
fn a_connection_that_its_peer_resets_is_a_row() {
    needs!("tcp_life");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let bytes = broken_off(&format!("connect-and-wait {at} 77"), |_| {
        let stream = listener.accept().unwrap().0;
        // Closed with unread bytes in its queue: RFC 1122, section 4.2.2.13.
        until("its bytes", || {
            (stream.peek(&mut [0; 100]).unwrap() == 77).then_some(())
        });
    });
    assert_eq!(bytes, (0, 77));
}

#[test]
fn a_connection_that_its_server_closes_unread_is_a_row_of_the_server() {
    needs!("tcp_life");
    let bytes = broken_off("serve-unread 127.0.0.1:0 55", |workload| {
        let port = workload.message("listening").as_u64().unwrap();
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.write_all(&[3; 55]).unwrap();
        // Either the end or the reset.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert_eq!(bytes, (55, 0));
}

#[test]
fn an_accepted_connection_that_its_peer_resets_before_a_read_is_a_row_of_its_server() {
    needs!("tcp_life");
    let bytes = broken_off("serve-until-broken-off 127.0.0.1:0 55", |workload| {
        let port = workload.message("listening").as_u64().unwrap();
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        // Closed with unread bytes.
        until("its bytes", || {
            (stream.peek(&mut [0; 100]).unwrap() == 55).then_some(())
        });
    });
    assert_eq!(bytes, (0, 55));
}

#[test]
fn many_connections_are_a_row_each_and_add_up() {
    needs!("tcp_life");
    const CONNECTIONS: usize = 200;
    let (serving, port) = server("127.0.0.1:0", 1000, CONNECTIONS);
    let at = format!("127.0.0.1:{port}");
    let one = format!("connect {at} 300 1000");
    let steps = vec![one; CONNECTIONS].join(" , ");
    let mut workload = staying("", &steps);
    let trace = Trace::of("tcp_life").of_process(&workload).start();
    workload.go();
    assert_eq!(join(serving), CONNECTIONS * 300);
    let (outcome, report) = rows(trace, CONNECTIONS as u64, &mut [&mut workload]);
    outcome.complete();
    let all: Vec<&Value> = outcome.rows.iter().collect();
    assert_eq!(all.len(), CONNECTIONS);
    assert_eq!(sum(&all, "tx_bytes"), CONNECTIONS as u64 * 300);
    assert_eq!(sum(&all, "rx_bytes"), CONNECTIONS as u64 * 1000);
    let mut ports: Vec<Value> = all.iter().map(|row| row["sport"].clone()).collect();
    let mut truth = report.all("sport");
    ports.sort_by_key(Value::as_u64);
    truth.sort_by_key(Value::as_u64);
    assert_eq!(ports, truth);
}

pub(crate) mod mptcp;

mod here {
    use super::*;

    #[test]
    fn options_show_only_one_port_and_only_long_connections() {
        needs!("tcp_life");
        /// Minimum duration of the option, and delay of the slow server, ms.
        const LONG: (u64, u64) = (250, 300);
        let shown = |late: u64, options: &dyn Fn(u16, u16) -> Vec<String>| {
            let (quick, quick_port) = server("127.0.0.1:0", 1, 2);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let slow_port = listener.local_addr().unwrap().port();
            // This one may answer late.
            let slow = std::thread::spawn(move || {
                let stream = listener.accept().unwrap().0;
                std::thread::sleep(std::time::Duration::from_millis(late));
                exchange(stream, 1)
            });
            let (quick_at, slow_at) = (
                format!("127.0.0.1:{quick_port}"),
                format!("127.0.0.1:{slow_port}"),
            );
            let steps =
                format!("connect {quick_at} 1 1 , connect {quick_at} 1 1 , connect {slow_at} 1 1");
            let outcome = Trace::of("tcp_life")
                .with(&options(quick_port, slow_port))
                .workload(&steps)
                .run();
            outcome.complete();
            join(quick);
            join(slow);
            let durations = |port: u16| -> Vec<u64> {
                let rows = outcome.rows_where("dport", port).into_iter();
                rows.map(|row| row["duration_ns"].as_u64().unwrap())
                    .collect()
            };
            (durations(quick_port), durations(slow_port))
        };
        let counts = |(quick, slow): (Vec<u64>, Vec<u64>)| (quick.len(), slow.len());
        assert_eq!(counts(shown(0, &|_, _| vec![])), (2, 1));
        let port = |port: u16| vec!["--port".into(), port.to_string()];
        assert_eq!(counts(shown(0, &|quick, _| port(quick))), (2, 0));
        assert_eq!(counts(shown(0, &|_, slow| port(slow))), (0, 1));
        let (least, late) = LONG;
        let (quick, slow) = shown(late, &|_, _| {
            vec!["--min-duration-ns".into(), format!("{least}ms")]
        });
        assert_eq!(slow.len(), 1);
        // On a busy machine the quick ones may take as long.
        let is_long = |ns: &u64| *ns >= least * 1_000_000;
        assert!(quick.iter().chain(&slow).all(is_long), "{quick:?} {slow:?}");
    }
}

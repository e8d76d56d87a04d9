//! TCP connections with known bytes.

use crate::{
    number,
    process::{self, until},
    raw, report,
};
use serde_json::json;
use std::{
    ffi::{OsStr, OsString},
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
};

fn address(arg: &OsStr) -> SocketAddr {
    arg.to_str().unwrap().parse().unwrap()
}

/// So many reads of a socket to which nobody sends, each for `ms`.
pub(crate) fn receive_nothing(ms: u64, times: u64) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let timeout = std::time::Duration::from_millis(ms);
    socket.set_read_timeout(Some(timeout)).unwrap();
    for _ in 0..times {
        let error = socket.recv(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

/// So many datagrams over loopback, each received before the next is sent.
pub(crate) fn send_to_itself(times: u64) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(socket.local_addr().unwrap()).unwrap();
    for _ in 0..times {
        socket.send(b"x").unwrap();
        assert_eq!(socket.recv(&mut [0]).unwrap(), 1);
    }
}

/// Whether sockets that connect and listen are MPTCP sockets.
static MPTCP: AtomicBool = AtomicBool::new(false);

/// `STEP…`: does the step with MPTCP sockets.
pub(crate) fn by_mptcp(args: &[OsString]) {
    MPTCP.store(true, Ordering::Relaxed);
    crate::step(args);
    MPTCP.store(false, Ordering::Relaxed);
}

fn mptcp_socket(address: SocketAddr) -> OwnedFd {
    let family = match address {
        SocketAddr::V4(_) => rustix::net::AddressFamily::INET,
        SocketAddr::V6(_) => rustix::net::AddressFamily::INET6,
    };
    let protocol = Some(rustix::net::ipproto::MPTCP);
    let kind = rustix::net::SocketType::STREAM;
    rustix::net::socket_with(family, kind, rustix::net::SocketFlags::CLOEXEC, protocol).unwrap()
}

fn connected(to: SocketAddr) -> std::io::Result<TcpStream> {
    if !MPTCP.load(Ordering::Relaxed) {
        return TcpStream::connect(to);
    }
    let socket = mptcp_socket(to);
    rustix::net::connect(&socket, &to)?;
    Ok(socket.into())
}

fn listening(at: SocketAddr) -> TcpListener {
    if !MPTCP.load(Ordering::Relaxed) {
        return TcpListener::bind(at).unwrap();
    }
    let socket = mptcp_socket(at);
    rustix::net::bind(&socket, &at).unwrap();
    rustix::net::listen(&socket, 128).unwrap();
    socket.into()
}

/// `ADDRESS SEND RECEIVE`: connects, sends, prints a message, and reads to the end.
pub(crate) fn connect(args: &[OsString]) {
    let to = address(&args[0]);
    match connected(to) {
        Err(error) => {
            report::note(json!({ "result": -error.raw_os_error().unwrap() }));
        }
        Ok(stream) => exchange(stream, args),
    }
}

/// The same, with a gate after the handshake.
pub(crate) fn connect_before_gate(args: &[OsString]) {
    let stream = connected(address(&args[0])).unwrap();
    process::gate();
    exchange(stream, args);
}

/// `ADDRESS SEND`: connects, sends, waits until all of it is acknowledged, and breaks the connection off.
pub(crate) fn connect_and_reset(args: &[OsString]) {
    let mut stream = TcpStream::connect(address(&args[0])).unwrap();
    write_bytes(&mut stream, number(&args[1]));
    until(|| raw::unacknowledged(&stream) == 0);
    raw::close_with_reset(stream);
}

/// `ADDRESS SEND`: connects, sends, and waits until the other end has broken the connection off.
pub(crate) fn connect_and_wait(args: &[OsString]) {
    let mut stream = TcpStream::connect(address(&args[0])).unwrap();
    write_bytes(&mut stream, number(&args[1]));
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// `ADDRESS RECEIVE`: accepts a connection, waits until RECEIVE bytes have arrived, and closes it without reading one.
pub(crate) fn serve_unread(args: &[OsString]) {
    let listener = listen(args);
    let stream = listener.accept().unwrap().0;
    let wanted = number(&args[1]);
    // Not by looking at them, which is a kind of reading.
    until(|| rustix::io::ioctl_fionread(&stream).unwrap() == wanted);
}

/// `ADDRESS SEND`: accepts a connection, sends, waits until the other end has broken the connection off, and closes it.
pub(crate) fn serve_until_broken_off(args: &[OsString]) {
    let listener = listen(args);
    let mut stream = listener.accept().unwrap().0;
    write_bytes(&mut stream, number(&args[1]));
    // Linux 5.10 has no other end of an MPTCP connection than an orderly one.
    match stream.read(&mut [0]) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// `SUBFLOWS SEND RECEIVE`: an MPTCP connection between this process and a child. One byte each way is the connection's first, without
/// which no subflow may join; the other bytes are sent when there are SUBFLOWS further subflows.
pub(crate) fn mptcp_subflows(args: &[OsString]) {
    MPTCP.store(true, Ordering::Relaxed);
    let listener = listening(SocketAddr::from(([127, 0, 0, 1], 0)));
    let to = listener.local_addr().unwrap();
    match raw::fork() {
        None => {
            let mut stream = listener.accept().unwrap().0;
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(&[7]).unwrap();
            assert_eq!(read_to_end(&mut stream), number(&args[1]));
            write_bytes(&mut stream, number(&args[2]));
            drop(stream);
            raw::exit_now(0);
        }
        Some(pid) => {
            drop(listener);
            let mut stream = connected(to).unwrap();
            stream.write_all(&[7]).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            until(|| raw::mptcp_subflows(&stream) == number(&args[0]));
            exchange(stream, args);
            report::note(json!({ "child": pid }));
            assert_eq!(raw::wait(pid), 0);
        }
    }
}

fn exchange(mut stream: TcpStream, args: &[OsString]) {
    let from = stream.local_addr().unwrap();
    let (send, receive) = (number(&args[1]), number(&args[2]));
    write_bytes(&mut stream, send);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), receive);
    report::note(json!({ "result": 0, "sport": from.port() }));
}

fn write_bytes(stream: &mut TcpStream, mut count: u64) {
    let chunk = [7; 65536];
    while count > 0 {
        let now = count.min(chunk.len() as u64);
        stream.write_all(&chunk[..now as usize]).unwrap();
        count -= now;
    }
}

fn read_to_end(stream: &mut TcpStream) -> u64 {
    let mut buffer = vec![0; 65536];
    let mut count = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return count,
            Ok(n) => count += n as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Connects `times` times to an address with or without a listener, and closes at once.
pub(crate) fn connect_times(times: u64, to: &OsStr) {
    let to = address(to);
    for _ in 0..times {
        drop(TcpStream::connect(to));
    }
}

/// Makes `times` connections on loopback, one after the other: each sends `bytes` bytes, receives as many, and is closed. This process
/// has both ends, so that it waits for no other process.
pub(crate) fn connections(times: u64, bytes: u64) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let mut buffer = vec![7; bytes as usize];
    for _ in 0..times {
        let mut here = TcpStream::connect(to).unwrap();
        let mut there = listener.accept().unwrap().0;
        here.write_all(&buffer).unwrap();
        there.read_exact(&mut buffer).unwrap();
        there.write_all(&buffer).unwrap();
        here.read_exact(&mut buffer).unwrap();
    }
}

/// Returns a socket with a connect(2) in progress.
fn begun(to: SocketAddr) -> OwnedFd {
    let (family, kind) = (
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
    );
    let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None).unwrap();
    let refused = rustix::net::connect(&socket, &to).unwrap_err();
    assert_eq!(refused, rustix::io::Errno::INPROGRESS);
    socket
}

fn local_port(socket: &OwnedFd) -> u16 {
    let address: SocketAddr = rustix::net::getsockname(socket)
        .unwrap()
        .try_into()
        .unwrap();
    address.port()
}

/// A socket that connects to its own address, which is a simultaneous open with itself, and sends itself five bytes.
pub(crate) fn connect_to_itself() {
    let (family, kind) = (
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
    );
    let socket = rustix::net::socket(family, kind, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let port = local_port(&socket);
    rustix::net::connect(&socket, &SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    report::note(json!({ "result": 0, "sport": port }));
}

/// Connects to an address that does not answer, and closes without an answer.
pub(crate) fn give_up(to: &OsStr) {
    let socket = begun(address(to));
    report::note(json!({ "sport": local_port(&socket) }));
}

/// Connects to an address that does not answer, until the kernel gives up after one retransmission.
pub(crate) fn time_out(to: &OsStr) {
    let (family, kind) = (
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
    );
    let socket = rustix::net::socket(family, kind, None).unwrap();
    raw::set_syn_retries(&socket, 1);
    let refused = rustix::net::connect(&socket, &address(to)).unwrap_err();
    report::note(json!({ "result": -refused.raw_os_error() }));
}

/// Connects `times` sockets at the same time to an address that does not answer, each until its SYN is retransmitted once.
pub(crate) fn unanswered(times: u64) {
    // The accept queue of one that listens with a backlog of 0 takes one connection, and then SYNs are dropped.
    let (family, kind) = (
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
    );
    let listener = rustix::net::socket(family, kind, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    rustix::net::bind(&listener, &any).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], local_port(&listener)));
    let _first = TcpStream::connect(to).unwrap();
    let mut accepts = [rustix::event::PollFd::new(
        &listener,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut accepts, None).unwrap();
    report::note(json!({ "port": to.port() }));
    let sockets: Vec<OwnedFd> = (0..times).map(|_| begun(to)).collect();
    for socket in &sockets {
        process::until(|| raw::retransmits(socket) > 0);
    }
}

fn listen(args: &[OsString]) -> TcpListener {
    let listener = listening(address(&args[0]));
    report::say(json!({ "listening": listener.local_addr().unwrap().port() }));
    listener
}

fn answer(mut stream: TcpStream, args: &[OsString]) {
    let (send, receive) = (number(&args[1]), number(&args[2]));
    assert_eq!(read_to_end(&mut stream), receive);
    write_bytes(&mut stream, send);
}

/// `ADDRESS SEND RECEIVE TIMES`: accepts TIMES connections one after the other, reads each to its end, and answers.
pub(crate) fn serve(args: &[OsString]) {
    let listener = listen(args);
    for _ in 0..number(&args[3]) {
        answer(listener.accept().unwrap().0, args);
    }
}

/// The same, once, where a child reads and answers what the parent accepted.
pub(crate) fn serve_by_child(args: &[OsString]) {
    let listener = listen(args);
    let stream = listener.accept().unwrap().0;
    match raw::fork() {
        None => {
            answer(stream, args);
            raw::exit_now(0);
        }
        Some(pid) => {
            drop(stream);
            report::note(json!({ "child": pid }));
            assert_eq!(raw::wait(pid), 0);
        }
    }
}

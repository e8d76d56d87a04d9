//! Limits of resources that clients hold, and their timeouts. Each limit is attacked; afterwards another client is served.

use crate::{
    daemon::Daemon,
    garbage::{PREFACE, frame},
    reason,
    tls::{CONTROLLER, Files, calls, is_closed, uri},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};
use tests::until;
use tonic::Code;

/// For an agent that has room for four.
const FOUR: &str = "maxConnections: 4";

/// Opens a connection and completes its handshake, without a request.
pub(crate) fn shaken_hands(
    files: &Files,
    port: u16,
    name: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    shake_hands(files, port, name).unwrap()
}

/// The same, where the agent lets it come to that.
pub(crate) fn shake_hands(
    files: &Files,
    port: u16,
    name: &str,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let (certificate, key) = files.ca.sign(uri(name));
    let mut roots = RootCertStore::empty();
    let parse = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(parse(&files.ca.0.pem())).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![parse(&certificate)], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    while tls.is_handshaking() || tls.wants_write() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}

/// Waits until a permitted client is served.
async fn until_let_in(files: &Files, port: u16) {
    let end = Instant::now() + tests::deadline();
    while let Err(status) = calls(files.client(port, uri(CONTROLLER)).await).await {
        assert!(Instant::now() < end, "no place became free: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks at once, while others hold what they can.
async fn is_let_in_meanwhile(files: &Files, port: u16) {
    for _ in 0..3 {
        calls(files.client(port, uri(CONTROLLER)).await)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_client_that_sends_nothing_after_its_handshake_takes_no_place_and_is_disconnected() {
    let files = Files::new();
    let (_daemon, port) = Daemon::over_tcp(&files.config(FOUR)).await;
    let mut silent: Vec<_> = (0..8)
        .map(|_| shaken_hands(&files, port, CONTROLLER))
        .collect();
    is_let_in_meanwhile(&files, port).await;
    for stream in &mut silent {
        until("the silent one to be cut off", || {
            is_closed(&mut stream.sock).then_some(())
        });
    }
}

#[tokio::test]
async fn a_client_without_a_role_is_refused_takes_no_place_and_is_disconnected() {
    let files = Files::new();
    let (_daemon, port) = Daemon::over_tcp(&files.config(FOUR)).await;
    let name = "spiffe://example.org/nobody";
    let stranger = files.client(port, uri(name)).await;
    let refused = calls(stranger).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "NotAllowed")
    );
    // They are alive, and speak HTTP/2.
    let mut strangers: Vec<_> = (0..8).map(|_| begun_over_tls(&files, port, name)).collect();
    is_let_in_meanwhile(&files, port).await;
    for stream in &mut strangers {
        until("a stranger to be cut off", || {
            is_closed(&mut stream.sock).then_some(())
        });
    }
}

/// A connection of this name that speaks HTTP/2 and calls nothing.
pub(crate) fn begun_over_tls(
    files: &Files,
    port: u16,
    name: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    begin_over_tls(files, port, name).unwrap()
}

/// The same, where the agent lets it come to that.
pub(crate) fn begin_over_tls(
    files: &Files,
    port: u16,
    name: &str,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut stream = shake_hands(files, port, name)?;
    let begin = [PREFACE, &frame(4, 0, 0, 0, &[])].concat();
    stream.write_all(&begin)?;
    stream.flush()?;
    Ok(stream)
}

#[tokio::test]
async fn a_client_with_a_slow_handshake_is_disconnected() {
    let files = Files::new();
    let (_daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // The head of a record of 16,000 bytes, which come one by one.
    stream.write_all(&[0x16, 3, 1, 0x3e, 0x80, 1]).unwrap();
    until("the slow client to be disconnected", || {
        // If it is closed already, the next read reports it.
        let _ = stream.write_all(&[0]);
        is_closed(&mut stream).then_some(())
    });
    until_let_in(&files, port).await;
}

#[tokio::test]
async fn what_is_no_http2_is_cut_off_with_tls_and_without() {
    let files = Files::new();
    let (_daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nx: 1234567890\r\n\r\n";
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(request).unwrap();
    let mut answer = Vec::new();
    // It receives an alert, or a reset.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(PREFACE).unwrap();
    until("HTTP/2 without TLS to be cut off", || {
        is_closed(&mut plain).then_some(())
    });
    let mut inside = shaken_hands(&files, port, CONTROLLER);
    inside.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _ = inside.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{answer:?}");
    until_let_in(&files, port).await;
}

/// By a keepalive of a tenth of the usual 50 s.
#[tokio::test]
async fn clients_that_answer_nothing_or_read_nothing_lose_their_places() {
    let files = Files::new();
    let (daemon, port) =
        Daemon::over_tcp_with(&files.config(FOUR), &["--inject", "short-keepalive"]).await;
    // Each with a call that stays open, so that it is not idle.
    let mut held: Vec<_> = (0..4)
        .map(|_| begun_over_tls(&files, port, CONTROLLER))
        .collect();
    for stream in &mut held {
        stream.write_all(&watching()).unwrap();
        stream.flush().unwrap();
    }
    // Two of them send requests and do not read the answers, until all buffers are full.
    let pings = frame(6, 0, 0, 8, &[0; 8]).repeat(500);
    for stream in &mut held[2..] {
        let timeout = Some(Duration::from_millis(500));
        stream.sock.set_write_timeout(timeout).unwrap();
        while stream.write_all(&pings).is_ok() {}
    }
    assert!(daemon.traces().await.is_empty());
    until_let_in(&files, port).await;
    // All four places are free, not one.
    let mut inside = Vec::new();
    let end = Instant::now() + tests::deadline();
    while inside.len() < 4 {
        assert!(
            Instant::now() < end,
            "{} of 4 places are free",
            inside.len()
        );
        let Ok(client) = files.client(port, uri(CONTROLLER)).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if calls(Ok(client.clone())).await.is_ok() {
            inside.push(client);
        }
    }
    drop(held);
}

/// Kind, stream and payload of the next frame; none where the other side has closed.
fn next_frame(stream: &mut UnixStream) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let [a, b, c, kind, _, s0, s1, s2, s3] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((kind, u32::from_be_bytes([s0, s1, s2, s3]), payload))
}

/// A connection over the socket that speaks HTTP/2.
fn begun(daemon: &Daemon) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let settings = [PREFACE, &frame(4, 0, 0, 0, &[])].concat();
    stream.write_all(&settings).unwrap();
    stream.set_read_timeout(Some(tests::deadline())).unwrap();
    stream
}

/// The head of a call of this method. POST http localhost, and a path: RFC 7541, appendix A has the numbers.
pub(crate) fn call_head(method: &str) -> Vec<u8> {
    let path = format!("/tracejob.v1.Agent/{method}");
    let mut head = vec![0x83, 0x86, 0x01, 9];
    head.extend(b"localhost");
    head.extend([0x04, path.len() as u8]);
    head.extend(path.bytes());
    head.extend([0x0f, 0x10, 16]);
    head.extend(b"application/grpc");
    head
}

/// A whole call of WatchTraces, which the agent answers for as long as it runs.
pub(crate) fn watching() -> Vec<u8> {
    let head = call_head("WatchTraces");
    // An empty message, and no further one.
    [
        frame(1, 4, 1, head.len() as u32, &head),
        frame(0, 1, 1, 5, &[0; 5]),
    ]
    .concat()
}

#[tokio::test]
async fn more_calls_than_a_connection_may_have_are_refused_one_by_one() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    const REFUSED_STREAM: u32 = 7;
    let daemon = Daemon::start("").await;
    let mut stream = begun(&daemon);
    let (_, _, settings) = next_frame(&mut stream).unwrap();
    let most = settings
        .as_chunks::<6>()
        .0
        .iter()
        .find(|[a, b, ..]| u16::from_be_bytes([*a, *b]) == MAX_CONCURRENT_STREAMS)
        .map(|[_, _, value @ ..]| u32::from_be_bytes(*value))
        .unwrap();
    let head = call_head("WatchTraces");
    for call in 0..most + 50 {
        let opened = frame(1, 4, 2 * call + 1, head.len() as u32, &head);
        stream.write_all(&opened).unwrap();
    }
    let mut refused = Vec::new();
    while refused.len() < 50 {
        match next_frame(&mut stream).unwrap() {
            (3, stream, why) if why == REFUSED_STREAM.to_be_bytes() => refused.push(stream),
            (3 | 7, _, why) => panic!("ended for another reason: {why:?}"),
            _ => {}
        }
    }
    assert!(
        refused.iter().all(|stream| *stream > 2 * (most - 1)),
        "{refused:?}"
    );
    assert!(daemon.traces().await.is_empty());
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off() {
    let daemon = Daemon::start("").await;
    let mut stream = begun(&daemon);
    // A field with an endless value.
    let field = [&[0x00, 1, b'a', 0x7f, 0x80, 0x80, 0x40][..], &[b'a'; 1000]].concat();
    let first = frame(1, 0, 1, field.len() as u32, &field);
    stream.write_all(&first).unwrap();
    let more = frame(9, 0, 1, 16_384, &[b'a'; 16_384]);
    stream.set_write_timeout(Some(tests::deadline())).unwrap();
    // 64 MiB, were they taken.
    let ended = (0..4096).find_map(|_| stream.write_all(&more).err());
    let kind = ended.expect("64 MiB of headers were taken").kind();
    assert!(
        [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&kind),
        "{kind}"
    );
    assert!(daemon.traces().await.is_empty());
}

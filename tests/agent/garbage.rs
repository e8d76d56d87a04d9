//! Bytes that are no requests: their sender is disconnected, and other clients are served.

use crate::daemon::{Daemon, spec};
use proto::v1;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};
use tests::{Workload, needs};
use tonic::Code;

/// RFC 9113, 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame: RFC 9113, 4.1.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, length: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Sends bytes, and reads until the other side closes or has sent nothing for a while.
fn send(daemon: &Daemon, bytes: &[u8]) {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    // It may close in the middle.
    let _ = stream.write_all(bytes);
    let mut answer = [0; 4096];
    while stream.read(&mut answer).is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn garbage_cut_short_and_oversized_frames_end_their_own_connection_alone() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut workload =
        Workload::behind_gate(&["open-times", "100", "openat", "/dev/null", "0", "0"]);
    let mut events = daemon.trace(spec("open", &workload)).await.unwrap();
    let settings = [PREFACE, &frame(4, 0, 0, 0, &[])].concat();
    let after = |bytes: Vec<u8>| [settings.clone(), bytes].concat();
    let noise: Vec<u8> = (0..65_536_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let attacks = [
        noise.clone(),
        after(noise),
        // The length is above the limit, and above the number of bytes that follow.
        after(frame(0, 0, 1, 0xff_ffff, &[0; 100])),
        after(frame(1, 4, 1, 16_384, &[0x82])),
        // A window that overflows, a stream of an even number, an unknown setting of a wrong length.
        after(frame(8, 0, 0, 4, &0x7fff_ffff_u32.to_be_bytes())),
        after(frame(1, 5, 2, 1, &[0x82])),
        after(frame(4, 0, 0, 5, &[0; 5])),
        // Pings that are never read, and streams that are taken back at once: CVE-2023-44487.
        after(frame(6, 0, 0, 8, &[0; 8]).repeat(10_000)),
        after(
            (0..5_000_u32)
                .flat_map(|n| {
                    let stream = 2 * n + 1;
                    let opened = frame(1, 4, stream, 3, &[0x82, 0x86, 0x84]);
                    [opened, frame(3, 0, stream, 4, &[0, 0, 0, 8])].concat()
                })
                .collect(),
        ),
        // The beginning of a request, and nothing more.
        settings[..30].to_vec(),
    ];
    for attack in &attacks {
        send(&daemon, attack);
    }
    workload.finish();
    events.read_all().await.unwrap();
    assert_eq!(events.account().produced, 100);
    assert!(daemon.traces().await.is_empty() || daemon.traces().await.len() == 1);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_by_its_size() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let large = v1::TraceSpec {
        targets: vec![
            v1::Target {
                target: Some(v1::target::Target::Cgroup("a".repeat(1000))),
                ..v1::Target::default()
            };
            2000
        ],
        ..spec("open", &workload)
    };
    let mut client = daemon.client().await;
    let refused = client
        .start_trace(crate::start("a", 1, large))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    let mut request = tonic::Request::new(v1::GetCapabilitiesRequest {});
    let value = "a".repeat(32 << 10).parse().unwrap();
    request.metadata_mut().insert("x-long", value);
    assert!(client.get_capabilities(request).await.is_err());
    assert!(daemon.traces().await.is_empty());
}

//! Attacks of clients that can only connect or have one account: to lock others out, and to load the API server.

use super::{
    cluster, events, opens,
    reader::{Tally, bind, connect, in_network, open, raw, stream_request, token},
    until_end,
};
use crate::cluster::{Cluster, gateway_address, job};
use proto::v1::jobs_client::JobsClient;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::json;
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tests::{Attack, beside, resident};
use tonic::{Code, transport::Channel};

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn gateway() -> SocketAddr {
    format!("{}:8443", gateway_address(0)).parse().unwrap()
}

/// Opens a connection without a certificate, and completes its handshake.
fn shaken_hands(config: &Arc<ClientConfig>) -> std::io::Result<Tls> {
    let name = "tracejob-gateway".try_into().unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = TcpStream::connect_timeout(&gateway(), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    while tls.is_handshaking() || tls.wants_write() {
        tls.complete_io(&mut stream)?;
    }
    stream.set_nonblocking(true)?;
    Ok(StreamOwned::new(tls, stream))
}

/// Holds connections that shake hands and send nothing, and opens another for each that is closed.
pub(super) fn hold_silent_tls(cluster: &Cluster, count: usize, attack: &Attack) {
    cluster.plane.net().enter();
    let ca = std::fs::read(cluster.plane.pki().file("ca.crt")).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&ca).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let mut held: Vec<Tls> = Vec::new();
    while attack.goes_on() {
        held.retain_mut(|tls| match tls.read(&mut [0; 64]) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
        while held.len() < count && attack.goes_on() {
            let Ok(tls) = shaken_hands(&config) else {
                break;
            };
            attack.count(1);
            held.push(tls);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A counter of the gateway.
fn counted(cluster: &Cluster, series: &str) -> f64 {
    let scrape = || {
        cluster.plane.net().enter();
        let mut stream = TcpStream::connect(format!("{}:9464", gateway_address(0))).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let text = thread::scope(|scope| scope.spawn(scrape).join().unwrap());
    let value = text.lines().find_map(|line| line.strip_prefix(series));
    let value = value.unwrap_or_else(|| panic!("no {series} in {text}"));
    value.trim().parse().unwrap()
}

#[test]
fn tls_connections_without_a_request_keep_out_neither_the_api_server_nor_a_reader() {
    const NS: &str = "shop";
    let (cluster, pods) = cluster();
    let good = token(&cluster, NS, "reader", "tracejob.dev");
    let account = json!({"kind": "ServiceAccount", "name": "reader", "namespace": NS});
    bind(&cluster, NS, "tracejob-reader", account);
    cluster.apply(&job(NS, "opens", until_end(20)));
    cluster.until_runs(NS, "opens", 2);
    pods.iter().for_each(|pod| opens(pod, "20"));
    let admin = cluster.plane.admin();
    let before = resident(cluster.gateway_pid(0)).unwrap();
    let flood = |attack: &Attack| hold_silent_tls(&cluster, 2048, attack);
    beside(flood, |attack| {
        // More than there are places of any kind.
        attack.until(2300);
        let end = Instant::now() + Duration::from_secs(12);
        while Instant::now() < end {
            // By the API server, which may open another connection for it.
            let text = raw(&cluster, &admin, &events(NS, "opens")).unwrap();
            assert!(text.contains("\"account\""), "{text}");
            // By a connection of its own.
            let tally = in_network(&cluster, async {
                let mut client = connect(&cluster, 0).await;
                let mut stream = open(&mut client, &good, stream_request(NS, "opens")).await?;
                Tally::all(&mut stream).await
            });
            assert_eq!(tally.unwrap().rows, 40);
        }
    });
    let series = "tracejob_connections_rejected_total{listener=\"https\",reason=\"source_limit\"}";
    assert!(counted(&cluster, series) > 1000.0);
    let grown = resident(cluster.gateway_pid(0)).unwrap() - before;
    assert!(grown < 64 << 10, "{grown} KiB more");
    names_that_lead_elsewhere_are_refused(&cluster, &good);
    bad_tokens_are_reviewed_within_bounds(&cluster, &good);
}

/// Requests with a valid token and no rights: the API server must not be asked about the name.
fn names_that_lead_elsewhere_are_refused(cluster: &Cluster, token: &str) {
    let read = |namespace: &str, name: &str| {
        in_network(cluster, async {
            let mut client = connect(cluster, 0).await;
            open(&mut client, token, stream_request(namespace, name)).await
        })
    };
    for (namespace, name) in [
        ("shop", "../../bank/tracejobs/y"),
        ("shop", ".."),
        ("shop/tracejobs/x/../../../bank", "y"),
    ] {
        let status = read(namespace, name).map(drop).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let path = events("shop", "..%2F..%2Fbank%2Ftracejobs%2Fy");
    let url = format!("https://tracejob-gateway:8443{path}");
    let out = cluster
        .plane
        .net()
        .command("curl")
        .args(["--silent", "--path-as-is", "--cacert"])
        .arg(cluster.plane.pki().file("ca.crt"))
        .args([
            "--resolve",
            &format!("tracejob-gateway:8443:{}", gateway_address(0)),
        ])
        .args(["-H", &format!("authorization: Bearer {token}"), &url])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("\"reason\":\"BadRequest\""), "{text}");
}

/// Calls with ever new bad tokens, until it is stopped. Returns how many of them were reviewed.
pub(super) async fn send_bad_tokens(cluster: &Cluster, attack: &Attack) -> usize {
    let client = connect(cluster, 0).await;
    let mut reviewed = 0;
    while attack.goes_on() {
        let calls = (0..50).map(|n| {
            let mut client: JobsClient<Channel> = client.clone();
            let token = format!("bad-{}-{n}", attack.done());
            tokio::spawn(async move {
                let status = open(&mut client, &token, stream_request("shop", "opens")).await;
                status.map(drop).unwrap_err().code()
            })
        });
        let calls: Vec<_> = calls.collect();
        for call in calls {
            attack.count(1);
            match call.await.unwrap() {
                Code::Unauthenticated => reviewed += 1,
                // Or its connection is over, without an authenticated call.
                Code::ResourceExhausted | Code::Unknown | Code::Unavailable | Code::Cancelled => {}
                code => panic!("{code}"),
            }
        }
    }
    reviewed
}

fn bad_tokens_are_reviewed_within_bounds(cluster: &Cluster, good: &str) {
    let reviewed = AtomicUsize::new(0);
    let began = Instant::now();
    beside(
        |attack| {
            let count = in_network(cluster, send_bad_tokens(cluster, attack));
            reviewed.store(count, Ordering::Relaxed);
        },
        |attack| attack.until(1000),
    );
    let windows = 1 + began.elapsed().as_secs() as usize / 10;
    let reviewed = reviewed.into_inner();
    // 20 in ten seconds, and those that were under way.
    assert!(
        (20..=28 * windows).contains(&reviewed),
        "{reviewed} in {windows} windows"
    );
    // The address may send requests again when its window is over.
    in_network(cluster, async {
        let end = Instant::now() + tests::deadline();
        loop {
            let mut client = connect(cluster, 0).await;
            match open(&mut client, good, stream_request("shop", "opens")).await {
                Err(status) if status.code() == Code::ResourceExhausted => {
                    assert!(Instant::now() < end, "{status}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                other => break drop(other.unwrap()),
            }
        }
    });
}

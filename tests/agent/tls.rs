//! TCP with mutual TLS: accepted clients, and their rights.

use crate::{
    daemon::{Daemon, spec},
    reason, start,
};
use proto::v1::{self, agent_client::AgentClient};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tests::{Attack, Workload, beside, folder, hold_silent_connections, needs, until};
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// Signer of certificates.
pub(crate) struct Ca(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Certificate and key of this name, PEM.
    pub(crate) fn sign(&self, name: SanType) -> (String, String) {
        self.sign_all(&[name])
    }

    /// The same of several names.
    fn sign_all(&self, names: &[SanType]) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names.extend_from_slice(names);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

pub(crate) fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub(crate) const CONTROLLER: &str = "spiffe://example.org/controller";
pub(crate) const READER: &str = "reader.example.org";

/// Files of an agent that listens on a port of loopback.
pub(crate) struct Files {
    folder: PathBuf,
    pub(crate) ca: Ca,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self {
            folder: folder(),
            ca: Ca::new(),
        };
        files.write();
        files
    }

    pub(crate) fn write(&self) {
        self.for_names(&["localhost"]);
    }

    /// Writes a certificate of these names and addresses.
    pub(crate) fn for_names(&self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca.0).unwrap();
        let put = |name: &str, text: &str| {
            // As a secret that is mounted is replaced: whole.
            let new = self.folder.join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, self.folder.join(name)).unwrap();
        };
        put("tls.crt", &certificate.pem());
        put("tls.key", &key.serialize_pem());
        put("ca.crt", &self.ca.0.pem());
    }

    pub(crate) fn config(&self, more: &str) -> String {
        let file = |name: &str| self.folder.join(name).display().to_string();
        format!(
            "tls: {{certificate: {}, key: {}, clientCa: {}}}\nroles: {{control: ['{CONTROLLER}'], read: ['{READER}']}}\n{more}",
            file("tls.crt"),
            file("tls.key"),
            file("ca.crt"),
        )
    }

    pub(crate) async fn client(
        &self,
        port: u16,
        name: SanType,
    ) -> Result<AgentClient<Channel>, tonic::transport::Error> {
        self.client_of(port, &[name]).await
    }

    /// Connects a client with several names in its certificate.
    pub(crate) async fn client_of(
        &self,
        port: u16,
        names: &[SanType],
    ) -> Result<AgentClient<Channel>, tonic::transport::Error> {
        connect(port, &self.ca, Some(self.ca.sign_all(names))).await
    }

    /// The same, as what a client is made of.
    pub(crate) async fn channel(
        &self,
        port: u16,
        name: SanType,
    ) -> Result<Channel, tonic::transport::Error> {
        channel(port, &self.ca, Some(self.ca.sign(name))).await
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn connect(
    port: u16,
    ca: &Ca,
    identity: Option<(String, String)>,
) -> Result<AgentClient<Channel>, tonic::transport::Error> {
    channel(port, ca, identity).await.map(AgentClient::new)
}

async fn channel(
    port: u16,
    ca: &Ca,
    identity: Option<(String, String)>,
) -> Result<Channel, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca.0.pem()))
        .domain_name("localhost");
    let tls = match identity {
        Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
        None => tls,
    };
    let endpoint = Endpoint::new(format!("https://127.0.0.1:{port}"))?.tls_config(tls)?;
    endpoint.connect().await
}

fn capabilities() -> Request<v1::GetCapabilitiesRequest> {
    Request::new(v1::GetCapabilitiesRequest {})
}

/// Makes a call of a client that must be rejected: at the handshake, which TLS 1.3 reports only with the first answer.
pub(crate) async fn calls(
    client: Result<AgentClient<Channel>, tonic::transport::Error>,
) -> Result<(), Status> {
    let mut client = client.map_err(|error| Status::unavailable(error.to_string()))?;
    client.get_capabilities(capabilities()).await.map(|_| ())
}

#[tokio::test]
async fn a_name_under_control_starts_and_one_under_read_only_looks() {
    needs!("open");
    let files = Files::new();
    let (daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let mut workload =
        Workload::behind_gate(&["open-times", "10", "openat", "/dev/null", "0", "0"]);
    let mut controller = files.client(port, uri(CONTROLLER)).await.unwrap();
    let mut reader = files.client(port, dns(READER)).await.unwrap();
    let starts = start("a", 1, spec("open", &workload));
    let refused = reader.start_trace(starts.clone()).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "NotAllowed")
    );
    assert!(refused.message().contains(READER), "{refused}");
    controller.start_trace(starts).await.unwrap();
    let stops = v1::StopTraceRequest {
        uid: "a".to_owned(),
    };
    let refused = reader.stop_trace(stops).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let update = tokio_stream::iter([v1::UpdateTargetsRequest::default()]);
    let refused = reader.update_targets(update).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    // A caller over the socket sees the same trace.
    assert_eq!(daemon.traces().await.len(), 1);
    let mut stream = reader
        .stream_events(crate::events("a", 0))
        .await
        .unwrap()
        .into_inner();
    workload.finish();
    let mut rows = 0;
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(v1::stream_events_response::Item::Batch(batch)) = message.item {
            rows += batch.rows;
        }
    }
    assert_eq!(rows, 10);
}

#[tokio::test]
async fn a_certificate_of_the_ca_without_a_role_may_nothing() {
    let files = Files::new();
    let (_daemon, port) = Daemon::over_tcp(&files.config("")).await;
    // A name that contains a permitted one is another name.
    let name = format!("{CONTROLLER}/evil");
    let refused = calls(files.client(port, uri(&name)).await)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "NotAllowed")
    );
}

#[tokio::test]
async fn only_alternative_names_of_a_certificate_are_names() {
    let files = Files::new();
    let (_daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let mut params = CertificateParams::default();
    let common = rcgen::DnType::CommonName;
    params.distinguished_name.push(common, CONTROLLER);
    for other in [Some(dns("a.example.org")), None] {
        params.subject_alt_names.clear();
        params.subject_alt_names.extend(other);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &files.ca.0).unwrap();
        let identity = (certificate.pem(), key.serialize_pem());
        let refused = calls(connect(port, &files.ca, Some(identity)).await).await;
        assert_eq!(reason(&refused.unwrap_err()), "NotAllowed");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_or_with_one_of_another_ca_is_rejected() {
    let files = Files::new();
    let (_daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let none = connect(port, &files.ca, None).await;
    assert!(is_cut_off(&calls(none).await.unwrap_err()));
    let strange = Ca::new().sign(uri(CONTROLLER));
    let strange = connect(port, &files.ca, Some(strange)).await;
    assert!(is_cut_off(&calls(strange).await.unwrap_err()));
    calls(files.client(port, uri(CONTROLLER)).await)
        .await
        .unwrap();
}

#[tokio::test]
async fn new_certificates_and_a_new_ca_are_used_from_then_on_and_connections_go_on() {
    let mut files = Files::new();
    let (daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let mut old = files.client(port, uri(CONTROLLER)).await.unwrap();
    old.get_capabilities(capabilities()).await.unwrap();
    // What is half written changes nothing.
    fs::write(
        files.folder.join("tls.crt"),
        "-----BEGIN CERTIFICATE-----\n",
    )
    .unwrap();
    until("the agent to have read it", || {
        (daemon.logged("keeping the old ones") > 0).then_some(())
    });
    calls(files.client(port, uri(CONTROLLER)).await)
        .await
        .unwrap();
    files.ca = Ca::new();
    files.write();
    let end = Instant::now() + tests::deadline();
    while calls(files.client(port, uri(CONTROLLER)).await)
        .await
        .is_err()
    {
        assert!(Instant::now() < end, "the new ones are not used");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    old.get_capabilities(capabilities()).await.unwrap();
}

/// Waits until this is let in, or is not.
async fn until_let_in(port: u16, trusts: &Ca, signed_by: &Ca, wanted: bool) {
    let end = Instant::now() + tests::deadline();
    loop {
        let identity = signed_by.sign(uri(CONTROLLER));
        let client = connect(port, trusts, Some(identity)).await;
        if calls(client).await.is_ok() == wanted {
            return;
        }
        assert!(Instant::now() < end, "let in: {}", !wanted);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_replaced_client_ca_accepts_only_its_own_clients_and_the_agent_keeps_its_certificate() {
    let files = Files::new();
    let (_daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let mut old = files.client(port, uri(CONTROLLER)).await.unwrap();
    old.get_capabilities(capabilities()).await.unwrap();
    let (before, after) = (&files.ca, Ca::new());
    let put = |text: &str| {
        let new = files.folder.join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, files.folder.join("ca.crt")).unwrap();
    };
    // Both CAs, as in a rotation that rejects no client.
    put(&format!("{}{}", before.0.pem(), after.0.pem()));
    until_let_in(port, before, &after, true).await;
    until_let_in(port, before, before, true).await;
    put(&after.0.pem());
    until_let_in(port, before, before, false).await;
    until_let_in(port, before, &after, true).await;
    old.get_capabilities(capabilities()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_behind_a_link_that_switches_is_followed() {
    let files = Files::new();
    // As a Secret is mounted: files are links into ..data, which is a link to the newest folder.
    let folder = &files.folder;
    let generation = |name: &str| {
        let there = folder.join(name);
        fs::create_dir(&there).unwrap();
        files.write();
        for file in ["tls.crt", "tls.key", "ca.crt"] {
            fs::rename(folder.join(file), there.join(file)).unwrap();
        }
        there
    };
    let switch = |to: &str| {
        symlink(to, folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    };
    let first = generation("..1");
    let second = generation("..2");
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        symlink(format!("..data/{file}"), folder.join(file)).unwrap();
    }
    switch("..1");
    let (_daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let shown = |folder: &Path| {
        let pem = fs::read(folder.join("tls.crt")).unwrap();
        let mine = rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap();
        let tls = crate::limits::shaken_hands(&files, port, CONTROLLER);
        tls.conn.peer_certificates().unwrap()[0] == mine
    };
    assert!(shown(&first));
    switch("..2");
    until("the new certificate to be shown", || {
        shown(&second).then_some(())
    });
    // What was there is taken away, as it is there.
    fs::remove_dir_all(&first).unwrap();
    calls(files.client(port, uri(CONTROLLER)).await)
        .await
        .unwrap();
}

/// No answer: the connection was closed, which the client may notice at any point.
fn is_cut_off(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::Unknown
    )
}

/// A connection that is closed by the other side.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_shake_hands_are_cut_off_and_hold_up_nobody() {
    let files = Files::new();
    let (daemon, port) = Daemon::over_tcp(&files.config("maxConnections: 8")).await;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    // From the client's own address, and from others more than the agent has places for. Nothing at all, and half of a TLS record.
    let own = [[127, 0, 0, 1].into()];
    let others = [2, 3, 4].map(|last| [127, 0, 0, last].into());
    let half = &[0x16, 3, 1][..];
    for (from, begin, count) in [
        (&own[..], &[][..], 64),
        (&own, half, 64),
        (&others[..1], half, 400),
        (&others, half, 800),
    ] {
        let flood = |attack: &Attack| hold_silent_connections(from, address, count, begin, attack);
        let runtime = tokio::runtime::Handle::current();
        let probes = |attack: &Attack| {
            attack.until(count);
            tokio::task::block_in_place(|| {
                runtime.block_on(async {
                    let began = Instant::now();
                    // Each by a connection of its own.
                    for _ in 0..20 {
                        let client = files.client(port, uri(CONTROLLER)).await;
                        calls(client).await.unwrap();
                    }
                    began.elapsed()
                })
            })
        };
        let took = beside(flood, probes);
        assert!(took < tests::deadline(), "{took:?} for 20 calls");
    }
    assert!(daemon.traces().await.is_empty());
    // If no other client needs room, the timeout closes them.
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(&[0x16, 3, 1]).unwrap();
    until("a handshake to be over", || {
        is_closed(&mut idle).then_some(())
    });
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_is_opened() {
    let files = Files::new();
    let missing = Path::new("/no/such/file").display();
    let broken = files.config("").replace("ca.crt", "no.crt");
    for (config, listen, wanted) in [
        ("{}".to_owned(), "https://127.0.0.1:0", "https requires tls"),
        (
            files.config(""),
            "unix:///tmp/tracejob-test-none/a.sock",
            "no https listener",
        ),
        (
            files.config(""),
            "http://127.0.0.1:0",
            "plaintext TCP is not supported",
        ),
        (broken, "https://127.0.0.1:0", "tls.clientCa"),
    ] {
        let message = Daemon::refused(&config, listen);
        assert!(message.contains(wanted), "{missing}: {message}");
    }
}

//! One listener for IPv6 and IPv4.

use crate::{
    daemon::{Daemon, free_port, spec},
    start,
    tls::{CONTROLLER, Files, uri},
};
use proto::v1::agent_client::AgentClient;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};
use tests::{Workload, folder, needs, until};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

#[tokio::test]
async fn the_unspecified_address_serves_both_families_and_the_audit_has_plain_addresses() {
    needs!("open");
    let files = Files::new();
    files.for_names(&["::1", "127.0.0.1"]);
    let folder = folder();
    let audit = folder.join("audit.log");
    let metrics = free_port();
    let more = format!(
        "audit: {}\nmetrics: {{listen: '[::]:{metrics}'}}",
        audit.display()
    );
    let (_daemon, port) = Daemon::over_tcp_at("[::]", &files.config(&more), &[]).await;
    let workload = Workload::behind_gate(&["open-times", "10", "openat", "/dev/null", "0", "0"]);
    for (uid, host) in [("over-ipv4", "127.0.0.1"), ("over-ipv6", "[::1]")] {
        // By the address in the certificate, and no name.
        let (certificate, key) = files.ca.sign(uri(CONTROLLER));
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(files.ca.0.pem()))
            .identity(Identity::from_pem(certificate, key));
        let endpoint = Endpoint::new(format!("https://{host}:{port}")).unwrap();
        let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
        let mut client = AgentClient::new(channel);
        let starts = start(uid, 1, spec("open", &workload));
        client.start_trace(starts).await.unwrap();
        let peer = format!("{CONTROLLER} from {host}:");
        until("the audit to name the client", || {
            let text = fs::read_to_string(&audit).unwrap();
            text.contains(&peer).then_some(())
        });
        let mut stream = until("the metrics", || {
            TcpStream::connect(format!("{host}:{metrics}")).ok()
        });
        write!(stream, "GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

//! Readers: kubectl, which goes through the API server, and a client of gRPC, which does not.

use crate::cluster::{Cluster, gateway_address};
use proto::v1::{
    StreamEventsResponse, StreamJobEventsRequest, jobs_client::JobsClient,
    stream_events_response::Item,
};
use serde_json::Value;
use std::{
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};
use tests::{cluster_program, until};
use tonic::{
    Request, Status, Streaming,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

/// A kubectl that reads.
pub(crate) struct Reader {
    child: Child,
}

/// What one has read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) rows: Vec<Value>,
    /// Lines that are no rows.
    pub(crate) others: Vec<Value>,
    pub(crate) account: Value,
}

impl Read {
    pub(crate) fn of(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            match value.as_object().unwrap().keys().next().map(String::as_str) {
                Some("account") => read.account = value["account"].clone(),
                Some("gap" | "lost" | "nodes" | "resume" | "error") => read.others.push(value),
                _ => read.rows.push(value),
            }
        }
        read
    }
}

impl Reader {
    pub(crate) fn start(cluster: &Cluster, kubeconfig: &Path, path: &str) -> Self {
        let mut kubectl = cluster.plane.beside(cluster_program("kubectl"));
        kubectl
            .args(["get", "--raw", path])
            .env("KUBECONFIG", kubeconfig);
        let child = kubectl
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self {
            child: child.unwrap(),
        }
    }

    /// What it has read, once it has come to the end.
    pub(crate) fn finish(self) -> Read {
        let out = self.child.wait_with_output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(
            out.status.success(),
            "{}\n{text}",
            String::from_utf8_lossy(&out.stderr)
        );
        Read::of(&text)
    }
}

/// What kubectl reads, or why not.
pub(crate) fn raw(cluster: &Cluster, kubeconfig: &Path, path: &str) -> Result<String, String> {
    let out = Reader::start(cluster, kubeconfig, path)
        .child
        .wait_with_output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match out.status.success() {
        true => Ok(text(&out.stdout)),
        false => Err(text(&out.stderr)),
    }
}

/// An account, and its token for this audience.
pub(crate) fn token(cluster: &Cluster, namespace: &str, account: &str, audience: &str) -> String {
    let object = serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}});
    cluster.plane.apply(&[object]).unwrap();
    let audience = format!("--audience={audience}");
    let token = cluster
        .plane
        .output_of(&["create", "token", account, "-n", namespace, &audience]);
    token.trim().to_owned()
}

/// Binds a role in a namespace to a subject.
pub(crate) fn bind(cluster: &Cluster, namespace: &str, role: &str, subject: Value) {
    let name = format!("{role}-{}", subject["name"].as_str().unwrap());
    cluster
        .plane
        .apply(&[serde_json::json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        })])
        .unwrap();
}

/// Runs something in the network of the cluster.
pub(crate) fn in_network<T: Send>(cluster: &Cluster, what: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            cluster.plane.net().enter();
            let runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(what)
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A connection to a gateway.
pub(crate) async fn connect(cluster: &Cluster, replica: usize) -> JobsClient<Channel> {
    let ca = std::fs::read(cluster.plane.pki().file("ca.crt")).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .domain_name("tracejob-gateway");
    let endpoint =
        Endpoint::from_shared(format!("https://{}:8443", gateway_address(replica))).unwrap();
    let endpoint = endpoint.tls_config(tls).unwrap();
    for _ in 0..200 {
        if let Ok(channel) = endpoint.connect().await {
            return JobsClient::new(channel).max_decoding_message_size(64 << 20);
        }
        // It starts.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the gateway does not answer");
}

pub(crate) fn stream_request(namespace: &str, name: &str) -> StreamJobEventsRequest {
    StreamJobEventsRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..StreamJobEventsRequest::default()
    }
}

/// Opens a stream by a token.
pub(crate) async fn open(
    client: &mut JobsClient<Channel>,
    token: &str,
    stream_request: StreamJobEventsRequest,
) -> Result<Streaming<StreamEventsResponse>, Status> {
    let mut request = Request::new(stream_request);
    let bearer: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    Ok(client.stream_events(request).await?.into_inner())
}

/// What a client of gRPC has read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) gap: u64,
    pub(crate) resume: Vec<u8>,
    /// Names of nodes in the messages.
    pub(crate) nodes: Vec<proto::v1::NodeAccount>,
    pub(crate) account: Option<proto::v1::Account>,
}

impl Tally {
    /// Takes one message; false at the end.
    pub(crate) async fn take(
        &mut self,
        stream: &mut Streaming<StreamEventsResponse>,
    ) -> Result<bool, Status> {
        let Some(message) = stream.message().await? else {
            return Ok(false);
        };
        if !message.resume.is_empty() {
            self.resume = message.resume;
        }
        match message.item {
            Some(Item::Batch(batch)) => self.rows += u64::from(batch.rows),
            Some(Item::Gap(gap)) => self.gap += gap.rows.unwrap(),
            Some(Item::Nodes(nodes)) => self.nodes.extend(nodes.nodes),
            Some(Item::Account(account)) => self.account = Some(account),
            _ => {}
        }
        Ok(true)
    }

    /// All of a stream.
    pub(crate) async fn all(stream: &mut Streaming<StreamEventsResponse>) -> Result<Self, Status> {
        let mut tally = Self::default();
        while tally.take(stream).await? {}
        Ok(tally)
    }

    /// The account, which must be there.
    pub(crate) fn closed(&self) -> &proto::v1::Account {
        self.account.as_ref().expect("an account at the end")
    }
}

/// Waits until a job has seen this number of events.
pub(crate) fn until_seen(cluster: &Cluster, namespace: &str, name: &str, events: u64) {
    until("the job to have seen all", || {
        let job = cluster.job(namespace, name)?;
        (job["status"]["events"]["delivered"].as_u64()? >= events).then_some(())
    });
}

//! A cluster without kubelets: the API server, the controller, and real agents on addresses of their own. Nodes, pods and what is in
//! them the tests make themselves; pods' cgroups as a kubelet does.

mod gateways;
mod pods;

pub(crate) use gateways::gateway_address;
pub(crate) use pods::{Pod, container_id};

use crate::plane;
use base64::{Engine, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Stdio},
};
use tests::{Certificate, Cgroup, ControlPlane, SYSTEM, program, until};

pub(crate) struct Cluster {
    pub(crate) plane: ControlPlane,
    controller: Option<Child>,
    agents: Vec<Agent>,
    gateways: Vec<Option<Child>>,
    kubelet: Cgroup,
}

struct Agent {
    address: String,
    child: Option<Child>,
}

impl Cluster {
    /// Starts a cluster with this number of nodes, `node-0` and so on, and an agent on each.
    pub(crate) fn start(nodes: usize) -> Self {
        Self::start_with(nodes, "")
    }

    /// The same with lines for the agents' policy.
    pub(crate) fn start_with(nodes: usize, policy: &str) -> Self {
        let plane = plane();
        for namespace in [SYSTEM, "shop", "bank"] {
            plane.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})]).unwrap();
        }
        certify(&plane);
        let ca = |name: &str| plane.pki().file(name);
        fs::copy(ca("ca.crt"), ca("agents-ca.crt")).unwrap();
        let mut cluster = Self {
            plane,
            controller: None,
            agents: Vec::new(),
            gateways: Vec::new(),
            kubelet: Cgroup::new(),
        };
        for node in 0..nodes {
            cluster.node(node);
            let address = format!("10.77.1.{}", node + 1);
            cluster.plane.net().address(&format!("{address}/32"));
            cluster.plane.net().address(&format!("{}/128", ipv6(node)));
            cluster.agents.push(Agent {
                address,
                child: None,
            });
            cluster.write_config(node, policy);
            cluster.start_agent(node);
        }
        cluster.endpoints();
        cluster.start_controller();
        cluster
    }

    /// New certificates for agents and controller, by the same authority.
    pub(crate) fn certify(&self) {
        certify(&self.plane);
    }

    pub(crate) fn node(&self, node: usize) {
        let labels = json!({"kubernetes.io/hostname": format!("node-{node}")});
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{node}"), "labels": labels}});
        self.plane.apply(&[object]).unwrap();
    }

    /// Addresses of the agents, as the controller of the service would report them.
    fn endpoints(&self) {
        let addresses = self.agents.iter().map(|agent| agent.address.clone());
        self.slice("IPv4", &addresses.collect::<Vec<_>>());
    }

    /// The slice of a family, with each node's address.
    pub(crate) fn slice(&self, family: &str, addresses: &[String]) {
        let endpoints = addresses.iter().enumerate();
        let endpoints: Vec<Value> = endpoints
            .map(|(node, address)| json!({"addresses": [address], "nodeName": format!("node-{node}")}))
            .collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": {"name": format!("agents-{}", family.to_lowercase()), "namespace": SYSTEM, "labels": {"kubernetes.io/service-name": "tracejob-agent"}},
            "ports": [{"name": "grpc", "port": 4040}], "endpoints": endpoints,
        });
        self.plane.apply(&[slice]).unwrap();
    }

    fn write_config(&self, node: usize, policy: &str) {
        let file = |name: &str| self.plane.pki().file(name).display().to_string();
        let config = format!(
            "listen: ['https://{}:4040', 'https://[{}]:4040']\ntls: {{certificate: {}, key: {}, clientCa: {}}}\nroles: {{control: [tracejob-controller], read: [tracejob-gateway]}}\npolicy: {{{policy}}}\n",
            self.agents[node].address,
            ipv6(node),
            file("agent.crt"),
            file("agent.key"),
            file("agents-ca.crt"),
        );
        fs::write(self.config(node), config).unwrap();
    }

    fn config(&self, node: usize) -> PathBuf {
        self.plane.folder().join(format!("agent-{node}.yaml"))
    }

    /// Gives the agents the files of a Secret: they see it by themselves.
    pub(crate) fn agents_take(&self, data: &Value) {
        for (name, file) in [
            ("tls.crt", "agent.crt"),
            ("tls.key", "agent.key"),
            ("ca.crt", "agents-ca.crt"),
        ] {
            let text = STANDARD.decode(data[name].as_str().unwrap()).unwrap();
            fs::write(self.plane.pki().file(file), text).unwrap();
        }
    }

    pub(crate) fn start_agent(&mut self, node: usize) {
        let log = self.log(&format!("agent-{node}"));
        let agent = ours("tracejob-agent");
        let mut command = self.plane.net().command(agent);
        command.arg("--config").arg(self.config(node));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.agents[node].child = Some(child);
    }

    fn log(&self, name: &str) -> fs::File {
        let path = self.plane.folder().join(format!("{name}.log"));
        fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    }

    /// By SIGKILL.
    pub(crate) fn kill_agent(&mut self, node: usize) {
        end(&mut self.agents[node].child);
    }

    /// By SIGTERM, as a kubelet does.
    pub(crate) fn end_agent(&mut self, node: usize) {
        self.signal_agent(node, Signal::TERM);
        if let Some(mut child) = self.agents[node].child.take() {
            child.wait().unwrap();
        }
    }

    /// Stopped, it does not answer, as if it could not be reached.
    pub(crate) fn signal_agent(&self, node: usize, signal: Signal) {
        send(&self.agents[node].child, signal);
    }

    pub(crate) fn signal_controller(&self, signal: Signal) {
        send(&self.controller, signal);
    }

    /// Log of an agent, with its audit records.
    pub(crate) fn agent_log(&self, node: usize) -> PathBuf {
        self.plane.folder().join(format!("agent-{node}.log"))
    }

    /// Where the controller's lines go.
    pub(crate) fn controller_log(&self) -> PathBuf {
        self.plane.folder().join("controller.log")
    }

    pub(crate) fn start_controller(&mut self) {
        self.start_controller_with(&[]);
    }

    pub(crate) fn start_controller_with(&mut self, more: &[&str]) {
        let folder = self.plane.folder().join("tls");
        fs::create_dir_all(&folder).unwrap();
        for (from, to) in [
            ("ca.crt", "ca.crt"),
            ("tls.crt", "tls.crt"),
            ("tls.key", "tls.key"),
        ] {
            fs::copy(self.plane.pki().file(from), folder.join(to)).unwrap();
        }
        let log = self.log("controller");
        let mut command = self.plane.net().command(ours("tracejob-controller"));
        command
            .args(["--namespace", SYSTEM, "--no-lease", "--tls"])
            .arg(folder)
            .args(more)
            .env("KUBECONFIG", self.plane.admin())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.controller = Some(command.spawn().unwrap());
    }

    /// As a user of the cluster, with certificates of its own making, in competition for the lease.
    pub(crate) fn start_controller_as(&mut self, user: &str, more: &[&str]) -> Child {
        let mut command = self.plane.net().command(ours("tracejob-controller"));
        command
            .args(["--namespace", SYSTEM, "--gateway", "tracejob-gateway"])
            .args(more)
            .env(
                "KUBECONFIG",
                self.plane.kubeconfig(user, &["system:serviceaccounts"]),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log("controller"));
        command.spawn().unwrap()
    }

    /// Its process: nsenter(1) became it.
    pub(crate) fn controller_pid(&self) -> u32 {
        self.controller.as_ref().unwrap().id()
    }

    /// What it counts of itself, once it serves that.
    pub(crate) fn controller_metrics(&self, address: &str) -> Option<String> {
        self.ask_controller(address, "/metrics")
    }

    /// Whether it works or waits for the lease.
    pub(crate) fn controller_is_ready(&self, address: &str) -> bool {
        let answer = self.ask_controller(address, "/readyz");
        answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    fn ask_controller(&self, address: &str, path: &str) -> Option<String> {
        let request = || {
            self.plane.net().enter();
            let mut stream = TcpStream::connect(address).ok()?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: controller\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            Some(answer)
        };
        // A network is a thread's.
        std::thread::scope(|scope| scope.spawn(request).join().unwrap())
    }

    /// An agent's process.
    pub(crate) fn agent_pid(&self, node: usize) -> u32 {
        self.agents[node].child.as_ref().unwrap().id()
    }

    /// Where an agent listens.
    pub(crate) fn agent_address(&self, node: usize) -> String {
        self.agents[node].address.clone()
    }

    /// By SIGKILL.
    pub(crate) fn kill_controller(&mut self) {
        end(&mut self.controller);
    }

    pub(crate) fn apply(&self, job: &Value) {
        self.plane.apply(std::slice::from_ref(job)).unwrap();
    }

    pub(crate) fn job(&self, namespace: &str, name: &str) -> Option<Value> {
        let path = format!("/apis/tracejob.dev/v1alpha1/namespaces/{namespace}/tracejobs/{name}");
        self.plane.get(&path)
    }

    /// Waits until a job satisfies a condition, and returns it.
    pub(crate) fn until(
        &self,
        what: &str,
        namespace: &str,
        name: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        until(&format!("{name} {what}"), || {
            self.job(namespace, name).filter(|job| is(job))
        })
    }

    /// Waits until it runs on this number of nodes.
    pub(crate) fn until_runs(&self, namespace: &str, name: &str, nodes: u64) -> Value {
        self.until("to run", namespace, name, |job| {
            job["status"]["nodes"]["running"] == nodes
        })
    }

    /// Waits until the agent of a node has received a container as a target, and has selected it if it exists.
    pub(crate) fn until_selected(&self, node: usize, id: &str) {
        let log = self.agent_log(node);
        until("the agent to receive a container", || {
            fs::read_to_string(&log).unwrap().contains(id).then_some(())
        });
    }

    /// Waits until it is over.
    pub(crate) fn until_over(&self, namespace: &str, name: &str) -> Value {
        let over = |job: &Value| ["Complete", "Failed"].iter().any(|type_| holds(job, type_));
        self.until("to be over", namespace, name, over)
    }
}

/// Where a node's agent listens besides.
pub(crate) fn ipv6(node: usize) -> String {
    format!("fd77::{:x}", node + 1)
}

fn certify(plane: &ControlPlane) {
    for (file, names) in [
        ("agent", &["tracejob-agent"][..]),
        ("tls", &["tracejob-controller"]),
        (
            "gateway",
            &["tracejob-gateway", "tracejob-gateway.tracejob-system.svc"],
        ),
    ] {
        plane.pki().sign(Certificate {
            file,
            common_name: names[0],
            organizations: &[],
            names,
        });
    }
}

/// Whether a condition of a job holds.
pub(crate) fn holds(job: &Value, type_: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == type_ && condition["status"] == "True")
}

/// The reason that `kubectl get` shows.
pub(crate) fn word(job: &Value) -> &str {
    let conditions = job["status"]["conditions"].as_array().unwrap();
    let mut conditions = conditions.iter();
    let found = conditions
        .find(|condition| condition["type"] == "Progressing")
        .unwrap();
    found["reason"].as_str().unwrap()
}

/// A job of a namespace.
pub(crate) fn job(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "tracejob.dev/v1alpha1", "kind": "TraceJob",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// A program of ours.
pub(crate) fn ours(name: &str) -> PathBuf {
    match std::env::var_os("TRACEJOB_BIN") {
        Some(path) => PathBuf::from(path).with_file_name(name),
        None => program(name),
    }
}

fn send(child: &Option<Child>, signal: Signal) {
    let pid = Pid::from_child(child.as_ref().unwrap());
    kill_process(pid, signal).unwrap();
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        end(&mut self.controller);
        self.gateways.iter_mut().for_each(end);
        for agent in &mut self.agents {
            end(&mut agent.child);
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.controller_log());
            let log = log.unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(10).collect();
            eprintln!("the controller, last first:\n{}", last.join("\n"));
        }
    }
}

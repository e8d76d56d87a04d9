//! The cluster of the tests, and its queries.

use serde_json::{Value, json};
use std::{
    cell::Cell,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tests::{Kubectl, Nodes, SYSTEM};

/// Those that this machine has.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// How long anything may take that pods have to start for: 10 s each here, emulated, and several at a time.
const TIMEOUT: Duration = Duration::from_secs(450);

thread_local! {
    /// Which one of the test that runs: what the first has left is not to meet the second.
    pub(crate) static ATTEMPT: Cell<usize> = const { Cell::new(1) };
}

/// A step of a pod's container: waits until [`Cluster::open_gate`] is called for the pod.
pub(crate) const GATE: &str = "serve 0.0.0.0:8000 0 0 1";
const GATE_PORT: u16 = 8000;
/// A step that does not end.
pub(crate) const FOREVER: &str = "pause-forever";
/// Where agents serve their metrics.
const METRICS_PORT: u16 = 9464;

/// A test of the cluster.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Cluster),
    /// Part of the short form.
    pub(crate) is_short: bool,
}

impl Test {
    pub(crate) const fn short(name: &'static str, run: fn(&Cluster)) -> Self {
        Self {
            name,
            run,
            is_short: true,
        }
    }

    pub(crate) const fn long(name: &'static str, run: fn(&Cluster)) -> Self {
        Self {
            is_short: false,
            ..Self::short(name, run)
        }
    }
}

pub(crate) struct Cluster {
    kubectl: Kubectl,
    /// Nodes that pods can be put on.
    pub(crate) nodes: Vec<String>,
    image: String,
    ours: Option<Mutex<Nodes>>,
}

impl Cluster {
    /// One that is there, or one of our own; `more` are arguments of Helm for our own.
    pub(crate) fn find(more: &[&str]) -> Self {
        let there = std::env::var_os("TRACEJOB_KUBECONFIG");
        let (kubectl, ours) = match there {
            Some(file) => (Kubectl::of(PathBuf::from(file)), None),
            None => {
                let began = Instant::now();
                let report =
                    |what: &str| eprintln!("{:5.1} s  {what}", began.elapsed().as_secs_f32());
                let nodes = Nodes::start(report);
                report("installing TraceJob");
                nodes.install(more);
                report("TraceJob is ready");
                ((**nodes.plane()).clone(), Some(Mutex::new(nodes)))
            }
        };
        let all = kubectl.get("/api/v1/nodes").expect("the cluster to answer");
        let nodes = all["items"].as_array().unwrap().iter();
        let nodes = nodes.filter(|node| node["spec"]["taints"].is_null());
        let name = |node: &Value| {
            node["metadata"]["labels"]["kubernetes.io/hostname"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        Self {
            nodes: nodes.map(name).take(2).collect(),
            image: std::env::var("TRACEJOB_WORKLOAD_IMAGE")
                .unwrap_or_else(|_| "localhost/tracejob-workload:test".to_owned()),
            kubectl,
            ours,
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.ours.is_some()
    }

    /// Our own cluster's parts.
    pub(crate) fn parts(&self) -> MutexGuard<'_, Nodes> {
        let ours = self.ours.as_ref().expect("a cluster of our own");
        ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uninstalls TraceJob.
    pub(crate) fn uninstall(&self) {
        let out = self.parts().uninstall();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    /// The pod of the agent on a node.
    pub(crate) fn agent(&self, node: usize) -> Value {
        let path = format!(
            "/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io/component=agent"
        );
        let agents = self.kubectl.get(&path).unwrap();
        let mut agents = agents["items"].as_array().unwrap().iter();
        let on_node = |pod: &&Value| pod["spec"]["nodeName"] == self.nodes[node].as_str();
        agents.find(on_node).unwrap().clone()
    }

    /// Events that an agent has produced since its start. The API server is not called.
    pub(crate) fn produced(&self, agent: &Value) -> u64 {
        let request = "GET /metrics HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n";
        let answer = until(
            || "the agent's metrics".to_owned(),
            || self.call(agent, METRICS_PORT, request),
        );
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let counters = answer
            .lines()
            .filter(|line| line.starts_with("tracejob_events_produced_total"));
        let values = counters.map(|line| line.rsplit_once(' ').unwrap().1);
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    }

    /// Lets a pod's container go on that waits in [`GATE`]. The API server is not called.
    pub(crate) fn open_gate(&self, pod: &Value) {
        until(|| "the gate".to_owned(), || self.call(pod, GATE_PORT, ""));
    }

    /// Sends a request to a pod, and returns its answer; none while nothing listens there.
    fn call(&self, pod: &Value, port: u16, request: &str) -> Option<String> {
        let address = pod["status"]["podIP"].as_str().unwrap();
        let net = self.parts().plane().net().name().to_owned();
        let request = || {
            tests::enter_net(&net);
            let mut stream = TcpStream::connect((address, port)).ok()?;
            match port {
                // It waits for the end of what it reads; a server of HTTP takes that for a client that is gone.
                GATE_PORT => stream.shutdown(Shutdown::Write).unwrap(),
                _ => stream.write_all(request.as_bytes()).unwrap(),
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            Some(answer)
        };
        // A network is a thread's.
        std::thread::scope(|scope| scope.spawn(request).join().unwrap())
    }

    /// Prints the state of the cluster, to find the cause of a failed test.
    pub(crate) fn print_state(&self) {
        for arguments in [
            &["get", "pods", "-A", "-o", "wide"][..],
            &["get", "tracejobs", "-A"],
            &["get", "events", "-n", SYSTEM],
            &[
                "logs",
                "-n",
                SYSTEM,
                "-l",
                "app.kubernetes.io/component=controller",
                "--tail=20",
                "--prefix",
            ],
            &[
                "logs",
                "-n",
                SYSTEM,
                "-l",
                "app.kubernetes.io/component=agent",
                "--tail=10",
                "--prefix",
            ],
        ] {
            let out = self.kubectl.kubectl(arguments);
            eprintln!(
                "kubectl {}\n{}",
                arguments.join(" "),
                String::from_utf8_lossy(&out.stdout)
            );
        }
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// A namespace of a test's own, removed when it is dropped.
    pub(crate) fn namespace(&self, name: &str) -> Namespace<'_> {
        let name = format!("tracejob-test-{name}-{}", ATTEMPT.get());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.kubectl.apply(&[object]).unwrap();
        // Its default account is made by another, and pods want it.
        let cluster = self;
        let namespace = Namespace { cluster, name };
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/default",
            namespace.name
        );
        until(|| "its account".to_owned(), || self.kubectl.get(&path));
        namespace
    }
}

/// How long a job runs in which pods are to start: longer where they are emulated by few processors.
pub(crate) fn scaled(seconds: u32) -> u32 {
    if processors() < 4 {
        2 * seconds
    } else {
        seconds
    }
}

pub(crate) struct Namespace<'a> {
    cluster: &'a Cluster,
    pub(crate) name: String,
}

impl Namespace<'_> {
    pub(crate) fn apply(&self, object: Value) {
        self.cluster.kubectl.apply(&[object]).unwrap();
    }

    /// Creates a pod on a node, with a container that does these steps.
    pub(crate) fn pod(&self, name: &str, node: usize, steps: &str) {
        let node = self.cluster.nodes[node % self.cluster.nodes.len()].as_str();
        self.apply(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": self.name, "labels": {"app": name.split('-').next()}},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": node},
                "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
                "containers": [{
                    "name": "main", "image": self.cluster.image, "imagePullPolicy": "IfNotPresent",
                    "args": steps.split(' ').collect::<Vec<_>>(),
                }],
            },
        }));
    }

    /// Waits until a pod's container runs, or did.
    pub(crate) fn until_pod_runs(&self, name: &str) -> Value {
        let path = format!("/api/v1/namespaces/{}/pods/{name}", self.name);
        until(
            || format!("pod {name} to run"),
            || {
                let pod = self.cluster.kubectl.get(&path)?;
                let started = &pod["status"]["containerStatuses"][0];
                (started["started"] == true || started["restartCount"].as_u64() > Some(0))
                    .then_some(pod)
            },
        )
    }

    /// Creates a job of these pods, which ends after this number of events on each of its nodes, if given, or at its deadline.
    pub(crate) fn job(
        &self,
        name: &str,
        seconds: u32,
        events: Option<u64>,
        tracer: Value,
        app: &str,
    ) {
        let limits = events.map_or_else(|| json!({}), |events| json!({"maxEvents": events}));
        self.apply(json!({
            "apiVersion": "tracejob.dev/v1alpha1", "kind": "TraceJob",
            "metadata": {"name": name, "namespace": self.name},
            "spec": {
                "tracer": tracer, "activeDeadlineSeconds": scaled(seconds), "limits": limits,
                "selector": {"matchLabels": {"app": app}},
            },
        }));
    }

    /// Waits until a job is so.
    pub(crate) fn until_job(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let path = format!(
            "/apis/tracejob.dev/v1alpha1/namespaces/{}/tracejobs/{name}",
            self.name
        );
        let last = std::cell::RefCell::new(Value::Null);
        let state = || format!("{name} {what}: {:#}", last.borrow());
        until(state, || {
            let job = self.cluster.kubectl.get(&path)?;
            last.replace(job["status"].clone());
            let over = holds(&job, "Complete") || holds(&job, "Failed");
            match is(&job) {
                true => Some(job),
                // It will not be so any more.
                false if over => panic!("{}", state()),
                false => None,
            }
        })
    }

    pub(crate) fn until_runs(&self, name: &str, nodes: u64) -> Value {
        self.until_job(name, "to run", |job| {
            job["status"]["nodes"]["running"] == nodes
        })
    }

    pub(crate) fn until_delivered(&self, name: &str, events: u64) -> Value {
        self.until_job(name, &format!("to have {events} events"), |job| {
            job["status"]["events"]["delivered"] == events
        })
    }

    /// Waits until it is over, which must be so.
    pub(crate) fn until_over(&self, name: &str, reason: &str) -> Value {
        let over = self.until_job(name, "to be over", |job| {
            holds(job, "Complete") || holds(job, "Failed")
        });
        assert_eq!(word(&over), reason, "{:#}", over["status"]);
        over
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // After a failed test it is kept for inspection; it ends with a cluster of the tests.
        if !std::thread::panicking() {
            let arguments = ["delete", "namespace", &self.name, "--wait=false"];
            self.cluster.kubectl.kubectl(&arguments);
        }
    }
}

/// Waits as long as pods may take.
pub(crate) fn until<T>(what: impl Fn() -> String, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + TIMEOUT;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {}", what());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Whether a condition of a job holds.
pub(crate) fn holds(job: &Value, type_: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == type_ && condition["status"] == "True")
}

/// The reason that `kubectl get` shows.
fn word(job: &Value) -> &str {
    let conditions = job["status"]["conditions"].as_array().unwrap();
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == "Progressing");
    found.unwrap()["reason"].as_str().unwrap()
}

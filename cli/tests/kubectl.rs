//! Tests of the plugin with a simulated API server: its requests and its output.
#![expect(clippy::unwrap_used, reason = "a panic fails the test with its place")]

use prost::Message;
use proto::v1::{self, stream_events_response::Item};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Timeout of a wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// State of the simulated cluster, and the requests that it received.
#[derive(Default)]
struct State {
    requests: Vec<String>,
    job: Option<Value>,
    deleted: bool,
    suspended: bool,
    /// Whether the job runs until it is ended.
    endless: bool,
    /// Whether the first stream breaks off after the first row.
    breaks: bool,
    /// Verb that is denied.
    forbidden: Option<&'static str>,
}

/// A cluster with one job at most.
#[derive(Clone, Default)]
struct Cluster(Arc<Mutex<State>>);

impl Cluster {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the server. Returns a kubeconfig with its address.
    fn serve(&self) -> PathBuf {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cluster = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let cluster = cluster.clone();
                thread::spawn(move || cluster.answer(stream.unwrap()));
            }
        });
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let file = file.join(format!("kubeconfig-{}", address.port()));
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: a, clusters: [{{name: a, cluster: {{server: 'http://{address}'}}}}], contexts: [{{name: a, context: {{cluster: a, namespace: shop}}}}]}}"
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    fn answer(&self, mut stream: TcpStream) {
        let (line, body) = request(&mut stream);
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        self.state().requests.push(line.clone());
        if path.contains("/events?") {
            return self.events(stream);
        }
        let (code, answer) = self.object(method, path, &body);
        let answer = answer.to_string();
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 {code} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let _ = stream.write_all((head + &answer).as_bytes());
    }

    fn object(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let mut state = self.state();
        if state.forbidden == Some("create") && method == "POST" {
            let message = "tracejobs.tracejob.dev is forbidden: User \"ann\" cannot create resource \"tracejobs\" in API group \"tracejob.dev\" in the namespace \"shop\"";
            return (403, failure(403, "Forbidden", message));
        }
        match method {
            "POST" => {
                let mut job: Value = serde_json::from_slice(body).unwrap();
                if let Some(prefix) = job["metadata"]["generateName"].as_str() {
                    job["metadata"]["name"] = format!("{prefix}x7k2p").into();
                }
                state.job = Some(job.clone());
                (201, job)
            }
            "DELETE" => {
                state.deleted = true;
                (
                    200,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
                )
            }
            "PATCH" => {
                state.suspended = true;
                (200, state.job.clone().unwrap())
            }
            _ => match (&state.job, state.deleted) {
                (Some(job), false) if path.ends_with(job["metadata"]["name"].as_str().unwrap()) => {
                    let mut job = job.clone();
                    job["status"] = json!({
                        "nodes": {"desired": 2},
                        "conditions": [{"type": "Progressing", "status": "True", "reason": "Running", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                    });
                    (200, job)
                }
                _ => (
                    404,
                    failure(
                        404,
                        "NotFound",
                        "tracejobs.tracejob.dev \"nothing\" not found",
                    ),
                ),
            },
        }
    }

    fn events(&self, mut stream: TcpStream) {
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        let mut say = |message: v1::StreamEventsResponse| {
            let _ = stream.write_all(&message.encode_length_delimited_to_vec());
        };
        say(item(Item::Schema(client::schema(
            tracers::find(tracer()).unwrap(),
            &tracers::LABELS[..1],
        ))));
        let (breaks, last) = {
            let mut state = self.state();
            let last = state.requests.last().unwrap().contains("follow=false");
            (std::mem::take(&mut state.breaks), last)
        };
        let running = nodes(v1::NodeState::Running);
        if !last {
            say(item(Item::Nodes(v1::Nodes { nodes: running })));
            say(row("node1"));
            say(v1::StreamEventsResponse {
                resume: vec![1],
                ..v1::StreamEventsResponse::default()
            });
        }
        if breaks {
            return;
        }
        let began = Instant::now();
        let ended = |state: &State| !state.endless || state.deleted;
        while !last && !ended(&self.state()) && began.elapsed() < TIMEOUT {
            if self.state().suspended {
                let ended = nodes(v1::NodeState::Ended);
                say(item(Item::Nodes(v1::Nodes { nodes: ended })));
                // As the gateway does: a suspended job may go on.
                thread::sleep(TIMEOUT);
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        say(row("node2"));
        say(item(Item::Account(v1::Account {
            produced: 2,
            delivered: 2,
            complete: true,
            ended: if last { "no_follow" } else { "duration" }.to_owned(),
            nodes: nodes(v1::NodeState::Ended),
            ..v1::Account::default()
        })));
    }
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    (head.lines().next().unwrap_or_default().to_owned(), body)
}

fn item(item: Item) -> v1::StreamEventsResponse {
    v1::StreamEventsResponse {
        item: Some(item),
        ..v1::StreamEventsResponse::default()
    }
}

fn nodes(state: v1::NodeState) -> Vec<v1::NodeAccount> {
    let node = |name: &str| v1::NodeAccount {
        node: name.to_owned(),
        state: state.into(),
        ..v1::NodeAccount::default()
    };
    vec![node("node1"), node("node2")]
}

fn row(node: &str) -> v1::StreamEventsResponse {
    let values = v1::values::Values::Bytes(v1::Bytes {
        ends: vec![node.len() as u32],
        data: node.as_bytes().to_vec().into(),
        cut: Vec::new(),
    });
    let values = v1::Values {
        values: Some(values),
    };
    item(Item::Batch(v1::Batch {
        rows: 1,
        columns: vec![values],
        ..v1::Batch::default()
    }))
}

fn start(cluster: &Cluster, args: &[&str]) -> Child {
    let file = cluster.serve();
    Command::new(env!("CARGO_BIN_EXE_tracejob"))
        .arg0("kubectl-tracejob")
        .args(args)
        .arg("--kubeconfig")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(cluster: &Cluster, args: &[&str]) -> (Output, String, String) {
    ended(start(cluster, args))
}

fn ended(child: Child) -> (Output, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

/// Any tracer of events: its rows here have the column of nodes alone.
fn tracer() -> &'static str {
    tracers::of_events().name()
}

/// Waits until the stream is read, and interrupts.
fn interrupt(cluster: &Cluster, child: &Child) {
    let began = Instant::now();
    let read = |state: &State| state.requests.iter().any(|line| line.contains("/events?"));
    while !read(&cluster.state()) {
        assert!(began.elapsed() < TIMEOUT);
        thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[test]
fn a_run_makes_a_job_shows_its_rows_and_deletes_it() {
    let cluster = Cluster::default();
    let line = [
        "run",
        tracer(),
        "-l",
        "app=x",
        "--duration",
        "1m",
        "-o",
        "csv",
    ];
    let (output, out, err) = run(&cluster, &line);
    assert_eq!(out, "node\nnode1\nnode2\n", "{err}");
    assert_eq!(output.status.code(), Some(0), "{err}");
    let name = format!("{}-x7k2p", tracer().replace('_', "-"));
    assert!(
        err.starts_with(&format!("tracejob.tracejob.dev/{name} created\n")),
        "{err}"
    );
    assert!(
        err.contains("2 rows, complete: 2 of 2 nodes, 2 produced, 2 delivered, 0 lost"),
        "{err}"
    );
    let state = cluster.state();
    assert!(state.deleted);
    let job = state.job.as_ref().unwrap();
    assert_eq!(job["spec"]["selector"]["matchLabels"]["app"], "x");
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 60);
}

#[test]
fn a_name_with_a_path_is_refused_without_a_request() {
    let cluster = Cluster::default();
    for word in [
        "../../../../api/v1/namespaces/shop",
        "ctj/..",
        "a/b/c",
        "x?y",
    ] {
        for command in ["delete", "describe", "attach"] {
            let (output, _, err) = run(&cluster, &[command, word]);
            assert!(!output.status.success(), "{command} {word}");
            assert!(
                err.contains("is not a valid name of a job"),
                "{command}: {err}"
            );
        }
    }
    assert!(
        cluster.state().requests.is_empty(),
        "{:?}",
        cluster.state().requests
    );
}

#[test]
fn a_broken_stream_is_resumed_with_a_note() {
    let cluster = Cluster::default();
    cluster.state().breaks = true;
    let (output, out, err) = run(&cluster, &["run", tracer(), "-o", "json", "--keep"]);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert_eq!(out.lines().count(), 3, "{out}");
    assert!(!cluster.state().deleted);
    let account = err.lines().last().unwrap();
    let account: Value = serde_json::from_str(account).unwrap();
    assert_eq!(account["account"]["nodes"][0]["node"], "node1");
    let created: Value = serde_json::from_str(err.lines().next().unwrap()).unwrap();
    assert_eq!(created["created"]["namespace"], "shop");
    let state = cluster.state();
    let streams: Vec<&String> = state
        .requests
        .iter()
        .filter(|line| line.contains("/events?"))
        .collect();
    assert!(streams[1].contains("resume=AQ"), "{streams:?}");
}

#[test]
fn an_interrupted_run_ends_its_job_and_still_has_its_account() {
    let cluster = Cluster::default();
    cluster.state().endless = true;
    let child = start(&cluster, &["run", tracer(), "-o", "csv"]);
    interrupt(&cluster, &child);
    let (output, out, err) = ended(child);
    assert_eq!(out, "node\nnode1\nnode2\n", "{err}");
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("complete: 2 of 2 nodes"), "{err}");
    assert!(cluster.state().deleted && !cluster.state().suspended);
}

#[test]
fn an_interrupted_run_whose_job_is_kept_suspends_it() {
    let cluster = Cluster::default();
    cluster.state().endless = true;
    let child = start(&cluster, &["run", tracer(), "-o", "csv", "--keep"]);
    interrupt(&cluster, &child);
    let (output, out, err) = ended(child);
    assert_eq!(out, "node\nnode1\nnode2\n", "{err}");
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(cluster.state().suspended && !cluster.state().deleted);
}

#[test]
fn who_attaches_and_leaves_changes_nothing() {
    let cluster = Cluster::default();
    let spec = json!({"tracer": {tracers::camel(tracer()): {}}});
    cluster.state().endless = true;
    cluster.state().job = Some(json!({
        "apiVersion": "tracejob.dev/v1alpha1", "kind": "TraceJob",
        "metadata": {"name": "x", "namespace": "shop"}, "spec": spec,
    }));
    let child = start(&cluster, &["attach", "x", "-o", "csv"]);
    interrupt(&cluster, &child);
    let (output, _, err) = ended(child);
    assert!(
        err.contains("so far: 2 of 2 nodes") && err.contains("job continues"),
        "{err}"
    );
    assert_eq!(output.status.code(), Some(0), "{err}");
    let state = cluster.state();
    assert!(!state.deleted && !state.suspended);
}

#[test]
fn what_may_not_be_done_and_what_is_not_there_have_status_1() {
    let cluster = Cluster::default();
    cluster.state().forbidden = Some("create");
    let (output, _, err) = run(&cluster, &["run", tracer()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("kubectl create rolebinding tracejob-editor-ann --clusterrole=tracejob-editor --user=ann -n shop"), "{err}");
    let (output, _, err) = run(&cluster, &["attach", "nothing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err.starts_with("error: tracejob.tracejob.dev/nothing in namespace shop not found"),
        "{err}"
    );
}

//! Tests with a gateway that is a thread with a list of answers.

use super::*;
use crate::{command::cluster::command::command, source::cluster::access::Access};
use crd::TraceJob;
use prost::Message;
use serde_json::json;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Mutex, PoisonError},
    thread,
};

/// An answer to a reader of events: a status, and bytes until the connection ends.
type Answer = (u16, Vec<u8>);

/// Requests that the gateway received, line by line.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<String>>>);

impl Requests {
    fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Starts a gateway that returns one answer after the other, and 404 for the job itself.
fn gateway(answers: Vec<Answer>) -> (Arc<Cluster>, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requested = Requests::default();
    let reply = requested.clone();
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (reply, answers) = (reply.clone(), Arc::clone(&answers));
            thread::spawn(move || answer(stream.unwrap(), &reply, &answers));
        }
    });
    let port = address.port();
    let file = std::env::temp_dir().join(format!("kubeconfig-{}-{port}", std::process::id()));
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: a, clusters: [{{name: a, cluster: {{server: 'http://{address}'}}}}], contexts: [{{name: a, context: {{cluster: a, namespace: shop}}}}]}}"
    );
    std::fs::write(&file, text).unwrap();
    let line = ["x", "list", "--kubeconfig", file.to_str().unwrap()];
    let access = Access::read(
        command()
            .try_get_matches_from(line)
            .unwrap()
            .subcommand()
            .unwrap()
            .1,
    );
    (Arc::new(Cluster::connect(&access).unwrap()), requested)
}

fn answer(mut stream: TcpStream, reply: &Requests, answers: &Mutex<VecDeque<Answer>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap_or_default().to_owned();
    let (code, body) = match line.contains("/events?") {
        true => {
            reply.0.lock().unwrap().push(line);
            answers
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or((500, b"no more answers".to_vec()))
        }
        false => (404, b"{}".to_vec()),
    };
    let head = format!("HTTP/1.1 {code} x\r\nconnection: close\r\n\r\n");
    stream
        .write_all(&[head.as_bytes(), &body].concat())
        .unwrap();
}

fn job() -> Job {
    let tracer = tracers::camel(tracers::of_events().name());
    let job = json!({
        "apiVersion": "tracejob.dev/v1alpha1", "kind": "TraceJob",
        "metadata": {"name": "x", "namespace": "shop"},
        "spec": {"tracer": {tracer: {}}, "activeDeadlineSeconds": 60},
    });
    serde_json::from_value::<TraceJob>(job).unwrap().into()
}

fn item(item: Item) -> v1::StreamEventsResponse {
    v1::StreamEventsResponse {
        item: Some(item),
        ..v1::StreamEventsResponse::default()
    }
}

fn schema() -> v1::StreamEventsResponse {
    let tracer = job().spec.tracer.tracer();
    item(Item::Schema(client::schema(tracer, &tracers::LABELS[..1])))
}

/// Returns rows of one node.
fn rows(rows: u32) -> v1::StreamEventsResponse {
    let ends: Vec<u32> = (1..=rows).collect();
    let values = v1::values::Values::Bytes(v1::Bytes {
        ends,
        data: vec![b'a'; rows as usize].into(),
        cut: Vec::new(),
    });
    item(Item::Batch(v1::Batch {
        rows,
        columns: vec![v1::Values {
            values: Some(values),
        }],
        ..v1::Batch::default()
    }))
}

fn place(place: &[u8]) -> v1::StreamEventsResponse {
    v1::StreamEventsResponse {
        resume: place.to_vec(),
        ..v1::StreamEventsResponse::default()
    }
}

fn account(events: u64, nodes: &[(&str, v1::NodeState)]) -> v1::StreamEventsResponse {
    let nodes = nodes.iter().map(|(name, state)| v1::NodeAccount {
        node: (*name).to_owned(),
        state: (*state).into(),
        ..v1::NodeAccount::default()
    });
    item(Item::Account(v1::Account {
        produced: events,
        delivered: events,
        complete: true,
        ended: "duration".to_owned(),
        nodes: nodes.collect(),
        ..v1::Account::default()
    }))
}

fn body(messages: &[v1::StreamEventsResponse]) -> Answer {
    let bytes = messages.iter();
    let bytes = bytes.flat_map(Message::encode_length_delimited_to_vec);
    (200, bytes.collect())
}

fn open(cluster: &Arc<Cluster>, how: How) -> Result<Watch, Error> {
    let job = job();
    let stopper = Stopper::new(cluster, &job.name, how);
    Watch::open(Arc::clone(cluster), &job, Query::default(), stopper)
}

/// Reads all updates; returns the number of rows, and the account.
fn read(watch: &mut Watch) -> Result<(usize, Account), Error> {
    let mut rows = 0;
    loop {
        match watch.next(Duration::from_millis(100))? {
            Some(Update::Rows(batch)) => rows += batch.rows(),
            Some(Update::Done(account)) => return Ok((rows, account)),
            Some(_) | None => {}
        }
    }
}

#[test]
fn a_stream_that_breaks_off_goes_on_where_it_was() {
    let ended = [("n1", v1::NodeState::Ended), ("n2", v1::NodeState::Ended)];
    let mut half = body(&[schema(), rows(2), place(&[0xfb, 0xff])]);
    // Half of a message that is sent again.
    half.1.extend([9, 1, 2]);
    let (cluster, requested) = gateway(vec![
        half,
        (503, b"no endpoints".to_vec()),
        body(&[schema(), rows(3), account(5, &ended)]),
    ]);
    let mut watch = open(&cluster, How::Delete).unwrap();
    let (rows, account) = read(&mut watch).unwrap();
    assert_eq!((rows, account.produced), (5, 5));
    let beside = watch.beside();
    assert!(beside.complete() && !beside.notes.is_empty());
    assert_eq!(beside.nodes.len(), 2);
    let requested = requested.all();
    assert!(!requested[0].contains("resume"), "{requested:?}");
    assert!(requested[1].contains("&resume=-_8 "), "{requested:?}");
    assert!(requested[2].contains("&resume=-_8 "), "{requested:?}");
}

#[test]
fn a_job_that_is_not_known_yet_is_waited_for() {
    let unknown = br#"{"kind":"Status","message":"tracejobs.tracejob.dev \"shop/x\" not found","reason":"NotFound"}"#;
    let (cluster, requested) = gateway(vec![
        (404, unknown.to_vec()),
        body(&[schema(), account(0, &[])]),
    ]);
    let mut watch = open(&cluster, How::Delete).unwrap();
    assert_eq!(read(&mut watch).unwrap().0, 0);
    assert_eq!(requested.all().len(), 2);
}

#[test]
fn an_unreadable_stream_is_reported_at_once() {
    let (cluster, _) = gateway(vec![(404, b"404 page not found\n".to_vec())]);
    let sentence = open(&cluster, How::Delete).err().unwrap().to_string();
    assert!(sentence.contains("not installed"), "{sentence}");
    let (cluster, _) = gateway(vec![(200, b"{\"lines\":1}".to_vec())]);
    let sentence = open(&cluster, How::Delete).err().unwrap().to_string();
    assert!(
        sentence.contains("cannot read") || sentence.contains("without an account"),
        "{sentence}"
    );
}

#[test]
fn a_right_that_is_taken_away_ends_it_with_what_has_come() {
    let refusal =
        br#"{"kind":"Status","message":"User \"ann\" cannot watch resource","reason":"Forbidden"}"#;
    let (cluster, _) = gateway(vec![body(&[schema(), rows(2)]), (403, refusal.to_vec())]);
    let mut watch = open(&cluster, How::Delete).unwrap();
    let sentence = read(&mut watch).unwrap_err().to_string();
    assert!(sentence.contains("tracejob-reader"), "{sentence}");
    let (account, _) = watch.cut_off();
    assert_eq!(account.delivered, 2);
    assert!(!watch.beside().complete());
}

#[test]
fn a_detached_reader_receives_the_account_so_far() {
    let (cluster, _) = gateway(vec![body(&[schema(), rows(2)])]);
    let mut watch = open(&cluster, How::Detach).unwrap();
    while !matches!(
        watch.next(Duration::from_millis(50)).unwrap(),
        Some(Update::Rows(_))
    ) {}
    watch.stopper().stop();
    let Some(Update::Done(account)) = watch.next(Duration::from_secs(1)).unwrap() else {
        panic!("it goes on");
    };
    let beside = watch.beside();
    assert!(beside.left && account.delivered == 2);
    let text = crate::show::account::account_text(
        &account,
        crate::show::account::Rows::of(2, None),
        &beside,
    );
    assert!(
        text.starts_with("2 rows, so far: 0 of 0 nodes, at least 2 produced"),
        "{text}"
    );
}

#[test]
fn nodes_that_did_not_end_are_named() {
    let nodes = [
        ("n1", v1::NodeState::Ended),
        ("n2", v1::NodeState::Unreached),
    ];
    let (cluster, _) = gateway(vec![body(&[schema(), account(1, &nodes)])]);
    let mut watch = open(&cluster, How::Delete).unwrap();
    let (_, account) = read(&mut watch).unwrap();
    let beside = watch.beside();
    assert!(!crate::show::account::is_whole(&account, &beside));
    let text = crate::show::account::account_text(
        &account,
        crate::show::account::Rows::of(1, None),
        &beside,
    );
    assert!(text.contains("PARTIAL: 1 of 2 nodes, 1 produced"), "{text}");
    assert!(text.contains("n2 was never reached.\n"), "{text}");
    let data = crate::show::account::account_json(&account, &beside);
    assert_eq!(data["account"]["nodes"][1]["state"], "unreached");
}

#[test]
fn a_node_that_could_not_trace_a_container_is_named_though_it_has_ended() {
    let nodes = [("n1", v1::NodeState::Ended), ("n2", v1::NodeState::Ended)];
    let mut last = account(1, &nodes);
    let Some(Item::Account(reply)) = &mut last.item else {
        unreachable!("it is one");
    };
    reply.complete = false;
    reply.nodes[1].reason = "TargetNotFound".to_owned();
    reply.nodes[1].message = "shop/web-0/app was not traced: it is gone".to_owned();
    let (cluster, _) = gateway(vec![body(&[schema(), last])]);
    let mut watch = open(&cluster, How::Delete).unwrap();
    let (_, account) = read(&mut watch).unwrap();
    let beside = watch.beside();
    assert!(!crate::show::account::is_whole(&account, &beside));
    let text = crate::show::account::account_text(
        &account,
        crate::show::account::Rows::of(1, None),
        &beside,
    );
    let line = "n2 did not record all events: shop/web-0/app was not traced: it is gone (TargetNotFound).\n";
    assert!(text.contains(line), "{text}");
}

//! Tests of a connection to a simulated agent.

use super::{
    super::{Expected, Wanted, refused::is_anothers},
    observe::restarted,
    table::{Unread, last_table},
    *,
};
use crate::counters::Counters;
use fleet::{Connector, Tls};
use k8s_openapi::jiff::Timestamp;
use proto::v1::{
    agent_server::{Agent, AgentServer},
    stream_events_response::Item,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::SystemTime,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;
use tracers::Batch;

/// Returns agents in an unknown state, and the channel of changed jobs.
fn fleet() -> (Arc<Fleet>, UnboundedReceiver<String>) {
    let (heard, hears) = unbounded_channel();
    let connector = Connector {
        tls: Tls::Folder("/nowhere".into()),
        name: String::new(),
    };
    let fleet = Fleet::new(connector, heard, Timestamp::now, Counters::new());
    (fleet, hears)
}

#[tokio::test]
async fn only_traces_of_jobs_that_are_gone_or_need_them_no_more_are_strays() {
    let (fleet, _hears) = fleet();
    // The job is in the API server's list and not reconciled yet.
    let job = Expected {
        generation: 1,
        table: false,
    };
    fleet.expect("tj-there", job);
    let node = fleet.node(&"node-0".into());
    let running = ["tj-gone", "tj-there"].map(str::to_owned);
    lock(&node.state).running = BTreeSet::from(running);
    let strays = || -> Vec<String> {
        let steps = steps(&fleet, &node).into_iter();
        steps.map(|(uid, _)| uid).collect()
    };
    assert_eq!(strays(), ["tj-gone"]);
    fleet.forget("tj-there");
    assert_eq!(strays(), ["tj-gone", "tj-there"]);
    assert!(lock(&node.state).suspect);
}

#[tokio::test]
async fn a_trace_of_another_client_with_a_name_of_ours_is_left_alone() {
    let (fleet, _hears) = fleet();
    let node = fleet.node(&"node-0".into());
    let runs = |uid: &str| v1::WatchTracesResponse {
        traces: vec![v1::TraceStatus {
            uid: uid.to_owned(),
            state: v1::State::Running.into(),
            ..v1::TraceStatus::default()
        }],
    };
    let strays = || steps(&fleet, &node).len();
    observe::record_statuses(&fleet, &node, &runs("tj-theirs"));
    assert_eq!(strays(), 1, "it looks like one of ours");
    // The agent has refused to stop it.
    lock(&node.state).running.remove("tj-theirs");
    lock(&node.state).foreign.insert("tj-theirs".to_owned());
    observe::record_statuses(&fleet, &node, &runs("tj-theirs"));
    assert_eq!(strays(), 0);
    observe::record_statuses(&fleet, &node, &runs("tj-gone"));
    assert_eq!(strays(), 1);
    restarted(&node, &v1::WatchTracesResponse::default());
    observe::record_statuses(&fleet, &node, &runs("tj-theirs"));
    assert_eq!(strays(), 1, "another agent may have another one");
}

#[tokio::test]
async fn a_trace_whose_agent_ignores_its_condition_fails_and_is_stopped() {
    let (fleet, _hears) = fleet();
    let node = fleet.node(&"node-0".into());
    lock(&node.state).tended = true;
    let mut wanted = wanted(&["a"]);
    wanted.spec.filter = "pid == 1".to_owned();
    fleet.want("tj-a", BTreeMap::from([("node-0".into(), wanted)]));
    let says = |state: v1::State, filter: &str| {
        let account = v1::Account {
            produced: 7,
            ..v1::Account::default()
        };
        let message = v1::WatchTracesResponse {
            traces: vec![v1::TraceStatus {
                uid: "tj-a".to_owned(),
                generation: 1,
                state: state.into(),
                account: Some(account),
                filter: filter.to_owned(),
                ..v1::TraceStatus::default()
            }],
        };
        observe::record_statuses(&fleet, &node, &message);
        let report = fleet.reports("tj-a")["node-0"].clone();
        let stops = steps(&fleet, &node)
            .iter()
            .any(|(_, step)| matches!(step, Step::Stop));
        (report.progress, report.account.produced, stops)
    };
    let as_wanted = says(v1::State::Running, "pid == 1");
    assert_eq!(as_wanted, (Progress::Running, 7, false));
    for state in [v1::State::Running, v1::State::Running, v1::State::Ended] {
        let (progress, produced, stops) = says(state, "");
        let Progress::Failed { reason, .. } = progress else {
            panic!("{progress:?}");
        };
        assert_eq!((reason.as_str(), produced), ("NotFiltered", 0));
        assert_eq!(stops, state == v1::State::Running);
    }
}

#[test]
fn what_an_agent_refuses_because_a_trace_is_anothers_concerns_that_trace_alone() {
    let status = |metadata: &[(&str, &str)]| {
        let metadata = metadata
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        let details = tonic_types::ErrorDetails::with_error_info(
            "NotAllowed",
            "tracejob.dev",
            metadata.collect::<std::collections::HashMap<_, _>>(),
        );
        Status::with_error_details(Code::PermissionDenied, "no", details)
    };
    assert!(is_anothers(&status(&[("who", "a"), ("trace", "tj-1")])));
    // Without a role no call works on that node.
    assert!(!is_anothers(&status(&[("who", "a")])));
}

/// A tracer whose rows are a table.
fn table_tracer() -> &'static dyn tracers::Erased {
    let mut all = tracers::ALL.iter();
    *all.find(|tracer| tracer.source().form() == tracers::Form::Table)
        .unwrap()
}

/// A simulated agent. It refuses updates of some traces, and belongs to another caller for others.
struct Played {
    refusal: fn() -> Status,
    asked: Arc<Mutex<Vec<String>>>,
}

type Never<T> = tokio_stream::Pending<Result<T, Status>>;

#[tonic::async_trait]
impl Agent for Played {
    async fn get_capabilities(
        &self,
        _: Request<v1::GetCapabilitiesRequest>,
    ) -> Result<Response<v1::GetCapabilitiesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn start_trace(
        &self,
        _: Request<v1::StartTraceRequest>,
    ) -> Result<Response<v1::StartTraceResponse>, Status> {
        lock(&self.asked).push("start".to_owned());
        Err((self.refusal)())
    }

    async fn update_targets(
        &self,
        request: Request<Streaming<v1::UpdateTargetsRequest>>,
    ) -> Result<Response<v1::UpdateTargetsResponse>, Status> {
        let update = request.into_inner().message().await?.unwrap();
        lock(&self.asked).push(update.uid.clone());
        match update.uid.as_str() {
            "tj-refused" => Err((self.refusal)()),
            _ => Ok(Response::new(v1::UpdateTargetsResponse {})),
        }
    }

    async fn stop_trace(
        &self,
        request: Request<v1::StopTraceRequest>,
    ) -> Result<Response<v1::StopTraceResponse>, Status> {
        lock(&self.asked).push(request.into_inner().uid);
        Err((self.refusal)())
    }

    type WatchTracesStream = Never<v1::WatchTracesResponse>;

    async fn watch_traces(
        &self,
        _: Request<v1::WatchTracesRequest>,
    ) -> Result<Response<Self::WatchTracesStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    type StreamEventsStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::StreamEventsResponse, Status>>>;

    async fn stream_events(
        &self,
        request: Request<v1::StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let tracer = table_tracer();
        let columns = tracer.columns();
        let table = Batch::new(&columns);
        let table = client::parts(&table, true, |_, data| client::wire_values(data)).swap_remove(0);
        let first_part = v1::Batch {
            more: true,
            ..table.clone()
        };
        let gap = Item::Gap(v1::Gap::default());
        let rows = match request.get_ref().uid.as_str() {
            "tj-whole" => vec![gap, Item::Batch(first_part), Item::Batch(table)],
            "tj-cut" => vec![Item::Batch(table), Item::Batch(first_part), gap],
            "tj-forgotten" => vec![Item::Batch(table), gap],
            _ => Vec::new(),
        };
        let schema = Item::Schema(client::schema(tracer, &columns));
        let account = Item::Account(v1::Account::default());
        let items = [schema].into_iter().chain(rows).chain([account]);
        let messages = items.map(|item| {
            Ok(v1::StreamEventsResponse {
                item: Some(item),
                ..v1::StreamEventsResponse::default()
            })
        });
        Ok(Response::new(tokio_stream::iter(
            messages.collect::<Vec<_>>(),
        )))
    }

    type TraceStream = Never<v1::StreamEventsResponse>;

    async fn trace(
        &self,
        _: Request<Streaming<v1::TraceRequest>>,
    ) -> Result<Response<Self::TraceStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

/// Serves an agent with this refusal. Returns a client and the calls that the agent receives.
async fn play(refusal: fn() -> Status) -> (Client, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::default();
    let agent = AgentServer::new(Played {
        refusal,
        asked: Arc::clone(&asked),
    });
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(agent);
    tokio::spawn(server.serve_with_incoming(incoming));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    (AgentClient::new(channel.connect_lazy()), asked)
}

fn wanted(pods: &[&str]) -> Wanted {
    let pod = |uid: &&str| v1::Target {
        target: Some(v1::target::Target::Pod((*uid).to_owned())),
        ..v1::Target::default()
    };
    Wanted {
        generation: 1,
        spec: v1::TraceSpec::default(),
        targets: pods.iter().map(pod).collect(),
        since: vec![SystemTime::now(); pods.len()],
        deadline: SystemTime::now() + Duration::from_secs(600),
        table: false,
    }
}

fn with_reason(code: Code, reason: &str) -> Status {
    let details = tonic_types::ErrorDetails::with_error_info(
        reason,
        "tracejob.dev",
        std::collections::HashMap::new(),
    );
    Status::with_error_details(code, format!("{reason}, it says"), details)
}

#[tokio::test]
async fn a_refused_update_concerns_its_own_job_and_the_nodes_other_jobs_go_on() {
    let refusals: [fn() -> Status; 6] = [
        || with_reason(Code::PermissionDenied, "PolicyDenied"),
        || with_reason(Code::PermissionDenied, "NotAllowed"),
        || with_reason(Code::FailedPrecondition, "OldVersion"),
        || with_reason(Code::InvalidArgument, "InvalidRequest"),
        || with_reason(Code::ResourceExhausted, "ResourceExhausted"),
        // Larger than the agent's limit: the refusal has no reason.
        || Status::out_of_range("InvalidRequest, it says"),
    ];
    for refusal in refusals {
        let (fleet, _hears) = fleet();
        let name = Arc::from("node-0");
        fleet.play(&name);
        let node = fleet.node(&name);
        let jobs = ["tj-before", "tj-refused", "tj-then"];
        for uid in jobs {
            let had = wanted(&["one"]);
            answered(&node, uid, &had, Progress::Running);
            let wants = BTreeMap::from([(Arc::clone(&name), wanted(&["one", "two"]))]);
            fleet.want(uid, wants);
        }
        let (client, asked) = play(refusal).await;
        for _ in 0..3 {
            drive(&fleet, &node, &client).await.unwrap();
        }
        // Each once: the refused one is not sent again at once.
        assert_eq!(*lock(&asked), jobs);
        let report = |uid: &str| lock(&node.state).reports[uid].clone();
        let refused = report("tj-refused");
        assert_eq!(refused.progress, Progress::Running);
        let failures: Vec<_> = refused.refused.failures().collect();
        assert_eq!(failures.len(), 1, "what it has is traced");
        let failure = &failures[0];
        assert_eq!(failure.target.as_ref(), wanted(&["two"]).targets.first());
        assert_eq!(failure.message, format!("{}, it says", failure.reason));
        for uid in ["tj-before", "tj-then"] {
            assert_eq!(report(uid).refused.failures().count(), 0);
            assert_eq!(report(uid).targets, wanted(&["one", "two"]).targets);
        }
    }
}

#[tokio::test]
async fn a_start_that_an_agent_has_no_room_for_is_not_sent_again_at_once() {
    let (fleet, _hears) = fleet();
    let name = Arc::from("node-0");
    fleet.play(&name);
    let node = fleet.node(&name);
    let wants = BTreeMap::from([(Arc::clone(&name), wanted(&["one"]))]);
    fleet.want("tj-full", wants);
    let (client, asked) = play(|| with_reason(Code::ResourceExhausted, "ResourceExhausted")).await;
    for _ in 0..3 {
        drive(&fleet, &node, &client).await.unwrap();
    }
    assert_eq!(*lock(&asked), ["start"]);
    let report = lock(&node.state).reports["tj-full"].clone();
    assert!(matches!(report.progress, Progress::Unavailable { .. }));
    // Another agent, or another connection, may have room.
    restarted(&node, &v1::WatchTracesResponse::default());
    assert_eq!(steps(&fleet, &node).len(), 1);
}

#[tokio::test]
async fn a_last_table_that_does_not_come_whole_is_unreadable_and_not_empty() {
    let (client, _asked) = play(|| Status::unimplemented("nobody asks")).await;
    let table = async |uid: &str| last_table(&client, uid, table_tracer().name()).await;
    assert_eq!(table("tj-whole").await.ok().unwrap().rows.rows(), 0);
    for uid in ["tj-cut", "tj-forgotten", "tj-none"] {
        let unread = table(uid).await.err().unwrap();
        assert!(matches!(unread, Unread::Refused(why) if why.contains("forgot")));
    }
}

#[tokio::test]
async fn a_refused_stop_breaks_no_connection_and_is_not_sent_again() {
    let (fleet, _hears) = fleet();
    let node = fleet.node(&"node-0".into());
    lock(&node.state).running = BTreeSet::from(["tj-stray".to_owned()]);
    let (client, asked) = play(|| with_reason(Code::PermissionDenied, "NotAllowed")).await;
    for _ in 0..3 {
        drive(&fleet, &node, &client).await.unwrap();
    }
    assert_eq!(*lock(&asked), ["tj-stray"]);
    let (broken, _asked) = play(|| Status::unavailable("gone")).await;
    lock(&node.state).running = BTreeSet::from(["tj-other".to_owned()]);
    assert!(drive(&fleet, &node, &broken).await.is_err());
}

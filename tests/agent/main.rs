//! The daemon: what it promises to clients that it does not trust.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests fail by panics"
)]

mod asleep;
mod attack;
mod audit;
mod bounds;
mod confined;
mod daemon;
mod families;
mod filtered;
mod garbage;
mod limits;
mod metrics;
mod nodes;
mod older;
mod packaged;
mod reload;
mod remote;
mod tally;
mod targets;
mod tls;

use daemon::{Daemon, spec};
use proto::v1::{self, State};
use tests::{Workload, needs};
use tonic::Code;
use tonic_types::StatusExt;

fn start(uid: &str, generation: u64, spec: v1::TraceSpec) -> v1::StartTraceRequest {
    v1::StartTraceRequest {
        uid: uid.to_owned(),
        generation,
        spec: Some(spec),
    }
}

fn events(uid: &str, from_sequence: u64) -> v1::StreamEventsRequest {
    v1::StreamEventsRequest {
        uid: uid.to_owned(),
        from_sequence,
        ..v1::StreamEventsRequest::default()
    }
}

fn call(spec: v1::TraceSpec) -> v1::TraceRequest {
    v1::TraceRequest {
        request: Some(v1::trace_request::Request::Start(spec)),
    }
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test]
async fn a_trace_in_one_call_is_its_schema_its_rows_and_its_account() {
    needs!("syscall_count");
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&["getppid", "100"]);
    let mut events = daemon
        .trace(spec("syscall_count", &workload))
        .await
        .unwrap();
    workload.finish();
    events.read_all().await.unwrap();
    assert_eq!(events.schema().tracer, "syscall_count");
    assert!(events.schema().table);
    let account = events.account();
    assert_eq!(account.ended, "target_gone");
    let table = events.batches.last().unwrap();
    let row = events.row_where(table, "syscall", b"getppid");
    assert_eq!(events.number(table, "count", row), 100);
}

#[tokio::test]
async fn rows_come_with_what_the_kernel_saw_in_them() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&[
        "open",
        "openat",
        "/dev/null",
        "0",
        "0",
        ",",
        "open",
        "openat",
        "/no/such/file",
        "0",
        "0",
    ]);
    let mut events = daemon.trace(spec("open", &workload)).await.unwrap();
    workload.finish();
    events.read_all().await.unwrap();
    let account = events.account();
    let rows: u32 = events.batches.iter().map(|batch| batch.rows).sum();
    assert_eq!(u64::from(rows), account.delivered);
    assert_eq!(account.produced, account.delivered);
    let found = |path: &[u8]| {
        let mut batches = events.batches.iter();
        batches.find_map(|batch| {
            let row = events.find_row(batch, "path", path)?;
            Some(events.signed(batch, "result", row))
        })
    };
    assert!(found(b"/dev/null").unwrap() >= 0);
    assert_eq!(found(b"/no/such/file"), Some(-2));
}

#[tokio::test]
async fn further_datasets_come_in_an_item_of_their_own_and_the_account_is_of_all() {
    needs!("tcp_drop");
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&["connect-times", "7", "127.0.0.1:9"]);
    let mut events = daemon.trace(spec("tcp_drop", &workload)).await.unwrap();
    workload.finish();
    events.read_all().await.unwrap();
    // A client without support for further datasets reads these alone.
    let rows: u32 = events.batches.iter().map(|batch| batch.rows).sum();
    assert_eq!(rows, 7);
    let [reasons] = &events.schema().further[..] else {
        panic!("{:?}", events.schema());
    };
    assert_eq!((reasons.name.as_str(), reasons.table), ("reasons", true));
    assert_eq!(events.counted_further(), 7);
    let account = events.account();
    assert_eq!((account.produced, account.delivered), (14, 14));
}

#[tokio::test]
async fn repeated_starts_start_one_trace_and_generations_only_grow() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let spec = spec("open", &workload);
    let mut client = daemon.client().await;
    for _ in 0..3 {
        let started = client.start_trace(start("a", 2, spec.clone())).await;
        let status = started.unwrap().into_inner().status.unwrap();
        assert_eq!(status.state(), State::Running);
    }
    assert_eq!(daemon.traces().await.len(), 1);

    let other = v1::TraceSpec {
        max_events: 1,
        ..spec.clone()
    };
    let refused = client
        .start_trace(start("a", 2, other.clone()))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "OtherSpec")
    );
    let refused = client.start_trace(start("a", 1, spec)).await.unwrap_err();
    assert_eq!(reason(&refused), "OldGeneration");

    client.start_trace(start("a", 3, other)).await.unwrap();
    let traces = daemon.traces().await;
    assert_eq!((traces.len(), traces[0].generation), (1, 3));

    let stop = v1::StopTraceRequest {
        uid: "never".to_owned(),
    };
    assert_eq!(
        client.stop_trace(stop).await.unwrap().into_inner().status,
        None
    );
}

#[tokio::test]
async fn two_readers_see_the_same_and_one_that_comes_back_goes_on_where_it_was() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut workload =
        Workload::behind_gate(&["open-times", "3000", "openat", "/dev/null", "0", "0"]);
    let mut client = daemon.client().await;
    client
        .start_trace(start("a", 1, spec("open", &workload)))
        .await
        .unwrap();
    let mut one = daemon.events(events("a", 0)).await.unwrap();
    let mut two = daemon.events(events("a", 0)).await.unwrap();
    workload.finish();
    one.read_all().await.unwrap();
    two.read_all().await.unwrap();
    assert_eq!(one.batches, two.batches);
    assert!(one.batches.len() > 1, "3,000 rows are more than a batch");
    assert_eq!(one.account(), two.account());

    let mut resumed = daemon.events(events("a", 2)).await.unwrap();
    resumed.read_all().await.unwrap();
    assert_eq!(resumed.first_sequence, Some(2));
    assert_eq!(resumed.batches, one.batches[1..]);
    assert!(resumed.gaps.is_empty());
}

#[tokio::test]
async fn a_late_reader_receives_the_number_of_its_missing_rows() {
    needs!("open");
    let daemon = Daemon::start("policy: {replayBytes: 65536}").await;
    let mut workload =
        Workload::behind_gate(&["open-times", "20000", "openat", "/dev/null", "0", "0"]);
    let mut client = daemon.client().await;
    client
        .start_trace(start("a", 1, spec("open", &workload)))
        .await
        .unwrap();
    // It holds a place in the log, and takes nothing yet.
    let mut slow = daemon.events(events("a", 0)).await.unwrap();
    workload.finish();
    daemon.until_over("a").await;
    slow.read_all().await.unwrap();
    let rows: u64 = slow.batches.iter().map(|batch| u64::from(batch.rows)).sum();
    let missing: u64 = slow.gaps.iter().map(|gap| gap.rows.unwrap()).sum();
    assert!(missing > 0, "64 KiB do not hold 20,000 rows");
    assert_eq!(rows + missing, slow.account().delivered);
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_trace_with_it() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let events = daemon.trace(spec("open", &workload)).await.unwrap();
    assert!(daemon.programs() > 0);
    drop(events);
    daemon
        .until("no trace to be left", async |daemon| {
            daemon.traces().await.is_empty()
        })
        .await;
    daemon
        .until("no program to be left", async |daemon| {
            daemon.programs() == 0
        })
        .await;
}

#[tokio::test]
async fn a_trace_ends_on_the_stop_of_its_call_and_its_account_follows() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    sender.send(call(spec("open", &workload))).await.unwrap();
    let mut events = daemon.trace_by(receiver).await.unwrap();
    let stop = v1::trace_request::Request::Stop(v1::Stop {});
    let stop = v1::TraceRequest {
        request: Some(stop),
    };
    sender.send(stop).await.unwrap();
    events.read_all().await.unwrap();
    assert_eq!(events.account().ended, "stopped");
}

#[tokio::test]
async fn a_tracer_of_a_class_that_the_policy_does_not_name_is_refused_and_reported_with_the_remedy()
{
    needs!("open");
    let daemon = Daemon::start("policy: {classes: [observe]}").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let mut client = daemon.client().await;
    let capabilities = client
        .get_capabilities(v1::GetCapabilitiesRequest {})
        .await
        .unwrap()
        .into_inner();
    let tracers = capabilities.tracers.iter();
    let (observe, others): (Vec<_>, Vec<_>) = tracers.partition(|one| one.class == "observe");
    assert!(!observe.is_empty() && !others.is_empty());
    for tracer in observe {
        assert!(!tracer.unsupported.contains("policy.classes"), "{tracer:?}");
        let required = tracer.requirements.iter().filter(|need| need.required);
        let names: Vec<&str> = required.map(|need| need.name.as_str()).collect();
        assert!(names.contains(&"CAP_BPF"), "{names:?}");
        assert!(
            tracer
                .requirements
                .iter()
                .all(|need| need.met == need.remedy.is_empty())
        );
    }
    for tracer in others {
        let (why, remedy) = (&tracer.unsupported, &tracer.remedy);
        assert!(why.contains("policy.classes"), "{why}");
        let add = format!("add {} to policy.classes", tracer.class);
        assert!(remedy.contains(&add), "{remedy}");
        let spec = spec(&tracer.name, &workload);
        let refused = client.start_trace(start("a", 1, spec)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.metadata["line"].as_str()),
            ("PolicyDenied", "policy.classes")
        );
    }
    let allowed = client.start_trace(start("b", 1, spec("open", &workload)));
    allowed.await.unwrap();
}

#[tokio::test]
async fn what_the_nodes_policy_forbids_no_request_gets() {
    needs!("open");
    let policy =
        "policy: {tracers: [open], maxDurationSeconds: 20, maxRingBytes: 4194304, maxTraces: 1}";
    let daemon = Daemon::start(policy).await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let spec = |tracer| spec(tracer, &workload);
    let host = v1::Target {
        target: Some(v1::target::Target::Host(v1::Host {})),
        ..v1::Target::default()
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let denied = [
        ("policy.tracers", spec("exec")),
        (
            "policy.host",
            v1::TraceSpec {
                targets: vec![host],
                ..spec("open")
            },
        ),
        (
            "policy.maxDurationSeconds",
            v1::TraceSpec {
                duration: seconds(21),
                ..spec("open")
            },
        ),
        (
            "policy.maxRingBytes",
            v1::TraceSpec {
                ring_bytes: 1 << 23,
                ..spec("open")
            },
        ),
    ];
    let mut client = daemon.client().await;
    for (line, spec) in denied {
        let refused = client.start_trace(start("a", 1, spec)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.metadata["line"].as_str()),
            ("PolicyDenied", line)
        );
    }
    client
        .start_trace(start("a", 1, spec("open")))
        .await
        .unwrap();
    let refused = client
        .start_trace(start("b", 1, spec("open")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_details_quota_failure().is_some());
    // Its replacement takes its place.
    client
        .start_trace(start("a", 2, spec("open")))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_invalid_request_is_refused_with_its_field() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let spec = spec("open", &workload);
    let gone = v1::Target {
        target: Some(v1::target::Target::Process(4_000_000)),
        ..v1::Target::default()
    };
    let mut client = daemon.client().await;
    for (field, request) in [
        ("uid", start("a/b", 1, spec.clone())),
        (
            "spec",
            v1::StartTraceRequest {
                spec: None,
                ..start("a", 1, spec.clone())
            },
        ),
        (
            "spec.tracer",
            start(
                "a",
                1,
                v1::TraceSpec {
                    tracer: "opne".to_owned(),
                    ..spec.clone()
                },
            ),
        ),
        (
            "spec.targets",
            start(
                "a",
                1,
                v1::TraceSpec {
                    targets: vec![],
                    ..spec.clone()
                },
            ),
        ),
    ] {
        let refused = client.start_trace(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let wrong = refused.get_details_bad_request().unwrap().field_violations;
        assert_eq!(wrong[0].field, field);
        assert_eq!(reason(&refused), "InvalidRequest");
    }
    let missing = v1::TraceSpec {
        targets: vec![gone],
        ..spec
    };
    let refused = daemon.trace(missing).await.err().unwrap();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::NotFound, "TargetNotFound")
    );
    let refused = daemon.events(events("nobody", 0)).await.err().unwrap();
    assert_eq!(reason(&refused), "UnknownTrace");
    assert!(
        daemon.traces().await.is_empty(),
        "nothing that was refused is left"
    );
}

#[tokio::test]
async fn an_agent_that_is_terminated_sends_its_readers_their_accounts() {
    needs!("open");
    let mut daemon = Daemon::start("").await;
    let mut workload =
        Workload::behind_gate(&["open-times", "10", "openat", "/dev/null", "0", "0"]);
    let waits = Workload::behind_gate(&["getppid", "1"]);
    let mut client = daemon.client().await;
    let endless = v1::TraceSpec {
        targets: [&workload, &waits]
            .map(|one| daemon::process(one.pid()))
            .into(),
        ..spec("open", &workload)
    };
    client.start_trace(start("a", 1, endless)).await.unwrap();
    let mut events = daemon.events(events("a", 0)).await.unwrap();
    workload.finish();
    daemon.terminate();
    events.read_all().await.unwrap();
    assert_eq!(events.account().ended, "stopped");
    assert!(daemon.wait().await.success());
    assert!(!daemon.socket().exists());
}

#[tokio::test]
async fn a_watcher_receives_every_state() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut client = daemon.client().await;
    let mut watched = client
        .watch_traces(v1::WatchTracesRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert!(first.traces.is_empty(), "a watch begins with what there is");
    let mut workload = Workload::behind_gate(&["open-times", "5", "openat", "/dev/null", "0", "0"]);
    client
        .start_trace(start("a", 7, spec("open", &workload)))
        .await
        .unwrap();
    workload.finish();
    while let Some(message) = watched.message().await.unwrap() {
        for trace in message.traces {
            assert_eq!((trace.uid.as_str(), trace.generation), ("a", 7));
            if trace.state() == State::Ended {
                assert!(trace.account.unwrap().produced >= 5);
                return;
            }
            assert!([State::Starting, State::Running].contains(&trace.state()));
        }
    }
    panic!("the watch ended before the trace");
}

#[tokio::test]
async fn a_call_that_does_not_begin_with_what_to_trace_is_refused() {
    let daemon = Daemon::start("").await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(v1::TraceRequest::default()).await.unwrap();
    let refused = daemon.trace_by(receiver).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn capabilities_have_the_options_and_columns_of_each_tracer() {
    let daemon = Daemon::start("policy: {tracers: [open]}").await;
    let mut client = daemon.client().await;
    let capabilities = client.get_capabilities(v1::GetCapabilitiesRequest {}).await;
    let tracers = capabilities.unwrap().into_inner().tracers;
    for tracer in &tracers {
        assert!(!tracer.about.is_empty());
        assert!(!tracer.schema.as_ref().unwrap().columns.is_empty());
        assert_eq!(
            tracer.unsupported.contains("policy.tracers"),
            tracer.name != "open"
        );
    }
}

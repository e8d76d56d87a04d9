//! Conditions of traces: the agent applies one, repeats it, and names what is wrong with another.

use crate::{
    daemon::{Daemon, spec},
    events, reason, start,
};
use proto::v1::{self, State};
use tests::{Workload, needs};
use tonic::Code;

const STEPS: &str =
    "open openat /dev/null 0 0 , open openat /no/such/file 0 0 , open openat /dev/zero 0 0";

fn workload() -> Workload {
    let steps: Vec<&str> = STEPS.split(' ').collect();
    Workload::behind_gate(&steps)
}

fn with(filter: &str, spec: v1::TraceSpec) -> v1::TraceSpec {
    v1::TraceSpec {
        filter: filter.to_owned(),
        ..spec
    }
}

#[tokio::test]
async fn rows_match_the_condition_the_others_are_counted_and_the_agent_repeats_it() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut workload = workload();
    let condition = "path == \"/dev/*\" && result >= 0";
    let mut events = daemon
        .trace(with(condition, spec("open", &workload)))
        .await
        .unwrap();
    assert_eq!(events.schema().filter, condition);
    workload.finish();
    events.read_all().await.unwrap();
    let mut paths: Vec<String> = Vec::new();
    for batch in &events.batches {
        let texts = events.texts(batch, "path");
        paths.extend(texts.map(|text| String::from_utf8_lossy(text).into_owned()));
    }
    assert_eq!(paths, ["/dev/null", "/dev/zero"]);
    let account = events.account();
    assert_eq!(account.delivered, 2);
    assert!(account.filtered >= 1, "{account:?}");
    assert_eq!(account.produced, account.delivered + account.filtered);
    assert!(account.complete);
}

#[tokio::test]
async fn the_status_of_a_trace_has_its_condition_and_another_condition_is_another_spec() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let workload = workload();
    let mut client = daemon.client().await;
    let spec = spec("open", &workload);
    let one = with("result < 0", spec.clone());
    let started = client.start_trace(start("a", 1, one.clone())).await;
    let status = started.unwrap().into_inner().status.unwrap();
    assert_eq!(
        (status.state(), &*status.filter),
        (State::Running, "result < 0")
    );
    assert_eq!(daemon.traces().await[0].filter, "result < 0");
    let read = daemon.events(events("a", 0)).await.unwrap();
    assert_eq!(read.schema().filter, "result < 0");
    client.start_trace(start("a", 1, one)).await.unwrap();
    let refused = client.start_trace(start("a", 1, spec)).await.unwrap_err();
    assert_eq!(reason(&refused), "OtherSpec");
}

#[tokio::test]
async fn a_condition_that_is_wrong_is_refused_with_the_column_and_the_nearest_one() {
    let daemon = Daemon::start("").await;
    let workload = workload();
    for (condition, words) in [
        ("resutl < 0", "result"),
        ("result <", "spec.filter"),
        ("(".repeat(5000).as_str(), "4096"),
    ] {
        let spec = with(condition, spec("open", &workload));
        let refused = daemon.trace(spec).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let message = refused.message();
        assert!(
            message.starts_with("spec.filter: ") && message.contains(words),
            "{message}"
        );
    }
}

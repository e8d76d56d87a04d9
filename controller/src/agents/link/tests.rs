//! What a link makes of an agent that a test plays.

use super::*;
use crate::counters::Counters;
use fleet::{Connector, Tls};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeSet;

#[tokio::test]
async fn only_traces_of_jobs_that_are_gone_or_need_them_no_more_are_strays() {
    let (heard, _hears) = tokio::sync::mpsc::unbounded_channel();
    let connector = Connector {
        tls: Tls::Folder("/nowhere".into()),
        name: String::new(),
    };
    let fleet = Fleet::new(connector, heard, Timestamp::now, Counters::new());
    // By the API server's list it is there, and nobody has looked at it yet.
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
    let (heard, _hears) = tokio::sync::mpsc::unbounded_channel();
    let connector = Connector {
        tls: Tls::Folder("/nowhere".into()),
        name: String::new(),
    };
    let fleet = Fleet::new(connector, heard, Timestamp::now, Counters::new());
    let node = fleet.node(&"node-0".into());
    let runs = |uid: &str| v1::WatchTracesResponse {
        traces: vec![v1::TraceStatus {
            uid: uid.to_owned(),
            state: v1::State::Running.into(),
            ..v1::TraceStatus::default()
        }],
    };
    let strays = || steps(&fleet, &node).len();
    super::heard(&fleet, &node, &runs("tj-theirs"));
    assert_eq!(strays(), 1, "it looks like one of ours");
    // The agent has refused to stop it.
    lock(&node.state).running.remove("tj-theirs");
    lock(&node.state).foreign.insert("tj-theirs".to_owned());
    super::heard(&fleet, &node, &runs("tj-theirs"));
    assert_eq!(strays(), 0);
    super::heard(&fleet, &node, &runs("tj-gone"));
    assert_eq!(strays(), 1);
    restarted(&node, &v1::WatchTracesResponse::default());
    super::heard(&fleet, &node, &runs("tj-theirs"));
    assert_eq!(strays(), 1, "another agent may have another one");
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
    // Without a role nothing works on that node.
    assert!(!is_anothers(&status(&[("who", "a")])));
}

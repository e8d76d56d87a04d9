//! Agents of two versions run one job: the columns that both have are the job's. The agents are simulated, by what a real one sent.

use crate::{
    cluster::{holds, job, word},
    gateway::reader::{Read, Reader, raw},
    scale::{Fleet, address, fleet_with},
    simulated::{CALLS, MORE, Recorded, record},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tests::until_within;

const NODES: usize = 3;

/// Agents of which the last is of another version, in a cluster with a controller and a gateway.
fn mixed(tracer: &str, work: &[&str]) -> Fleet {
    let other = |recorded: &Recorded| {
        let address = address(NODES - 1).parse().unwrap();
        HashMap::from([(address, recorded.clone().of_another_version())])
    };
    let record =
        |cluster: &crate::cluster::Cluster| record(&cluster.plane, "10.77.1.1", tracer, work);
    let mut fleet = fleet_with(NODES, record, other);
    fleet.cluster.start_controller();
    fleet.cluster.start_gateways(1);
    fleet
}

fn run(fleet: &Fleet, tracer: Value) -> Value {
    let spec = json!({"tracer": tracer, "activeDeadlineSeconds": 12, "selector": {"matchLabels": {"app": "load"}}});
    fleet.cluster.apply(&job("shop", "mixed", spec));
    fleet.cluster.until("to run", "shop", "mixed", |job| {
        let count = |name: &str| job["status"]["nodes"][name].as_u64().unwrap_or(0);
        count("running") + count("ended") == NODES as u64
    });
    fleet.cluster.job("shop", "mixed").unwrap()
}

fn over(fleet: &Fleet) -> Value {
    until_within(Duration::from_secs(120), "its end", || {
        let job = fleet.cluster.job("shop", "mixed")?;
        holds(&job, "Complete").then_some(job)
    })
}

/// The account names the agent of another version, and nothing is missing.
fn check_account(account: &Value, produced: u64) {
    assert_eq!(
        (&account["produced"], &account["complete"]),
        (&json!(produced), &json!(true)),
        "{account:#}"
    );
    let nodes = account["nodes"].as_array().unwrap();
    let notes = |reason: &Value| {
        nodes
            .iter()
            .filter(|node| node["reason"] == *reason)
            .count()
    };
    assert_eq!(notes(&json!("OtherVersion")), 1, "{account:#}");
    let other = nodes
        .iter()
        .find(|node| node["reason"] == "OtherVersion")
        .unwrap();
    assert!(other["message"].as_str().unwrap().contains(MORE), "{other}");
}

#[test]
fn events_of_agents_of_two_versions_are_one_stream_with_the_columns_that_both_have() {
    let work = ["open-times", "50", "openat", "/dev/null", "0", "0"];
    let fleet = mixed("open", &work);
    run(&fleet, json!({"open": {}}));
    let path =
        "/apis/subresources.tracejob.dev/v1alpha1/watch/namespaces/shop/tracejobs/mixed/events";
    let read = Reader::start(&fleet.cluster, &fleet.cluster.plane.admin(), path).finish();
    let each = fleet.recorded.account.produced;
    assert_eq!(read.rows.len() as u64, each * NODES as u64);
    let wanted = fleet.recorded.columns();
    for row in &read.rows {
        let row = row.as_object().unwrap();
        assert!(!row.contains_key(MORE), "{row:?}");
        assert!(wanted.iter().all(|name| row.contains_key(*name)), "{row:?}");
    }
    check_account(&read.account, each * NODES as u64);
    assert_eq!(word(&over(&fleet)), "Complete");
}

#[test]
fn a_further_dataset_of_agents_of_two_versions_is_one_table_after_the_rows() {
    const DROPS: u64 = 40;
    let fleet = mixed("tcp_drop", &["connect-times", "40", "127.0.0.1:9"]);
    run(&fleet, json!({"tcpDrop": {}}));
    let path =
        "/apis/subresources.tracejob.dev/v1alpha1/watch/namespaces/shop/tracejobs/mixed/events";
    let read = Reader::start(&fleet.cluster, &fleet.cluster.plane.admin(), path).finish();
    let is_first = |row: &&Value| row["dataset"].is_null();
    let (rows, reasons): (Vec<&Value>, Vec<&Value>) = read.rows.iter().partition(is_first);
    assert_eq!(rows.len() as u64, DROPS * NODES as u64);
    let drops = reasons.iter().map(|row| row["drops"].as_u64().unwrap());
    assert_eq!(drops.sum::<u64>(), DROPS * NODES as u64, "{reasons:?}");
    let nodes: BTreeSet<&str> = { reasons.iter() }
        .map(|row| row["node"].as_str().unwrap())
        .collect();
    assert_eq!(nodes.len(), NODES, "{reasons:?}");
    for row in &read.rows {
        assert!(row.get(MORE).is_none(), "{row:?}");
    }
    check_account(&read.account, 2 * DROPS * NODES as u64);
    assert_eq!(word(&over(&fleet)), "Complete");
}

#[test]
fn tables_of_agents_of_two_versions_are_one_table_and_one_summary() {
    let calls = CALLS.1.to_string();
    let fleet = mixed("syscall_count", &[CALLS.0, &calls]);
    run(&fleet, json!({"syscallCount": {}}));
    let path = "/apis/subresources.tracejob.dev/v1alpha1/watch/namespaces/shop/tracejobs/mixed/events?by=syscall";
    let text = raw(&fleet.cluster, &fleet.cluster.plane.admin(), path).unwrap();
    let read = Read::of(&text);
    let of_call = read.rows.iter().rev().find(|row| row["syscall"] == CALLS.0);
    assert_eq!(of_call.unwrap()["count"], CALLS.1 * NODES as u64);
    assert!(!text.contains(&format!("\"{MORE}\":")), "{text}");
    check_account(
        &read.account,
        fleet.recorded.account.produced * NODES as u64,
    );
    let over = over(&fleet);
    assert_eq!(word(&over), "Complete", "{over:#}");
    let summary = &over["status"]["summary"];
    let rows = summary["rows"].as_array().unwrap();
    let counted: u64 = rows
        .iter()
        .filter(|row| row["syscall"] == CALLS.0)
        .map(|row| row["count"].as_str().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(counted, CALLS.1 * NODES as u64, "{summary:#}");
    let left_out = summary["leftOut"].as_array().unwrap();
    assert!(left_out.contains(&json!(MORE)), "{summary:#}");
}

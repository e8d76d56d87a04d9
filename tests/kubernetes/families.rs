//! Agents with IPv6 addresses, IPv4 addresses, or both.

use crate::cluster::{Cluster, holds, ipv6, job};
use serde_json::json;
use tests::Workload;

/// Runs a job on one node with these addresses of its agent in the slices, and returns the controller's peer address in the agent's audit
/// log.
fn called_from(four: &[String], six: &[String]) -> String {
    let mut cluster = Cluster::start(1);
    // So that it has no other addresses from its start.
    cluster.kill_controller();
    cluster.slice("IPv4", four);
    cluster.slice("IPv6", six);
    cluster.start_controller();
    let pod = cluster.pod("shop", "a", 0, "x");
    let spec =
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 50}});
    cluster.apply(&job("shop", "calls", spec));
    cluster.until_runs("shop", "calls", 1);
    let mut workload =
        Workload::behind_gate(&["open-times", "50", "openat", "/dev/null", "0", "0"]);
    pod.add(&workload);
    workload.finish();
    let over = cluster.until_over("shop", "calls");
    assert!(
        holds(&over, "Complete") && !holds(&over, "Partial"),
        "{over:#}"
    );
    assert_eq!(over["status"]["nodes"]["desired"], 1);
    assert_eq!(over["status"]["events"]["produced"], 50);
    let log = std::fs::read_to_string(cluster.agent_log(0)).unwrap();
    let (_, after) = log.split_once("tracejob-controller from ").unwrap();
    // A record within a line of the log: its quotes are escaped.
    let peer = after.split('\\').next().unwrap();
    peer.rsplit_once(':').unwrap().0.to_owned()
}

#[test]
fn an_agent_in_slices_of_both_families_is_one_and_is_called_by_ipv6() {
    let from = called_from(&["10.77.1.1".to_owned()], &[ipv6(0)]);
    assert_eq!(from, "[fd77::1]");
}

#[test]
fn an_agent_of_a_cluster_without_ipv4_is_called_by_ipv6() {
    assert_eq!(called_from(&[], &[ipv6(0)]), "[fd77::1]");
}

#[test]
fn an_agent_with_an_ipv6_address_that_does_not_answer_is_called_by_ipv4() {
    let from = called_from(&["10.77.1.1".to_owned()], &["fd77::dead".to_owned()]);
    assert_eq!(from, "10.77.1.1");
}

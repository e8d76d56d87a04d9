//! Jobs with a condition: agents deliver the rows that match, and a job with an invalid condition runs nowhere.

use crate::cluster::{Cluster, holds, job, word};
use serde_json::json;
use tests::Workload;

#[test]
fn a_job_with_a_condition_delivers_the_rows_that_match_and_counts_the_others() {
    let cluster = Cluster::start(2);
    let pods = [
        cluster.pod("shop", "a", 0, "x"),
        cluster.pod("shop", "b", 1, "x"),
    ];
    let output = json!({"where": "path == \"/dev/null\" && pod != nobody"});
    let spec = json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 20, "output": output});
    cluster.apply(&job("shop", "some", spec));
    cluster.until_runs("shop", "some", 2);
    for pod in &pods {
        let steps = "open-times 30 openat /dev/null 0 0 , open-times 70 openat /dev/zero 0 0";
        let steps: Vec<&str> = steps.split(' ').collect();
        let mut workload = Workload::behind_gate(&steps);
        pod.add(&workload);
        workload.finish();
    }
    let over = cluster.until_over("shop", "some");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    let events = &over["status"]["events"];
    assert_eq!(
        (&events["delivered"], &events["filtered"]),
        (&json!(60), &json!(140)),
        "{events:#}"
    );
    assert_eq!(events["produced"], 200);
}

#[test]
fn a_job_with_an_invalid_condition_fails_and_runs_nowhere() {
    let cluster = Cluster::start(1);
    let _pod = cluster.pod("shop", "a", 0, "x");
    let spec = json!({"tracer": {"open": {}}, "output": {"where": "paht == \"/dev/null\""}});
    cluster.apply(&job("shop", "wrong", spec));
    let over = cluster.until_over("shop", "wrong");
    assert_eq!(word(&over), "InvalidCondition", "{:#}", over["status"]);
    assert!(holds(&over, "Failed"));
    let status = &over["status"];
    assert!(status["startTime"].is_null(), "{status:#}");
    let conditions = status["conditions"].as_array().unwrap();
    let failed = conditions.iter().find(|one| one["type"] == "Failed");
    let message = failed.unwrap()["message"].as_str().unwrap();
    assert!(
        message.contains("spec.output.where") && message.contains("path"),
        "{message}"
    );
}

//! The chart on a real API server: installation, upgrade and removal, and a controller with its rights.

use super::{chart, rendered};
use crate::cluster::{Cluster, job, word};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::{ControlPlane, SYSTEM, Workload, until};

fn helm_in(plane: &ControlPlane, arguments: &[&str]) -> String {
    let mut helm = plane.helm();
    let out = helm.args(arguments).args(["--namespace", SYSTEM]);
    let out = out.output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn it_is_installed_upgraded_and_uninstalled_and_jobs_stay() {
    let plane = ControlPlane::start();
    let chart = chart();
    let notes = helm_in(&plane, &["install", "tj", &chart, "--create-namespace"]);
    assert!(
        notes.contains("kubectl label namespace tracejob-system"),
        "{notes}"
    );
    until("the definitions to be served", || {
        plane.get("/apis/tracejob.dev/v1alpha1/tracejobs")
    });
    let tracer = tracers::camel(tracers::ALL[0].name());
    plane
        .apply(&[job("default", "kept", json!({"tracer": {tracer: {}}}))])
        .unwrap();
    helm_in(
        &plane,
        &["upgrade", "tj", &chart, "--set=controller.replicas=1"],
    );
    let path = format!("/apis/apps/v1/namespaces/{SYSTEM}/deployments/tracejob-controller");
    assert_eq!(plane.get(&path).unwrap()["spec"]["replicas"], 1);
    helm_in(&plane, &["uninstall", "tj"]);
    assert!(plane.get(&path).is_none());
    for left in ["daemonsets", "deployments"] {
        let all = plane
            .get(&format!("/apis/apps/v1/namespaces/{SYSTEM}/{left}"))
            .unwrap();
        assert_eq!(all["items"], json!([]), "{left}");
    }
    let roles = plane.get("/apis/rbac.authorization.k8s.io/v1/clusterroles?labelSelector=app.kubernetes.io/part-of=tracejob");
    assert_eq!(roles.unwrap()["items"], json!([]));
    // Its definitions and with them the jobs are kept, and taken over by the next release of the name.
    let kept = "/apis/tracejob.dev/v1alpha1/namespaces/default/tracejobs/kept";
    assert!(plane.get(kept).is_some());
    helm_in(&plane, &["install", "tj", &chart]);
    assert!(plane.get(kept).is_some());
}

#[test]
fn the_controller_works_with_the_charts_rights_and_certificates_of_its_own() {
    let mut cluster = Cluster::start(1);
    cluster.kill_controller();
    let plane = &cluster.plane;
    for object in rendered(&[]).iter().filter(|object| {
        let kind = object["kind"].as_str().unwrap();
        kind.contains("Role") || ["ServiceAccount", "APIService"].contains(&kind)
    }) {
        plane.apply(std::slice::from_ref(object)).unwrap();
    }
    let user = format!("system:serviceaccount:{SYSTEM}:tracejob-controller");
    let mut first = cluster.start_controller_as(&user, &[]);
    // The agents' Secret as their pods mount it: these agents read files of the same names.
    let path = format!("/api/v1/namespaces/{SYSTEM}/secrets/tracejob-agent-tls");
    let secret = until("the agents' certificate", || cluster.plane.get(&path));
    cluster.agents_take(&secret["data"]);
    // The certificate of the gateway, which the API server must trust.
    let path = format!("/api/v1/namespaces/{SYSTEM}/secrets/tracejob-gateway-tls");
    let gateway = until("the gateway's certificate", || cluster.plane.get(&path));
    assert_eq!(gateway["data"]["ca.crt"], secret["data"]["ca.crt"]);
    let service = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.subresources.tracejob.dev";
    until("the API server to trust it", || {
        let service = cluster.plane.get(service)?;
        (service["spec"]["caBundle"] == secret["data"]["ca.crt"]).then_some(())
    });
    let pod = cluster.pod("shop", "a", 0, "x");
    cluster.apply(&job(
        "shop",
        "own",
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 50}}),
    ));
    cluster.until_runs("shop", "own", 1);
    // Another one waits for the lease, and goes on when the first is gone.
    let metrics = "127.0.0.1:9464";
    let mut second = cluster.start_controller_as(&user, &["--metrics", metrics]);
    until("the second one to wait for the lease", || {
        cluster.controller_is_ready(metrics).then_some(())
    });
    first.kill().unwrap();
    first.wait().unwrap();
    let mut workload =
        Workload::behind_gate(&["open-times", "50", "openat", "/dev/null", "0", "0"]);
    pod.add(&workload);
    workload.finish();
    cluster.until("to have seen", "shop", "own", |job| {
        job["status"]["events"]["delivered"] == 50
    });
    let over = cluster.until_over("shop", "own");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    let events = cluster.plane.kubectl(&["get", "events", "-n", "shop"]);
    let events = String::from_utf8(events.stdout).unwrap();
    assert!(
        events.contains("Running") && events.contains("Complete"),
        "{events}"
    );
    // It releases the lease when it ends, so that the next one does not wait.
    kill_process(Pid::from_child(&second), Signal::TERM).unwrap();
    assert!(second.wait().unwrap().success());
    let path =
        format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/tracejob-controller");
    let lease = cluster.plane.get(&path).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null, "{lease:#}");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}

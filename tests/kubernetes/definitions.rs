//! The definitions: what they let through, what they refuse and in which words, and what they explain.

use crate::{object, shared};
use serde_json::{Value, json};
use tests::ControlPlane;

/// The first option of the first tracer that has one, as a spec's tracer.
fn tracer() -> (String, &'static str) {
    let found = tracers::ALL
        .iter()
        .find(|tracer| !tracer.options().is_empty());
    let found = found.unwrap();
    (tracers::camel(found.name()), found.options()[0].key)
}

fn any_tracer() -> Value {
    json!({tracer().0: {}})
}

/// Returns the error of the API server for an object, in a dry run; empty if it accepts the object.
fn refusal(plane: &ControlPlane, object: &Value) -> String {
    let out = plane.kubectl_with(object, &["create", "--dry-run=server", "-f", "-"]);
    match out.status.success() {
        true => String::new(),
        false => String::from_utf8(out.stderr).unwrap(),
    }
}

fn definition_of(kind: &str) -> Value {
    match kind {
        "TraceJob" => crd::definition::<crd::TraceJob>(),
        _ => crd::definition::<crd::ClusterTraceJob>(),
    }
}

#[test]
fn definitions_are_taken_without_a_warning() {
    let plane = shared();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": crd::definitions()});
    let arguments = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    let out = plane.kubectl_with(&list, &arguments);
    // They are there already; warnings come before that is found out.
    let output = String::from_utf8(out.stderr).unwrap();
    assert_eq!(output.matches("already exists").count(), 2, "{output}");
    assert!(!output.contains("Warning"), "{output}");
    for name in ["tracejobs", "clustertracejobs"] {
        let path =
            format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}.tracejob.dev");
        let definition = plane.get(&path).unwrap();
        let conditions = definition["status"]["conditions"].as_array().unwrap();
        let wrong: Vec<&Value> = conditions
            .iter()
            .filter(|condition| condition["type"] == "NonStructuralSchema")
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_job_is_taken_and_gets_its_defaults() {
    let plane = shared();
    let whole = json!({
        "tracer": any_tracer(),
        "selector": {"matchLabels": {"app": "checkout"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "canary", "operator": "DoesNotExist"},
        ]},
        "pods": ["one", "two"], "containers": ["main"], "nodeSelector": {"disk": "ssd"},
        "maxNodes": 3, "samplePercent": 10, "activeDeadlineSeconds": 60, "suspend": true,
        "ttlSecondsAfterFinished": 0,
        "limits": {"maxEvents": 1, "eventsPerSecond": 1, "cpuPercent": 1, "memoryBytes": 65536, "ringBytes": 4096},
        "output": {
            "summaryRows": 0, "where": "pid > 1", "columns": ["pid", "+tid", "-comm"], "sort": ["-pid"], "top": 10,
        },
    });
    assert_eq!(
        refusal(&plane, &object("TraceJob", "whole", whole.clone())),
        ""
    );
    assert_eq!(
        refusal(&plane, &object("ClusterTraceJob", "whole", whole)),
        ""
    );
    let host = json!({"tracer": any_tracer(), "host": true, "nodeSelector": {"disk": "ssd"}});
    assert_eq!(
        refusal(&plane, &object("ClusterTraceJob", "host", host)),
        ""
    );
    let least = object("TraceJob", "least", json!({"tracer": any_tracer()}));
    plane.apply(&[least]).unwrap();
    let taken = plane
        .get("/apis/tracejob.dev/v1alpha1/namespaces/default/tracejobs/least")
        .unwrap();
    assert_eq!(taken["spec"]["activeDeadlineSeconds"], 300);
    assert_eq!(taken["metadata"]["generation"], 1);
}

/// Invalid jobs, and the messages of the API server.
fn mistakes() -> Vec<(&'static str, Value, &'static str)> {
    let (name, option) = tracer();
    let with = |field: &str, value: Value| json!({"tracer": any_tracer(), field: value});
    let mut two = json!({});
    for tracer in &tracers::ALL[..2] {
        two[tracers::camel(tracer.name())] = json!({});
    }
    vec![
        (
            "TraceJob",
            json!({"tracer": {}}),
            "exactly one tracer must be set: one of ",
        ),
        (
            "TraceJob",
            json!({"tracer": two}),
            "exactly one tracer must be set: one of ",
        ),
        ("TraceJob", json!({}), "spec.tracer: Required value"),
        (
            "TraceJob",
            json!({"tracer": {"nonsense": {}}}),
            "unknown field \"spec.tracer.nonsense\"",
        ),
        (
            "TraceJob",
            json!({"tracer": {name.clone(): {format!("{option}x"): 1}}}),
            "unknown field \"spec.tracer.",
        ),
        (
            "TraceJob",
            json!({"tracer": {name: {option: "x"}}}),
            "must be of type",
        ),
        (
            "TraceJob",
            with("activeDeadlineSeconds", json!(0)),
            "spec.activeDeadlineSeconds in body should be greater than or equal to 1",
        ),
        (
            "TraceJob",
            with("activeDeadlineSeconds", json!(86_401)),
            "should be less than or equal to 86400",
        ),
        (
            "TraceJob",
            with("ttlSecondsAfterFinished", json!(-1)),
            "should be greater than or equal to 0",
        ),
        (
            "TraceJob",
            with("maxNodes", json!(0)),
            "should be greater than or equal to 1",
        ),
        (
            "TraceJob",
            with("samplePercent", json!(101)),
            "should be less than or equal to 100",
        ),
        (
            "TraceJob",
            with("limits", json!({"cpuPercent": 0})),
            "should be greater than or equal to 1",
        ),
        (
            "TraceJob",
            with("limits", json!({"memoryBytes": 1})),
            "should be greater than or equal to 65536",
        ),
        (
            "TraceJob",
            with("limits", json!({"ringBytes": 1_u64 << 31})),
            "should be less than or equal to 1073741824",
        ),
        (
            "TraceJob",
            with("output", json!({"summaryRows": 21})),
            "should be less than or equal to 20",
        ),
        (
            "TraceJob",
            with("output", json!({"where": "x".repeat(4097)})),
            "Too long: may not be more than 4096",
        ),
        (
            "TraceJob",
            with("output", json!({"columns": vec!["a"; 65]})),
            "must have at most 64 items",
        ),
        (
            "TraceJob",
            with("output", json!({"sort": vec!["a"; 9]})),
            "must have at most 8 items",
        ),
        (
            "TraceJob",
            with("output", json!({"top": 0})),
            "should be greater than or equal to 1",
        ),
        (
            "TraceJob",
            with("pods", json!(vec!["a"; 65])),
            "must have at most 64 items",
        ),
        (
            "TraceJob",
            with("pods", json!([""])),
            "should be at least 1 chars long",
        ),
        (
            "TraceJob",
            with("containers", json!(["x".repeat(64)])),
            "Too long: may not be more than 63",
        ),
        (
            "TraceJob",
            with(
                "selector",
                json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            ),
            "In and NotIn require values; Exists and DoesNotExist must have none",
        ),
        (
            "TraceJob",
            with(
                "selector",
                json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
            ),
            "In and NotIn require values; Exists and DoesNotExist must have none",
        ),
        (
            "TraceJob",
            with(
                "selector",
                json!({"matchExpressions": [{"key": "a", "operator": "is"}]}),
            ),
            "Unsupported value: \"is\"",
        ),
        (
            "TraceJob",
            with("host", json!(true)),
            "unknown field \"spec.host\"",
        ),
        (
            "ClusterTraceJob",
            json!({"tracer": any_tracer(), "host": true, "pods": ["a"]}),
            "host selects all processes of a node and excludes ",
        ),
        (
            "ClusterTraceJob",
            json!({"tracer": any_tracer(), "host": true, "namespaceSelector": {}}),
            "host selects all processes of a node and excludes ",
        ),
    ]
}

#[test]
fn invalid_jobs_are_refused_with_a_remedy_also_offline() {
    let plane = shared();
    for (kind, spec, words) in mistakes() {
        let object = object(kind, "wrong", spec);
        let output = refusal(&plane, &object);
        assert!(
            output.contains(words),
            "{object}\nfails with {output}\nwithout {words}"
        );
        // Types and names are serde's to check, bounds and rules those of `check`.
        let typed = match kind {
            "TraceJob" => {
                serde_json::from_value::<crd::TraceJobSpec>(object["spec"].clone()).is_ok()
            }
            _ => serde_json::from_value::<crd::ClusterTraceJobSpec>(object["spec"].clone()).is_ok(),
        };
        let wrong = crd::check(&definition_of(kind), &object);
        assert!(
            !typed || !wrong.is_empty(),
            "only a cluster refuses {object}"
        );
    }
}

#[test]
fn a_job_that_has_started_changes_no_more_but_for_suspend_and_ttl() {
    let plane = shared();
    let path = "/apis/tracejob.dev/v1alpha1/namespaces/default/tracejobs/fixed";
    let with = |more: &[(&str, Value)]| {
        let mut spec = json!({"tracer": any_tracer(), "maxNodes": 2});
        for (field, value) in more {
            spec[*field] = value.clone();
        }
        plane.apply(&[object("TraceJob", "fixed", spec)])
    };
    with(&[]).unwrap();
    with(&[("maxNodes", json!(3))]).unwrap();
    let status = json!({"status": {"traceGeneration": 2}}).to_string();
    let out = plane.kubectl(&[
        "patch",
        "tracejob",
        "fixed",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ]);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!(plane.get(path).unwrap()["status"]["traceGeneration"], 2);
    let kept = ("maxNodes", json!(3));
    for (field, value) in [
        ("maxNodes", json!(4)),
        ("selector", json!({})),
        ("activeDeadlineSeconds", json!(5)),
        ("limits", json!({"maxEvents": 7})),
    ] {
        let output = with(&[kept.clone(), (field, value)]).unwrap_err();
        assert!(
            output.contains("the spec of a started job is immutable"),
            "{field}: {output}"
        );
    }
    with(&[
        kept.clone(),
        ("suspend", json!(true)),
        ("ttlSecondsAfterFinished", json!(9)),
    ])
    .unwrap();
}

#[test]
fn explain_shows_the_catalogues_own_words() {
    let plane = shared();
    for tracer in tracers::ALL {
        let field = format!("tracejob.spec.tracer.{}", tracers::camel(tracer.name()));
        let out = plane.kubectl(&["explain", &field]);
        let output = String::from_utf8(out.stdout).unwrap();
        // It breaks lines as it likes.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let about = words(tracer.about().lines().next().unwrap());
        assert!(words(&output).contains(&about), "{field}: {output}");
        for option in tracer.options() {
            assert!(output.contains(option.key), "{field}: {output}");
            assert!(
                words(&output).contains(&words(option.about)),
                "{field}: {output}"
            );
        }
    }
}

#[test]
fn kubectl_get_shows_how_far_jobs_are() {
    let plane = shared();
    plane
        .apply(&[object("TraceJob", "shown", json!({"tracer": any_tracer()}))])
        .unwrap();
    let condition = json!({
        "type": "Progressing", "status": "True", "reason": "Running", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
    });
    let status = json!({"status": {
        "tracer": "some", "conditions": [condition], "nodes": {"desired": 2, "running": 1}, "events": {"delivered": 1204, "lost": 3},
    }});
    let out = plane.kubectl(&[
        "patch",
        "tj",
        "shown",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status.to_string(),
    ]);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let out = plane.kubectl(&["get", "tj", "shown"]);
    let output = String::from_utf8(out.stdout).unwrap();
    let rows: Vec<Vec<&str>> = output
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "NAME", "TRACER", "NODES", "RUNNING", "EVENTS", "LOST", "STATUS", "AGE"
        ]
    );
    assert_eq!(
        rows[1][..7],
        ["shown", "some", "2", "1", "1204", "3", "Running"]
    );
}

//! Rights to use tracers: the check of the API server by the policy of the chart, and the controller with a job that was not checked.

use crate::{
    chart::{find, rendered},
    cluster::{Cluster, holds, job, word},
    plane,
};
use crd::admission::USE_POLICY;
use serde_json::{Value, json};
use std::path::PathBuf;
use tests::{ControlPlane, until};
use tracers::Class;

/// The name of a tracer of a class, as a job has it.
fn of(class: Class) -> String {
    let mut tracers = tracers::ALL.iter();
    let tracer = tracers.find(|tracer| tracer.class() == class).unwrap();
    tracers::camel(tracer.name())
}

/// The policy and its binding as the chart has them.
fn admission() -> [Value; 2] {
    let objects = rendered(&[]);
    [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ]
    .map(|kind| find(&objects, kind, USE_POLICY).clone())
}

fn spec(tracer: &str) -> Value {
    json!({"tracer": {tracer: {}}, "suspend": true})
}

/// A user of the API server.
struct User<'a> {
    plane: &'a ControlPlane,
    name: &'static str,
    kubeconfig: PathBuf,
}

impl<'a> User<'a> {
    fn new(plane: &'a ControlPlane, name: &'static str) -> Self {
        let kubeconfig = plane.kubeconfig(name, &[]);
        Self {
            plane,
            name,
            kubeconfig,
        }
    }

    /// Gives it a role of the chart: in a namespace, or in the cluster.
    fn bind(&self, role: &str, namespace: Option<&str>) {
        let kind = if namespace.is_some() {
            "RoleBinding"
        } else {
            "ClusterRoleBinding"
        };
        let mut metadata = json!({"name": format!("{}-{role}", self.name)});
        if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.into();
        }
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.name}],
        });
        self.plane.apply(&[binding]).unwrap();
    }

    fn unbind(&self, role: &str, namespace: &str) {
        let name = format!("{}-{role}", self.name);
        let arguments = ["delete", "rolebinding", &name, "-n", namespace];
        assert!(self.plane.kubectl(&arguments).status.success());
    }

    fn tries(&self, arguments: &[&str], object: &Value) -> Result<String, String> {
        let own = ["--kubeconfig", self.kubeconfig.to_str().unwrap()];
        let out = self.plane.kubectl_with(object, &[&own, arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match out.status.success() {
            true => Ok(text(&out.stdout)),
            false => Err(text(&out.stdout) + &text(&out.stderr)),
        }
    }

    fn creates(&self, object: &Value) -> Result<String, String> {
        self.tries(&["create", "-f", "-"], object)
    }
}

/// A control plane with the chart's roles for users and its policy, which holds already.
fn checked_plane() -> ControlPlane {
    let plane = plane();
    for namespace in ["shop", "bank"] {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        plane.apply(&[namespace]).unwrap();
    }
    for object in rendered(&[]) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let of_users = object["kind"] == "ClusterRole"
            && (name.starts_with("tracejob-use-") || name == "tracejob-editor");
        if of_users {
            plane.apply(&[object]).unwrap();
        }
    }
    plane.apply(&admission()).unwrap();
    // The probe is of another user, who may create jobs and use no tracer.
    let other = User::new(&plane, "other");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "makes-jobs"},
        "rules": [{"apiGroups": ["tracejob.dev"], "resources": ["tracejobs", "clustertracejobs"], "verbs": ["create", "get", "patch", "update"]}],
    });
    other.plane.apply(&[role]).unwrap();
    other.bind("makes-jobs", Some("shop"));
    let probe = job("shop", "probe", spec(&of(Class::Observe)));
    until("the policy to hold", || {
        let message = other.tries(&["create", "--dry-run=server", "-f", "-"], &probe);
        message
            .is_err_and(|message| message.contains("may not use the tracer"))
            .then_some(())
    });
    plane
}

#[test]
fn a_user_creates_jobs_of_the_tracers_that_its_roles_name_and_is_told_of_the_others() {
    let plane = checked_plane();
    let (observe, payload) = (of(Class::Observe), of(Class::Payload));
    let ann = User::new(&plane, "ann");
    ann.bind("tracejob-editor", Some("shop"));
    ann.creates(&job("shop", "sees", spec(&observe))).unwrap();
    let reads = job("shop", "reads", spec(&payload));
    let message = ann.creates(&reads).unwrap_err();
    let command = "kubectl auth can-i --list -n shop";
    for words in [
        "orbidden",
        &format!("ann may not use the tracer {payload} in namespace shop"),
        &format!("`{command}`"),
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    // The command that it names lists the right.
    let command: Vec<&str> = command.split(' ').skip(1).collect();
    let uses = || {
        let list = ann.tries(&command, &Value::Null).unwrap();
        let mut lines = list
            .lines()
            .filter(|line| line.starts_with("tracers.tracejob.dev "));
        lines.any(|line| line.contains(&payload) && line.contains("[use]"))
    };
    assert!(!uses());
    ann.bind("tracejob-use-payload", Some("shop"));
    let made = until("the right to be there", || ann.creates(&reads).ok());
    assert!(made.contains("created"), "{made}");
    assert!(uses());
    // A right in one namespace is none in another, whatever else may be done there.
    ann.bind("makes-jobs", Some("bank"));
    let there = job("bank", "reads", spec(&payload));
    let message = until("the check of the other namespace", || {
        ann.creates(&there)
            .err()
            .filter(|message| message.contains("may not use"))
    });
    assert!(message.contains("in namespace bank"), "{message}");
}

#[test]
fn a_spec_changes_only_by_somebody_who_may_use_its_tracer_and_labels_by_anybody() {
    let plane = checked_plane();
    let payload = of(Class::Payload);
    let ann = User::new(&plane, "ann");
    ann.bind("tracejob-editor", Some("shop"));
    ann.bind("tracejob-use-payload", Some("shop"));
    let reads = job("shop", "reads", spec(&payload));
    until("the right to be there", || ann.creates(&reads).ok());
    let patch = |text| {
        [
            "patch",
            "tj",
            "reads",
            "-n",
            "shop",
            "--type=merge",
            "-p",
            text,
        ]
    };
    let resumed = patch(r#"{"spec":{"suspend":false}}"#);
    ann.tries(&resumed, &Value::Null).unwrap();
    ann.tries(&patch(r#"{"spec":{"suspend":true}}"#), &Value::Null)
        .unwrap();
    ann.unbind("tracejob-use-payload", "shop");
    let message = until("the right to be gone", || {
        let dry = [&resumed[..], &["--dry-run=server"]].concat();
        ann.tries(&dry, &Value::Null).err()
    });
    assert!(message.contains("ann may not use the tracer"), "{message}");
    let labelled = patch(r#"{"metadata":{"labels":{"a":"b"}}}"#);
    ann.tries(&labelled, &Value::Null).unwrap();
    // Another tracer is another right.
    let observe = of(Class::Observe);
    let other = format!(r#"{{"spec":{{"tracer":{{"{payload}":null,"{observe}":{{}}}}}}}}"#);
    ann.tries(&patch(&other), &Value::Null).unwrap();
    let back = format!(r#"{{"spec":{{"tracer":{{"{payload}":{{}},"{observe}":null}}}}}}"#);
    let message = ann.tries(&patch(&back), &Value::Null).unwrap_err();
    assert!(message.contains("ann may not use the tracer"), "{message}");
}

#[test]
fn a_job_of_several_namespaces_takes_the_right_in_the_cluster() {
    let plane = checked_plane();
    let observe = of(Class::Observe);
    let ann = User::new(&plane, "ann");
    ann.bind("makes-jobs", None);
    ann.bind("tracejob-use-observe", Some("shop"));
    let everywhere = json!({
        "apiVersion": "tracejob.dev/v1alpha1", "kind": "ClusterTraceJob", "metadata": {"name": "all"}, "spec": spec(&observe),
    });
    let message = until("the right to make jobs", || {
        ann.creates(&everywhere)
            .err()
            .filter(|message| message.contains("may not use"))
    });
    assert!(
        message.contains(&format!("the tracer {observe} in the cluster")),
        "{message}"
    );
    ann.bind("tracejob-use-observe", None);
    until("the right to be there", || ann.creates(&everywhere).ok());
}

#[test]
fn a_job_that_nobody_checked_runs_only_where_its_class_allows_that() {
    let cluster = Cluster::start(1);
    let _pod = cluster.pod("shop", "a", 0, "x");
    let (observe, payload) = ("open", of(Class::Payload));
    let running = |tracer: &str| json!({"tracer": {tracer: {}}, "activeDeadlineSeconds": 600});
    // There is no policy: as where it was deleted.
    cluster.apply(&job("shop", "reads", running(&payload)));
    let failed = cluster.until_over("shop", "reads");
    assert_eq!(word(&failed), "NotChecked", "{:#}", failed["status"]);
    assert!(holds(&failed, "Failed"));
    let conditions = failed["status"]["conditions"].to_string();
    for words in [
        "the right of the job's creator to use",
        "the ValidatingAdmissionPolicy tracejob-use-tracers does not exist",
    ] {
        assert!(conditions.contains(words), "{words}: {conditions}");
    }
    assert!(
        failed["status"]["startTime"].is_null(),
        "no agent received it"
    );
    cluster.apply(&job("shop", "sees", running(observe)));
    cluster.until_runs("shop", "sees", 1);
    // One that is older than the policy was not checked either.
    let mut old = running(&payload);
    old["suspend"] = true.into();
    cluster.apply(&job("shop", "old", old));
    let made = cluster.job("shop", "old").unwrap()["metadata"]["creationTimestamp"].clone();
    let path =
        format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{USE_POLICY}");
    until("a policy of a later second", || {
        let _ = cluster
            .plane
            .kubectl(&["delete", "validatingadmissionpolicies", USE_POLICY]);
        cluster.plane.apply(&admission()).unwrap();
        let policy = cluster.plane.get(&path)?;
        let at = policy["metadata"]["creationTimestamp"].as_str()?.to_owned();
        (at.as_str() > made.as_str()?).then_some(())
    });
    let resume = r#"{"spec":{"suspend":false}}"#;
    let resume = [
        "patch",
        "tj",
        "old",
        "-n",
        "shop",
        "--type=merge",
        "-p",
        resume,
    ];
    assert!(cluster.plane.kubectl(&resume).status.success());
    let failed = cluster.until_over("shop", "old");
    let conditions = failed["status"]["conditions"].to_string();
    assert!(conditions.contains("is newer than the job"), "{conditions}");
    // A job that is made under it runs.
    cluster.apply(&job("shop", "checked", running(&payload)));
    cluster.until_runs("shop", "checked", 1);
    // A policy that checks less is not the chart's.
    let weaker = r#"[{"op":"replace","path":"/spec/failurePolicy","value":"Ignore"}]"#;
    let weaken = [
        "patch",
        "validatingadmissionpolicies",
        USE_POLICY,
        "--type=json",
        "-p",
        weaker,
    ];
    assert!(cluster.plane.kubectl(&weaken).status.success());
    cluster.apply(&job("shop", "weak", running(&payload)));
    let failed = cluster.until_over("shop", "weak");
    let conditions = failed["status"]["conditions"].to_string();
    assert!(
        conditions.contains("differs from the one of this controller"),
        "{conditions}"
    );
}

#[test]
fn a_job_of_a_class_that_is_not_enabled_is_refused_by_the_controller() {
    let mut cluster = Cluster::start(0);
    cluster.kill_controller();
    cluster.start_controller_with(&["--classes=observe"]);
    cluster.apply(&job(
        "shop",
        "reads",
        json!({"tracer": {of(Class::Payload): {}}}),
    ));
    let failed = cluster.until_over("shop", "reads");
    assert_eq!(word(&failed), "ClassDenied", "{:#}", failed["status"]);
}

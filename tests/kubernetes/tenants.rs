//! Two teams of one cluster: what each tries to see or change of the other's, with the roles that the chart brings.

use crate::{
    chart::{find, rendered},
    cluster::{Cluster, holds, job, word},
};
use serde_json::{Value, json};
use std::path::PathBuf;
use tests::{Kubectl, Workload};

/// A user with the role of an editor in one namespace.
struct Tenant {
    kubectl: Kubectl,
    kubeconfig: PathBuf,
}

impl Tenant {
    fn new(cluster: &Cluster, name: &str, namespace: &str, role: &str) -> Self {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("{name}-{role}"), "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        });
        cluster.plane.apply(&[binding]).unwrap();
        Self {
            kubectl: (*cluster.plane).clone(),
            kubeconfig: cluster.plane.kubeconfig(name, &[]),
        }
    }

    /// Returns the output of kubectl for this user; an error if the API server refuses.
    fn tries(&self, arguments: &[&str], object: &Value) -> Result<String, String> {
        let own = ["--kubeconfig", self.kubeconfig.to_str().unwrap()];
        let out = self
            .kubectl
            .kubectl_with(object, &[&own, arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match out.status.success() {
            true => Ok(text(&out.stdout)),
            false => Err(text(&out.stderr)),
        }
    }
}

/// One with the chart's roles.
fn cluster(nodes: usize) -> Cluster {
    let cluster = Cluster::start(nodes);
    let objects = rendered(&[]);
    for role in ["tracejob-viewer", "tracejob-editor"] {
        let role = find(&objects, "ClusterRole", role).clone();
        cluster.plane.apply(&[role]).unwrap();
    }
    cluster
}

#[test]
fn a_tenant_sees_and_changes_jobs_of_its_own_namespace_and_nothing_else() {
    let cluster = cluster(0);
    let shop = Tenant::new(&cluster, "ann", "shop", "tracejob-editor");
    let viewer = Tenant::new(&cluster, "eve", "shop", "tracejob-viewer");
    let spec = json!({"tracer": {"open": {}}, "suspend": true});
    cluster.apply(&job("bank", "theirs", spec.clone()));
    let own = job("shop", "own", spec.clone());
    let none = Value::Null;
    let apply = ["apply", "-f", "-"];
    shop.tries(&apply, &own).unwrap();
    for arguments in [
        &["get", "tj", "-n", "shop"][..],
        &["describe", "tj", "own", "-n", "shop"],
    ] {
        shop.tries(arguments, &none).unwrap();
        viewer.tries(arguments, &none).unwrap();
    }
    let forged = r#"{"status":{"conditions":[],"tracer":"open","nodes":{"running":9}}}"#;
    let status = |namespace| {
        let name = if namespace == "shop" { "own" } else { "theirs" };
        [
            "patch",
            "tj",
            name,
            "-n",
            namespace,
            "--subresource=status",
            "--type=merge",
            "-p",
            forged,
        ]
    };
    let others = job("bank", "more", spec.clone());
    let everywhere = json!({
        "apiVersion": "tracejob.dev/v1alpha1", "kind": "ClusterTraceJob", "metadata": {"name": "all"}, "spec": spec,
    });
    for (user, what, arguments, object) in [
        (
            &shop,
            "read another's",
            &["get", "tj", "theirs", "-n", "bank"][..],
            &none,
        ),
        (&shop, "list another's", &["get", "tj", "-n", "bank"], &none),
        (&shop, "list all", &["get", "tj", "-A"], &none),
        (
            &shop,
            "watch another's",
            &["get", "tj", "-n", "bank", "-w", "--request-timeout=2s"],
            &none,
        ),
        (&shop, "create another's", &apply, &others),
        (
            &shop,
            "stop another's",
            &["delete", "tj", "theirs", "-n", "bank"],
            &none,
        ),
        (
            &shop,
            "resume another's",
            &[
                "patch",
                "tj",
                "theirs",
                "-n",
                "bank",
                "--type=merge",
                "-p",
                r#"{"spec":{"suspend":false}}"#,
            ],
            &none,
        ),
        (&shop, "forge another's status", &status("bank"), &none),
        (&shop, "forge its own status", &status("shop"), &none),
        (&shop, "trace all namespaces", &apply, &everywhere),
        (
            &shop,
            "list the traces of all namespaces",
            &["get", "clustertracejobs"],
            &none,
        ),
        (
            &shop,
            "read the agents' certificates",
            &["get", "secrets", "-n", "tracejob-system"],
            &none,
        ),
        (
            &shop,
            "reach an agent",
            &["get", "pods", "-n", "tracejob-system"],
            &none,
        ),
        (
            &viewer,
            "create",
            &apply,
            &job("shop", "eves", json!({"tracer": {"open": {}}})),
        ),
        (
            &viewer,
            "delete",
            &["delete", "tj", "own", "-n", "shop"],
            &none,
        ),
        (&viewer, "forge a status", &status("shop"), &none),
    ] {
        let message = user.tries(arguments, object);
        let message = message.expect_err(what);
        assert!(message.contains("orbidden"), "{what}: {message}");
    }
    assert_eq!(
        cluster.job("bank", "theirs").unwrap()["spec"]["suspend"],
        true
    );
}

#[test]
fn a_job_that_names_another_namespaces_pods_traces_none_of_them() {
    let cluster = cluster(1);
    let shop = Tenant::new(&cluster, "ann", "shop", "tracejob-editor");
    let theirs = cluster.pod("bank", "vault", 0, "vault");
    let tries = [
        ("by-name", json!({"pods": ["vault"]})),
        ("by-path", json!({"pods": ["bank/vault"]})),
        (
            "by-label",
            json!({"selector": {"matchLabels": {"app": "vault"}}}),
        ),
        (
            "by-namespace",
            json!({"selector": {"matchLabels": {"kubernetes.io/metadata.name": "bank"}}}),
        ),
        ("by-container", json!({"containers": ["main"]})),
        (
            "by-node",
            json!({"nodeSelector": {"kubernetes.io/hostname": "node-0"}}),
        ),
        ("all", json!({})),
    ];
    let mut taken = Vec::new();
    for (name, mut spec) in tries {
        spec["tracer"] = json!({"open": {}});
        spec["activeDeadlineSeconds"] = json!(30);
        match shop.tries(&["apply", "-f", "-"], &job("shop", name, spec)) {
            Ok(_) => taken.push(name),
            Err(message) => assert!(
                message.contains("invalid") || message.contains("Invalid"),
                "{name}: {message}"
            ),
        }
    }
    assert!(taken.len() >= 5, "{taken:?}");
    let mut workload =
        Workload::behind_gate(&["open-times", "50", "openat", "/dev/null", "0", "0"]);
    theirs.add(&workload);
    workload.finish();
    for name in &taken {
        let seen = cluster.job("shop", name).unwrap();
        assert!(
            !holds(&seen, "Complete") && !holds(&seen, "Failed"),
            "{name} was over before anything happened"
        );
    }
    for name in taken {
        let over = cluster.until_over("shop", name);
        assert_eq!(word(&over), "NoPods", "{name}: {:#}", over["status"]);
        assert_eq!(over["status"]["events"]["produced"], 0, "{name}");
        // And it does not reveal that they exist.
        assert!(!over["status"].to_string().contains("vault"), "{name}");
    }
}

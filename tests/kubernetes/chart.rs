//! The chart: its objects, their rights, and its life on a real API server.

mod installed;
mod rights;

use crate::{cluster::job, shared};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{path::Path, process::Command};
use tests::{SYSTEM, cluster_program, until};

fn chart() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/tracejob");
    path.canonicalize().unwrap().display().to_string()
}

/// What values may be: the defaults, everything on, and everything by others.
const VALUES: [(&str, &[&str]); 3] = [
    ("default", &[]),
    (
        "everything",
        &[
            "--set=podMonitor.enabled=true,controller.allowHost=true,agent.policy.host=true,image.registry=registry.example",
            "--set=image.agent.digest=sha256:0123456789012345678901234567890123456789012345678901234567890123",
            "--set=agent.seccompProfile.type=Localhost,agent.seccompProfile.localhostProfile=tracejob-agent.json,controller.deniedNamespaces={kube-system,bank}",
            "--set=agent.appArmorProfile.type=Localhost,agent.appArmorProfile.localhostProfile=tracejob-agent,helmTest.namespace=shop",
            "--set=crds.keep=false,tls.mode=certManager,tls.issuerRef.name=ours,tls.issuerRef.kind=ClusterIssuer,tls.allowSharedIssuer=true",
            "--set=agent.annotations.a=b,controller.annotations.c=d,image.pullSecrets[0].name=s",
        ],
    ),
    (
        "little",
        &[
            "--set=crds.enabled=false,networkPolicy.enabled=false,podDisruptionBudget.enabled=false,rbac.aggregate=false",
            "--set=admissionPolicy.enabled=false",
            "--set=tls.mode=existing,controller.replicas=1,controller.deniedNamespaces=null",
        ],
    ),
];

fn helm(arguments: &[&str], values: &[&str]) -> Result<String, String> {
    let mut command = Command::new(cluster_program("helm"));
    command.args(arguments).args(values);
    let out = command.output().unwrap();
    match out.status.success() {
        true => Ok(String::from_utf8(out.stdout).unwrap()),
        false => Err(String::from_utf8(out.stderr).unwrap()),
    }
}

pub(crate) fn rendered(values: &[&str]) -> Vec<Value> {
    let arguments = ["template", "tj", &chart(), "--namespace", SYSTEM];
    let text = helm(&arguments, values).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    let documents = documents.map(|document| Value::deserialize(document).unwrap());
    documents.filter(|object| !object.is_null()).collect()
}

pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn values_are_linted_and_wrong_ones_are_refused_by_name() {
    for (name, values) in VALUES {
        let output = helm(&["lint", "--strict", &chart()], values);
        assert!(output.is_ok(), "{name}: {output:?}");
    }
    for (wrong, words) in [
        (
            "controler.replicas=2",
            "additional properties 'controler' not allowed",
        ),
        ("controller.replicas=0", "/controller/replicas"),
        ("tls.mode=none", "/tls/mode"),
        ("image.agent.digest=abc", "/image/agent/digest"),
        (
            "agent.policy.classes={observe,packets}",
            "/agent/policy/classes/1",
        ),
        ("agent.policy.classes=null", "classes"),
        ("rbac.editorClasses={all}", "/rbac/editorClasses/0"),
        (
            "tls.mode=certManager",
            "tls.issuerRef: cert-manager takes an issuer",
        ),
        (
            "tls.mode=certManager,tls.issuerRef.name=ours,tls.issuerRef.kind=ClusterIssuer",
            "can get one that agents take for the controller's",
        ),
        (
            "tls.mode=certManager,tls.issuerRef.name=ours,tls.issuerRef.kind=StepClusterIssuer",
            "can get one that agents take for the controller's",
        ),
    ] {
        let set = format!("--set={wrong}");
        let output = helm(&["template", "tj", &chart()], &[&set]).unwrap_err();
        assert!(output.contains(words), "{wrong}: {output}");
    }
}

/// Without the definitions, which `cargo xtask codegen` writes.
#[test]
fn what_is_rendered_has_changed_on_purpose_only() {
    for (name, values) in VALUES {
        let mut text = String::new();
        for object in rendered(values) {
            if object["kind"] != "CustomResourceDefinition" {
                text += "---\n";
                text += &serde_yaml::to_string(&object).unwrap();
            }
        }
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn a_real_api_server_takes_everything_that_is_rendered() {
    let plane = shared();
    let namespace =
        |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    plane
        .apply(&[namespace(SYSTEM), namespace("shop")])
        .unwrap();
    for (name, values) in VALUES {
        for object in rendered(values) {
            // Others' kinds this cluster does not have, and ours it has already.
            let group = object["apiVersion"].as_str().unwrap();
            if group.contains("monitoring.coreos.com") || group.contains("cert-manager.io") {
                continue;
            }
            let arguments = [
                "apply",
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                "-",
            ];
            let out = plane.kubectl_with(&object, &arguments);
            let output = String::from_utf8(out.stderr).unwrap();
            let (kind, object_name) = (&object["kind"], &object["metadata"]["name"]);
            assert!(
                out.status.success(),
                "{name}: {kind} {object_name}: {output}"
            );
            assert!(
                !output.contains("Warning"),
                "{name}: {kind} {object_name}: {output}"
            );
        }
    }
}

#[test]
fn a_job_of_a_denied_namespace_is_not_taken() {
    let plane = shared();
    let objects = rendered(&[]);
    for kind in [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ] {
        let object = find(&objects, kind, "tracejob-denied-namespaces").clone();
        plane.apply(&[object]).unwrap();
    }
    let tracer = tracers::camel(tracers::ALL[0].name());
    let in_namespace = |name: &str| job(name, "denied", json!({"tracer": {&*tracer: {}}}));
    // The API server reads policies every now and then.
    let output = until("the policy to hold", || {
        let dry = ["apply", "--dry-run=server", "-f", "-"];
        let out = plane.kubectl_with(&in_namespace("kube-system"), &dry);
        (!out.status.success()).then(|| String::from_utf8(out.stderr).unwrap())
    });
    let words = "pods of namespace kube-system are not traced here: see controller.deniedNamespaces of the chart";
    assert!(output.contains(words), "{output}");
    plane.apply(&[in_namespace("default")]).unwrap();
}

#[test]
fn an_agent_takes_the_configuration_that_is_rendered() {
    for (_, values) in VALUES {
        let objects = rendered(values);
        let config = find(&objects, "ConfigMap", "tracejob-agent")["data"]["agent.yaml"]
            .as_str()
            .unwrap();
        let plane = shared();
        let folder = plane.folder();
        // Where the files are not, and on a port that is free: everything else as it is.
        let config = config
            .replace(
                "/etc/tracejob-tls/tls",
                &folder.join("pki/apiserver").display().to_string(),
            )
            .replace(
                "/etc/tracejob-tls/ca",
                &folder.join("pki/ca").display().to_string(),
            )
            .replace("/host/proc", "/proc");
        let file = folder.join("rendered.yaml");
        std::fs::write(&file, config).unwrap();
        let mut agent = plane.net().command(crate::cluster::ours("tracejob-agent"));
        let mut child = agent
            .arg("--config")
            .arg(&file)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let ready = || {
            plane.net().command("bash").args(["-c", "exec 3<>/dev/tcp/127.0.0.1/9464 && printf 'GET /readyz HTTP/1.1\\r\\nhost: a\\r\\nconnection: close\\r\\n\\r\\n' >&3 && head -1 <&3"]).output().unwrap()
        };
        until("the agent to be ready", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended");
            String::from_utf8(ready().stdout)
                .unwrap()
                .contains("200")
                .then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

//! The chart: what it renders, what it asks for and why, and that it installs, changes and goes on a real API server.

use crate::{
    cluster::{Cluster, job, word},
    shared,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{path::Path, process::Command};
use tests::{ControlPlane, SYSTEM, Workload, cluster_program, until};

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
        let said = helm(&["lint", "--strict", &chart()], values);
        assert!(said.is_ok(), "{name}: {said:?}");
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
        let said = helm(&["template", "tj", &chart()], &[&set]).unwrap_err();
        assert!(said.contains(words), "{wrong}: {said}");
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
            let said = String::from_utf8(out.stderr).unwrap();
            let (kind, who) = (&object["kind"], &object["metadata"]["name"]);
            assert!(out.status.success(), "{name}: {kind} {who}: {said}");
            assert!(!said.contains("Warning"), "{name}: {kind} {who}: {said}");
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
    let said = until("the policy to hold", || {
        let dry = ["apply", "--dry-run=server", "-f", "-"];
        let out = plane.kubectl_with(&in_namespace("kube-system"), &dry);
        (!out.status.success()).then(|| String::from_utf8(out.stderr).unwrap())
    });
    let words = "pods of namespace kube-system are not traced here: see controller.deniedNamespaces of the chart";
    assert!(said.contains(words), "{said}");
    plane.apply(&[in_namespace("default")]).unwrap();
}

/// Everything that the controller may do, with the reason.
const RULES: [(&str, &str, &[&str], &str); 14] = [
    (
        "tracejob.dev",
        "tracejobs",
        &["delete", "get", "list", "patch", "watch"],
        "what is to be traced; the finalizer of version 0.1; ttlSecondsAfterFinished",
    ),
    (
        "tracejob.dev",
        "clustertracejobs",
        &["delete", "get", "list", "patch", "watch"],
        "the same",
    ),
    (
        "tracejob.dev",
        "tracejobs/status",
        &["patch"],
        "how far it is",
    ),
    (
        "tracejob.dev",
        "clustertracejobs/status",
        &["patch"],
        "the same",
    ),
    (
        "",
        "pods",
        &["get", "list", "watch"],
        "which pods are where",
    ),
    (
        "",
        "nodes",
        &["get", "list", "watch"],
        "labels of nodes; which are gone",
    ),
    (
        "",
        "namespaces",
        &["get", "list", "watch"],
        "labels of namespaces",
    ),
    (
        "events.k8s.io",
        "events",
        &["create", "patch"],
        "what a user should know",
    ),
    (
        "discovery.k8s.io",
        "endpointslices",
        &["get", "list", "watch"],
        "where the agents are",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        &["get"],
        "whether the API server checks who may use a tracer; its own by name",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        &["get"],
        "the same",
    ),
    (
        "apiregistration.k8s.io",
        "apiservices",
        &["patch"],
        "who has signed the gateway's certificate; its own by name",
    ),
    (
        "coordination.k8s.io",
        "leases",
        &["create", "get", "update"],
        "who leads",
    ),
    (
        "",
        "secrets",
        &["create", "get", "patch"],
        "certificates, of its own namespace and by name",
    ),
];

#[test]
fn the_controllers_rights_are_those_that_have_a_reason() {
    let objects = rendered(&[]);
    let mut seen: Vec<(String, String, Vec<String>)> = Vec::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let texts =
        |value: &Value| -> Vec<String> { value.as_array().unwrap().iter().map(text).collect() };
    for kind in ["ClusterRole", "Role"] {
        for rule in find(&objects, kind, "tracejob-controller")["rules"]
            .as_array()
            .unwrap()
        {
            let verbs = texts(&rule["verbs"]);
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    assert!(
                        ![&group, &resource].iter().any(|name| name.contains('*')),
                        "{rule}"
                    );
                    assert!(
                        !verbs
                            .iter()
                            .any(|verb| ["*", "impersonate", "escalate", "bind"]
                                .contains(&verb.as_str())),
                        "{rule}"
                    );
                    // Secrets: its own, in its own namespace. A name cannot be said of what is not there yet.
                    if resource == "secrets" {
                        assert_eq!(kind, "Role");
                        let named = rule["resourceNames"]
                            == json!(["tracejob-ca", "tracejob-agent-tls", "tracejob-gateway-tls"]);
                        assert!(named || verbs == ["create"], "{rule}");
                    }
                    if group == "admissionregistration.k8s.io" {
                        let ours = json!([crd::admission::USE_POLICY]);
                        assert_eq!(rule["resourceNames"], ours, "{rule}");
                    }
                    if resource == "apiservices" {
                        let ours = json!(["v1alpha1.subresources.tracejob.dev"]);
                        assert_eq!(rule["resourceNames"], ours, "{rule}");
                    }
                    match seen
                        .iter_mut()
                        .find(|(g, r, _)| (g, r) == (&group, &resource))
                    {
                        Some((_, _, known)) => known.extend(verbs.clone()),
                        None => seen.push((group.clone(), resource, verbs.clone())),
                    }
                }
            }
        }
    }
    for (_, _, verbs) in &mut seen {
        verbs.sort();
    }
    let mut wanted: Vec<_> = RULES
        .iter()
        .map(|(group, resource, verbs, reason)| {
            assert!(!reason.is_empty());
            let verbs = verbs.iter().map(|verb| (*verb).to_owned()).collect();
            ((*group).to_owned(), (*resource).to_owned(), verbs)
        })
        .collect();
    seen.sort();
    wanted.sort();
    assert_eq!(seen, wanted);
    // Nobody but controller and gateway is given any, and the pod of `helm test`: to make one job, read it and remove it.
    let bindings = objects
        .iter()
        .filter(|object| object["kind"].as_str().unwrap().ends_with("RoleBinding"));
    for binding in bindings {
        for subject in binding["subjects"].as_array().unwrap() {
            let test = binding["metadata"]["annotations"]["helm.sh/hook"] == "test";
            let (who, role) = (&subject["name"], &binding["roleRef"]["name"]);
            let ones = match test {
                true => &["tracejob-check"][..],
                false => &["tracejob-controller", "tracejob-gateway"],
            };
            assert!(ones.iter().any(|one| who == one), "{who}");
            // By what the API server is known is Kubernetes' own role.
            let known = "extension-apiserver-authentication-reader";
            assert!(who == role || role == known, "{who}: {role}");
        }
    }
    // The gateway looks, and asks who somebody is and what they may: it changes nothing.
    assert_eq!(
        find(&objects, "ClusterRole", "tracejob-gateway")["rules"],
        json!([
            {"apiGroups": ["tracejob.dev"], "resources": ["tracejobs", "clustertracejobs"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
            {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
        ])
    );
    assert_eq!(
        find(&objects, "Role", "tracejob-gateway")["rules"],
        json!([{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}])
    );
    assert_eq!(
        find(&objects, "Role", "tracejob-check")["rules"],
        json!([
            {"apiGroups": ["tracejob.dev"], "resources": ["tracejobs"], "verbs": ["create"]},
            {"apiGroups": ["tracejob.dev"], "resources": ["tracejobs"], "resourceNames": ["check-tracejob-check"], "verbs": ["get", "delete"]},
            {"apiGroups": ["tracejob.dev"], "resources": ["tracers"], "resourceNames": tracers_of("observe"), "verbs": ["use"]},
        ])
    );
}

/// The names of the tracers of a class, sorted.
fn tracers_of(class: &str) -> Value {
    let mut names: Vec<String> = tracers::ALL
        .iter()
        .filter(|tracer| tracer.class().word() == class)
        .map(|tracer| tracers::camel(tracer.name()))
        .collect();
    names.sort();
    json!(names)
}

#[test]
fn a_class_brings_its_capabilities_and_rights_and_nothing_else() {
    let added = |classes: &str| {
        let objects = rendered(&[&format!("--set=agent.policy.classes={{{classes}}}")]);
        let pod = &find(&objects, "DaemonSet", "tracejob-agent")["spec"]["template"]["spec"];
        let added = pod["containers"][0]["securityContext"]["capabilities"]["add"].clone();
        let controller = &find(&objects, "Deployment", "tracejob-controller")["spec"]["template"];
        let arguments = controller["spec"]["containers"][0]["args"].clone();
        let wanted = json!(format!("--classes={classes}"));
        assert!(
            arguments.as_array().unwrap().contains(&wanted),
            "{arguments}"
        );
        added
    };
    let default = json!(["BPF", "PERFMON", "SYS_PTRACE", "SYSLOG"]);
    assert_eq!(added("observe,payload"), default);
    assert_eq!(added("observe"), default);
    assert_eq!(added("act"), json!(["BPF", "PERFMON", "NET_ADMIN"]));
    let all = json!(["BPF", "PERFMON", "SYS_PTRACE", "SYSLOG", "NET_ADMIN"]);
    assert_eq!(added("observe,act"), all);
    for (_, values) in VALUES {
        let objects = rendered(values);
        for class in tracers::Class::ALL {
            let role = find(&objects, "ClusterRole", &format!("tracejob-use-{class}"));
            let rules = role["rules"].as_array().unwrap();
            let names = tracers_of(class.word());
            // A rule without names is one of every name.
            assert_eq!(rules.is_empty(), names == json!([]), "{role}");
            for rule in rules {
                assert_eq!(rule["resourceNames"], names);
                assert_eq!(
                    (&rule["apiGroups"], &rule["resources"], &rule["verbs"]),
                    (
                        &json!(["tracejob.dev"]),
                        &json!(["tracers"]),
                        &json!(["use"])
                    )
                );
            }
        }
    }
    let uses = |values: &[&str]| {
        let objects = rendered(values);
        let rules = find(&objects, "ClusterRole", "tracejob-editor")["rules"].clone();
        let rules = rules.as_array().unwrap().iter();
        let mut names = rules.filter(|rule| rule["verbs"] == json!(["use"]));
        names.next().map(|rule| rule["resourceNames"].clone())
    };
    assert_eq!(uses(&[]), Some(tracers_of("observe")));
    assert_eq!(
        uses(&["--set=rbac.editorClasses={payload}"]),
        Some(tracers_of("payload"))
    );
    assert_eq!(uses(&["--set=rbac.editorClasses={memory}"]), None);
    assert_eq!(uses(&["--set-json=rbac.editorClasses=[]"]), None);
}

#[test]
fn what_the_chart_takes_from_the_catalogue_is_what_it_says() {
    for (file, written) in [
        ("classes.yaml", crd::admission::classes()),
        ("admission/policy.yaml", crd::admission::use_policy()),
        ("admission/binding.yaml", crd::admission::use_binding()),
    ] {
        let path = Path::new(&chart()).join("files").join(file);
        let text = std::fs::read_to_string(path).unwrap();
        let read: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(read, written, "{file}: run `cargo xtask codegen`");
    }
}

#[test]
fn pods_may_do_what_they_must_and_nothing_else() {
    for (_, values) in VALUES {
        let objects = rendered(values);
        let agent = &find(&objects, "DaemonSet", "tracejob-agent")["spec"]["template"]["spec"];
        let controller =
            &find(&objects, "Deployment", "tracejob-controller")["spec"]["template"]["spec"];
        let gateway = &find(&objects, "Deployment", "tracejob-gateway")["spec"]["template"]["spec"];
        for pod in [agent, controller, gateway] {
            for namespace in ["hostNetwork", "hostIPC", "hostPID"] {
                assert!(pod[namespace].is_null(), "{namespace}");
            }
            let containers = pod["containers"].as_array().unwrap();
            for container in containers {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false);
                assert_eq!(security["readOnlyRootFilesystem"], true);
                assert!(security["privileged"].is_null());
                assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
                assert!(!container["resources"]["limits"]["memory"].is_null());
            }
        }
        let capabilities = &agent["containers"][0]["securityContext"]["capabilities"]["add"];
        assert_eq!(
            *capabilities,
            json!(["BPF", "PERFMON", "SYS_PTRACE", "SYSLOG"])
        );
        assert_eq!(agent["automountServiceAccountToken"], false);
        let mounts = agent["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().all(|mount| mount["readOnly"] == true));
        // What is mounted below a folder of the host as well.
        let volumes = agent["volumes"].as_array().unwrap().iter();
        for volume in volumes.filter(|volume| !volume["hostPath"].is_null()) {
            let of = |mount: &&Value| mount["name"] == volume["name"];
            let mount = mounts.iter().find(of).unwrap();
            assert_eq!(mount["recursiveReadOnly"], "IfPossible", "{mount}");
        }
        for pod in [controller, gateway] {
            let security = &pod["securityContext"];
            assert_eq!(
                (&security["runAsNonRoot"], &security["runAsUser"]),
                (&json!(true), &json!(65532))
            );
            assert!(pod["containers"][0]["securityContext"]["capabilities"]["add"].is_null());
            let mut volumes = pod["volumes"].as_array().into_iter().flatten();
            assert!(volumes.all(|volume| volume["hostPath"].is_null()));
        }
    }
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
    let said = helm_in(&plane, &["install", "tj", &chart, "--create-namespace"]);
    assert!(
        said.contains("kubectl label namespace tracejob-system"),
        "{said}"
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
    // The gateway's, which the API server is told to believe.
    let path = format!("/api/v1/namespaces/{SYSTEM}/secrets/tracejob-gateway-tls");
    let gateway = until("the gateway's certificate", || cluster.plane.get(&path));
    assert_eq!(gateway["data"]["ca.crt"], secret["data"]["ca.crt"]);
    let service = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.subresources.tracejob.dev";
    until("the API server to be told of it", || {
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
    // It gives the lease back when it ends, so that the next one need not wait.
    kill_process(Pid::from_child(&second), Signal::TERM).unwrap();
    assert!(second.wait().unwrap().success());
    let path =
        format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/tracejob-controller");
    let lease = cluster.plane.get(&path).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null, "{lease:#}");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}

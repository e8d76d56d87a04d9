//! Rights of the chart's roles and pods, and their reasons.

use super::{VALUES, chart, find, rendered};
use serde_json::{Value, json};
use std::path::Path;

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
        "progress and results",
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
        "events of jobs",
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
        "whether the API server checks the use of tracers; its own by name",
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
        "the CA of the gateway's certificate; its own by name",
    ),
    (
        "coordination.k8s.io",
        "leases",
        &["create", "get", "update"],
        "leader election",
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
                    // Secrets: its own, in its own namespace. A rule for creation cannot have names.
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
    // Only the controller, the gateway and the pod of `helm test` get rights; the latter to create, read and delete one job.
    let bindings = objects
        .iter()
        .filter(|object| object["kind"].as_str().unwrap().ends_with("RoleBinding"));
    for binding in bindings {
        for subject in binding["subjects"].as_array().unwrap() {
            let test = binding["metadata"]["annotations"]["helm.sh/hook"] == "test";
            let (account, role) = (&subject["name"], &binding["roleRef"]["name"]);
            let ones = match test {
                true => &["tracejob-check"][..],
                false => &["tracejob-controller", "tracejob-gateway"],
            };
            assert!(ones.iter().any(|one| account == one), "{account}");
            // The role for the CA of the API server is one of Kubernetes.
            let known = "extension-apiserver-authentication-reader";
            assert!(account == role || role == known, "{account}: {role}");
        }
    }
    // The gateway reads objects, and requests authentication and authorization of its callers: it changes nothing.
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

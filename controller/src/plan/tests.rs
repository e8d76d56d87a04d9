//! Tests of the pods and nodes that a job selects.

use super::*;
use crate::world::{Container, Node};
use proto::v1::target::Target;
use serde_json::{Value, json};

/// Two nodes of each label; pods `a-N` and `b-N` in namespaces of these names, one of each on every node.
fn cluster() -> State {
    let mut state = State::default();
    for n in 0..4 {
        let disk = if n % 2 == 0 { "ssd" } else { "hdd" };
        let labels = [("disk".to_owned(), disk.to_owned())].into();
        let node: Arc<str> = format!("node{n}").into();
        let made = Node {
            labels,
            created: Timestamp::UNIX_EPOCH,
        };
        state.nodes.insert(Arc::clone(&node), made);
        for namespace in ["a", "b"] {
            let name = format!("{namespace}-{n}");
            let pod = Pod {
                name: name.clone(),
                uid: format!("uid-{name}"),
                node: Arc::clone(&node),
                labels: [("app".to_owned(), format!("app{}", n % 2))].into(),
                started: Timestamp::UNIX_EPOCH,
                containers: vec![
                    container("main", &format!("id-{name}")),
                    container("side", &format!("side-{name}")),
                ],
            };
            state
                .pods
                .entry(namespace.to_owned())
                .or_default()
                .insert(name, pod);
        }
    }
    for (namespace, team) in [("a", "x"), ("b", "y"), ("kube-system", "x")] {
        let labels = [("team".to_owned(), team.to_owned())].into();
        state.namespaces.insert(namespace.to_owned(), labels);
    }
    state
}

fn container(name: &str, id: &str) -> Container {
    Container {
        name: name.to_owned(),
        id: id.to_owned(),
        started: Timestamp::UNIX_EPOCH,
    }
}

fn spec(mut more: Value) -> TraceJobSpec {
    let tracer = tracers::camel(tracers::ALL[0].name());
    more["tracer"] = json!({tracer: {}});
    serde_json::from_value(more).unwrap()
}

fn rules() -> Rules {
    Rules {
        classes: Class::DEFAULT.into(),
        unchecked: [Class::Observe].into(),
        denied: ["kube-system".to_owned()].into(),
        host: false,
    }
}

/// Returns the targets of each node as short text.
fn of(more: Value, scope: Scope<'_>) -> Vec<String> {
    let plan = plan(
        "uid",
        &spec(more),
        scope,
        &rules(),
        &cluster(),
        &BTreeSet::new(),
    );
    let text = |target: &v1::Target| match target.target.as_ref().unwrap() {
        Target::Pod(uid) | Target::Container(uid) => uid.clone(),
        _ => "host".to_owned(),
    };
    let nodes = plan.nodes.iter();
    let mut all: Vec<String> = nodes
        .map(|(node, share)| {
            let targets: Vec<String> = share.targets.iter().map(text).collect();
            format!("{node}: {}", targets.join(" "))
        })
        .collect();
    all.push(plan.pods.to_string());
    all
}

const A: Scope<'_> = Scope::Namespace("a");

#[test]
fn a_container_is_one_of_its_own_pod_only() {
    let spec = spec(json!({"containers": ["main"]}));
    let plan = plan("uid", &spec, A, &rules(), &cluster(), &BTreeSet::new());
    let targets = plan.nodes.values().flat_map(|share| &share.targets);
    let of: Vec<_> = targets
        .map(|target| (target.target.clone().unwrap(), target.pod_uid.as_str()))
        .collect();
    let wanted =
        [0, 1, 2, 3].map(|n| (Target::Container(format!("id-a-{n}")), format!("uid-a-{n}")));
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(id, uid)| (id.clone(), uid.as_str()))
        .collect();
    assert_eq!(of, wanted);
}

#[test]
fn a_job_means_its_own_namespaces_pods_and_their_containers() {
    let all = of(json!({}), A);
    assert_eq!(all.len(), 5);
    assert_eq!(all[0], "node0: uid-a-0 id-a-0 side-a-0");
    assert_eq!(all[4], "4");
    assert!(of(json!({}), Scope::Namespace("nobody's")).len() == 1);
}

#[test]
fn labels_and_names_add_up_and_nodes_narrow() {
    let labels = json!({"selector": {"matchLabels": {"app": "app1"}}});
    assert_eq!(
        of(labels, A),
        [
            "node1: uid-a-1 id-a-1 side-a-1",
            "node3: uid-a-3 id-a-3 side-a-3",
            "2"
        ]
    );
    let both = json!({"selector": {"matchLabels": {"app": "app1"}}, "pods": ["a-0", "b-2"], "containers": ["main"]});
    assert_eq!(
        of(both, A),
        ["node0: id-a-0", "node1: id-a-1", "node3: id-a-3", "3"]
    );
    let nodes =
        json!({"nodeSelector": {"disk": "hdd"}, "pods": ["a-0", "a-1"], "containers": ["side"]});
    assert_eq!(of(nodes, A), ["node1: side-a-1", "1"]);
    assert_eq!(of(json!({"pods": ["b-0"]}), A), ["0"]);
    assert_eq!(
        of(json!({"selector": {}, "containers": ["none"]}), A),
        ["0"]
    );
}

#[test]
fn a_cluster_job_means_namespaces_but_none_that_is_denied() {
    let selector = |team: &str| Selector {
        match_labels: [("team".to_owned(), team.to_owned())].into(),
        match_expressions: Vec::new(),
    };
    let one = json!({"pods": ["a-0", "b-1"], "containers": ["main"]});
    assert_eq!(
        of(one.clone(), Scope::Namespaces(None)),
        ["node0: id-a-0", "node1: id-b-1", "2"]
    );
    assert_eq!(
        of(one, Scope::Namespaces(Some(&selector("y")))),
        ["node1: id-b-1", "1"]
    );
    let observes = tracer(Class::Observe);
    let allow = |scope| rules().allow(scope, observes);
    assert!(allow(Scope::Namespace("kube-system")).is_err());
    assert!(allow(A).is_ok());
    assert_eq!(allow(Scope::Host).unwrap_err().reason, "HostDenied");
}

#[test]
fn whole_nodes_are_targets_of_their_own() {
    assert_eq!(
        of(json!({"nodeSelector": {"disk": "ssd"}}), Scope::Host),
        ["node0: host", "node2: host", "0"]
    );
}

#[test]
fn a_share_of_the_nodes_is_always_the_same_and_keeps_those_that_run() {
    let chosen = |more: Value, running: &[&str]| {
        let running = running.iter().map(|node| Arc::from(*node)).collect();
        let plan = plan("uid", &spec(more), A, &rules(), &cluster(), &running);
        plan.nodes.into_keys().collect::<Vec<_>>()
    };
    let half = chosen(json!({"samplePercent": 50}), &[]);
    assert_eq!(half.len(), 2);
    assert_eq!(half, chosen(json!({"samplePercent": 50}), &[]));
    assert_eq!(
        chosen(json!({"samplePercent": 1}), &[]).len(),
        1,
        "one at least"
    );
    assert_eq!(chosen(json!({"maxNodes": 3}), &[]).len(), 3);
    for node in ["node0", "node1", "node2", "node3"] {
        assert_eq!(chosen(json!({"maxNodes": 1}), &[node]), [Arc::from(node)]);
    }
}

#[test]
fn expressions_compare_as_the_api_server_does() {
    let labels: BTreeMap<String, String> = [("a".to_owned(), "1".to_owned())].into();
    let holds = |key: &str, operator, values: &[&str]| {
        let expression = crd::Expression {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let selector = Selector {
            match_labels: BTreeMap::new(),
            match_expressions: vec![expression],
        };
        matches(&selector, &labels)
    };
    assert!(holds("a", Operator::In, &["1", "2"]) && !holds("a", Operator::In, &["2"]));
    assert!(!holds("b", Operator::In, &["1"]));
    // A missing label is not among the values.
    assert!(holds("b", Operator::NotIn, &["1"]) && !holds("a", Operator::NotIn, &["1"]));
    assert!(holds("a", Operator::Exists, &[]) && !holds("b", Operator::Exists, &[]));
    assert!(holds("b", Operator::DoesNotExist, &[]) && !holds("a", Operator::DoesNotExist, &[]));
}

fn tracer(class: Class) -> &'static dyn Erased {
    let mut tracers = tracers::ALL.iter();
    *tracers.find(|tracer| tracer.class() == class).unwrap()
}

#[test]
fn a_job_of_a_class_that_is_not_enabled_is_denied_by_the_value_to_change() {
    let rules = Rules {
        classes: [Class::Observe].into(),
        ..rules()
    };
    assert!(rules.allow(A, tracer(Class::Observe)).is_ok());
    let denied = rules.allow(A, tracer(Class::Payload)).unwrap_err();
    assert_eq!(denied.reason, "ClassDenied");
    assert!(denied.message.contains("agent.policy.classes"));
}

//! `doctor`: the installation in the cluster, and the user's permissions.

use crate::{
    command::doctor::{WIDEST, table},
    show::{
        output::palette,
        render::Palette,
        text::{beside, wrap},
    },
    source::{
        cluster::{
            access::{Access, Cluster},
            error::{Doing, Error, chain},
        },
        remote::words,
    },
};
use anyhow::Result;
use crd::{GROUP, VERSION};
use engine::{Check, Verdict};
use k8s_openapi::{
    api::{
        authentication::v1::SelfSubjectReview,
        authorization::v1::{
            ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
            SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
        },
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Api, api::PostParams};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};
use tracers::{Class, Erased};

/// API group of the gateway.
const SUBRESOURCES: &str = "subresources.tracejob.dev";
/// APIService of the gateway.
const SERVICE: &str = "v1alpha1.subresources.tracejob.dev";
/// Path of the tracers of each node, served by the gateway.
const TRACERS: &str = "/apis/subresources.tracejob.dev/v1alpha1/tracers";
/// Maximum width of prose.
const PROSE: usize = 90;
/// Number of nodes to name for one reason.
const NAMED: usize = 3;

/// Tracers of each node, as served by the gateway.
#[derive(Debug, Default, Deserialize)]
struct Tracers {
    items: Vec<Node>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    node: String,
    /// Error, if the node's tracers are unknown.
    error: Option<String>,
    tracers: Vec<Tracer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tracer {
    name: String,
    /// Class of the tracer; empty if an older gateway does not report it.
    class: String,
    supported: bool,
    reason: String,
    remedy: String,
}

/// Runs all checks and prints the results.
pub(super) fn doctor(access: &Access) -> Result<ExitCode> {
    let cluster = Cluster::connect(access)?;
    let checks = cluster.checks()?;
    let well = checks.iter().all(|check| check.verdict == Verdict::Ok);
    let palette = palette(&io::stdout());
    let nodes = nodes(&cluster.tracers(), palette);
    io::stdout().write_all(format!("{}\n{nodes}", table(&checks, WIDEST, palette)).as_bytes())?;
    Ok(match well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

impl Cluster {
    fn checks(&self) -> Result<Vec<Check>, Error> {
        let (version, user) = (self.version()?, self.user());
        let who = match &user {
            Some(user) => format!("{version} at {}, as {}", self.url, words(user)),
            None => format!("{version} at {}", self.url),
        };
        let user = user.unwrap_or_else(|| "USER".to_owned());
        let mut checks = vec![ok("cluster", who), self.definitions(), self.gateway()];
        for (name, verb, resource, group) in [
            ("jobs", "create", "tracejobs", GROUP),
            ("ends", "delete", "tracejobs", GROUP),
            ("shows", "list", "tracejobs", GROUP),
            ("rows", "watch", "tracejobs/events", SUBRESOURCES),
        ] {
            checks.push(self.right(name, verb, resource, group, &user)?);
        }
        checks.push(self.uses(&user)?);
        Ok(checks)
    }

    /// Returns the version of the API server.
    fn version(&self) -> Result<String, Error> {
        let doing = Doing {
            verb: "get",
            resource: "version",
            job: None,
            namespace: None,
        };
        let received = self.wait(self.client.apiserver_version())?;
        let received = received.map_err(|error| Error::of(error, &self.url, doing))?;
        Ok(format!("Kubernetes {}", words(&received.git_version)))
    }

    /// Returns the user's name, if the API server supports that (Kubernetes 1.28 and later).
    fn user(&self) -> Option<String> {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review = SelfSubjectReview::default();
        let received = self.wait(api.create(&PostParams::default(), &review));
        received.ok()?.ok()?.status?.user_info?.username
    }

    fn definitions(&self) -> Check {
        let version = format!("{GROUP}/{VERSION}");
        let listed = self.wait(self.client.list_api_group_resources(&version));
        match listed {
            Ok(Ok(list)) if list.resources.iter().any(|r| r.name == "tracejobs") => {
                ok("definitions", format!("{version} is served"))
            }
            Ok(Ok(_)) | Ok(Err(kube::Error::Api(_))) => Check {
                name: "definitions".into(),
                verdict: Verdict::Missing,
                detail: format!("{version} is not served: TraceJob is not installed"),
                remedy: Some("an administrator can install it with `helm install tracejob charts/tracejob --namespace tracejob-system --create-namespace`".to_owned()),
            },
            Ok(Err(error)) => failed("definitions", chain(&error)),
            Err(error) => failed("definitions", error.to_string()),
        }
    }

    /// Checks whether the API server reaches the gateway.
    fn gateway(&self) -> Check {
        let api: Api<APIService> = Api::all(self.client.clone());
        let service = match self.wait(api.get(SERVICE)) {
            Ok(Ok(service)) => service,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                return Check {
                    name: "gateway".into(),
                    verdict: Verdict::Missing,
                    detail: format!(
                        "the APIService {SERVICE} does not exist: rows of jobs cannot be read"
                    ),
                    remedy: Some("set gateway.enabled to true in the chart's values".to_owned()),
                };
            }
            // Who may not see it may read rows all the same.
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                return self.served();
            }
            Ok(Err(error)) => {
                return failed("gateway", chain(&error));
            }
            Err(error) => return failed("gateway", error.to_string()),
        };
        let conditions = service.status.and_then(|status| status.conditions);
        let available = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition.type_ == "Available");
        match available {
            Some(condition) if condition.status == "True" => {
                ok("gateway", format!("{SERVICE} is available"))
            }
            condition => {
                let why = condition.and_then(|condition| condition.message);
                let why = why.map_or_else(|| "no reason given".to_owned(), |why| words(&why));
                Check {
                    name: "gateway".into(),
                    verdict: Verdict::Missing,
                    detail: format!("{SERVICE} is not available: {why}"),
                    remedy: Some("`kubectl get pods -n tracejob-system` and `kubectl logs -n tracejob-system deploy/tracejob-gateway` show details".to_owned()),
                }
            }
        }
    }

    /// Checks the gateway by its API group.
    fn served(&self) -> Check {
        let version = format!("{SUBRESOURCES}/v1alpha1");
        match self.wait(self.client.list_api_group_resources(&version)) {
            Ok(Ok(_)) => ok("gateway", format!("{version} is served")),
            Ok(Err(error)) => Check {
                remedy: Some("an administrator can see the reason with `kubectl get apiservice v1alpha1.subresources.tracejob.dev`".to_owned()),
                ..failed("gateway", chain(&error))
            },
            Err(error) => failed("gateway", error.to_string()),
        }
    }

    /// Requests the tracers of each node from the gateway.
    fn tracers(&self) -> Result<Tracers, String> {
        let request = http::Request::get(TRACERS).body(Vec::new());
        let request = request.map_err(|error| error.to_string())?;
        match self.wait(self.client.request::<Tracers>(request)) {
            Ok(Ok(tracers)) => Ok(tracers),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(
                "you may not get tracers (what each node can trace); an administrator can grant this with: \
                 `kubectl create clusterrolebinding tracejob-doctor --clusterrole=tracejob-doctor --user=USER`"
                    .to_owned(),
            ),
            Ok(Err(error)) => Err(chain(&error)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Checks which tracers the user may use in the namespace.
    fn uses(&self, user: &str) -> Result<Check, Error> {
        let doing = Doing {
            verb: "use",
            resource: "tracers",
            job: None,
            namespace: Some(&self.namespace),
        };
        let review = SelfSubjectRulesReview {
            spec: SelfSubjectRulesReviewSpec {
                namespace: Some(self.namespace.clone()),
            },
            ..SelfSubjectRulesReview::default()
        };
        let api: Api<SelfSubjectRulesReview> = Api::all(self.client.clone());
        let received = self.wait(api.create(&PostParams::default(), &review))?;
        let received = received.map_err(|error| Error::of(error, &self.url, doing))?;
        let rules = received.status.map(|status| status.resource_rules);
        Ok(usable(
            &rules.unwrap_or_default(),
            &self.namespace,
            |class| doing.bind(&format!("tracejob-use-{class}"), user),
        ))
    }

    /// Checks whether the user may do something in the namespace.
    fn right(
        &self,
        name: &'static str,
        verb: &'static str,
        resource: &str,
        group: &str,
        user: &str,
    ) -> Result<Check, Error> {
        let (kind, part) = match resource.split_once('/') {
            Some((kind, part)) => (kind, Some(part.to_owned())),
            None => (resource, None),
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(self.namespace.clone()),
                    verb: Some(verb.to_owned()),
                    group: Some(group.to_owned()),
                    resource: Some(kind.to_owned()),
                    subresource: part,
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let doing = Doing {
            verb,
            resource,
            job: None,
            namespace: Some(&self.namespace),
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let received = self.wait(api.create(&PostParams::default(), &review))?;
        let received = received.map_err(|error| Error::of(error, &self.url, doing))?;
        let allowed = received.status.is_some_and(|status| status.allowed);
        Ok(match allowed {
            true => ok(name, format!("you may {}", doing.what())),
            false => Check {
                name: name.into(),
                verdict: Verdict::Missing,
                detail: format!("you may not {}", doing.what()),
                remedy: Some(format!("`{}`", doing.grant(&format!("User \"{user}\"")))),
            },
        })
    }
}

/// Checks which tracers these rules permit. The check fails only if they permit none: roles usually permit some.
fn usable(rules: &[ResourceRule], namespace: &str, grant: impl Fn(Class) -> String) -> Check {
    let may = |name: &str| {
        let one = |list: &Option<Vec<String>>, word: &str| {
            let mut list = list.iter().flatten();
            list.any(|entry| entry == word || entry == "*")
        };
        rules.iter().any(|rule| {
            let names = rule.resource_names.as_deref().unwrap_or_default();
            rule.verbs.iter().any(|verb| verb == "use" || verb == "*")
                && one(&rule.api_groups, GROUP)
                && one(&rule.resources, "tracers")
                && (names.is_empty() || names.iter().any(|one| one == name))
        })
    };
    let all = tracers::ALL.iter();
    let (yes, no): (Vec<&&dyn Erased>, Vec<&&dyn Erased>) =
        all.partition(|tracer| may(&tracers::camel(tracer.name())));
    let names = |of: &[&&dyn Erased]| {
        let names: Vec<String> = of.iter().map(|one| tracers::camel(one.name())).collect();
        names.join(", ")
    };
    let mut classes: Vec<Class> = no.iter().map(|tracer| tracer.class()).collect();
    classes.sort_unstable();
    classes.dedup();
    let detail = match (yes.is_empty(), no.is_empty()) {
        (false, true) => format!("you may use every tracer in namespace {namespace}"),
        (true, _) => format!("you may use no tracer in namespace {namespace}"),
        (false, false) => format!(
            "in namespace {namespace} you may use {}, but not {}",
            names(&yes),
            names(&no)
        ),
    };
    let grants: Vec<String> = classes
        .iter()
        .map(|class| format!("`{}`", grant(*class)))
        .collect();
    Check {
        name: "tracers".into(),
        verdict: match yes.is_empty() {
            true => Verdict::Missing,
            false => Verdict::Ok,
        },
        detail,
        remedy: Some(grants.join(" ")).filter(|grants| !grants.is_empty()),
    }
}

fn ok(name: &'static str, detail: String) -> Check {
    Check {
        name: name.into(),
        verdict: Verdict::Ok,
        detail,
        remedy: None,
    }
}

fn failed(name: &'static str, detail: String) -> Check {
    Check {
        name: name.into(),
        verdict: Verdict::Missing,
        detail,
        remedy: None,
    }
}

/// Class of a tracer, number of nodes where it works, and nodes by the reason why it does not.
type OnNodes<'a> = (String, usize, BTreeMap<String, Vec<&'a str>>);

/// Returns each tracer with the number of nodes where it works, and the reasons for the other nodes.
fn nodes(received: &Result<Tracers, String>, palette: Palette) -> String {
    let all = match received {
        Ok(all) => all,
        Err(why) => return format!("{}\n", wrap(why, PROSE).join("\n")),
    };
    let mut out = String::new();
    let known: Vec<&Node> = all
        .items
        .iter()
        .filter(|node| node.error.is_none())
        .collect();
    // By name: how often it works, and by why not the nodes.
    let mut tracers: BTreeMap<&str, OnNodes<'_>> = BTreeMap::new();
    for node in &known {
        for tracer in &node.tracers {
            let (_, works, not) = tracers
                .entry(&tracer.name)
                .or_insert_with(|| (words(&tracer.class), 0, BTreeMap::new()));
            match tracer.supported {
                true => *works += 1,
                false => {
                    let why = [tracer.reason.as_str(), &tracer.remedy];
                    let why: Vec<String> = why
                        .iter()
                        .filter(|text| !text.is_empty())
                        .map(|text| words(text))
                        .collect();
                    not.entry(why.join("; ")).or_default().push(&node.node);
                }
            }
        }
    }
    let width = tracers
        .keys()
        .map(|name| name.len())
        .max()
        .unwrap_or(0)
        .max("TRACER".len());
    let count = format!("{0} of {0}", known.len()).len().max("NODES".len());
    let classes = { tracers.values() }.map(|(class, ..)| class.chars().count());
    let class_width = classes.max().unwrap_or(0).max("CLASS".len());
    let line = |cells: [Vec<String>; 4], out: &mut String| {
        beside(&cells, &[width, class_width, count], out);
    };
    let head = ["TRACER", "CLASS", "NODES", ""].map(|text| vec![text.to_owned()]);
    line(head, &mut out);
    for (name, (class, works, not)) in &tracers {
        let why = not
            .iter()
            .flat_map(|(why, nodes)| wrap(&format!("not on {}: {why}", some(nodes)), PROSE));
        let start = out.len();
        let works = format!("{works} of {}", known.len());
        let cells = [
            vec![words(name)],
            vec![class.clone()],
            vec![works.clone()],
            why.collect(),
        ];
        line(cells, &mut out);
        if palette.on && !not.is_empty() {
            let at = start + width + class_width + 4;
            let red = format!("{}{works}\x1b[0m", Palette::RED);
            out.replace_range(at..at + works.len(), &red);
        }
    }
    for node in &all.items {
        if let Some(why) = &node.error {
            out.push_str(
                &wrap(
                    &format!("{} is not known: {}", words(&node.node), words(why)),
                    PROSE,
                )
                .join("\n"),
            );
            out.push('\n');
        }
    }
    out
}

/// Returns the first names, and the number of the others.
fn some(nodes: &[&str]) -> String {
    let first: Vec<String> = nodes.iter().take(NAMED).map(|node| words(node)).collect();
    match nodes.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unavailable_tracer_has_its_nodes_and_reasons() {
        let tracer = |name: &str, reason: &str| Tracer {
            name: name.to_owned(),
            class: "observe".to_owned(),
            supported: reason.is_empty(),
            reason: reason.to_owned(),
            remedy: String::new(),
        };
        let node = |name: &str, tracers| Node {
            node: name.to_owned(),
            error: None,
            tracers,
        };
        let lacks = "this kernel has no x";
        let mut items: Vec<Node> = (2..7)
            .map(|n| node(&format!("n{n}"), vec![tracer("a", ""), tracer("bb", lacks)]))
            .collect();
        items.push(node("n1", vec![tracer("a", ""), tracer("bb", "")]));
        items.push(Node {
            error: Some("gone\u{1b}".to_owned()),
            ..node("n9", Vec::new())
        });
        insta::assert_snapshot!(nodes(&Ok(Tracers { items }), Palette::default()), @r"
        TRACER  CLASS    NODES
        a       observe  6 of 6
        bb      observe  1 of 6  not on n2, n3, n4 and 2 more: this kernel has no x
        n9 is not known: gone\x1b
        ");
    }

    #[test]
    fn tracers_that_may_not_be_used_are_named_with_the_roles_of_their_classes() {
        let rule = |names: &[&str]| ResourceRule {
            api_groups: Some(vec![GROUP.to_owned()]),
            resources: Some(vec!["tracers".to_owned()]),
            resource_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            verbs: vec!["use".to_owned()],
        };
        let of = |rules: &[ResourceRule]| usable(rules, "shop", |class| format!("bind {class}"));
        let none = of(&[]);
        assert!(
            none.verdict == Verdict::Missing
                && none.detail == "you may use no tracer in namespace shop"
        );
        assert_eq!(none.remedy.unwrap(), "`bind observe` `bind payload`");
        let every = of(&[rule(&[])]);
        assert!(
            every.verdict == Verdict::Ok && every.remedy.is_none(),
            "{}",
            every.detail
        );
        let observes = tracers::ALL
            .iter()
            .filter(|one| one.class() == Class::Observe);
        let observes: Vec<String> = observes.map(|one| tracers::camel(one.name())).collect();
        let observes: Vec<&str> = observes.iter().map(String::as_str).collect();
        let some = of(&[rule(&observes)]);
        assert!(
            some.verdict == Verdict::Ok && some.detail.contains(", but not "),
            "{}",
            some.detail
        );
        assert_eq!(some.remedy.unwrap(), "`bind payload`");
        let other = ResourceRule {
            verbs: vec!["get".to_owned()],
            ..rule(&[])
        };
        assert_eq!(of(&[other]).verdict, Verdict::Missing);
    }

    #[test]
    fn each_line_has_its_result_and_its_remedy() {
        let checks = [
            ok(
                "cluster",
                "Kubernetes v1.33.1 at https://c:6443, as ann".to_owned(),
            ),
            Check {
                name: "rows".into(),
                verdict: Verdict::Missing,
                detail: "you may not watch tracejobs/events in namespace shop".to_owned(),
                remedy: Some("`kubectl create rolebinding x`".to_owned()),
            },
        ];
        insta::assert_snapshot!(table(&checks, WIDEST, Palette::default()), @r"
        cluster  ok       Kubernetes v1.33.1 at https://c:6443, as ann
        rows     missing  you may not watch tracejobs/events in namespace shop
                          `kubectl create rolebinding x`
        ");
    }
}

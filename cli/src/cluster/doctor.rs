//! `doctor`: whether the cluster has what tracing needs, and what whoever asks may do there.

use super::{
    access::{Access, Cluster},
    error::{Doing, Error},
};
use crate::{
    output::palette,
    remote::words,
    render::Palette,
    text::{beside, wrap},
};
use anyhow::Result;
use crd::{GROUP, VERSION};
use k8s_openapi::{
    api::{
        authentication::v1::SelfSubjectReview,
        authorization::v1::{
            ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
        },
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Api, api::PostParams};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// What the gateway serves.
const SUBRESOURCES: &str = "subresources.tracejob.dev";
/// How the API server asks it.
const SERVICE: &str = "v1alpha1.subresources.tracejob.dev";
/// Prose is not wider.
const PROSE: usize = 90;

/// One thing that was checked.
#[derive(Debug)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
    /// What to do; empty where nothing is to be done.
    remedy: String,
}

/// Checks, and says what it found.
pub(super) fn doctor(access: &Access) -> Result<ExitCode> {
    let cluster = Cluster::connect(access)?;
    let checks = cluster.checks()?;
    let well = checks.iter().all(|check| check.ok);
    io::stdout().write_all(page(&checks, palette(&io::stdout())).as_bytes())?;
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
        Ok(checks)
    }

    /// Whether anybody answers at all.
    fn version(&self) -> Result<String, Error> {
        let doing = Doing {
            verb: "get",
            resource: "version",
            job: None,
            namespace: None,
        };
        let told = self.wait(self.client.apiserver_version())?;
        let told = told.map_err(|error| Error::of(error, &self.url, doing))?;
        Ok(format!("Kubernetes {}", words(&told.git_version)))
    }

    /// Who we are there, where it says so: Kubernetes does since 1.28.
    fn user(&self) -> Option<String> {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review = SelfSubjectReview::default();
        let told = self.wait(api.create(&PostParams::default(), &review));
        told.ok()?.ok()?.status?.user_info?.username
    }

    fn definitions(&self) -> Check {
        let version = format!("{GROUP}/{VERSION}");
        let listed = self.wait(self.client.list_api_group_resources(&version));
        match listed {
            Ok(Ok(list)) if list.resources.iter().any(|r| r.name == "tracejobs") => {
                ok("definitions", format!("{version} is served"))
            }
            Ok(Ok(_)) | Ok(Err(kube::Error::Api(_))) => Check {
                name: "definitions",
                ok: false,
                detail: format!("{version} is not served: TraceJob is not installed"),
                remedy: "`helm install tracejob charts/tracejob --namespace tracejob-system --create-namespace` installs it, by whoever runs the cluster".to_owned(),
            },
            Ok(Err(error)) => failed("definitions", super::error::chain(&error)),
            Err(error) => failed("definitions", error.to_string()),
        }
    }

    /// Whether the API server reaches the gateway.
    fn gateway(&self) -> Check {
        let api: Api<APIService> = Api::all(self.client.clone());
        let service = match self.wait(api.get(SERVICE)) {
            Ok(Ok(service)) => service,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                return Check {
                    name: "gateway",
                    ok: false,
                    detail: format!(
                        "there is no APIService {SERVICE}: rows of jobs cannot be read"
                    ),
                    remedy: "the chart makes it where gateway.enabled is true".to_owned(),
                };
            }
            // Who may not see it may read rows all the same.
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                return self.served();
            }
            Ok(Err(error)) => return failed("gateway", super::error::chain(&error)),
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
                let why = why.map_or_else(|| "nobody says why".to_owned(), |why| words(&why));
                Check {
                    name: "gateway",
                    ok: false,
                    detail: format!("{SERVICE} is not available: {why}"),
                    remedy: "`kubectl get pods -n tracejob-system` and `kubectl logs -n tracejob-system deploy/tracejob-gateway` tell more".to_owned(),
                }
            }
        }
    }

    /// The same by what it serves.
    fn served(&self) -> Check {
        let version = format!("{SUBRESOURCES}/v1alpha1");
        match self.wait(self.client.list_api_group_resources(&version)) {
            Ok(Ok(_)) => ok("gateway", format!("{version} is served")),
            Ok(Err(error)) => Check {
                remedy: "whoever runs the cluster sees why: `kubectl get apiservice v1alpha1.subresources.tracejob.dev`".to_owned(),
                ..failed("gateway", super::error::chain(&error))
            },
            Err(error) => failed("gateway", error.to_string()),
        }
    }

    /// Whether we may do something in our namespace.
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
        let told = self.wait(api.create(&PostParams::default(), &review))?;
        let told = told.map_err(|error| Error::of(error, &self.url, doing))?;
        let allowed = told.status.is_some_and(|status| status.allowed);
        Ok(match allowed {
            true => ok(name, format!("you may {}", doing.what())),
            false => Check {
                name,
                ok: false,
                detail: format!("you may not {}", doing.what()),
                remedy: format!("`{}`", doing.grant(&format!("User \"{user}\""))),
            },
        })
    }
}

fn ok(name: &'static str, detail: String) -> Check {
    Check {
        name,
        ok: true,
        detail,
        remedy: String::new(),
    }
}

fn failed(name: &'static str, detail: String) -> Check {
    Check {
        name,
        ok: false,
        detail,
        remedy: String::new(),
    }
}

fn page(checks: &[Check], palette: Palette) -> String {
    const VERDICT: usize = "missing".len();
    let name = checks.iter().map(|check| check.name.len()).max();
    let name = name.unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let verdict = if check.ok { "ok" } else { "missing" };
        let mut said = wrap(&check.detail, PROSE);
        said.extend(wrap(&check.remedy, PROSE));
        let start = out.len();
        let cells = [vec![check.name.to_owned()], vec![verdict.to_owned()], said];
        beside(&cells, &[name, VERDICT], &mut out);
        if palette.on && !check.ok {
            let at = start + name + 2;
            let red = format!("{}{verdict}\x1b[0m", Palette::RED);
            out.replace_range(at..at + verdict.len(), &red);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_what_it_found_and_what_to_do() {
        let checks = [
            ok(
                "cluster",
                "Kubernetes v1.33.1 at https://c:6443, as ann".to_owned(),
            ),
            Check {
                name: "rows",
                ok: false,
                detail: "you may not watch tracejobs/events in namespace shop".to_owned(),
                remedy: "`kubectl create rolebinding x`".to_owned(),
            },
        ];
        insta::assert_snapshot!(page(&checks, Palette::default()), @r"
        cluster  ok       Kubernetes v1.33.1 at https://c:6443, as ann
        rows     missing  you may not watch tracejobs/events in namespace shop
                          `kubectl create rolebinding x`
        ");
    }
}

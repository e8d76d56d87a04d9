//! Errors of requests to a cluster: cause, missing permission and remedy.

use crate::source::remote::words;
use crd::admission::MAY_NOT_USE;
use crd::name::JobName;
use kube::config::KubeconfigError;
use rows::text::error_chain;

/// Line break with the indentation of `error: `.
const INDENT: &str = "\n       ";
/// Command that installs TraceJob in a cluster.
const INSTALL: &str =
    "helm install tracejob charts/tracejob --namespace tracejob-system --create-namespace";

/// Error of a request to a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kubeconfig is missing or invalid.
    #[error(
        "no cluster is configured: {why}{INDENT}set --kubeconfig FILE or $KUBECONFIG; `kubectl config get-contexts` lists the known contexts"
    )]
    Unconfigured { why: String },
    /// The configuration cannot be used.
    #[error(
        "cannot use the cluster's configuration: {why}{INDENT}check user and cluster in the kubeconfig; `kubectl get namespaces` uses the same configuration"
    )]
    Unusable { why: String },
    /// `--server` is not a URL.
    #[error("--server {server:?} is not a URL; use https://HOST:6443")]
    Server { server: String },
    /// The async runtime cannot be started.
    #[error("cannot start the async runtime: {0}")]
    Runtime(std::io::Error),
    /// Connection error.
    #[error(
        "cannot reach the cluster at {url}: {why}{INDENT}test with `kubectl cluster-info`; --context selects another cluster"
    )]
    Unreachable { url: String, why: String },
    /// Timeout.
    #[error(
        "timeout: the cluster at {url} did not answer within {seconds} s{INDENT}--request-timeout 2m waits longer"
    )]
    Timeout { url: String, seconds: u64 },
    /// HTTP 401.
    #[error(
        "the cluster at {url} rejected your credentials: {why}{INDENT}check the kubeconfig's user or --token; a login may have expired"
    )]
    Unauthorized { url: String, why: String },
    /// A permission of RBAC is missing.
    #[error("you may not {what}; an administrator can grant this with:{INDENT}{grant}")]
    Forbidden { what: String, grant: String },
    /// The permission to use the tracer is missing.
    #[error(
        "{who} may not use the tracer {tracer}{place}; an administrator can grant this with:{INDENT}{grant}{INDENT}`{look}` lists the tracers that you may use"
    )]
    MayNotUse {
        who: String,
        tracer: String,
        place: String,
        grant: String,
        look: String,
    },
    /// The request was denied by a quota or an admission.
    #[error("the cluster denied the request to {what}: {why}")]
    Denied { what: String, why: String },
    /// The job does not exist.
    #[error("{job} not found; `kubectl tracejob list{flags}` lists the existing jobs")]
    NotFound { job: String, flags: String },
    /// Invalid name, which would change the path of a request.
    #[error("{word:?} is not a valid name of a job or namespace; use only a-z, 0-9, - and .")]
    NoName { word: String },
    /// The definitions or the gateway are not installed.
    #[error(
        "the cluster does not serve {what}: TraceJob is not installed, or its version is too old{INDENT}an administrator can install it with: {INSTALL}"
    )]
    NotInstalled { what: &'static str },
    /// The gateway is unavailable.
    #[error(
        "the gateway, which serves the rows of jobs, is unavailable: {why}{INDENT}see `kubectl get apiservice v1alpha1.subresources.tracejob.dev` and `kubectl logs -n tracejob-system deploy/tracejob-gateway`; the job itself runs without the gateway"
    )]
    GatewayAway { why: String },
    /// Any other error of the API server.
    #[error("the cluster rejected the request to {what}: {why}")]
    Refused {
        what: String,
        why: String,
        /// Whether a retry cannot succeed.
        invalid: bool,
    },
    /// The stream was interrupted, and all retries failed.
    #[error(
        "the stream of {job} was interrupted, and {tries} retries failed: {why}{INDENT}`kubectl tracejob attach {short}` reconnects if the job still exists; rows in transit are lost"
    )]
    Broken {
        job: String,
        short: String,
        tries: u32,
        why: String,
    },
    /// The message violates the API.
    #[error("this kubectl-tracejob ({version}) cannot read the gateway's message: {what}{INDENT}use a kubectl-tracejob of the gateway's version", version = env!("CARGO_PKG_VERSION"))]
    InvalidMessage { what: String },
}

/// A request, for error messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doing<'a> {
    /// Verb of RBAC: `create`.
    pub(crate) verb: &'static str,
    /// Resource: `tracejobs`, `tracejobs/events`.
    pub(crate) resource: &'a str,
    /// Name of the job; `None` for several, or for a job without a name yet.
    pub(crate) job: Option<&'a JobName>,
    /// Namespace; `None` for all.
    pub(crate) namespace: Option<&'a str>,
}

impl Error {
    /// Converts an error of the kubeconfig.
    pub(crate) fn unconfigured(error: &KubeconfigError) -> Self {
        Self::Unconfigured {
            why: words(&error.to_string()),
        }
    }

    /// Converts an error of the configuration.
    pub(crate) fn unusable(error: &kube::Error) -> Self {
        Self::Unusable { why: chain(error) }
    }

    /// Converts the error of a request.
    pub(crate) fn of(error: kube::Error, url: &str, doing: Doing<'_>) -> Self {
        match error {
            kube::Error::Api(status) => {
                Self::answered(status.code, &status.message, &status.reason, url, doing)
            }
            kube::Error::HyperError(_) | kube::Error::Service(_) => Self::Unreachable {
                url: url.to_owned(),
                why: chain(&error),
            },
            other => Self::Unusable { why: chain(&other) },
        }
    }

    /// Converts an error status of the API server.
    pub(crate) fn answered(
        code: u16,
        message: &str,
        reason: &str,
        url: &str,
        doing: Doing<'_>,
    ) -> Self {
        let what = doing.what();
        let why = match words(message.trim()) {
            why if why.is_empty() => format!("HTTP {code}"),
            why => why,
        };
        match (code, doing.job) {
            (401, _) => Self::Unauthorized {
                url: url.to_owned(),
                why,
            },
            (403, _) if let Some(refusal) = doing.may_not_use(&why) => refusal,
            // An admission's refusal is Forbidden as well.
            (403, _) if !message.contains("User \"") || !message.contains(" cannot ") => {
                Self::Denied { what, why }
            }
            (403, _) => Self::Forbidden {
                what,
                grant: doing.grant(message),
            },
            (404, Some(job)) if message.contains(&format!("{}\" not found", job.name)) => {
                Self::not_found(job)
            }
            (404, _) if message.contains("namespaces \"") => Self::Refused {
                what,
                why,
                invalid: true,
            },
            (404, _) => Self::NotInstalled {
                what: match doing.resource.ends_with("/events") {
                    true => "jobs' events (subresources.tracejob.dev)",
                    false => "jobs (tracejob.dev)",
                },
            },
            (503, _) if doing.resource.ends_with("/events") => Self::GatewayAway { why },
            _ => Self::Refused {
                what,
                why,
                invalid: matches!(code, 400 | 422) && reason != "Expired",
            },
        }
    }

    /// Returns the error for a job that does not exist.
    pub(crate) fn not_found(job: &JobName) -> Self {
        Self::NotFound {
            job: job.shown(),
            flags: match &job.namespace {
                Some(namespace) => format!(" -n {namespace}"),
                None => " -A".to_owned(),
            },
        }
    }

    /// Returns whether a retry cannot succeed.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Refused { invalid: true, .. } | Self::Server { .. } | Self::NoName { .. }
        )
    }
}

impl<'a> Doing<'a> {
    /// Returns the description of a verb on a job.
    pub(crate) fn on(job: &'a JobName, verb: &'static str) -> Self {
        Self {
            verb,
            resource: job.resource(),
            job: Some(job),
            namespace: job.namespace.as_deref(),
        }
    }
}

impl Doing<'_> {
    /// Returns the request as text: `watch tracejobs/events in namespace shop`.
    pub(crate) fn what(&self) -> String {
        let Self {
            verb,
            resource,
            job: _,
            namespace,
        } = self;
        let place = match (namespace, resource.starts_with("cluster")) {
            (Some(namespace), _) => format!(" in namespace {namespace}"),
            (None, false) => " in all namespaces".to_owned(),
            (None, true) => String::new(),
        };
        format!("{verb} {resource}{place}")
    }

    /// Recognizes a denial by the admission policy of tracers, by its message.
    fn may_not_use(&self, refusal: &str) -> Option<Error> {
        // "… denied request: ann may not use the tracer exec in namespace shop: …"
        let (before, after) = refusal.split_once(&format!(" {MAY_NOT_USE}"))?;
        let who = before.rsplit_once("denied request: ")?.1;
        let (tracer, _) = after.split_once([' ', ':'])?;
        let class = tracers::find(tracer)?.class();
        let (place, flag) = match (self.namespace, self.resource.starts_with("cluster")) {
            (Some(namespace), false) => (
                format!(" in namespace {namespace}"),
                format!(" -n {namespace}"),
            ),
            _ => (" in the cluster".to_owned(), String::new()),
        };
        Some(Error::MayNotUse {
            who: who.to_owned(),
            tracer: tracer.to_owned(),
            grant: self.bind(&format!("tracejob-use-{class}"), who),
            look: format!("kubectl auth can-i --list{flag}"),
            place,
        })
    }

    /// Returns the command that binds a role to a user, in the namespace of the object.
    pub(crate) fn bind(&self, role: &str, user: &str) -> String {
        let (account_flag, tail) = subject(user);
        match self.namespace {
            Some(namespace) if !self.resource.starts_with("cluster") => format!(
                "kubectl create rolebinding {role}-{tail} --clusterrole={role} {account_flag} -n {namespace}"
            ),
            _ => format!(
                "kubectl create clusterrolebinding {role}-{tail} --clusterrole={role} {account_flag}"
            ),
        }
    }

    /// Returns the command that grants the permission to the user in a denial.
    pub(crate) fn grant(&self, refusal: &str) -> String {
        let named = refusal.split_once("User \"").map(|(_, rest)| rest);
        let user = named.and_then(|rest| rest.split_once('"'));
        let user = user.map_or("USER", |(user, _)| user);
        let (account_flag, tail) = subject(user);
        if self.resource.starts_with("cluster") {
            // The chart has no role for ClusterTraceJobs: administrators decide about it.
            return format!(
                "kubectl create clusterrole tracejob-cluster --verb=get,list,watch,create,patch,delete --resource=clustertracejobs.tracejob.dev,clustertracejobs.subresources.tracejob.dev/events{INDENT}kubectl create clusterrolebinding tracejob-cluster-{tail} --clusterrole=tracejob-cluster {account_flag}"
            );
        }
        let role = match (self.verb, self.resource.ends_with("/events")) {
            (_, true) => "tracejob-reader",
            ("get" | "list" | "watch", false) => "tracejob-viewer",
            _ => "tracejob-editor",
        };
        self.bind(role, user)
    }
}

/// Returns kubectl's flag for a user, and the suffix of a binding's name.
fn subject(user: &str) -> (String, String) {
    let account = user
        .strip_prefix("system:serviceaccount:")
        .filter(|account| account.contains(':'));
    let account_flag = match account {
        Some(account) => format!("--serviceaccount={}", quoted(account)),
        None => format!("--user={}", quoted(user)),
    };
    let tail = user.rsplit(':').next().unwrap_or(user);
    let tail = tail
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    (account_flag, tail)
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@/".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", words(word).replace('\'', "'\\''")),
    }
}

/// Returns an error with its sources, each once, without the prefixes that libraries put before them.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error_chain(error);
    let text = text.trim_start_matches("ServiceError: ");
    words(text.trim_start_matches("HyperError: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(
        code: u16,
        message: &str,
        verb: &'static str,
        resource: &str,
        name: &str,
    ) -> String {
        let namespace = (!resource.starts_with("cluster")).then_some("shop");
        let job = JobName {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        let doing = Doing {
            verb,
            resource,
            job: (!name.is_empty()).then_some(&job),
            namespace,
        };
        Error::answered(code, message, "", "https://c", doing).to_string()
    }

    #[test]
    fn a_missing_right_is_reported_with_the_command_that_grants_it() {
        let refusal = "User \"ann\" cannot watch resource \"tracejobs/events\" in API group \"subresources.tracejob.dev\" in the namespace \"shop\"";
        insta::assert_snapshot!(sentence(403, refusal, "watch", "tracejobs/events", "x"), @r"
        you may not watch tracejobs/events in namespace shop; an administrator can grant this with:
               kubectl create rolebinding tracejob-reader-ann --clusterrole=tracejob-reader --user=ann -n shop
        ");
        let refusal = "tracejobs.tracejob.dev is forbidden: User \"system:serviceaccount:ci:bot\" cannot create resource";
        insta::assert_snapshot!(sentence(403, refusal, "create", "tracejobs", ""), @r"
        you may not create tracejobs in namespace shop; an administrator can grant this with:
               kubectl create rolebinding tracejob-editor-bot --clusterrole=tracejob-editor --serviceaccount=ci:bot -n shop
        ");
        let refusal = "User \"O'Hara $(x)\" cannot list";
        let received = sentence(403, refusal, "list", "clustertracejobs", "");
        assert!(received.contains(r"--user='O'\''Hara $(x)'"), "{received}");
        assert!(
            received.contains("kubectl create clusterrole "),
            "{received}"
        );
    }

    #[test]
    fn a_denied_tracer_is_reported_with_the_role_of_its_class() {
        let payload = { tracers::ALL.iter() }.find(|one| one.class() == tracers::Class::Payload);
        let name = tracers::camel(payload.unwrap().name());
        let refusal = format!(
            "tracejobs.tracejob.dev \"x\" is forbidden: ValidatingAdmissionPolicy 'tracejob-use-tracers' with binding 'tracejob-use-tracers' denied request: system:serviceaccount:ci:bot may not use the tracer {name} in namespace shop: it takes the verb use"
        );
        let received = sentence(403, &refusal, "create", "tracejobs", "").replace(&name, "NAME");
        insta::assert_snapshot!(received, @r"
        system:serviceaccount:ci:bot may not use the tracer NAME in namespace shop; an administrator can grant this with:
               kubectl create rolebinding tracejob-use-payload-bot --clusterrole=tracejob-use-payload --serviceaccount=ci:bot -n shop
               `kubectl auth can-i --list -n shop` lists the tracers that you may use
        ");
        let received = sentence(403, &refusal, "create", "clustertracejobs", "");
        assert!(received.contains("in the cluster;"), "{received}");
        assert!(
            received.contains("kubectl create clusterrolebinding tracejob-use-payload-bot"),
            "{received}"
        );
    }

    #[test]
    fn missing_jobs_namespaces_and_definitions_have_different_errors() {
        let gone = "tracejobs.tracejob.dev \"shop/a\" not found";
        insta::assert_snapshot!(sentence(404, gone, "watch", "tracejobs/events", "a"), @r#"tracejob.tracejob.dev/a in namespace shop not found; `kubectl tracejob list -n shop` lists the existing jobs"#);
        let place = "namespaces \"shop\" not found";
        let place = sentence(404, place, "create", "tracejobs", "");
        assert!(place.ends_with("namespaces \"shop\" not found"), "{place}");
        let none = sentence(404, "404 page not found", "watch", "tracejobs/events", "a");
        assert!(none.contains("helm install tracejob"), "{none}");
        assert!(none.contains("subresources.tracejob.dev"), "{none}");
        let away = sentence(503, "service unavailable", "watch", "tracejobs/events", "a");
        assert!(away.starts_with("the gateway, which"), "{away}");
        let known = sentence(401, "Unauthorized", "get", "tracejobs", "a");
        assert!(known.contains("rejected your credentials"), "{known}");
        let admission = sentence(403, "exceeded quota: tracejobs", "create", "tracejobs", "");
        assert!(
            admission.ends_with("exceeded quota: tracejobs"),
            "{admission}"
        );
    }

    #[test]
    fn somebody_elses_words_reach_no_terminal_unescaped() {
        let received = sentence(500, "a\x1b[2Jb", "get", "tracejobs", "a");
        assert!(!received.contains('\x1b'), "{received}");
    }
}

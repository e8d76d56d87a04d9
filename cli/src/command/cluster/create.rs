//! The object that `run` creates.

use super::args::{Run, Select, What};
use crate::{
    command::{
        condition::filters,
        job::{self, Name, Wanted},
    },
    show::view::ViewArgs,
    source::cluster::{access::Access, job::Object},
    usage::Usage,
};
use anyhow::Result;
use crd::{
    ClusterTraceJob, ClusterTraceJobSpec, GROUP, Limits, Output, Selector, TraceJob, TraceJobSpec,
    VERSION, Wrong, definition,
};
use kube::{CustomResourceExt, api::ObjectMeta};
use serde_json::json;
use std::collections::BTreeMap;

/// TTL of a job that is not kept, in seconds after its end. It applies if this program ends before it deletes the job.
const LEFT_BEHIND: u32 = 600;

/// Returns the job to create; the API server may generate its name.
///
/// # Errors
/// If the API server would reject the job.
pub(super) fn object(run: &Run, access: &Access, namespace: &str) -> Result<Object> {
    let (spec, named) = match &run.what {
        What::Spec(spec) => (of_tracer(spec), None),
        What::File(path) => match job::read_wanted(path)? {
            Wanted::Job {
                name,
                namespace,
                spec,
            } => {
                let spec = ClusterTraceJobSpec {
                    job: *spec,
                    namespace_selector: None,
                    host: None,
                };
                (spec, Some((name, namespace, false)))
            }
            Wanted::Cluster { name, spec } => (*spec, Some((name, None, true))),
        },
    };
    let of_cluster = matches!(named, Some((.., true)));
    let in_file = named
        .as_ref()
        .and_then(|(_, namespace, _)| namespace.clone());
    let namespace = match (&access.namespace, in_file) {
        (Some(flag), Some(file)) if *flag != file => {
            let message = format!("the job in the file has namespace {file}, but -n is {flag}");
            return Err(Usage(message).into());
        }
        (None, Some(file)) => file,
        _ => namespace.to_owned(),
    };
    let spec = narrowed(spec, run);
    let beyond = access.all_namespaces || run.select.namespaces.is_some() || run.select.host;
    let in_file = named.map(|(name, ..)| name);
    let name = run.name.clone().map(Name::Whole).or(in_file);
    made(spec, name, of_cluster || beyond, namespace)
}

/// Returns a job of this tracer without a selection.
fn of_tracer(spec: &tracers::Spec) -> ClusterTraceJobSpec {
    ClusterTraceJobSpec {
        job: TraceJobSpec {
            tracer: spec.clone(),
            selector: None,
            pods: Vec::new(),
            containers: Vec::new(),
            node_selector: BTreeMap::new(),
            max_nodes: None,
            sample_percent: None,
            active_deadline_seconds: None,
            suspend: None,
            ttl_seconds_after_finished: None,
            limits: Limits::default(),
            output: Output::default(),
        },
        namespace_selector: None,
        host: None,
    }
}

/// Applies the flags to a spec; a flag replaces the field of the file.
fn narrowed(mut spec: ClusterTraceJobSpec, run: &Run) -> ClusterTraceJobSpec {
    let Select {
        pods,
        names,
        containers,
        namespaces,
        host,
        nodes,
    } = &run.select;
    let job = &mut spec.job;
    if let Some(selector) = pods {
        job.selector = Some(selector.clone());
    }
    for (into, flags) in [(&mut job.pods, names), (&mut job.containers, containers)] {
        if !flags.is_empty() {
            into.clone_from(flags);
        }
    }
    if !nodes.is_empty() {
        job.node_selector.clone_from(nodes);
    }
    job.max_nodes = run.max_nodes.or(job.max_nodes);
    job.active_deadline_seconds = run.duration.or(job.active_deadline_seconds);
    job.limits.max_events = run.max_events.or(job.limits.max_events);
    job.limits.ring_bytes = run.ring.or(job.limits.ring_bytes);
    let output = &mut job.output;
    let rows = run.view.rows.clone().or(ViewArgs::from(&*output));
    output.filter = run.filter.clone().or(output.filter.take());
    (output.columns, output.sort) = (rows.columns, rows.sort);
    output.top = rows.top.and_then(|top| u32::try_from(top).ok());
    if !run.keep {
        job.ttl_seconds_after_finished.get_or_insert(LEFT_BEHIND);
    }
    if let Some(selector) = namespaces {
        spec.namespace_selector = Some(selector.clone());
    }
    if *host {
        spec.host = Some(true);
    }
    spec
}

fn made(
    spec: ClusterTraceJobSpec,
    name: Option<Name>,
    of_cluster: bool,
    namespace: String,
) -> Result<Object> {
    let (name, generate_name) = match name {
        Some(Name::Whole(name)) => (Some(name), None),
        Some(Name::Beginning(beginning)) => (None, Some(beginning)),
        None => {
            let tracer = spec.job.tracer.tracer().name().replace('_', "-");
            (None, Some(format!("{tracer}-")))
        }
    };
    let metadata = ObjectMeta {
        name,
        generate_name,
        namespace: (!of_cluster).then_some(namespace),
        ..ObjectMeta::default()
    };
    filters(
        "--where",
        spec.job.output.filter.as_deref(),
        &spec.job.tracer,
    )?;
    if of_cluster {
        check::<ClusterTraceJob>("ClusterTraceJob", &spec)?;
        let mut job = ClusterTraceJob::new("", spec);
        job.metadata = metadata;
        return Ok(Object::Cluster(Box::new(job)));
    }
    check::<TraceJob>("TraceJob", &spec.job)?;
    let mut job = TraceJob::new("", spec.job);
    job.metadata = metadata;
    Ok(Object::Job(Box::new(job)))
}

/// Checks a spec by the rules of the API server.
fn check<K: CustomResourceExt>(kind: &str, spec: &impl serde::Serialize) -> Result<(), Usage> {
    let object = json!({ "apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind, "spec": spec });
    match crd::check(&definition::<K>(), &object).into_iter().next() {
        None => Ok(()),
        Some(Wrong { field, message }) => Err(Usage(format!("{field}: {message}"))),
    }
}

/// Returns a selector in kubectl's syntax.
pub(super) fn selector_text(selector: &Selector) -> String {
    let labels = selector.match_labels.iter();
    let labels = labels.map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().map(|expression| {
        let (key, values) = (&expression.key, expression.values.join(","));
        match expression.operator {
            crd::Operator::In => format!("{key} in ({values})"),
            crd::Operator::NotIn => format!("{key} notin ({values})"),
            crd::Operator::Exists => key.clone(),
            crd::Operator::DoesNotExist => format!("!{key}"),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::cluster::args::{self, Action, CommandLine};
    use serde_json::Value;
    use std::ffi::OsString;

    fn made(flags: &[&str]) -> Result<Value> {
        let tracer = tracers::find("tcp_connect").unwrap().name();
        made_of(&[&["run", tracer], flags].concat())
    }

    fn made_of(line: &[&str]) -> Result<Value> {
        let line: Vec<OsString> = ["kubectl-tracejob"]
            .iter()
            .chain(line)
            .map(OsString::from)
            .collect();
        let CommandLine { action, access } = args::parse(&line)?;
        let Action::Run(run) = action else {
            panic!("{action:?}")
        };
        let namespace = access.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        Ok(match object(&run, &access, &namespace)? {
            Object::Job(job) => serde_json::to_value(job)?,
            Object::Cluster(job) => serde_json::to_value(job)?,
        })
    }

    #[test]
    fn flags_become_a_job() {
        let job = made(&[
            "--port",
            "443",
            "--failed-only",
            "-n",
            "shop",
            "-l",
            "app=checkout",
            "--duration",
            "1m",
            "--max-events",
            "9",
            "-c",
            "main",
            "--node-selector",
            "pool=web",
            "--ring",
            "1MiB",
        ])
        .unwrap();
        assert_eq!(job["kind"], "TraceJob");
        assert_eq!(job["metadata"]["namespace"], "shop");
        assert_eq!(job["metadata"]["generateName"], "tcp-connect-");
        assert_eq!(job["metadata"].get("name"), None);
        insta::assert_snapshot!(job["spec"].to_string(), @r#"{"activeDeadlineSeconds":60,"containers":["main"],"limits":{"maxEvents":9,"ringBytes":1048576},"nodeSelector":{"pool":"web"},"selector":{"matchLabels":{"app":"checkout"}},"tracer":{"tcpConnect":{"failedOnly":true,"port":443}},"ttlSecondsAfterFinished":600}"#);
    }

    #[test]
    fn what_goes_beyond_a_namespace_is_a_cluster_trace_job() {
        for flags in [
            &["-A"][..],
            &["--host"],
            &["--namespace-selector", "team=a"],
        ] {
            let job = made(flags).unwrap();
            assert_eq!(job["kind"], "ClusterTraceJob", "{flags:?}");
            assert_eq!(job["metadata"].get("namespace"), None);
        }
        assert_eq!(made(&["--host"]).unwrap()["spec"]["host"], true);
        let kept = made(&["--keep", "--name", "mine"]).unwrap();
        assert_eq!(kept["metadata"]["name"], "mine");
        assert_eq!(kept["spec"].get("ttlSecondsAfterFinished"), None);
    }

    #[test]
    fn invalid_jobs_are_refused_without_a_request() {
        let sentence = |flags: &[&str]| format!("{:#}", made(flags).unwrap_err());
        assert!(sentence(&["--host", "-l", "a=b"]).contains("host selects all processes"));
        assert!(sentence(&["--duration", "2d"]).contains("activeDeadlineSeconds"));
    }

    #[test]
    fn flags_override_the_file() {
        let path = std::env::temp_dir().join(format!("job-{}.yaml", std::process::id()));
        let text = "apiVersion: tracejob.dev/v1alpha1\nkind: TraceJob\nmetadata: {name: x, namespace: shop}\nspec:\n  tracer: {open: {}}\n  pods: [a]\n  activeDeadlineSeconds: 5\n";
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let job = made_of(&["run", "-f", path, "--duration", "7s"]).unwrap();
        assert_eq!(job["metadata"]["name"], "x");
        assert_eq!(job["metadata"]["namespace"], "shop");
        assert_eq!(job["spec"]["activeDeadlineSeconds"], 7);
        assert_eq!(job["spec"]["pods"][0], "a");
        let sentence = made_of(&["run", "-f", path, "-n", "other"]).unwrap_err();
        assert!(
            sentence.to_string().contains("namespace shop"),
            "{sentence}"
        );
        let sentence = made_of(&["run", "-f", path, "--name", "y"]).unwrap();
        assert_eq!(sentence["metadata"]["name"], "y");
    }

    #[test]
    fn a_selector_is_shown_as_it_is_typed() {
        let text = "app=x,tier in (a,b),!c,d notin (e),f";
        let selector = crate::command::cluster::selector::parse(text).unwrap();
        assert_eq!(selector_text(&selector), text);
    }
}

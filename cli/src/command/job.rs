//! TraceJobs in files: the same object as in a cluster, parsed strictly.

mod document;
mod explain;

use super::condition::filters;
use crate::{show::view::ViewArgs, usage::Usage};
use anyhow::{Result, anyhow, bail};
use crd::{ClusterTraceJob, ClusterTraceJobSpec, TraceJob, TraceJobSpec, Wrong, definition};
use document::{Head, only, text};
use engine::Budget;
use explain::{explain, place};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use std::{path::Path, time::Duration};
use tracers::Spec;

/// API version of jobs.
const API_VERSION: &str = "tracejob.dev/v1alpha1";
const KIND: &str = "TraceJob";
const CLUSTER_KIND: &str = "ClusterTraceJob";

/// The part of a TraceJob that applies to one host.
#[derive(Debug)]
pub(crate) struct Job {
    /// Tracer with its options.
    pub(crate) spec: Spec,
    /// Whether the job selects pods, which requires a cluster.
    pub(crate) selects_pods: bool,
    /// Bound that ends the trace.
    pub(crate) duration: Option<Duration>,
    /// Bound that ends the trace.
    pub(crate) max_events: Option<u64>,
    /// Size of the ring buffer in bytes.
    pub(crate) ring_bytes: Option<u32>,
    /// Budget of the trace.
    pub(crate) budget: Budget,
    /// The condition that rows must match.
    pub(crate) filter: Option<String>,
    /// Columns, order and number of rows.
    pub(crate) view: ViewArgs,
}

/// A job for a cluster, from a file.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A TraceJob.
    Job {
        /// Name, or the prefix of a generated name.
        name: Name,
        /// Namespace, if the file has one.
        namespace: Option<String>,
        /// Spec of the job.
        spec: Box<TraceJobSpec>,
    },
    /// A ClusterTraceJob.
    Cluster {
        /// Name, or the prefix of a generated name.
        name: Name,
        /// Spec of the job.
        spec: Box<ClusterTraceJobSpec>,
    },
}

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The full name.
    Whole(String),
    /// The prefix of a name that the API server generates: `generateName`.
    Beginning(String),
}

#[derive(Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a TraceJob"
)]
struct Object {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: TraceJobSpec,
    // What a cluster has written may come back.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted and not used")]
    status: Option<IgnoredAny>,
}

/// Metadata of an object. Unknown fields are accepted, because Kubernetes defines them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    generate_name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
}

impl Metadata {
    /// Returns the name or its prefix.
    fn name(&self, file: &str) -> Result<Name> {
        match (&self.name, &self.generate_name) {
            (Some(name), _) => Ok(Name::Whole(name.clone())),
            (None, Some(beginning)) => Ok(Name::Beginning(beginning.clone())),
            (None, None) => bail!("{file}: metadata requires a name or a generateName"),
        }
    }
}

/// A ClusterTraceJob. The names of its spec's fields are checked separately: serde cannot reject unknown ones in flattened structs.
#[derive(Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a ClusterTraceJob"
)]
struct ClusterObject {
    api_version: String,
    #[expect(dead_code, reason = "already checked")]
    kind: String,
    metadata: Metadata,
    spec: serde_json::Value,
    // What a cluster has written may come back.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted and not used")]
    status: Option<IgnoredAny>,
}

/// Reads a TraceJob from a file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Job> {
    let (text, shown) = text(path)?;
    parse(&text, &shown)
}

/// Reads a job for a cluster from a file, of either kind; `-` is standard input.
pub(crate) fn read_wanted(path: &Path) -> Result<Wanted> {
    let (text, shown) = text(path)?;
    parse_wanted(&text, &shown)
}

/// Parses a TraceJob; `file` is its name in messages.
pub(crate) fn parse(text: &str, file: &str) -> Result<Job> {
    let text = only(text, file, &[KIND])?;
    let (metadata, spec) = checked(&text, file)?;
    metadata.name(file)?;
    Ok(job(spec))
}

/// Parses a job of either kind; `file` is its name in messages.
fn parse_wanted(text: &str, file: &str) -> Result<Wanted> {
    let text = only(text, file, &[KIND, CLUSTER_KIND])?;
    let head = Head::deserialize(serde_yaml::Deserializer::from_str(&text));
    if head.is_ok_and(|head| head.kind.is_some_and(|kind| kind == CLUSTER_KIND)) {
        return cluster(&text, file);
    }
    let (metadata, spec) = checked(&text, file)?;
    Ok(Wanted::Job {
        name: metadata.name(file)?,
        namespace: metadata.namespace,
        spec: Box::new(spec),
    })
}

/// Parses and checks a TraceJob by the rules of the API server.
fn checked(text: &str, file: &str) -> Result<(Metadata, TraceJobSpec)> {
    let object = Object::deserialize(serde_yaml::Deserializer::from_str(text));
    let Object {
        api_version,
        kind,
        metadata,
        spec,
        status: _,
    } = object.map_err(|error| anyhow!(explain(&error, text, file)))?;
    let at = |key: &str| {
        place(text, key).map_or(String::new(), |(line, column)| format!(":{line}:{column}"))
    };
    if kind != KIND {
        let kind = kind.escape_debug();
        bail!(
            "{file}{}: kind is \"{kind}\"; it must be {KIND}",
            at("kind")
        );
    }
    if api_version != API_VERSION {
        let version = api_version.escape_debug();
        bail!(
            "{file}{}: apiVersion is \"{version}\"; this tracejob supports {API_VERSION}",
            at("apiVersion")
        );
    }
    let object = json!({ "apiVersion": api_version, "kind": kind, "spec": &spec });
    if let Some(Wrong { field, message }) = crd::check(&definition::<TraceJob>(), &object).first() {
        let key = field.rsplit('.').next().unwrap_or(field);
        let key = key.split('[').next().unwrap_or(key);
        bail!("{file}{}: {field}: {message}", at(key));
    }
    check_condition(&spec, file, &at("where"))?;
    Ok((metadata, spec))
}

/// Parses and checks a ClusterTraceJob by the rules of the API server.
fn cluster(text: &str, file: &str) -> Result<Wanted> {
    let object = ClusterObject::deserialize(serde_yaml::Deserializer::from_str(text));
    let ClusterObject {
        api_version,
        kind: _,
        metadata,
        spec,
        status: _,
    } = object.map_err(|error| anyhow!(explain(&error, text, file)))?;
    if api_version != API_VERSION {
        let version = api_version.escape_debug();
        bail!("{file}: apiVersion is \"{version}\"; this tracejob supports {API_VERSION}");
    }
    let definition = definition::<ClusterTraceJob>();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let known = &schema["properties"]["spec"]["properties"];
    for field in spec.as_object().into_iter().flatten().map(|(name, _)| name) {
        if known.get(field).is_none() {
            let field = field.escape_debug();
            bail!("{file}: spec has no field \"{field}\"");
        }
    }
    let spec: ClusterTraceJobSpec =
        serde_json::from_value(spec).map_err(|error| anyhow!("{file}: spec: {error}"))?;
    let object = json!({ "apiVersion": api_version, "kind": CLUSTER_KIND, "spec": &spec });
    if let Some(Wrong { field, message }) = crd::check(&definition, &object).first() {
        bail!("{file}: {field}: {message}");
    }
    check_condition(&spec.job, file, "")?;
    Ok(Wanted::Cluster {
        name: metadata.name(file)?,
        spec: Box::new(spec),
    })
}

/// Returns the part of a spec that applies to one host.
fn job(spec: TraceJobSpec) -> Job {
    let TraceJobSpec {
        tracer,
        selector,
        pods,
        containers,
        node_selector,
        // A cluster's: which nodes, and what becomes of the object.
        max_nodes: _,
        sample_percent: _,
        suspend: _,
        ttl_seconds_after_finished: _,
        output,
        active_deadline_seconds,
        limits,
    } = spec;
    let crd::Limits {
        max_events,
        events_per_second,
        cpu_percent,
        memory_bytes,
        ring_bytes,
    } = limits;
    Job {
        spec: tracer,
        selects_pods: selector.is_some()
            || !pods.is_empty()
            || !containers.is_empty()
            || !node_selector.is_empty(),
        duration: active_deadline_seconds.map(Duration::from_secs),
        max_events,
        ring_bytes,
        budget: Budget {
            cpu_percent,
            events_per_second,
            memory_bytes,
        },
        view: ViewArgs::from(&output),
        filter: output.filter,
    }
}

/// Checks a job's condition by the tracer's columns; `at` is its place in the file.
fn check_condition(spec: &TraceJobSpec, file: &str, at: &str) -> Result<()> {
    let from = format!("{file}{at}: spec.output.where");
    let filters = filters(&from, spec.output.filter.as_deref(), &spec.tracer);
    filters.map(drop).map_err(|Usage(message)| anyhow!(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, time::Instant};
    use tracers::OptValue;

    /// A job of the first tracer that has an option.
    fn job(tracer: &str, more: &str) -> String {
        format!(
            "apiVersion: tracejob.dev/v1alpha1\nkind: TraceJob\nmetadata:\n  name: x\nspec:\n  tracer:\n    {tracer}\n{more}"
        )
    }

    fn error(text: &str) -> String {
        format!("{:#}", parse(text, "job.yaml").unwrap_err())
    }

    #[test]
    fn a_job_may_be_named_by_the_api_server_and_begin_with_a_byte_order_mark() {
        let text = job("{tcpConnect: {}}", "").replace("name: x", "generateName: x-");
        assert!(parse(&text, "job.yaml").is_ok());
        let Wanted::Job { name, .. } = parse_wanted(&text, "job.yaml").unwrap() else {
            panic!("a TraceJob");
        };
        assert_eq!(name, Name::Beginning("x-".to_owned()));
        let nameless = error(&text.replace("generateName: x-", "labels: {}"));
        assert!(
            nameless.contains("requires a name or a generateName"),
            "{nameless}"
        );
        let path = std::env::temp_dir().join(format!("tracejob-mark-{}", std::process::id()));
        fs::write(&path, format!("\u{feff}{text}")).unwrap();
        assert!(read(&path).is_ok());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn every_example_is_a_job_and_every_family_has_one() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let mut families = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let job = read(&path).unwrap_or_else(|error| panic!("{error:#}"));
            families.push(job.spec.tracer().family());
        }
        let missing: Vec<_> = tracers::ALL
            .iter()
            .filter(|tracer| !families.contains(&tracer.family()))
            .collect();
        assert!(
            missing.is_empty(),
            "a family without an example: {:?}",
            missing.first().map(|t| t.family())
        );
    }

    #[test]
    fn bounds_and_selection_are_read() {
        let text = job(
            "tcpConnect: {port: 443, failedOnly: true}",
            "  selector: {matchLabels: {app: checkout}}\n  activeDeadlineSeconds: 60\n  limits:\n    maxEvents: 10\n    ringBytes: 65536\n    cpuPercent: 5\n",
        );
        let job = parse(&text, "job.yaml").unwrap();
        assert_eq!(
            job.spec
                .options()
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>(),
            [OptValue::Number(443), OptValue::Flag(true)]
        );
        assert!(job.selects_pods);
        assert_eq!(
            (job.duration, job.max_events, job.ring_bytes),
            (Some(Duration::from_secs(60)), Some(10), Some(65536))
        );
        assert_eq!(job.budget.cpu_percent, Some(5));
    }

    #[test]
    fn a_cluster_takes_either_kind() {
        let text = job("open: {}", "  pods: [a]\n");
        let text = text.replace("name: x", "name: x, namespace: shop");
        let text = text.replace(
            "metadata:\n  name: x, namespace: shop",
            "metadata: {name: x, namespace: shop}",
        );
        match parse_wanted(&text, "job.yaml").unwrap() {
            Wanted::Job {
                name,
                namespace,
                spec,
            } => {
                assert_eq!(name, Name::Whole("x".to_owned()));
                assert_eq!(namespace.as_deref(), Some("shop"));
                assert_eq!(spec.pods, ["a"]);
            }
            other => panic!("{other:?}"),
        }
        let cluster = |more: &str| {
            let text = job("open: {}", more).replace("kind: TraceJob", "kind: ClusterTraceJob");
            parse_wanted(&text, "job.yaml").map_err(|error| format!("{error:#}"))
        };
        match cluster("  host: true\n").unwrap() {
            Wanted::Cluster { spec, .. } => assert_eq!(spec.host, Some(true)),
            other => panic!("{other:?}"),
        }
        assert_eq!(
            cluster("  hosts: true\n").unwrap_err(),
            "job.yaml: spec has no field \"hosts\""
        );
        assert!(
            cluster("  host: true\n  pods: [a]\n")
                .unwrap_err()
                .contains("host selects all processes")
        );
    }

    #[test]
    fn errors_have_their_position_and_a_correction() {
        let mistakes = [
            job("tcpConnect: {prot: 443}", ""),
            job("tcpConnect:\n      port: 443\n      failedOny: true", ""),
            job("tcpConnect: {port: 65536}", ""),
            job("tcpConnect: {port: x}", ""),
            job("tcpConect: {}", ""),
            job("{}", ""),
            job("open: {}\n    exec: {}", ""),
            job("open: {}", "  limit: {}\n"),
            job("open: {}", "  limits:\n    maxEvent: 3\n"),
            job("open: {}", "  invalid_message: 3\n"),
            job("open: {}", "  activeDeadlineSeconds: 0\n"),
            job("open: {}", "  activeDeadlineSeconds: -1\n"),
            job("open: {}", "  limits: {ringBytes: 1}\n"),
            job("open: {}", "  limits: {cpuPercent: 1001}\n"),
            job("open: {}", "  pods: [a, \"\"]\n"),
            job("open: {}", "  selector: {matchLabel: {app: x}}\n"),
            job(
                "open: {}",
                "  selector: {matchExpressions: [{key: app, operator: In}]}\n",
            ),
            job(
                "open: {}",
                "  selector: {matchExpressions: [{key: app, operator: is}]}\n",
            ),
            job("open: {}", "").replace("TraceJob", "Pod"),
            job("open: {}", "").replace("v1alpha1", "v9"),
            job("open: {}", "").replace("kind: TraceJob\n", ""),
            format!("{}---\n{}", job("open: {}", ""), job("open: {}", "")),
            format!("kind: ConfigMap\n---\n{}", job("open: {fast: 1}", "")),
            "kind: ConfigMap\n---\nkind: Pod\n".to_owned(),
            job("open: {}", "  limits: 3\n"),
            "- a\n- b\n".to_owned(),
            "a: [1, 2\n".to_owned(),
            "a: *nothing\n".to_owned(),
            "@\n".to_owned(),
            String::new(),
            "# nothing\n".to_owned(),
        ];
        let sentence: Vec<String> = mistakes.iter().map(|text| error(text)).collect();
        insta::assert_snapshot!(sentence.join("\n"));
    }

    #[test]
    fn a_bomb_and_a_tower_end_at_once() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..30 {
            let before = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        let tower = "[".repeat(1 << 20);
        let many = "--- a\n".repeat(100_000);
        let loops = "a: &a [*a]\nb: *a\n".to_owned();
        let status = job(
            "open: {}",
            &format!("status:\n  {}", bomb.replace('\n', "\n  ")),
        );
        for text in [bomb, tower, many, loops, status] {
            let started = Instant::now();
            let sentence = parse(&text, "job.yaml")
                .err()
                .map(|error| format!("{error:#}"));
            assert!(started.elapsed() < Duration::from_secs(5), "{sentence:?}");
            assert!(sentence.is_none_or(|sentence| sentence.len() < 300));
        }
    }

    #[test]
    fn what_is_no_text_or_has_no_end_is_refused() {
        let sentence = format!("{:#}", read(Path::new("/dev/zero")).unwrap_err());
        assert!(sentence.contains("larger than 1 MiB"), "{sentence}");
        let sentence = format!("{:#}", read(Path::new("/nonexistent")).unwrap_err());
        assert!(
            sentence.starts_with("cannot read /nonexistent"),
            "{sentence}"
        );
        let sentence = format!("{:#}", read(&std::env::current_exe().unwrap()).unwrap_err());
        assert!(sentence.contains("larger than 1 MiB"), "{sentence}");
    }
}

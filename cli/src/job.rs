//! A TraceJob from a file: the object that a cluster takes, read strictly.

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, de::IgnoredAny};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};
use tracers::{Spec, nearest};

/// What a cluster's API server would take.
const API_VERSION: &str = "tracejob.dev/v1alpha1";
const KIND: &str = "TraceJob";
/// A TraceJob is a screenful. The API server's own limit is 1.5 MiB (etcd, --max-request-bytes).
const MAX_BYTES: u64 = 1 << 20;

/// A TraceJob, as far as one host can act on it.
#[derive(Debug)]
pub(crate) struct Job {
    /// The tracer with its options.
    pub(crate) spec: Spec,
    /// Whether it selects pods, which one host knows nothing of.
    pub(crate) selects_pods: bool,
    /// Ends the trace.
    pub(crate) duration: Option<Duration>,
    /// Ends the trace.
    pub(crate) max_events: Option<u64>,
    /// Bytes of the ring.
    pub(crate) ring_bytes: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Object {
    api_version: String,
    kind: String,
    #[expect(dead_code, reason = "it has to be there, as in a cluster")]
    metadata: Metadata,
    spec: JobSpec,
    // What a cluster has written may come back.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted and not used")]
    status: Option<IgnoredAny>,
}

/// A Kubernetes object's metadata belongs to Kubernetes: whatever else it has is accepted.
#[derive(Deserialize)]
struct Metadata {
    #[expect(dead_code, reason = "it has to be there, as in a cluster")]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JobSpec {
    tracer: Spec,
    #[serde(default)]
    selector: Option<Selector>,
    #[serde(default)]
    pods: Vec<String>,
    #[serde(default)]
    containers: Vec<String>,
    #[serde(default)]
    node_selector: BTreeMap<String, String>,
    #[serde(default)]
    active_deadline_seconds: Option<u64>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "checked here, used by a cluster")]
struct Selector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    match_expressions: Vec<Expression>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "checked here, used by a cluster")]
struct Expression {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Limits {
    #[serde(default)]
    max_events: Option<u64>,
    #[serde(default)]
    ring_bytes: Option<u32>,
}

/// Reads a TraceJob from a file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Job> {
    let shown = if path.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let mut bytes = Vec::new();
    let limited =
        |source: &mut dyn Read, bytes: &mut Vec<u8>| source.take(MAX_BYTES + 1).read_to_end(bytes);
    let read = match path.as_os_str() == "-" {
        true => limited(&mut io::stdin(), &mut bytes),
        false => File::open(path).and_then(|mut file| limited(&mut file, &mut bytes)),
    };
    read.with_context(|| format!("cannot read {shown}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("cannot read {shown}: it has more than 1 MiB, and a TraceJob has less");
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        anyhow!("{shown}:{line}: this is not UTF-8")
    })?;
    parse(&text, &shown)
}

/// Reads a TraceJob; `file` is its name in messages.
pub(crate) fn parse(text: &str, file: &str) -> Result<Job> {
    let documents = serde_yaml::Deserializer::from_str(text);
    let mut objects = Vec::new();
    for document in documents {
        // The kind is told first: of another object nothing else makes sense.
        objects.push(
            Object::deserialize(document).map_err(|error| anyhow!(explain(&error, text, file)))?,
        );
        if objects.len() > 1 {
            bail!(
                "{file} has more than one document; one trace at a time: put each TraceJob into a file of its own"
            );
        }
    }
    let Some(object) = objects.pop() else {
        bail!("{file} has no TraceJob in it");
    };
    job(object, text, file)
}

fn job(object: Object, text: &str, file: &str) -> Result<Job> {
    let Object {
        api_version,
        kind,
        metadata: _,
        spec,
        status: _,
    } = object;
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
            "{file}{}: apiVersion is \"{version}\"; this tracejob knows {API_VERSION}",
            at("apiVersion")
        );
    }
    let JobSpec {
        tracer,
        selector,
        pods,
        containers,
        node_selector,
        active_deadline_seconds,
        limits,
    } = spec;
    let Limits {
        max_events,
        ring_bytes,
    } = limits;
    let positive = |value: Option<u64>, key: &str| match value {
        Some(0) => Err(anyhow!("{file}{}: {key} must be at least 1", at(key))),
        other => Ok(other),
    };
    let seconds = positive(active_deadline_seconds, "activeDeadlineSeconds")?;
    if ring_bytes.is_some_and(|bytes| !(4096..=1 << 30).contains(&bytes)) {
        bail!(
            "{file}{}: a ring has 4096 to {} bytes",
            at("ringBytes"),
            1 << 30
        );
    }
    Ok(Job {
        spec: tracer,
        selects_pods: selector.is_some()
            || !pods.is_empty()
            || !containers.is_empty()
            || !node_selector.is_empty(),
        duration: seconds.map(Duration::from_secs),
        max_events: positive(max_events, "maxEvents")?,
        ring_bytes,
    })
}

/// Where a key stands first in the text.
fn place(text: &str, key: &str) -> Option<(usize, usize)> {
    text.lines().enumerate().find_map(|(line, content)| {
        let start = content.find(|c: char| c != ' ' && c != '-')?;
        let after = content[start..]
            .trim_start_matches(['"', '\''])
            .strip_prefix(key)?;
        after
            .trim_start_matches(['"', '\''])
            .trim_start()
            .starts_with(':')
            .then_some((line + 1, start + 1))
    })
}

/// `job.yaml:6:7: spec.tracer.tcpConnect has no option "prot"; …`
fn explain(error: &serde_yaml::Error, text: &str, file: &str) -> String {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    let (path, message) = match said.split_once(": ") {
        Some((path, message)) if is_path(path) => (path, message),
        _ => ("", said),
    };
    let unknown = unknown_name(message);
    let at = error.location().map(|at| {
        // An unknown name is told by where its object begins.
        let from = (at.line(), at.column());
        unknown
            .and_then(|name| below(text, from.0, name))
            .unwrap_or(from)
    });
    let at = at.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
    format!("{file}{at}: {}", reword(path, message))
}

fn is_path(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || "._-[]?\\".contains(c))
}

/// The name that is not known, where that is what a message says.
fn unknown_name(message: &str) -> Option<&str> {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return rest.split_once('`').map(|(name, _)| name);
    }
    let rest = message
        .split_once(" has no option \"")
        .or_else(|| message.split_once("no tracer is called \""))?
        .1;
    rest.split_once('"').map(|(name, _)| name)
}

/// Where a key stands at or below a line.
fn below(text: &str, line: usize, key: &str) -> Option<(usize, usize)> {
    let start: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let (found, column) = place(text.get(start..)?, key)?;
    Some((found + line - 1, column))
}

/// Says where in the object it is, and names the nearest where a name is wrong.
fn reword(path: &str, message: &str) -> String {
    if let Some((tracer, rest)) = message.split_once(" has no option ") {
        return format!("{} has no option {rest}", path_to(path, tracer));
    }
    let Some(name) = message
        .starts_with("unknown field `")
        .then(|| unknown_name(message))
        .flatten()
    else {
        return match path {
            "" | "." => message.to_owned(),
            path => format!("{path}: {message}"),
        };
    };
    let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
    let place = if matches!(path, "" | ".") {
        "a TraceJob"
    } else {
        path
    };
    let meant = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("it has: {}", known.join(", ")),
    };
    format!("{place} has no field \"{}\"; {meant}", name.escape_debug())
}

fn path_to(path: &str, name: &str) -> String {
    match path.rsplit('.').next() == Some(name) {
        true => path.to_owned(),
        false => format!("{path}.{name}"),
    }
}

//! `describe`: the details of a job or a tracer.

use super::{
    create::selector_text,
    list::{columns, state},
};
use crate::{
    command::describe::flag,
    show::{
        render::{count, plural, size, span},
        text::{beside, wrap},
    },
    source::{
        cluster::{
            access::{Access, Cluster},
            error::Error,
            job::Job,
        },
        remote::words,
    },
};
use anyhow::Result;
use crd::{Limits, Summary, TraceJobStatus};
use std::{
    io::{self, Write},
    time::Duration,
};
use tracers::{OptValue, Spec};

/// Maximum width of prose.
const WIDEST: usize = 100;
/// Width of the headings before it.
const HEAD: usize = 10;

/// Prints the details of a job, or of a tracer if there is no such job.
pub(super) fn describe(what: &str, json: bool, access: &Access) -> Result<()> {
    let text = match Cluster::connect(access).and_then(|cluster| cluster.get(&cluster.named(what)?))
    {
        Ok(job) if json => format!("{:#}\n", job.object),
        Ok(job) => page(&job),
        Err(error) => match tracers::find(what) {
            Some(tracer) => return crate::command::describe::describe_known(tracer, json),
            None => return Err(with_tracers(error, what)),
        },
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Adds the nearest tracer's name to an error.
fn with_tracers(error: Error, what: &str) -> anyhow::Error {
    let names = tracers::ALL.iter().map(|tracer| tracer.name());
    match (&error, tracers::nearest(what, names)) {
        (Error::NotFound { .. } | Error::NoName { .. }, Some(near)) => {
            anyhow::anyhow!("{error}; did you mean the tracer {near}?")
        }
        _ => error.into(),
    }
}

fn page(job: &Job) -> String {
    let mut out = String::new();
    for (head, text) in facts(job) {
        let text = wrap(&text, WIDEST - HEAD - 2);
        beside(&[vec![head.to_owned()], text], &[HEAD], &mut out);
    }
    let status = &job.status;
    if !status.conditions.is_empty() {
        out.push_str("\nConditions\n");
        let mut rows = Vec::new();
        for condition in &status.conditions {
            rows.push(vec![
                format!("  {}", words(&condition.type_)),
                words(&condition.status),
                words(&condition.reason),
                words(&condition.message),
            ]);
        }
        out.push_str(&columns(&rows));
    }
    if !status.failures.is_empty() {
        out.push_str("\nFailures\n");
        let rows = status.failures.iter().map(|failure| {
            vec![
                format!("  {}", words(&failure.node)),
                words(&failure.reason),
                words(&failure.message),
            ]
        });
        out.push_str(&columns(&rows.collect::<Vec<_>>()));
    }
    if !status.target_failures.is_empty() {
        let untraced = u64::try_from(status.untraced_targets).unwrap_or(0);
        out.push_str(&format!(
            "\nNot selected ({} without events)\n",
            count(untraced)
        ));
        let rows = status.target_failures.iter().map(|failure| {
            let parts = [&failure.namespace, &failure.pod, &failure.container];
            let parts = parts.map(|part| words(part)).into_iter();
            let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
            vec![
                format!("  {}", words(&failure.node)),
                parts.join("/"),
                words(&failure.reason),
                words(&failure.message),
            ]
        });
        out.push_str(&columns(&rows.collect::<Vec<_>>()));
    }
    if let Some(summary) = &status.summary {
        out.push_str(&summary_text(summary));
    }
    out
}

/// Returns the summary of a job, line by line.
fn facts(job: &Job) -> Vec<(&'static str, String)> {
    let spec = &job.spec;
    let mut facts = vec![
        ("Job", job.name.shown()),
        ("Tracer", tracer_text(&spec.tracer)),
        ("Of", targets_text(job)),
    ];
    let mut nodes: Vec<String> = spec
        .node_selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    nodes.extend(spec.max_nodes.map(|most| format!("{most} at most")));
    nodes.extend(
        spec.sample_percent
            .map(|share| format!("{share} % of them")),
    );
    if !nodes.is_empty() {
        facts.push(("On nodes", words(&nodes.join(", "))));
    }
    let deadline = spec.active_deadline_seconds;
    let deadline = deadline.unwrap_or(crd::DEFAULT_DEADLINE_SECONDS);
    facts.push(("For", span(Duration::from_secs(deadline))));
    if spec.limits != Limits::default() {
        let limits = serde_json::to_string(&spec.limits).unwrap_or_default();
        facts.push(("Limits", words(&limits)));
    }
    facts.push(("Status", state(job)));
    let TraceJobStatus {
        nodes,
        pods,
        events,
        cost,
        ..
    } = &job.status;
    let number = |n: i64| count(u64::try_from(n).unwrap_or(0));
    if !job.status.conditions.is_empty() {
        let (desired, running) = (number(nodes.desired), number(nodes.running));
        let (ended, failed) = (number(nodes.ended), number(nodes.failed));
        let pods = plural(u64::try_from(*pods).unwrap_or(0), "pod");
        facts.push((
            "Nodes",
            format!("{desired} desired, {running} running, {ended} ended, {failed} failed; {pods}"),
        ));
        let mut received = format!(
            "{} produced, {} delivered, {} lost",
            number(events.produced),
            number(events.delivered),
            number(events.lost)
        );
        let stages = events.lost_by_stage.iter();
        let stages = stages.map(|(stage, n)| format!("{} {}", number(*n), stage.replace('_', " ")));
        let stages: Vec<String> = stages.collect();
        if !stages.is_empty() {
            received.push_str(&format!(" ({})", stages.join(", ")));
        }
        for (n, what) in [
            (events.filtered, "filtered"),
            (events.beyond_limit, "beyond the limit"),
            (events.sampled, "sampled out"),
            (events.missed_runs, "runs skipped by the kernel"),
        ] {
            if n > 0 {
                received.push_str(&format!(", {} {what}", number(n)));
            }
        }
        facts.push(("Events", words(&received)));
        let cpu = Duration::from_millis(u64::try_from(cost.cpu_milliseconds).unwrap_or(0));
        let memory = size(u64::try_from(cost.memory_bytes).unwrap_or(0));
        facts.push(("Cost", format!("{} of CPU time, {memory}", span(cpu))));
    }
    facts
}

/// Returns a tracer with its options, as typed on the command line.
fn tracer_text(spec: &Spec) -> String {
    let options = spec.options();
    let options = options.filter(|(option, value)| option.required || **value != option.unset());
    let options = options.map(|(option, value)| match value {
        OptValue::Flag(_) => flag(option),
        OptValue::Number(_) | OptValue::Text(_) | OptValue::List(_) => {
            format!("{} {}", flag(option), option.kind.form().text(value))
        }
    });
    let words = std::iter::once(spec.tracer().name().to_owned()).chain(options);
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the targets of a job.
fn targets_text(job: &Job) -> String {
    let spec = &job.spec;
    if job.host {
        return "everything on the nodes".to_owned();
    }
    let mut pods: Vec<String> = Vec::new();
    pods.extend(spec.selector.as_ref().map(selector_text));
    pods.extend(spec.pods.iter().cloned());
    let mut sentence = match pods.is_empty() {
        true => "every pod".to_owned(),
        false => format!("pods {}", pods.join(", ")),
    };
    if !spec.containers.is_empty() {
        sentence.push_str(&format!(", containers {}", spec.containers.join(", ")));
    }
    match (&job.name.namespace, &job.namespaces) {
        (None, Some(selector)) => {
            sentence.push_str(&format!(", of namespaces {}", selector_text(selector)));
        }
        (None, None) => sentence.push_str(", of all namespaces"),
        (Some(_), _) => {}
    }
    words(&sentence)
}

fn summary_text(summary: &Summary) -> String {
    let Summary {
        columns: names,
        rows,
        total_rows,
        cut,
        left_out,
    } = summary;
    let mut cells = vec![
        names
            .iter()
            .map(|name| words(name).to_uppercase())
            .collect(),
    ];
    for row in rows {
        let row = names
            .iter()
            .map(|name| row.get(name).map_or_else(String::new, |value| words(value)));
        cells.push(row.collect::<Vec<_>>());
    }
    let mut out = format!("\nSummary\n{}", columns(&cells));
    if *cut {
        let all = plural(u64::try_from(*total_rows).unwrap_or(0), "row");
        out.push_str(&format!("{} of {all}.\n", rows.len()));
    }
    if !left_out.is_empty() {
        let names = words(&left_out.join(", "));
        out.push_str(&format!(
            "Without {names}: `kubectl tracejob attach` shows them.\n"
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crd::TraceJob;
    use serde_json::json;

    #[test]
    fn a_job_is_described_with_its_result() {
        let condition = |type_: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let job = json!({
            "apiVersion": "tracejob.dev/v1alpha1", "kind": "TraceJob",
            "metadata": {"name": "a", "namespace": "shop"},
            "spec": {
                "tracer": {"tcpConnect": {"port": 443}}, "selector": {"matchLabels": {"app": "x"}},
                "activeDeadlineSeconds": 60, "maxNodes": 3,
            },
            "status": {
                "nodes": {"desired": 2, "ended": 1, "failed": 1}, "pods": 3,
                "events": {"produced": 12, "delivered": 10, "lost": 2, "lostByStage": {"ring_full": 2}},
                "cost": {"cpuMilliseconds": 15, "memoryBytes": 1048576},
                "conditions": [condition("Progressing", "False", "Partial", "it is over"), condition("Complete", "True", "Partial", "")],
                "failures": [{"node": "n2", "reason": "NodeGone", "message": "the node is gone\u{1b}[2J"}],
                "untracedTargets": 1,
                "targetFailures": [{"node": "n1", "namespace": "shop", "pod": "web-0", "container": "app", "reason": "TargetNotFound", "message": "no container here has an id that begins with 4f2a"}],
                "summary": {"columns": ["pod", "count"], "rows": [{"pod": "p", "count": "7"}], "totalRows": 9, "cut": true, "leftOut": ["comm"]},
            },
        });
        let job = Job::from(serde_json::from_value::<TraceJob>(job).unwrap());
        insta::assert_snapshot!(page(&job), @r#"
        Job         tracejob.tracejob.dev/a in namespace shop
        Tracer      tcp_connect --port 443
        Of          pods app=x
        On nodes    3 at most
        For         1m00s
        Status      Partial
        Nodes       2 desired, 0 running, 1 ended, 1 failed; 3 pods
        Events      12 produced, 10 delivered, 2 lost (2 ring full)
        Cost        15 ms of CPU time, 1 MiB

        Conditions
          Progressing   False   Partial   it is over
          Complete      True    Partial

        Failures
          n2   NodeGone   the node is gone\x1b[2J

        Not selected (1 without events)
          n1   shop/web-0/app   TargetNotFound   no container here has an id that begins with 4f2a

        Summary
        POD   COUNT
        p     7
        1 of 9 rows.
        Without comm: `kubectl tracejob attach` shows them.
        "#);
    }
}

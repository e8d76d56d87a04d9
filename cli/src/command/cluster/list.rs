//! `list`: jobs with their state and counts.

use crate::{
    show::render::count,
    source::{
        cluster::{
            access::{Access, Cluster},
            job::Job,
        },
        remote::words,
    },
};
use anyhow::Result;
use crd::condition;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Prints the jobs.
pub(super) fn list(json: bool, access: &Access) -> Result<()> {
    let cluster = Cluster::connect(access)?;
    let everywhere = access.all_namespaces;
    let jobs = cluster.list(everywhere)?;
    let text = match (json, jobs.as_slice()) {
        (true, jobs) => {
            let items: Vec<&Value> = jobs.iter().map(|job| &job.object).collect();
            format!(
                "{:#}\n",
                json!({"kind": "List", "apiVersion": "v1", "items": items})
            )
        }
        (false, []) => {
            let place = match everywhere {
                true => "any namespace".to_owned(),
                false => format!("namespace {}", words(&cluster.namespace)),
            };
            // On standard error as kubectl does: programs read standard output.
            io::stderr().write_all(format!("No jobs in {place}.\n").as_bytes())?;
            return Ok(());
        }
        (false, jobs) => table(jobs, everywhere),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn table(jobs: &[Job], everywhere: bool) -> String {
    let heads = ["NAME", "TRACER", "NODES", "EVENTS", "LOST", "STATUS", "AGE"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(jobs.iter().map(row));
    if everywhere {
        let places = jobs.iter().map(|job| match &job.name.namespace {
            Some(namespace) => words(namespace),
            None => "-".to_owned(),
        });
        let places = std::iter::once("NAMESPACE".to_owned()).chain(places);
        for (row, place) in rows.iter_mut().zip(places) {
            row.insert(0, place);
        }
    }
    columns(&rows)
}

/// Aligns cells in columns, as kubectl does.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let across = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..across)
        .map(|at| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}   "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn row(job: &Job) -> Vec<String> {
    let number = |n: i64| count(u64::try_from(n).unwrap_or(0));
    let known = !job.status.conditions.is_empty();
    let crd::Nodes {
        desired,
        running,
        ended,
        ..
    } = job.status.nodes;
    vec![
        match job.name.namespace {
            Some(_) => words(&job.name.name),
            None => format!("ctj/{}", words(&job.name.name)),
        },
        tracers::camel(job.spec.tracer.tracer().name()),
        match known {
            true => format!("{}/{desired}", running + ended),
            false => String::new(),
        },
        match known {
            true => number(job.status.events.delivered),
            false => String::new(),
        },
        match known {
            true => number(job.status.events.lost),
            false => String::new(),
        },
        state(job),
        job.age.map(age).unwrap_or_default(),
    ]
}

/// Returns the state of a job.
pub(super) fn state(job: &Job) -> String {
    match job.state() {
        "" => "New".to_owned(),
        _ if job.is(condition::FAILED) => format!("Failed: {}", words(job.state())),
        state => words(state),
    }
}

/// Formats an age as kubectl does.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crd::{ClusterTraceJob, TraceJob};

    #[test]
    fn jobs_are_a_table_as_of_kubectl() {
        let job = json!({
            "apiVersion": "tracejob.dev/v1alpha1", "kind": "TraceJob",
            "metadata": {"name": "checkout-db", "namespace": "shop"},
            "spec": {"tracer": {"tcpConnect": {}}},
            "status": {
                "nodes": {"desired": 3, "running": 2, "ended": 1}, "events": {"produced": 1300, "delivered": 1204},
                "conditions": [{"type": "Progressing", "status": "True", "reason": "Running", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        });
        let other = json!({
            "apiVersion": "tracejob.dev/v1alpha1", "kind": "ClusterTraceJob",
            "metadata": {"name": "x"}, "spec": {"tracer": {"open": {}}, "host": true},
        });
        let job = Job::from(serde_json::from_value::<TraceJob>(job).unwrap());
        let other = Job::from(serde_json::from_value::<ClusterTraceJob>(other).unwrap());
        insta::assert_snapshot!(table(std::slice::from_ref(&job), false), @r"
        NAME          TRACER       NODES   EVENTS   LOST   STATUS    AGE
        checkout-db   tcpConnect   3/3     1,204    0      Running
        ");
        insta::assert_snapshot!(table(&[job, other], true), @r"
        NAMESPACE   NAME          TRACER       NODES   EVENTS   LOST   STATUS    AGE
        shop        checkout-db   tcpConnect   3/3     1,204    0      Running
        -           ctj/x         open                                 New
        ");
        assert_eq!(
            (age(41), age(720), age(7300)),
            ("41s".to_owned(), "12m".to_owned(), "2h".to_owned())
        );
    }
}

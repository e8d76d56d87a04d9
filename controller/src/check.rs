//! The command `check`: it creates a job for its own pod and compares the counts. `helm test` runs it.

use crate::status::{is_over, is_true};
use anyhow::{Context as _, Result, bail};
use crd::{TraceJob, TraceJobStatus, condition};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use std::{
    borrow::Cow,
    time::{Duration, Instant},
};
use tracers::{Kind, Role};

/// The counted system call, and the number of calls.
const CALL: &str = "getppid";
const CALLS: u32 = 10_000;
/// Deadline of the job.
const DEADLINE: Duration = Duration::from_secs(20);
/// Timeout of the check: an agent may just be starting.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Identity of this pod.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Pod {
    /// Namespace of this pod, which must not be denied
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Name of this pod
    #[arg(long, env = "POD_NAME")]
    pod: String,
}

/// Creates a job that traces this pod, and compares the counts with the pod's calls.
pub(crate) async fn check(pod: &Pod) -> Result<()> {
    let client = fleet::api_client().await?;
    let jobs = Api::<TraceJob>::namespaced(client, &pod.namespace);
    let (tracer, column) = counter().context("no tracer counts system calls: a bug")?;
    let name = format!("check-{}", pod.pod);
    let job = serde_json::from_value(json!({
        "apiVersion": "tracejob.dev/v1alpha1", "kind": "TraceJob",
        "metadata": {"name": name},
        "spec": {
            "pods": [pod.pod], "tracer": {tracers::camel(tracer): {}},
            "activeDeadlineSeconds": DEADLINE.as_secs(), "ttlSecondsAfterFinished": 60,
        },
    }))
    .context("its own job: a bug")?;
    let created = jobs.create(&PostParams::default(), &job).await;
    created.with_context(|| format!("creating TraceJob {}/{name}", pod.namespace))?;
    println!("created TraceJob {}/{name}", pod.namespace);
    let outcome = follow(&jobs, &name, &column).await;
    // If the deletion fails, the job's `ttlSecondsAfterFinished` deletes it.
    let _ = jobs.delete(&name, &DeleteParams::default()).await;
    outcome
}

/// Returns the tracer that counts system calls, and its column with their names.
fn counter() -> Option<(&'static str, Cow<'static, str>)> {
    tracers::ALL.iter().find_map(|tracer| {
        let mut columns = tracer.columns().into_iter();
        let calls = columns
            .find(|column| matches!(column.kind, Kind::Syscall) && column.role == Role::Key)?;
        Some((tracer.name(), calls.name))
    })
}

async fn follow(jobs: &Api<TraceJob>, name: &str, column: &str) -> Result<()> {
    let since = Instant::now();
    let seconds = || since.elapsed().as_secs_f64();
    let running = until(jobs, name, "to run on this pod's node", |status| {
        status.nodes.running == 1
    });
    running.await?;
    println!("it runs after {:.1} s", seconds());
    for _ in 0..CALLS {
        std::hint::black_box(rustix::process::getppid());
    }
    let over = until(jobs, name, "to be over", is_over).await?;
    if is_true(&over, condition::FAILED) {
        bail!("the job failed: {}", status_text(&over));
    }
    let summary = over.summary.clone().unwrap_or_default();
    let counted = summary.rows.iter().find_map(|row| {
        let is_ours = row.get(column).is_some_and(|name| name == CALL);
        is_ours.then(|| row.get("count").cloned().unwrap_or_default())
    });
    let counted = counted.unwrap_or_default();
    if counted != CALLS.to_string() {
        bail!(
            "{CALLS} calls of {CALL} were made, and {} counted: {}",
            if counted.is_empty() {
                "none were"
            } else {
                &counted
            },
            status_text(&over)
        );
    }
    println!(
        "over after {:.1} s: {counted} of {CALLS} calls of {CALL} counted, {} events, {} lost",
        seconds(),
        over.events.produced,
        over.events.lost
    );
    Ok(())
}

async fn until(
    jobs: &Api<TraceJob>,
    name: &str,
    what: &str,
    is: impl Fn(&TraceJobStatus) -> bool,
) -> Result<TraceJobStatus> {
    let since = Instant::now();
    loop {
        let job = jobs.get(name).await.context("reading the job")?;
        let status = job.status.unwrap_or_default();
        if is(&status) {
            return Ok(status);
        }
        if is_over(&status) || since.elapsed() > TIMEOUT {
            bail!(
                "timeout while waiting for the job {what}: {}",
                status_text(&status)
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Returns a job's conditions and nodes as text.
fn status_text(status: &TraceJobStatus) -> String {
    let conditions = status.conditions.iter();
    let mut parts: Vec<String> = conditions
        .map(|condition| format!("{} ({})", condition.message, condition.reason))
        .collect();
    let failures = status.failures.iter();
    parts.extend(failures.map(|failure| format!("{}: {}", failure.node, failure.message)));
    match parts.is_empty() {
        true => "no controller has reconciled it: is there a leader?".to_owned(),
        false => parts.join("; "),
    }
}

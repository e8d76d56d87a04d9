//! `run`: a trace from its request to its account.

use crate::{
    command::{
        args::{Run, What},
        condition::filters,
        job,
        signals::Signals,
    },
    show::{
        output::{self, Scene},
        render::escaped,
        shape::Shape,
        show,
        view::ViewArgs,
    },
    source::{
        Feed,
        remote::{self, Address, Agent},
    },
    usage::Usage,
};
use anyhow::{Context as _, Result};
use engine::{Bounds, Budget, Kernel, Limits, Request, Selector, Trace};
use rustix::stdio;
use std::{os::unix::ffi::OsStrExt, process::ExitCode};

/// Runs a trace on this machine or an agent.
pub(crate) fn run(run: Run, agent: Option<&Address>) -> Result<ExitCode> {
    let Run {
        what,
        mut targets,
        duration,
        max_events,
        ring,
        interval,
        outputs: wanted,
        dataset,
        filter,
        view,
    } = run;
    let defaults = Limits::default();
    let (spec, limits, of_file) = match what {
        What::Spec(spec) => {
            let limits = (duration, max_events, ring, Budget::default());
            (spec, limits, (None, ViewArgs::default()))
        }
        What::File(file) => {
            let job = job::read(&file)?;
            if targets.is_empty() && job.selects_pods {
                let file = file.display();
                let message = format!(
                    "{file} selects pods, which requires a cluster; on a single host add --pid, --container, --cgroup, -- CMD or --host"
                );
                return Err(Usage(message).into());
            }
            (
                job.spec,
                (
                    duration.or(job.duration),
                    max_events.or(job.max_events),
                    ring.or(job.ring_bytes),
                    job.budget,
                ),
                (job.filter, job.view),
            )
        }
    };
    if targets.is_empty() {
        return Err(engine::Error::NothingSelected.into());
    }
    let filter = filter.or(of_file.0);
    let filters = filters("--where", filter.as_deref(), &spec)?;
    // The command is started last, when everything else is in place.
    targets.sort_by_key(|target| matches!(target, Selector::Command(_)));
    let (duration, max_events, ring, budget) = limits;
    let limits = Limits {
        duration,
        max_events,
        ring_bytes: ring.unwrap_or(defaults.ring_bytes),
        interval: interval.unwrap_or(defaults.interval),
        budget,
        ..defaults
    };
    let title = title(&targets);
    let command = targets
        .iter()
        .any(|target| matches!(target, Selector::Command(_)));
    let scene = |datasets| Scene {
        tracer: spec.tracer().name(),
        datasets,
        dataset: dataset.as_deref(),
        view: view.clone(),
        usual_view: of_file.1.clone(),
        command,
        intervals: interval.is_some(),
        title: title.clone(),
    };
    let limit = limits.duration;
    let signals = Signals::watch()?;
    let (feed, outputs) = match agent {
        None => {
            let datasets = spec.plan().datasets;
            let outputs = output::open(&wanted, &scene(Shape::of(&datasets)))?;
            if command && output::to_pipe(&wanted) {
                // What the command prints must not end up between the rows that a program reads.
                rustix::stdio::dup2_stdout(stdio::stderr())
                    .context("cannot redirect the command's output to standard error")?;
            }
            let request = Request {
                filters,
                bounds: Bounds::NONE,
                limits,
                ..Request::new(spec.clone(), targets.into_iter().map(Into::into).collect())
            };
            let trace = Trace::start(request, &Kernel::read()?)?;
            let stopper = trace.handle();
            signals.first(move || stopper.stop());
            (Box::new(trace) as Box<dyn Feed>, outputs)
        }
        Some(address) => {
            let request = remote::spec(&spec, &targets, &limits, filter.as_deref())?;
            let trace = remote::Trace::start(Agent::connect(address)?, request)?;
            let stopper = trace.stopper();
            signals.first(move || stopper.stop());
            // The agent determines the columns. If an output cannot be opened, the trace ends with the call.
            let outputs = output::open(&wanted, &scene(Shape::of_schema(trace.schema())))?;
            (Box::new(trace) as Box<dyn Feed>, outputs)
        }
    };
    show(
        feed,
        outputs,
        spec.tracer().name(),
        limit,
        output::is_json(&wanted),
    )
}

/// Returns the targets of a trace in a few words.
fn title(targets: &[Selector]) -> String {
    let words = targets.iter().map(|target| match target {
        Selector::Process(pid) => format!("process {pid}"),
        Selector::Cgroup(path) => format!("cgroup {}", escaped(path.as_os_str().as_bytes())),
        Selector::Container(id) | Selector::PodContainer(_, id) => {
            format!("container {}", escaped(id.as_bytes()))
        }
        Selector::Command(words) => {
            let words: Vec<String> = words.iter().map(|word| escaped(word.as_bytes())).collect();
            words.join(" ")
        }
        Selector::Host => "host".to_owned(),
        Selector::ProcessSince(pid, _) => format!("process {pid}"),
        Selector::Pod(uid) => format!("pod {}", escaped(uid.as_bytes())),
    });
    words.collect::<Vec<_>>().join(", ")
}

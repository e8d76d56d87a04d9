//! `run` and `attach`: rows of a job, from its creation to its account.

use super::{
    args::{Run, View},
    create::{self, selector_text},
};
use crate::{
    command::signals::Signals,
    show::{
        output::{self, Scene},
        shape::Shape,
        show,
        view::ViewArgs,
    },
    source::cluster::{
        access::{Access, Cluster},
        error::Error,
        job::{Job, Object},
        stream::Query,
        watch::{How, Stopper, Watch},
    },
    usage::Usage,
};
use anyhow::Result;
use serde_json::json;
use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};
use tracers::{Column, Erased, Form, LABELS, Role, labels};

/// Creates a job, shows its rows, and deletes it.
pub(super) fn run(requested: Run, access: &Access) -> Result<ExitCode> {
    let cluster = Arc::new(Cluster::connect(access)?);
    let object = create::object(&requested, access, &cluster.namespace)?;
    check(&requested.view, object.spec().tracer.tracer())?;
    let signals = Signals::watch()?;
    let json = output::is_json(&requested.view.outputs);
    let job = cluster.create(&object)?;
    let how = match requested.keep {
        true => How::Suspend,
        false => How::Delete,
    };
    let stopper = Stopper::new(&cluster, &job.name, how);
    let first = stopper.clone();
    signals.first(move || first.stop());
    print_created(&job, &object, json);
    let shown = follow(&cluster, &job, requested.view, stopper);
    if !requested.keep {
        match cluster.delete(&job.name) {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => print_line(&format!(
                "warning: {} was not deleted: {error}",
                job.name.object()
            )),
        }
    }
    shown
}

/// Shows the rows of an existing job.
pub(super) fn attach(word: &str, view: View, access: &Access) -> Result<ExitCode> {
    let cluster = Arc::new(Cluster::connect(access)?);
    let job = cluster.get(&cluster.named(word)?)?;
    check(&view, job.spec.tracer.tracer())?;
    let signals = Signals::watch()?;
    let stopper = Stopper::new(&cluster, &job.name, How::Detach);
    let first = stopper.clone();
    signals.first(move || first.stop());
    follow(&cluster, &job, view, stopper)
}

/// Shows a job's stream until its end.
fn follow(cluster: &Arc<Cluster>, job: &Job, view: View, stopper: Stopper) -> Result<ExitCode> {
    let View {
        outputs: wanted,
        interval,
        by,
        nodes,
        dataset,
        rows,
    } = view;
    let query = Query {
        interval,
        by,
        nodes,
    };
    let tracer = job.spec.tracer.tracer().name();
    let watch = Watch::open(Arc::clone(cluster), job, query, stopper)?;
    let scene = Scene {
        tracer,
        datasets: Shape::of_schema(watch.schema()),
        dataset: dataset.as_deref(),
        view: rows,
        usual_view: ViewArgs::from(&job.spec.output),
        command: false,
        intervals: interval.is_some(),
        title: title(job),
    };
    let outputs = output::open(&wanted, &scene)?;
    let feed = Box::new(watch);
    show(feed, outputs, tracer, None, output::is_json(&wanted))
}

/// Checks the view before the job is created.
fn check(view: &View, tracer: &dyn Erased) -> Result<(), Usage> {
    if let Some(wanted) = &view.dataset {
        let datasets = tracer.datasets();
        let names: Vec<&str> = datasets.iter().map(|one| one.name).collect();
        output::dataset_number(tracer.name(), &names, wanted)?;
    }
    output::check_view(&view.outputs, &view.rows)?;
    check_rows(view, tracer)?;
    if view.by.is_empty() {
        return Ok(());
    }
    if tracer.source().form() != Form::Table {
        let name = tracer.name();
        let message =
            format!("--by requires a tracer with a table, and {name} reports single events");
        return Err(Usage(message));
    }
    let columns = LABELS.iter().cloned().chain(tracer.columns());
    let keys = columns.filter(|column| column.role == Role::Key);
    let keys: Vec<_> = keys.map(|column| column.name).collect();
    match view
        .by
        .iter()
        .find(|name| !keys.iter().any(|key| *key == **name))
    {
        None => Ok(()),
        Some(name) => Err(Usage(format!(
            "--by: {:?} is not a key column of {}; keys: {}",
            name,
            tracer.name(),
            keys.join(", ")
        ))),
    }
}

/// Checks names of columns by the catalogue.
fn check_rows(view: &View, tracer: &dyn Erased) -> Result<(), Usage> {
    let datasets = tracer.datasets();
    let columns: Vec<Vec<Column>> = { datasets.iter() }
        .map(|one| {
            labels(one.source.form())
                .chain(one.columns.clone())
                .collect()
        })
        .collect();
    let shapes = datasets.iter().zip(&columns).map(|(one, columns)| Shape {
        name: one.name,
        columns,
        form: one.source.form(),
    });
    let shapes: Vec<Shape<'_>> = shapes.collect();
    let only =
        { view.dataset.iter() }.find_map(|name| shapes.iter().position(|one| one.name == name));
    if let Some(main) = shapes.get(only.unwrap_or(0)) {
        view.rows.root_places(main).map_err(Usage)?;
    }
    view.rows.of(&shapes, only).map(drop).map_err(Usage)
}

/// Returns the targets of a job in a few words.
fn title(job: &Job) -> String {
    let mut words: Vec<String> = job.spec.pods.clone();
    words.extend(job.spec.selector.as_ref().map(selector_text));
    words.extend(job.namespaces.as_ref().map(selector_text));
    match (&job.name.namespace, job.host) {
        (_, true) => "host".to_owned(),
        (Some(namespace), _) if words.is_empty() => format!("pods of {namespace}"),
        (Some(namespace), _) => format!("{} of {namespace}", words.join(", ")),
        (None, _) if words.is_empty() => "pods".to_owned(),
        (None, _) => words.join(", "),
    }
}

fn print_created(job: &Job, object: &Object, json: bool) {
    let name = &job.name;
    print_line(&match json {
        true => {
            let kind = match object {
                Object::Job(_) => "TraceJob",
                Object::Cluster(_) => "ClusterTraceJob",
            };
            let created = json!({"kind": kind, "namespace": name.namespace, "name": name.name});
            json!({ "created": created }).to_string()
        }
        false => format!("{} created", name.object()),
    });
}

/// Prints a line on standard error. Errors are ignored: a closed standard error has no reader.
fn print_line(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

//! The command line. A tracer's flags come from its table of options: no tracer is known here by name.

mod command;

pub(crate) use command::{
    command, data, dataset_arg, examples, help_arg, interval, option_arg, output_arg, ring, styles,
    view_args, where_arg,
};

use crate::{
    command::{describe::flag, diff::Diff},
    show::{output::OutputArg, view::ViewArgs},
    source::remote::{Address, Files, Place},
    usage::{self, Usage},
};
use anyhow::Result;
use clap::{ArgMatches, parser::ValueSource};
use clap_complete::Shell;
use engine::Selector;
use std::{ffi::OsString, path::PathBuf, time::Duration};
use tracers::{Draft, OptKind, OptValue, Spec};

/// A parsed command line.
#[derive(Debug)]
pub(crate) struct CommandLine {
    pub(crate) action: Action,
    /// Agent that runs the command; `None` for this machine.
    pub(crate) agent: Option<Address>,
}

/// A command with its arguments.
#[derive(Debug)]
pub(crate) enum Action {
    /// `list`: the tracers, and whether they work.
    List {
        /// Whether to print JSON.
        json: bool,
    },
    /// `describe`: the details of a tracer.
    Describe {
        /// Name of the tracer.
        tracer: String,
        /// Whether to print JSON.
        json: bool,
    },
    /// `diff`: the difference of two profiles.
    Diff(Diff),
    /// `doctor`: what this machine lacks.
    Doctor {
        /// Whether to print JSON.
        json: bool,
    },
    /// `run`: a trace.
    Run(Box<Run>),
    /// `version`: the version, and hashes of kernel programs.
    Version {
        /// Whether to print JSON.
        json: bool,
    },
    /// `completions`: the script of a shell.
    Completions(Shell),
    /// `codegen`: the generated documentation.
    Codegen(PathBuf),
}

/// Arguments of `run`.
#[derive(Debug)]
pub(crate) struct Run {
    /// Tracer with its options.
    pub(crate) what: What,
    /// Targets of the trace.
    pub(crate) targets: Vec<Selector>,
    /// Bound that ends the trace.
    pub(crate) duration: Option<Duration>,
    /// Bound that ends the trace.
    pub(crate) max_events: Option<u64>,
    /// Size of the ring buffer in bytes.
    pub(crate) ring: Option<u32>,
    /// Time between two readings of a map.
    pub(crate) interval: Option<Duration>,
    /// Output formats and files.
    pub(crate) outputs: Vec<OutputArg>,
    /// Dataset to show; `None` for all that the output supports.
    pub(crate) dataset: Option<String>,
    /// The condition that rows must match.
    pub(crate) filter: Option<String>,
    /// Columns, order and number of rows.
    pub(crate) view: ViewArgs,
}

/// Source of the tracer and its options.
#[derive(Debug)]
pub(crate) enum What {
    /// The command line.
    Spec(Spec),
    /// A file with a TraceJob.
    File(PathBuf),
}

/// Parses the command line. Help is an error, which the caller prints.
pub(crate) fn parse(line: &[OsString]) -> Result<CommandLine> {
    let matches = command()
        .try_get_matches_from(line)
        .map_err(|error| usage::explain(error, line, &command()))?;
    let json = |matches: &ArgMatches| {
        matches
            .get_one::<String>("output")
            .is_some_and(|format| format == "json")
    };
    let action = match matches.subcommand() {
        Some(("list", m)) => Action::List { json: json(m) },
        Some(("describe", m)) => Action::Describe {
            tracer: string(m, "tracer"),
            json: json(m),
        },
        Some(("diff", m)) => Action::Diff(local_diff(m)?),
        Some(("doctor", m)) => Action::Doctor { json: json(m) },
        Some(("version", m)) => Action::Version { json: json(m) },
        Some(("run", m)) => Action::Run(Box::new(run(m)?)),
        Some(("completions", m)) => match m.get_one::<Shell>("shell") {
            Some(shell) => Action::Completions(*shell),
            None => return Err(Usage("completions requires a SHELL".to_owned()).into()),
        },
        Some(("codegen", m)) => {
            Action::Codegen(m.get_one::<PathBuf>("dir").cloned().unwrap_or_default())
        }
        _ => return Err(Usage("a command is required; see `tracejob --help`".to_owned()).into()),
    };
    let agent = match action {
        Action::Diff(_) => None,
        _ => agent(&matches)?,
    };
    Ok(CommandLine { action, agent })
}

/// Arguments of `diff` on this machine.
fn local_diff(m: &ArgMatches) -> Result<Diff, Usage> {
    // The variable TRACEJOB_AGENT applies to other commands.
    if m.value_source("agent") == Some(ValueSource::CommandLine) {
        let message = "diff reads files on this machine and has no option --agent";
        return Err(Usage(message.to_owned()));
    }
    Ok(diff_args(m))
}

/// Arguments of `diff`.
pub(crate) fn diff_args(m: &ArgMatches) -> Diff {
    let path = |id| m.get_one::<PathBuf>(id).cloned().unwrap_or_default();
    Diff {
        before: path("before"),
        after: path("after"),
        output: m.get_one("output").cloned(),
        top: m.get_one::<u32>("top").map(|top| *top as usize),
        sample: m.get_one("sample").cloned(),
    }
}

/// Returns the agent of `--agent`, for every command.
fn agent(matches: &ArgMatches) -> Result<Option<Address>> {
    let Some(place) = matches.get_one::<Place>("agent") else {
        return Ok(None);
    };
    let file = |id| matches.get_one::<PathBuf>(id).cloned();
    let files = Files {
        ca: file("agent-ca"),
        cert: file("agent-cert"),
        key: file("agent-key"),
    };
    Ok(Some(Address::new(place.clone(), files)?))
}

/// Returns the value of a required argument.
pub(crate) fn string(matches: &ArgMatches, id: &str) -> String {
    matches.get_one::<String>(id).cloned().unwrap_or_default()
}

fn run(matches: &ArgMatches) -> Result<Run> {
    let (what, m) = match matches.subcommand() {
        Some((name, m)) => (What::Spec(spec(name, m)?), m),
        None => match matches.get_one::<PathBuf>("file") {
            Some(file) => (What::File(file.clone()), matches),
            None => {
                let message = "run requires a tracer, or a file with a TraceJob (-f); `tracejob list` lists the tracers";
                return Err(Usage(message.to_owned()).into());
            }
        },
    };
    Ok(Run {
        what,
        targets: targets(m),
        duration: m.get_one("duration").copied(),
        max_events: m.get_one("max-events").copied(),
        ring: m.get_one("ring").copied(),
        interval: m.get_one("interval").copied(),
        outputs: m
            .get_many("output")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        dataset: m.get_one("dataset").cloned(),
        filter: m.get_one("where").cloned(),
        view: view(m),
    })
}

/// Columns, order and number of rows.
pub(crate) fn view(m: &ArgMatches) -> ViewArgs {
    let names = |id: &str| -> Vec<String> {
        let all = m.get_many::<String>(id);
        all.into_iter().flatten().cloned().collect()
    };
    ViewArgs {
        columns: names("columns"),
        sort: names("sort"),
        top: m.get_one::<u32>("top").map(|top| *top as usize),
        root: names("root"),
    }
}

/// Reads a tracer's options.
pub(crate) fn spec(name: &str, matches: &ArgMatches) -> Result<Spec> {
    let tracer = tracers::named(name)?;
    let mut draft = Draft::new(tracer);
    for option in tracer.options() {
        let value = match option.kind {
            OptKind::Flag(_) => matches
                .get_flag(option.name)
                .then_some(OptValue::Flag(true)),
            OptKind::Number(_)
            | OptKind::Duration(_)
            | OptKind::Size(_)
            | OptKind::Text(_)
            | OptKind::Choice(_)
            | OptKind::List(_) => matches.get_one(option.name).cloned(),
        };
        if let Some(value) = value {
            draft.set(option.name, value)?;
        }
    }
    draft
        .finish_with(|option| (name.to_owned(), flag(option)))
        .map_err(|error| Usage(error.to_string()).into())
}

fn targets(matches: &ArgMatches) -> Vec<Selector> {
    let mut out = Vec::new();
    out.extend(
        matches
            .get_many("pid")
            .into_iter()
            .flatten()
            .map(|pid: &u32| Selector::Process(*pid)),
    );
    out.extend(
        matches
            .get_many("cgroup")
            .into_iter()
            .flatten()
            .map(|path: &PathBuf| Selector::Cgroup(path.clone())),
    );
    out.extend(
        matches
            .get_many("container")
            .into_iter()
            .flatten()
            .map(|id: &String| Selector::Container(id.clone())),
    );
    if matches.get_flag("host") {
        out.push(Selector::Host);
    }
    let command: Vec<OsString> = matches
        .get_many("command")
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    if !command.is_empty() {
        out.push(Selector::Command(command));
    }
    out
}

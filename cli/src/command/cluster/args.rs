//! The parser of the plugin's command line.

use super::command::command;
use crate::{
    command::{
        args::{self, string},
        diff::Diff,
    },
    show::{output::OutputArg, view::ViewArgs},
    source::cluster::access::Access,
    usage::{self, Usage},
};
use anyhow::Result;
use clap::{ArgMatches, parser::ValueSource};
use clap_complete::Shell;
use crd::Selector;
use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, time::Duration};
use tracers::Spec;

/// A parsed command line, with its cluster.
#[derive(Debug)]
pub(super) struct CommandLine {
    pub(super) action: Action,
    pub(super) access: Access,
}

/// A command with its arguments.
#[derive(Debug)]
pub(super) enum Action {
    /// `run`: create a job and show its rows.
    Run(Box<Run>),
    /// `attach`: show the rows of a job.
    Attach {
        /// Name of the job, or of the tracer.
        job: String,
        /// Output options.
        view: View,
    },
    /// `list`: the jobs.
    List {
        /// Whether to print JSON.
        json: bool,
    },
    /// `describe`: the details of a job or a tracer.
    Describe {
        /// Name of the job, or of the tracer.
        what: String,
        /// Whether to print JSON.
        json: bool,
    },
    /// `delete`: delete jobs.
    Delete {
        /// Names of the jobs.
        jobs: Vec<String>,
    },
    /// `diff`: the difference of two profiles.
    Diff(Diff),
    /// `doctor`: what the cluster lacks.
    Doctor,
    /// `version`: the version.
    Version,
    /// `completion`: the script of a shell.
    Completion(Shell),
    /// `__complete`: candidates for the last word of a line.
    Candidates(Vec<OsString>),
}

/// Arguments of `run`.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) what: What,
    pub(super) select: Select,
    pub(super) max_nodes: Option<u32>,
    /// Duration in seconds.
    pub(super) duration: Option<u64>,
    pub(super) max_events: Option<u64>,
    pub(super) ring: Option<u32>,
    pub(super) name: Option<String>,
    /// The condition that rows must match.
    pub(super) filter: Option<String>,
    /// Whether the job is kept after its end.
    pub(super) keep: bool,
    pub(super) view: View,
}

/// Source of the tracer and its options.
#[derive(Debug)]
pub(super) enum What {
    /// The command line.
    Spec(Spec),
    /// A file with a job.
    File(PathBuf),
}

/// Targets and nodes of a job.
#[derive(Debug, Default)]
pub(super) struct Select {
    pub(super) pods: Option<Selector>,
    pub(super) names: Vec<String>,
    pub(super) containers: Vec<String>,
    pub(super) namespaces: Option<Selector>,
    pub(super) host: bool,
    pub(super) nodes: BTreeMap<String, String>,
}

/// Output options of `run` and `attach`.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) outputs: Vec<OutputArg>,
    pub(super) interval: Option<Duration>,
    pub(super) by: Vec<String>,
    pub(super) nodes: Vec<String>,
    /// Dataset to show; `None` for all that the output supports.
    pub(super) dataset: Option<String>,
    /// Columns, order and number of rows.
    pub(super) rows: ViewArgs,
}

/// Parses the command line. Help is an error, which the caller prints.
pub(super) fn parse(line: &[OsString]) -> Result<CommandLine> {
    let matches = command()
        .try_get_matches_from(line)
        .map_err(|error| usage::explain(error, line, &command()))?;
    let Some((name, m)) = matches.subcommand() else {
        let message = "a command is required; see `kubectl tracejob --help`";
        return Err(Usage(message.to_owned()).into());
    };
    let is_json = || {
        m.get_one::<String>("output")
            .is_some_and(|format| format == "json")
    };
    let action = match name {
        "run" => Action::Run(Box::new(run(m)?)),
        "attach" => Action::Attach {
            job: string(m, "job"),
            view: view(m),
        },
        "list" => Action::List { json: is_json() },
        "describe" => Action::Describe {
            what: string(m, "what"),
            json: is_json(),
        },
        "delete" => Action::Delete {
            jobs: many(m, "job"),
        },
        "diff" => Action::Diff(args::diff_args(m)),
        "doctor" => Action::Doctor,
        "completion" => match m.get_one::<Shell>("shell") {
            Some(shell) => Action::Completion(*shell),
            None => return Err(Usage("completion requires a SHELL".to_owned()).into()),
        },
        "__complete" => Action::Candidates(many(m, "words")),
        _ => Action::Version,
    };
    Ok(CommandLine {
        action,
        access: Access::read(innermost(&matches)),
    })
}

/// Returns the innermost matches: they contain the global flags at any position.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, inner)) => innermost(inner),
        None => matches,
    }
}

fn many<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Vec<T> {
    let values = matches.get_many::<T>(id);
    values.into_iter().flatten().cloned().collect()
}

fn run(matches: &ArgMatches) -> Result<Run> {
    let (what, m) = match matches.subcommand() {
        Some((name, m)) => {
            nothing_before(name, matches)?;
            (What::Spec(args::spec(name, m)?), m)
        }
        None => match matches.get_one::<PathBuf>("file") {
            Some(file) => (What::File(file.clone()), matches),
            None => {
                let message = "run requires a tracer, or a file with a job (-f); `kubectl tracejob run --help` lists the tracers";
                return Err(Usage(message.to_owned()).into());
            }
        },
    };
    let select = Select {
        pods: m.get_one("selector").cloned(),
        names: many(m, "pod"),
        containers: many(m, "container"),
        namespaces: m.get_one("namespace-selector").cloned(),
        host: m.get_flag("host"),
        nodes: m.get_one("node-selector").cloned().unwrap_or_default(),
    };
    Ok(Run {
        what,
        select,
        max_nodes: m.get_one("max-nodes").copied(),
        duration: m.get_one("duration").copied(),
        max_events: m.get_one("max-events").copied(),
        ring: m.get_one("ring").copied(),
        name: m.get_one("name").cloned(),
        filter: m.get_one("where").cloned(),
        keep: m.get_flag("keep"),
        view: view(m),
    })
}

/// Rejects flags before the tracer's name, except global ones: clap would ignore them.
fn nothing_before(tracer: &str, matches: &ArgMatches) -> Result<(), Usage> {
    let root = command();
    let run = root.find_subcommand("run");
    let mut own = run.into_iter().flat_map(|run| run.get_arguments());
    let text = own.find(|arg| {
        let id = arg.get_id().as_str();
        id != "help" && matches.value_source(id) == Some(ValueSource::CommandLine)
    });
    let Some(flag) = text.and_then(|arg| arg.get_long()) else {
        return Ok(());
    };
    Err(Usage(match flag {
        "file" => format!("{tracer} and -f FILE exclude each other: both select a tracer"),
        flag => {
            format!("--{flag} must follow the tracer: kubectl tracejob run {tracer} --{flag} …")
        }
    }))
}

fn view(m: &ArgMatches) -> View {
    View {
        outputs: many(m, "output"),
        interval: m.get_one("interval").copied(),
        by: many(m, "by"),
        nodes: many(m, "nodes"),
        dataset: m.get_one("dataset").cloned(),
        rows: args::view(m),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::output::Format;

    fn read(line: &[&str]) -> Result<CommandLine> {
        let line: Vec<OsString> = ["kubectl-tracejob"]
            .iter()
            .chain(line)
            .map(OsString::from)
            .collect();
        parse(&line)
    }

    /// Returns any tracer.
    fn tracer() -> &'static str {
        tracers::ALL[0].name()
    }

    #[test]
    fn a_run_has_tracer_selection_cluster_and_outputs() {
        let requested = read(&[
            "run",
            tracer(),
            "-n",
            "shop",
            "-l",
            "app=x",
            "--pod",
            "a",
            "--pod=b",
            "-c",
            "main",
            "--node-selector",
            "pool=web",
            "--max-nodes",
            "3",
            "--duration",
            "1m",
            "--max-events",
            "5",
            "--interval",
            "2s",
            "-o",
            "json",
            "--nodes",
            "n1,n2",
            "--name",
            "mine",
            "--keep",
        ])
        .unwrap();
        assert_eq!(requested.access.namespace.as_deref(), Some("shop"));
        let Action::Run(run) = requested.action else {
            panic!("{requested:?}");
        };
        assert_eq!(run.select.names, ["a", "b"]);
        assert_eq!(run.select.containers, ["main"]);
        assert_eq!(run.select.nodes["pool"], "web");
        assert_eq!(
            (run.duration, run.max_events, run.max_nodes),
            (Some(60), Some(5), Some(3))
        );
        assert_eq!(run.view.nodes, ["n1", "n2"]);
        assert_eq!(run.view.outputs[0].format, Format::Json);
        assert!(run.keep && run.name.as_deref() == Some("mine"));
    }

    #[test]
    fn flags_of_the_cluster_stand_anywhere() {
        for line in [
            &["-n", "shop", "list"][..],
            &["list", "-n", "shop"],
            &["run", tracer(), "-n", "shop"],
            &["run", "-n", "shop", tracer()],
        ] {
            let requested = read(line);
            let namespace = requested.map(|requested| requested.access.namespace);
            assert_eq!(namespace.unwrap().as_deref(), Some("shop"), "{line:?}");
        }
    }

    #[test]
    fn errors_have_a_correction() {
        let text = |line: &[&str]| format!("{:#}", read(line).unwrap_err());
        assert!(text(&["run"]).contains("run requires a tracer"));
        assert!(text(&["lst"]).contains("did you mean list?"));
        assert!(text(&["run", tracer(), "--duration", "1500ms"]).contains("whole seconds"));
        assert!(text(&["run", tracer(), "-l", "a in b"]).contains("invalid selector"));
        assert!(text(&["attach"]).contains("`kubectl tracejob attach --help`"));
        assert!(text(&["run", tracer(), "--pods", "x"]).contains("did you mean --pod?"));
        let before = text(&["run", "-l", "a=b", tracer()]);
        assert!(
            before.starts_with("--selector must follow the tracer"),
            "{before}"
        );
        assert!(text(&["run", "-f", "x", tracer()]).contains("exclude each other"));
        assert!(text(&["run", tracer(), "ls"]).contains("--pod or -l"));
    }
}

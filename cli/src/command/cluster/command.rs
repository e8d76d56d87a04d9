//! The definition of the plugin's command line.

use crate::{
    command::args::{
        data, dataset_arg, examples, help_arg, interval, option_arg, output_arg, ring, styles,
        view_args, where_arg,
    },
    command::diff,
    quantity,
    source::cluster::access,
};
use clap::{Arg, ArgAction, Command, builder::ValueParser, value_parser};
use clap_complete::Shell;
use std::{ffi::OsString, path::PathBuf};
use tracers::{Erased, Form};

use super::selector;

/// The plugin's name on the command line.
const BIN: &str = "kubectl tracejob";

/// Returns the definition of the command line, with every tracer.
pub(crate) fn command() -> Command {
    Command::new("kubectl-tracejob")
        .bin_name(BIN)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Shows what pods are doing in the kernel right now, on all their nodes.")
        .styles(styles())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .help_template("{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}")
        .args(access::args())
        .after_help(examples(&[
            (
                "kubectl tracejob doctor",
                "check the installation and your permissions",
            ),
            (
                "kubectl tracejob run TRACER -n shop -l app=checkout --duration 1m",
                "trace pods until the time is over",
            ),
            ("kubectl tracejob list -A", "list jobs"),
            (
                "kubectl tracejob attach NAME -o json",
                "show the rows of a job",
            ),
        ]))
        .subcommands([
            run(),
            attach(),
            list(),
            describe(),
            delete(),
            diff::command(&[
                ("kubectl tracejob diff before.pb.gz after.pb.gz", ""),
                (
                    "kubectl tracejob diff before.pb.gz after.pb.gz -o flamegraph=diff.svg",
                    "red grew, blue shrank",
                ),
            ]),
            Command::new("doctor")
                .about("Check the installation, your permissions and the tracers of each node"),
            completion(),
            candidates(),
            Command::new("version").about("Print the version"),
        ])
}

fn run() -> Command {
    let file = Arg::new("file")
        .short('f')
        .long("file")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("YAML file with a TraceJob or ClusterTraceJob; `-` is standard input");
    let mut command = Command::new("run")
        .about("Create a job, show its rows, and delete it")
        .override_usage(
            "kubectl tracejob run TRACER [OPTIONS]\n       kubectl tracejob run -f FILE [OPTIONS]",
        )
        .subcommand_value_name("TRACER")
        .subcommand_help_heading("Tracers")
        .disable_help_subcommand(true)
        .help_template("{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}")
        .arg(file);
    command = common(command);
    for tracer in tracers::ALL {
        command = command.subcommand(tracer_command(*tracer));
    }
    command.after_help(examples(&[
        (
            "kubectl tracejob run TRACER -n shop -l app=checkout",
            "pods by label",
        ),
        (
            "kubectl tracejob run TRACER --pod checkout-0 -o flamegraph=graph.svg",
            "a pod by name",
        ),
        (
            "kubectl tracejob run TRACER --host --node-selector kubernetes.io/arch=amd64 --max-nodes 3",
            "whole nodes",
        ),
        ("kubectl tracejob run -f job.yaml --keep", "a job from a file"),
        (
            "kubectl tracejob run TRACER --where 'comm == nginx' --sort -COLUMN --top 20",
            "only these rows",
        ),
    ]))
}

fn tracer_command(tracer: &'static dyn Erased) -> Command {
    let name = tracer.name();
    let (first, rest) = tracer
        .about()
        .split_once('\n')
        .unwrap_or((tracer.about(), ""));
    let mut command = Command::new(name)
        .about(first.trim_end_matches('.').to_owned())
        .before_help(rest.to_owned())
        .override_usage(format!("kubectl tracejob run {name} [OPTIONS]"))
        .help_template(match rest {
            "" => "{about}\n\n{usage-heading} {usage}\n\n{all-args}",
            _ => "{about}\n{before-help}{usage-heading} {usage}\n\n{all-args}",
        });
    for option in tracer.options() {
        command = command.arg(option_arg(option).help_heading(format!("Options of {name}")));
    }
    common(command).mut_arg("ring", |arg| {
        arg.hide(tracer.source().form() == Form::Table)
    })
}

/// Adds the flags of all tracers.
fn common(command: Command) -> Command {
    command
        .disable_help_flag(true)
        .args(
            selection()
                .map(|arg| arg.help_heading("Selection (default: every pod of the namespace)")),
        )
        .args(bounds().map(|arg| arg.help_heading("Bounds")))
        .args(object().map(|arg| arg.help_heading("Job")))
        .arg(where_arg())
        .args(view())
        .arg(help_arg())
}

fn selection() -> [Arg; 6] {
    [
        Arg::new("selector")
            .short('l')
            .long("selector")
            .value_name("SELECTOR")
            .value_parser(ValueParser::from(selector::parse))
            .help("Select pods by label: app=checkout,tier in (a,b),!canary"),
        Arg::new("pod")
            .long("pod")
            .value_name("NAME")
            .action(ArgAction::Append)
            .help("Select a pod by name; repeatable"),
        Arg::new("container")
            .short('c')
            .long("container")
            .value_name("NAME")
            .action(ArgAction::Append)
            .help("Select only containers with this name; repeatable"),
        Arg::new("namespace-selector")
            .long("namespace-selector")
            .value_name("SELECTOR")
            .value_parser(ValueParser::from(selector::parse))
            .help("Select pods in all namespaces with these labels; creates a ClusterTraceJob, as -A does"),
        Arg::new("host")
            .long("host")
            .action(ArgAction::SetTrue)
            .help("Trace every process on the nodes, if their policy allows it; creates a ClusterTraceJob"),
        Arg::new("node-selector")
            .long("node-selector")
            .value_name("LABELS")
            .value_parser(ValueParser::from(selector::labels))
            .help("Select only nodes with these labels: pool=web,zone=a"),
    ]
}

fn bounds() -> [Arg; 4] {
    [
        Arg::new("max-nodes")
            .long("max-nodes")
            .value_name("N")
            .value_parser(value_parser!(u32).range(1..))
            .help("Run on at most N nodes"),
        Arg::new("duration")
            .long("duration")
            .value_name("TIME")
            .value_parser(ValueParser::from(seconds))
            .help("End the job after this time [default: 5m]"),
        Arg::new("max-events")
            .long("max-events")
            .value_name("N")
            .value_parser(value_parser!(u64).range(1..))
            .help("End the job on each node after N events there"),
        Arg::new("ring")
            .long("ring")
            .value_name("SIZE")
            .value_parser(ValueParser::from(ring))
            .help("Size of the ring buffer on each node [default: 2MiB]"),
    ]
}

fn object() -> [Arg; 2] {
    [
        Arg::new("name")
            .long("name")
            .value_name("NAME")
            .help("Name of the job [default: the tracer's name and a random suffix]"),
        Arg::new("keep")
            .long("keep")
            .action(ArgAction::SetTrue)
            .help("Keep the job after its end; Ctrl-C suspends it"),
    ]
}

/// Returns the flags of reading and output.
fn view() -> Vec<Arg> {
    let names = |id: &'static str| {
        Arg::new(id)
            .long(id)
            .value_delimiter(',')
            .action(ArgAction::Append)
            .help_heading("Output")
    };
    let mut all = vec![
        output_arg(),
        Arg::new("interval")
            .long("interval")
            .value_name("TIME")
            .value_parser(ValueParser::from(interval))
            .help_heading("Output")
            .help("Time between two readings of counts [default: 1s]"),
        names("by")
            .value_name("COLUMN,…")
            .help("Group the rows of a table by these columns"),
        names("nodes")
            .value_name("NODE,…")
            .help("Show only rows from these nodes"),
        dataset_arg(),
    ];
    all.extend(view_args());
    all
}

fn attach() -> Command {
    Command::new("attach")
        .about("Show the rows of an existing job; Ctrl-C detaches and the job continues")
        .arg(job().required(true))
        .args(view())
        .disable_help_flag(true)
        .arg(help_arg())
        .after_help(examples(&[
            ("kubectl tracejob attach checkout-db -n shop", ""),
            (
                "kubectl tracejob attach checkout-db --columns pod,comm,+cgroup",
                "these columns",
            ),
            (
                "kubectl tracejob attach ctj/leak-hunt -o json",
                "a ClusterTraceJob",
            ),
        ]))
}

fn list() -> Command {
    data(Command::new("list"), "the objects")
        .about("List jobs with their state and counts")
        .after_help(examples(&[
            ("kubectl tracejob list -n shop", ""),
            (
                "kubectl tracejob list -A",
                "TraceJobs of all namespaces, and ClusterTraceJobs",
            ),
        ]))
}

fn describe() -> Command {
    let what = Arg::new("what")
        .value_name("NAME|TRACER")
        .required(true)
        .help("Name of a job; or of a tracer, if no job has that name");
    data(Command::new("describe"), "the object")
        .about("Show a job in detail: specification, status and results")
        .arg(what)
}

fn delete() -> Command {
    Command::new("delete")
        .about("Stop and delete jobs")
        .arg(job().num_args(1..).required(true))
}

fn job() -> Arg {
    Arg::new("job")
        .value_name("NAME")
        .help("Name of a TraceJob; ctj/NAME is a ClusterTraceJob")
}

fn completion() -> Command {
    let shell = Arg::new("shell")
        .value_name("SHELL")
        .required(true)
        .value_parser(value_parser!(Shell));
    Command::new("completion")
        .about("Print the completion script of kubectl-tracejob for a shell")
        .arg(shell)
        .after_help(examples(&[(
            "ln -s $(command -v kubectl-tracejob) ~/bin/kubectl_complete-tracejob",
            "enable completion of `kubectl tracejob`",
        )]))
}

fn candidates() -> Command {
    let words = Arg::new("words")
        .num_args(0..)
        .allow_hyphen_values(true)
        .trailing_var_arg(true)
        .value_parser(value_parser!(OsString));
    Command::new("__complete")
        .about("Complete the last word of a command line")
        .hide(true)
        .disable_help_flag(true)
        .arg(words)
}

/// Parses a duration of whole seconds, the resolution of a job's deadline.
fn seconds(text: &str) -> Result<u64, String> {
    let time = quantity::duration(text)?;
    match time.subsec_nanos() {
        0 => Ok(time.as_secs()),
        _ => Err("the duration of a job must be in whole seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_stands_for_two_things() {
        command().debug_assert();
    }
}

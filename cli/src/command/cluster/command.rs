//! The description of the plugin's command line.

use crate::{
    command::args::{
        data, dataset_arg, examples, help_arg, interval, option_arg, output_arg, ring, styles,
        view_args, where_arg,
    },
    quantity,
    source::cluster::access,
};
use clap::{Arg, ArgAction, Command, builder::ValueParser, value_parser};
use clap_complete::Shell;
use std::{ffi::OsString, path::PathBuf};
use tracers::{Erased, Form};

use super::selector;

/// How its commands are typed.
const BIN: &str = "kubectl tracejob";

/// The whole command line, with every tracer.
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
                "whether it is installed, and what you may do",
            ),
            (
                "kubectl tracejob run TRACER -n shop -l app=checkout --duration 1m",
                "pods, as long as it runs",
            ),
            ("kubectl tracejob list -A", "jobs that there are"),
            (
                "kubectl tracejob attach NAME -o json",
                "rows of one of them",
            ),
        ]))
        .subcommands([
            run(),
            attach(),
            list(),
            describe(),
            delete(),
            Command::new("doctor")
                .about("What tracing needs of the cluster and of you: ok, or what to do"),
            completion(),
            candidates(),
            Command::new("version").about("The version"),
        ])
}

fn run() -> Command {
    let file = Arg::new("file")
        .short('f')
        .long("file")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("A TraceJob or ClusterTraceJob in YAML; `-` is standard input");
    let mut command = Command::new("run")
        .about("Makes a job, shows what it sees, and deletes it")
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
            "pods by their labels",
        ),
        (
            "kubectl tracejob run TRACER --pod checkout-0 -o flamegraph=graph.svg",
            "a pod by its name",
        ),
        (
            "kubectl tracejob run TRACER --host --node-selector kubernetes.io/arch=amd64 --max-nodes 3",
            "whole nodes",
        ),
        ("kubectl tracejob run -f job.yaml --keep", "what a file says"),
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

/// What every run takes.
fn common(command: Command) -> Command {
    command
        .disable_help_flag(true)
        .args(selection().map(|arg| {
            arg.help_heading("Selection (every pod of the namespace where none is given)")
        }))
        .args(bounds().map(|arg| arg.help_heading("Bounds")))
        .args(object().map(|arg| arg.help_heading("The job")))
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
            .help("Pods by their labels: app=checkout,tier in (a,b),!canary"),
        Arg::new("pod")
            .long("pod")
            .value_name("NAME")
            .action(ArgAction::Append)
            .help("A pod by its name; more than once for several"),
        Arg::new("container")
            .short('c')
            .long("container")
            .value_name("NAME")
            .action(ArgAction::Append)
            .help("Only containers of this name; more than once for several"),
        Arg::new("namespace-selector")
            .long("namespace-selector")
            .value_name("SELECTOR")
            .value_parser(ValueParser::from(selector::parse))
            .help("Pods of all namespaces that have these labels: a ClusterTraceJob, as with -A"),
        Arg::new("host")
            .long("host")
            .action(ArgAction::SetTrue)
            .help("Everything on the nodes, where their policy allows that: a ClusterTraceJob"),
        Arg::new("node-selector")
            .long("node-selector")
            .value_name("LABELS")
            .value_parser(ValueParser::from(selector::labels))
            .help("Only on nodes with these labels: pool=web,zone=a"),
    ]
}

fn bounds() -> [Arg; 4] {
    [
        Arg::new("max-nodes")
            .long("max-nodes")
            .value_name("N")
            .value_parser(value_parser!(u32).range(1..))
            .help("On so many nodes at most"),
        Arg::new("duration")
            .long("duration")
            .value_name("TIME")
            .value_parser(ValueParser::from(seconds))
            .help("Ends the job: 30s, 5m [default: 5m]"),
        Arg::new("max-events")
            .long("max-events")
            .value_name("N")
            .value_parser(value_parser!(u64).range(1..))
            .help("Ends it on a node after so many events there"),
        Arg::new("ring")
            .long("ring")
            .value_name("SIZE")
            .value_parser(ValueParser::from(ring))
            .help("Room for events that wait to be read, on each node [default: 2MiB]"),
    ]
}

fn object() -> [Arg; 2] {
    [
        Arg::new("name")
            .long("name")
            .value_name("NAME")
            .help("Its name [default: the tracer's, with five letters more]"),
        Arg::new("keep")
            .long("keep")
            .action(ArgAction::SetTrue)
            .help("Does not delete it at the end; Ctrl-C suspends it"),
    ]
}

/// How rows are read and shown.
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
            .help("How often counts are read and shown [default: 1s]"),
        names("by")
            .value_name("COLUMN,…")
            .help("Of a tracer that counts: rows that differ in other keys than these are one"),
        names("nodes")
            .value_name("NODE,…")
            .help("Shows only rows of these nodes"),
        dataset_arg(),
    ];
    all.extend(view_args());
    all
}

fn attach() -> Command {
    Command::new("attach")
        .about("Shows what a job sees that is there already; Ctrl-C leaves it running")
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
        .about("Jobs: how far they are, and what they have seen")
        .after_help(examples(&[
            ("kubectl tracejob list -n shop", ""),
            (
                "kubectl tracejob list -A",
                "of all namespaces, and ClusterTraceJobs",
            ),
        ]))
}

fn describe() -> Command {
    let what = Arg::new("what")
        .value_name("NAME|TRACER")
        .required(true)
        .help("A job, or a tracer where no job has that name");
    data(Command::new("describe"), "the object")
        .about("All of a job: what it was to do, and what came of it")
        .arg(what)
}

fn delete() -> Command {
    Command::new("delete")
        .about("Ends jobs and deletes them")
        .arg(job().num_args(1..).required(true))
}

fn job() -> Arg {
    Arg::new("job")
        .value_name("NAME")
        .help("A TraceJob; of a ClusterTraceJob ctj/NAME")
}

fn completion() -> Command {
    let shell = Arg::new("shell")
        .value_name("SHELL")
        .required(true)
        .value_parser(value_parser!(Shell));
    Command::new("completion")
        .about("Completions of kubectl-tracejob for a shell, on standard output")
        .arg(shell)
        .after_help(examples(&[(
            "ln -s $(command -v kubectl-tracejob) ~/bin/kubectl_complete-tracejob",
            "completes `kubectl tracejob`, by kubectl's own completion",
        )]))
}

fn candidates() -> Command {
    let words = Arg::new("words")
        .num_args(0..)
        .allow_hyphen_values(true)
        .trailing_var_arg(true)
        .value_parser(value_parser!(OsString));
    Command::new("__complete")
        .about("What may stand in a line's last word")
        .hide(true)
        .disable_help_flag(true)
        .arg(words)
}

/// Whole seconds: a job knows no others.
fn seconds(text: &str) -> Result<u64, String> {
    let time = quantity::duration(text)?;
    match time.subsec_nanos() {
        0 => Ok(time.as_secs()),
        _ => Err("a job takes whole seconds".to_owned()),
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

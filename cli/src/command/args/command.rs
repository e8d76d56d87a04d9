//! The definition of the command line: source of `--help`, completions and the manual.

use crate::{command::diff, quantity, show::output::OutputArg, source::remote::Place};
use clap::{
    Arg, ArgAction, Command,
    builder::{
        PossibleValue, PossibleValuesParser, Styles, TypedValueParser, ValueParser,
        styling::{AnsiColor, Style},
    },
    value_parser,
};
use clap_complete::Shell;
use std::{ffi::OsString, path::PathBuf, time::Duration};
use tracers::{Erased, Form, Opt, OptKind, OptValue};

/// Returns the definition of the command line, with every tracer.
pub(crate) fn command() -> Command {
    Command::new("tracejob")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Shows what a process, a container or a host is doing in the kernel right now.")
        .styles(styles())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .help_template("{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}")
        .args(agent())
        .after_help(examples(&[
            (
                "tracejob list",
                "list tracers, and whether they work on this machine",
            ),
            (
                "tracejob describe TRACER",
                "show its options, columns, hooks and cost",
            ),
            (
                "tracejob run TRACER --pid 4242 --duration 30s",
                "trace a process, with its children",
            ),
            (
                "tracejob run TRACER -o json -- ls -l /etc",
                "trace a command, print JSON",
            ),
            (
                "tracejob run -f job.yaml --host",
                "run a TraceJob on this host",
            ),
            (
                "tracejob --agent URL list",
                "run any of these commands on an agent",
            ),
        ]))
        .subcommands([
            list(),
            describe(),
            diff::command(&[
                ("tracejob diff before.pb.gz after.pb.gz", ""),
                (
                    "tracejob diff before.pb.gz after.pb.gz -o flamegraph=diff.svg",
                    "red grew, blue shrank",
                ),
            ]),
            doctor(),
            run_command(),
            completions(),
            version(),
            codegen(),
        ])
}

/// Returns the flags that select an agent, for every command.
fn agent() -> [Arg; 4] {
    let file = |id: &'static str, env, help| {
        Arg::new(id)
            .long(id)
            .env(env)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(help)
    };
    let agent = Arg::new("agent")
        .long("agent")
        .env("TRACEJOB_AGENT")
        .value_name("URL")
        .value_parser(ValueParser::from(Place::parse))
        .help("Run the command on an agent: unix:///run/tracejob/agent.sock, https://HOST:PORT");
    [
        agent,
        file(
            "agent-ca",
            "TRACEJOB_AGENT_CA",
            "CA certificate of the agent, for https (PEM)",
        ),
        file(
            "agent-cert",
            "TRACEJOB_AGENT_CERT",
            "Client certificate, for https (PEM)",
        ),
        file(
            "agent-key",
            "TRACEJOB_AGENT_KEY",
            "Key of the client certificate, for https (PEM)",
        ),
    ]
    .map(|arg| arg.global(true).hide_env_values(true).help_heading("Agent"))
}

/// Returns the styles of help.
pub(crate) fn styles() -> Styles {
    Styles::plain()
        .header(Style::new().bold())
        .usage(Style::new().bold())
        .literal(Style::new().bold())
        .error(AnsiColor::Red.on_default())
}

fn list() -> Command {
    data(Command::new("list"), "the list")
        .about("List tracers, and whether they work on this machine")
        .after_help(examples(&[
            ("tracejob list", ""),
            (
                "tracejob list -o json | jq -r '.tracers[] | select(.supported) | .name'",
                "",
            ),
        ]))
}

fn describe() -> Command {
    let name = Arg::new("tracer")
        .value_name("TRACER")
        .required(true)
        .help("Name of a tracer, from `tracejob list`");
    data(Command::new("describe"), "the schema of rows and options")
        .about("Show the options, columns, hooks and cost of a tracer")
        .arg(name)
        .after_help(examples(&[
            ("tracejob describe TRACER", ""),
            (
                "tracejob describe TRACER -o json | jq '.columns[].name'",
                "",
            ),
        ]))
}

fn doctor() -> Command {
    data(Command::new("doctor"), "the checks")
        .about("Check what this machine lacks for tracing, and how to fix it")
        .after_help(examples(&[
            ("tracejob doctor", ""),
            ("sudo tracejob doctor", "check what root can trace"),
        ]))
}

fn version() -> Command {
    data(Command::new("version"), "version and hashes")
        .about("Print the version, and the SHA-256 of every kernel program")
        .after_help(examples(&[("tracejob version", "")]))
}

fn completions() -> Command {
    let shell = Arg::new("shell")
        .value_name("SHELL")
        .required(true)
        .value_parser(value_parser!(Shell));
    Command::new("completions")
        .about("Print the completion script of a shell")
        .arg(shell)
        .after_help(examples(&[
            ("source <(tracejob completions bash)", ""),
            ("tracejob completions zsh > ~/.zfunc/_tracejob", ""),
            (
                "tracejob completions fish > ~/.config/fish/completions/tracejob.fish",
                "",
            ),
        ]))
}

fn codegen() -> Command {
    let dir = Arg::new("dir")
        .value_name("DIR")
        .required(true)
        .value_parser(value_parser!(PathBuf));
    Command::new("codegen")
        .about("Write the documentation that is generated from the catalogue")
        .arg(dir)
        .hide(true)
}

/// Adds `-o json` to a command.
pub(crate) fn data(command: Command, what: &'static str) -> Command {
    command.arg(
        Arg::new("output")
            .short('o')
            .long("output")
            .value_name("FORMAT")
            .value_parser(["text", "json"])
            .hide_possible_values(true)
            .help(format!(
                "Output format: text, json ({what}) [default: text]"
            )),
    )
}

fn run_command() -> Command {
    let file = Arg::new("file")
        .short('f')
        .long("file")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("YAML file with a TraceJob; `-` is standard input");
    let mut command = Command::new("run")
        .about("Run a tracer and show its rows")
        .override_usage("tracejob run TRACER [OPTIONS] [-- COMMAND...]\n       tracejob run -f FILE [OPTIONS] [-- COMMAND...]")
        .subcommand_value_name("TRACER")
        .subcommand_help_heading("Tracers")
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
        .help_template("{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}")
        .arg(file);
    command = common(command);
    let mut shown = Vec::new();
    for tracer in tracers::ALL {
        shown.extend(tracer.examples().first().map(|line| {
            (
                format!("tracejob run {} {line}", tracer.name()),
                String::new(),
            )
        }));
        command = command.subcommand(tracer_command(*tracer));
    }
    let more = [
        "tracejob run -f examples/checkout.yaml --pid 4242",
        "tracejob run TRACER --host --where 'comm == nginx && pid != 1' --columns +cgroup,-tid",
        "tracejob run TRACER --host --duration 10s --sort -COLUMN --top 20 -o csv",
    ];
    shown.extend(more.map(|line| (line.to_owned(), String::new())));
    let shown: Vec<(&str, &str)> = shown
        .iter()
        .map(|(line, about)| (line.as_str(), about.as_str()))
        .collect();
    command.after_help(examples(&shown))
}

fn tracer_command(tracer: &'static dyn Erased) -> Command {
    let name = tracer.name();
    let (first, rest) = tracer
        .about()
        .split_once('\n')
        .unwrap_or((tracer.about(), ""));
    let lines: Vec<String> = tracer
        .examples()
        .iter()
        .map(|line| format!("tracejob run {name} {line}"))
        .collect();
    let shown: Vec<(&str, &str)> = lines.iter().map(|line| (line.as_str(), "")).collect();
    let mut command = Command::new(name)
        .about(first.trim_end_matches('.').to_owned())
        .before_help(rest.to_owned())
        .override_usage(format!("tracejob run {name} [OPTIONS] [-- COMMAND...]"))
        .help_template(match rest {
            "" => "{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}",
            _ => "{about}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}",
        })
        .after_help(examples(&shown));
    for option in tracer.options() {
        command = command.arg(option_arg(option).help_heading(format!("Options of {name}")));
    }
    let names: Vec<&str> = tracer.datasets().iter().map(|one| one.name).collect();
    common(command)
        .mut_arg("dataset", |arg| {
            arg.hide(names.len() == 1).value_parser(names)
        })
        .mut_arg("ring", |arg| {
            arg.hide(tracer.source().form() == Form::Table)
        })
}

/// Returns the flag `--dataset`.
pub(crate) fn dataset_arg() -> Arg {
    Arg::new("dataset")
        .long("dataset")
        .value_name("NAME")
        .help("Show only this dataset of the tracer")
        .help_heading("Output")
}

/// Returns the flag of a tracer's option.
pub(crate) fn option_arg(option: &'static Opt) -> Arg {
    let arg = Arg::new(option.name)
        .long(option.name.replace('_', "-"))
        .help(option.help());
    let form = option.kind.form();
    let value = || arg.clone().value_name(form.placeholder());
    match option.kind {
        OptKind::Flag(_) => arg.action(ArgAction::SetTrue),
        // Completions offer its words.
        OptKind::Choice(kind) => {
            let words = kind.words.iter();
            let words = words.map(|(word, about)| PossibleValue::new(*word).help(*about));
            value()
                .value_parser(PossibleValuesParser::new(words).map(OptValue::Text))
                .hide_possible_values(true)
        }
        OptKind::Number(_)
        | OptKind::Duration(_)
        | OptKind::Size(_)
        | OptKind::Text(_)
        | OptKind::List(_) => value().value_parser(ValueParser::from(move |text: &str| {
            option_value(option, text)
        })),
    }
}

/// Parses the value of an option's flag.
fn option_value(option: &Opt, text: &str) -> Result<OptValue, String> {
    let form = option.kind.form();
    let value = form.parse(text).filter(|value| form.fits(value));
    value.ok_or_else(|| match form.typed() {
        None => format!("expected {}", form.wanted()),
        Some(typed) => format!("expected {}, or {typed}", form.wanted()),
    })
}

/// Adds the flags of all tracers.
fn common(command: Command) -> Command {
    let selection = [
        Arg::new("pid")
            .long("pid")
            .value_name("PID")
            .action(ArgAction::Append)
            .value_parser(ValueParser::from(process))
            .help("Trace a process, with its threads and children"),
        Arg::new("container")
            .long("container")
            .value_name("ID")
            .action(ArgAction::Append)
            .help("Trace a container by its ID, or a unique prefix of the ID"),
        Arg::new("cgroup")
            .long("cgroup")
            .value_name("PATH")
            .action(ArgAction::Append)
            .value_parser(value_parser!(PathBuf))
            .help("Trace a cgroup and all cgroups below it"),
        Arg::new("host")
            .long("host")
            .action(ArgAction::SetTrue)
            .help("Trace every process on this host except tracejob"),
        Arg::new("command")
            .value_name("COMMAND")
            .num_args(1..)
            .last(true)
            .value_parser(value_parser!(OsString))
            .help("After `--`: command to start and trace, with its children"),
    ];
    let bounds = [
        Arg::new("duration")
            .long("duration")
            .value_name("TIME")
            .value_parser(quantity::duration)
            .help("End the trace after this time, such as 30s or 5m [default: until the targets exit, or Ctrl-C]"),
        Arg::new("max-events")
            .long("max-events")
            .value_name("N")
            .value_parser(value_parser!(u64).range(1..))
            .help("End the trace after N events"),
        Arg::new("interval")
            .long("interval")
            .value_name("TIME")
            .value_parser(ValueParser::from(interval))
            .help("Time between two readings of counts [default: 1s]"),
        Arg::new("ring")
            .long("ring")
            .value_name("SIZE")
            .value_parser(ValueParser::from(ring))
            .help("Size of the ring buffer [default: 2MiB]"),
    ];
    command
        .disable_help_flag(true)
        .args(selection.map(|arg| arg.help_heading("Selection (at least one; several add up)")))
        .args(bounds.map(|arg| arg.help_heading("Bounds")))
        .arg(where_arg())
        .args(view_args())
        .args([dataset_arg(), output_arg(), help_arg()])
}

/// Returns the flag `--where`.
pub(crate) fn where_arg() -> Arg {
    Arg::new("where")
        .long("where")
        .value_name("CONDITION")
        .help_heading("Output")
        .help("Show only matching rows: 'latency > 10ms && comm == \"nginx\"' (docs/filters.md)")
}

/// Returns the flags `--columns`, `--sort`, `--top` and `--root`.
pub(crate) fn view_args() -> [Arg; 4] {
    let names = |id: &'static str| {
        Arg::new(id)
            .long(id)
            .value_delimiter(',')
            .allow_hyphen_values(true)
            .action(ArgAction::Append)
            .help_heading("Output")
    };
    [
        names("columns").value_name("NAME,…").help(
            "Show these columns, in this order; +NAME adds a column to the default ones, -NAME hides one",
        ),
        names("sort")
            .value_name("NAME,…")
            .help("Sort the rows of a table by these columns; -NAME sorts in descending order"),
        Arg::new("top")
            .long("top")
            .value_name("N")
            .value_parser(value_parser!(u32).range(1..=100_000))
            .help_heading("Output")
            .help("Show the first N rows of a table"),
        names("root").value_name("NAME,…").allow_hyphen_values(false).help(
            "Put the values of these columns below the root of folded, flamegraph and pprof",
        ),
    ]
}

/// Returns the flag `--output`.
pub(crate) fn output_arg() -> Arg {
    Arg::new("output").short('o').long("output").value_name("FORMAT[=FILE]").action(ArgAction::Append)
        .value_parser(ValueParser::from(OutputArg::parse)).help_heading("Output")
        .help("Output format: table, wide, json, csv, folded, flamegraph=FILE, pprof=FILE; repeatable [default: table]")
}

/// Returns the flag `--help`, under the heading of output.
pub(crate) fn help_arg() -> Arg {
    Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::Help)
        .help_heading("Output")
        .help("Print help")
}

fn process(text: &str) -> Result<u32, String> {
    let wanted = || "a PID is a number from 1 to 2147483647".to_owned();
    text.parse()
        .ok()
        .filter(|pid| (1..=i32::MAX as u32).contains(pid))
        .ok_or_else(wanted)
}

/// Parses an interval.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    match quantity::duration(text)? {
        short if short < Duration::from_millis(100) => {
            Err("an interval must be at least 100ms".to_owned())
        }
        enough => Ok(enough),
    }
}

/// Parses the size of a ring buffer.
pub(crate) fn ring(text: &str) -> Result<u32, String> {
    match quantity::bytes(text)? {
        bytes @ 4096..=0x4000_0000 => Ok(bytes as u32),
        _ => Err("a ring must have 4KiB to 1GiB".to_owned()),
    }
}

/// Returns the section of examples, with aligned remarks.
pub(crate) fn examples(lines: &[(&str, &str)]) -> String {
    let bold = Style::new().bold();
    let width = lines
        .iter()
        .filter(|(_, about)| !about.is_empty())
        .map(|(line, _)| line.len())
        .max()
        .unwrap_or(0);
    let mut out = format!("{bold}Examples:{bold:#}\n");
    for (line, about) in lines {
        match about.is_empty() {
            true => out.push_str(&format!("  {line}\n")),
            false => out.push_str(&format!("  {line:width$}  {about}\n")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::{Literal, OptionValue, option};

    #[derive(Clone, Copy)]
    struct Way;
    impl option::Choice for Way {
        const WORDS: &'static [(&'static str, &'static str)] = &[("in", "Into."), ("out", "Out.")];
    }

    const fn opt(name: &'static str, kind: tracers::OptKind) -> Opt {
        Opt::of([name, name, name, "An option."], kind)
    }

    static OPTIONS: [Opt; 9] = [
        opt("on", bool::KIND),
        opt("port", u16::KIND)
            .range(Some(Literal::Number(1)), None)
            .required(),
        opt("min_ns", u64::KIND),
        opt("wait", option::Duration::KIND).range(None, Some(Literal::Text("10s"))),
        opt("size", option::Size::KIND),
        opt("name", option::Text::<4>::KIND),
        opt("way", Way::KIND),
        opt("ports", option::List::<u16, 2>::KIND),
        opt("waits", option::List::<option::Duration, 2>::KIND),
    ];

    /// Returns the value of the only flag of a line, or the error.
    fn given(line: &[&str]) -> Result<OptValue, String> {
        let command = Command::new("x").args(OPTIONS.iter().map(option_arg));
        let words = std::iter::once("x").chain(line.iter().copied());
        let matches = command.try_get_matches_from(words);
        let matches = matches.map_err(|error| error.to_string())?;
        let found = OPTIONS.iter().find_map(|option| match option.kind {
            OptKind::Flag(_) => matches
                .get_flag(option.name)
                .then_some(OptValue::Flag(true)),
            OptKind::Number(_)
            | OptKind::Duration(_)
            | OptKind::Size(_)
            | OptKind::Text(_)
            | OptKind::Choice(_)
            | OptKind::List(_) => matches.get_one::<OptValue>(option.name).cloned(),
        });
        Ok(found.unwrap())
    }

    #[test]
    fn a_flag_of_every_type_of_option_reads_its_value() {
        let number = OptValue::Number;
        let text = |text: &str| OptValue::Text(text.to_owned());
        for (line, value) in [
            (vec!["--on"], OptValue::Flag(true)),
            (vec!["--port", "443"], number(443)),
            (vec!["--min-ns", "1.5ms"], number(1_500_000)),
            (vec!["--min-ns", "7"], number(7)),
            (vec!["--wait", "1.5s"], number(1_500_000_000)),
            (vec!["--size", "64KiB"], number(65_536)),
            (vec!["--name", "a b"], text("a b")),
            (vec!["--name=-x"], text("-x")),
            (vec!["--way", "out"], text("out")),
            (
                vec!["--ports", "80,443"],
                OptValue::List(vec![number(80), number(443)]),
            ),
            (
                vec!["--waits", "1s,2us"],
                OptValue::List(vec![number(1_000_000_000), number(2_000)]),
            ),
        ] {
            assert_eq!(given(&line), Ok(value), "{line:?}");
        }
        for (line, message) in [
            (
                vec!["--port", "0"],
                "expected a whole number from 1 to 65535",
            ),
            (
                vec!["--min-ns", "1 s"],
                "from 0 to 18446744073709551615, or a time such as 10ms",
            ),
            (vec!["--wait", "10"], "a time with its unit"),
            (vec!["--wait", "1m"], "from 0s to 10s"),
            (vec!["--size", "64"], "a size with its unit"),
            (vec!["--name", "abcde"], "a text of at most 4 bytes"),
            (vec!["--way", "back"], "back"),
            (vec!["--ports", "1,2,3"], "a list of at most 2"),
            (vec!["--ports", "1,"], "a list of at most 2"),
        ] {
            let error = given(&line).unwrap_err();
            assert!(error.contains(message), "{line:?}: {error}");
        }
    }

    #[test]
    fn help_shows_what_every_type_takes() {
        for option in &OPTIONS {
            let arg = option_arg(option);
            let help = arg.get_help().unwrap().to_string();
            assert!(help.starts_with("An option."), "{help}");
            let names = arg.get_value_names().map(|names| names[0].to_string());
            let placeholder = option.kind.form().placeholder();
            assert_eq!(names.unwrap_or_default(), placeholder);
        }
    }
}

//! The manual page, from the same description as `--help`.

use crate::command::args::command;
use clap::{Arg, Command};
use roff::{Inline, Roff, bold, italic, line_break, roman};

/// Returns the manual page.
pub(crate) fn manual() -> String {
    let mut command = command();
    command.build();
    let mut page = Roff::new();
    page.control("TH", ["TRACEJOB", "1", "", "tracejob", "User Commands"]);
    page.control("SH", ["NAME"]);
    page.text([roman("tracejob - "), roman(lower(&about(&command)))]);
    page.control("SH", ["SYNOPSIS"]);
    for sub in shown(&command) {
        let usage = match sub.has_subcommands() {
            true => "TRACER [OPTIONS] [-- COMMAND...]".to_owned(),
            false => synopsis(sub),
        };
        page.text([
            bold(format!("tracejob {}", sub.get_name())),
            roman(" "),
            roman(usage),
            line_break(),
        ]);
    }
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "tracejob runs small programs in the kernel (eBPF) that observe processes, and shows their events as rows. \
         Each tracer observes one kind of event. Events that are not shown are counted, and the last line reports them by cause.",
    )]);
    page.control("SH", ["COMMANDS"]);
    for sub in shown(&command) {
        page.control("TP", []);
        page.text([bold(sub.get_name())]);
        page.text([roman(about(sub)), roman(".")]);
        arguments(&mut page, sub.get_arguments().filter(|arg| !is_help(arg)));
    }
    page.control("SH", ["TRACERS"]);
    for tracer in command
        .find_subcommand("run")
        .into_iter()
        .flat_map(|run| run.get_subcommands())
    {
        page.control("SS", [tracer.get_name()]);
        page.text([roman(
            tracer
                .get_long_about()
                .map(ToString::to_string)
                .unwrap_or_default()
                .replace('\n', " "),
        )]);
        let own = tracer.get_arguments().filter(|arg| {
            arg.get_help_heading()
                .is_some_and(|heading| heading.starts_with("Options of "))
        });
        for arg in own {
            argument(&mut page, arg);
        }
    }
    exit_status(&mut page);
    page.control("SH", ["EXAMPLES"]);
    for tracer in tracers::ALL {
        if let Some(example) = tracer.examples().first() {
            page.text([
                roman(format!("tracejob run {} {example}", tracer.name())),
                line_break(),
            ]);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("bpf"),
        roman("(2), "),
        bold("capabilities"),
        roman("(7)"),
    ]);
    page.render()
}

fn exit_status(page: &mut Roff) {
    page.control("SH", ["EXIT STATUS"]);
    let all = [
        ("0", "Success; the trace is complete."),
        ("1", "Error; the message is on standard error."),
        ("2", "Invalid command line or TraceJob."),
        (
            "3",
            "Some events were lost; the counts by stage are on standard error.",
        ),
    ];
    for (status, meaning) in all {
        page.control("TP", []);
        page.text([bold(status)]);
        page.text([roman(meaning)]);
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

fn about(command: &Command) -> String {
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    about.trim_end_matches('.').to_owned()
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

fn synopsis(command: &Command) -> String {
    let positionals = command
        .get_positionals()
        .filter_map(|arg| arg.get_value_names())
        .flatten();
    let words: Vec<String> = positionals.map(ToString::to_string).collect();
    let options = command
        .get_arguments()
        .any(|arg| !arg.is_positional() && !is_help(arg));
    [
        words.join(" "),
        if options {
            "[OPTIONS]".to_owned()
        } else {
            String::new()
        },
    ]
    .join(" ")
    .trim()
    .to_owned()
}

fn is_help(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

fn arguments<'a>(page: &mut Roff, args: impl Iterator<Item = &'a Arg>) {
    page.control("RS", []);
    for arg in args {
        argument(page, arg);
    }
    page.control("RE", []);
}

fn argument(page: &mut Roff, arg: &Arg) {
    if arg.is_hide_set() {
        return;
    }
    let mut head: Vec<Inline> = Vec::new();
    if let Some(short) = arg.get_short() {
        head.extend([bold(format!("-{short}")), roman(", ")]);
    }
    if let Some(long) = arg.get_long() {
        head.push(bold(format!("--{long}")));
    }
    if arg.is_positional() && arg.is_last_set() {
        head.push(bold("-- "));
    }
    let takes = arg.is_positional() || arg.get_action().takes_values();
    for name in arg
        .get_value_names()
        .into_iter()
        .flatten()
        .filter(|_| takes)
    {
        head.extend([roman(" "), italic(name.to_string())]);
    }
    page.control("TP", []);
    page.text(head);
    page.text([roman(
        arg.get_help().map(ToString::to_string).unwrap_or_default(),
    )]);
}

//! Usage errors: the mistake and the remedy.

use clap::{
    Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::{ffi::OsString, fmt};
use tracers::{Erased, find, named, nearest};

/// Error of an invalid command line; the exit status is 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Rewords an error of clap; `command` is the definition of the command line. Help is returned unchanged.
pub(crate) fn explain(error: Error, line: &[OsString], command: &Command) -> anyhow::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let program = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let words: Vec<&str> = line
        .iter()
        .skip(1)
        .filter_map(|word| word.to_str())
        .collect();
    // Options may stand before the command.
    let first = words
        .iter()
        .position(|word| command.find_subcommand(word).is_some());
    let words = words.get(first.unwrap_or(0)..).unwrap_or_default();
    let name = text(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let message = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return error.into();
        }
        ErrorKind::InvalidSubcommand => unknown_word(
            command,
            words,
            text(ContextKind::InvalidSubcommand).unwrap_or_default(),
        ),
        ErrorKind::UnknownArgument => unknown_argument(command, words, name.unwrap_or_default()),
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("{} \"{}\": {reason}", flag(name), value.escape_debug())
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{} requires a value", flag(name)),
        ErrorKind::InvalidValue => {
            let known = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(known)) => known.join(", "),
                _ => String::new(),
            };
            format!(
                "invalid value \"{}\" for {}; expected one of: {known}",
                value.escape_debug(),
                flag(name)
            )
        }
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<&str> = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(missing)) => {
                    missing.iter().map(String::as_str).collect()
                }
                _ => Vec::new(),
            };
            let missing = missing.join(" ").replace(['<', '>'], "");
            format!(
                "{} requires {missing}; see `{program} {} --help`",
                words.first().unwrap_or(&""),
                words.first().unwrap_or(&"")
            )
        }
        // The first line of clap's message, without its `error: `.
        _ => {
            let sentence = error.render().to_string();
            let first = sentence.lines().next().unwrap_or_default();
            first
                .strip_prefix("error: ")
                .unwrap_or(first)
                .replace('\'', "\"")
        }
    };
    Usage(message).into()
}

/// Returns the flag in clap's text: `--duration` of `--duration <TIME>`.
fn flag(shown: Option<&str>) -> &str {
    let shown = shown.unwrap_or("an argument");
    shown
        .split([' ', '='])
        .next()
        .unwrap_or(shown)
        .trim_matches(['<', '>'])
}

/// Returns the tracer of a `run` command.
fn tracer(words: &[&str]) -> Option<&'static dyn Erased> {
    let at = words.iter().position(|word| *word == "run")?;
    words[at + 1..]
        .iter()
        .take_while(|word| **word != "--")
        .find_map(|word| find(word))
}

fn unknown_word(command: &Command, words: &[&str], word: &str) -> String {
    let program = command.get_bin_name().unwrap_or_else(|| command.get_name());
    if words.first() == Some(&"run") {
        return match named(word) {
            Err(error) => error.to_string(),
            // The catalogue also accepts names in camel case.
            Ok(tracer) => format!("the command line uses the name {}", tracer.name()),
        };
    }
    let names = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name());
    let shown = word.escape_debug();
    match (nearest(word, names), find(word)) {
        (_, Some(tracer)) => format!("\"{shown}\" is a tracer: {program} run {}", tracer.name()),
        (Some(near), _) => format!("unknown command \"{shown}\"; did you mean {near}?"),
        (None, _) => format!("unknown command \"{shown}\"; `{program} --help` lists the commands"),
    }
}

fn unknown_argument(command: &Command, words: &[&str], argument: &str) -> String {
    let program = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let shown = argument.escape_debug();
    let place = words.first().and_then(|word| command.find_subcommand(word));
    let tracer = tracer(words);
    if !argument.starts_with('-') {
        return match (tracer, find(argument)) {
            (Some(tracer), Some(named)) if std::ptr::addr_eq(tracer, named) => {
                format!("the tracer comes first: {program} run {} …", tracer.name())
            }
            (Some(_), _) if !starts_commands(command) => {
                format!("unexpected \"{shown}\"; select pods with --pod or -l")
            }
            (Some(tracer), _) => {
                format!(
                    "unexpected \"{shown}\"; a command to trace follows `--`: {program} run {} -- {shown}",
                    tracer.name()
                )
            }
            (None, _) if words.first() == Some(&"run") => unknown_word(command, words, argument),
            (None, _) => format!(
                "unexpected \"{shown}\"; see `{program} {} --help`",
                words.first().unwrap_or(&"")
            ),
        };
    }
    let own: Vec<String> = tracer.map_or_else(Vec::new, |tracer| {
        tracer
            .options()
            .iter()
            .map(|option| format!("--{}", option.name.replace('_', "-")))
            .collect()
    });
    let general: Vec<String> = place
        .into_iter()
        .chain([command])
        .flat_map(|command| command.get_arguments())
        .filter_map(|arg| arg.get_long().map(|long| format!("--{long}")))
        .collect();
    let called = match (tracer, place) {
        (Some(tracer), _) => tracer.name().to_owned(),
        (None, Some(place)) => place.get_name().to_owned(),
        (None, None) => program.to_owned(),
    };
    let mut message = format!("{called} has no option {shown}");
    let mut all: Vec<&str> = own.iter().chain(&general).map(String::as_str).collect();
    all.dedup();
    if let Some(near) = nearest(argument, all.iter().copied()) {
        message.push_str(&format!("; did you mean {near}?"));
    }
    if tracer.is_some() {
        let listed = match own.is_empty() {
            true => "The tracer has no options".to_owned(),
            false => format!("Options: {}", own.join(", ")),
        };
        message.push_str(&format!(
            "\n       {listed}; `{program} run {called} --help` lists all flags."
        ));
    }
    message
}

/// Returns whether `run` accepts a command after `--`.
fn starts_commands(command: &Command) -> bool {
    let run = command.find_subcommand("run");
    run.is_some_and(|run| run.get_arguments().any(|arg| arg.get_id() == "command"))
}

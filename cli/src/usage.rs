//! Mistakes on the command line: what is wrong, and what would be right.

use crate::args::command;
use clap::{
    Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::{ffi::OsString, fmt};
use tracers::{Erased, Spec, find, nearest};

/// A command line that can never work; the exit status is 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Says it in this program's words. What is not a mistake (`--help`) stays as it is.
pub(crate) fn explain(error: Error, line: &[OsString]) -> anyhow::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let words: Vec<&str> = line
        .iter()
        .skip(1)
        .filter_map(|word| word.to_str())
        .collect();
    let name = text(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let message = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return error.into();
        }
        ErrorKind::InvalidSubcommand => unknown_word(
            &words,
            text(ContextKind::InvalidSubcommand).unwrap_or_default(),
        ),
        ErrorKind::UnknownArgument => unknown_argument(&words, name.unwrap_or_default()),
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("{} \"{}\": {reason}", flag(name), value.escape_debug())
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{} needs a value", flag(name)),
        ErrorKind::InvalidValue => {
            let known = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(known)) => known.join(", "),
                _ => String::new(),
            };
            format!(
                "{} cannot be \"{}\"; it is one of {known}",
                flag(name),
                value.escape_debug()
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
                "{} needs {missing}; `tracejob {} --help` tells more",
                words.first().unwrap_or(&""),
                words.first().unwrap_or(&"")
            )
        }
        // The first line of what clap says, without its `error: `.
        _ => {
            let said = error.render().to_string();
            let first = said.lines().next().unwrap_or_default();
            first
                .strip_prefix("error: ")
                .unwrap_or(first)
                .replace('\'', "\"")
        }
    };
    Usage(message).into()
}

/// `--duration <TIME>` as it is typed.
fn flag(shown: Option<&str>) -> &str {
    let shown = shown.unwrap_or("an argument");
    shown
        .split([' ', '='])
        .next()
        .unwrap_or(shown)
        .trim_matches(['<', '>'])
}

/// The tracer that is to run.
fn tracer(words: &[&str]) -> Option<&'static dyn Erased> {
    let at = words.iter().position(|word| *word == "run")?;
    words[at + 1..]
        .iter()
        .take_while(|word| **word != "--")
        .find_map(|word| find(word))
}

fn unknown_word(words: &[&str], word: &str) -> String {
    if words.first() == Some(&"run") {
        return match Spec::new(word) {
            Err(error) => error.to_string(),
            // `find` knows names that are no command.
            Ok(spec) => format!(
                "on the command line this tracer is called {}",
                spec.tracer().name()
            ),
        };
    }
    let command = command();
    let names = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name());
    let shown = word.escape_debug();
    match (nearest(word, names), find(word)) {
        (_, Some(tracer)) => format!("\"{shown}\" is a tracer: tracejob run {}", tracer.name()),
        (Some(near), _) => format!("no command is called \"{shown}\"; did you mean {near}?"),
        (None, _) => format!("no command is called \"{shown}\"; `tracejob --help` shows them"),
    }
}

fn unknown_argument(words: &[&str], argument: &str) -> String {
    let shown = argument.escape_debug();
    let command = command();
    let place = words.first().and_then(|word| command.find_subcommand(word));
    let tracer = tracer(words);
    if !argument.starts_with('-') {
        return match (tracer, find(argument)) {
            (Some(tracer), Some(named)) if std::ptr::addr_eq(tracer, named) => {
                format!("name the tracer first: tracejob run {} …", tracer.name())
            }
            (Some(tracer), _) => {
                format!(
                    "unexpected \"{shown}\"; a command to trace goes behind `--`: tracejob run {} -- {shown}",
                    tracer.name()
                )
            }
            (None, _) if words.first() == Some(&"run") => unknown_word(words, argument),
            (None, _) => format!(
                "unexpected \"{shown}\"; `tracejob {} --help` tells more",
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
        .flat_map(|command| command.get_arguments())
        .filter_map(|arg| arg.get_long().map(|long| format!("--{long}")))
        .collect();
    let called = match (tracer, place) {
        (Some(tracer), _) => tracer.name().to_owned(),
        (None, Some(place)) => place.get_name().to_owned(),
        (None, None) => "tracejob".to_owned(),
    };
    let mut message = format!("{called} has no option {shown}");
    let mut all: Vec<&str> = own.iter().chain(&general).map(String::as_str).collect();
    all.dedup();
    if let Some(near) = nearest(argument, all.iter().copied()) {
        message.push_str(&format!("; did you mean {near}?"));
    }
    if tracer.is_some() {
        let listed = match own.is_empty() {
            true => "It has none of its own".to_owned(),
            false => format!("Its own: {}", own.join(", ")),
        };
        message.push_str(&format!(
            "\n       {listed}; `tracejob run {called} --help` shows all."
        ));
    }
    message
}

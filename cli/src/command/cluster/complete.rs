//! Completions: scripts for the program by its own name, and candidates for kubectl's.
//!
//! kubectl runs `kubectl_complete-tracejob WORD…` for a line that begins with `kubectl tracejob`, and takes lines of candidates with a
//! last line `:DIRECTIVE` (cobra's ShellCompDirective: 4 is no files).

use super::command::command;
use anyhow::Result;
use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;
use std::{
    ffi::OsString,
    io::{self, Write},
};

/// Cobra's directive "no file completion".
const NO_FILES: &str = ":4";
/// Cobra's default directive, with file completion.
const FILES: &str = ":0";

/// Returns the completion script of a shell.
pub(crate) fn script(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    let mut command = command();
    command.set_bin_name("kubectl-tracejob");
    clap_complete::generate(shell, &mut command, "kubectl-tracejob", &mut out);
    out
}

/// Prints candidates for the last word.
pub(super) fn complete(words: &[OsString]) -> Result<()> {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let text = candidates(&words);
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn candidates(words: &[String]) -> String {
    let Some((last, before)) = words.split_last() else {
        return format!("{NO_FILES}\n");
    };
    let root = command();
    let mut place = &root;
    let mut within = vec![&root];
    let mut value_of = None;
    for word in before {
        value_of = match word.strip_prefix('-') {
            Some(_) => flag(&within, word).filter(|arg| takes_value(arg)),
            None => None,
        };
        if let Some(inner) = place.find_subcommand(word) {
            place = inner;
            within.push(inner);
        }
    }
    let (mut found, directive) = match value_of {
        Some(arg) => values(arg),
        None if last.starts_with('-') => (flags(&within), NO_FILES),
        None => (subcommands(place), positional_directive(place)),
    };
    found.retain(|(word, _)| word.starts_with(last.as_str()));
    let lines = found
        .iter()
        .map(|(word, about)| format!("{word}\t{about}\n"));
    format!("{}{directive}\n", lines.collect::<String>())
}

/// Returns the flag that a word names, in any of the commands.
fn flag<'a>(within: &[&'a Command], word: &str) -> Option<&'a Arg> {
    let mut args = within.iter().flat_map(|command| command.get_arguments());
    args.find(|arg| match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => word.strip_prefix('-').is_some_and(|short| {
            let mut letters = short.chars();
            letters.next() == arg.get_short() && letters.next().is_none() && !short.is_empty()
        }),
    })
}

/// Returns the directive for arguments without a flag.
fn positional_directive(place: &Command) -> &'static str {
    let files = |arg: &Arg| arg.get_value_hint() == ValueHint::FilePath;
    match place.get_positionals().any(files) {
        true => FILES,
        false => NO_FILES,
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn values(arg: &Arg) -> (Vec<(String, String)>, &'static str) {
    let known = arg.get_possible_values();
    let found = known.iter().map(|value| {
        let about = value.get_help().map(ToString::to_string);
        (value.get_name().to_owned(), about.unwrap_or_default())
    });
    let names = arg.get_value_names().unwrap_or_default();
    match names.iter().any(|name| name.contains("FILE")) {
        true => (found.collect(), FILES),
        false => (found.collect(), NO_FILES),
    }
}

fn flags(within: &[&Command]) -> Vec<(String, String)> {
    let args = within.iter().enumerate().flat_map(|(at, command)| {
        // Those of the outer ones hold where they are for every command.
        let inner = at + 1 == within.len();
        command
            .get_arguments()
            .filter(move |arg| inner || arg.is_global_set())
    });
    args.filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| {
            let long = arg.get_long()?;
            let about = arg.get_help().map(ToString::to_string);
            Some((format!("--{long}"), about.unwrap_or_default()))
        })
        .collect()
}

fn subcommands(place: &Command) -> Vec<(String, String)> {
    place
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| {
            let about = command.get_about().map(ToString::to_string);
            (command.get_name().to_owned(), about.unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &[&str]) -> Vec<String> {
        let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        let text = candidates(&words);
        let lines = text.lines();
        lines
            .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn commands_tracers_and_flags_are_candidates() {
        assert_eq!(of(&["de"]), ["describe", "delete", ":4"]);
        let all = of(&["run", ""]);
        assert_eq!(all.len(), tracers::ALL.len() + 1);
        let tracer = tracers::ALL[0].name();
        let flags = of(&["run", tracer, "--ma"]);
        assert_eq!(flags, ["--max-nodes", "--max-events", ":4"]);
        assert_eq!(
            of(&["-n", "shop", "attach", "--inter"]),
            ["--interval", ":4"]
        );
        assert_eq!(of(&["list", "--namesp"]), ["--namespace", ":4"]);
        assert_eq!(of(&["list", "-o", ""]), ["text", "json", ":4"]);
        assert_eq!(of(&["run", "-f", ""]), [":0"]);
        assert_eq!(of(&["diff", ""]), [":0"]);
        assert_eq!(of(&[]), [":4"]);
    }

    #[test]
    fn every_shell_has_its_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(script(shell)).unwrap();
            assert!(text.contains("kubectl-tracejob"), "{shell}");
        }
    }
}

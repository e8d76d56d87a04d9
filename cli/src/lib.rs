//! The command line programs `tracejob` and `kubectl tracejob`.
//!
//! They contain no code for single tracers: the kinds and roles of columns decide how rows are shown.
//! They are a library only for the fuzz targets.
#![forbid(unsafe_code)]

mod command;
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod quantity;
mod show;
mod source;
mod usage;

use anyhow::Result;
use command::{
    args::{self, Action, CommandLine},
    cluster, codegen, describe, diff, doctor, list, run, version,
};
use engine::Reason;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use show::{screen, text::wrap_lines};
use source::{cluster as cluster_source, remote};
use std::{
    env,
    ffi::OsString,
    io::{self, ErrorKind, IsTerminal, Write},
    process::ExitCode,
};

/// Exit status of an invalid command line.
const USAGE: u8 = 2;

/// Runs the program.
pub fn main() -> ExitCode {
    // Stacks are symbolised, and commands started, by this program as another process without privileges.
    // That one must not get as far as reading a command line.
    engine::worker_if_asked();
    close_memory();
    let line: Vec<OsString> = env::args_os().collect();
    let done = match cluster::is_plugin(&line) {
        true => cluster::act(&line),
        false => args::parse(&line).and_then(act),
    };
    match done {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// Protects the memory of this process from other processes of its user without its capabilities, and disables core files: ptrace(2).
/// The memory contains rows of other users' processes, and credentials. A command that it starts is not protected.
fn close_memory() {
    // Best effort: no function depends on it.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn act(requested: CommandLine) -> Result<ExitCode> {
    let CommandLine { action, agent } = requested;
    let agent = agent.as_ref();
    match action {
        Action::List { json } => list::list(json, agent)?,
        Action::Describe { tracer, json } => describe::describe(&tracer, json, agent)?,
        Action::Diff(args) => diff::diff(&args)?,
        Action::Doctor { json } => return doctor::doctor(json, agent),
        Action::Run(run) => return run::run(*run, agent),
        Action::Version { json } => version::version(json)?,
        Action::Completions(shell) => io::stdout().write_all(&codegen::completions(shell))?,
        Action::Codegen(dir) => codegen::codegen(&dir)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Breaks the first line of an error between words if standard error is a terminal. Further lines are commands or marks to copy.
fn wrapped(text: &str) -> String {
    match text.split_once('\n') {
        Some((first, rest)) if io::stderr().is_terminal() => {
            wrap_lines(first, screen::size().columns) + rest
        }
        _ => text.to_owned(),
    }
}

/// Prints an error. The exit status distinguishes usage errors from failures.
fn fail(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<clap::Error>() {
        // Errors of printing help are ignored.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
    }
    let quiet = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    if error.downcast_ref::<io::Error>().is_some_and(quiet) {
        return ExitCode::SUCCESS;
    }
    // These errors include their sources in the message.
    let whole = error.is::<engine::Error>()
        || error.is::<remote::Error>()
        || error.is::<cluster_source::Error>();
    let text = match whole {
        true => error.to_string(),
        false => error
            .chain()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": "),
    };
    // Errors are ignored: a closed standard error has no reader.
    let _ = io::stderr().write_all(wrapped(&format!("error: {text}\n")).as_bytes());
    let usage = error.is::<usage::Usage>()
        || error.is::<tracers::SpecError>()
        || error
            .downcast_ref::<engine::Error>()
            .is_some_and(|error| error.reason() == Reason::InvalidRequest)
        || error
            .downcast_ref::<remote::Error>()
            .is_some_and(remote::Error::is_usage)
        || error
            .downcast_ref::<cluster_source::Error>()
            .is_some_and(cluster_source::Error::is_usage);
    match usage {
        true => ExitCode::from(USAGE),
        false => ExitCode::FAILURE,
    }
}

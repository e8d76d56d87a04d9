//! The commands of the kubectl plugin `kubectl tracejob`: the same program under another name.
//!
//! They create, show and delete jobs. How a job's rows are shown is the same as on one host.

mod args;
pub(crate) mod command;
mod complete;
mod create;
mod describe;
mod doctor;
mod list;
mod run;
mod selector;

pub(crate) use complete::script;

use crate::{command::diff, source::cluster::Cluster};
use anyhow::Result;
use args::{Action, CommandLine};
use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

/// Name of the plugin's program.
const PROGRAM: &str = "kubectl-tracejob";
/// Name of the program that kubectl starts for completions.
const COMPLETER: &str = "kubectl_complete-tracejob";

/// Returns whether this program was started as a plugin of kubectl.
pub(crate) fn is_plugin(line: &[OsString]) -> bool {
    matches!(called(line), Some(PROGRAM | COMPLETER))
}

fn called(line: &[OsString]) -> Option<&str> {
    let name = line.first().map(Path::new).and_then(Path::file_name);
    name.and_then(OsStr::to_str)
}

/// Runs the plugin.
pub(crate) fn act(line: &[OsString]) -> Result<ExitCode> {
    if called(line) == Some(COMPLETER) {
        complete::complete(&line[1..])?;
        return Ok(ExitCode::SUCCESS);
    }
    let CommandLine { action, access } = args::parse(line)?;
    match action {
        Action::Run(requested) => return run::run(*requested, &access),
        Action::Attach { job, view } => return run::attach(&job, view, &access),
        Action::List { json } => list::list(json, &access)?,
        Action::Describe { what, json } => describe::describe(&what, json, &access)?,
        Action::Delete { jobs } => {
            let cluster = Cluster::connect(&access)?;
            for job in &jobs {
                let job = cluster.named(job)?;
                cluster.delete(&job)?;
                let message = format!("{} deleted\n", job.shown());
                io::stdout().write_all(message.as_bytes())?;
            }
        }
        Action::Diff(args) => diff::diff(&args)?,
        Action::Doctor => return doctor::doctor(&access),
        Action::Version => {
            let message = format!("kubectl-tracejob {}\n", env!("CARGO_PKG_VERSION"));
            io::stdout().write_all(message.as_bytes())?;
        }
        Action::Completion(shell) => io::stdout().write_all(&complete::script(shell))?,
        Action::Candidates(words) => complete::complete(&words)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_by_which_it_is_started_makes_the_plugin() {
        let line = |name: &str| vec![OsString::from(name)];
        assert!(is_plugin(&line("/usr/local/bin/kubectl-tracejob")));
        assert!(is_plugin(&line("kubectl_complete-tracejob")));
        assert!(!is_plugin(&line("/usr/bin/tracejob")));
        assert!(!is_plugin(&[]));
    }
}

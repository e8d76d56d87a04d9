//! Runs programs, with their output in a log or as a result. An error names the command and shows its cause.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{screen::Step, workspace};

/// Lines of a failed command's output that its error shows; the rest is in the log.
const SHOWN_LINES: usize = 30;

/// Runs a command with its output in `target/xtask/<log>.log`; the step shows the last line of it.
pub(crate) fn quietly(step: &Step, log: &str, command: &mut Command) -> Result<()> {
    let (status, log) = logged(step, log, command)?;
    if status.success() {
        return Ok(());
    }
    Err(failure(command, status, &log))
}

/// Like `quietly`, but the caller judges the status.
pub(crate) fn logged(
    step: &Step,
    log: &str,
    command: &mut Command,
) -> Result<(ExitStatus, PathBuf)> {
    let log = log_file(log)?;
    let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let copy = file
        .try_clone()
        .with_context(|| format!("opening {} twice", log.display()))?;
    step.follow(log.clone());
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .status()
        .with_context(|| format!("starting {}", shown(command)))?;
    Ok((status, log))
}

/// Runs a command for its standard output. Its standard error goes into the log.
pub(crate) fn captured(step: &Step, log: &str, command: &mut Command) -> Result<String> {
    let log = log_file(log)?;
    let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    step.follow(log.clone());
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn();
    let output = child
        .and_then(Child::wait_with_output)
        .with_context(|| format!("starting {}", shown(command)))?;
    if !output.status.success() {
        return Err(failure(command, output.status, &log));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the error of a failed command.
pub(crate) fn failure(command: &Command, status: ExitStatus, log: &Path) -> anyhow::Error {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    anyhow!(
        "{} failed ({status}):\n{}\nall of it is in {}",
        shown(command),
        last_lines(&text, SHOWN_LINES),
        workspace::short(log)
    )
}

/// Returns the path of a log, and creates its folder.
pub(crate) fn log_file(name: &str) -> Result<PathBuf> {
    let folder = workspace::logs();
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder.join(format!("{name}.log")))
}

/// A command's standard output, as text.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", shown(command)))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}):\n{}",
            shown(command),
            output.status,
            last_lines(&why, SHOWN_LINES)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the command as a user would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last `count` lines, indented.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(count);
    lines[from..]
        .iter()
        .map(|line| format!("    {}", line.trim_end()))
        .collect::<Vec<_>>()
        .join("\n")
}

//! A suite: test programs that run one after the other on this kernel, with one verdict.
//!
//! A failed test is repeated once on its own, which distinguishes a busy machine from a fault. Both results are reported.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    process,
    programs::Program,
    screen::{Step, print_line},
    times, toolchain,
    verdict::{self, Verdict},
    workspace,
};

/// Runs the programs and returns the number of tests that passed and that were skipped.
///
/// `configure` sets arguments and environment of each program.
///
/// # Errors
/// Tests that failed, by name and with their first panic.
pub(crate) fn run(
    name: &str,
    why: &str,
    programs: &[&Program],
    configure: impl Fn(&mut Command),
) -> Result<String> {
    let began = Instant::now();
    let step = Step::start(name, why);
    let log = process::log_file(&name.replace(' ', "-"))?;
    let mut file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    step.follow(log.clone());
    let mut verdict = Verdict::default();
    for program in programs {
        writeln!(file, "{} {}", verdict::BEGIN, program.name)?;
        let status = start(program, &[], &file, &configure)?;
        writeln!(file, "{} {} {status}", verdict::END, program.name)?;
        let failed_before = verdict.failed;
        verdict = read(&log)?;
        let is_new =
            |test: &&String| !failed_before.contains(test) && !verdict.ran_again.contains(*test);
        let new: Vec<&String> = verdict.failed.iter().filter(is_new).collect();
        if new.len() <= verdict::RETRIES {
            for test in new {
                writeln!(file, "{} {test}", verdict::AGAIN)?;
                let status = start(program, &["--exact", test], &file, &configure)?;
                writeln!(file, "{} {test} {status}", verdict::AGAIN_END)?;
            }
            verdict = read(&log)?;
        }
    }
    let counts = verdict.counts();
    match verdict.is_good() {
        true => step.done(&counts),
        false => step.failed(),
    }
    for note in verdict.notes() {
        print_line("", &note);
    }
    times::record(name, &verdict.times, began.elapsed());
    if verdict.is_good() {
        return Ok(counts);
    }
    let failures = verdict.failures();
    bail!(
        "{} failed, {counts}; all output is in {}{}",
        failures.len(),
        workspace::short(&log),
        indented(&failures)
    )
}

/// Each line on a line of its own, indented.
pub(crate) fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n    {line}")).collect()
}

/// Tests that a stage leaves out.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeftOut {
    /// Test programs.
    pub(crate) programs: Vec<&'static str>,
    /// Parts of the names of tests: their modules.
    pub(crate) tests: Vec<&'static str>,
}

impl LeftOut {
    /// Returns a description of the tests and the command that runs them; `None` if no test is left out.
    pub(crate) fn description(&self, command: &str) -> Option<String> {
        let names = [&self.programs[..], &self.tests].concat().join(" ");
        (!names.is_empty()).then(|| format!("left out {names}; `{command}` runs them"))
    }
}

/// Returns arguments for Rust's test harness: the number of parallel tests, and output and time of each.
pub(crate) fn harness(command: &mut Command, threads: usize) {
    command
        .arg(format!("--test-threads={threads}"))
        .arg("--show-output")
        .args(verdict::REPORT_TIME)
        .env(verdict::UNSTABLE.0, verdict::UNSTABLE.1);
}

fn read(log: &std::path::Path) -> Result<Verdict> {
    let output = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    Ok(verdict::read(&String::from_utf8_lossy(&output)))
}

/// Runs a program as cargo would. Returns its exit status, or the negated number of the signal that killed it.
fn start(
    program: &Program,
    args: &[&str],
    log: &File,
    configure: &impl Fn(&mut Command),
) -> Result<i32> {
    let mut command = Command::new(&program.path);
    toolchain::pin(&mut command);
    command.current_dir(&program.folder);
    configure(&mut command);
    command
        .args(args)
        // Else insta runs cargo to find it.
        .env("INSTA_WORKSPACE_ROOT", workspace::root())
        // A backtrace is longer than the assertion that failed.
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    let status = command
        .status()
        .with_context(|| format!("starting {}", process::shown(&command)))?;
    Ok(status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or_default()))
}

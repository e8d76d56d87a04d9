//! `verifier`: records the verifier's cost of each program, here and on the test kernels. The tests compare with the record.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    process, programs,
    screen::{Step, print_line},
    setup, test, vm, workspace,
};

/// The record, from the root.
const RECORD: &str = "tests/run/verifier.txt";
/// The test that prints a line for each program.
const TEST: &str = "loading::";
/// Prefix of these lines.
const LINE: &str = "VERIFIED ";

/// Runs the test everywhere and records its lines.
pub(crate) fn run() -> Result<()> {
    test::require_root()?;
    setup::build()?;
    let path = workspace::root().join(RECORD);
    let old = fs::read_to_string(&path).with_context(|| format!("reading {RECORD}"))?;
    let heading = old.lines().next().unwrap_or_default();
    // The test only prints costs that are not recorded.
    fs::write(&path, format!("{heading}\n")).with_context(|| format!("writing {RECORD}"))?;
    let mut lines = BTreeSet::new();
    let result = everywhere(&mut lines);
    if result.is_err() || lines.is_empty() {
        fs::write(&path, old).with_context(|| format!("writing {RECORD}"))?;
        result?;
        bail!("the test {TEST} printed no program");
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, format!("{heading}\n{text}")).with_context(|| format!("writing {RECORD}"))?;
    print_line("verifier", &format!("{} programs in {RECORD}", lines.len()));
    Ok(())
}

fn everywhere(lines: &mut BTreeSet<String>) -> Result<()> {
    let step = Step::start("this kernel", "every tracer is loaded once");
    let programs = programs::built()?;
    let run = programs.test("run")?;
    let mut command = Command::new(&run.path);
    command
        .args([TEST, "--show-output"])
        .current_dir(&run.folder)
        .env("TRACEJOB_BIN", programs.file("tracejob")?)
        .env_remove("TRACEJOB_TEST_CAPS");
    let printed = take(&process::captured(&step, "verifier", &mut command)?, lines);
    step.done(if printed {
        "recorded"
    } else {
        "printed nothing"
    });
    // A test that only printed lines has not passed: every kernel must have printed some.
    let outcome = vm::run(vm::Args::of_test(TEST));
    for log in vm::logs()? {
        let text = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
        if !take(&String::from_utf8_lossy(&text), lines) {
            outcome?;
            bail!("{} has no program, or not all", log.display());
        }
    }
    Ok(())
}

/// Returns whether lines were printed and the test did not fail.
fn take(text: &str, lines: &mut BTreeSet<String>) -> bool {
    let before = lines.len();
    let printed = text.lines().filter_map(|line| line.split_once(LINE));
    lines.extend(printed.map(|(_, line)| line.trim().to_owned()));
    lines.len() > before && !text.contains("FAILED")
}

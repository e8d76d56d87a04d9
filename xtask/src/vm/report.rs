//! The result of a test kernel as text.

use anyhow::{Result, bail};

use super::{
    Plan,
    boot::{self, End, Machine, Outcome},
    kernels::Kernel,
};
use crate::{
    screen::{Step, duration, print_line},
    suite, times, workspace,
};

/// Boots a kernel, runs the selected tests on it, and returns their number.
///
/// # Errors
/// Tests that failed, and a kernel that did not come to its end.
pub(super) fn boot(
    machine: &Machine,
    stage: &'static str,
    kernel: &Kernel,
    plan: &Plan,
) -> Result<String> {
    let name = kernel.series;
    let step = Step::start(stage, "boots");
    let outcome = boot::run(machine, kernel, name, plan, &step)?;
    let Outcome {
        verdict,
        end,
        took,
        complaints,
        boots,
    } = outcome;
    let passed = end == End::Finished && verdict.finished == Some(0) && verdict.is_good();
    let counts = format!("{}: {}", kernel.version, verdict.counts());
    match passed {
        true => step.done(&counts),
        false => step.failed(),
    }
    let mut notes = verdict.notes();
    let command = format!("cargo xtask vm --kernel {name}");
    notes.extend(plan.left_out.description(&command));
    let complaints = complaints.iter();
    notes.extend(complaints.map(|line| format!("the kernel logged {line}")));
    if boots > 1 {
        notes.push(format!(
            "booted {boots} times: it stood still before init, or the emulator ran a breakpoint that the kernel had taken away"
        ));
    }
    for note in notes {
        print_line(stage, &note);
    }
    times::record(stage, &verdict.times, took);
    let log = workspace::short(&boot::log(name, ""));
    match end {
        _ if passed => Ok(counts),
        End::Finished if verdict.failures().is_empty() => bail!("no test passed; see {log}"),
        End::Finished => bail!(
            "tests failed; their output is in {log}{}",
            suite::indented(&verdict.failures())
        ),
        End::NeverBooted => bail!("it never reached init; see {log}"),
        End::Died(words) | End::StaleBreakpoint(words) => {
            bail!("it ended before its tests did\n{words}")
        }
        End::Deadline(words) => bail!("it was ended after {}\n{words}", duration(took)),
    }
}

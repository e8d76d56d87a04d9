//! What came of one test kernel, in words.

use anyhow::{Result, bail};

use super::{
    LeftOut,
    boot::{self, End, Machine, Outcome},
    kernels::Kernel,
};
use crate::{
    screen::{Step, duration, say},
    times, workspace,
};

/// Boots a kernel, runs the tests on it but for those that are left out, and returns their number.
///
/// # Errors
/// Tests that failed, and a kernel that did not come to its end.
pub(super) fn boot(machine: &Machine, kernel: &Kernel, left_out: LeftOut) -> Result<String> {
    let name = kernel.series;
    let stage = format!("kernel {name}");
    let step = Step::start(&stage, "boots");
    let outcome = boot::run(machine, kernel, name, left_out, &step)?;
    let Outcome {
        verdict,
        end,
        took,
        complaints,
        boots,
    } = outcome;
    let passed = end == End::Finished
        && verdict.finished == Some(0)
        && verdict.failed.is_empty()
        && verdict.passed > 0;
    let counts = format!("{}: {}", kernel.version, verdict.counts());
    match passed {
        true => step.done(&counts),
        false => step.failed(),
    }
    let mut notes = verdict.notes();
    let programs = left_out.program.into_iter();
    let names: Vec<&str> = programs.chain(left_out.tests.iter().copied()).collect();
    if !names.is_empty() {
        notes.push(format!(
            "left out {}; `cargo xtask vm --kernel {name}` runs them",
            names.join(" ")
        ));
    }
    let complaints = complaints.iter();
    notes.extend(complaints.map(|line| format!("the kernel logged {line}")));
    if boots > 1 {
        notes.push(format!("booted {boots} times: it stood still before init"));
    }
    for note in notes {
        say(&stage, &note);
    }
    times::record(&stage, &verdict.times, took);
    let log = workspace::short(&boot::log(name, ""));
    match end {
        _ if passed => Ok(counts),
        End::Finished if verdict.failed.is_empty() => bail!("no test passed; see {log}"),
        End::Finished => {
            let failed = verdict.failed.iter();
            let failed = failed.map(|test| format!("\n    {}", verdict.failure(test)));
            bail!(
                "tests failed; their output is in {log}{}",
                failed.collect::<String>()
            )
        }
        End::NeverBooted => bail!("it never reached init; see {log}"),
        End::Died(words) => bail!("it ended before its tests did\n{words}"),
        End::Deadline(words) => bail!("it was ended after {}\n{words}", duration(took)),
    }
}

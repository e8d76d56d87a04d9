//! What `vm` shows: a line per guest while they run, and the table at the end.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    boot::{self, End, Machine, Outcome, Progress},
    kernels::Kernel,
};
use crate::{
    screen::{self, duration, redraw, table},
    workspace,
};

/// How often progress is told where lines cannot be redrawn.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Shows the guests until all have ended.
pub(super) fn watch(kernels: &[Kernel], progress: &[Mutex<Progress>]) {
    let live = screen::is_live();
    let (mut drawn, mut told, mut last) = (0, vec![false; kernels.len()], Instant::now());
    loop {
        let now: Vec<Progress> = progress
            .iter()
            .map(|one| one.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect();
        let lines: Vec<String> = kernels
            .iter()
            .zip(&now)
            .map(|(kernel, progress)| line(kernel, progress))
            .collect();
        if live {
            redraw(&lines, drawn);
            drawn = lines.len();
        } else {
            let beat = last.elapsed() > HEARTBEAT;
            for (index, progress) in now.iter().enumerate() {
                let ended = progress.took.is_some() && !told[index];
                let running = beat && progress.took.is_none() && progress.since.is_some();
                if ended || running {
                    println!("{}", lines[index]);
                    told[index] = ended;
                }
            }
            if beat {
                last = Instant::now();
            }
        }
        if now.iter().all(|progress| progress.took.is_some()) {
            return;
        }
        thread::sleep(Duration::from_millis(500));
    }
}

fn line(kernel: &Kernel, progress: &Progress) -> String {
    let Progress {
        since,
        verdict,
        took,
    } = progress;
    let Some(since) = since else {
        return format!("  {:<5} waits", kernel.series);
    };
    let state = match (&verdict.running, took) {
        (_, Some(_)) => "ended".to_owned(),
        (Some(test), None) => test.clone(),
        (None, None) if verdict.passed == 0 => "boots".to_owned(),
        (None, None) => String::new(),
    };
    let (passed, failed, skipped) = (verdict.passed, verdict.failed.len(), verdict.skipped.len());
    format!(
        "  {:<5} {:>4} passed {failed:>3} failed {skipped:>3} skipped  {:>12}  {state}",
        kernel.series,
        passed,
        duration(took.unwrap_or_else(|| since.elapsed()))
    )
}

/// The final table, and below it everything that was not simply right.
pub(super) fn report(
    machine: &Machine,
    kernels: &[Kernel],
    outcomes: Vec<Result<Outcome>>,
) -> Result<String> {
    let mut rows = Vec::new();
    let (mut passed, mut skipped, mut second) = (0, 0, 0);
    let mut notes = String::new();
    let mut wrong = Vec::new();
    for (kernel, outcome) in kernels.iter().zip(outcomes) {
        let name = kernel.series;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                rows.push(vec![
                    kernel.version.clone(),
                    "-".into(),
                    "-".into(),
                    "-".into(),
                    "-".into(),
                    "NOT BOOTED".into(),
                ]);
                notes += &format!("{name}: {error:#}\n");
                wrong.push(name);
                continue;
            }
        };
        let Outcome {
            verdict,
            end,
            took,
            complaints,
            boots,
        } = outcome;
        let right = end == End::Finished
            && verdict.finished == Some(0)
            && verdict.failed.is_empty()
            && verdict.passed > 0;
        let counts = [verdict.passed, verdict.failed.len(), verdict.skipped.len()]
            .map(|count| count.to_string());
        let seconds = took.as_secs().to_string();
        passed += verdict.passed;
        skipped += verdict.skipped.len();
        second += verdict.second.len();
        let word = match (&end, right) {
            (End::Finished, true) => "ok",
            (End::Finished, false) => "FAILED",
            (End::Died(_), _) => "DIED",
            (End::NeverBooted, _) => "NOT BOOTED",
            (End::Deadline(_), _) => "HUNG",
        };
        rows.push(
            [
                vec![kernel.version.clone()],
                counts.to_vec(),
                vec![seconds, word.to_owned()],
            ]
            .concat(),
        );
        for failed in &verdict.failed {
            notes += &format!("{name}: failed {}\n", verdict.told(failed));
        }
        for test in &verdict.second {
            notes += &format!(
                "{name}: right only when it ran again {}\n",
                verdict.told(test)
            );
        }
        for skip in &verdict.skipped {
            notes += &format!(
                "{name}: skipped {}: {}: {}\n",
                skip.suite, skip.test, skip.reason
            );
        }
        if let Some(program) = machine.without(kernel) {
            notes += &format!(
                "{name}: left out the tests of {program}, as --brief says; `cargo xtask vm --kernel {name}` runs them\n"
            );
        }
        for complaint in &complaints {
            notes += &format!("{name}: the kernel said {complaint}\n");
        }
        if boots > 1 {
            notes += &format!("{name}: was booted {boots} times: it stood still before init\n");
        }
        match end {
            End::NeverBooted => notes += &format!("{name}: never reached init\n"),
            End::Finished if right || !verdict.failed.is_empty() => {}
            End::Finished => notes += &format!("{name}: no test passed\n"),
            End::Died(words) => notes += &format!("{name}: ended before its tests did\n{words}"),
            End::Deadline(words) => {
                notes += &format!("{name}: given up after {}\n{words}", duration(took))
            }
        }
        if !right {
            wrong.push(name);
        }
    }
    println!(
        "\n{}",
        table(
            &["KERNEL", "PASSED", "FAILED", "SKIPPED", "SECONDS", "RESULT"],
            &rows
        )
    );
    print!("{notes}");
    if wrong.is_empty() {
        let again = match second {
            0 => String::new(),
            _ => format!(" ({second} only when they ran again)"),
        };
        return Ok(format!(
            "{passed} passed{again}, {skipped} skipped on {} kernels",
            kernels.len()
        ));
    }
    let logs: Vec<String> = wrong
        .iter()
        .map(|name| workspace::short(&boot::log(name, "")))
        .collect();
    bail!(
        "tests failed on {}; their output is in {}",
        wrong.join(", "),
        logs.join(", ")
    )
}

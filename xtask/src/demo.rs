//! `demo`: runs traces of sample programs, from a fresh clone.
//!
//! It is a script of commands as a user would type them. Only the names of tracers are known here.

use std::{fs, process::Command, time::Instant};

use anyhow::{Context, Result, bail};

use crate::{
    process,
    screen::{Step, duration},
    setup, toolchain, workspace,
};

/// A command with its explanation.
struct Act {
    question: &'static str,
    about: &'static str,
    /// After `tracejob run`.
    args: &'static [&'static str],
    /// Argument of the workload, and a description of what the workload does.
    workload: (&'static str, &'static str),
}

/// Path of the flame graph, from the root of the repository.
const FLAME_GRAPH: &str = "target/demo/page_fault.svg";

const ACTS: [Act; 3] = [
    Act {
        question: "Which system calls does a program make, and how long do they take?",
        about: "Calls are counted in the kernel. Counts are read once a second.",
        args: &["syscall_count"],
        workload: (
            "calls",
            "3 s of reading, writing, and opening files, some of which do not exist",
        ),
    },
    Act {
        question: "Which connections does a program open, and do they succeed?",
        about: "One row per attempt over IPv4 or IPv6, when it succeeds or fails.",
        args: &["tcp_connect"],
        workload: (
            "connect",
            "connects to itself over IPv4 and IPv6, and to closed ports",
        ),
    },
    Act {
        question: "Which code touches new memory?",
        about: "Page faults by stack, as a flame graph.",
        args: &["page_fault", "-o", "flamegraph=target/demo/page_fault.svg"],
        workload: ("faults", "3 s of touching new memory in three functions"),
    },
];

/// The program that is traced.
const WORKLOAD: &str = "target/demo/workload";

/// Sets up, builds, and runs all acts.
pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    if process::output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!(
            "tracing requires CAP_BPF and CAP_PERFMON: run `sudo env PATH=\"$PATH\" cargo xtask demo`"
        );
    }
    setup::build()?;
    build()?;
    let ready = Instant::now();
    for (index, act) in ACTS.iter().enumerate() {
        println!(
            "\n{} of {}  {}\n        {}",
            index + 1,
            ACTS.len(),
            act.question,
            act.about
        );
        play(act)?;
    }
    let size = fs::metadata(workspace::root().join(FLAME_GRAPH))
        .with_context(|| format!("looking for the flame graph {FLAME_GRAPH}"))?
        .len();
    println!(
        "\nThe flame graph is {FLAME_GRAPH} ({} KiB): open it in a browser; it zooms and searches.",
        size / 1024
    );
    println!(
        "demo: {} in all, {} of it tracing",
        duration(started.elapsed()),
        duration(ready.elapsed())
    );
    Ok(())
}

fn play(act: &Act) -> Result<()> {
    let (mode, about) = act.workload;
    let mut command = Command::new(workspace::target().join("release/tracejob"));
    command
        .current_dir(workspace::root())
        .arg("run")
        .args(act.args)
        .args(["--", WORKLOAD, mode]);
    println!(
        "$ tracejob run {} -- {WORKLOAD} {mode}    # {about}\n",
        act.args.join(" ")
    );
    // Else the allocator keeps what the workload frees, and nothing faults twice.
    command.env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536");
    let status = command
        .status()
        .with_context(|| format!("starting {}", process::shown(&command)))?;
    // Status 3: the trace lost events, which its last line reports.
    if !matches!(status.code(), Some(0 | 3)) {
        bail!("{} failed ({status})", process::shown(&command));
    }
    Ok(())
}

fn build() -> Result<()> {
    let step = Step::start(
        "build tracejob",
        "kernel programs and user space, optimised; minutes when cold",
    );
    process::quietly(
        &step,
        "build-release",
        toolchain::cargo().args([
            "build",
            "--release",
            "--locked",
            "--package",
            "cli",
            "--bin",
            "tracejob",
        ]),
    )?;
    step.done("built");
    let step = Step::start(
        "build the workload",
        "a program to trace, with frame pointers for its stacks",
    );
    let workload = workspace::root().join(WORKLOAD);
    if let Some(folder) = workload.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let mut rustc = toolchain::rustc();
    rustc.args([
        "--edition",
        "2024",
        "-C",
        "opt-level=1",
        "-C",
        "debuginfo=2",
        "-C",
        "force-frame-pointers=yes",
        "xtask/workload/main.rs",
        "-o",
        WORKLOAD,
    ]);
    process::quietly(&step, "build-workload", &mut rustc)?;
    step.done("built");
    Ok(())
}

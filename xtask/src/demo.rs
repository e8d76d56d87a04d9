//! `demo`: what TraceJob shows, on programs that the demo starts itself, from a fresh clone.
//!
//! It is a script of commands as a person would type them; nothing of the tracers is known here but their names.

use std::{fs, process::Command, time::Instant};

use anyhow::{Context, Result, bail};

use crate::{
    process,
    screen::{Step, duration},
    setup, toolchain, workspace,
};

/// One command and what it shows.
struct Act {
    question: &'static str,
    about: &'static str,
    /// After `tracejob run`.
    args: &'static [&'static str],
    /// What the program that is traced does, for it and for the audience.
    workload: (&'static str, &'static str),
}

/// Where the flame graph goes, from the root.
const FLAME_GRAPH: &str = "target/demo/page_fault.svg";

const ACTS: [Act; 3] = [
    Act {
        question: "Which system calls does a program make, and how long do they take?",
        about: "Counted in the kernel, per call: rows leave it once a second, not once a call.",
        args: &["syscall_count"],
        workload: (
            "calls",
            "3 s of reading, writing, and opening files of which some do not exist",
        ),
    },
    Act {
        question: "Whom does it talk to, and do the connections succeed?",
        about: "One row per attempt, IPv4 and IPv6, when it is decided.",
        args: &["tcp_connect"],
        workload: (
            "connect",
            "connects to itself over IPv4 and IPv6, and to closed ports",
        ),
    },
    Act {
        question: "Where in the code does memory become real?",
        about: "Page faults by stack; any tracer with stacks and a sum can be drawn as a flame graph.",
        args: &["page_fault", "-o", "flamegraph=target/demo/page_fault.svg"],
        workload: ("faults", "3 s of touching new memory in three functions"),
    },
];

/// The program that is traced.
const WORKLOAD: &str = "target/demo/workload";

/// Sets up, builds, and plays all acts.
pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    if process::output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!(
            "tracing takes CAP_BPF and CAP_PERFMON: run `sudo env PATH=\"$PATH\" cargo xtask demo`"
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
    // Three: complete but for events that were lost and counted, which its last line says.
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

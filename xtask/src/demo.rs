//! `demo`: what TraceJob shows, on programs that the demo starts itself, from a fresh clone.
//!
//! It is a script of commands as a person would type them; nothing of the tracers is known here but their names.

mod workload;

use std::{env, fs, process::Command, time::Instant};

use anyhow::{Context, Result, bail};

pub(crate) use workload::Workload;

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
    workload: Workload,
}

/// Where the flame graph goes, from the root.
const FLAME_GRAPH: &str = "target/demo/page_fault.svg";

const ACTS: [Act; 3] = [
    Act {
        question: "Which system calls does a program make, and how long do they take?",
        about: "Counted in the kernel, per call: rows leave it once a second, not once a call.",
        args: &["syscall_count"],
        workload: Workload::Calls,
    },
    Act {
        question: "Whom does it talk to, and do the connections succeed?",
        about: "One row per attempt, IPv4 and IPv6, when it is decided.",
        args: &["tcp_connect"],
        workload: Workload::Connect,
    },
    Act {
        question: "Where in the code does memory become real?",
        about: "Page faults by stack; any tracer with stacks and a sum can be drawn as a flame graph.",
        args: &["page_fault", "-o", "flamegraph=target/demo/page_fault.svg"],
        workload: Workload::Faults,
    },
];

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
    let tracejob = workspace::target().join("release/tracejob");
    let graph = workspace::root().join(FLAME_GRAPH);
    if let Some(folder) = graph.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let ourselves = env::current_exe().context("finding this program, which the demo traces")?;
    for (
        index,
        Act {
            question,
            about,
            args,
            workload,
        },
    ) in ACTS.iter().enumerate()
    {
        println!(
            "\n{} of {}  {question}\n        {about}",
            index + 1,
            ACTS.len()
        );
        let mut command = Command::new(&tracejob);
        command
            .current_dir(workspace::root())
            .arg("run")
            .args(*args)
            .arg("--")
            .arg(&ourselves)
            .args(["workload", workload.name()]);
        println!(
            "$ tracejob run {} -- {}\n",
            args.join(" "),
            workload.tells()
        );
        // Else the allocator keeps what the workload frees, and nothing faults twice.
        command.env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536");
        // Three: complete but for events that were lost, and counted; the account above says so.
        let status = command
            .status()
            .with_context(|| format!("starting {}", process::shown(&command)))?;
        if !matches!(status.code(), Some(0 | 3)) {
            bail!("{} failed ({status})", process::shown(&command));
        }
    }
    let size = fs::metadata(&graph)
        .with_context(|| format!("looking for the flame graph {FLAME_GRAPH}"))?
        .len();
    println!(
        "\nThe flame graph is {} ({} KiB): open it in a browser; it zooms and searches.",
        graph.display(),
        size / 1024
    );
    println!(
        "demo: {} in all, {} of it tracing",
        duration(started.elapsed()),
        duration(ready.elapsed())
    );
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
    Ok(())
}

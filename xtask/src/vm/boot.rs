//! A test kernel under QEMU: its start, its deadline and its end.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    Plan,
    kernels::{Kernel, by_name},
};
use crate::{
    process,
    screen::Step,
    verdict::{self, Verdict},
    workspace,
};

/// Asks for KVM where it works; here /dev/kvm exists and ordinary guests hang on it for ever, so it requires a request.
pub(crate) const KVM_VARIABLE: &str = "TRACEJOB_VM_KVM";
/// Timeout of a probe boot under KVM, which takes 2 s if KVM works.
const PROBE_DEADLINE: Duration = Duration::from_secs(15);
/// When a guest that has not reached init is given up; it takes 2 s, and 25 s on a machine with three times the work it can do.
const BOOT_DEADLINE: Duration = Duration::from_secs(90);
/// Timeout of a silent guest. A storm test is silent for 2 min on a machine with three times the work it can do.
const SILENCE: Duration = Duration::from_secs(6 * 60);
/// Maximum number of boots of a guest that stops before init.
/// Seen once, of 7.3.4 under QEMU 10.0.2's TCG on 2026-11-22, with nothing on its console, and not in 290 boots after that.
const BOOTS: u32 = 3;
/// The kernel's word for a breakpoint that nobody has set. Linux patches its own code behind a breakpoint, and takes that away when no
/// processor can be in it (smp_text_poke_batch_finish, arch/x86/kernel/alternative.c). An emulated processor may still run it then.
/// Seen once, of 7.3.4 with two processors under QEMU 10.0.2's TCG on 2026-11-29, at the call of sys_enter while a trace was detached.
const STALE_BREAKPOINT: &str = "Oops: int3:";
/// Timeout of a guest's power-off after its end marker.
const POWEROFF: Duration = Duration::from_secs(10);
/// Interval of reading a guest's output.
const POLL: Duration = Duration::from_millis(250);

/// An emulated processor without what costs most to emulate and no test needs: page tables of five levels, SMAP and SMEP, and
/// fast string instructions, which kernels copy and clear memory by, and which QEMU does byte by byte: a third of all time.
const CPU: &str = "max,-la57,-smap,-smep,-erms,-fsrm";
/// Parameters of every test kernel. Debian's kernels clear each page and object that they allocate, and test their ciphers at boot.
const APPEND: &str = "console=ttyS0 quiet panic=-1 oops=panic mitigations=off init_on_alloc=0 tsc=reliable cryptomgr.notests";

/// The executor of a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// QEMU itself: about three times slower than native, and works everywhere.
    Tcg,
    /// The processor.
    Kvm,
}

impl Accelerator {
    /// Returns its speed as text.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Tcg => "emulated, about 3 times slower than native",
            Self::Kvm => "run by KVM",
        }
    }
}

/// Files and settings of a boot, except the kernel.
#[derive(Debug)]
pub(crate) struct Machine {
    /// QEMU's program.
    pub(crate) qemu: PathBuf,
    /// Executor of the instructions.
    pub(crate) accelerator: Accelerator,
    /// The guest's user space.
    pub(crate) initramfs: PathBuf,
    /// When a guest is given up.
    pub(crate) deadline: Duration,
}

/// The end of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Powered off after the end marker.
    Finished,
    /// Before the end marker: the last lines of its console.
    Died(String),
    /// Stopped at a breakpoint that the kernel had removed; with the last lines.
    StaleBreakpoint(String),
    /// Killed before init printed anything, in each boot.
    NeverBooted,
    /// Killed at the deadline or after a long silence; with the last lines of its output and console.
    Deadline(String),
}

/// The result of a guest.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Output of the tests.
    pub(crate) verdict: Verdict,
    /// The end of the guest.
    pub(crate) end: End,
    /// Time from start to end.
    pub(crate) took: Duration,
    /// Lines of the kernel log that report a bug.
    pub(crate) complaints: Vec<String>,
    /// Number of boots.
    pub(crate) boots: u32,
}

/// Returns the path of a guest's output: the tests' and, under `console`, the kernel's.
pub(crate) fn log(kernel: &str, kind: &str) -> PathBuf {
    workspace::target()
        .join("vm")
        .join(format!("{kernel}{kind}.log"))
}

/// Returns KVM if it is requested and a probe boot shows that it works.
pub(crate) fn accelerator(qemu: &Path, kernel: &Kernel, initramfs: &Path) -> Result<Accelerator> {
    if env::var_os(KVM_VARIABLE).is_none() || !Path::new("/dev/kvm").exists() {
        return Ok(Accelerator::Tcg);
    }
    let machine = Machine {
        qemu: qemu.to_owned(),
        accelerator: Accelerator::Kvm,
        initramfs: initramfs.to_owned(),
        deadline: PROBE_DEADLINE,
    };
    let step = Step::start("KVM", "a probe boot");
    let outcome = run(&machine, kernel, "probe", &Plan::whole(), &step)?;
    drop(step);
    Ok(if outcome.end == End::Finished {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    })
}

/// Boots a kernel and stays until it ends; `log_name` names its logs and, when it is `probe`, no test runs.
///
/// A guest that does not even reach init is booted again: nothing of ours has run in it by then. So is one, once, in which the emulator
/// ran a stale breakpoint.
pub(crate) fn run(
    machine: &Machine,
    kernel: &Kernel,
    log_name: &str,
    plan: &Plan,
    step: &Step,
) -> Result<Outcome> {
    let mut outcome = attempt(machine, kernel, log_name, plan, step)?;
    for boots in 2..=BOOTS {
        match outcome.end {
            End::NeverBooted => {}
            End::StaleBreakpoint(_) if boots == 2 => {}
            End::StaleBreakpoint(_) | End::Finished | End::Died(_) | End::Deadline(_) => break,
        }
        outcome = attempt(machine, kernel, log_name, plan, step)?;
        outcome.boots = boots;
    }
    Ok(outcome)
}

fn attempt(
    machine: &Machine,
    kernel: &Kernel,
    log_name: &str,
    plan: &Plan,
    step: &Step,
) -> Result<Outcome> {
    let (output, console, errors) = (
        log(log_name, ""),
        log(log_name, ".console"),
        log(log_name, ".qemu"),
    );
    let mut files = Vec::new();
    for file in [&output, &console, &errors] {
        // Output of a previous run must not be read as this run's.
        files.push(File::create(file).with_context(|| format!("creating {}", file.display()))?);
    }
    let mut command = qemu(machine, kernel, log_name, plan, &output, &console)?;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(errors) = files.pop() {
        command.stderr(errors);
    }
    let started = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("starting {}", process::shown(&command)))?;
    let stopped = watch(Guest(child), started, machine.deadline, &output, step)?;
    let verdict = verdict::read(&text(&output));
    let is_emulated = machine.accelerator == Accelerator::Tcg && plan.cpus > 1;
    let is_stale = is_emulated && text(&console).contains(STALE_BREAKPOINT);
    let end = match (verdict.finished, stopped) {
        (Some(_), _) => End::Finished,
        (None, Stopped::AtBoot) => End::NeverBooted,
        (None, Stopped::AtDeadline) => End::Deadline(last_words(&[&output, &console])),
        (None, Stopped::ByItself) => {
            let words = last_words(&[&errors, &output, &console]);
            match is_stale {
                true => End::StaleBreakpoint(words),
                false => End::Died(words),
            }
        }
    };
    Ok(Outcome {
        verdict,
        end,
        took: started.elapsed(),
        complaints: complaints(&text(&console)),
        boots: 1,
    })
}

/// The reason why a guest was stopped.
enum Stopped {
    ByItself,
    AtBoot,
    AtDeadline,
}

/// Watches a guest until it ends or is killed.
fn watch(
    mut guest: Guest,
    started: Instant,
    deadline: Duration,
    output: &Path,
    step: &Step,
) -> Result<Stopped> {
    let mut finished_at: Option<Instant> = None;
    let (mut length, mut spoke_at) = (0, started);
    loop {
        thread::sleep(POLL);
        let text = text(output);
        if text.len() > length {
            (length, spoke_at) = (text.len(), Instant::now());
        }
        let verdict = verdict::read(&text);
        let finished = verdict.finished.is_some();
        step.update(format!(
            "{}, {} failed",
            verdict.counts(),
            verdict.failed.len()
        ));
        if guest.0.try_wait().context("waiting for QEMU")?.is_some() {
            return Ok(Stopped::ByItself);
        }
        if finished && finished_at.get_or_insert_with(Instant::now).elapsed() > POWEROFF {
            return Ok(Stopped::ByItself);
        }
        if started.elapsed() > deadline || spoke_at.elapsed() > SILENCE {
            return Ok(Stopped::AtDeadline);
        }
        if text.is_empty() && started.elapsed() > BOOT_DEADLINE {
            return Ok(Stopped::AtBoot);
        }
    }
}

/// A QEMU that we started; it ends with this value.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn qemu(
    machine: &Machine,
    kernel: &Kernel,
    log_name: &str,
    plan: &Plan,
    output: &Path,
    console: &Path,
) -> Result<Command> {
    // The guest is killed when xtask ends for any reason: setpriv(1) sets the parent-death signal, and executes QEMU.
    let mut command = match workspace::find_program("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(&machine.qemu);
            command
        }
        None => Command::new(&machine.qemu),
    };
    match machine.accelerator {
        Accelerator::Tcg => command.args(["-accel", "tcg,thread=multi", "-cpu", CPU]),
        Accelerator::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
    };
    let probe = if log_name == "probe" {
        " tracejob.probe"
    } else {
        ""
    };
    let Plan { cpus, left_out } = plan;
    let append = format!(
        "{APPEND} tracejob.kernel={} tracejob.capabilities={}{probe} tracejob.without={} tracejob.skip={}",
        kernel.series,
        by_name(kernel.series)?.capabilities,
        left_out.programs.join(","),
        left_out.tests.join(",")
    );
    command.arg("-smp").arg(cpus.to_string());
    command.args([
        "-m",
        "1024",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-append",
        &append,
    ]);
    command
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&machine.initramfs);
    for file in [console, output] {
        command
            .arg("-serial")
            .arg(format!("file:{}", file.display()));
    }
    Ok(command)
}

fn text(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

fn last_words(files: &[&Path]) -> String {
    let mut words = String::new();
    for file in files {
        let text = text(file);
        if !text.trim().is_empty() {
            words += &format!(
                "  the end of {}:\n{}\n",
                workspace::short(file),
                process::last_lines(text.trim_end(), 20)
            );
        }
    }
    words
}

fn complaints(console: &str) -> Vec<String> {
    let marks = [
        "WARNING: ",
        "BUG: ",
        "Oops",
        "Kernel panic",
        "general protection fault",
        "rcu_sched self-detected stall",
    ];
    let lines = console
        .lines()
        .map(str::trim)
        .filter(|line| marks.iter().any(|mark| line.contains(mark)));
    lines.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_complaints_are_found_in_its_console() {
        let console = "[    0.1] quiet\n[   12.0] BUG: kernel NULL pointer dereference, address: 0\n[   13.0] Kernel panic - not syncing: Fatal exception\r\n";
        assert_eq!(complaints(console).len(), 2);
        assert!(complaints("[ 1.0] Memory cgroup out of memory: Killed process 5 (sh)").is_empty());
    }
}

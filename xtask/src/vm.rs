//! `vm`: the tests on real kernels, from the oldest supported to the newest, each in its own machine.

mod boot;
mod initramfs;
mod kernels;
mod programs;
mod report;
pub(crate) mod verdict;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

pub(crate) use kernels::{Release, releases};
pub(crate) use programs::shipped;

use self::{
    boot::{Accelerator, Machine, Outcome, Progress},
    kernels::{Kernel, SERIES},
};
use crate::{
    screen::{say, table},
    setup, workspace,
};

/// One pass over all tests.
pub(crate) struct Suite {
    /// As shown before a test's name.
    pub(crate) name: &'static str,
    /// As a stage of `test`, on the kernel that it runs on.
    pub(crate) native: &'static str,
    /// What TRACEJOB_TEST_CAPS says: with which capabilities alone `tracejob` is started; empty is all of root's.
    pub(crate) capabilities: &'static str,
}

/// What runs here: as root, and with what a hardened cluster grants.
pub(crate) const SUITES: [Suite; 2] = [
    Suite {
        name: "root",
        native: "this kernel",
        capabilities: "",
    },
    Suite {
        name: "caps",
        native: "this kernel, 2 caps",
        capabilities: "bpf,perfmon",
    },
];

/// What runs on the test kernels: what a hardened cluster grants, which is the harder. Both would take an emulated CPU an hour.
const VM_SUITES: &[Suite] = &[Suite {
    name: "caps",
    native: "",
    capabilities: "bpf,perfmon",
}];

/// What a test kernel's user space has besides our own programs.
pub(crate) struct UserSpace {
    /// Linked without a shared library.
    busybox: PathBuf,
    /// With its libraries, which are those of this machine.
    bpftool: PathBuf,
}

/// When a kernel is given up that is not silent: three times what it takes with a machine for itself.
const DEADLINE: Duration = Duration::from_secs(45 * 60);

/// What `vm` is asked.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// A kernel series, repeatable; all without it.
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<String>,
    /// Only lists the kernels, and which of them are fetched.
    #[arg(long)]
    list: bool,
    /// Leaves out the agent's tests on kernels between the oldest and the newest, as `test` does: they take longest, and most of what
    /// they look at is user space
    #[arg(long)]
    brief: bool,
    /// Asks the mirror for newer kernels than those that are fetched.
    #[arg(long)]
    refresh: bool,
    /// Arguments for each test program, for instance part of a test's name.
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

impl Args {
    /// All kernels, and the agent's tests on the oldest and the newest.
    pub(crate) fn brief() -> Self {
        Self {
            brief: true,
            ..Self::default()
        }
    }

    /// All kernels, and of the tests those whose name has this in it.
    pub(crate) fn of_test(name: &str) -> Self {
        Self {
            args: vec![name.to_owned()],
            ..Self::default()
        }
    }
}

/// What each kernel's console said.
pub(crate) fn logs() -> Result<Vec<PathBuf>> {
    let folder = workspace::target().join("vm");
    let logs = kernels::chosen(&[])?
        .into_iter()
        .map(|series| folder.join(format!("{}.log", series.name)));
    Ok(logs.collect())
}

/// Runs the tests on the chosen kernels, and tells what came of it; an error if any of them failed.
pub(crate) fn run(args: &Args) -> Result<String> {
    if args.list {
        print!("{}", list());
        return Ok(String::new());
    }
    let chosen = kernels::chosen(&args.kernel)?;
    setup::build()?;
    let qemu = setup::qemu()?;
    let user_space = UserSpace {
        busybox: setup::busybox()?,
        bpftool: setup::tests()?,
    };
    let kernels = chosen
        .into_iter()
        .map(|series| series.ensure(args.refresh))
        .collect::<Result<Vec<Kernel>>>()?;
    let programs = programs::build()?;
    let folder = workspace::target().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let initramfs = folder.join("initramfs.cpio");
    initramfs::write(&initramfs, &user_space, &programs, VM_SUITES, &args.args)?;
    let accelerator = boot::accelerator(&qemu, &kernels[0], &initramfs)?;
    let machine = Machine {
        qemu,
        accelerator,
        initramfs,
        deadline: DEADLINE,
        brief: args.brief,
    };
    report::report(&machine, &kernels, boot_all(&machine, &kernels))
}

fn list() -> String {
    let row = |series: &'static kernels::Series| {
        let fetched = series
            .cached()
            .map_or_else(|| "not yet".to_owned(), |kernel| kernel.version);
        vec![series.name.to_owned(), fetched, series.why.to_owned()]
    };
    table(
        &["KERNEL", "FETCHED", "WHY"],
        &SERIES.iter().map(row).collect::<Vec<_>>(),
    )
}

/// Boots them side by side, as many as the cores allow: each has two.
fn boot_all(machine: &Machine, kernels: &[Kernel]) -> Vec<Result<Outcome>> {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let at_once = (cores / 2).clamp(1, kernels.len());
    let how = match machine.accelerator {
        Accelerator::Tcg => "emulated, about 3 times slower than native",
        Accelerator::Kvm => "KVM",
    };
    say(
        "booting",
        &format!(
            "{} kernels, {at_once} at a time, {how}; logs in {}",
            kernels.len(),
            workspace::short(&boot::log("KERNEL", ""))
        ),
    );
    let progress: Vec<Mutex<Progress>> = kernels.iter().map(|_| Mutex::default()).collect();
    let outcomes: Vec<Mutex<Option<Result<Outcome>>>> =
        kernels.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(kernel) = kernels.get(index) else {
                        break;
                    };
                    let outcome = boot::run(machine, kernel, kernel.series, &progress[index]);
                    // One that could not even be started has ended, too.
                    let took = outcome
                        .as_ref()
                        .map_or(Duration::ZERO, |outcome| outcome.took);
                    progress[index]
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .took = Some(took);
                    *outcomes[index]
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = Some(outcome);
                }
            });
        }
        report::watch(kernels, &progress);
    });
    let take = |outcome: Mutex<Option<Result<Outcome>>>| {
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    };
    outcomes
        .into_iter()
        .map(|outcome| take(outcome).unwrap_or_else(|| bail!("it was never booted")))
        .collect()
}

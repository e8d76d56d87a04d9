//! `vm`: runs the tests on real kernels, from the oldest supported to the newest, each in its own machine.

mod boot;
mod initramfs;
mod kernels;
mod report;

use std::{fs, path::PathBuf, sync::OnceLock, time::Duration};

use anyhow::{Context, Result, anyhow};

pub(crate) use kernels::{Release, releases};

use self::{boot::Machine, kernels::SERIES};
use crate::{
    programs,
    screen::{Step, print_line, table},
    setup,
    stage::Stage,
    suite::LeftOut,
    test, workspace,
};

/// When a kernel is given up that is not silent: three times what it takes with a machine for itself.
const DEADLINE: Duration = Duration::from_secs(45 * 60);

/// Arguments of `vm`.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Args {
    /// A kernel series, repeatable; all without it
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<String>,
    /// Only lists the kernels, and which of them are fetched
    #[arg(long)]
    list: bool,
    /// Leaves out what `test` leaves out: user space, and more on kernels between the oldest and the newest
    #[arg(long)]
    brief: bool,
    /// Asks the mirror for newer kernels than those that are fetched
    #[arg(long)]
    refresh: bool,
    /// Arguments for each test program, for instance part of a test's name
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

impl Args {
    /// All kernels, with the tests that `test` runs.
    pub(crate) fn brief() -> Self {
        Self {
            brief: true,
            ..Self::default()
        }
    }

    /// All kernels, with tests whose name contains this text.
    pub(crate) fn of_test(name: &str) -> Self {
        Self {
            args: vec![name.to_owned()],
            ..Self::default()
        }
    }
}

/// The console output of each kernel's last run.
pub(crate) fn logs() -> Result<Vec<PathBuf>> {
    let logs = kernels::chosen(&[])?
        .into_iter()
        .map(|series| boot::log(series.name, ""));
    Ok(logs.collect())
}

/// Runs the tests on the chosen kernels.
///
/// # Errors
/// Any failed test, and a kernel that cannot be booted.
pub(crate) fn run(args: Args) -> Result<()> {
    if args.list {
        print!("{}", list()?);
        return Ok(());
    }
    let names: Vec<&str> = kernels::chosen(&args.kernel)?
        .into_iter()
        .map(|series| series.stage)
        .collect();
    test::of("vm", args, &names)
}

/// Returns one stage for each kernel, and the stages that fetch and pack.
pub(crate) fn stages(args: &Args) -> Vec<Stage> {
    let refresh = args.refresh;
    let names = args.kernel.clone();
    let mut stages = vec![
        Stage::new(
            "fetch kernels",
            "Debian's kernels, and what they run in",
            move || {
                for series in kernels::chosen(&names)? {
                    series.ensure(refresh)?;
                }
                setup::qemu()?;
                setup::busybox()?;
                Ok("ok".to_owned())
            },
        ),
        Stage::new("initramfs", "the test kernels' user space", {
            let args = args.args.clone();
            move || {
                machine(&args)?;
                Ok("ok".to_owned())
            }
        })
        .after(&["fetch kernels", "build and lint"]),
    ];
    // The newest takes the whole machine, and the others a half each: nothing waits for it if it is the first.
    let newest = SERIES.len() - 1;
    for age in [newest].into_iter().chain(0..newest) {
        let series = &SERIES[age];
        let words = args.args.clone();
        let plan = match args.brief {
            true => Plan::brief(age),
            false => Plan::whole(),
        };
        let cpus = plan.cpus;
        let stage = Stage::new(series.stage, series.why, move || {
            report::boot(
                machine(&words)?,
                series.stage,
                &series.ensure(false)?,
                &plan,
            )
        });
        stages.push(stage.after(&["initramfs"]).cpus(cpus));
    }
    stages
}

/// Tests for a kernel, and its number of processors.
#[derive(Clone, Debug)]
struct Plan {
    cpus: usize,
    left_out: LeftOut,
}

impl Plan {
    /// Everything, and two processors, for what several of them do at once.
    fn whole() -> Self {
        Self {
            cpus: 2,
            left_out: LeftOut::default(),
        }
    }

    /// Returns the tests that `test` runs on the kernel at this index.
    ///
    /// One processor: two that are emulated do a third more work for the same, in waiting for each other, and another kernel
    /// has the machine's other one meanwhile. What several do at once is this machine's kernel's to show. But the newest has two:
    /// since Linux 7.0 a program may lose its processor, and is skipped there until it has it back, which is often where there is one.
    fn brief(age: usize) -> Self {
        // The agent, and when and how a run ends, is user space for the most part; the rest of it is for the oldest kernel, of which
        // the least can be expected. What is lost under load, and what memory that takes, is for the oldest and the newest.
        const RUNS: [&str; 3] = ["bounds::", "refused::", "alone::storm::"];
        let (cpus, programs, more): (_, &[_], &[_]) = match age {
            0 => (1, &["terminal"], &[]),
            _ if age + 1 == SERIES.len() => (2, &["terminal", "agent"], &RUNS[..2]),
            _ => (1, &["terminal", "agent"], &RUNS),
        };
        Self {
            cpus,
            left_out: LeftOut {
                programs: programs.to_vec(),
                tests: [&test::USER_SPACE, &[test::HERE][..], more].concat(),
            },
        }
    }
}

/// Prepares the initramfs of the kernels, once.
fn machine(args: &[String]) -> Result<&'static Machine> {
    static MACHINE: OnceLock<Result<Machine, String>> = OnceLock::new();
    let machine = MACHINE.get_or_init(|| pack(args).map_err(|error| format!("{error:#}")));
    machine.as_ref().map_err(|error| anyhow!("{error}"))
}

fn pack(args: &[String]) -> Result<Machine> {
    let qemu = setup::qemu()?;
    let busybox = setup::busybox()?;
    let step = Step::start("initramfs", "packing the test kernels' user space");
    let folder = workspace::target().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let initramfs = folder.join("initramfs.cpio");
    initramfs::write(&initramfs, &busybox, programs::built()?, args)?;
    let size = fs::metadata(&initramfs)?.len() >> 20;
    step.done(&format!("{size} MiB"));
    let accelerator = boot::accelerator(&qemu, &SERIES[0].ensure(false)?, &initramfs)?;
    print_line("test kernels", accelerator.about());
    Ok(Machine {
        qemu,
        accelerator,
        initramfs,
        deadline: DEADLINE,
    })
}

fn list() -> Result<String> {
    let mut rows = Vec::new();
    for series in &SERIES {
        let fetched = series.cached()?;
        let fetched = fetched.map_or_else(|| "not yet".to_owned(), |kernel| kernel.version);
        rows.push(vec![series.name.to_owned(), fetched, series.why.to_owned()]);
    }
    Ok(table(&["KERNEL", "FETCHED", "WHY"], &rows))
}

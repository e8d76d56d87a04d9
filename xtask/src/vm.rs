//! `vm`: the tests on real kernels, from the oldest supported to the newest, each in its own machine.

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
    screen::{Step, say, table},
    setup,
    stage::Stage,
    test, workspace,
};

/// When a kernel is given up that is not silent: three times what it takes with a machine for itself.
const DEADLINE: Duration = Duration::from_secs(45 * 60);

/// The capabilities of `tracejob` on the test kernels: what a hardened cluster grants, which is the harder case.
const CAPABILITIES: &str = "bpf,perfmon";

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

    /// All kernels, and the tests whose name contains this.
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

/// One stage for each kernel, the oldest and the newest first, which run most tests; and the stages that fetch and pack.
pub(crate) fn stages(args: &Args) -> Vec<Stage> {
    let refresh = args.refresh;
    let mut stages = vec![
        Stage::new(
            "fetch kernels",
            "Debian's kernels, and what they run in",
            move || {
                for series in &SERIES {
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
    let (between, ends): (Vec<_>, Vec<_>) = SERIES.iter().partition(|series| !series.is_end());
    for series in ends.into_iter().chain(between) {
        let args = args.clone();
        let stage = Stage::new(series.stage, series.why, move || {
            let left_out = match (args.brief, series.is_end()) {
                (false, _) => LeftOut::default(),
                (true, true) => LeftOut::ON_ALL_KERNELS,
                (true, false) => LeftOut::BETWEEN,
            };
            report::boot(machine(&args.args)?, &series.ensure(false)?, left_out)
        });
        stages.push(stage.after(&["initramfs"]).cpus(CPUS));
    }
    stages
}

/// Processors of a test kernel.
const CPUS: usize = 2;

/// What a brief run leaves out on a kernel.
#[derive(Clone, Copy, Debug, Default)]
struct LeftOut {
    program: Option<&'static str>,
    /// How the names of the tests begin.
    tests: &'static [&'static str],
}

impl LeftOut {
    /// On the oldest and the newest kernel.
    const ON_ALL_KERNELS: Self = Self {
        program: None,
        tests: &test::USER_SPACE,
    };
    /// On kernels between them: the agent, of which most is user space, and accounting and memory under load.
    const BETWEEN: Self = Self {
        program: Some("agent"),
        tests: &["alone::storm::"],
    };
}

/// What the kernels are booted with; the first caller packs it.
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
    say("test kernels", accelerator.about());
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

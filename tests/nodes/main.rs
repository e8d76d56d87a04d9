//! A whole cluster: kubelets on two kernels, the chart installed on them, and jobs. All tests share it; or they run on a cluster that
//! is there (TRACEJOB_KUBECONFIG), without those that take its parts away.
//!
//! `nodes serve FOLDER` starts the same cluster for a developer, until it is told to end: `cargo xtask cluster up`.
#![allow(
    clippy::unwrap_used,
    reason = "tests fail by panics, and what serves has nobody else to tell"
)]

mod broken;
mod cluster;
mod jobs;

use cluster::Cluster;
use libtest_mimic::{Arguments, Trial};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{fs, path::Path, process::ExitCode, sync::Arc};
use tests::{Nodes, cluster_program};

/// Tests that run side by side: they wait for pods most of the time.
const AT_ONCE: usize = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, folder] = &*words
        && word == "serve"
    {
        serve(Path::new(folder));
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    if arguments.list {
        libtest_mimic::run(&arguments, trials(None)).exit();
    }
    let cluster = Arc::new(Cluster::find());
    // First what runs side by side, then what breaks the cluster.
    let (side_by_side, alone) = trials(Some(&cluster))
        .into_iter()
        .partition(|trial| trial.kind() != broken::KIND);
    let mut failed = false;
    for (trials, threads) in [(side_by_side, AT_ONCE), (alone, 1)] {
        let arguments = Arguments {
            test_threads: Some(arguments.test_threads.unwrap_or(threads)),
            ..arguments.clone()
        };
        let conclusion = libtest_mimic::run(&arguments, trials);
        failed |= conclusion.has_failed();
    }
    match failed {
        true => {
            cluster.tell();
            ExitCode::FAILURE
        }
        false => ExitCode::SUCCESS,
    }
}

fn trials(cluster: Option<&Arc<Cluster>>) -> Vec<Trial> {
    let one = |(name, test): (&'static str, fn(&Cluster)), kind: &str| {
        let cluster = cluster.cloned();
        let run = move || {
            if let Some(cluster) = cluster {
                test(&cluster);
            }
            Ok(())
        };
        Trial::test(name, run).with_kind(kind)
    };
    let jobs = jobs::TESTS.into_iter().map(|test| one(test, ""));
    // They take away what is not ours where the cluster is not.
    let ours = cluster.is_none_or(|cluster| cluster.is_ours());
    let broken = broken::TESTS
        .into_iter()
        .map(|test| one(test, broken::KIND).with_ignored_flag(!ours));
    jobs.chain(broken).collect()
}

/// Until it is told to end.
fn serve(folder: &Path) {
    let mut signals = Signals::new([SIGTERM, SIGINT]).unwrap();
    fs::write(folder.join("pid"), std::process::id().to_string()).unwrap();
    let nodes = Nodes::start(|what| println!("{what}"));
    println!("installing TraceJob");
    nodes.install(&[]);
    let plane = nodes.plane();
    fs::copy(plane.admin(), folder.join("admin.kubeconfig")).unwrap();
    fs::write(folder.join("net"), plane.net().name()).unwrap();
    let kubectl = cluster_program("kubectl");
    fs::write(folder.join("kubectl"), kubectl.display().to_string()).unwrap();
    fs::write(folder.join("ready"), "").unwrap();
    println!("ready");
    signals.forever().next();
    println!("ending");
}

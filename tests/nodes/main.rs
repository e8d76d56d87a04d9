//! A whole cluster: kubelets on two kernels, the chart installed on them, and jobs. All tests share it; or they run on a cluster that
//! is there (TRACEJOB_KUBECONFIG), without those that take its parts away. With TRACEJOB_NODES_SHORT only the short form runs.
//!
//! `nodes serve FOLDER` starts the same cluster for a developer, until it is stopped: `cargo xtask cluster up`.
#![allow(
    clippy::unwrap_used,
    reason = "tests fail by panics, and errors of `serve` have no other output"
)]

mod broken;
mod cluster;
mod jobs;

use cluster::{Cluster, Test};
use libtest_mimic::{Arguments, Trial};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{fs, panic::AssertUnwindSafe, path::Path, process::ExitCode, sync::Arc};
use tests::{Nodes, cluster_program};

/// Settings of the chart in the short form: a pod less of each is a minute less of an emulated machine, and node-2 is powered off.
const SHORT: [&str; 2] = [
    "--set",
    "controller.replicas=1,gateway.replicas=1,\
     controller.nodeSelector.kubernetes\\.io/hostname=node-1,gateway.nodeSelector.kubernetes\\.io/hostname=node-1",
];

/// Tests that run side by side: they wait for pods most of the time, and pods take a processor that is emulated.
fn at_once() -> usize {
    cluster::processors().div_ceil(2).clamp(1, 3)
}

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
        let all = jobs::TESTS.into_iter().chain(broken::TESTS);
        let trials = all.map(|test| Trial::test(test.name, || Ok(())));
        libtest_mimic::run(&arguments, trials.collect()).exit();
    }
    let is_short = std::env::var_os("TRACEJOB_NODES_SHORT").is_some();
    let cluster = Arc::new(Cluster::find(if is_short { &SHORT } else { &[] }));
    let mut failed = false;
    // First what runs side by side, then what breaks the cluster: not where it is another's.
    for (tests, at_once, allowed) in [
        (&jobs::TESTS[..], at_once(), true),
        (&broken::TESTS[..], 1, cluster.is_ours()),
    ] {
        let arguments = Arguments {
            test_threads: Some(arguments.test_threads.unwrap_or(at_once)),
            ..arguments.clone()
        };
        let trials = tests.iter().map(|test| {
            let cluster = Arc::clone(&cluster);
            let &Test { name, run, .. } = test;
            let left_out = is_short && !test.is_short;
            let run = move || {
                if left_out {
                    println!(
                        "SKIPPED {name}: not in the short form; `cargo xtask cluster test` runs it"
                    );
                    return Ok(());
                }
                // An emulated machine sometimes hangs: the test runs once more, and is reported by name.
                if let Err(why) = attempt(run, &cluster, 1) {
                    println!("RAN AGAIN {name}: {why}");
                    attempt(run, &cluster, 2)?;
                }
                Ok(())
            };
            Trial::test(name, run).with_ignored_flag(!allowed)
        });
        failed |= libtest_mimic::run(&arguments, trials.collect()).has_failed();
    }
    match failed {
        true => {
            cluster.print_state();
            ExitCode::FAILURE
        }
        false => ExitCode::SUCCESS,
    }
}

fn attempt(test: fn(&Cluster), cluster: &Cluster, number: usize) -> Result<(), String> {
    cluster::ATTEMPT.set(number);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| test(cluster)));
    outcome.map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => match panic.downcast::<&str>() {
            Ok(message) => (*message).to_owned(),
            Err(_) => "it panicked".to_owned(),
        },
    })
}

/// Serves until it is stopped.
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

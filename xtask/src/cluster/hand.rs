//! The cluster that a developer starts by hand: a daemon, and a folder with its address.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::environment;
use crate::{process, programs, screen::Step, test, workspace};
use anyhow::{Context, Result, bail};

/// Timeout of the start, until the last pod runs.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Timeout of the end.
const END: Duration = Duration::from_secs(30);

fn folder() -> PathBuf {
    workspace::target().join("cluster")
}

/// Returns the daemon's process, if it runs.
fn running() -> Option<u32> {
    let pid = fs::read_to_string(folder().join("pid")).ok()?;
    let pid: u32 = pid.trim().parse().ok()?;
    // Another process may have its number now.
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = folder();
    let ours = ours.as_os_str().as_encoded_bytes();
    command
        .windows(ours.len())
        .any(|words| words == ours)
        .then_some(pid)
}

pub(super) fn up() -> Result<()> {
    test::require_root()?;
    if running().is_some() {
        bail!("the cluster is up; `cargo xtask cluster down` ends it");
    }
    let environment = environment()?;
    let program = &programs::built()?.test("nodes")?.path;
    let folder = folder();
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let step = Step::start("cluster", "two nodes, and TraceJob on them; 3 min");
    let log = folder.join("log");
    let output = fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    step.follow(log.clone());
    // It stays when we and the terminal are gone.
    let mut child = Command::new("setsid")
        .arg(program)
        .arg("serve")
        .arg(&folder)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("starting setsid (util-linux)")?;
    let since = Instant::now();
    while !folder.join("ready").exists() {
        let ended = child.try_wait().context("waiting for it")?.is_some();
        if ended || since.elapsed() > PATIENCE {
            step.failed();
            bail!(
                "the cluster did not start; {} has the reason",
                workspace::short(&log)
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    step.done("up");
    println!(
        "\n  cargo xtask cluster kubectl get nodes\n  cargo xtask cluster kubectl get pods -A\n  cargo xtask cluster kubectl explain tracejob.spec.tracer\n  cargo xtask demo --cluster\n  cargo xtask cluster down"
    );
    Ok(())
}

pub(super) fn down() -> Result<()> {
    let Some(pid) = running() else {
        println!("no cluster is up");
        return Ok(());
    };
    process::output(Command::new("kill").args(["-TERM", &pid.to_string()]))?;
    let since = Instant::now();
    while running().is_some() {
        if since.elapsed() > END {
            bail!("the cluster (process {pid}) does not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("the cluster is down");
    Ok(())
}

/// Returns the error of a missing cluster.
pub(super) fn must_be_up() -> Result<()> {
    if running().is_none() {
        bail!("no cluster is up; `cargo xtask cluster up` starts one");
    }
    Ok(())
}

pub(super) fn kubectl(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Err(command(&arguments)?.exec()).context("starting ip (Debian's iproute2)")
}

/// kubectl on it.
pub(super) fn command(arguments: &[&str]) -> Result<Command> {
    must_be_up()?;
    let read = |name: &str| {
        let file = folder().join(name);
        let text = fs::read_to_string(&file);
        text.with_context(|| format!("reading {}: the cluster is not up yet", file.display()))
    };
    let (net, program) = (read("net")?, read("kubectl")?);
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", net.trim(), program.trim(), "--kubeconfig"])
        .arg(folder().join("admin.kubeconfig"))
        .args(arguments)
        .env("HOME", folder());
    Ok(command)
}

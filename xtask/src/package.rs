//! Stages of `test` for released files: the systemd unit, and the agent's image, which is built, run and queried.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    images::{self, AGENT, Buildah},
    process,
    programs::{self, Programs},
    screen::Step,
    test, workspace,
};

const UNIT: &str = "agent/package/tracejob-agent.service";
/// Capabilities that buildah gives a container by default.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
/// Timeout of the agent in its container, which takes less than a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// Maximum exposure by `systemd-analyze security`, of 10 (in tenths). An ordinary unit has 9.6.
const EXPOSURE_MOST: u32 = 25;

/// The unit, and the agent's image as it is shipped, for `cargo xtask package`.
pub(crate) fn run() -> Result<()> {
    test::require_root()?;
    test::only("package", &["unit of systemd"])?;
    println!("{}", image_of(&programs::shipped(&["agent", "cli"])?)?);
    Ok(())
}

/// Checks the unit with systemd.
pub(crate) fn unit() -> Result<String> {
    let Some(program) = workspace::find_program("systemd-analyze") else {
        return Ok("skipped: no systemd-analyze is here".to_owned());
    };
    let step = Step::start("unit of systemd", "systemd-analyze verify and security");
    let folder = images::folder()?;
    // systemd requires the program at the path of the unit.
    let agent = programs::built()?.file(AGENT.program())?;
    let text = fs::read_to_string(workspace::root().join(UNIT)).context("reading the unit")?;
    let text = text.replace("/usr/bin/tracejob-agent", &agent.display().to_string());
    let unit = folder.join("tracejob-agent.service");
    fs::write(&unit, text).with_context(|| format!("writing {}", unit.display()))?;
    let mut verify = Command::new(&program);
    verify.arg("verify").arg(&unit);
    let (status, log) = process::logged(&step, "unit-verify", &mut verify)?;
    if !status.success() {
        return Err(process::failure(&verify, status, &log));
    }
    // systemd ignores unknown settings with a message, and does not fail.
    let text = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    if let Some(line) = text
        .lines()
        .find(|line| line.contains("tracejob-agent.service:"))
    {
        step.failed();
        bail!("systemd-analyze verify: {line}");
    }
    let mut command = Command::new(&program);
    command
        .args(["security", "--no-pager", "--offline=true"])
        .arg(&unit);
    let printed = match process::captured(&step, "unit-security", &mut command) {
        Ok(printed) => printed,
        // Before systemd 250, only loaded units are analyzed.
        Err(_) => {
            step.done("verified; this systemd judges no file");
            return Ok("verified".to_owned());
        }
    };
    let exposure = exposure(&printed).context("systemd-analyze prints no level of exposure")?;
    if exposure > EXPOSURE_MOST {
        step.failed();
        bail!(
            "the unit is exposed by {exposure} tenths, and {EXPOSURE_MOST} are the most:\n{printed}"
        );
    }
    let result = format!("exposure {}.{} of 10", exposure / 10, exposure % 10);
    step.done(&result);
    Ok(result)
}

/// `→ Overall exposure level for UNIT: 2.0 OK 🙂`, in tenths.
fn exposure(printed: &str) -> Option<u32> {
    let line = printed
        .lines()
        .find(|line| line.contains("Overall exposure level"))?;
    let level = line.rsplit_once(": ")?.1.split(' ').next()?;
    let (whole, tenths) = level.split_once('.')?;
    Some(whole.parse::<u32>().ok()? * 10 + tenths.parse::<u32>().ok()?)
}

/// Builds the agent's image from the program of the tests, runs it, and requests its capabilities over gRPC.
pub(crate) fn image() -> Result<String> {
    image_of(programs::built()?)
}

fn image_of(programs: &Programs) -> Result<String> {
    test::require_root()?;
    let folder = images::folder()?;
    let tool = Buildah::new(&folder)?;
    let reference = AGENT.for_tests();
    let program = images::stripped(programs, AGENT.program(), &folder.join(AGENT.component()))?;
    AGENT.build(&tool, &program, &reference)?;
    let step = Step::start("image", "run and queried");
    let container = process::captured(
        &step,
        "image-from",
        &mut tool.command(&["from", "--pull-never", &reference]),
    )?;
    let container = Container {
        tool: &tool,
        name: container.trim().to_owned(),
    };
    let tracers = container.query(&step, &folder, programs)?;
    drop(container);
    let result = format!(
        "{} KiB, {tracers} tracers work in it",
        fs::metadata(&program)?.len() / 1024
    );
    step.done(&result);
    Ok(result)
}

/// A container, removed when it is dropped.
struct Container<'a> {
    tool: &'a Buildah,
    name: String,
}

impl Container<'_> {
    /// Runs the agent with its socket in a temporary folder, and counts the tracers that work there.
    fn query(&self, step: &Step, folder: &Path, programs: &Programs) -> Result<usize> {
        let socket = folder.join("run/agent.sock");
        let run = folder.join("run");
        let _ = fs::remove_dir_all(&run);
        fs::create_dir_all(&run)?;
        fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let volume = format!("{}:/run/tracejob", run.display());
        let mut command = self.tool.command(&["run", "--isolation", "chroot"]);
        // `--cap-drop all` would drop the added capabilities, too.
        for dropped in DEFAULT_CAPABILITIES {
            command.args(["--cap-drop", dropped]);
        }
        command.args([
            "--cap-add",
            "CAP_BPF",
            "--cap-add",
            "CAP_PERFMON",
            "--volume",
            &volume,
        ]);
        // buildah runs the given command: here, the command of the image.
        let entry = "{{range .OCIv1.Config.Entrypoint}}{{.}}{{end}}";
        let reference = AGENT.for_tests();
        let inspect = ["inspect", "--type", "image", "--format", entry, &reference];
        let entry = process::output(&mut self.tool.command(&inspect))?;
        command.args([&self.name, "--", entry.trim()]);
        let log = workspace::logs().join("image-run.log");
        let output =
            fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        step.follow(log.clone());
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting buildah")?;
        let mut running = Running(child);
        let since = Instant::now();
        while !socket.exists() {
            if let Some(status) = running.0.try_wait()? {
                bail!(
                    "the agent in its image ended at once ({status}); {} has the reason",
                    workspace::short(&log)
                );
            }
            if since.elapsed() > PATIENCE {
                bail!(
                    "the agent in its image does not listen; {} may have the reason",
                    workspace::short(&log)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut command = Command::new(programs.file("tracejob")?);
        command.args([
            "list",
            "-o",
            "json",
            "--agent",
            &format!("unix://{}", socket.display()),
        ]);
        let printed = process::captured(step, "image-queried", &mut command)?;
        let printed: serde_json::Value =
            serde_json::from_str(&printed).context("reading what it can trace")?;
        let tracers = printed["tracers"].as_array().into_iter().flatten();
        match tracers.filter(|tracer| tracer["supported"] == true).count() {
            0 => bail!("the agent in its image can trace nothing: {printed}"),
            count => Ok(count),
        }
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // What is left lies under target/.
        let _ = process::output(&mut self.tool.command(&["rm", &self.name]));
    }
}

/// Ends the container when it is dropped: the agent is a child of buildah, which forwards the signal.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        let _ = process::output(Command::new("kill").args(["-TERM", &pid]));
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_of_exposure_is_read_in_tenths() {
        let printed = "✓ NAME\n\n→ Overall exposure level for a.service: 2.0 OK 🙂\n";
        assert_eq!(exposure(printed), Some(20));
        assert_eq!(
            exposure("→ Overall exposure level for a: 10.0 UNSAFE"),
            Some(100)
        );
        assert_eq!(exposure("nothing"), None);
    }
}

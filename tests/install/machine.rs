//! A machine for the commands of the page: this one's files, of which it changes only copies, in the network of an API server.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tests::{Containerd, ControlPlane, cluster_program, folder, until};

/// Makes `/usr`, `/etc` and `/run` the machine's own. It lives until its input ends.
const OWN: &str = r#"
mount -t tmpfs layers "$0"
for name in usr etc; do
  mkdir -p "$0/$name/upper" "$0/$name/work"
  mount -t overlay -o "lowerdir=/$name,upperdir=$0/$name/upper,workdir=$0/$name/work" overlay "/$name"
done
mount -t tmpfs run /run
# skopeo requires a policy of trust.
mkdir -p /etc/containers
echo '{"default": [{"type": "insecureAcceptAnything"}]}' > /etc/containers/policy.json
echo ready
exec cat
"#;

/// The machine. Its processes end when it is dropped.
pub(crate) struct Machine {
    agent: Option<Child>,
    containerd: Option<Containerd>,
    pub(crate) plane: ControlPlane,
    holder: Child,
    folder: PathBuf,
}

impl Machine {
    /// One that has `dist/` in its folder, and the tools that the page names.
    pub(crate) fn start() -> Self {
        let folder = folder();
        // krew, as it is installed, has an index, which is a clone.
        let index = "home/.krew/index/default/.git";
        for name in ["bin", "layers", "registry/tracejob", index] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let containerd = Containerd::start(&folder.join("store"), &folder.join("containerd"));
        symlink(variable("TRACEJOB_DIST"), folder.join("dist")).unwrap();
        let bin = folder.join("bin");
        for name in ["helm", "kubectl"] {
            symlink(cluster_program(name), bin.join(name)).unwrap();
        }
        symlink(variable("TRACEJOB_SKOPEO"), bin.join("skopeo")).unwrap();
        if let Some(krew) = std::env::var_os("TRACEJOB_KREW") {
            symlink(krew, bin.join("kubectl-krew")).unwrap();
        }
        let ctr = Path::new(&variable("TRACEJOB_NODES")).join("ctr");
        script(
            &bin.join("ctr"),
            &format!(
                "exec {} --address {} \"$@\"",
                ctr.display(),
                containerd.socket().display()
            ),
        );
        // k3s puts its own ctr into this namespace.
        script(&bin.join("k3s"), "CONTAINERD_NAMESPACE=k8s.io exec \"$@\"");
        script(&bin.join("sudo"), "exec \"$@\"");
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-ec", OWN])
            .arg(folder.join("layers"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = holder.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "no file systems of its own");
        Self {
            agent: None,
            containerd: Some(containerd),
            plane: ControlPlane::start(),
            holder,
            folder,
        }
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The output of commands, which must succeed, as bash runs them from its folder.
    pub(crate) fn run(&self, commands: &str) -> String {
        let script = format!("cd {}; {commands}", self.folder.display());
        let mut command = self.plane.beside("nsenter");
        let out = command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .args(["bash", "-euo", "pipefail", "-c", &script])
            .env("HOME", self.folder.join("home"))
            .env("PATH", self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
        assert!(out.status.success(), "{commands}\n{stdout}{stderr}");
        stdout
    }

    fn path(&self) -> String {
        let more = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        format!("{}:{more}", self.folder.join("bin").display())
    }

    /// Starts what systemd would start: the program of an installed unit, with its folder below `/run`.
    pub(crate) fn start_unit(&mut self, name: &str) {
        let unit = self.run(&format!("cat /etc/systemd/system/{name}.service"));
        let value = |key: &str| {
            let line = unit.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("no {key} in the unit"))
        };
        let folder = format!("/run/{}", value("RuntimeDirectory="));
        let mode = value("RuntimeDirectoryMode=");
        self.run(&format!("install -d -m {mode} {folder}"));
        let mut command = Command::new("nsenter");
        let child = command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg(value("ExecStart="))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.agent = Some(child);
        until("the agent to listen", || {
            let agent = self.agent.as_mut()?;
            if let Some(status) = agent.try_wait().unwrap() {
                let mut text = String::new();
                let mut log = agent.stderr.take().unwrap();
                log.read_to_string(&mut text).unwrap();
                panic!("the agent ended, {status}: {text}");
            }
            let there = self.run(&format!("ls {folder}"));
            (!there.is_empty()).then_some(())
        });
    }

    /// Ends it as systemd would.
    pub(crate) fn stop_unit(&mut self) {
        let mut agent = self.agent.take().expect("the unit was started");
        let pid = rustix::process::Pid::from_child(&agent);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(agent.wait().unwrap().success());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // It may have ended already.
            let _ = agent.kill();
            let _ = agent.wait();
        }
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        drop(self.containerd.take());
        if std::thread::panicking() {
            eprintln!("files of the machine: {}", self.folder.display());
            return;
        }
        // What cannot be removed is in /tmp.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn variable(name: &str) -> std::ffi::OsString {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run by `cargo xtask`"))
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

//! containerd for tests: a store of images in a folder, by the program that the nodes of the test cluster have.

use super::nodes::folder_of;
use crate::until;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A containerd that keeps images and runs no containers. It ends when it is dropped.
pub struct Containerd {
    child: Child,
    socket: PathBuf,
}

impl Containerd {
    /// Starts one with its images in `root`, and all else in `work`.
    pub fn start(root: &Path, work: &Path) -> Self {
        fs::create_dir(work).unwrap();
        let socket = work.join("containerd.sock");
        let config = work.join("containerd.toml");
        let text = format!(
            "version = 3\nroot = {root:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\", \
             \"io.containerd.nri.v1.nri\"]\n[grpc]\naddress = {socket:?}\n[ttrpc]\naddress = {:?}\n",
            work.join("state"),
            work.join("ttrpc.sock"),
        );
        fs::write(&config, text).unwrap();
        let log = work.join("containerd.log");
        let file = fs::File::create(&log).unwrap();
        let program = folder_of("TRACEJOB_NODES").join("containerd");
        let mut child = Command::new(&program)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        until("containerd to listen", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("containerd ended, {status}; see {}", log.display());
            }
            socket.exists().then_some(())
        });
        Self { child, socket }
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the command of its client, without arguments.
    pub fn ctr(&self) -> Command {
        let mut ctr = Command::new(folder_of("TRACEJOB_NODES").join("ctr"));
        ctr.arg("--address").arg(&self.socket);
        ctr.args(["--namespace", "k8s.io"]);
        ctr
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // By a signal that it handles: its databases must be whole.
        let pid = rustix::process::Pid::from_child(&self.child);
        let ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        if ended.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

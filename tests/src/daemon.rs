//! A daemon of a test's own, for programs that are its clients.

use crate::{agent, folder, until};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
};

/// A running `tracejob-agent` with a socket of its own; killed if it is dropped.
pub struct Agent {
    child: Child,
    folder: PathBuf,
}

impl Agent {
    /// Starts one with this configuration, of which an empty one is every default, and waits until it listens.
    pub fn start(config: &str) -> Self {
        let folder = folder();
        let file = folder.join("agent.yaml");
        let config = if config.is_empty() { "{}" } else { config };
        fs::write(&file, config).unwrap();
        let started = Self {
            child: agent(&[
                "--config",
                file.to_str().unwrap(),
                "--listen",
                &format!("unix://{}", socket(&folder).display()),
            ])
            .spawn()
            .unwrap(),
            folder,
        };
        until("the agent to listen", || {
            std::os::unix::net::UnixStream::connect(started.socket()).ok()
        });
        started
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        socket(&self.folder)
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A folder that goes with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("run/agent.sock")
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What cannot be removed is in /tmp.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

//! kubectl with the rights of an administrator, on a cluster of a test or on an existing one.

use super::{cluster_program, net::command_in_net};
use serde_json::Value;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// How a cluster is talked to.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    /// The network that the API server is in, where it is not the machine's.
    net: Option<String>,
    /// Folder of its cache of the cluster.
    home: PathBuf,
}

impl Kubectl {
    /// Of a cluster in a network of its own.
    pub(crate) fn in_net(net: &str, kubeconfig: PathBuf, home: &Path) -> Self {
        Self {
            program: cluster_program("kubectl"),
            kubeconfig,
            net: Some(net.to_owned()),
            home: home.to_owned(),
        }
    }

    /// Of a cluster that is there, by the kubectl of this machine.
    pub fn of(kubeconfig: PathBuf) -> Self {
        Self {
            program: "kubectl".into(),
            kubeconfig,
            net: None,
            home: std::env::temp_dir(),
        }
    }

    /// A program that is to talk to the cluster: in its network, and with its kubeconfig.
    pub fn beside(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let mut command = match &self.net {
            Some(net) => command_in_net(net, program),
            None => Command::new(program),
        };
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home);
        command
    }

    /// Returns the command of Helm, without arguments.
    pub fn helm(&self) -> Command {
        self.beside(cluster_program("helm"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.beside(&self.program);
        command.args(arguments);
        command
    }

    /// kubectl.
    ///
    /// # Panics
    /// If there is no kubectl.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()))
    }

    /// Returns the output of kubectl, which must succeed.
    ///
    /// # Panics
    /// Where it does not.
    pub fn output_of(&self, arguments: &[&str]) -> String {
        let out = self.kubectl(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let stderr = text(&out.stderr);
        assert!(
            out.status.success(),
            "kubectl {}: {stderr}",
            arguments.join(" ")
        );
        text(&out.stdout)
    }

    /// kubectl with an object as its input.
    pub fn kubectl_with(&self, object: &Value, arguments: &[&str]) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(object.to_string().as_bytes()).unwrap();
        drop(input);
        child.wait_with_output().unwrap()
    }

    /// `kubectl apply` of objects.
    ///
    /// # Errors
    /// The message of kubectl, if it fails.
    pub fn apply(&self, objects: &[Value]) -> Result<String, String> {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let out = self.kubectl_with(&list, &["apply", "--server-side", "-f", "-"]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match out.status.success() {
            true => Ok(text(&out.stdout)),
            false => Err(text(&out.stderr)),
        }
    }

    /// An object as JSON; none where it is not there.
    pub fn get(&self, path: &str) -> Option<Value> {
        let out = self.kubectl(&["get", "--raw", path]);
        out.status
            .success()
            .then(|| serde_json::from_slice(&out.stdout).unwrap())
    }
}

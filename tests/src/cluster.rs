//! Kubernetes for tests: a real API server with its etcd, in a network namespace that the test makes and that goes with it.
//!
//! TRACEJOB_CLUSTER says where the programs are: folders with `:` between them, as `cargo xtask cluster` builds them.

mod net;
mod pki;

pub use net::Net;
pub use pki::{Certificate, Pki};

use crate::{folder, until};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// Where the API server listens.
const API: &str = "10.77.0.1:6443";

/// An API server, and what it needs. Everything ends when it is dropped.
pub struct ControlPlane {
    // Ends first.
    api: Option<Child>,
    etcd: Child,
    folder: PathBuf,
    pki: Pki,
    net: Net,
}

/// A program of the cluster.
///
/// # Panics
/// Where there is none: `cargo xtask` sets them up.
pub fn cluster_program(name: &str) -> PathBuf {
    let folders = std::env::var("TRACEJOB_CLUSTER")
        .expect("TRACEJOB_CLUSTER says where Kubernetes is: run by `cargo xtask`");
    folders
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no {name} in {folders}"))
}

impl ControlPlane {
    /// Starts one, and waits until it is ready: 3 s.
    pub fn start() -> Self {
        let folder = folder();
        let net = Net::new();
        net.address("10.77.0.1/16");
        let pki = Pki::new(&folder);
        pki.kubeconfig("admin", &["system:masters"], API);
        let etcd = Self::child(
            &net,
            &folder,
            "etcd",
            &[
                format!("--data-dir={}", folder.join("etcd").display()),
                "--unsafe-no-fsync".to_owned(),
            ],
        );
        let mut started = Self {
            api: None,
            etcd,
            folder,
            pki,
            net,
        };
        started.start_api();
        started
    }

    /// Starts the API server, again where it was stopped.
    pub fn start_api(&mut self) {
        let file = |name: &str| self.pki.file(name).display().to_string();
        let (address, port) = API.split_once(':').unwrap();
        let arguments = [
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--bind-address={address}"),
            format!("--secure-port={port}"),
            format!("--advertise-address={address}"),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!(
                "--service-account-signing-key-file={}",
                file("accounts.key")
            ),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            // Nobody makes them here: there is no controller manager.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ];
        let mut api = Self::child(&self.net, &self.folder, "kube-apiserver", &arguments);
        until("the API server to be ready", || {
            if let Some(status) = api.try_wait().unwrap() {
                let log = fs::read_to_string(self.folder.join("kube-apiserver.log"));
                let log = log.unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(3).collect();
                panic!("the API server ended, {status}: {}", end.join("\n"));
            }
            let ready = self.kubectl(&["get", "--raw", "/readyz"]);
            ready.status.success().then_some(())
        });
        self.api = Some(api);
    }

    /// Ends the API server; etcd keeps what it has.
    pub fn stop_api(&mut self) {
        if let Some(mut api) = self.api.take() {
            end(&mut api);
        }
    }

    fn child(net: &Net, folder: &Path, name: &str, arguments: &[String]) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{name}.log")))
            .unwrap();
        net.command(cluster_program(name))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The network that it is in.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Its certificate authority.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// A folder that goes with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A kubeconfig of a user in these groups.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> PathBuf {
        self.pki.kubeconfig(user, groups, API)
    }

    /// That of who may do everything.
    pub fn admin(&self) -> PathBuf {
        self.pki.file("admin.kubeconfig")
    }

    /// kubectl as who may do everything.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_command(arguments).output().unwrap()
    }

    /// The same, with an object as its input.
    pub fn kubectl_with(&self, object: &Value, arguments: &[&str]) -> Output {
        let mut child = self
            .kubectl_command(arguments)
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

    fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.net.command(cluster_program("kubectl"));
        command
            .arg("--kubeconfig")
            .arg(self.admin())
            .args(arguments)
            .env("HOME", &self.folder);
        command
    }

    /// `kubectl apply` of objects.
    ///
    /// # Errors
    /// What it says where it does not succeed.
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

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.stop_api();
        end(&mut self.etcd);
        if std::thread::panicking() {
            eprintln!("logs of the control plane: {}", self.folder.display());
            return;
        }
        // What cannot be removed is in /tmp.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn end(child: &mut Child) {
    // It may have ended already.
    let _ = child.kill();
    let _ = child.wait();
}

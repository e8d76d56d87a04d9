//! Kubernetes for tests: a real API server with its etcd, in a network namespace that the test makes and that goes with it.
//!
//! TRACEJOB_CLUSTER has the paths of the programs: folders with `:` between them, as `cargo xtask cluster` builds them.

mod containerd;
mod kubectl;
mod net;
mod nodes;
mod pki;

pub use containerd::Containerd;
pub use kubectl::Kubectl;
pub use net::{Net, enter_net};
pub use nodes::{KERNELS, Nodes, SYSTEM};
pub use pki::{Certificate, Pki};

use crate::{folder, until};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

/// Where the API server listens.
const API: &str = "10.77.0.1:6443";

/// An API server, and what it needs. Everything ends when it is dropped.
pub struct ControlPlane {
    /// Controller manager and scheduler, where it has nodes.
    managers: Vec<Child>,
    // Ends before etcd.
    api: Option<Child>,
    etcd: Child,
    whole: bool,
    kubectl: Kubectl,
    folder: PathBuf,
    pki: Pki,
    net: Net,
}

/// A program of the cluster.
///
/// # Panics
/// If the program does not exist: `cargo xtask` downloads it.
pub fn cluster_program(name: &str) -> PathBuf {
    let folders = std::env::var("TRACEJOB_CLUSTER")
        .expect("TRACEJOB_CLUSTER has the folders of Kubernetes: run `cargo xtask`");
    folders
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no {name} in {folders}"))
}

impl ControlPlane {
    /// Starts one without nodes, and waits until it is ready: 3 s.
    pub fn start() -> Self {
        Self::start_as(false)
    }

    /// One for nodes: with controller manager and scheduler, on a bridge.
    pub(crate) fn whole() -> Self {
        let mut plane = Self::start_as(true);
        for (name, user, more) in [
            (
                "kube-controller-manager",
                "system:kube-controller-manager",
                vec![
                    format!("--root-ca-file={}", plane.pki.file("ca.crt").display()),
                    format!(
                        "--service-account-private-key-file={}",
                        plane.pki.file("accounts.key").display()
                    ),
                    "--use-service-account-credentials".to_owned(),
                    // A node that is gone is to be noticed soon.
                    "--node-monitor-grace-period=24s".to_owned(),
                ],
            ),
            ("kube-scheduler", "system:kube-scheduler", Vec::new()),
        ] {
            let kubeconfig = plane.kubeconfig(user, &[]).display().to_string();
            let mut arguments = vec![
                format!("--kubeconfig={kubeconfig}"),
                "--leader-elect=false".to_owned(),
            ];
            arguments.extend(more);
            plane.managers.push(Self::child(
                &plane.net,
                &plane.folder,
                true,
                name,
                &arguments,
            ));
        }
        // kubectl logs and exec.
        let kubelets = serde_json::json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "kubelet-api"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "kube-apiserver"}],
        });
        plane.apply(&[kubelets]).unwrap();
        plane
    }

    fn start_as(whole: bool) -> Self {
        let folder = folder();
        let net = Net::new();
        match whole {
            true => net.bridge("10.77.0.1/16"),
            false => net.address("10.77.0.1/16"),
        }
        let pki = Pki::new(&folder);
        pki.kubeconfig("admin", &["system:masters"], API);
        let etcd = Self::child(
            &net,
            &folder,
            whole,
            "etcd",
            &[
                format!("--data-dir={}", folder.join("etcd").display()),
                "--unsafe-no-fsync".to_owned(),
            ],
        );
        let mut started = Self {
            managers: Vec::new(),
            api: None,
            etcd,
            whole,
            kubectl: Kubectl::in_net(net.name(), pki.file("admin.kubeconfig"), &folder),
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
        let mut arguments = vec![
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
            // Servers behind it.
            format!("--requestheader-client-ca-file={}", file("proxies.crt")),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            format!("--proxy-client-cert-file={}", file("proxy.crt")),
            format!("--proxy-client-key-file={}", file("proxy.key")),
            // Addresses of services lead nowhere from where it is: it calls their endpoints.
            "--enable-aggregator-routing=true".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        arguments.extend(match self.whole {
            // No controller manager creates them here.
            false => vec!["--disable-admission-plugins=ServiceAccount".to_owned()],
            true => vec![
                "--enable-admission-plugins=NodeRestriction".to_owned(),
                format!("--kubelet-client-certificate={}", file("apiserver.crt")),
                format!("--kubelet-client-key={}", file("apiserver.key")),
                // No name server resolves the names of nodes.
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
            ],
        });
        let mut api = Self::child(
            &self.net,
            &self.folder,
            self.whole,
            "kube-apiserver",
            &arguments,
        );
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

    /// One that is `whole` ends with the thread that starts it, however that ends: a cluster stays in its main thread, and is not
    /// to be left where that is killed.
    fn child(net: &Net, folder: &Path, whole: bool, name: &str, arguments: &[String]) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{name}.log")))
            .unwrap();
        let program = cluster_program(name);
        let mut command = match whole {
            false => net.command(program),
            true => {
                let mut command = net.command("setpriv");
                command.args(["--pdeathsig", "KILL"]).arg(program);
                command
            }
        };
        command
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

    /// The kubeconfig of an administrator.
    pub fn admin(&self) -> PathBuf {
        self.pki.file("admin.kubeconfig")
    }
}

/// kubectl with the rights of an administrator.
impl std::ops::Deref for ControlPlane {
    type Target = Kubectl;

    fn deref(&self) -> &Kubectl {
        &self.kubectl
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for manager in &mut self.managers {
            end(manager);
        }
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

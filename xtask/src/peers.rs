//! The tools that TraceJob is compared with: Debian sid's, with their C library, unpacked under `target/tools`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    debian::{self, Archive, newest},
    screen::{Step, print_line},
    workspace,
};

/// Packages, the newest of each.
const PACKAGES: [&str; 4] = ["bpftrace", "libbpf-tools", "linux-perf", "strace"];
/// Prefix of the folder's name; the versions follow.
const PREFIX: &str = "sid-";

/// The folder that they are in, as if it were `/`; `versions` in it has a line for each package.
pub(crate) fn ensure() -> Result<PathBuf> {
    if let Some(folder) = here() {
        print_line("peers", "here");
        return Ok(folder);
    }
    debian::require_apt("what TraceJob is measured beside")?;
    let step = Step::start(
        "peers",
        "fetching bpftrace, libbpf-tools, perf and strace of Debian sid; minutes",
    );
    let archive = Archive::open(&step, "sid", &["sid"])?;
    let known = archive.packages()?;
    let mut versions = Vec::new();
    for package in PACKAGES {
        let versions_of_it = known.iter().filter(|known| known.name == package);
        let Some(newest) = newest(versions_of_it, |known| &known.version)? else {
            bail!("Debian sid has no package {package} for this machine")
        };
        versions.push((package, newest.version.as_str()));
    }
    let each = |between: &str| -> Vec<String> {
        let pairs = versions.iter();
        pairs
            .map(|(package, version)| format!("{package}{between}{version}"))
            .collect()
    };
    let folder = workspace::tools().join(format!(
        "{PREFIX}{}",
        each("-").join("_").replace(['/', ':'], ".")
    ));
    archive.unpack_from_nothing(&step, &each("="), &folder)?;
    let text = each(" ").join("\n") + "\n";
    let file = versions_of(&folder);
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    step.done("fetched");
    Ok(folder)
}

fn versions_of(folder: &Path) -> PathBuf {
    folder.join("versions")
}

fn here() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(workspace::tools())
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(PREFIX)) && versions_of(path).is_file()
        })
        .collect();
    folders.sort();
    folders.pop()
}

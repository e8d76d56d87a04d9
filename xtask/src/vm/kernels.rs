//! The test kernels: Debian's, from the oldest supported to the newest.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    debian::{self, Archive, Package},
    screen::{Step, print_line},
    workspace,
};

/// A series of kernels. The newest one is tested.
#[derive(Debug)]
pub(crate) struct Series {
    /// Value of `--kernel`, and prefix of the series' versions.
    pub(crate) name: &'static str,
    /// The name of its stage.
    pub(crate) stage: &'static str,
    /// Suites with its packages. Suites that the mirror has removed are skipped.
    suites: &'static [&'static str],
    /// Why it is tested.
    pub(crate) why: &'static str,
    /// The capabilities of `tracejob` there.
    pub(crate) capabilities: &'static str,
}

/// What a hardened cluster grants, which is the harder case.
const HARDENED: &str = "bpf,perfmon";
/// With names of functions. Sets of points that need their addresses are tested with it.
const WITH_NAMES: &str = "bpf,perfmon,syslog,sys_ptrace";

/// Oldest first.
pub(crate) const SERIES: [Series; 4] = [
    Series {
        name: "5.10",
        stage: "kernel 5.10",
        suites: &["bullseye-security", "bullseye"],
        why: "the oldest supported: memory is charged to RLIMIT_MEMLOCK",
        capabilities: HARDENED,
    },
    Series {
        name: "6.1",
        stage: "kernel 6.1",
        suites: &["bookworm-security", "bookworm"],
        why: "Debian 12: no uprobe.multi",
        capabilities: WITH_NAMES,
    },
    Series {
        name: "6.12",
        stage: "kernel 6.12",
        suites: &["trixie-security", "trixie"],
        why: "Debian 13",
        capabilities: HARDENED,
    },
    // Two suites: sid's kernel is at times older than the one that is already built for the release.
    Series {
        name: "7",
        stage: "kernel 7",
        suites: &["sid", "trixie-backports"],
        why: "the newest in Debian",
        capabilities: WITH_NAMES,
    },
];

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// The series' name.
    pub(crate) series: &'static str,
    /// The package's version.
    pub(crate) version: String,
    /// The image.
    pub(crate) image: PathBuf,
}

/// A kernel's package on the mirror.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    /// The series' name.
    pub(crate) series: &'static str,
    /// Release as uname prints it: `6.1.0-56-cloud-amd64`.
    pub(crate) release: String,
    /// The package's version.
    pub(crate) version: String,
    /// The suites that may have it.
    pub(crate) suites: &'static [&'static str],
}

/// Returns the newest kernels of these series on the mirror.
pub(crate) fn releases(names: &[&str]) -> Result<Vec<Release>> {
    names.iter().map(|name| by_name(name)?.release()).collect()
}

/// The series that are named, or all.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Series>> {
    if names.is_empty() {
        return Ok(SERIES.iter().collect());
    }
    names.iter().map(|name| by_name(name)).collect()
}

pub(super) fn by_name(name: &str) -> Result<&'static Series> {
    let known = SERIES.map(|series| series.name).join(", ");
    // `7.3` and `7.x` are what people call it.
    let found = SERIES.iter().find(|series| {
        series.name == name
            || name
                .strip_prefix(series.name)
                .is_some_and(|rest| rest.starts_with('.'))
    });
    found.with_context(|| format!("no kernel is called {name:?}; there are {known}"))
}

impl Series {
    /// The newest kernel that was fetched, if any.
    pub(crate) fn cached(&'static self) -> Result<Option<Kernel>> {
        let folder = workspace::fetched().join("kernels");
        let names = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let versions = names.filter(|name| self.has(name));
        let Some(version) = debian::newest(versions, |version| version)? else {
            return Ok(None);
        };
        let image = folder.join(&version).join("vmlinuz");
        Ok(image.is_file().then_some(Kernel {
            series: self.name,
            version,
            image,
        }))
    }

    /// Returns the kernel to test: the one that was fetched, or the mirror's newest if there is none or with `refresh`.
    pub(crate) fn ensure(&'static self, refresh: bool) -> Result<Kernel> {
        let step_name = format!("kernel {}", self.name);
        if let (false, Some(kernel)) = (refresh, self.cached()?) {
            print_line(&step_name, &format!("{} here", kernel.version));
            return Ok(kernel);
        }
        debian::require_apt("a test kernel")?;
        let step = Step::start(
            &step_name,
            &format!("fetching from {}: {}", self.suites.join(" or "), self.why),
        );
        let (package, archive) = self.newest(&step)?;
        let folder = workspace::fetched().join("kernels").join(&package.version);
        let image = folder.join("vmlinuz");
        if !image.is_file() {
            let unpacked = workspace::fetched()
                .join("kernels/unpacked")
                .join(self.name);
            archive.unpack_alone(&step, &package, &unpacked)?;
            let found = find_image(&unpacked)
                .with_context(|| format!("Debian's package {} holds no vmlinuz", package.name))?;
            fs::create_dir_all(&folder)
                .with_context(|| format!("creating {}", folder.display()))?;
            fs::rename(&found, &image)
                .with_context(|| format!("moving {} into place", image.display()))?;
            fs::remove_dir_all(&unpacked)
                .with_context(|| format!("removing {}", unpacked.display()))?;
        }
        step.done(&format!("{} ({}) fetched", package.version, package.name));
        Ok(Kernel {
            series: self.name,
            version: package.version,
            image,
        })
    }

    fn release(&'static self) -> Result<Release> {
        let step = Step::start(
            &format!("kernel {}", self.name),
            "looking for its newest package",
        );
        let (package, _) = self.newest(&step)?;
        step.done(&format!("{} ({})", package.version, package.name));
        Ok(Release {
            series: self.name,
            release: package.name.trim_start_matches("linux-image-").to_owned(),
            version: package.version,
            suites: self.suites,
        })
    }

    /// Returns the newest package with a kernel image, and its source.
    fn newest(&self, step: &Step) -> Result<(Package, Archive)> {
        let archive = Archive::open(step, &format!("kernel-{}", self.name), self.suites)?;
        match newest(self, archive.packages()?)? {
            Some(package) => Ok((package, archive)),
            None => bail!(
                "no {}.* cloud kernel for amd64 is in {}",
                self.name,
                self.suites.join(" or ")
            ),
        }
    }

    fn has(&self, version: &str) -> bool {
        version
            .strip_prefix(self.name)
            .is_some_and(|rest| rest.starts_with('.'))
    }
}

/// The newest package of the series that holds an image.
fn newest(series: &Series, packages: Vec<Package>) -> Result<Option<Package>> {
    let is_kernel = |package: &Package| {
        let release = package
            .name
            .strip_prefix("linux-image-")
            .or_else(|| package.name.strip_prefix("linux-binary-"));
        release
            .and_then(|release| release.strip_suffix("-cloud-amd64"))
            .is_some_and(|release| series.has(release))
            && series.has(&package.version)
    };
    let mut kernels: Vec<Package> = packages.into_iter().filter(is_kernel).collect();
    // The first one counts among equal versions: since 7 the image is in linux-binary, and linux-image only depends on it.
    kernels.sort_by(|one, other| one.name.cmp(&other.name));
    debian::newest(kernels, |package| &package.version)
}

fn find_image(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if entry.file_type().ok()?.is_dir() {
            return find_image(&path);
        }
        entry
            .file_name()
            .to_str()?
            .starts_with("vmlinuz")
            .then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn the_newest_image_of_the_series_is_chosen() {
        let series = &SERIES[2];
        let packages = vec![
            package("linux-image-6.12-cloud-amd64", "6.12.117-1"),
            package("linux-image-6.12.96+deb13-cloud-amd64", "6.12.96-1"),
            package("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1"),
            package("linux-image-6.12.117+deb13-cloud-amd64-dbg", "6.12.117-1"),
            package("linux-image-6.19.1+deb13-cloud-amd64", "6.19.1-1"),
            package("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
        ];
        assert_eq!(
            newest(series, packages)
                .unwrap()
                .map(|package| package.name)
                .as_deref(),
            Some("linux-image-6.12.117+deb13-cloud-amd64")
        );
    }

    #[test]
    fn an_image_package_that_only_depends_is_not_chosen() {
        let packages = vec![
            package("linux-binary-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
            package(
                "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
                "7.3.4-1~bpo13+1",
            ),
            package("linux-image-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
        ];
        assert_eq!(
            newest(&SERIES[3], packages)
                .unwrap()
                .map(|package| package.name)
                .as_deref(),
            Some("linux-binary-7.3.4+deb13-cloud-amd64")
        );
    }

    #[test]
    fn a_kernel_is_named_by_its_series_or_more() {
        assert_eq!(chosen(&["7.3".to_owned()]).unwrap()[0].name, "7");
        assert_eq!(chosen(&["6.1".to_owned()]).unwrap()[0].name, "6.1");
        let error = chosen(&["4.19".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no kernel is called \"4.19\"; there are 5.10, 6.1, 6.12, 7"
        );
    }
}

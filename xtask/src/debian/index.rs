//! The packages of a suite, from apt's list, and the newest of several versions.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// One package in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name, which for kernels holds the release: `linux-image-6.1.0-56-cloud-amd64`.
    pub(crate) name: String,
    /// Debian's version of it: `6.1.192-2`.
    pub(crate) version: String,
}

/// The packages in the output of `apt-cache dumpavail`.
pub(crate) fn parse(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        if let (Some(name), Some(version)) = (field("Package"), field("Version")) {
            packages.push(Package {
                name: name.to_owned(),
                version: version.to_owned(),
            });
        }
    }
    packages
}

/// The newest of some versions, as dpkg orders them.
///
/// # Errors
/// There is no dpkg, or one of them is no version.
pub(crate) fn newest<T>(
    items: impl IntoIterator<Item = T>,
    version: impl Fn(&T) -> &str,
) -> Result<Option<T>> {
    let mut newest: Option<T> = None;
    for item in items {
        let is_newer = match &newest {
            Some(newest) => is_newer(version(&item), version(newest))?,
            None => true,
        };
        if is_newer {
            newest = Some(item);
        }
    }
    Ok(newest)
}

fn is_newer(one: &str, other: &str) -> Result<bool> {
    let mut command = Command::new("dpkg");
    command.args(["--compare-versions", one, "gt", other]);
    let status = command
        .status()
        .context("starting dpkg, which orders versions")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("dpkg cannot compare the versions {one} and {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_with_their_versions() {
        let text = "Package: linux-image-6.1-cloud-amd64\nSource: linux (6.1.1-1)\nVersion: 6.1.192-2\nDescription: x\n Version: no\n\n\
                    Package: broken\n\nPackage: cpio\nVersion: 2.13+dfsg-7.1\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Package {
                name: "linux-image-6.1-cloud-amd64".into(),
                version: "6.1.192-2".into()
            }
        );
        assert_eq!(found[1].version, "2.13+dfsg-7.1");
    }

    #[test]
    fn the_newest_version_is_found() {
        let versions = ["7.2.13-1", "7.3.4-1", "7.3.4-1~bpo13+1", "6.12.115-1"];
        assert_eq!(
            newest(versions, |version| version).unwrap(),
            Some("7.3.4-1")
        );
        assert_eq!(newest([""; 0], |version| version).unwrap(), None);
    }
}

//! The machine's own Debian mirror, as apt knows it, so that no host is named here.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::process;

/// Names a Debian mirror for machines whose sources have none (Ubuntu, say).
pub(crate) const MIRROR_VARIABLE: &str = "TRACEJOB_DEBIAN_MIRROR";
/// The keys of all of Debian's suites, on a Debian machine. Elsewhere apt's trusted keys have to do.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where this machine gets Debian's packages.
#[derive(Debug)]
pub(crate) struct Mirrors {
    /// The release that this machine runs: `bookworm`.
    pub(crate) codename: String,
    /// The archive of the machine's own distribution, where that is not Debian.
    own: Option<String>,
    /// Debian's main archive.
    main: String,
    /// Debian's security archive.
    security: Option<String>,
    /// `[signed-by=FILE] `, or nothing.
    signed: String,
}

impl Mirrors {
    /// Reads them from apt, or from the variable that replaces them.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let codename =
            os_release(&release, "VERSION_CODENAME").unwrap_or_else(|| "stable".to_owned());
        let mut command = Command::new("apt-get");
        command.args(["-o", "Debug::NoLocking=true", "--print-uris", "update"]);
        let suites = suites(&process::output(&mut command)?);
        let of = |wanted: &dyn Fn(&str) -> bool| {
            let found = suites.iter().find(|(_, suite)| wanted(suite));
            found.map(|(archive, _)| archive.clone())
        };
        let named = env::var(MIRROR_VARIABLE).ok();
        let named = named.map(|uri| uri.trim_end_matches('/').to_owned());
        let own = of(&|suite| suite == codename);
        // Ubuntu's archive has none of Debian's suites.
        let is_debian = os_release(&release, "ID").is_some_and(|id| id == "debian");
        let security = of(&|suite| suite.ends_with("-security"));
        let security = security.filter(|_| is_debian && named.is_none());
        let Some(main) = named.or_else(|| own.clone().filter(|_| is_debian)) else {
            bail!(
                "no Debian mirror is known: apt's sources have none; name one, as in {MIRROR_VARIABLE}=http://HOST/debian"
            );
        };
        let signed = match Path::new(KEYS).is_file() {
            true => format!("[signed-by={KEYS}] "),
            false => String::new(),
        };
        Ok(Self {
            codename,
            own: own.filter(|_| !is_debian),
            main,
            security,
            signed,
        })
    }

    /// Lines for a sources.list, best first: a release that is no longer on the mirror moves to its archive.
    pub(crate) fn source_lines(&self, suite: &str) -> Vec<String> {
        let root = self.main.strip_suffix("/debian").unwrap_or(&self.main);
        if let (Some(own), true) = (&self.own, suite.starts_with(&self.codename)) {
            return vec![format!("deb {own} {suite} main")];
        }
        let archives = match (suite.ends_with("-security"), &self.security) {
            (false, _) => [self.main.clone(), format!("{root}/debian-archive/debian")],
            (true, security) => [
                security
                    .clone()
                    .unwrap_or_else(|| format!("{root}/debian-security")),
                format!("{root}/debian-archive/debian-security"),
            ],
        };
        let line = |archive: String| format!("deb {}{archive} {suite} main", self.signed);
        archives.map(line).to_vec()
    }
}

fn os_release(text: &str, key: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

/// Archive and suite of each of apt's sources: `'ARCHIVE/dists/SUITE/InRelease' …`, one a line.
fn suites(uris: &str) -> Vec<(String, String)> {
    let suite = |line: &str| {
        let uri = line.strip_prefix('\'')?.split_once('\'')?.0;
        let (archive, suite) = uri.strip_suffix("/InRelease")?.split_once("/dists/")?;
        Some((archive.to_owned(), suite.to_owned()))
    };
    uris.lines().filter_map(suite).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors() -> Mirrors {
        Mirrors {
            codename: "bookworm".into(),
            own: None,
            main: "http://m/debian".into(),
            security: None,
            signed: "[signed-by=/k.gpg] ".into(),
        }
    }

    #[test]
    fn the_suites_of_apts_sources_are_read() {
        let uris = "'http://m/debian/dists/bookworm/InRelease' m_debian_dists_bookworm_InRelease 0 \n\
                    'http://s/debian-security/dists/bookworm-security/InRelease' s 0 \n\
                    'http://m/debian/dists/bookworm/main/binary-amd64/Packages.xz' m 0 \n";
        let pair = |archive: &str, suite: &str| (archive.to_owned(), suite.to_owned());
        assert_eq!(
            suites(uris),
            [
                pair("http://m/debian", "bookworm"),
                pair("http://s/debian-security", "bookworm-security")
            ]
        );
    }

    #[test]
    fn another_suite_is_fetched_from_the_same_mirror_or_from_its_archive() {
        assert_eq!(
            mirrors().source_lines("bullseye"),
            [
                "deb [signed-by=/k.gpg] http://m/debian bullseye main",
                "deb [signed-by=/k.gpg] http://m/debian-archive/debian bullseye main"
            ]
        );
    }

    #[test]
    fn a_machine_of_another_distribution_takes_its_own_packages_from_its_own_archive() {
        let mirrors = Mirrors {
            codename: "noble".into(),
            own: Some("http://u/ubuntu".into()),
            signed: String::new(),
            ..mirrors()
        };
        assert_eq!(
            mirrors.source_lines("noble-security"),
            ["deb http://u/ubuntu noble-security main"]
        );
        assert_eq!(
            mirrors.source_lines("sid")[0],
            "deb http://m/debian sid main"
        );
    }

    #[test]
    fn security_updates_come_from_beside_the_main_archive_where_no_source_has_them() {
        assert_eq!(
            mirrors().source_lines("bullseye-security")[0],
            "deb [signed-by=/k.gpg] http://m/debian-security bullseye-security main"
        );
    }
}

//! The machine's own Debian mirror: read from its apt sources, so that no host is named here.

use std::{env, fs, path::Path};

use anyhow::{Result, bail};

/// Names a Debian mirror for machines whose sources have none (Ubuntu, say).
pub(crate) const MIRROR_VARIABLE: &str = "TRACEJOB_DEBIAN_MIRROR";

/// A suite, and which of Debian's archives holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Of the main archive: `bookworm`, `sid`, `bookworm-backports`.
    Main(String),
    /// Of the security archive: `bookworm-security`.
    Security(String),
}

impl Suite {
    /// A suite by its name.
    pub(crate) fn named(name: &str) -> Self {
        if name.ends_with("-security") {
            Self::Security(name.to_owned())
        } else {
            Self::Main(name.to_owned())
        }
    }

    /// As in a source's line.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Main(name) | Self::Security(name) => name,
        }
    }
}

/// One entry of apt's sources: where from, which suites, signed by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    signed_by: Option<String>,
}

/// Where this machine gets Debian's packages.
#[derive(Debug)]
pub(crate) struct Mirrors {
    /// The release that this machine runs: `bookworm`.
    pub(crate) codename: String,
    /// The machine's own archive, where it is not Debian's.
    own: Option<Source>,
    /// Debian's.
    main: Source,
    security: Option<Source>,
}

impl Mirrors {
    /// Reads apt's sources, or the variable that replaces them.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let codename =
            os_release(&release, "VERSION_CODENAME").unwrap_or_else(|| "stable".to_owned());
        let sources = all_sources(Path::new("/etc/apt"));
        let own = sources
            .iter()
            .find(|source| source.suites.contains(&codename));
        let named = env::var(MIRROR_VARIABLE).ok().map(|uri| Source {
            uri: trimmed(&uri),
            suites: Vec::new(),
            signed_by: None,
        });
        let is_named = named.is_some();
        // Ubuntu's archive has none of Debian's suites.
        let is_debian = os_release(&release, "ID").is_some_and(|id| id == "debian");
        let Some(main) = named.or_else(|| own.filter(|_| is_debian).cloned()) else {
            bail!(
                "no Debian mirror is known: the apt sources in /etc/apt have none; name one, as in {MIRROR_VARIABLE}=http://HOST/debian"
            );
        };
        let own = own.filter(|_| !is_debian).cloned();
        let is_security = |source: &&Source| {
            source
                .suites
                .iter()
                .any(|suite| suite.ends_with("-security"))
        };
        let security = sources
            .iter()
            .find(is_security)
            .filter(|_| is_debian && !is_named);
        Ok(Self {
            codename,
            own,
            main,
            security: security.cloned(),
        })
    }

    /// Lines for a sources.list, best first: a release that is no longer on the mirror moves to its archive.
    pub(crate) fn source_lines(&self, suite: &Suite) -> Vec<String> {
        let sibling = |ending: &str| {
            let root = self
                .main
                .uri
                .strip_suffix("/debian")
                .unwrap_or(&self.main.uri);
            Source {
                uri: format!("{root}/{ending}"),
                ..self.main.clone()
            }
        };
        let places = match (suite, &self.own) {
            (suite, Some(own)) if suite.name().starts_with(&self.codename) => vec![own.clone()],
            (Suite::Main(_), _) => vec![self.main.clone(), sibling("debian-archive/debian")],
            (Suite::Security(_), _) => {
                let security = self
                    .security
                    .clone()
                    .unwrap_or_else(|| sibling("debian-security"));
                vec![security, sibling("debian-archive/debian-security")]
            }
        };
        let line = |source: Source| {
            let signed = source
                .signed_by
                .map(|key| format!("[signed-by={key}] "))
                .unwrap_or_default();
            format!("deb {signed}{} {} main", source.uri, suite.name())
        };
        places.into_iter().map(line).collect()
    }
}

fn os_release(text: &str, key: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

fn all_sources(etc: &Path) -> Vec<Source> {
    let mut sources = parse_list(&fs::read_to_string(etc.join("sources.list")).unwrap_or_default());
    let mut files: Vec<_> = fs::read_dir(etc.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(parse_list(&text)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    sources
}

/// `deb [signed-by=KEY] URI SUITE COMPONENT…`, one a line.
fn parse_list(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else {
            continue;
        };
        let (options, rest) = match rest
            .trim()
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            let signed_by = options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="));
            sources.push(Source {
                uri: trimmed(uri),
                suites: vec![suite.to_owned()],
                signed_by: signed_by.map(str::to_owned),
            });
        }
    }
    sources
}

/// Paragraphs of `Field: value`, deb822(5).
fn parse_deb822(text: &str) -> Vec<Source> {
    let without_comments: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut sources = Vec::new();
    for paragraph in without_comments.split(|line| line.trim().is_empty()) {
        let field = |name: &str| {
            let found = paragraph.iter().find_map(|line| {
                let (field, value) = line.split_once(':')?;
                field.eq_ignore_ascii_case(name).then_some(value.trim())
            });
            found.unwrap_or_default()
        };
        let is_binary = field("Types").split_whitespace().any(|kind| kind == "deb");
        if !is_binary || field("Enabled").eq_ignore_ascii_case("no") {
            continue;
        }
        let suites: Vec<String> = field("Suites")
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        // An empty one holds the key itself in the lines below it: apt's trusted keys have to do.
        let signed_by = Some(field("Signed-By").to_owned()).filter(|key| key.starts_with('/'));
        for uri in field("URIs").split_whitespace() {
            sources.push(Source {
                uri: trimmed(uri),
                suites: suites.clone(),
                signed_by: signed_by.clone(),
            });
        }
    }
    sources
}

fn trimmed(uri: &str) -> String {
    uri.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors() -> Mirrors {
        let main = Source {
            uri: "http://m/debian".into(),
            suites: vec!["bookworm".into()],
            signed_by: Some("/k.gpg".into()),
        };
        Mirrors {
            codename: "bookworm".into(),
            own: None,
            main,
            security: None,
        }
    }

    #[test]
    fn one_line_sources_are_read() {
        let text = "# deb http://no/ x main\ndeb [arch=amd64 signed-by=/k.gpg] http://m/debian/ bookworm main contrib\ndeb-src http://m/debian bookworm main\n\
                    deb http://s/debian-security bookworm-security main";
        let found = parse_list(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Source {
                uri: "http://m/debian".into(),
                suites: vec!["bookworm".into()],
                signed_by: Some("/k.gpg".into())
            }
        );
        assert_eq!(found[1].signed_by, None);
    }

    #[test]
    fn paragraph_sources_are_read_and_disabled_ones_are_not() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://m/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n\
                    Types: deb\nURIs: http://off\nSuites: x\nEnabled: no\n\nTypes: deb-src\nURIs: http://src\nSuites: x\n";
        let found = parse_deb822(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(found[0].signed_by.as_deref(), Some("/k.gpg"));
    }

    #[test]
    fn another_suite_is_asked_of_the_same_mirror_and_then_of_its_archive() {
        assert_eq!(
            mirrors().source_lines(&Suite::named("bullseye")),
            [
                "deb [signed-by=/k.gpg] http://m/debian bullseye main",
                "deb [signed-by=/k.gpg] http://m/debian-archive/debian bullseye main"
            ]
        );
    }

    #[test]
    fn a_machine_of_another_kind_takes_its_own_packages_from_its_own_archive() {
        let own = Source {
            uri: "http://u/ubuntu".into(),
            suites: vec!["noble".into()],
            signed_by: None,
        };
        let mirrors = Mirrors {
            codename: "noble".into(),
            own: Some(own),
            ..mirrors()
        };
        assert_eq!(
            mirrors.source_lines(&Suite::named("noble-security")),
            ["deb http://u/ubuntu noble-security main"]
        );
        assert_eq!(
            mirrors.source_lines(&Suite::named("sid"))[0],
            "deb [signed-by=/k.gpg] http://m/debian sid main"
        );
    }

    #[test]
    fn a_machine_without_security_sources_gets_them_from_beside_the_main_ones() {
        let lines = mirrors().source_lines(&Suite::named("bullseye-security"));
        assert_eq!(
            lines[0],
            "deb [signed-by=/k.gpg] http://m/debian-security bullseye-security main"
        );
    }
}

//! The node's configuration: the addresses of this agent, and its policy. No request extends the policy.

use super::policy::Policy;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Default address.
pub(crate) const SOCKET: &str = "/run/tracejob/agent.sock";

/// The configuration file. Missing fields have their defaults, unknown fields are errors.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Config {
    /// `unix:///run/tracejob/agent.sock`, `https://[::]:4040`, or a list of such.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) listen: Vec<Listen>,
    /// Certificates; required for https.
    pub(crate) tls: Option<Tls>,
    pub(crate) roles: Roles,
    /// Maximum number of connections over https.
    pub(crate) max_connections: usize,
    pub(crate) policy: Policy,
    /// Metrics and health, on a listener of their own; absent is none.
    pub(crate) metrics: Option<Http>,
    /// Health alone, on a listener for probes; absent is none.
    pub(crate) health: Option<Http>,
    /// File for the audit; absent is the log.
    pub(crate) audit: Option<PathBuf>,
    /// The host's /proc, if it differs from the agent's own, as in a pod without hostPID.
    pub(crate) proc: PathBuf,
    /// The fields that the file contains, those of the policy with the prefix `policy.`.
    #[serde(skip)]
    pub(crate) stated: BTreeSet<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![Listen::Unix(SOCKET.into())],
            tls: None,
            roles: Roles::default(),
            max_connections: 64,
            policy: Policy::default(),
            metrics: None,
            health: None,
            audit: None,
            proc: "/proc".into(),
            stated: BTreeSet::new(),
        }
    }
}

/// Files for TLS, PEM. All are read again when they change.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Tls {
    /// The agent's certificate, and intermediate certificates up to its CA.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// CA of the clients' certificates.
    pub(crate) client_ca: PathBuf,
}

/// Roles of clients over https, by a name in their certificate: a URI or DNS name among the subject alternative names, compared as a whole.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Roles {
    /// They start and stop.
    pub(crate) control: Vec<String>,
    /// Names that may list and read traces.
    pub(crate) read: Vec<String>,
}

/// An address to listen on.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) enum Listen {
    Unix(PathBuf),
    Https(SocketAddr),
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| format!("cannot listen on \"{}\": {why}", text.escape_debug());
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("https", address)) => match address.parse() {
                Ok(address) => Ok(Self::Https(address)),
                Err(_) => Err(wrong(
                    "https:// takes an address and a port, such as https://[::]:4040 (every address, of IPv4 too) or https://192.0.2.7:4040",
                )),
            },
            Some(("http" | "tcp", _)) => Err(wrong(
                "plaintext TCP is not supported, because every caller could trace: use https://ADDRESS:PORT, with tls and roles in the configuration",
            )),
            _ => Err(wrong(&format!(
                "expected unix:// and an absolute path, such as unix://{SOCKET}, or https://ADDRESS:PORT"
            ))),
        }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Listen>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let all = match OneOrMany::deserialize(from)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(all) => all,
    };
    let all = all.into_iter().map(Listen::try_from);
    all.collect::<Result<_, _>>().map_err(D::Error::custom)
}

impl Config {
    /// Fields that are valid on their own may be invalid together.
    ///
    /// # Errors
    /// If fields contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        let https = self
            .listen
            .iter()
            .any(|listen| matches!(listen, Listen::Https(_)));
        let Roles { control, read } = &self.roles;
        let no_names = control.is_empty() && read.is_empty();
        if self.policy.classes.is_empty() {
            bail!("policy.classes: no tracer could run; list a class, such as observe");
        }
        match (https, &self.tls) {
            _ if self.listen.is_empty() => bail!("listen: no address"),
            (true, None) => {
                bail!(
                    "listen: https requires tls: {{certificate: FILE, key: FILE, clientCa: FILE}}"
                )
            }
            (true, Some(_)) if self.max_connections == 0 => {
                bail!("maxConnections: must be at least 1")
            }
            (true, Some(_)) if no_names => {
                bail!("roles: https requires at least one certificate name under control or read")
            }
            (false, Some(_)) => {
                bail!("tls: no https listener; add https://ADDRESS:PORT to listen, or remove tls")
            }
            (false, None) if !no_names => {
                bail!("roles: no https listener; roles apply to certificates only")
            }
            _ => Ok(()),
        }
    }
}

/// A listener for metrics or health: HTTP without TLS.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Http {
    /// `127.0.0.1:9464` or `unix:///run/tracejob/metrics.sock`
    pub(crate) listen: HttpListen,
}

/// The address or socket of a listener for metrics or health.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) enum HttpListen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl TryFrom<String> for HttpListen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match (text.strip_prefix("unix://"), text.parse()) {
            (Some(path), _) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            (None, Ok(address)) => Ok(Self::Tcp(address)),
            _ => Err(format!(
                "cannot serve metrics or health on \"{}\": expected an address with a port, such as 127.0.0.1:9464, or unix:// and an absolute path",
                text.escape_debug()
            )),
        }
    }
}

/// The source of the configuration, at the start and at each reload.
pub(crate) struct Source {
    pub(crate) file: Option<PathBuf>,
    /// Addresses of the command line, which replace those of the file; empty is none.
    pub(crate) listen: Vec<Listen>,
}

impl Source {
    /// Reads it as a whole.
    ///
    /// # Errors
    /// As [`read`] and [`Config::check`].
    pub(crate) fn read(&self) -> Result<Config> {
        match self.file.as_deref() {
            Some(file) => self.of(&text(file)?),
            None => self.with_arguments(Config::default()),
        }
    }

    /// Parses a text of the file, with the addresses of the command line.
    ///
    /// # Errors
    /// As [`parse`] and [`Config::check`].
    pub(crate) fn of(&self, text: &str) -> Result<Config> {
        let config = parse(text);
        self.with_arguments(match self.file.as_deref() {
            Some(file) => config.with_context(|| wrong(file))?,
            None => config?,
        })
    }

    fn with_arguments(&self, mut config: Config) -> Result<Config> {
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        }
        config.check()?;
        Ok(config)
    }
}

/// Reads the file.
///
/// # Errors
/// If the file cannot be read or parsed, or has unknown fields.
pub(crate) fn read(path: &Path) -> Result<Config> {
    parse(&text(path)?).with_context(|| wrong(path))
}

/// The text of the file.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn wrong(path: &Path) -> String {
    format!("invalid configuration in {}", path.display())
}

/// Its text.
///
/// # Errors
/// If the text is empty, as while the file is being written, or has unknown fields.
pub(crate) fn parse(text: &str) -> Result<Config> {
    let mut config: Config = match serde_yaml::from_str::<Option<Config>>(text)? {
        Some(config) => config,
        None => bail!("the file is empty; {{}} is a configuration with every default"),
    };
    config.stated = stated(text)?;
    for name in config.policy.tracers.iter().flatten() {
        tracers::named(name).context("policy.tracers")?;
    }
    Ok(config)
}

/// The lines of a text.
fn stated(text: &str) -> Result<BTreeSet<String>> {
    let names = |value: &serde_yaml::Value, before: &str| -> Vec<String> {
        let lines = value.as_mapping().into_iter().flatten();
        let names = lines.filter_map(|(name, _)| name.as_str());
        names.map(|name| format!("{before}{name}")).collect()
    };
    let whole: serde_yaml::Value = serde_yaml::from_str(text)?;
    let policy = whole.get("policy").map(|policy| names(policy, "policy."));
    let all = names(&whole, "").into_iter();
    Ok(all.chain(policy.into_iter().flatten()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        serde_yaml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn unknown_fields_are_refused_by_name() {
        let error = parse("policy: {maxTrace: 3}").unwrap_err();
        assert!(
            error.contains("maxTrace") && error.contains("maxTraces"),
            "{error}"
        );
    }

    #[test]
    fn plaintext_tcp_is_refused() {
        let error = parse("listen: http://0.0.0.0:4040").unwrap_err();
        assert!(error.contains("plaintext TCP is not supported"), "{error}");
    }

    #[test]
    fn https_is_for_those_who_are_known_and_a_unix_socket_has_no_tls() {
        let tls = "tls: {certificate: a, key: b, clientCa: c}";
        let roles = "roles: {control: [spiffe://a/controller]}";
        let wrong = |text: &str, part: &str| {
            let error = parse(text).unwrap().check().unwrap_err().to_string();
            assert!(error.starts_with(part), "{text}: {error}");
        };
        wrong(
            "listen: https://127.0.0.1:4040",
            "listen: https requires tls",
        );
        wrong(
            &format!("listen: https://127.0.0.1:4040\n{tls}"),
            "roles: https requires",
        );
        wrong(
            &format!("listen: https://127.0.0.1:4040\nmaxConnections: 0\n{tls}\n{roles}"),
            "maxConnections: must be at least 1",
        );
        wrong(tls, "tls: no https listener");
        wrong(roles, "roles: no https listener");
        wrong("listen: []", "listen: no address");
        let both = format!("listen: [unix:///a, 'https://[::1]:4040']\n{tls}\n{roles}");
        let both = parse(&both).unwrap();
        both.check().unwrap();
        assert_eq!(both.listen.len(), 2);
    }

    #[test]
    fn metrics_are_off_until_an_address_or_a_socket_is_named() {
        let listen = |text: &str| parse(text).map(|config| config.metrics.map(|of| of.listen));
        assert_eq!(listen("{}").unwrap(), None);
        let address = "127.0.0.1:9464".parse().unwrap();
        assert_eq!(
            listen("metrics: {listen: \"127.0.0.1:9464\"}").unwrap(),
            Some(HttpListen::Tcp(address))
        );
        assert_eq!(
            listen("metrics: {listen: \"unix:///run/a.sock\"}").unwrap(),
            Some(HttpListen::Unix("/run/a.sock".into()))
        );
        for wrong in [
            "localhost:9464",
            "9464",
            "unix://a.sock",
            "http://127.0.0.1:1",
        ] {
            let error = listen(&format!("metrics: {{listen: \"{wrong}\"}}")).unwrap_err();
            assert!(error.contains("127.0.0.1:9464"), "{error}");
        }
        assert!(listen("metrics: {}").is_err());
    }
}

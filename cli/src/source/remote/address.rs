//! Addresses of agents, and the files for TLS.

use super::{Error, words};
use crate::usage::Usage;
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// Connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval and timeout of HTTP/2 keepalives.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Address of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `unix:///run/tracejob/agent.sock`
    Socket(String),
    /// `https://node-7:4040`
    Https(String),
}

impl Place {
    /// Parses a URL.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("unix:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return match path.starts_with('/') {
                true => Ok(Self::Socket(path.to_owned())),
                false => Err(
                    "unix:// takes an absolute path: unix:///run/tracejob/agent.sock".to_owned(),
                ),
            };
        }
        if text.starts_with("http://") {
            return Err(
                "http:// would send rows and credentials unencrypted; use https:// with \
                 --agent-ca, --agent-cert and --agent-key, or unix:// on the agent's own host"
                    .to_owned(),
            );
        }
        let Some(rest) = text.strip_prefix("https://") else {
            return Err("use unix:///PATH or https://HOST:PORT".to_owned());
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let port = rest.rsplit_once(':').and_then(|(host, port)| {
            let known = !host.is_empty() && !rest.contains(['/', '@', '?', '#']);
            port.parse::<u16>().ok().filter(|port| known && *port > 0)
        });
        match port {
            Some(_) => Ok(Self::Https(format!("https://{rest}"))),
            None => Err("https:// takes only a host and a port: https://node-7:4040".to_owned()),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Socket(path) => format!("unix://{path}"),
            Self::Https(url) => url.clone(),
        }
    }
}

/// Files for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// CA certificate of the agent.
    pub(crate) ca: Option<PathBuf>,
    /// Client certificate.
    pub(crate) cert: Option<PathBuf>,
    /// Key of the client certificate.
    pub(crate) key: Option<PathBuf>,
}

/// Address of an agent, with the files for TLS.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    place: Place,
    /// URL for messages.
    url: String,
    files: Files,
}

impl Address {
    /// Creates an address from the command line.
    ///
    /// # Errors
    /// If a file for TLS is missing.
    pub(crate) fn new(place: Place, files: Files) -> Result<Self, Usage> {
        if let Place::Https(url) = &place {
            let Files { ca, cert, key } = &files;
            let missing: Vec<&str> = [
                ("--agent-ca", ca),
                ("--agent-cert", cert),
                ("--agent-key", key),
            ]
            .into_iter()
            .filter(|(_, file)| file.is_none())
            .map(|(flag, _)| flag)
            .collect();
            if !missing.is_empty() {
                return Err(Usage(format!(
                    "{} needs {}: the CA of the agent's certificate, and the client's certificate and key",
                    words(url),
                    missing.join(", ")
                )));
            }
        }
        Ok(Self {
            url: words(&place.url()),
            place,
            files,
        })
    }

    /// URL for messages.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns tonic's endpoint.
    pub(super) fn endpoint(&self) -> Result<Endpoint, Error> {
        let endpoint =
            Endpoint::from_shared(self.place.url()).map_err(|error| self.unreachable(&error))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1);
        if matches!(self.place, Place::Socket(_)) {
            return Ok(endpoint);
        }
        let Files { ca, cert, key } = &self.files;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(ca.as_deref())?))
            .identity(Identity::from_pem(
                read(cert.as_deref())?,
                read(key.as_deref())?,
            ));
        endpoint.tls_config(tls).map_err(|error| Error::Tls {
            why: root_cause(&error),
        })
    }

    /// Returns the remedy for a connection that was closed before an answer.
    pub(super) fn not_let_in(&self) -> &'static str {
        match self.place {
            Place::Socket(_) => {
                "the agent closed the connection before it answered; see the agent's log"
            }
            Place::Https(_) => {
                "the agent closed the connection before it answered; check that the agent trusts the CA of --agent-cert"
            }
        }
    }

    /// Converts a connection error, with its remedy.
    pub(super) fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let next = match (&self.place, io_kind(error)) {
            (Place::Socket(_), Some(ErrorKind::NotFound)) => {
                "no agent listens there: start tracejob-agent, or pass the path of its socket"
            }
            (Place::Socket(_), Some(ErrorKind::ConnectionRefused)) => {
                "the agent of this socket has exited: start tracejob-agent"
            }
            (Place::Socket(_), Some(ErrorKind::PermissionDenied)) => {
                "only root and the agent's user may open the socket: use sudo"
            }
            (Place::Https(_), Some(ErrorKind::ConnectionRefused)) => {
                "no process listens on that port: check that tracejob-agent is running and configured for that port"
            }
            (Place::Https(_), _) => {
                "check that the agent is running, and that its certificate is valid for this host name and signed by a CA in --agent-ca"
            }
            (Place::Socket(_), _) => "check that this is the socket of tracejob-agent",
        };
        Error::Unreachable {
            url: self.url.clone(),
            why: words(&root_cause(error)),
            next,
        }
    }
}

fn read(path: Option<&Path>) -> Result<Vec<u8>, Error> {
    let path = path.unwrap_or(Path::new(""));
    fs::read(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

/// Returns the kind of the first I/O error among the sources.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        next = error.source();
    }
    None
}

/// Returns the message of the innermost source: the messages around it add nothing.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_socket_or_https_with_a_port_and_plaintext_is_refused_with_what_to_do() {
        let socket = || Ok(Place::Socket("/run/a b.sock".to_owned()));
        assert_eq!(Place::parse("unix:///run/a b.sock"), socket());
        assert_eq!(Place::parse("unix:/run/a b.sock"), socket());
        let https = Ok(Place::Https("https://[::1]:4040".to_owned()));
        assert_eq!(Place::parse("https://[::1]:4040/"), https);
        let error = |url| Place::parse(url).unwrap_err();
        assert!(error("http://node-7:4040").contains("--agent-ca"));
        for url in ["unix://run/a.sock", "unix:", "unix:a"] {
            assert!(error(url).contains("an absolute path"), "{url}");
        }
        for url in [
            "https://node-7",
            "https://:1",
            "https://node:0",
            "https://node:70000",
            "https://a@node:1",
            "https://node:1/path",
            "https://node:1?a:1",
        ] {
            assert!(error(url).contains("a host and a port"), "{url}");
        }
        for url in ["", "node-7:4040", "ftp://node:1", "/run/agent.sock"] {
            assert!(error(url).contains("unix:///PATH or https://"), "{url}");
        }
    }

    #[test]
    fn tls_takes_all_its_files_and_what_is_missing_is_named() {
        let place = || Place::parse("https://node-7:4040").unwrap();
        let files = Files {
            cert: Some("c".into()),
            ..Files::default()
        };
        let Usage(sentence) = Address::new(place(), files.clone()).unwrap_err();
        assert!(sentence.contains("--agent-ca, --agent-key") && !sentence.contains("--agent-cert"));
        let socket = Place::parse("unix:///a").unwrap();
        assert!(Address::new(socket, Files::default()).is_ok());
        let all = Files {
            ca: Some("/no/such/ca.pem".into()),
            key: Some("k".into()),
            ..files
        };
        let error = Address::new(place(), all).unwrap().endpoint().unwrap_err();
        assert!(error.to_string().contains("/no/such/ca.pem"), "{error}");
    }
}

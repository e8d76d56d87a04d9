//! Access to a cluster: kubectl's flags, and the connection.

use super::error::Error;
use clap::{Arg, ArgAction, ArgMatches, builder::ValueParser, value_parser};
use http::Uri;
use kube::{
    Client, Config,
    config::{
        AuthInfo, Cluster as ClusterEntry, Context, KubeConfigOptions, Kubeconfig, KubeconfigError,
        NamedCluster, NamedContext,
    },
};
use std::{ffi::OsStr, io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};
use tokio::runtime::Runtime;

/// Default timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Values of kubectl's flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    cluster: Option<String>,
    user: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) all_namespaces: bool,
    impersonate: Option<String>,
    groups: Vec<String>,
    token: Option<String>,
    server: Option<String>,
    ca: Option<PathBuf>,
    insecure: bool,
    server_name: Option<String>,
    timeout: Option<Duration>,
}

/// Returns kubectl's flags, for every command.
pub(crate) fn args() -> [Arg; 14] {
    let text = |id: &'static str, value: &'static str, help: &'static str| {
        Arg::new(id).long(id).value_name(value).help(help)
    };
    let file = |id, help| text(id, "FILE", help).value_parser(value_parser!(PathBuf));
    [
        text(
            "namespace",
            "NAMESPACE",
            "Namespace of the job [default: the context's]",
        )
        .short('n'),
        Arg::new("all-namespaces")
            .short('A')
            .long("all-namespaces")
            .action(ArgAction::SetTrue)
            .help("All namespaces; `run` creates a ClusterTraceJob"),
        file(
            "kubeconfig",
            "Kubeconfig file [default: $KUBECONFIG, ~/.kube/config]",
        ),
        text("context", "NAME", "Context in the kubeconfig"),
        text("cluster", "NAME", "Cluster in the kubeconfig"),
        text("user", "NAME", "User in the kubeconfig"),
        text("as", "USER", "User to impersonate"),
        text("as-group", "GROUP", "Group to impersonate; repeatable").action(ArgAction::Append),
        text("token", "TOKEN", "Bearer token for the API server"),
        text("server", "URL", "URL of the API server").short('s'),
        file(
            "certificate-authority",
            "CA certificate of the API server (PEM)",
        ),
        Arg::new("insecure-skip-tls-verify")
            .long("insecure-skip-tls-verify")
            .action(ArgAction::SetTrue)
            .help("Accept any certificate of the API server (insecure)"),
        text(
            "tls-server-name",
            "NAME",
            "Server name to expect in the API server's certificate",
        ),
        text(
            "request-timeout",
            "TIME",
            "Timeout of a request; 0 is no timeout [default: 30s]",
        )
        .value_parser(ValueParser::from(timeout)),
    ]
    .map(|arg| arg.global(true).help_heading("Cluster"))
}

/// Parses a timeout as kubectl does: in seconds without a unit; 0 is no timeout.
fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) => Ok(Duration::MAX),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) if text == "0s" => Ok(Duration::MAX),
        Err(_) => crate::quantity::duration(text),
    }
}

impl Access {
    /// Reads the flags of a command line.
    pub(crate) fn read(matches: &ArgMatches) -> Self {
        let text = |id| matches.get_one::<String>(id).cloned();
        let file = |id| matches.get_one::<PathBuf>(id).cloned();
        let groups = matches.get_many::<String>("as-group");
        Self {
            kubeconfig: file("kubeconfig"),
            context: text("context"),
            cluster: text("cluster"),
            user: text("user"),
            namespace: text("namespace"),
            all_namespaces: matches.get_flag("all-namespaces"),
            impersonate: text("as"),
            groups: groups.into_iter().flatten().cloned().collect(),
            token: text("token"),
            server: text("server"),
            ca: file("certificate-authority"),
            insecure: matches.get_flag("insecure-skip-tls-verify"),
            server_name: text("tls-server-name"),
            timeout: matches.get_one("request-timeout").copied(),
        }
    }

    /// Returns the configuration from files, overridden by flags.
    async fn config(&self) -> Result<Config, Error> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let options_named = [&self.context, &self.cluster, &self.user];
        let named = self.kubeconfig.is_some() || options_named.iter().any(|name| name.is_some());
        let read = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => match std::env::var_os("KUBECONFIG") {
                Some(files) if !files.is_empty() => merged(&files),
                _ => Kubeconfig::read(),
            },
        };
        let read = match (read, &self.server) {
            // Who names the server needs no file.
            (Err(KubeconfigError::FindPath | KubeconfigError::ReadConfig(..)), Some(server))
                if !named =>
            {
                Ok(only(server))
            }
            (read, _) => read,
        };
        let found = match read {
            Ok(file) => Config::from_custom_kubeconfig(self.over(file), &options).await,
            Err(error) => Err(error),
        };
        let mut config = match found {
            Ok(config) => config,
            // In a pod of the cluster.
            Err(_) if !named && let Ok(config) = Config::incluster() => config,
            Err(error) => return Err(Error::unconfigured(&error)),
        };
        if let Some(server) = &self.server {
            let uri: Uri = server.parse().map_err(|_| Error::Server {
                server: server.clone(),
            })?;
            config.cluster_url = uri;
        }
        self.authenticate(&mut config)?;
        if let Some(name) = &self.server_name {
            config.tls_server_name = Some(name.clone());
        }
        // Retries are implemented here.
        config.default_retry = false;
        Ok(config)
    }

    /// Replaces the CA in a kubeconfig by that of the flag, as PEM.
    fn over(&self, mut file: Kubeconfig) -> Kubeconfig {
        for NamedCluster { cluster, .. } in &mut file.clusters {
            let Some(cluster) = cluster else { continue };
            if let Some(ca) = &self.ca {
                cluster.certificate_authority = Some(ca.display().to_string());
                cluster.certificate_authority_data = None;
            }
            if self.insecure {
                cluster.insecure_skip_tls_verify = Some(true);
            }
        }
        file
    }

    fn authenticate(&self, config: &mut Config) -> Result<(), Error> {
        if let Some(token) = &self.token {
            // A secret's type is not ours to make; what reads a file makes it.
            let token = serde_json::json!({ "token": token });
            let received: AuthInfo = serde_json::from_value(token).map_err(|_| Error::Server {
                server: "an invalid token".to_owned(),
            })?;
            let AuthInfo {
                impersonate,
                impersonate_groups,
                ..
            } = std::mem::replace(&mut config.auth_info, received);
            config.auth_info.impersonate = impersonate;
            config.auth_info.impersonate_groups = impersonate_groups;
        }
        if let Some(user) = &self.impersonate {
            config.auth_info.impersonate = Some(user.clone());
        }
        if !self.groups.is_empty() {
            config.auth_info.impersonate_groups = Some(self.groups.clone());
        }
        Ok(())
    }
}

/// Returns a kubeconfig with one server.
fn only(server: &str) -> Kubeconfig {
    let name = "server".to_owned();
    Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(ClusterEntry {
                server: Some(server.to_owned()),
                ..ClusterEntry::default()
            }),
            ..NamedCluster::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(Context {
                cluster: name.clone(),
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    }
}

/// Merges the files of $KUBECONFIG as kubectl does: missing files are skipped, and so is an empty name of a context.
fn merged(files: &OsStr) -> Result<Kubeconfig, KubeconfigError> {
    let mut merged = Kubeconfig::default();
    for path in std::env::split_paths(files).filter(|path| !path.as_os_str().is_empty()) {
        let mut file = match Kubeconfig::read_from(&path) {
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == ErrorKind::NotFound => {
                continue;
            }
            read => read?,
        };
        file.current_context.take_if(|context| context.is_empty());
        merged = merged.merge(file)?;
    }
    match merged.clusters.is_empty() && merged.contexts.is_empty() {
        true => Err(KubeconfigError::FindPath),
        false => Ok(merged),
    }
}

/// Connection to a cluster.
pub(crate) struct Cluster {
    /// Async runtime, shared with the thread of signals.
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) client: Client,
    /// URL of the API server.
    pub(crate) url: String,
    /// Namespace of the flags, or of the context.
    pub(crate) namespace: String,
    pub(crate) timeout: Duration,
}

impl Cluster {
    /// Prepares a connection without a request.
    ///
    /// # Errors
    /// If no cluster is configured, or the configuration is invalid.
    pub(crate) fn connect(access: &Access) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        let config = runtime.block_on(access.config())?;
        let url = config.cluster_url.to_string();
        let namespace = access.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = {
            let _within = runtime.enter();
            Client::try_from(config).map_err(|error| Error::unusable(&error))?
        };
        Ok(Self {
            runtime: Arc::new(runtime),
            client,
            url,
            namespace,
            timeout: access.timeout.unwrap_or(TIMEOUT),
        })
    }

    /// Waits for an answer, at most for the timeout.
    ///
    /// # Errors
    /// If there is no answer in time.
    pub(crate) fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T, Error> {
        let within = async { tokio::time::timeout(self.timeout, answer).await };
        self.runtime.block_on(within).map_err(|_| Error::Timeout {
            url: self.url.clone(),
            seconds: self.timeout.as_secs(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::cluster::command::command;

    const FILE: &str = "
apiVersion: v1
kind: Config
current-context: a
clusters:
- {name: one, cluster: {server: 'https://one:6443'}}
- {name: two, cluster: {server: 'https://two:6443', insecure-skip-tls-verify: true}}
users:
- {name: ann, user: {token: t}}
contexts:
- {name: a, context: {cluster: one, user: ann, namespace: shop}}
- {name: b, context: {cluster: two, user: ann}}
";

    /// Returns the configuration of a command line with that file.
    fn config(flags: &[&str]) -> Result<(Config, Access), Error> {
        let path = std::env::temp_dir().join(format!("kubeconfig-{}", std::process::id()));
        std::fs::write(&path, FILE).unwrap();
        let mut line = vec!["kubectl-tracejob", "list", "--kubeconfig"];
        line.push(path.to_str().unwrap());
        line.extend(flags);
        let access = Access::read(&command().try_get_matches_from(line).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let config = runtime.block_on(access.config())?;
        Ok((config, access))
    }

    #[test]
    fn several_files_are_merged_as_kubectl_does() {
        let folder = std::env::temp_dir().join(format!("kubeconfigs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let whole = file("whole", FILE);
        let without = file(
            "without",
            &FILE.replace("current-context: a", "current-context: \"\""),
        );
        let missing = folder.join("missing");
        for files in [[&whole, &missing], [&missing, &whole], [&without, &whole]] {
            let files = std::env::join_paths(files).unwrap();
            let merged = merged(&files).unwrap();
            assert_eq!(merged.current_context.as_deref(), Some("a"), "{files:?}");
        }
        assert!(matches!(
            merged(missing.as_os_str()),
            Err(KubeconfigError::FindPath)
        ));
        let wrong = file("wrong", "clusters: 3");
        assert!(merged(wrong.as_os_str()).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn flags_select_the_cluster_and_the_user() {
        let (plain, _) = config(&[]).unwrap();
        assert_eq!(plain.cluster_url, "https://one:6443/");
        assert_eq!(plain.default_namespace, "shop");
        assert!(plain.auth_info.token.is_some() && !plain.accept_invalid_certs);
        let (other, _) = config(&["--context", "b", "--as", "eve", "--as-group=x"]).unwrap();
        assert_eq!(other.cluster_url, "https://two:6443/");
        assert!(other.accept_invalid_certs);
        assert_eq!(other.auth_info.impersonate.as_deref(), Some("eve"));
        assert_eq!(
            other.auth_info.impersonate_groups,
            Some(vec!["x".to_owned()])
        );
        let (server, access) = config(&[
            "-s",
            "https://three",
            "-n",
            "n",
            "--insecure-skip-tls-verify",
            "--request-timeout=5",
        ])
        .unwrap();
        assert_eq!(server.cluster_url, "https://three/");
        assert!(server.accept_invalid_certs);
        assert_eq!(access.namespace.as_deref(), Some("n"));
        assert_eq!(access.timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_context_that_is_not_there_is_named_with_what_to_do() {
        let message = config(&["--context", "z"]).unwrap_err().to_string();
        assert!(
            message.contains("context: z") && message.contains("kubectl config"),
            "{message}"
        );
    }
}

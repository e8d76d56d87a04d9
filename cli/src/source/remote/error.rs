//! Errors of requests to an agent: its message, the reason and the remedy.

use super::address::root_cause;
use engine::Reason;
use rows::text::excerpt_lines;
use std::{io, path::PathBuf};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Maximum number of characters shown of a peer's text.
const LONGEST: usize = 4000;
/// Line break with the indentation of `error: `.
const INDENT: &str = "\n       ";

/// Error of a request to an agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Connection error.
    #[error("cannot reach the agent at {url}: {why}{INDENT}{next}")]
    Unreachable {
        url: String,
        why: String,
        next: &'static str,
    },
    /// A file for TLS cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The files for TLS are invalid.
    #[error(
        "cannot use the TLS files: {why}{INDENT}--agent-ca, --agent-cert and --agent-key must be PEM files"
    )]
    Tls { why: String },
    /// Timeout.
    #[error("timeout: the agent at {url} did not answer within {seconds} s")]
    Timeout { url: String, seconds: u64 },
    /// Error status of the agent.
    #[error("{message}{INDENT}{sentence}: {next}")]
    Refused {
        message: String,
        /// Reason word, and the agent's URL.
        sentence: String,
        next: String,
        /// Whether a retry cannot succeed.
        invalid: bool,
    },
    /// The connection was lost.
    #[error(
        "the connection to the agent at {url} was lost: {why}{INDENT}the trace ended with the connection; rows in transit are lost"
    )]
    Gone { url: String, why: String },
    /// The agent's version does not support conditions.
    #[error(
        "the agent at {url} does not apply --where: its version is older{INDENT}upgrade that agent, or remove --where"
    )]
    NoFilter { url: String },
    /// The message violates the API.
    #[error("this tracejob ({version}) cannot read the message of the agent at {url}: {what}{INDENT}`tracejob --agent … doctor` shows the agent's version", version = env!("CARGO_PKG_VERSION"))]
    InvalidMessage { url: String, what: String },
}

impl Error {
    /// Converts a status of an agent.
    pub(super) fn of(status: &Status, url: &str) -> Self {
        // A status that has another error beneath it was made here, of a connection that broke.
        if let Some(source) = std::error::Error::source(status) {
            return Self::Gone {
                url: url.to_owned(),
                why: words(&root_cause(source)),
            };
        }
        let details = status.get_error_details();
        let info = details.error_info();
        let reason = info.map(|info| words(&info.reason)).unwrap_or_default();
        let line = info.and_then(|info| info.metadata.get("line"));
        let next = match (reason.as_str(), line, status.code()) {
            ("PolicyDenied", Some(line), _) if !status.message().contains(line.as_str()) => {
                format!(
                    "an administrator of that node can change {} in the agent's configuration",
                    words(line)
                )
            }
            ("PolicyDenied", ..) => {
                "an administrator of that node can change its policy".to_owned()
            }
            ("TargetNotFound", ..) => {
                "specify processes, cgroups and containers of the agent's host".to_owned()
            }
            ("ResourceExhausted", ..) => {
                "retry when another trace on that node has ended, or request less".to_owned()
            }
            ("Unsupported" | "MissingCapability" | "KernelRefused", ..) => {
                "`tracejob --agent … doctor` shows what that node lacks".to_owned()
            }
            ("Internal", ..) => "that is a bug: please report it, with the agent's log".to_owned(),
            ("InvalidRequest", ..) => {
                "`tracejob --agent … describe TRACER` shows the tracer's options".to_owned()
            }
            (_, _, Code::PermissionDenied | Code::Unauthenticated) => {
                "the agent identifies clients by user or certificate, and does not allow this one"
                    .to_owned()
            }
            (_, _, Code::Unimplemented) => {
                "the server is not a tracejob-agent, or its version differs".to_owned()
            }
            _ => "see the agent's log".to_owned(),
        };
        let sentence = match reason.as_str() {
            "" => format!("error from the agent at {url}"),
            reason => format!("{reason}, from the agent at {url}"),
        };
        Self::Refused {
            message: match words(status.message()) {
                message if message.is_empty() => status.code().description().to_owned(),
                message => message,
            },
            sentence,
            next,
            invalid: reason == Reason::InvalidRequest.word()
                || status.code() == Code::InvalidArgument,
        }
    }

    /// Returns whether a retry cannot succeed.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Refused { invalid: true, .. })
    }
}

/// Returns a peer's text as it may be printed: lines stay lines, anything else that a terminal would act on is escaped.
pub(crate) fn words(text: &str) -> String {
    excerpt_lines(text, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tonic_types::ErrorDetails;

    fn refused(code: Code, message: &str, reason: &str, metadata: &[(&str, &str)]) -> Error {
        let metadata: HashMap<String, String> = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let details = ErrorDetails::with_error_info(reason, "tracejob.dev", metadata);
        Error::of(
            &Status::with_error_details(code, message, details),
            "unix:///a",
        )
    }

    #[test]
    fn a_refusal_is_the_agents_words_its_reason_its_line_and_what_to_do() {
        let denied = refused(
            Code::PermissionDenied,
            "this node does not let everything be selected",
            "PolicyDenied",
            &[("line", "policy.host")],
        );
        insta::assert_snapshot!(denied, @r"
        this node does not let everything be selected
               PolicyDenied, from the agent at unix:///a: an administrator of that node can change policy.host in the agent's configuration
        ");
        assert!(!denied.is_usage());
        assert!(refused(Code::InvalidArgument, "x", "InvalidRequest", &[]).is_usage());
        let bare = Error::of(
            &Status::permission_denied("uid 7 may not use this agent"),
            "unix:///a",
        );
        assert!(bare.to_string().contains("identifies clients"), "{bare}");
        let empty = Error::of(&Status::new(Code::Aborted, ""), "unix:///a");
        assert!(
            empty.to_string().starts_with("The operation was aborted"),
            "{empty}"
        );
    }

    #[test]
    fn every_reason_has_its_line_in_the_docs() {
        let docs = include_str!("../../../../docs/grpc.md");
        for word in Reason::ALL.map(Reason::word) {
            assert!(docs.contains(&format!("| `{word}` | ")), "{word}");
        }
    }

    #[test]
    fn an_agents_words_cannot_act_on_a_terminal_or_fill_it() {
        let sentence =
            refused(Code::Internal, "a\x1b[2Jb\nc\u{202e}", "Ker\x07nel", &[]).to_string();
        assert!(
            sentence.contains("a\\x1b[2Jb\nc\\u{202e}") && sentence.contains("Ker\\x07nel"),
            "{sentence}"
        );
        assert!(words(&"é".repeat(100_000)).len() < 2 * LONGEST + "…".len() + 1);
    }
}

//! Errors as gRPC statuses with an ErrorInfo, whose reason is a stable word, and with further details.

use super::{
    limits::{ID_BYTES, MESSAGE_BYTES},
    policy::Denied,
    role::Role,
    text::cut,
    wire::Violation,
};
use engine::{Error, Reason};
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Domain of the reasons.
const DOMAIN: &str = "tracejob.dev";

/// A refusal that does not involve the kernel.
pub(crate) enum Refusal {
    /// A field is wrong.
    Invalid(Violation),
    /// The node's policy.
    Denied(Denied),
    /// The caller's role does not allow the call.
    NotAllowed { who: String, role: Role },
    /// The maximum number of traces is running.
    TooManyTraces(usize),
    /// All traces together would exceed the memory limit.
    NodeMemory { needed: u64, left: u64 },
    /// A namespace's traces have more than they leave.
    NamespaceShare { namespace: String },
    /// The caller has reached its limit of something.
    TooMuchAtOnce { what: &'static str, why: String },
    /// The trace belongs to another caller, or to a call.
    NotOwner { uid: String, who: String },
    /// An update is not newer than the last one.
    OldVersion { known: u64 },
    /// A newer generation exists.
    OldGeneration { known: u64 },
    /// The same generation has another spec.
    OtherSpec,
    /// No trace has that uid, or its time is over.
    UnknownTrace(String),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(Violation { field, why }) => {
                let why = cut(why, MESSAGE_BYTES);
                let mut details = info(Reason::InvalidRequest, []);
                details.add_bad_request_violation(field, &why);
                let message = format!("{field}: {why}");
                Status::with_error_details(Code::InvalidArgument, message, details)
            }
            Refusal::Denied(Denied { line, why }) => {
                let details = info(Reason::PolicyDenied, [("line", line.to_owned())]);
                let message = format!("{why} ({line} of its configuration)");
                Status::with_error_details(Code::PermissionDenied, message, details)
            }
            Refusal::NotAllowed { who, role } => {
                let why = match role {
                    Role::Read => {
                        "may only read; starting and stopping traces requires a name under roles.control"
                    }
                    Role::Control | Role::None => {
                        "has no role on this node; its configuration lists names of certificates under roles, and a unix socket is its owner's"
                    }
                };
                let details = info(Reason::NotAllowed, [("who", who.clone())]);
                let message = format!("{who} {why}");
                Status::with_error_details(Code::PermissionDenied, message, details)
            }
            Refusal::TooManyTraces(most) => {
                let mut details = info(Reason::ResourceExhausted, []);
                let why =
                    format!("{most} traces are running, which is the limit of policy.maxTraces");
                details.add_quota_failure_violation("traces", &why);
                Status::with_error_details(Code::ResourceExhausted, why, details)
            }
            Refusal::NodeMemory { needed, left } => {
                let mut details = info(Reason::ResourceExhausted, []);
                let why = format!(
                    "the trace needs {needed} bytes of memory, and other traces leave {left} bytes of policy.maxNodeBytes"
                );
                details.add_quota_failure_violation("memory", &why);
                Status::with_error_details(Code::ResourceExhausted, why, details)
            }
            Refusal::NamespaceShare { namespace } => {
                let mut details = info(Reason::ResourceExhausted, []);
                let why = format!(
                    "traces of namespace {namespace} use more of this node's slots or memory than remain free; the rest is reserved for other namespaces (policy.maxTraces, policy.maxNodeBytes)"
                );
                details.add_quota_failure_violation("namespace", &why);
                Status::with_error_details(Code::ResourceExhausted, why, details)
            }
            Refusal::TooMuchAtOnce { what, why } => {
                let mut details = info(Reason::ResourceExhausted, []);
                details.add_quota_failure_violation(what, &why);
                Status::with_error_details(Code::ResourceExhausted, why, details)
            }
            Refusal::NotOwner { uid, who } => {
                let message = format!(
                    "trace \"{uid}\" was not started by {who}: only its owner may change, replace and stop it, and root on the node's unix socket may stop it; a trace of a Trace call belongs to that call"
                );
                let details = info(Reason::NotAllowed, [("who", who), ("trace", uid)]);
                Status::with_error_details(Code::PermissionDenied, message, details)
            }
            Refusal::OldVersion { known } => {
                let details = info(Reason::OldVersion, [("known", known.to_string())]);
                let message = format!(
                    "version {known} of this trace's targets is already applied; use a newer version"
                );
                Status::with_error_details(Code::FailedPrecondition, message, details)
            }
            Refusal::OldGeneration { known } => {
                let details = info(Reason::OldGeneration, [("known", known.to_string())]);
                let message = format!("generation {known} of this trace already exists");
                Status::with_error_details(Code::FailedPrecondition, message, details)
            }
            Refusal::OtherSpec => {
                let message = "this generation was started with another spec; a change takes a new generation";
                let details = info(Reason::OtherSpec, []);
                Status::with_error_details(Code::FailedPrecondition, message, details)
            }
            Refusal::UnknownTrace(uid) => {
                let uid = cut(uid.escape_debug().to_string(), ID_BYTES);
                let message = format!("there is no trace \"{uid}\"");
                let details = info(Reason::UnknownTrace, []);
                Status::with_error_details(Code::NotFound, message, details)
            }
        }
    }
}

/// Returns the status of an error of the kernel or the targets.
pub(crate) fn status(error: &Error) -> Status {
    let message = cut(error.to_string(), MESSAGE_BYTES);
    let mut details = match error {
        Error::Denied { line, .. } => info(error.reason(), [("line", (*line).to_owned())]),
        _ => info(error.reason(), []),
    };
    if let Error::Memory { .. } = error {
        details.add_quota_failure_violation("memory", &message);
    }
    Status::with_error_details(code(error.reason()), message, details)
}

/// The same, of what is left of the error.
pub(crate) fn failed(reason: Reason, message: &str) -> Status {
    Status::with_error_details(code(reason), message, info(reason, []))
}

fn code(reason: Reason) -> Code {
    match reason {
        Reason::MissingCapability | Reason::Unsupported => Code::FailedPrecondition,
        Reason::TargetNotFound => Code::NotFound,
        Reason::InvalidRequest => Code::InvalidArgument,
        Reason::ResourceExhausted => Code::ResourceExhausted,
        Reason::PolicyDenied | Reason::NotAllowed => Code::PermissionDenied,
        Reason::OldGeneration | Reason::OldVersion | Reason::OtherSpec => Code::FailedPrecondition,
        Reason::UnknownTrace => Code::NotFound,
        Reason::KernelRefused | Reason::Internal => Code::Internal,
    }
}

fn info<const N: usize>(reason: Reason, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata: HashMap<String, String> = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    ErrorDetails::with_error_info(reason.word(), DOMAIN, metadata)
}

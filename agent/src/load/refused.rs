//! Why the kernel refused an object or a program, said so that one can act on it.

use crate::{Error, Kernel, capability::Held};
use aya::{EbpfError, maps::MapError, programs::ProgramError};
use tracers::{Capability, Erased, Hook};

/// Kernels before 5.11 count maps by RLIMIT_MEMLOCK. Raised to the hard limit always, beyond it where that is allowed.
pub(super) fn allow_locked_memory(kernel: &Kernel) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if kernel.version() >= (5, 11) {
        return;
    }
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if setrlimit(Resource::Memlock, unlimited).is_err() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Memlock);
        // Refused means that a map will be, with a message that names the limit.
        let _ = setrlimit(
            Resource::Memlock,
            Rlimit {
                current: maximum,
                maximum,
            },
        );
    }
}

/// EPERM on a kernel before 5.11, where all capabilities are there, is the limit on locked memory.
fn locked_memory(
    tracer: &'static dyn Erased,
    kernel: &Kernel,
    errno: Option<i32>,
) -> Option<Error> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current?;
    let refused =
        errno == Some(libc::EPERM) && kernel.version() < (5, 11) && Capability::Bpf.have();
    refused.then_some(Error::LockedMemory {
        tracer: tracer.name(),
        limit,
    })
}

pub(super) fn load_error(tracer: &'static dyn Erased, kernel: &Kernel, error: &EbpfError) -> Error {
    let errno = match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => io_error.raw_os_error(),
        _ => None,
    };
    if errno == Some(libc::ENOMEM) {
        return Error::NoMemory {
            tracer: tracer.name(),
        };
    }
    let exhausted = || Error::exhausted(&format!("loading {} failed", tracer.name()), error);
    { locked_memory(tracer, kernel, errno).or_else(exhausted) }.unwrap_or_else(|| Error::Load {
        tracer: tracer.name(),
        reason: chain(error),
    })
}

pub(super) fn program_error(
    tracer: &'static dyn Erased,
    kernel: &Kernel,
    hook: &Hook,
    error: &ProgramError,
) -> Error {
    let (errno, log) = match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => (io_error.raw_os_error(), verifier_log.to_string()),
        _ => (None, String::new()),
    };
    // The end of the verifier's log says why.
    let mut tail: Vec<&str> = log
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(12)
        .collect();
    tail.reverse();
    let reason = match tail.is_empty() {
        true => format!("{} {}: {}", hook.kind.word(), hook.target, chain(error)),
        false => format!(
            "{} {}: the verifier says:\n{}",
            hook.kind.word(),
            hook.target,
            tail.join("\n")
        ),
    };
    let exhausted = || Error::exhausted(&format!("loading {} failed", tracer.name()), error);
    { locked_memory(tracer, kernel, errno).or_else(exhausted) }.unwrap_or(Error::Load {
        tracer: tracer.name(),
        reason,
    })
}

/// An error with its sources, none twice.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = inner.source();
    }
    text
}

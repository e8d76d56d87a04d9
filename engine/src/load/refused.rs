//! Errors with a remedy for objects and programs that the kernel refused.

use crate::{Error, Kernel, bpf::Refused, capability::Held};
use aya::{EbpfError, maps::MapError};
use rows::text::error_chain;
use tracers::{Capability, Point};

/// Raises RLIMIT_MEMLOCK, to which kernels before 5.11 charge maps: to the hard limit, and beyond it if permitted.
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
        // If this fails, the creation of a map fails too, with a message that names the limit.
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
fn locked_memory(tracer: &'static str, kernel: &Kernel, errno: Option<i32>) -> Option<Error> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current?;
    let refused =
        errno == Some(libc::EPERM) && kernel.version() < (5, 11) && Capability::Bpf.have();
    refused.then_some(Error::LockedMemory { tracer, limit })
}

pub(super) fn load_error(tracer: &'static str, kernel: &Kernel, error: &EbpfError) -> Error {
    let errno = match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => io_error.raw_os_error(),
        _ => None,
    };
    if errno == Some(libc::ENOMEM) {
        return Error::NoMemory { tracer };
    }
    let exhausted = || Error::exhausted(&format!("loading {tracer} failed"), error);
    { locked_memory(tracer, kernel, errno).or_else(exhausted) }.unwrap_or_else(|| Error::Load {
        tracer,
        reason: error_chain(error),
    })
}

pub(super) fn program_error(
    tracer: &'static str,
    kernel: &Kernel,
    point: &Point,
    error: &Refused,
) -> Error {
    // The reason is at the end of the verifier's log.
    let mut tail: Vec<&str> = (error.log.lines().rev())
        .filter(|line| !line.trim().is_empty())
        .take(12)
        .collect();
    tail.reverse();
    let reason = match tail.is_empty() {
        true => format!("{point}: {}", error_chain(error)),
        false => format!("{point}: log of the verifier:\n{}", tail.join("\n")),
    };
    let errno = error.source.raw_os_error();
    let exhausted = || Error::exhausted(&format!("loading {tracer} failed"), error);
    { locked_memory(tracer, kernel, errno).or_else(exhausted) }
        .unwrap_or(Error::Load { tracer, reason })
}

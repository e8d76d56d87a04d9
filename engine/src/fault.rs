//! Fault injection for tests: rare failures of kernels and readers, on demand.
//!
//! It is part of every build, so that tests run the released program, and is active only with `--inject`: a flag is visible in the list of
//! processes and in the first line of the log, and unlike a variable of the environment it is not set by accident.

use crate::{Error, bpf::Refused};
use aya::{EbpfError, maps::MapError};
use std::{
    io,
    str::FromStr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};
use tracers::Malformed;

/// One of this many records does not decode.
const DROPS: u64 = 10;
/// Divisor of a short keepalive.
const SHORTER: u32 = 10;
/// Time that a slow consumer takes for one update.
const SLOW: Duration = Duration::from_millis(50);

/// Duration of a deep sleep: longer than any test.
const DEEP: Duration = Duration::from_secs(3600);

/// An injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// No memory for a map.
    MapEnomem,
    /// Programs may not be loaded.
    LoadEperm,
    /// The verifier refuses a program.
    Verifier,
    /// Attaching fails after everything was attached.
    Attach,
    /// Every tenth record does not decode.
    Drops,
    /// The counters cannot be read.
    Read,
    /// The consumer of rows is slow.
    SlowSink,
    /// The reader has a bug.
    Panic,
    /// A client that does not answer loses its connection after a tenth of the time. Not related to a trace.
    ShortKeepalive,
    /// A sleeping reader does not poll, after the first poll of its sleep.
    DeepSleep,
}

const NAMES: [(&str, Fault); 10] = [
    ("map-enomem", Fault::MapEnomem),
    ("load-eperm", Fault::LoadEperm),
    ("verifier", Fault::Verifier),
    ("attach", Fault::Attach),
    ("drops", Fault::Drops),
    ("read", Fault::Read),
    ("slow-sink", Fault::SlowSink),
    ("panic", Fault::Panic),
    ("short-keepalive", Fault::ShortKeepalive),
    ("deep-sleep", Fault::DeepSleep),
];

/// A fault and the number of its trace, counted from 1 in the order of their start; without a number, all traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    fault: Fault,
    trace: Option<u64>,
}

impl FromStr for Injection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, trace) = match text.split_once('@') {
            Some((name, number)) => (name, Some(number)),
            None => (text, None),
        };
        let known = || NAMES.map(|(name, _)| name).join(", ");
        let fault = NAMES.iter().find(|(known, _)| *known == name);
        let (_, fault) =
            fault.ok_or_else(|| format!("there are {}; each may end in @N", known()))?;
        let number = |number: &str| number.parse().map_err(|_| "@N takes a number".to_owned());
        Ok(Self {
            fault: *fault,
            trace: trace.map(number).transpose()?,
        })
    }
}

static INJECTED: OnceLock<Vec<Injection>> = OnceLock::new();
static TRACES: AtomicU64 = AtomicU64::new(0);

/// Enables these faults. Called once, before the first trace.
pub fn inject(injections: Vec<Injection>) {
    if !injections.is_empty() {
        tracing::warn!(?injections, "fault injection is enabled: for tests only");
        // Another call would be a bug of the caller, and is without effect.
        let _ = INJECTED.set(injections);
    }
}

/// Returns how long the server waits for a client that does not answer; `usual` without a fault.
pub fn keepalive(usual: Duration) -> Duration {
    let injected = INJECTED.get().into_iter().flatten();
    match injected
        .map(|one| one.fault)
        .any(|fault| fault == Fault::ShortKeepalive)
    {
        false => usual,
        true => usual / SHORTER,
    }
}

/// The faults of one trace; none outside of tests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults(u16);

impl Faults {
    pub(crate) fn of_next_trace() -> Self {
        let Some(injected) = INJECTED.get() else {
            return Self::default();
        };
        let trace = TRACES.fetch_add(1, Ordering::Relaxed) + 1;
        let ours = |injection: &&Injection| injection.trace.is_none_or(|wanted| wanted == trace);
        let bits = injected.iter().filter(ours);
        Self(bits.fold(0, |bits, injection| bits | 1 << injection.fault as u8))
    }

    fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u8 != 0
    }

    /// Fails before maps are created.
    pub(crate) fn maps(self) -> Result<(), EbpfError> {
        match self.has(Fault::MapEnomem) {
            false => Ok(()),
            true => Err(EbpfError::MapError(MapError::CreateError {
                name: "EVENTS".to_owned(),
                io_error: io::Error::from_raw_os_error(libc::ENOMEM),
            })),
        }
    }

    /// Fails before a program is loaded.
    pub(crate) fn load(self) -> Result<(), Refused> {
        let refused = |errno, log: &str| Refused {
            call: "loading it",
            source: io::Error::from_raw_os_error(errno),
            log: log.to_owned(),
        };
        if self.has(Fault::LoadEperm) {
            return Err(refused(libc::EPERM, ""));
        }
        if self.has(Fault::Verifier) {
            return Err(refused(libc::EACCES, "R1 invalid mem access 'scalar'\n"));
        }
        Ok(())
    }

    /// Fails after all programs are attached.
    pub(crate) fn attach(self) -> Result<(), Error> {
        match self.has(Fault::Attach) {
            false => Ok(()),
            true => Err(Error::Attach {
                hook: "an injected fault".to_owned(),
                reason: io::Error::from_raw_os_error(libc::EBUSY).to_string(),
            }),
        }
    }

    /// Fails before the n-th record is decoded.
    pub(crate) fn record(self, n: u64) -> Result<(), Malformed> {
        match self.has(Fault::Drops) && n % DROPS == DROPS - 1 {
            false => Ok(()),
            true => Err(Malformed {
                wanted: "a record that is not dropped",
                bytes: 0,
            }),
        }
    }

    /// Fails before an account is read.
    pub(crate) fn account(self) -> Result<(), Error> {
        assert!(!self.has(Fault::Panic), "an injected fault");
        match self.has(Fault::Read) {
            false => Ok(()),
            true => Err(Error::Read {
                what: "the counters",
                source: io::Error::from_raw_os_error(libc::EIO),
            }),
        }
    }

    /// Returns the pause of a sleeping reader; `usual` without a fault.
    pub(crate) fn pause(self, usual: Duration) -> Duration {
        match self.has(Fault::DeepSleep) {
            false => usual,
            true => DEEP,
        }
    }

    /// Delays the consumer before it receives an update.
    pub(crate) fn take(self) {
        if self.has(Fault::SlowSink) {
            thread::sleep(SLOW);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_parsed_with_the_number_of_its_trace() {
        let parse = |text: &str| text.parse::<Injection>();
        let of = |fault, trace| Ok(Injection { fault, trace });
        assert_eq!(parse("drops"), of(Fault::Drops, None));
        assert_eq!(parse("load-eperm@2"), of(Fault::LoadEperm, Some(2)));
        assert!(parse("load").unwrap_err().contains("load-eperm"));
        assert!(parse("drops@").is_err());
    }

    #[test]
    fn nothing_fails_without_an_injected_fault() {
        let faults = Faults::of_next_trace();
        assert!(faults.maps().is_ok() && faults.load().is_ok() && faults.attach().is_ok());
        assert!(faults.account().is_ok());
        let usual = Duration::from_secs(30);
        assert_eq!(keepalive(usual), usual);
        assert!((0..100).all(|n| faults.record(n).is_ok()));
    }
}

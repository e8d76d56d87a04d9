//! Ctrl-C and its like: the first ends the trace with its full result, the second ends the program.

use crate::show::sink;
use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator,
};
use std::{
    process,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

type Stop = Box<dyn Fn() + Send>;

/// The signals that ask for an end.
pub(crate) struct Signals {
    stop: Arc<Mutex<Option<Stop>>>,
}

impl Signals {
    /// From now on they end the program with nothing left behind. The thread that waits for them ends with the program.
    pub(crate) fn watch() -> Result<Self> {
        let stop: Arc<Mutex<Option<Stop>>> = Arc::default();
        let mut signals = iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
            .context("cannot install signal handlers")?;
        let shared = Arc::clone(&stop);
        let wait = move || {
            for signal in signals.forever() {
                let stop = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                match stop {
                    Some(stop) => stop(),
                    // Nothing runs yet, or somebody has lost patience.
                    None => {
                        sink::abandon();
                        process::exit(128 + signal);
                    }
                }
            }
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(wait)
            .context("cannot install signal handlers")?;
        Ok(Self { stop })
    }

    /// From now on the first calls `stop`.
    pub(crate) fn first(&self, stop: impl Fn() + Send + 'static) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stop));
    }
}

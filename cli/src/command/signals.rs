//! Signals: the first Ctrl-C ends the trace with its account, the second ends the program.

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

/// Handler of SIGINT, SIGTERM and SIGHUP.
pub(crate) struct Signals {
    stop: Arc<Mutex<Option<Stop>>>,
}

impl Signals {
    /// Installs the handler. Until [`Signals::first`] is called, a signal ends the program and removes unfinished files.
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
                    // No trace is running yet, or this is the second signal.
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

    /// Makes the first signal call `stop` instead of ending the program.
    pub(crate) fn first(&self, stop: impl Fn() + Send + 'static) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stop));
    }
}

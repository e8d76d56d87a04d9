//! What a trace costs. Its programs measure themselves (`agent-ebpf/src/meter.rs`), which costs time itself, so they do for a part of
//! the time only.

use crate::{Error, account::BpfCost, bpf, load::Loaded, read::possible_cpus};
use std::time::{Duration, Instant};
use tracers::control;

/// How long they measure at a time.
const WINDOW: Duration = Duration::from_millis(100);
/// How long they do not between.
const PAUSE: Duration = Duration::from_millis(900);

/// Measures by windows.
pub(crate) struct CostMeter {
    started: Instant,
    /// Since when there is one.
    window: Option<Instant>,
    next: Instant,
    measured: Duration,
}

impl CostMeter {
    /// Starts with a window, so that a short trace is measured whole.
    pub(crate) fn start(loaded: &Loaded) -> Result<Self, Error> {
        let now = Instant::now();
        let mut meter = Self {
            started: now,
            window: None,
            next: now,
            measured: Duration::ZERO,
        };
        meter.tick(loaded)?;
        Ok(meter)
    }

    /// Opens or closes a window where it is time to; to be called every few ms.
    pub(crate) fn tick(&mut self, loaded: &Loaded) -> Result<(), Error> {
        let now = Instant::now();
        match self.window {
            Some(opened) if now - opened >= WINDOW => {
                measure(loaded, 0)?;
                self.window = None;
                self.measured += now - opened;
                self.next = now + PAUSE;
            }
            None if now >= self.next => {
                measure(loaded, 1)?;
                self.window = Some(now);
            }
            _ => {}
        }
        Ok(())
    }

    /// Run time and runs so far, scaled up to the whole trace.
    pub(crate) fn read(&self, loaded: &Loaded) -> Result<BpfCost, Error> {
        let cpus: Vec<control::Cost> = bpf::lookup_per_cpu(loaded.map("COST")?, possible_cpus())
            .map_err(|source| Error::Read {
                what: "the run time of the programs",
                source,
            })?;
        let runs: u64 = cpus.iter().map(|cpu| cpu.runs).sum();
        let ns: u64 = cpus.iter().map(|cpu| cpu.ns).sum();
        let now = Instant::now();
        let open = self.window.map_or(Duration::ZERO, |opened| now - opened);
        let part = (self.measured + open).as_secs_f64() / (now - self.started).as_secs_f64();
        let part = part.clamp(f64::MIN_POSITIVE, 1.0);
        Ok(BpfCost {
            time: Duration::from_nanos((ns as f64 / part) as u64),
            runs: (runs as f64 / part) as u64,
            measured: part,
        })
    }
}

fn measure(loaded: &Loaded, on: u32) -> Result<(), Error> {
    bpf::update(loaded.map("MEASURE")?, &[0; 4], &on.to_ne_bytes()).map_err(|source| Error::Read {
        what: "whether programs measure themselves",
        source,
    })
}

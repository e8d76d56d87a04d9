//! What a trace costs. Run time statistics cost time in every program of the host, so they are on for a part of the time only.

use crate::{account::BpfCost, bpf};
use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

/// How long statistics are on at a time.
const WINDOW: Duration = Duration::from_millis(100);
/// How long they are off between.
const PAUSE: Duration = Duration::from_millis(900);

/// Measures by windows.
pub(crate) struct CostMeter {
    started: Instant,
    /// Statistics are on while this is open.
    window: Option<(OwnedFd, Instant)>,
    next: Instant,
    measured: Duration,
    allowed: bool,
}

impl CostMeter {
    /// Starts with a window, so that a short trace is measured whole.
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        let mut meter = Self {
            started: now,
            window: None,
            next: now,
            measured: Duration::ZERO,
            allowed: true,
        };
        meter.tick();
        meter
    }

    /// Opens or closes a window where it is time to; to be called every few ms.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        match &self.window {
            Some((_, opened)) if now - *opened >= WINDOW => self.close(now),
            None if self.allowed && now >= self.next => match bpf::enable_stats() {
                Ok(fd) => self.window = Some((fd, now)),
                Err(_) => self.allowed = false,
            },
            _ => {}
        }
    }

    fn close(&mut self, now: Instant) {
        if let Some((_, opened)) = self.window.take() {
            self.measured += now - opened;
            self.next = now + PAUSE;
        }
    }

    /// Run time and runs of these programs so far, scaled up to the whole trace.
    pub(crate) fn read<'a>(&self, programs: impl Iterator<Item = &'a OwnedFd>) -> Option<BpfCost> {
        let stats = programs.filter_map(|program| bpf::program_stats(program.as_fd()).ok());
        let (mut time, mut runs) = (0, 0);
        for each in stats {
            time += each.run_time_ns;
            runs += each.runs;
        }
        let now = Instant::now();
        let open = self
            .window
            .as_ref()
            .map_or(Duration::ZERO, |(_, opened)| now - *opened);
        let part =
            ((self.measured + open).as_secs_f64() / (now - self.started).as_secs_f64()).min(1.0);
        match (part > 0.0, runs > 0) {
            (true, _) => Some(BpfCost {
                time: Duration::from_nanos((time as f64 / part) as u64),
                runs: (runs as f64 / part) as u64,
                measured: part,
            }),
            // Not ours to switch on, but on: `kernel.bpf_stats_enabled=1`.
            (false, true) => Some(BpfCost {
                time: Duration::from_nanos(time),
                runs,
                measured: 1.0,
            }),
            (false, false) => None,
        }
    }
}

//! The times at which the reader polls the ring: every few ms while records arrive, and once a second otherwise.
//!
//! Before the reader sleeps, it writes the number of its sleep into the map `SLEEP`. A program that reads the number wakes the reader
//! (`agent-ebpf/src/wake.rs`). A program on another CPU that read the map just before leaves a record without a wake-up. So the reader
//! polls again after a tick and after growing pauses: such a record waits a few times as long as its program was delayed.

use crate::load::Loaded;
use std::time::{Duration, Instant};
use tracers::control::SLEEP_WAKES;

/// Interval of polls while records arrive: the longest time that a row waits then.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// Time from a wake-up to the next poll: a program that has just started has mapped its libraries by then. It is the average time that a
/// record waits while the reader is awake.
const SOON: Duration = Duration::from_millis(5);
/// Difference between the numbers of two sleeps: all have the same lowest bits.
const NEXT: u32 = 2 * SLEEP_WAKES;
/// Polls without a record after which the reader sleeps.
const QUIET: u32 = 3;
/// Factor between two successive pauses of a sleep.
const LONGER: u32 = 4;
/// The longest pause: a record without a wake-up waits no longer.
const LONGEST: Duration = Duration::from_secs(1);

/// Whether the reader sleeps, and the time of its next poll.
pub(super) struct Rest {
    /// The number of the last sleep.
    sleep: u32,
    /// Polls without a record since the last wake-up.
    quiet: u32,
    /// The current pause, while the reader sleeps.
    pause: Option<Duration>,
    next: Instant,
}

impl Rest {
    /// Creates the state of a reader that is awake.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sleep: SLEEP_WAKES,
            quiet: 0,
            pause: None,
            next: now + TICK,
        }
    }

    /// Returns the time of the next poll, unless a wake-up comes first. The reader polls at each interval too, but not in the deep sleep
    /// of a test.
    pub(super) fn next(&self, interval: Instant) -> Instant {
        match self.pause {
            Some(pause) if pause > LONGEST => self.next,
            _ => self.next.min(interval),
        }
    }

    /// Records a poll, which found something or not. Returns whether that ended a sleep.
    pub(super) fn polled(&mut self, now: Instant, found: bool, loaded: &Loaded) -> bool {
        let woken = found && self.pause.take().is_some();
        match self.pause {
            _ if woken => {
                loaded.set_sleep(0);
                self.quiet = 0;
                self.next = now + SOON;
            }
            _ if found => {
                self.quiet = 0;
                self.next = now + TICK;
            }
            // Another wake-up. Each one begins a further pause of the longest ones.
            pause if now < self.next && pause != Some(LONGEST) => {}
            Some(pause) => {
                let pause = pause.saturating_mul(LONGER).min(LONGEST);
                self.pause(now, loaded.faults.pause(pause));
            }
            None if self.quiet < QUIET => {
                self.quiet += 1;
                self.next = now + TICK;
            }
            None => {
                self.sleep = self.sleep.wrapping_add(NEXT);
                loaded.set_sleep(self.sleep);
                self.pause(now, TICK);
            }
        }
        woken
    }

    fn pause(&mut self, now: Instant, pause: Duration) {
        self.pause = Some(pause);
        self.next = now + pause;
    }
}

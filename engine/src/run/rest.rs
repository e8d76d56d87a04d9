//! The times at which the reader polls the ring: every few ms while records arrive, and once a second otherwise.
//!
//! Before the reader sleeps, it writes the number of its sleep into the map `SLEEP`. A program that reads the number wakes the reader
//! (`agent-ebpf/src/wake.rs`). A program on another CPU that read the map just before leaves a record without a wake-up. So the reader
//! polls again after a tick and after growing pauses: such a record waits a few times as long as its program was delayed.

use crate::load::Loaded;
use std::time::{Duration, Instant};
use tracers::control::SLEEP_WAKES;

/// How often the reader looks while something comes: the longest that a row waits then.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// When it looks again after it was woken: a program that has just begun has mapped its libraries by then. It is as long as something
/// waits on average while it is awake.
const SOON: Duration = Duration::from_millis(5);
/// How far the numbers of two sleeps are apart: both have the same lowest bits.
const NEXT: u32 = 2 * SLEEP_WAKES;
/// Looks without anything new after which it sleeps.
const QUIET: u32 = 3;
/// By how much each pause of a sleep is longer than the one before.
const LONGER: u32 = 4;
/// The longest pause: whatever is not made known by a wake-up is found by then.
const LONGEST: Duration = Duration::from_secs(1);

/// Whether the reader sleeps, and when it looks next.
pub(super) struct Rest {
    /// The number of its last sleep.
    sleep: u32,
    /// Looks without anything new since it was last woken.
    quiet: u32,
    /// The pause that it is in, while it sleeps.
    pause: Option<Duration>,
    next: Instant,
}

impl Rest {
    /// Awake.
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
    pub(super) fn looked(&mut self, now: Instant, found: bool, loaded: &Loaded) -> bool {
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
            // It was about something else; of the longest pauses each look begins one.
            pause if now < self.next && pause != Some(LONGEST) => {}
            Some(pause) => {
                let pause = pause.saturating_mul(LONGER).min(LONGEST);
                self.pauses(now, loaded.faults.pause(pause));
            }
            None if self.quiet < QUIET => {
                self.quiet += 1;
                self.next = now + TICK;
            }
            None => {
                self.sleep = self.sleep.wrapping_add(NEXT);
                loaded.set_sleep(self.sleep);
                self.pauses(now, TICK);
            }
        }
        woken
    }

    fn pauses(&mut self, now: Instant, pause: Duration) {
        self.pause = Some(pause);
        self.next = now + pause;
    }
}

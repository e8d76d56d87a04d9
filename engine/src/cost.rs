//! The cost of a trace. Its programs measure themselves (`agent-ebpf/src/meter.rs`), which costs time itself. Rare programs measure all runs,
//! and frequent programs measure for a part of the time.

use crate::{Error, account::BpfCost, bpf, cpus::possible_cpus, load::Loaded};
use std::time::{Duration, Instant};
use tracers::control;

/// Duration of a measurement.
const WINDOW: Duration = Duration::from_millis(100);
/// Pause between two measurements.
const PAUSE: Duration = Duration::from_millis(900);
/// Runs per second up to which all runs are measured: the two clock reads of a run take 0.1 µs.
const RARE: f64 = 1000.0;

/// Meter of the programs, with windows of measurement.
pub(crate) struct CostMeter {
    state: State,
    /// Start of this state.
    since: Instant,
    /// Measurement at the start of this state.
    before: Measured,
    /// The time in which all runs were measured.
    whole: Part,
    /// The windows of the remaining time.
    sampled: Part,
    /// The pauses between these windows.
    paused: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Programs run rarely, and all runs are measured.
    Whole,
    /// A window is open.
    Window,
    /// Nothing is measured.
    Paused,
}

/// Run time and runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Measured {
    ns: u64,
    runs: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    measured: Measured,
    time: Duration,
}

impl Part {
    fn add(&mut self, more: Measured, time: Duration) {
        self.measured.ns += more.ns;
        self.measured.runs += more.runs;
        self.time += time;
    }
}

impl Measured {
    fn now(loaded: &Loaded) -> Result<Self, Error> {
        let cpus: Vec<control::Cost> = bpf::lookup_per_cpu(loaded.map("COST")?, possible_cpus())
            .map_err(|source| Error::Read {
                what: "the run time of the programs",
                source,
            })?;
        Ok(Self {
            ns: cpus.iter().map(|cpu| cpu.ns).sum(),
            runs: cpus.iter().map(|cpu| cpu.runs).sum(),
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            ns: self.ns.saturating_sub(before.ns),
            runs: self.runs.saturating_sub(before.runs),
        }
    }

    /// Returns whether this many runs in this time are rare.
    fn is_rare(self, time: Duration) -> bool {
        self.runs as f64 <= RARE * time.as_secs_f64()
    }
}

impl CostMeter {
    /// Starts with a window, so that all of a short trace is measured.
    pub(crate) fn start(loaded: &Loaded) -> Result<Self, Error> {
        measure(loaded, 1)?;
        Ok(Self::new(Instant::now()))
    }

    fn new(now: Instant) -> Self {
        Self {
            state: State::Window,
            since: now,
            before: Measured::default(),
            whole: Part::default(),
            sampled: Part::default(),
            paused: Duration::ZERO,
        }
    }

    /// Returns the time of the next change of state; `None` while programs run rarely: the meter checks that whenever the reader is awake.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Whole => None,
            State::Window => Some(self.since + WINDOW),
            State::Paused => Some(self.since + PAUSE),
        }
    }

    /// Opens or closes a window if it is due.
    pub(crate) fn tick(&mut self, loaded: &Loaded) -> Result<(), Error> {
        let now = Instant::now();
        let time = now - self.since;
        let wait = match self.state {
            State::Whole | State::Window => WINDOW,
            State::Paused => PAUSE,
        };
        if time < wait {
            return Ok(());
        }
        let was = self.state;
        self.go_on(now, Measured::now(loaded)?);
        match (was, self.state) {
            (State::Paused, State::Whole | State::Window) => measure(loaded, 1),
            (State::Whole | State::Window, State::Paused) => measure(loaded, 0),
            _ => Ok(()),
        }
    }

    /// Ends the current state, with the measurement until now.
    fn go_on(&mut self, now: Instant, measured: Measured) {
        let time = now - self.since;
        let more = measured.since(self.before);
        self.state = match self.state {
            State::Paused => {
                self.paused += time;
                State::Window
            }
            State::Whole | State::Window if more.is_rare(time) => {
                self.whole.add(more, time);
                State::Whole
            }
            // The next window is in the time of frequent runs; this one mostly was not.
            State::Whole => {
                self.whole.add(more, time);
                State::Window
            }
            State::Window => {
                self.sampled.add(more, time);
                State::Paused
            }
        };
        self.since = now;
        self.before = measured;
    }

    /// Returns run time and runs until now, scaled up to the whole trace.
    pub(crate) fn read(&self, loaded: &Loaded) -> Result<BpfCost, Error> {
        Ok(self.so_far(Instant::now(), Measured::now(loaded)?))
    }

    fn so_far(&self, now: Instant, measured: Measured) -> BpfCost {
        let (mut whole, mut sampled, mut paused) = (self.whole, self.sampled, self.paused);
        let (more, time) = (measured.since(self.before), now - self.since);
        match self.state {
            State::Whole => whole.add(more, time),
            State::Window => sampled.add(more, time),
            State::Paused => {
                sampled.add(more, Duration::ZERO);
                paused += time;
            }
        }
        let (whole_s, sampled_s) = (whole.time.as_secs_f64(), sampled.time.as_secs_f64());
        let (often_s, measured_s) = (sampled_s + paused.as_secs_f64(), whole_s + sampled_s);
        let part = |part: f64, of: f64| match of > 0.0 {
            true => (part / of).clamp(f64::MIN_POSITIVE, 1.0),
            false => 1.0,
        };
        let scaled = |number: u64| (number as f64 / part(sampled_s, often_s)) as u64;
        BpfCost {
            time: Duration::from_nanos(whole.measured.ns + scaled(sampled.measured.ns)),
            runs: whole.measured.runs + scaled(sampled.measured.runs),
            measured: part(measured_s, whole_s + often_s),
        }
    }
}

fn measure(loaded: &Loaded, on: u32) -> Result<(), Error> {
    bpf::update(loaded.map("MEASURE")?, &[0; 4], &on.to_ne_bytes()).map_err(|source| Error::Read {
        what: "whether programs measure themselves",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a meter after this many ms, of programs that run `runs` times in each ms, 1 µs each; and the number of its wake-ups.
    fn metered(ms: u64, runs: impl Fn(u64) -> u64) -> (BpfCost, u32) {
        let start = Instant::now();
        let mut meter = CostMeter::new(start);
        let (mut measured, mut woken) = (Measured::default(), 0);
        for at in 0..ms {
            let now = start + Duration::from_millis(at);
            if meter.due().is_some_and(|due| now >= due) {
                woken += 1;
                meter.go_on(now, measured);
            } else if meter.state == State::Whole && now - meter.since >= WINDOW {
                meter.go_on(now, measured);
            }
            if meter.state != State::Paused {
                measured.runs += runs(at);
                measured.ns += runs(at) * 1000;
            }
        }
        (
            meter.so_far(start + Duration::from_millis(ms), measured),
            woken,
        )
    }

    fn near(is: u64, wanted: u64) -> bool {
        is.abs_diff(wanted) * 10 <= wanted
    }

    #[test]
    fn programs_that_run_rarely_are_measured_whole_without_a_wake_up() {
        let (cost, woken) = metered(60_000, |at| u64::from(at % 100 == 0));
        assert_eq!((cost.runs, cost.measured), (600, 1.0));
        assert_eq!(woken, 1, "the first window ends");
    }

    #[test]
    fn programs_that_run_often_are_measured_for_a_tenth_of_the_time() {
        let (cost, _) = metered(10_000, |_| 100);
        assert!(near(cost.runs, 1_000_000), "{}", cost.runs);
        assert!(near(cost.time.as_micros() as u64, 1_000_000), "{cost:?}");
        assert!((0.09..0.12).contains(&cost.measured), "{}", cost.measured);
    }

    #[test]
    fn a_storm_after_a_long_silence_counts_as_what_it_was() {
        // Ten seconds in sixty.
        let (cost, _) = metered(60_000, |at| 100 * u64::from((30_000..40_000).contains(&at)));
        assert!(near(cost.runs, 1_000_000), "{}", cost.runs);
    }
}

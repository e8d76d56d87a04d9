//! The budget of a trace: a trace that exceeds it samples events, and ends if that does not suffice.

use crate::Budget;
use std::time::{Duration, Instant};

/// Minimum time between two decisions.
const WINDOW: Duration = Duration::from_millis(500);
/// Maximum sampling: one of this many events is kept. Fewer events would have no significance.
const MOST: u64 = 1024;
/// Successive windows beyond the budget after which the trace ends.
const PATIENCE: u32 = 5;

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No change.
    GoOn,
    /// Keep one of this many events from now on.
    Keep(u64),
    /// End the trace.
    End,
}

/// The governor of one trace.
pub(crate) struct Governor {
    budget: Budget,
    /// One of this many events is kept.
    of: u64,
    /// Successive windows beyond the budget.
    strikes: u32,
    since: Instant,
    spent: Duration,
    delivered: u64,
}

impl Governor {
    pub(crate) fn new(budget: Budget, now: Instant) -> Self {
        Self {
            budget,
            of: 1,
            strikes: 0,
            since: now,
            spent: Duration::ZERO,
            delivered: 0,
        }
    }

    /// Returns the number of events of which one is kept.
    pub(crate) fn of(&self) -> u64 {
        self.of
    }

    /// Decides by the total cost and the delivered events until now.
    pub(crate) fn judge(&mut self, now: Instant, spent: Duration, delivered: u64) -> Verdict {
        let window = now - self.since;
        if !self.budget.samples() || window < WINDOW {
            return Verdict::GoOn;
        }
        let seconds = window.as_secs_f64();
        let cpu = spent.saturating_sub(self.spent).as_secs_f64() / seconds * 100.0;
        let events = delivered.saturating_sub(self.delivered) as f64 / seconds;
        (self.since, self.spent, self.delivered) = (now, spent, delivered);
        let part = |of: f64, most: Option<f64>| most.map_or(0.0, |most| of / most.max(1.0));
        let used = part(cpu, self.budget.cpu_percent.map(f64::from)).max(part(
            events,
            self.budget.events_per_second.map(|n| n as f64),
        ));
        if used > 1.0 {
            self.strikes += 1;
            if self.strikes > PATIENCE || self.of == MOST {
                return Verdict::End;
            }
            let more = (used.ceil() as u64).next_power_of_two();
            return self.keep((self.of * more).min(MOST));
        }
        self.strikes = 0;
        // Twice as many events would be within the budget.
        match self.of > 1 && used < 0.4 {
            true => self.keep(self.of / 2),
            false => Verdict::GoOn,
        }
    }

    fn keep(&mut self, of: u64) -> Verdict {
        self.of = of;
        Verdict::Keep(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn events(per_second: u64) -> Budget {
        Budget {
            events_per_second: Some(per_second),
            ..Budget::default()
        }
    }

    #[test]
    fn too_many_events_are_sampled_down_to_the_budget_and_up_again() {
        let start = Instant::now();
        let mut governor = Governor::new(events(1000), start);
        let judge = |governor: &mut Governor, second, delivered| {
            governor.judge(start + seconds(second), Duration::ZERO, delivered)
        };
        assert_eq!(judge(&mut governor, 1, 1000), Verdict::GoOn);
        assert_eq!(judge(&mut governor, 2, 6000), Verdict::Keep(8));
        assert_eq!(judge(&mut governor, 3, 6625), Verdict::GoOn);
        assert_eq!(judge(&mut governor, 4, 6700), Verdict::Keep(4));
        assert_eq!(governor.of(), 4);
    }

    #[test]
    fn a_trace_that_sampling_does_not_help_ends() {
        let start = Instant::now();
        let budget = Budget {
            cpu_percent: Some(1),
            ..Budget::default()
        };
        let mut governor = Governor::new(budget, start);
        let verdicts: Vec<Verdict> = (1..=6)
            .map(|n| governor.judge(start + seconds(n), Duration::from_millis(15 * n), 0))
            .collect();
        assert_eq!(verdicts[0], Verdict::Keep(2));
        assert_eq!(verdicts[5], Verdict::End);
        assert!(!verdicts[..5].contains(&Verdict::End));
    }

    #[test]
    fn without_a_budget_nothing_is_judged() {
        let start = Instant::now();
        let mut governor = Governor::new(Budget::default(), start);
        assert_eq!(
            governor.judge(start + seconds(9), seconds(100), u64::MAX),
            Verdict::GoOn
        );
    }
}

//! A time span with its unit: `option::Duration`, nanoseconds in a `u64` in the kernel.

use super::{EXACT, OptKind, OptionValue, amount::Amount};
use crate::{
    option::Duration,
    quantity::{nanoseconds, time_text},
};
use std::{format, string::String};

/// A time span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationKind {
    /// The shortest, in nanoseconds.
    pub min: u64,
    /// The longest, in nanoseconds.
    pub max: u64,
}

impl OptionValue for Duration {
    const KIND: OptKind = OptKind::Duration(DurationKind { min: 0, max: EXACT });
}

impl Amount for DurationKind {
    const WORD: &'static str = "duration";
    const NOUN: &'static str = "time";
    const PLACEHOLDER: &'static str = "TIME";
    const EXAMPLES: &'static str = "250us, 10ms or 1m30s";
    const EXAMPLE: &'static str = "10ms";
    const SAMPLE: u64 = 10_000_000;
    const LARGEST: &'static str = "2501h";
    /// The units up to hours: CEL, with which the API server compares durations, has no days.
    const PATTERN: &'static str = "^([0-9]+([.][0-9]{1,9})?(ns|us|µs|ms|s|m|h))+$";

    fn range(self) -> (u64, u64) {
        (self.min, self.max)
    }
    fn read(text: &str) -> Option<u64> {
        nanoseconds(text).filter(|_| !text.contains('d'))
    }
    fn written(amount: u64) -> String {
        time_text(amount)
    }
    fn rule(self) -> String {
        let (min, max) = (time_text(self.min), time_text(self.max));
        format!("duration(self) >= duration('{min}') && duration(self) <= duration('{max}')")
    }
}

//! An amount of memory or data with its unit: `option::Size`, bytes in a `u64` in the kernel.

use super::{EXACT, OptKind, OptionValue, amount::Amount};
use crate::{
    option::Size,
    quantity::{size_bytes, size_text},
};
use std::{format, string::String};

/// An amount of memory or data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeKind {
    /// The least, in bytes.
    pub min: u64,
    /// The most, in bytes.
    pub max: u64,
}

/// The text as Kubernetes writes quantities, where `M` is 10^6, `Mi` is 2^20 and a byte has no unit.
const QUANTITY: &str = "quantity(self.matches('[KMG]$') ? self + 'i' : self.replace('B', ''))";

impl OptionValue for Size {
    const KIND: OptKind = OptKind::Size(SizeKind { min: 0, max: EXACT });
}

impl Amount for SizeKind {
    const WORD: &'static str = "size";
    const NOUN: &'static str = "size";
    const PLACEHOLDER: &'static str = "SIZE";
    const EXAMPLES: &'static str = "100B, 64KiB or 1.5GiB";
    const EXAMPLE: &'static str = "64KiB";
    const SAMPLE: u64 = 65_536;
    const LARGEST: &'static str = "8388608GiB";
    /// One number with one unit: CEL, with which the API server compares sizes, adds none up.
    const PATTERN: &'static str = "^[0-9]+([.][0-9]{1,9})?(B|[kMG]B|[KMG]|[KMG]i|[KMG]iB)$";

    fn range(self) -> (u64, u64) {
        (self.min, self.max)
    }
    fn read(text: &str) -> Option<u64> {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let is_one = unit.chars().all(char::is_alphabetic);
        size_bytes(text).filter(|_| is_one)
    }
    fn written(amount: u64) -> String {
        size_text(amount)
    }
    fn rule(self) -> String {
        let (min, max) = (self.min, self.max);
        format!(
            "{QUANTITY}.compareTo(quantity('{min}')) >= 0 && {QUANTITY}.compareTo(quantity('{max}')) <= 0"
        )
    }
}

//! An amount of memory or data with its unit: `option::Size`, bytes in a `u64` in the kernel.

use super::{EXACT, Facts, OptKind, OptValue, OptionForm, OptionValue, misfit, span};
use crate::{
    option::Size,
    quantity::{size_bytes, size_text},
};
use serde_json::{Value as Json, json};
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// An amount of memory or data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeKind {
    /// The least, in bytes.
    pub min: u64,
    /// The most, in bytes.
    pub max: u64,
}

/// One number with one unit: CEL, with which the API server compares sizes, adds none up.
const PATTERN: &str = "^[0-9]+([.][0-9]{1,9})?(B|[kMG]B|[KMG]|[KMG]i|[KMG]iB)$";

/// The text as Kubernetes writes quantities, where `M` is 10^6, `Mi` is 2^20 and a byte has no unit.
const QUANTITY: &str = "quantity(self.matches('[KMG]$') ? self + 'i' : self.replace('B', ''))";

impl OptionValue for Size {
    const KIND: OptKind = OptKind::Size(SizeKind { min: 0, max: EXACT });
}

impl SizeKind {
    fn of(self, value: &OptValue) -> u64 {
        match value {
            OptValue::Number(bytes) => *bytes,
            other => misfit(&self, other),
        }
    }

    fn bounds(self) -> Option<String> {
        match (self.min, self.max) {
            (0, EXACT) => None,
            (min, EXACT) => Some(format!("at least {}", size_text(min))),
            (min, max) => Some(span(&size_text(min), &size_text(max))),
        }
    }
}

impl OptionForm for SizeKind {
    fn word(&self) -> &'static str {
        "size"
    }
    fn placeholder(&self) -> String {
        "SIZE".to_string()
    }
    fn wanted(&self) -> String {
        let bounds = self
            .bounds()
            .unwrap_or_else(|| format!("up to {}", size_text(EXACT)));
        format!("a size with its unit, such as 100B, 64KiB or 1.5GiB, {bounds}")
    }
    fn typed(&self) -> Option<&'static str> {
        None
    }
    fn note(&self) -> Option<String> {
        let bounds = self.bounds().map(|bounds| format!(", {bounds}"));
        Some(format!("such as 64KiB{}", bounds.unwrap_or_default()))
    }
    fn explanation(&self) -> String {
        let bounds = self.bounds().map(|bounds| format!(", {bounds}"));
        format!("A size such as 64KiB{}.", bounds.unwrap_or_default())
    }
    fn nothing(&self) -> OptValue {
        OptValue::Number(0)
    }
    fn sample(&self) -> OptValue {
        OptValue::Number(self.min.max(65_536).min(self.max))
    }
    fn fits(&self, value: &OptValue) -> bool {
        matches!(value, OptValue::Number(bytes) if (self.min..=self.max).contains(bytes))
    }
    fn parse(&self, text: &str) -> Option<OptValue> {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let is_one = unit.chars().all(char::is_alphabetic);
        let bytes = size_bytes(text).filter(|_| is_one);
        bytes.map(OptValue::Number)
    }
    fn text(&self, value: &OptValue) -> String {
        size_text(self.of(value))
    }
    fn read_json(&self, json: &Json) -> Option<OptValue> {
        self.parse(json.as_str()?)
    }
    fn json(&self, value: &OptValue) -> Json {
        self.text(value).into()
    }
    fn schema(&self) -> Json {
        let (min, max) = (self.min, self.max);
        json!({
            "type": "string", "maxLength": 32, "pattern": PATTERN,
            "x-kubernetes-validations": [{
                "rule": format!(
                    "{QUANTITY}.compareTo(quantity('{min}')) >= 0 && {QUANTITY}.compareTo(quantity('{max}')) <= 0"
                ),
                "message": format!("must be {}", self.wanted()),
            }],
        })
    }
    fn bytes(&self) -> usize {
        8
    }
    fn write(&self, value: &OptValue, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.of(value).to_le_bytes());
    }
    fn facts(&self) -> Facts {
        Facts {
            bounds: Some((self.min, self.max)),
            ..Facts::default()
        }
    }
}

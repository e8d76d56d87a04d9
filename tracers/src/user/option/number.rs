//! An unsigned whole number: `u8` to `u64`, the same in the kernel.
//!
//! A number whose name ends with `_ns` or `_bytes` has that unit: its flag takes times or sizes as well as plain numbers.

use super::{EXACT, Facts, OptKind, OptValue, OptionForm, OptionValue, misfit, span};
use crate::quantity::{nanoseconds, size_bytes};
use serde_json::{Value as Json, json};
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// An unsigned whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberKind {
    /// Bytes in the kernel: 1, 2, 4 or 8.
    pub bytes: u8,
    /// The least that it may be.
    pub min: u64,
    /// The most that it may be.
    pub max: u64,
    /// What it counts: "ns", "bytes", "events"; empty where it has no unit.
    pub unit: &'static str,
}

macro_rules! numbers {
    ($($ty:ty),*) => { $(
        impl OptionValue for $ty {
            const KIND: OptKind = OptKind::Number(NumberKind {
                bytes: size_of::<$ty>() as u8,
                min: 0,
                max: <$ty>::MAX as u64,
                unit: "",
            });
        }
    )* };
}
numbers!(u8, u16, u32, u64);

impl NumberKind {
    fn of(self, value: &OptValue) -> u64 {
        match value {
            OptValue::Number(number) => *number,
            other => misfit(&self, other),
        }
    }

    /// Whether its bounds are narrower than its type.
    fn is_bounded(self) -> bool {
        self.min > 0 || self.max < u64::MAX >> (64 - 8 * u32::from(self.bytes))
    }
}

impl OptionForm for NumberKind {
    fn word(&self) -> &'static str {
        "number"
    }
    fn placeholder(&self) -> String {
        match self.unit {
            "ns" => "TIME",
            "bytes" => "SIZE",
            _ => "N",
        }
        .to_string()
    }
    fn wanted(&self) -> String {
        let unit = match self.unit {
            "" => String::new(),
            unit => format!(" of {unit}"),
        };
        let bounds = span(&self.min.to_string(), &self.max.to_string());
        format!("a whole number{unit} {bounds}")
    }
    fn typed(&self) -> Option<&'static str> {
        match self.unit {
            "ns" => Some("a time such as 10ms"),
            "bytes" => Some("a size such as 64KiB"),
            _ => None,
        }
    }
    fn note(&self) -> Option<String> {
        let mut notes = Vec::new();
        match (self.typed(), self.unit) {
            (Some(typed), unit) => notes.push(format!("{unit}, or {typed}")),
            (None, "") => {}
            (None, unit) => notes.push(unit.to_string()),
        }
        if self.is_bounded() {
            notes.push(span(&self.min.to_string(), &self.max.to_string()));
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }
    fn explanation(&self) -> String {
        let unit = match self.unit {
            "" => String::new(),
            "ns" => " of nanoseconds".to_string(),
            unit => format!(" of {unit}"),
        };
        match (unit.is_empty(), self.is_bounded()) {
            (true, false) => String::new(),
            (_, false) => format!("A whole number{unit}."),
            (_, true) => {
                let bounds = span(&self.min.to_string(), &self.max.to_string());
                format!("A whole number{unit} {bounds}.")
            }
        }
    }
    fn nothing(&self) -> OptValue {
        OptValue::Number(0)
    }
    fn sample(&self) -> OptValue {
        OptValue::Number(self.min.max(1).min(self.max))
    }
    fn fits(&self, value: &OptValue) -> bool {
        matches!(value, OptValue::Number(number) if (self.min..=self.max).contains(number))
    }
    fn parse(&self, text: &str) -> Option<OptValue> {
        let plain = text.parse().ok();
        let number = plain.or_else(|| match self.unit {
            "ns" => nanoseconds(text),
            "bytes" => size_bytes(text),
            _ => None,
        });
        number.map(OptValue::Number)
    }
    fn text(&self, value: &OptValue) -> String {
        self.of(value).to_string()
    }
    fn read_json(&self, json: &Json) -> Option<OptValue> {
        json.as_u64().map(OptValue::Number)
    }
    fn json(&self, value: &OptValue) -> Json {
        self.of(value).into()
    }
    fn schema(&self) -> Json {
        // No `format`: the API server does not know those of unsigned numbers and warns. It reads bounds as floating point: beyond
        // `EXACT` they are not exact.
        json!({"type": "integer", "minimum": self.min.min(EXACT), "maximum": self.max.min(EXACT)})
    }
    fn bytes(&self) -> usize {
        self.bytes.into()
    }
    fn write(&self, value: &OptValue, out: &mut Vec<u8>) {
        // Both architectures are little-endian.
        out.extend_from_slice(&self.of(value).to_le_bytes()[..self.bytes()]);
    }
    fn facts(&self) -> Facts {
        Facts {
            unit: self.unit,
            bounds: Some((self.min, self.max)),
            ..Facts::default()
        }
    }
}

//! Amounts with a unit, as text: what options that are a time or a size share.

use super::{EXACT, Facts, OptValue, OptionForm, misfit, span};
use serde_json::{Value as Json, json};
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// A kind of amount, with the bounds of one option: a `u64` of its smallest unit in the kernel.
pub(super) trait Amount: Copy {
    /// The word for it in the API and in `describe`.
    const WORD: &'static str;
    /// The word for it in a sentence.
    const NOUN: &'static str;
    /// The option's argument in help.
    const PLACEHOLDER: &'static str;
    /// Amounts, as an error names them.
    const EXAMPLES: &'static str;
    /// One amount, as help shows it.
    const EXAMPLE: &'static str;
    /// The same in the smallest unit.
    const SAMPLE: u64;
    /// The most that an option without bounds takes.
    const LARGEST: &'static str;
    /// What the API server accepts.
    const PATTERN: &'static str;
    /// The least and the most.
    fn range(self) -> (u64, u64);
    /// Reads an amount with its unit.
    fn read(text: &str) -> Option<u64>;
    /// Writes an amount with its unit.
    fn written(amount: u64) -> String;
    /// The rule in CEL by which the API server compares an amount with the bounds.
    fn rule(self) -> String;
}

fn bounds<A: Amount>(kind: A) -> Option<String> {
    match kind.range() {
        (0, EXACT) => None,
        (min, EXACT) => Some(format!("at least {}", A::written(min))),
        (min, max) => Some(span(&A::written(min), &A::written(max))),
    }
}

/// The bounds after a comma, or nothing.
fn comma(kind: impl Amount) -> String {
    bounds(kind).map_or_else(String::new, |bounds| format!(", {bounds}"))
}

impl<A: Amount> OptionForm for A {
    fn word(&self) -> &'static str {
        A::WORD
    }
    fn placeholder(&self) -> String {
        A::PLACEHOLDER.to_string()
    }
    fn wanted(&self) -> String {
        let bounds = bounds(*self).unwrap_or_else(|| format!("up to {}", A::LARGEST));
        format!(
            "a {} with its unit, such as {}, {bounds}",
            A::NOUN,
            A::EXAMPLES
        )
    }
    fn typed(&self) -> Option<&'static str> {
        None
    }
    fn note(&self) -> Option<String> {
        Some(format!("such as {}{}", A::EXAMPLE, comma(*self)))
    }
    fn explanation(&self) -> String {
        format!("A {} such as {}{}.", A::NOUN, A::EXAMPLE, comma(*self))
    }
    fn nothing(&self) -> OptValue {
        OptValue::Number(0)
    }
    fn sample(&self) -> OptValue {
        let (min, max) = self.range();
        OptValue::Number(A::SAMPLE.max(min).min(max))
    }
    fn fits(&self, value: &OptValue) -> bool {
        let (min, max) = self.range();
        matches!(value, OptValue::Number(amount) if (min..=max).contains(amount))
    }
    fn parse(&self, text: &str) -> Option<OptValue> {
        A::read(text).map(OptValue::Number)
    }
    fn text(&self, value: &OptValue) -> String {
        match value {
            OptValue::Number(amount) => A::written(*amount),
            other => misfit(self, other),
        }
    }
    fn read_json(&self, json: &Json) -> Option<OptValue> {
        self.parse(json.as_str()?)
    }
    fn json(&self, value: &OptValue) -> Json {
        self.text(value).into()
    }
    fn schema(&self) -> Json {
        json!({
            "type": "string", "maxLength": 32, "pattern": A::PATTERN,
            "x-kubernetes-validations": [{
                "rule": self.rule(),
                "message": format!("must be {}", self.wanted()),
            }],
        })
    }
    fn bytes(&self) -> usize {
        8
    }
    fn write(&self, value: &OptValue, out: &mut Vec<u8>) {
        match value {
            OptValue::Number(amount) => out.extend_from_slice(&amount.to_le_bytes()),
            other => misfit(self, other),
        }
    }
    fn facts(&self) -> Facts {
        Facts {
            bounds: Some(self.range()),
            ..Facts::default()
        }
    }
}

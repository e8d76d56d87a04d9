//! Text of bounded length: `option::Text<N>`, `N` bytes in the kernel, with zero bytes behind a shorter one.

use super::{Facts, OptKind, OptValue, OptionForm, OptionValue, misfit};
use crate::option::Text;
use serde_json::{Value as Json, json};
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// Text of bounded length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextKind {
    /// The most bytes.
    pub bytes: u32,
}

/// No control characters: a zero byte ends the text in the kernel, and the others have no place in a log.
const PATTERN: &str = r"^[^\x00-\x1f\x7f]*$";

impl<const N: usize> OptionValue for Text<N> {
    const KIND: OptKind = {
        assert!(0 < N && N <= 4096, "a Text has 1 to 4096 bytes");
        OptKind::Text(TextKind { bytes: N as u32 })
    };
}

impl TextKind {
    /// Whether it can hold the text.
    pub const fn holds(self, text: &str) -> bool {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() {
            if text[at].is_ascii_control() {
                return false;
            }
            at += 1;
        }
        text.len() <= self.bytes as usize
    }

    fn of(self, value: &OptValue) -> &str {
        match value {
            OptValue::Text(text) => text,
            other => misfit(&self, other),
        }
    }
}

impl OptionForm for TextKind {
    fn word(&self) -> &'static str {
        "text"
    }
    fn placeholder(&self) -> String {
        "TEXT".to_string()
    }
    fn wanted(&self) -> String {
        format!(
            "a text of at most {} bytes without control characters",
            self.bytes
        )
    }
    fn typed(&self) -> Option<&'static str> {
        None
    }
    fn note(&self) -> Option<String> {
        Some(format!("at most {} bytes", self.bytes))
    }
    fn explanation(&self) -> String {
        format!("At most {} bytes.", self.bytes)
    }
    fn nothing(&self) -> OptValue {
        OptValue::Text(String::new())
    }
    fn sample(&self) -> OptValue {
        OptValue::Text("a".to_string())
    }
    fn fits(&self, value: &OptValue) -> bool {
        matches!(value, OptValue::Text(text) if self.holds(text))
    }
    fn parse(&self, text: &str) -> Option<OptValue> {
        Some(OptValue::Text(text.to_string()))
    }
    fn text(&self, value: &OptValue) -> String {
        self.of(value).to_string()
    }
    fn read_json(&self, json: &Json) -> Option<OptValue> {
        self.parse(json.as_str()?)
    }
    fn json(&self, value: &OptValue) -> Json {
        self.of(value).into()
    }
    fn schema(&self) -> Json {
        // `maxLength` counts characters.
        json!({
            "type": "string", "maxLength": self.bytes, "pattern": PATTERN,
            "x-kubernetes-validations": [{
                "rule": format!("size(bytes(self)) <= {}", self.bytes),
                "message": format!("must be {}", self.wanted()),
            }],
        })
    }
    fn bytes(&self) -> usize {
        self.bytes as usize
    }
    fn write(&self, value: &OptValue, out: &mut Vec<u8>) {
        let end = out.len() + self.bytes();
        out.extend_from_slice(self.of(value).as_bytes());
        out.resize(end, 0);
    }
    fn facts(&self) -> Facts {
        Facts {
            max_bytes: Some(self.bytes),
            ..Facts::default()
        }
    }
}

//! On or off: `bool`, one byte in the kernel.

use super::{Facts, OptKind, OptValue, OptionForm, OptionValue, misfit};
use serde_json::{Value as Json, json};
use std::{
    string::{String, ToString},
    vec::Vec,
};

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagKind;

impl OptionValue for bool {
    const KIND: OptKind = OptKind::Flag(FlagKind);
}

impl FlagKind {
    fn of(self, value: &OptValue) -> bool {
        match value {
            OptValue::Flag(on) => *on,
            other => misfit(&self, other),
        }
    }
}

impl OptionForm for FlagKind {
    fn word(&self) -> &'static str {
        "flag"
    }
    fn placeholder(&self) -> String {
        String::new()
    }
    fn wanted(&self) -> String {
        "true or false".to_string()
    }
    fn typed(&self) -> Option<&'static str> {
        None
    }
    fn note(&self) -> Option<String> {
        None
    }
    fn explanation(&self) -> String {
        String::new()
    }
    fn nothing(&self) -> OptValue {
        OptValue::Flag(false)
    }
    fn sample(&self) -> OptValue {
        OptValue::Flag(true)
    }
    fn fits(&self, value: &OptValue) -> bool {
        matches!(value, OptValue::Flag(_))
    }
    fn parse(&self, text: &str) -> Option<OptValue> {
        text.parse().ok().map(OptValue::Flag)
    }
    fn text(&self, value: &OptValue) -> String {
        self.of(value).to_string()
    }
    fn read_json(&self, json: &Json) -> Option<OptValue> {
        json.as_bool().map(OptValue::Flag)
    }
    fn json(&self, value: &OptValue) -> Json {
        self.of(value).into()
    }
    fn schema(&self) -> Json {
        json!({"type": "boolean"})
    }
    fn bytes(&self) -> usize {
        1
    }
    fn write(&self, value: &OptValue, out: &mut Vec<u8>) {
        out.push(self.of(value).into());
    }
    fn facts(&self) -> Facts {
        Facts::default()
    }
}

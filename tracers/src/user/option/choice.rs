//! One of a few words: an enum with `#[choice]`, the variant's number in a `u8` in the kernel.

use super::{Facts, OptKind, OptValue, OptionForm, OptionValue, misfit};
use crate::option::Choice;
use serde_json::{Value as Json, json};
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// One of a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChoiceKind {
    /// The words with their prose; their places are the numbers in the kernel.
    pub words: &'static [(&'static str, &'static str)],
}

impl<T: Choice> OptionValue for T {
    const KIND: OptKind = OptKind::Choice(ChoiceKind { words: T::WORDS });
}

impl ChoiceKind {
    /// Where the word stands.
    pub const fn position(self, word: &str) -> Option<u8> {
        let mut at = 0;
        while at < self.words.len() {
            if same(self.words[at].0.as_bytes(), word.as_bytes()) {
                return Some(at as u8);
            }
            at += 1;
        }
        None
    }

    fn of(self, value: &OptValue) -> (&str, u8) {
        match value {
            OptValue::Text(word) => match self.position(word) {
                Some(at) => (word, at),
                None => misfit(&self, value),
            },
            other => misfit(&self, other),
        }
    }

    fn list(self) -> String {
        let words: Vec<&str> = self.words.iter().map(|(word, _)| *word).collect();
        words.join(", ")
    }
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

impl OptionForm for ChoiceKind {
    fn word(&self) -> &'static str {
        "choice"
    }
    fn placeholder(&self) -> String {
        "WORD".to_string()
    }
    fn wanted(&self) -> String {
        format!("one of {}", self.list())
    }
    fn typed(&self) -> Option<&'static str> {
        None
    }
    fn note(&self) -> Option<String> {
        Some(format!("one of {}", self.list()))
    }
    fn explanation(&self) -> String {
        let words = self.words.iter();
        let words: Vec<String> = words
            .map(|(word, about)| format!("{word}: {}", about.trim_end_matches('.')))
            .collect();
        format!("One of: {}.", words.join("; "))
    }
    fn nothing(&self) -> OptValue {
        OptValue::Text(self.words[0].0.to_string())
    }
    fn sample(&self) -> OptValue {
        self.nothing()
    }
    fn fits(&self, value: &OptValue) -> bool {
        matches!(value, OptValue::Text(word) if self.position(word).is_some())
    }
    fn parse(&self, text: &str) -> Option<OptValue> {
        Some(OptValue::Text(text.to_string()))
    }
    fn text(&self, value: &OptValue) -> String {
        self.of(value).0.to_string()
    }
    fn read_json(&self, json: &Json) -> Option<OptValue> {
        self.parse(json.as_str()?)
    }
    fn json(&self, value: &OptValue) -> Json {
        self.of(value).0.into()
    }
    fn schema(&self) -> Json {
        let words: Vec<&str> = self.words.iter().map(|(word, _)| *word).collect();
        json!({"type": "string", "enum": words})
    }
    fn bytes(&self) -> usize {
        1
    }
    fn write(&self, value: &OptValue, out: &mut Vec<u8>) {
        out.push(self.of(value).1);
    }
    fn facts(&self) -> Facts {
        Facts {
            choices: self.words,
            ..Facts::default()
        }
    }
}

//! Several values of one type: `option::List<T, N>`, in the kernel their number in a `u64` and `N` items.

use super::{Facts, OptKind, OptValue, OptionForm, OptionValue, misfit};
use crate::option::List;
use serde_json::{Value as Json, json};
use std::{format, string::String, vec::Vec};

/// Several values of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListKind {
    /// The type of an item.
    pub item: &'static OptKind,
    /// The most items.
    pub most: u32,
    /// Bytes in the kernel.
    pub bytes: usize,
}

impl<T: OptionValue + 'static, const N: usize> OptionValue for List<T, N> {
    const KIND: OptKind = {
        assert!(0 < N && N <= 64, "a List has 1 to 64 items");
        assert!(
            !matches!(T::KIND, OptKind::List(_)),
            "a List holds no lists"
        );
        assert!(align_of::<T>() <= 8, "an item begins behind 8 bytes");
        OptKind::List(ListKind {
            item: &T::KIND,
            most: N as u32,
            bytes: size_of::<Self>(),
        })
    };
}

impl ListKind {
    fn of(self, value: &OptValue) -> &[OptValue] {
        match value {
            OptValue::List(items) => items,
            other => misfit(&self, other),
        }
    }

    fn form(self) -> &'static dyn OptionForm {
        self.item.form()
    }
}

impl OptionForm for ListKind {
    fn word(&self) -> &'static str {
        "list"
    }
    fn placeholder(&self) -> String {
        let item = self.form().placeholder();
        match item.is_empty() {
            true => "FLAG,…".into(),
            false => format!("{item},…"),
        }
    }
    fn wanted(&self) -> String {
        format!(
            "a list of at most {}, each {}",
            self.most,
            self.form().wanted()
        )
    }
    fn typed(&self) -> Option<&'static str> {
        None
    }
    fn note(&self) -> Option<String> {
        let most = format!("at most {}", self.most);
        Some(match self.form().note() {
            Some(note) => format!("{most}; each {note}"),
            None => most,
        })
    }
    fn explanation(&self) -> String {
        let item = self.form().explanation();
        match item.is_empty() {
            true => format!("At most {}.", self.most),
            false => format!("At most {}. Each: {item}", self.most),
        }
    }
    fn nothing(&self) -> OptValue {
        OptValue::List(Vec::new())
    }
    fn sample(&self) -> OptValue {
        OptValue::List([self.form().sample()].into())
    }
    fn fits(&self, value: &OptValue) -> bool {
        matches!(value, OptValue::List(items)
            if items.len() <= self.most as usize && items.iter().all(|item| self.form().fits(item)))
    }
    fn parse(&self, text: &str) -> Option<OptValue> {
        let items = text.split(',').map(|item| self.form().parse(item));
        items.collect::<Option<_>>().map(OptValue::List)
    }
    fn text(&self, value: &OptValue) -> String {
        let items = self.of(value).iter().map(|item| self.form().text(item));
        items.collect::<Vec<_>>().join(",")
    }
    fn read_json(&self, json: &Json) -> Option<OptValue> {
        let items = json.as_array()?.iter();
        let items = items.map(|item| self.form().read_json(item));
        items.collect::<Option<_>>().map(OptValue::List)
    }
    fn json(&self, value: &OptValue) -> Json {
        let items = self.of(value).iter();
        items.map(|item| self.form().json(item)).collect()
    }
    fn schema(&self) -> Json {
        json!({
            "type": "array", "maxItems": self.most, "x-kubernetes-list-type": "atomic",
            "items": self.form().schema(),
        })
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
    fn write(&self, value: &OptValue, out: &mut Vec<u8>) {
        let end = out.len() + self.bytes;
        let items = self.of(value);
        out.extend_from_slice(&(items.len() as u64).to_le_bytes());
        for item in items {
            self.form().write(item, out);
        }
        out.resize(end, 0);
    }
    fn facts(&self) -> Facts {
        Facts {
            max_items: Some(self.most),
            item: Some(self.item),
            ..Facts::default()
        }
    }
}

//! A tracer's options as the API has them.

use prost_types::{Struct, Value, value::Kind};
use std::collections::BTreeMap;
use tracers::{OptKind, Spec};

/// Those that are set: an older agent need not know the others.
pub fn options(spec: &Spec) -> Struct {
    let set = spec.options().filter(|(_, value)| *value != 0);
    let fields: BTreeMap<String, Value> = set
        .map(|(option, value)| {
            let kind = match option.kind {
                OptKind::Flag => Kind::BoolValue(true),
                OptKind::Number { .. } => Kind::NumberValue(value as f64),
            };
            (option.key.to_owned(), Value { kind: Some(kind) })
        })
        .collect();
    Struct { fields }
}

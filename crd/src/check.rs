//! Validation of an object as an API server does it, without an API server.

use kube_cel::Validator;
use serde_json::Value;

/// An invalid field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Path of the field, as in `spec.limits.cpuPercent`; empty for the object itself.
    pub field: String,
    /// Expected value, for people.
    pub message: String,
}

/// Returns all invalid fields of an object of a [`crate::definition`]: by bounds first, then by rules. serde checks the types.
pub fn check(definition: &Value, object: &Value) -> Vec<Wrong> {
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut wrong = Vec::new();
    bounds(schema, object, "", &mut wrong);
    if let Err(errors) = Validator::new().validate(schema, object, None) {
        wrong.extend(errors.into_vec().into_iter().map(|error| Wrong {
            field: error.field_path,
            message: error.message,
        }));
    }
    wrong
}

/// Keywords with bounds in the schemas; a test finds others.
fn bounds(schema: &Value, value: &Value, field: &str, wrong: &mut Vec<Wrong>) {
    let bound = |keyword: &str| schema[keyword].as_f64();
    let (size, unit, keywords) = match value {
        Value::Number(number) => (number.as_f64(), "", ["minimum", "maximum"]),
        Value::String(text) => (
            Some(text.chars().count() as f64),
            " characters",
            ["minLength", "maxLength"],
        ),
        Value::Array(items) => (Some(items.len() as f64), " items", ["minItems", "maxItems"]),
        Value::Object(map) => (
            Some(map.len() as f64),
            " entries",
            ["minProperties", "maxProperties"],
        ),
        Value::Null | Value::Bool(_) => (None, "", ["", ""]),
    };
    let (least, most) = (bound(keywords[0]), bound(keywords[1]));
    let mut report = |what: &str, bound: f64| {
        wrong.push(Wrong {
            field: field.to_owned(),
            message: format!("must be {what} {bound}{unit}"),
        });
    };
    match (size, least, most) {
        (Some(size), Some(least), _) if size < least => report("at least", least),
        (Some(size), _, Some(most)) if size > most => report("at most", most),
        _ => {}
    }
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                bounds(&schema["items"], item, &format!("{field}[{at}]"), wrong);
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                let inner = match &schema["properties"][name] {
                    Value::Null => &schema["additionalProperties"],
                    known => known,
                };
                let field = match field {
                    "" => name.clone(),
                    field => format!("{field}.{name}"),
                };
                bounds(inner, value, &field, wrong);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions;
    use kube_cel::compile_schema;

    fn schemas() -> Vec<Value> {
        let of = |definition: &Value| {
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
        };
        definitions().iter().map(of).collect()
    }

    #[test]
    fn every_rule_can_be_evaluated_without_a_cluster() {
        fn own(schema: &Value) -> usize {
            let rules = schema["x-kubernetes-validations"].as_array();
            rules.map_or(0, Vec::len)
        }
        fn compiled(schema: &Value, rules: &mut usize) {
            *rules += own(schema);
            assert!(!compile_schema(schema).has_errors(), "{schema}");
            let properties = schema["properties"].as_object().into_iter().flatten();
            // The number of rules of options depends on the tracers.
            let mut of_options = 0;
            properties.for_each(|(name, inner)| match name.as_str() {
                "tracer" => {
                    *rules += own(inner);
                    compiled(inner, &mut of_options);
                }
                _ => compiled(inner, rules),
            });
            if schema["items"].is_object() {
                compiled(&schema["items"], rules);
            }
        }
        let mut rules = 0;
        schemas()
            .iter()
            .for_each(|schema| compiled(schema, &mut rules));
        assert_eq!(rules, 3 + 5);
    }

    #[test]
    fn every_bound_of_the_schemas_is_checked() {
        const KNOWN: [&str; 17] = [
            "type",
            "description",
            "properties",
            "required",
            "items",
            "additionalProperties",
            "default",
            "nullable",
            "enum",
            "format",
            "minimum",
            "maximum",
            "minLength",
            "maxLength",
            "maxItems",
            "maxProperties",
            // The form of an option's text, which `Spec` checks.
            "pattern",
        ];
        fn keywords(schema: &Value) {
            let Some(object) = schema.as_object() else {
                return;
            };
            for (keyword, value) in object {
                let known =
                    KNOWN.contains(&keyword.as_str()) || keyword.starts_with("x-kubernetes-");
                assert!(known, "{keyword}: {value}");
            }
            let properties = schema["properties"].as_object().into_iter().flatten();
            properties.for_each(|(_, inner)| keywords(inner));
            ["items", "additionalProperties"]
                .iter()
                .for_each(|inner| keywords(&schema[*inner]));
        }
        for schema in schemas() {
            keywords(&schema["properties"]["spec"]);
        }
    }

    use tracers::{Literal, Opt, OptKind, OptValue, OptionValue, option};

    #[derive(Clone, Copy)]
    struct Way;
    impl option::Choice for Way {
        const WORDS: &'static [(&'static str, &'static str)] = &[("in", "Into."), ("out", "Out.")];
    }

    fn options() -> Vec<Opt> {
        const fn opt(kind: OptKind) -> Opt {
            Opt::of(["x", "x", "X", "An option."], kind)
        }
        let text = |text| Some(Literal::Text(text));
        vec![
            opt(bool::KIND),
            opt(u16::KIND).range(Some(Literal::Number(1)), None),
            opt(option::Duration::KIND),
            opt(option::Duration::KIND).range(text("1ms"), text("1m30s")),
            opt(option::Size::KIND),
            opt(option::Size::KIND).range(text("1KiB"), text("1.5MiB")),
            opt(option::Text::<4>::KIND),
            opt(option::Text::<4>::KIND).required(),
            opt(Way::KIND),
            opt(option::List::<option::Size, 2>::KIND),
            opt(option::List::<u8, 2>::KIND).required(),
        ]
    }

    /// Returns texts at the bounds of an option, in every unit, and invalid texts.
    fn texts() -> Vec<String> {
        let mut all: Vec<String> = [
            "",
            "a",
            "in",
            "in ",
            "éé",
            "ééé",
            "abcd",
            "abcde",
            "a\nb",
            "1d",
            "90s",
            "90.001s",
            "1m30s",
            "1m30s1ns",
            "1h",
            "1.5.5s",
            ".5s",
            "5.s",
            "+1s",
            "-1s",
            "1e3s",
            "1s ",
            "999us",
            "0.001s",
            "0.000999999s",
            "2501h",
            "9223372036854775807ns",
            "9223372036854775808ns",
            "99999999999999999999h",
            "1µs",
            "1 s",
            "1K",
            "1k",
            "1KB",
            "0.999KiB",
            "1023B",
            "1.0KiB",
            "1.5MiB",
            "1572864B",
            "1572865B",
            "2M",
            "1MB",
            "8388608GiB",
            "8388609GiB",
            "99999999999999999999GiB",
            "1KiB1B",
            "1Kib",
            "1Ti",
            "1e3",
            "1.5B",
            "0.1B",
            "64",
        ]
        .map(str::to_owned)
        .into();
        for unit in [
            "ns", "us", "ms", "s", "m", "h", "B", "K", "Ki", "KiB", "kB", "M", "MiB", "MB", "GB",
            "G", "Gi",
        ] {
            all.extend(["0", "1", "7.25", "100000", "0.000000001"].map(|n| format!("{n}{unit}")));
        }
        all
    }

    /// Returns whether a value has the schema's types, words and patterns, which [`check`] leaves to serde.
    fn is_of(schema: &Value, value: &Value) -> bool {
        let word = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let text = value.as_str().unwrap_or_default();
        let pattern = schema["pattern"].as_str();
        let pattern = pattern.map(|pattern| regex::Regex::new(pattern).unwrap());
        let words = schema["enum"].as_array();
        let items = value.as_array().into_iter().flatten();
        schema["type"] == word
            && pattern.is_none_or(|pattern| pattern.is_match(text))
            && words.is_none_or(|words| words.contains(value))
            && items.into_iter().all(|item| is_of(&schema["items"], item))
    }

    /// Returns whether an API server accepts the value.
    fn takes(schema: &Value, value: &Value) -> bool {
        let whole = serde_json::json!({"type": "object", "properties": {"x": schema}});
        let version = serde_json::json!({"schema": {"openAPIV3Schema": whole}});
        let definition = serde_json::json!({"spec": {"versions": [version]}});
        is_of(schema, value) && check(&definition, &serde_json::json!({"x": value})).is_empty()
    }

    /// The controller reads every object that the API server has stored: an unreadable one would stop its watch.
    #[test]
    fn accepted_options_can_be_read_and_written_options_are_accepted() {
        let mut taken = 0;
        for option in options() {
            let (schema, form) = (option.schema(), option.kind.form());
            assert!(!compile_schema(&schema).has_errors(), "{schema}");
            let read = |value: &Value| {
                let value = form.read_json(value).filter(|value| form.fits(value));
                value.filter(|value| !option.required || !value.is_empty())
            };
            let mut values: Vec<Value> = texts().into_iter().map(Value::from).collect();
            values.extend([
                true.into(),
                0.into(),
                1.into(),
                255.into(),
                65_535.into(),
                65_536.into(),
                (-1).into(),
            ]);
            let lists: Vec<Value> = values
                .iter()
                .map(|value| vec![value.clone(); 2].into())
                .collect();
            values.extend(lists);
            values.extend([Value::Array(vec![]), vec![Value::from(1); 3].into()]);
            for value in values {
                if takes(&schema, &value) {
                    taken += 1;
                    let Some(read) = read(&value) else {
                        panic!("{value} is taken and not read: {schema}");
                    };
                    let written = form.json(&read);
                    assert!(
                        takes(&schema, &written),
                        "{written} is written and not taken: {schema}"
                    );
                    continue;
                }
                // The API server may refuse more than this check, but no plain value.
                if let Some(OptValue::Flag(_) | OptValue::List(_)) = read(&value) {
                    panic!("{value} is read and not taken: {schema}");
                }
            }
        }
        assert!(taken > 150, "{taken}");
    }
}

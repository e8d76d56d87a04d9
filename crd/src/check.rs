//! What an API server would say of an object, without one.

use kube_cel::Validator;
use serde_json::Value;

/// A field that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// `spec.limits.cpuPercent`; empty is the object itself.
    pub field: String,
    /// What it must be.
    pub message: String,
}

/// Everything that is wrong with an object of a [`crate::definition`]: bounds first, then rules. Types are for serde to check.
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

/// The keywords by which our schemas bound values; a test finds others.
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
    let mut say = |what: &str, bound: f64| {
        wrong.push(Wrong {
            field: field.to_owned(),
            message: format!("must be {what} {bound}{unit}"),
        });
    };
    match (size, least, most) {
        (Some(size), Some(least), _) if size < least => say("at least", least),
        (Some(size), _, Some(most)) if size > most => say("at most", most),
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
        fn compiled(schema: &Value, rules: &mut usize) {
            *rules += schema["x-kubernetes-validations"]
                .as_array()
                .map_or(0, Vec::len);
            assert!(!compile_schema(schema).has_errors(), "{schema}");
            let properties = schema["properties"].as_object().into_iter().flatten();
            properties.for_each(|(_, inner)| compiled(inner, rules));
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
    fn nothing_bounds_a_value_that_is_not_checked_here() {
        const KNOWN: [&str; 16] = [
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
}

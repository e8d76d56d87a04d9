//! CustomResourceDefinitions of both kinds.

use crate::{ClusterTraceJob, GROUP, MAX_SUMMARY_ROWS, TraceJob, VERSION, condition, rules::rules};
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

/// Default duration of a job in a cluster, in seconds.
pub const DEFAULT_DEADLINE_SECONDS: u64 = 300;

/// Returns both definitions, in the form that `kubectl apply` accepts.
pub fn definitions() -> [Value; 2] {
    [definition::<TraceJob>(), definition::<ClusterTraceJob>()]
}

/// Returns the CustomResourceDefinition of a kind, with its rules.
///
/// # Panics
/// If the derived definition is invalid: a bug that the tests find.
pub fn definition<T: CustomResourceExt>() -> Value {
    let mut definition = serde_json::to_value(T::crd()).expect("a definition is JSON");
    let version = &mut definition["spec"]["versions"][0];
    version["additionalPrinterColumns"] = printed();
    let schema = &mut version["schema"]["openAPIV3Schema"];
    mend(schema);
    let fields: Vec<String> = properties(&schema["properties"]["spec"])
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    for rule in rules(&fields) {
        let mut at = &mut *schema;
        for step in rule.at {
            at = match *step {
                "*" => &mut at["items"],
                name => &mut at["properties"][name],
            };
        }
        assert!(at.is_object(), "no schema at {:?}", rule.at);
        match at["x-kubernetes-validations"].as_array_mut() {
            Some(known) => known.push(rule.json()),
            None => at["x-kubernetes-validations"] = json!([rule.json()]),
        }
    }
    // A missing number is unknown, and not 0.
    without_defaults(&mut schema["properties"]["status"]);
    // A list by type lets each field manager own single conditions.
    let conditions = &mut schema["properties"]["status"]["properties"]["conditions"];
    conditions["x-kubernetes-list-type"] = json!("map");
    conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
    conditions["maxItems"] = json!(16);
    let spec = &mut schema["properties"]["spec"]["properties"];
    for name in ["pods", "containers"] {
        spec[name]["x-kubernetes-list-type"] = json!("set");
    }
    spec["activeDeadlineSeconds"]["default"] = json!(DEFAULT_DEADLINE_SECONDS);
    spec["output"]["properties"]["summaryRows"]["default"] = json!(MAX_SUMMARY_ROWS);
    definition
}

/// Returns the columns of `kubectl get`.
fn printed() -> Value {
    let column = |name: &str, type_: &str, path: &str, about: &str| json!({"name": name, "type": type_, "jsonPath": path, "description": about});
    let progress = format!(
        ".status.conditions[?(@.type==\"{}\")].reason",
        condition::PROGRESSING
    );
    json!([
        column("Tracer", "string", ".status.tracer", "What runs."),
        column(
            "Nodes",
            "integer",
            ".status.nodes.desired",
            "Nodes that should run the job, or have run it."
        ),
        column(
            "Running",
            "integer",
            ".status.nodes.running",
            "Nodes currently running the job."
        ),
        column(
            "Events",
            "integer",
            ".status.events.delivered",
            "Events delivered."
        ),
        column("Lost", "integer", ".status.events.lost", "Events lost."),
        column(
            "Status",
            "string",
            &progress,
            "Phase of the job, and after the end its result."
        ),
        column(
            "Age",
            "date",
            ".metadata.creationTimestamp",
            "Time since the job was created."
        ),
    ])
}

/// Returns the JSON Schema of a TraceJob file, for editors. Unknown fields are refused; fields that only Kubernetes fills may have any
/// value.
pub fn file_schema() -> Value {
    let mut definition = definition::<TraceJob>();
    let whole = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut spec = whole["properties"]["spec"].take();
    close(&mut spec);
    // Editors do not evaluate CEL.
    let tracer = &mut spec["properties"]["tracer"];
    tracer["minProperties"] = json!(1);
    tracer["maxProperties"] = json!(1);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "TraceJob", "type": "object", "additionalProperties": false,
        "description": whole["description"],
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": { "const": format!("{GROUP}/{VERSION}") },
            "kind": { "const": "TraceJob" },
            "metadata": {
                "type": "object", "required": ["name"],
                "properties": { "name": { "type": "string", "description": "Its name." } },
            },
            "spec": spec,
            "status": { "type": "object", "description": "Status written by a cluster. Ignored on input." },
        },
    })
}

/// Refuses unknown fields, as the API server does by default, and removes the keywords of Kubernetes.
fn close(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.retain(|word, _| !word.starts_with("x-kubernetes-"));
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(close);
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if let Some(items) = object.get_mut("items") {
        close(items);
    }
}

fn without_defaults(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        object.remove("default");
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.values_mut().for_each(without_defaults);
        }
        if let Some(items) = object.get_mut("items") {
            without_defaults(items);
        }
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema["properties"].as_object()
}

/// Removes what schemars writes and an API server refuses or warns about.
fn mend(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let foreign = |format: &Value| {
        let known = ["date-time", "int32", "int64", "double"];
        format
            .as_str()
            .is_some_and(|format| !known.contains(&format))
    };
    if object.get("format").is_some_and(foreign) {
        object.remove("format");
    }
    // Without `nullable`, the API server drops a null as if the field were absent.
    object.remove("nullable");
    for bound in ["minimum", "maximum"] {
        if let Some(whole) = object.get(bound).and_then(Value::as_f64) {
            // All bounds are integers, and written as such.
            object.insert(bound.to_owned(), json!(whole as i64));
        }
    }
    // Unknown fields are refused or pruned without it, and it is not allowed beside properties.
    if object.get("additionalProperties") == Some(&Value::Bool(false)) {
        object.remove("additionalProperties");
    }
    // "Exactly one tracer" is a rule with a message of its own.
    object
        .remove("minProperties")
        .and(object.remove("maxProperties"));
    // schemars has no attribute for `maxProperties`, the bound of a map.
    if object.contains_key("additionalProperties") {
        object.insert("maxProperties".to_owned(), json!(16));
        if let Some(Value::Object(value)) = object.get_mut("additionalProperties")
            && value.get("type") == Some(&json!("string"))
        {
            value.entry("maxLength").or_insert(json!(253));
        }
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(schema) = object.get_mut(nested) {
            mend(schema);
        }
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(mend);
    }
}

//! Validation rules in CEL, which the API server evaluates, and the command line without an API server.

use serde_json::{Value, json};
use tracers::{ALL, camel};

/// A rule, with its place in the schema.
pub(crate) struct Rule {
    /// Path of properties from the root; `*` is the item of an array.
    pub(crate) at: &'static [&'static str],
    rule: String,
    message: String,
}

impl Rule {
    pub(crate) fn json(&self) -> Value {
        json!({"rule": self.rule, "message": self.message})
    }
}

/// Fields of a spec that may change while a job runs.
const CHANGEABLE: [&str; 2] = ["suspend", "ttlSecondsAfterFinished"];

/// Returns the rules of a kind whose spec has these fields.
pub(crate) fn rules(fields: &[&str]) -> Vec<Rule> {
    let rule = |at, rule: String, message: &str| Rule {
        at,
        rule,
        message: message.to_owned(),
    };
    let keys: Vec<String> = ALL.iter().map(|tracer| camel(tracer.name())).collect();
    let present: Vec<String> = keys.iter().map(|key| format!("has(self.{key})")).collect();
    let mut rules = vec![
        rule(
            &["spec", "tracer"],
            format!("[{}].filter(is, is).size() == 1", present.join(", ")),
            &format!("exactly one tracer must be set: one of {}", keys.join(", ")),
        ),
        rule(
            &[],
            fixed(fields),
            &format!(
                "the spec of a started job is immutable, except for {}: create a new job instead",
                CHANGEABLE.join(" and ")
            ),
        ),
    ];
    for at in [
        &["spec", "selector", "matchExpressions", "*"][..],
        &["spec", "namespaceSelector", "matchExpressions", "*"],
    ] {
        if fields.contains(&at[1]) {
            rules.push(rule(
                at,
                "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)"
                    .to_owned(),
                "In and NotIn require values; Exists and DoesNotExist must have none",
            ));
        }
    }
    if fields.contains(&"host") {
        let pods = ["selector", "pods", "containers", "namespaceSelector"];
        let none: Vec<String> = pods.iter().map(|f| format!("!has(self.{f})")).collect();
        rules.push(rule(
            &["spec"],
            format!("!has(self.host) || !self.host || ({})", none.join(" && ")),
            &format!(
                "host selects all processes of a node and excludes {}: remove them",
                pods.join(", ")
            ),
        ));
    }
    rules
}

/// Returns the rule that the spec of a started job is immutable.
fn fixed(fields: &[&str]) -> String {
    let same = fields.iter().filter(|field| !CHANGEABLE.contains(field)).map(|field| {
        format!(
            "has(self.spec.{field}) == has(oldSelf.spec.{field}) && (!has(self.spec.{field}) || self.spec.{field} == oldSelf.spec.{field})"
        )
    });
    let same: Vec<String> = same.collect();
    format!(
        "!has(oldSelf.status) || !has(oldSelf.status.traceGeneration) || ({})",
        same.join(" && ")
    )
}

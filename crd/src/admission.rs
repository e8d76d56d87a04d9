//! Permissions to use tracers: the RBAC verb, the admission policy that checks it, and the chart's data from the catalogue.
//!
//! The permission is the verb `use` on the resource `tracers` of the group `tracejob.dev`, by the tracer's name in a TraceJob. No API
//! serves that resource; RBAC accepts rules for it nevertheless.

use crate::GROUP;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use serde_json::{Map, Value, json};
use tracers::{ALL, Capability, Class, camel};

/// Name of the policy and of its binding.
pub const USE_POLICY: &str = "tracejob-use-tracers";
/// Text before the tracer's name in a refusal of the API server.
pub const MAY_NOT_USE: &str = "may not use the tracer ";

/// Returns the policy, with all defaults that an API server would add, so that the stored object is equal.
pub fn use_policy() -> Value {
    // The type of a spec's tracer has a field for each tracer. As `dyn` it is a map with the existing one.
    let names = "dyn(object.spec.tracer).map(name, name)";
    // `namespace` is a reserved word of CEL.
    let place = "has(request.namespace) ? request.namespace : ''";
    let may = format!(
        "variables.names.all(name, authorizer.group('{GROUP}').resource('tracers').namespace(variables.place).name(name).check('use').allowed())"
    );
    let message = format!(
        "request.userInfo.username + ' {MAY_NOT_USE}' + variables.names[0] + (variables.place == '' ? ' in the cluster' : ' in namespace ' + variables.place) + ': it takes the verb use on tracers.{GROUP} of that name; `kubectl auth can-i --list' + (variables.place == '' ? '' : ' -n ' + variables.place) + '` lists those rights'"
    );
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": USE_POLICY},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": [{
                    "apiGroups": [GROUP],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["tracejobs", "clustertracejobs"],
                    "scope": "*",
                }],
            },
            // The controller's own writes, and labels, change no spec.
            "matchConditions": [{
                "name": "spec-is-new",
                "expression": "request.operation == 'CREATE' || object.spec != oldObject.spec",
            }],
            "variables": [
                {"name": "names", "expression": names},
                {"name": "place", "expression": place},
            ],
            "validations": [{
                "expression": may,
                "messageExpression": message,
                "reason": "Forbidden",
            }],
        },
    })
}

/// Returns the binding of the policy, which denies in every namespace.
pub fn use_binding() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": USE_POLICY},
        "spec": {"policyName": USE_POLICY, "validationActions": ["Deny"]},
    })
}

/// The reason why a cluster's policy and binding do not check what [`use_policy`] and [`use_binding`] check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlike {
    /// The policy differs.
    Policy,
    /// The binding differs.
    Binding,
}

/// Compares a cluster's policy and binding with the expected ones. The specs must be equal, because a further condition would weaken the
/// check.
///
/// # Errors
/// If one of them differs.
///
/// # Panics
/// If the expected objects are invalid: a bug that the tests find.
pub fn like_ours(
    policy: &ValidatingAdmissionPolicy,
    binding: &ValidatingAdmissionPolicyBinding,
) -> Result<(), Unlike> {
    let ours: ValidatingAdmissionPolicy =
        serde_json::from_value(use_policy()).expect("our policy is one");
    let our_binding: ValidatingAdmissionPolicyBinding =
        serde_json::from_value(use_binding()).expect("our binding is one");
    if policy.spec != ours.spec {
        return Err(Unlike::Policy);
    }
    match binding.spec == our_binding.spec {
        true => Ok(()),
        false => Err(Unlike::Binding),
    }
}

/// Returns each class with its capabilities, without `CAP_`, and the names of its tracers. The chart renders roles and containers from
/// them.
pub fn classes() -> Value {
    let class = |class: Class| {
        let tracers = ALL.iter().filter(|tracer| tracer.class() == class);
        let tracers: Vec<String> = tracers.map(|tracer| camel(tracer.name())).collect();
        let bare = |one: &Capability| one.name().trim_start_matches("CAP_").to_owned();
        let capabilities: Vec<String> = class.capabilities().iter().map(bare).collect();
        let of = json!({"about": class.about(), "capabilities": capabilities, "tracers": tracers});
        (class.word().to_owned(), of)
    };
    Class::ALL
        .into_iter()
        .map(class)
        .collect::<Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> (ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding) {
        (
            serde_json::from_value(use_policy()).unwrap(),
            serde_json::from_value(use_binding()).unwrap(),
        )
    }

    #[test]
    fn a_policy_that_checks_less_is_refused() {
        let (policy, binding) = ours();
        assert_eq!(like_ours(&policy, &binding), Ok(()));
        let changes: [fn(&mut Value); 5] = [
            |spec| spec["failurePolicy"] = "Ignore".into(),
            |spec| spec["validations"] = json!([]),
            |spec| spec["matchConstraints"]["resourceRules"][0]["operations"] = json!(["CREATE"]),
            |spec| {
                spec["matchConstraints"]["namespaceSelector"] =
                    json!({"matchLabels": {"checked": "yes"}});
            },
            |spec| {
                let never = json!({"name": "never", "expression": "false"});
                spec["matchConditions"].as_array_mut().unwrap().push(never);
            },
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut other = use_policy();
            change(&mut other["spec"]);
            let other = serde_json::from_value(other).unwrap();
            assert_eq!(like_ours(&other, &binding), Err(Unlike::Policy), "{at}");
        }
        let mut other = use_binding();
        other["spec"]["validationActions"] = json!(["Audit"]);
        let other = serde_json::from_value(other).unwrap();
        assert_eq!(like_ours(&policy, &other), Err(Unlike::Binding));
        let mut other = use_binding();
        other["spec"]["matchResources"] = json!({"namespaceSelector": {"matchLabels": {"a": "b"}}});
        let other = serde_json::from_value(other).unwrap();
        assert_eq!(like_ours(&policy, &other), Err(Unlike::Binding));
    }

    #[test]
    fn every_tracer_is_in_one_class_by_the_name_that_a_job_has() {
        let classes = classes();
        let tracers = classes.as_object().unwrap().values();
        let mut names: Vec<&str> = tracers
            .flat_map(|class| class["tracers"].as_array().unwrap())
            .map(|name| name.as_str().unwrap())
            .collect();
        names.sort_unstable();
        let mut all: Vec<String> = ALL.iter().map(|tracer| camel(tracer.name())).collect();
        all.sort_unstable();
        assert_eq!(names, all);
        assert_eq!(classes.as_object().unwrap().len(), Class::ALL.len());
    }
}

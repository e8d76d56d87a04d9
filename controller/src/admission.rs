//! The check that the API server has verified each job's right to use its tracer.
//!
//! The controller cannot ask RBAC itself, because an object does not name its creator. It can check that the admission policy exists, is the
//! policy of this version, and is older than the job. A job of a class that requires the check does not run without it.

use crate::plan::Denied;
use crd::admission::{USE_POLICY, Unlike, like_ours};
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    jiff::Timestamp,
};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tracers::Erased;

/// Reason why a job counts as unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unchecked {
    /// The policy or its binding does not exist.
    Missing(&'static str),
    /// The controller may not read the policy.
    Hidden(&'static str),
    /// The policy differs from the policy of this version.
    Other(&'static str),
    /// The policy is newer than the job.
    Newer(&'static str),
}

const POLICY: &str = "ValidatingAdmissionPolicy";
const BINDING: &str = "ValidatingAdmissionPolicyBinding";

impl Unchecked {
    fn denied(&self, tracer: &dyn Erased) -> Denied {
        let why = match self {
            Self::Missing(kind) => format!("the {kind} {USE_POLICY} does not exist"),
            Self::Hidden(kind) => format!("the controller may not get the {kind} {USE_POLICY}"),
            Self::Other(kind) => {
                format!("the {kind} {USE_POLICY} differs from the one of this controller's version")
            }
            Self::Newer(kind) => format!("the {kind} {USE_POLICY} is newer than the job"),
        };
        Denied {
            reason: "NotChecked",
            message: format!(
                "the right of the job's creator to use {}, of class {}, was not checked: {why}; install the policy with the chart (admissionPolicy.enabled), and create the job again",
                tracers::camel(tracer.name()),
                tracer.class().word()
            ),
        }
    }
}

/// Checks the policy for a job with this creation time.
///
/// # Errors
/// If the API server does not answer.
pub(crate) async fn check(
    client: &Client,
    tracer: &dyn Erased,
    made: Timestamp,
) -> kube::Result<Result<(), Denied>> {
    let policy = get::<ValidatingAdmissionPolicy>(client, POLICY).await?;
    let binding = get::<ValidatingAdmissionPolicyBinding>(client, BINDING).await?;
    let checked = policy.and_then(|policy| compare(&policy, &binding?, made));
    Ok(checked.map_err(|unchecked| unchecked.denied(tracer)))
}

async fn get<K>(client: &Client, kind: &'static str) -> kube::Result<Result<K, Unchecked>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    match Api::<K>::all(client.clone()).get(USE_POLICY).await {
        Ok(object) => Ok(Ok(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Err(Unchecked::Missing(kind))),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Err(Unchecked::Hidden(kind))),
        Err(error) => Err(error),
    }
}

fn compare(
    policy: &ValidatingAdmissionPolicy,
    binding: &ValidatingAdmissionPolicyBinding,
    made: Timestamp,
) -> Result<(), Unchecked> {
    like_ours(policy, binding).map_err(|unlike| {
        Unchecked::Other(match unlike {
            Unlike::Policy => POLICY,
            Unlike::Binding => BINDING,
        })
    })?;
    // Times have whole seconds: within one second the order is unknown.
    let newer = |since: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        since.is_none_or(|since| since.0 > made)
    };
    if newer(policy.creation_timestamp()) {
        return Err(Unchecked::Newer(POLICY));
    }
    match newer(binding.creation_timestamp()) {
        true => Err(Unchecked::Newer(BINDING)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const MADE: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn at(mut object: Value, time: &str) -> Value {
        object["metadata"]["creationTimestamp"] = json!(time);
        object
    }

    fn compared(policy: Value, binding: Value) -> Result<(), Unchecked> {
        let policy = serde_json::from_value(policy).unwrap();
        compare(&policy, &serde_json::from_value(binding).unwrap(), MADE)
    }

    #[test]
    fn a_job_is_checked_where_policy_and_binding_are_ours_and_not_newer() {
        let policy = |time| at(crd::admission::use_policy(), time);
        let binding = |time| at(crd::admission::use_binding(), time);
        let (before, after) = ("2027-01-15T07:59:59Z", "2027-01-15T08:00:01Z");
        assert_eq!(compared(policy(before), binding(before)), Ok(()));
        assert_eq!(
            compared(policy(after), binding(before)),
            Err(Unchecked::Newer(POLICY))
        );
        assert_eq!(
            compared(policy(before), binding(after)),
            Err(Unchecked::Newer(BINDING))
        );
        let mut other = policy(before);
        other["spec"]["validations"][0]["expression"] = json!("true");
        assert_eq!(
            compared(other, binding(before)),
            Err(Unchecked::Other(POLICY))
        );
    }
}

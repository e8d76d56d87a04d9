//! The pods and containers of a job that agents could not select, in a form whose size does not depend on their number.

use crate::{
    agents::{Report, is_among},
    plan::Share,
    text::words,
};
use crd::{MAX_TARGET_FAILURES, TargetFailure, TraceJobSpec};
use proto::v1::{self, target::Target as Selector};
use std::{collections::BTreeMap, sync::Arc};

/// Untraced targets of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Untraced {
    /// Number of targets whose events are missing.
    pub(crate) count: i64,
    /// The first failures. Failures with missing events come before the others.
    pub(crate) failures: Vec<TargetFailure>,
}

/// Collects failed targets from the agents' reports. If a pod is traced as a whole, a failed container only lacks its name in the rows:
/// it is reported while it is wanted, and no events are missing.
pub(crate) fn untraced(
    spec: &TraceJobSpec,
    wanted: &BTreeMap<Arc<str>, Share>,
    reports: &BTreeMap<Arc<str>, Report>,
) -> Untraced {
    let whole_pods = spec.containers.is_empty();
    let (mut missing, mut nameless) = (Vec::new(), Vec::new());
    let mut count = 0_u64;
    for (node, report) in reports {
        let wanted = wanted.get(node).map_or(&[][..], |share| &share.targets);
        let refused: Vec<_> = report.refused.failures().collect();
        for failure in report.target_failures.iter().chain(&refused) {
            let is_container =
                |target: &v1::Target| matches!(target.target, Some(Selector::Container(_)));
            let target = failure.target.as_ref();
            if !(whole_pods && target.is_some_and(is_container)) {
                count += 1;
                missing.push(failure_of(node, failure));
            } else if target.is_some_and(|target| is_among(target, wanted)) {
                nameless.push(failure_of(node, failure));
            }
            missing.truncate(MAX_TARGET_FAILURES);
            nameless.truncate(MAX_TARGET_FAILURES);
        }
        if !whole_pods {
            let listed = report.target_failures.len() as u64;
            count += report.targets_failed.saturating_sub(listed);
            count += report.refused.beyond();
        }
    }
    missing.extend(nameless);
    missing.truncate(MAX_TARGET_FAILURES);
    Untraced {
        count: i64::try_from(count).unwrap_or(i64::MAX),
        failures: missing,
    }
}

fn failure_of(node: &str, failure: &v1::TargetFailure) -> TargetFailure {
    let target = failure.target.clone().unwrap_or_default();
    let labels = target.labels.unwrap_or_default();
    TargetFailure {
        node: node.to_owned(),
        namespace: words(&labels.namespace, 253),
        pod: words(&labels.pod, 253),
        container: words(&labels.container, 253),
        reason: words(&failure.reason, 64),
        message: words(&failure.message, 300),
    }
}

impl Untraced {
    /// Returns the sentence about untraced targets at the end of a job; `None` if all were traced.
    pub(crate) fn sentence(&self) -> Option<String> {
        let first = self.failures.first().filter(|_| self.count > 0)?;
        let parts = [&first.namespace, &first.pod, &first.container];
        let parts: Vec<&str> = parts
            .map(String::as_str)
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        let which = match self.count {
            1 => "pod or container was not traced:",
            _ => "pods or containers were not traced, first",
        };
        Some(format!(
            "{} {which} {} on {}: {}",
            self.count,
            parts.join("/"),
            first.node,
            first.message
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(selector: Selector, container: &str) -> v1::Target {
        v1::Target {
            target: Some(selector),
            labels: Some(v1::Labels {
                node: "n".to_owned(),
                namespace: "shop".to_owned(),
                pod: "web-0".to_owned(),
                container: container.to_owned(),
            }),
            start_ticks: 0,
            pod_uid: String::new(),
        }
    }

    fn container(id: usize) -> v1::Target {
        target(Selector::Container(id.to_string()), "app")
    }

    fn report(targets: Vec<v1::Target>, hidden: u64) -> BTreeMap<Arc<str>, Report> {
        let failed = |target| v1::TargetFailure {
            target: Some(target),
            reason: "TargetNotFound".to_owned(),
            message: format!("no such container\x1b{}", "x".repeat(400)),
            ..v1::TargetFailure::default()
        };
        let mut report = Report::default();
        let count = targets.len() as u64 + hidden;
        let failures = targets.into_iter().map(failed).collect();
        (report.targets_failed, report.target_failures) = (count, failures);
        BTreeMap::from([(Arc::from("n"), report)])
    }

    fn shares(target: v1::Target) -> BTreeMap<Arc<str>, Share> {
        let targets = vec![target];
        let share = Share {
            targets,
            ..Share::default()
        };
        BTreeMap::from([(Arc::from("n"), share)])
    }

    fn spec(containers: &[&str]) -> TraceJobSpec {
        let spec = json!({"tracer": {"open": {}}, "containers": containers});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_named_container_that_was_never_traced_is_missing_though_it_is_gone() {
        let untraced = untraced(
            &spec(&["app"]),
            &BTreeMap::new(),
            &report(vec![container(1)], 0),
        );
        assert_eq!(untraced.count, 1);
        let failure = &untraced.failures[0];
        assert_eq!(
            (failure.pod.as_str(), failure.container.as_str()),
            ("web-0", "app")
        );
        assert_eq!(failure.message.chars().count(), 300);
        assert!(!failure.message.contains('\x1b'));
        let sentence = untraced.sentence().unwrap();
        assert!(
            sentence.starts_with("1 pod or container was not traced: shop/web-0/app on n: no such"),
            "{sentence}"
        );
    }

    #[test]
    fn a_container_of_a_whole_pod_lacks_its_name_while_it_runs_and_nothing_else() {
        let reports = report(vec![container(1), container(2)], 40);
        let wanted = shares(container(2));
        let untraced = untraced(&spec(&[]), &wanted, &reports);
        assert_eq!((untraced.count, untraced.failures.len()), (0, 1));
        assert_eq!(untraced.sentence(), None);
    }

    #[test]
    fn a_pod_that_was_not_selected_is_missing() {
        let pod = target(Selector::Pod("u".to_owned()), "");
        let reports = report(vec![container(1), pod], 0);
        let wanted = shares(container(1));
        let untraced = untraced(&spec(&[]), &wanted, &reports);
        assert_eq!((untraced.count, untraced.failures.len()), (1, 2));
        assert_eq!(untraced.failures[0].container, "");
    }

    #[test]
    fn the_list_is_bounded_and_the_rest_is_counted() {
        let reports = report((0..32).map(container).collect(), 100);
        let untraced = untraced(&spec(&["app"]), &BTreeMap::new(), &reports);
        assert_eq!(
            (untraced.count, untraced.failures.len()),
            (132, MAX_TARGET_FAILURES)
        );
    }
}

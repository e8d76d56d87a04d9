//! A running job: the traces that its nodes should run, and the outcome that their reports add up to.

use super::{Context, GRACE, RESYNC, WRITE, generation, has_table, lock};
use crate::{
    agents::{Report, Wanted},
    outcome::{self, NO_ACCOUNT, Outcome, fold},
    plan::{Share, plan},
    status::Phase,
    untraced::untraced,
    view::{Job, Scope},
};
use crd::{DEFAULT_DEADLINE_SECONDS, MAX_SUMMARY_ROWS, TraceJobSpec, TraceJobStatus};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proto::v1;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

impl Context {
    /// Reconciles a running job. Returns its phase and the delay until the next reconciliation.
    pub(super) fn run<J: Job>(
        &self,
        job: &J,
        uid: &str,
        new: &mut TraceJobStatus,
        now: Timestamp,
    ) -> (Phase, Duration) {
        let spec = job.spec();
        let started = new.start_time.as_ref().map_or(now, |time| time.0);
        let length = spec
            .active_deadline_seconds
            .unwrap_or(DEFAULT_DEADLINE_SECONDS);
        let length = Duration::from_secs(length);
        let age = now.duration_since(started);
        let age = Duration::try_from(age).unwrap_or_default();
        let left = length.saturating_sub(age);
        let known = self.fleet.nodes_of(uid);
        let planned = {
            let state = self.world.read();
            plan(uid, spec, job.scope(), &self.rules, &state, &known)
        };
        let of = |share: &Share| Wanted {
            generation: generation(Some(new)),
            spec: trace_spec(spec, job.scope()),
            targets: share.targets.clone(),
            since: share
                .since
                .iter()
                .map(|at| (*at).max(started).into())
                .collect(),
            // Derived from the start time, so that it is the same in each reconciliation.
            deadline: SystemTime::from(started) + length,
            table: has_table(spec),
        };
        // A node whose pods are gone has traced events, or should have. Its trace continues without targets until its account arrives.
        let nobody = Share::default();
        let owing = self.fleet.nodes_with_events(uid);
        let owing = owing.iter().map(|node| (node, &nobody));
        let mut nodes: BTreeMap<&Arc<str>, &Share> = owing.collect();
        for (node, share) in &planned.nodes {
            // No trace starts after the deadline.
            if !left.is_zero() || known.contains(node) {
                nodes.insert(node, share);
            }
        }
        let wanted = nodes
            .iter()
            .map(|(node, share)| (Arc::clone(node), of(share)));
        self.fleet.want(uid, wanted.collect());
        let reports = self.fleet.reports(uid);
        let nodes: BTreeSet<Arc<str>> = nodes.into_keys().cloned().collect();
        // The timeout for accounts starts at the deadline, or when this controller became the leader if that is later.
        let last = (started + SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX))
            .max(self.began);
        let too_late = now.duration_since(last).unsigned_abs() > GRACE && now > last;
        // Nodes that a previous controller used are queried. Nodes that do not answer in time count as failed.
        let inherited = lock(&self.inherited).get(uid).copied();
        let unheard = inherited.unwrap_or(0).saturating_sub(nodes.len());
        let mut outcome = {
            let state = self.world.read();
            let there = |node: &str| state.nodes.contains_key(node);
            let mut outcome = fold(&nodes, &reports, there, too_late);
            outcome.unheard(unheard, too_late);
            outcome
        };
        outcome.untraced = untraced(spec, &planned.nodes, &reports);
        outcome.complete &= outcome.untraced.count == 0;
        outcome.write_to(new);
        new.pods = planned.pods as i64;
        let all = nodes.len() + unheard;
        if outcome.over == all && (all > 0 || left.is_zero()) {
            if spec.output.summary_rows != Some(0) {
                new.summary = self.summary(spec, &reports);
            }
            return (ended(&outcome, all == 0), RESYNC);
        }
        let message = match all {
            0 => {
                "no selected pod is on a matching node; pods that start later are traced".to_owned()
            }
            _ => format!("{} of {} nodes run the job", outcome.nodes.running, all),
        };
        let next = match left.is_zero() {
            true => Duration::from_secs(1),
            false => left.min(WRITE),
        };
        (
            Phase::Running(message),
            next.max(Duration::from_millis(100)),
        )
    }

    fn summary(
        &self,
        spec: &TraceJobSpec,
        reports: &BTreeMap<Arc<str>, Report>,
    ) -> Option<crd::Summary> {
        let tables: Vec<_> = reports
            .values()
            .filter_map(|report| report.table.as_ref())
            .collect();
        let most = spec
            .output
            .summary_rows
            .map_or(MAX_SUMMARY_ROWS, |most| most as usize);
        outcome::summary(&tables, most)
    }
}

/// Returns the phase of a job whose nodes have all ended.
fn ended(outcome: &Outcome, nowhere: bool) -> Phase {
    if nowhere {
        return Phase::Failed {
            reason: "NoPods".to_owned(),
            message: "until the deadline no selected pod was on a matching node".to_owned(),
        };
    }
    let first = outcome.failures.first();
    if outcome.nodes.ended == 0 {
        let nobody = || "no agent that ran the job has sent an account".to_owned();
        let message =
            first.map_or_else(nobody, |first| format!("{}: {}", first.node, first.message));
        return Phase::Failed {
            reason: first
                .map_or(NO_ACCOUNT, |first| first.reason.as_str())
                .to_owned(),
            message,
        };
    }
    let mut missing = Vec::new();
    if outcome.nodes.failed > 0 {
        let which = first.map_or(String::new(), |first| format!(", {} first", first.node));
        missing.push(format!(
            "{} of {} nodes failed{which}",
            outcome.nodes.failed, outcome.nodes.desired
        ));
    }
    missing.extend(outcome.untraced.sentence());
    let events = &outcome.events;
    for (number, what) in [
        (events.lost, "events were lost"),
        (
            events.sampled,
            "events were omitted to stay within a budget",
        ),
        (events.missed_runs, "runs of kernel programs were skipped"),
    ] {
        if number > 0 {
            missing.push(format!("{number} {what}"));
        }
    }
    for (number, what) in [
        (outcome.anew, "agents restarted during the job"),
        (outcome.late, "nodes started late"),
    ] {
        if number > 0 {
            missing.push(format!("{number} {what}"));
        }
    }
    if missing.is_empty() && !outcome.complete {
        missing.push("the account of an agent is not complete".to_owned());
    }
    Phase::Complete {
        partial: (!missing.is_empty()).then(|| missing.join("; ")),
    }
}

/// Returns the agents' spec of a job, without targets and duration.
fn trace_spec(spec: &TraceJobSpec, scope: Scope<'_>) -> v1::TraceSpec {
    let crd::Limits {
        max_events,
        events_per_second,
        cpu_percent,
        memory_bytes,
        ring_bytes,
    } = &spec.limits;
    let budget = v1::Budget {
        cpu_percent: cpu_percent.unwrap_or(0),
        events_per_second: events_per_second.unwrap_or(0),
        memory_bytes: memory_bytes.unwrap_or(0),
    };
    let labels = match scope {
        Scope::Host => vec!["node"],
        _ => vec!["node", "namespace", "pod", "container"],
    };
    v1::TraceSpec {
        tracer: spec.tracer.tracer().name().to_owned(),
        options: Some(client::options(&spec.tracer)),
        max_events: max_events.unwrap_or(0),
        ring_bytes: ring_bytes.unwrap_or(0).into(),
        budget: Some(budget).filter(|budget| *budget != v1::Budget::default()),
        label_columns: labels.into_iter().map(str::to_owned).collect(),
        filter: spec.output.filter.clone().unwrap_or_default(),
        ..v1::TraceSpec::default()
    }
}

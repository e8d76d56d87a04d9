//! The outcome of a job: the reports of its nodes, folded into a status whose size does not depend on the number of nodes.

use crate::{
    agents::{LastTable, Progress, Report},
    text::words,
    untraced::Untraced,
};
use client::{
    Projection, Schema, common,
    duration::{self, duration},
};
use crd::{Cost, Events, Failure, MAX_FAILURES, Nodes, Summary, TraceJobStatus};
use proto::v1;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem::discriminant,
    sync::Arc,
};
use tracers::{Batch, Column, Data, Store, Table, Trust, Value, percentile};

/// Reason of a failed node that has not reported anything.
pub(crate) const NO_ACCOUNT: &str = "NoAccount";

/// The outcome of all nodes together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) nodes: Nodes,
    pub(crate) events: Events,
    pub(crate) cost: Cost,
    pub(crate) failures: Vec<Failure>,
    /// Pods and containers that could not be selected.
    pub(crate) untraced: Untraced,
    /// Nodes that will report nothing more: ended, failed or gone.
    pub(crate) over: usize,
    /// Nodes whose agents restarted the trace. Events in between are missing.
    pub(crate) anew: usize,
    /// Nodes whose traces started long after their targets.
    pub(crate) late: usize,
    /// Whether all events are accounted for.
    pub(crate) complete: bool,
}

/// Folds the reports of a job's nodes. After the deadline, nodes without a report have failed.
pub(crate) fn fold(
    nodes: &BTreeSet<Arc<str>>,
    reports: &BTreeMap<Arc<str>, Report>,
    there: impl Fn(&str) -> bool,
    too_late: bool,
) -> Outcome {
    let mut outcome = Outcome {
        complete: true,
        ..Outcome::default()
    };
    let mut failed = 0;
    for node in nodes {
        outcome.nodes.desired += 1;
        let report = reports.get(node);
        for account in report.into_iter().flat_map(|report| &report.before) {
            outcome.add(account);
        }
        if let Some(report) = report {
            outcome.add(&report.account);
            outcome.anew += usize::from(!report.before.is_empty());
            if let Some(late) = report.late.filter(|_| report.before.is_empty()) {
                outcome.late += 1;
                let message = format!(
                    "the agent received a target {} s late, because it did not respond earlier or refused the update",
                    late.as_secs()
                );
                outcome.add_failure(node, "BeganLate", &message);
            }
        }
        let gone = !there(node);
        let failure = match report.map(|report| &report.progress) {
            Some(Progress::Ended) => {
                outcome.nodes.ended += 1;
                outcome.over += 1;
                outcome.complete &= report.is_some_and(|report| report.account.complete);
                for reason in report.iter().flat_map(|report| &report.account.untraced) {
                    outcome.add_failure(node, "NotTraced", reason);
                }
                continue;
            }
            Some(Progress::Failed { reason, message }) => (reason.clone(), message.clone()),
            _ if gone => (
                "NodeGone".to_owned(),
                "the node is no longer in the cluster".to_owned(),
            ),
            Some(Progress::Unavailable { reason, message }) if too_late => {
                (reason.clone(), message.clone())
            }
            _ if too_late => (
                NO_ACCOUNT.to_owned(),
                "the agent sent no account of the trace".to_owned(),
            ),
            Some(Progress::Running) => {
                outcome.nodes.running += 1;
                continue;
            }
            Some(Progress::Unavailable { reason, message }) => {
                // The node may recover, so it is reported and not counted as failed.
                outcome.add_failure(node, reason, message);
                continue;
            }
            Some(Progress::Waiting) | None => continue,
        };
        failed += 1;
        outcome.over += 1;
        outcome.add_failure(node, &failure.0, &failure.1);
    }
    outcome.nodes.failed = failed;
    outcome.complete &= failed == 0 && outcome.anew == 0 && outcome.late == 0;
    outcome
}

impl Outcome {
    /// Writes the results into a status.
    pub(crate) fn write_to(&self, status: &mut TraceJobStatus) {
        status.nodes = self.nodes.clone();
        status.events = self.events.clone();
        status.cost = self.cost.clone();
        status.failures.clone_from(&self.failures);
        status.untraced_targets = self.untraced.count;
        status.target_failures.clone_from(&self.untraced.failures);
    }

    /// Counts nodes of a previous controller whose agents have not answered yet.
    pub(crate) fn unheard(&mut self, nodes: usize, too_late: bool) {
        self.nodes.desired += nodes as i64;
        self.complete &= nodes == 0;
        if too_late {
            self.nodes.failed += nodes as i64;
            self.over += nodes;
        }
    }

    fn add_failure(&mut self, node: &str, reason: &str, message: &str) {
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(Failure {
                node: node.to_owned(),
                reason: words(reason, 64),
                message: words(message, 300),
            });
        }
    }

    fn add(&mut self, account: &v1::Account) {
        let v1::Account {
            produced,
            delivered,
            filtered,
            beyond_limit,
            lost,
            missed_runs,
            sampled,
            cost,
            ..
        } = account;
        let events = &mut self.events;
        for (sum, number) in [
            (&mut events.produced, produced),
            (&mut events.delivered, delivered),
            (&mut events.filtered, filtered),
            (&mut events.beyond_limit, beyond_limit),
            (&mut events.sampled, sampled),
            (&mut events.missed_runs, missed_runs),
        ] {
            *sum = sum.saturating_add_unsigned(*number);
        }
        for stage in lost.iter().filter(|stage| stage.events > 0) {
            events.lost = events.lost.saturating_add_unsigned(stage.events);
            // The word comes from an agent. Agents of this version use a handful of words.
            if events.lost_by_stage.len() < 16 || events.lost_by_stage.contains_key(&stage.name) {
                let sum = events
                    .lost_by_stage
                    .entry(words(&stage.name, 32))
                    .or_default();
                *sum = sum.saturating_add_unsigned(stage.events);
            }
        }
        let Some(cost) = cost else { return };
        let cpu = duration(duration::sum(cost.bpf, cost.reader)).unwrap_or_default();
        let cpu = cpu.as_millis().try_into().unwrap_or(i64::MAX);
        self.cost.cpu_milliseconds = self.cost.cpu_milliseconds.saturating_add(cpu);
        self.cost.memory_bytes = self
            .cost
            .memory_bytes
            .saturating_add_unsigned(cost.kernel_bytes);
    }
}

/// Returns whether a status may contain a column: its values come from Kubernetes or the kernel, and it is no stack.
fn is_kept(column: &Column) -> bool {
    let kind = column.kind;
    column.is_label() || kind.trust() == Trust::Kernel && !kind.is_stack()
}

/// Merges the last tables of all nodes, largest rows first, with the columns that all agents have. Returns `None` if the rows have no count.
pub(crate) fn summary(tables: &[&LastTable], most: usize) -> Option<Summary> {
    let schemas: Vec<&Schema> = tables.iter().map(|table| &table.schema).collect();
    let columns = common(&schemas);
    if !has_largest(&columns) {
        return None;
    }
    let project = |table: &&LastTable| {
        let projection = Projection::new(&columns, &table.schema).ok()?;
        Some(projection.apply(table.rows.clone()))
    };
    let projected: Vec<Batch> = tables.iter().filter_map(project).collect();
    let tables: Vec<&Batch> = projected.iter().collect();
    let mut summary = merged(&columns, &tables, most);
    // Columns that only some agents have are left out.
    for column in schemas.iter().flat_map(|schema| &schema.columns) {
        let is_common = columns.iter().any(|one| one.name == column.name);
        if !is_common && !summary.left_out.iter().any(|name| *name == column.name) {
            summary.left_out.push(column.name.to_string());
        }
    }
    Some(summary)
}

fn merged(columns: &[Column], tables: &[&Batch], most: usize) -> Summary {
    let kept: Vec<usize> = (0..columns.len())
        .filter(|at| is_kept(&columns[*at]))
        .collect();
    let left_out = columns.iter().filter(|column| !is_kept(column));
    let left_out = left_out.map(|column| column.name.to_string()).collect();
    let columns: Vec<Column> = kept.iter().map(|at| columns[*at].clone()).collect();
    let mut table = Table::new(&columns);
    let sorts = |batch: &Batch| -> Vec<_> { batch.columns.iter().map(discriminant).collect() };
    // A table without rows does not show the types of its columns.
    let tables = tables.iter().filter(|batch| batch.rows() > 0);
    let first = tables.clone().next().map(|batch| sorts(batch));
    for batch in tables {
        // The same column has numbers from one agent and text from another only if one of them is wrong.
        if Some(sorts(batch)) != first {
            continue;
        }
        let kept: Vec<Data> = kept.iter().map(|at| batch.columns[*at].clone()).collect();
        table.add(&Batch::from_columns(kept, Vec::new()));
    }
    let merged = table.batch();
    let rows = (0..merged.rows().min(most)).map(|row| {
        let cells = columns.iter().enumerate();
        let cells = cells
            .map(|(at, column)| (column.name.to_string(), cell(column, merged.value(at, row))));
        cells.collect::<BTreeMap<_, _>>()
    });
    Summary {
        rows: rows.collect(),
        total_rows: merged.rows() as i64,
        cut: merged.rows() > most,
        columns: columns
            .iter()
            .map(|column| column.name.to_string())
            .collect(),
        left_out,
    }
}

/// Returns a value as text, in the format of CSV; a histogram as its quantiles.
fn cell(column: &Column, value: Value<'_>) -> String {
    if let (Store::Buckets, Value::List(buckets)) = (column.kind.store(), value) {
        return quantiles(buckets);
    }
    words(&String::from_utf8_lossy(&rows::field(column, value)), 253)
}

/// Returns the 50th, 90th and 99th percentile of a histogram: the upper bounds of their buckets.
fn quantiles(buckets: &[u64]) -> String {
    let below = |per_cent| percentile(buckets, per_cent).map(|most| u128::from(most) + 1);
    let all = [50, 90, 99].into_iter();
    let all = all.filter_map(|per_cent| Some(format!("p{per_cent}<{}", below(per_cent)?)));
    all.collect::<Vec<_>>().join(" ")
}

/// Returns whether a tracer's rows can be ordered by size.
fn has_largest(columns: &[Column]) -> bool {
    tracers::weight(columns).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::{Basic, Kind, Role};

    fn nodes(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn account(produced: u64, lost: u64) -> v1::Account {
        v1::Account {
            produced,
            delivered: produced - lost,
            lost: vec![v1::Stage {
                name: "ring_full".to_owned(),
                events: lost,
            }],
            complete: lost == 0,
            ended: "duration".to_owned(),
            ..v1::Account::default()
        }
    }

    fn report(progress: Progress, account: v1::Account) -> Report {
        let mut report = Report::default();
        (report.progress, report.account) = (progress, account);
        report
    }

    fn failed(message: &str) -> Progress {
        Progress::Failed {
            reason: "KernelRefused".to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn accounts_add_up_over_nodes_and_incarnations() {
        let mut restarted = report(Progress::Ended, account(5, 0));
        restarted.before.push(account(7, 2));
        let reports = BTreeMap::from([
            ("a".into(), report(Progress::Ended, account(10, 3))),
            ("b".into(), restarted),
        ]);
        let outcome = fold(&nodes(&["a", "b"]), &reports, |_| true, false);
        let events = &outcome.events;
        assert_eq!(
            (events.produced, events.delivered, events.lost),
            (22, 17, 5)
        );
        assert_eq!(
            events.lost_by_stage,
            BTreeMap::from([("ring_full".to_owned(), 5)])
        );
        assert_eq!((outcome.over, outcome.complete), (2, false));
        assert_eq!((outcome.nodes.desired, outcome.nodes.ended), (2, 2));
    }

    #[test]
    fn who_is_silent_has_failed_only_when_it_is_too_late_or_its_node_is_gone() {
        let reports = BTreeMap::from([("a".into(), report(Progress::Running, account(1, 0)))]);
        let all = nodes(&["a", "b"]);
        let fold = |there: bool, late| fold(&all, &reports, |_| there, late);
        assert_eq!(fold(true, false).over, 0);
        assert_eq!(fold(true, false).nodes.running, 1);
        let reasons = |outcome: Outcome| -> Vec<String> {
            outcome
                .failures
                .into_iter()
                .map(|failure| failure.reason)
                .collect()
        };
        assert_eq!(reasons(fold(true, true)), ["NoAccount", "NoAccount"]);
        assert_eq!(reasons(fold(false, false)), ["NodeGone", "NodeGone"]);
        // Its events count nevertheless.
        assert_eq!(fold(false, false).events.produced, 1);
    }

    #[test]
    fn the_size_of_a_status_does_not_grow_with_the_nodes_or_their_words() {
        let names: Vec<String> = (0..1000).map(|n| format!("node{n}")).collect();
        let all: BTreeSet<Arc<str>> = names.iter().map(|name| Arc::from(name.as_str())).collect();
        let mut account = account(1, 1);
        account.lost = (0..100)
            .map(|n| v1::Stage {
                name: format!("stage{n}"),
                events: 1,
            })
            .collect();
        let long = format!("\x1b[2J\u{202e}{}", "x".repeat(10_000));
        let reports = all
            .iter()
            .map(|node| (Arc::clone(node), report(failed(&long), account.clone())))
            .collect();
        let outcome = fold(&all, &reports, |_| true, false);
        assert_eq!(
            (outcome.nodes.failed, outcome.failures.len()),
            (1000, MAX_FAILURES)
        );
        assert_eq!(outcome.events.lost, 100_000);
        assert_eq!(outcome.events.lost_by_stage.len(), 16);
        let message = &outcome.failures[0].message;
        assert_eq!(message.chars().count(), 300);
        assert!(!message.contains(['\x1b', '\u{202e}']), "{message:?}");
    }

    /// Columns: a label, text of the traced program, a count, a histogram.
    fn table(rows: &[(&str, &str, u64)]) -> (Vec<Column>, Batch) {
        let of = |name: &'static str, kind, role| Column::of(name, "", role, false).kind(kind);
        let unit = tracers::Unit::None;
        let columns = vec![
            of("pod", Kind::Text, Role::Key),
            of("comm", Kind::Text, Role::Key),
            of("count", Kind::Unsigned, Role::Count),
            of("latency", Kind::Log2 { unit }, Role::Histogram),
        ];
        let mut data: Vec<Data> = columns.iter().map(|column| Data::of(column.kind)).collect();
        for (pod, comm, count) in rows {
            assert!(data[0].push(Value::Bytes(pod.as_bytes(), false)));
            assert!(data[1].push(Value::Bytes(comm.as_bytes(), false)));
            assert!(data[2].push(Value::Unsigned(*count)));
            assert!(data[3].push(Value::List(&[0, *count])));
        }
        (columns, Batch::from_columns(data, Vec::new()))
    }

    #[test]
    fn what_differs_only_in_text_of_the_traced_is_one_row() {
        let (columns, one) = table(&[("a", "\x1b[2Jevil", 3), ("a", "other", 4), ("b", "x", 1)]);
        let (_, two) = table(&[("c", "y", 90), ("b", "y", 1)]);
        let summary = merged(&columns, &[&one, &two], 2);
        assert_eq!(summary.columns, ["pod", "count", "latency"]);
        assert_eq!(summary.left_out, ["comm"]);
        let row = |at: usize| {
            (
                summary.rows[at]["pod"].as_str(),
                summary.rows[at]["count"].as_str(),
            )
        };
        assert_eq!((row(0), row(1)), (("c", "90"), ("a", "7")));
        assert_eq!(summary.rows[1]["latency"], "p50<4 p90<4 p99<4");
        assert_eq!(
            (summary.total_rows, summary.cut, summary.rows.len()),
            (3, true, 2)
        );
        assert!(!serde_json::to_string(&summary).unwrap().contains("evil"));
    }

    #[test]
    fn text_that_a_program_chooses_is_in_no_summary_whatever_its_kind() {
        const EVIL: &[u8] = b"evil";
        let basic = [None, Some(Basic::Text), Some(Basic::Unsigned)].into_iter();
        let kinds = Kind::all().chain(basic.map(|basic| Kind::Unknown { basic }));
        let (chosen, others): (Vec<Kind>, Vec<Kind>) =
            kinds.partition(|kind| kind.trust() == Trust::Program);
        assert!(chosen.len() > 5 && others.len() > 10);
        for kind in chosen {
            let column =
                |name: &'static str, kind, role| Column::of(name, "", role, false).kind(kind);
            let columns = [
                column("x", kind, Role::Key),
                column("count", Kind::Unsigned, Role::Count),
            ];
            let mut text = Data::of(Kind::Text);
            assert!(text.push(Value::Bytes(EVIL, false)));
            let batch = Batch::from_columns(vec![text, Data::Unsigned(vec![1])], Vec::new());
            let summary = merged(&columns, &[&batch], 20);
            assert_eq!(summary.left_out, ["x"], "{kind:?}");
            let written = serde_json::to_string(&summary).unwrap();
            assert!(!written.contains("evil"), "{kind:?}: {written}");
        }
    }

    #[test]
    fn a_value_in_a_summary_is_what_csv_has() {
        let of = |kind, value| {
            let column = Column::of("x", "", Role::Last, false);
            cell(&Column { kind, ..column }, value)
        };
        // Addresses have one form in all outputs, and unknown values are empty.
        let mapped = std::net::Ipv4Addr::new(10, 0, 0, 9)
            .to_ipv6_mapped()
            .octets();
        assert_eq!(of(Kind::Ip, Value::Bytes(&mapped, false)), "10.0.0.9");
        assert_eq!(of(Kind::Bool, Value::Unsigned(1)), "true");
        assert_eq!(of(Kind::Bool, Value::Unsigned(2)), "");
        assert_eq!(of(Kind::Errors, Value::List(&[11, 3])), "EAGAIN:3");
        assert_eq!(of(Kind::Octal, Value::Unsigned(0o644)), "0644");
        let log2 = Kind::Log2 {
            unit: tracers::Unit::Bytes,
        };
        assert_eq!(of(log2, Value::List(&[])), "");
        let mut last = vec![0; 64];
        last[63] = 1;
        assert_eq!(
            of(log2, Value::List(&last)),
            "p50<18446744073709551616 p90<18446744073709551616 p99<18446744073709551616"
        );
    }

    #[test]
    fn a_table_of_other_sorts_of_values_is_left_out() {
        let (columns, one) = table(&[("a", "x", 3)]);
        let mut wrong = one.columns.clone();
        wrong[2] = Data::Signed(vec![3]);
        let wrong = Batch::from_columns(wrong, Vec::new());
        let rows = |tables: &[&Batch]| merged(&columns, tables, 20).rows;
        assert_eq!(rows(&[&one, &wrong])[0]["count"], "3");
        // A node without events.
        let nothing = Batch::from_columns(vec![Data::Signed(Vec::new()); 4], Vec::new());
        assert_eq!(rows(&[&nothing, &one])[0]["count"], "3");
        assert!(rows(&[&nothing]).is_empty());
    }
}

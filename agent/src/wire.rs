//! Conversion between the API's messages and the agent's types. No other module reads a message's fields.

use super::limits::{ID_BYTES, LABEL_BYTES, LABEL_COLUMNS, OPTIONS_BYTES, PATH_BYTES, TARGETS};
use engine::{
    Account, Budget, Change, Check, Clock, Ended, Labels, Limits, Request, Selector, Target,
    UserStacks,
};
use prost::Message;
use proto::v1::{self, stream_events_response::Item};
use std::time::Duration;
use tracers::{
    Basic, Batch, Column, Data, Dataset, Filter, Form, LABELS, Shown, Spec, Value, Wall,
};

/// Why a request cannot be understood: the field, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) field: &'static str,
    pub(crate) why: String,
}

fn violation(field: &'static str, why: impl ToString) -> Violation {
    Violation {
        field,
        why: why.to_string(),
    }
}

/// Returns the request of a client's spec.
pub(crate) fn request(spec: Option<v1::TraceSpec>) -> Result<Request, Violation> {
    let spec = spec.ok_or_else(|| violation("spec", "it is missing"))?;
    if spec.targets.is_empty() {
        return Err(violation(
            "spec.targets",
            "name at least one: a process, a cgroup, a container, a pod, or the host",
        ));
    }
    if spec.targets.len() > TARGETS {
        return Err(violation(
            "spec.targets",
            format!("at most {TARGETS} are allowed; select their common cgroup"),
        ));
    }
    let tracer = tracers::named(&spec.tracer).map_err(|error| violation("spec.tracer", error))?;
    let options = spec.options.unwrap_or_default();
    if options.encoded_len() > OPTIONS_BYTES {
        let why = format!("at most {OPTIONS_BYTES} bytes are allowed");
        return Err(violation("spec.options", why));
    }
    let with_options =
        client::spec(tracer, options).map_err(|error| violation("spec.options", error))?;
    let filters = filters(&spec.filter, &with_options)?;
    let defaults = Limits::default();
    let interval = match duration("spec.interval", spec.interval)? {
        None => defaults.interval,
        Some(interval) if interval < Duration::from_millis(100) => {
            return Err(violation("spec.interval", "it is 100 ms at least"));
        }
        Some(interval) => interval,
    };
    let targets = { spec.targets.into_iter() }
        .map(target)
        .collect::<Result<_, _>>()?;
    Ok(Request {
        filters,
        limits: Limits {
            duration: duration("spec.duration", spec.duration)?,
            max_events: Some(spec.max_events).filter(|most| *most > 0),
            ring_bytes: match spec.ring_bytes {
                0 => defaults.ring_bytes,
                bytes => u32::try_from(bytes)
                    .map_err(|_| violation("spec.ring_bytes", "it is below 4 GiB"))?,
            },
            // Losses are reported within a second.
            interval: interval.min(Duration::from_secs(1)),
            budget: budget(spec.budget.unwrap_or_default()),
            quota: defaults.quota,
        },
        changing: true,
        outlives_cgroups: true,
        label_columns: label_columns(&spec.label_columns)?,
        ..Request::new(with_options, targets)
    })
}

/// Returns the filters of a trace's datasets; empty without a condition.
fn filters(condition: &str, spec: &Spec) -> Result<Vec<Option<Filter>>, Violation> {
    match condition {
        "" => Ok(Vec::new()),
        text => Filter::of_datasets(text, &spec.plan().datasets)
            .map_err(|mistake| violation("spec.filter", mistake)),
    }
}

fn budget(budget: v1::Budget) -> Budget {
    let v1::Budget {
        cpu_percent,
        events_per_second,
        memory_bytes,
    } = budget;
    Budget {
        cpu_percent: Some(cpu_percent).filter(|most| *most > 0),
        events_per_second: Some(events_per_second).filter(|most| *most > 0),
        memory_bytes: Some(memory_bytes).filter(|most| *most > 0),
    }
}

/// A change of targets.
pub(crate) fn change(change: v1::Change) -> Result<Change, Violation> {
    match change.change {
        Some(v1::change::Change::Add(of)) => target(of).map(Change::Add),
        Some(v1::change::Change::Remove(of)) => target(of).map(|of| Change::Remove(of.selector)),
        Some(v1::change::Change::Only(of)) => {
            let all = of.targets.into_iter().map(target);
            let all: Result<_, _> = all.map(|one| one.map(|one| one.selector)).collect();
            all.map(Change::Only)
        }
        None => Err(violation(
            "update.changes",
            "a change is empty: set add, remove or only",
        )),
    }
}

fn target(target: v1::Target) -> Result<Target, Violation> {
    use v1::target::Target as Wire;
    let labels = labels(target.labels.unwrap_or_default())?;
    let (field, text, most) = match &target.target {
        Some(Wire::Cgroup(path)) => ("spec.targets.cgroup", path.as_str(), PATH_BYTES),
        Some(Wire::Container(id)) => ("spec.targets.container", id.as_str(), ID_BYTES),
        Some(Wire::Pod(uid)) => ("spec.targets.pod", uid.as_str(), ID_BYTES),
        Some(Wire::Process(_) | Wire::Host(_)) | None => ("spec.targets", "", 0),
    };
    let pod = ("spec.targets.pod_uid", target.pod_uid.as_str(), ID_BYTES);
    for (field, text, most) in [(field, text, most), pod] {
        if text.len() > most {
            let why = format!("at most {most} bytes are allowed");
            return Err(violation(field, why));
        }
    }
    let selector = match target.target {
        Some(Wire::Process(pid)) if target.start_ticks > 0 => {
            Selector::ProcessSince(pid, target.start_ticks)
        }
        Some(Wire::Process(pid)) => Selector::Process(pid),
        Some(Wire::Cgroup(path)) if path.split('/').any(|part| part == "..") => {
            return Err(violation(
                "spec.targets.cgroup",
                "it may not go up by \"..\"",
            ));
        }
        Some(Wire::Cgroup(path)) => Selector::Cgroup(path.into()),
        Some(Wire::Container(id)) if !target.pod_uid.is_empty() => {
            Selector::PodContainer(target.pod_uid, id)
        }
        Some(Wire::Container(id)) => Selector::Container(id),
        Some(Wire::Host(v1::Host {})) => Selector::Host,
        Some(Wire::Pod(uid)) => Selector::Pod(uid),
        None => {
            return Err(violation(
                "spec.targets",
                "one of them names nothing: process, cgroup, container, pod or host",
            ));
        }
    };
    Ok(Target { selector, labels })
}

fn label_columns(names: &[String]) -> Result<[bool; LABELS.len()], Violation> {
    let mut columns = [false; LABELS.len()];
    if names.len() > LABEL_COLUMNS {
        let why = format!("at most {LABEL_COLUMNS} are allowed");
        return Err(violation("spec.label_columns", why));
    }
    for name in names {
        match LABELS.iter().position(|label| label.name == *name) {
            Some(at) => columns[at] = true,
            None => {
                let known: Vec<&str> = LABELS.iter().map(|label| &*label.name).collect();
                let known = known.join(", ");
                return Err(violation(
                    "spec.label_columns",
                    format!("unknown label; known labels are: {known}"),
                ));
            }
        }
    }
    Ok(columns)
}

/// Names as Kubernetes has them, so that they can stand in a log and in a file's name.
fn labels(labels: v1::Labels) -> Result<Labels, Violation> {
    let v1::Labels {
        node,
        namespace,
        pod,
        container,
    } = labels;
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let labels = [node, namespace, pod, container];
    match labels
        .iter()
        .all(|label| label.len() <= LABEL_BYTES && label.chars().all(known))
    {
        true => Ok(Labels(labels)),
        false => Err(violation(
            "spec.targets.labels",
            format!("each has at most {LABEL_BYTES} letters, digits, '-', '_' and '.'"),
        )),
    }
}

fn duration(
    field: &'static str,
    duration: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Violation> {
    let wrong = |_| violation(field, "it is more than nothing");
    match duration.map(Duration::try_from).transpose().map_err(|_| ()) {
        Ok(Some(Duration::ZERO)) | Err(()) => Err(wrong(())),
        Ok(duration) => Ok(duration),
    }
}

/// Returns the message of a check.
pub(crate) fn check(check: Check) -> v1::Check {
    let Check {
        name,
        verdict,
        detail,
        remedy,
    } = check;
    v1::Check {
        name: name.into_owned(),
        verdict: verdict.word().to_owned(),
        detail,
        remedy: remedy.unwrap_or_default(),
    }
}

/// Returns rows as messages: one of events, or several of a table. Each has the bytes that it points to.
pub(crate) fn batches(batch: &Batch, datasets: &[Dataset], clock: Clock) -> Vec<(Item, usize)> {
    let of = &datasets[batch.dataset];
    let table = of.source.form() == Form::Table;
    let parts = client::parts(batch, table, |at, data| {
        values(&of.columns[at], data, clock)
    });
    let sized = parts.into_iter().map(|part| {
        let bytes = size(&part);
        (item(batch.dataset, part), bytes)
    });
    sized.collect()
}

/// A batch of a dataset, by its number.
fn item(dataset: usize, batch: v1::Batch) -> Item {
    match dataset.checked_sub(1) {
        None => Item::Batch(batch),
        Some(further) => Item::Further(v1::Further {
            dataset: further as u32,
            batch: Some(batch),
        }),
    }
}

fn values(column: &Column, data: Data, clock: Clock) -> v1::values::Values {
    use v1::values::Values as Wire;
    // Of numbers that have names the names are sent: a client needs no table of system calls.
    let named = |data: &Data| {
        let mut bytes = Vec::new();
        // Rows that follow each other mostly have the same.
        let mut last: Option<(u64, Vec<u8>)> = None;
        let name = |number| {
            let shown = Shown {
                column,
                frames: &[],
                wall: Wall::default(),
            };
            let mut text = Vec::new();
            column.kind.csv(Value::Unsigned(number), shown, &mut text);
            text
        };
        let ends = (0..data.rows())
            .map(|row| {
                if let Value::Unsigned(number) = data.value(row) {
                    let known = last.take().filter(|(of, _)| *of == number);
                    let (_, text) = last.insert(known.unwrap_or_else(|| (number, name(number))));
                    bytes.extend_from_slice(text);
                }
                bytes.len() as u32
            })
            .collect();
        bytes.shrink_to_fit();
        Wire::Bytes(v1::Bytes {
            ends,
            data: bytes.into(),
            cut: Vec::new(),
        })
    };
    let is_time = column.kind.basic() == Some(Basic::Time);
    match data {
        Data::Unsigned(_) if column.kind.is_named() => named(&data),
        Data::Unsigned(times) if is_time => {
            let unix = |time| clock.unix_ns(time).max(0).cast_unsigned();
            Wire::Unsigned(v1::Unsigned {
                values: times.into_iter().map(unix).collect(),
            })
        }
        data => client::wire_values(data),
    }
}

/// Overhead of an allocation in bytes: glibc's size word, and 8 on average for rounding to 16.
const ALLOCATION: usize = 16;

/// Bytes that a batch points to: what its vectors have room for, and their allocations.
fn size(batch: &v1::Batch) -> usize {
    use v1::values::Values as Wire;
    fn room<T>(vector: &Vec<T>) -> usize {
        match vector.capacity() {
            0 => 0,
            capacity => capacity * size_of::<T>() + ALLOCATION,
        }
    }
    let v1::Batch {
        rows: _,
        columns,
        frames,
        strings,
        interned,
        part: _,
        more: _,
    } = batch;
    let values = columns.iter().map(|values| match &values.values {
        None => 0,
        Some(Wire::Unsigned(of)) => room(&of.values),
        Some(Wire::Signed(of)) => room(&of.values),
        // Shared bytes have their counts in an allocation of their own.
        Some(Wire::Bytes(of)) => of.data.len() + 3 * ALLOCATION + room(&of.ends) + room(&of.cut),
        Some(Wire::Lists(of)) => room(&of.values) + room(&of.ends),
        Some(Wire::Stacks(of)) => room(&of.frames) + room(&of.ends),
    });
    let strings_bytes = strings.iter().map(|text| text.capacity() + ALLOCATION);
    let frames_bytes = interned.as_ref().map_or(0, |frames| {
        let v1::Frames {
            names,
            modules,
            offsets,
            files,
            lines,
        } = frames;
        room(names) + room(modules) + room(offsets) + room(files) + room(lines)
    });
    room(columns)
        + values.sum::<usize>()
        + room(frames)
        + room(strings)
        + strings_bytes.sum::<usize>()
        + frames_bytes
}

/// Returns the reason for the end of a trace as a word; empty while it runs.
pub(crate) fn ended(account: &Account) -> &'static str {
    match &account.ended {
        None => "",
        Some(Ended::Duration) => "duration",
        Some(Ended::MaxEvents) => "max_events",
        Some(Ended::TargetGone) => "target_gone",
        Some(Ended::Stopped) => "stopped",
        Some(Ended::Budget(_)) => "budget",
        Some(Ended::Command(_)) => "command",
    }
}

/// Returns the account as a message.
pub(crate) fn account(account: &Account) -> v1::Account {
    let stages = account.lost.stages();
    let cost = &account.cost;
    v1::Account {
        produced: account.produced,
        delivered: account.delivered,
        filtered: account.filtered,
        beyond_limit: account.beyond_limit,
        sampled: account.sampled,
        lost: stages
            .iter()
            .map(|(name, events, _)| stage(name, *events))
            .collect(),
        missed_runs: account.missed_runs,
        stacks_missing: account.stacks_missing,
        stacks_truncated: account.stacks_truncated,
        stacks_not_unwound: account.stacks_not_unwound,
        complete: account.complete(),
        elapsed: time(account.elapsed),
        cost: Some(v1::Cost {
            bpf: cost.bpf.and_then(|bpf| time(bpf.time)),
            reader: time(cost.reader),
            kernel_bytes: cost.kernel_bytes,
            bpf_runs: cost.bpf.map_or(0, |bpf| bpf.runs),
            bpf_measured: cost.bpf.map_or(0.0, |bpf| bpf.measured),
        }),
        ended: ended(account).to_owned(),
        // Of a job, and never of a trace.
        nodes: Vec::new(),
        missed_rows: 0,
        late_rows: 0,
        untraced: account.untraced.reasons.clone(),
        untraced_count: account.untraced.count,
        user_stacks: user_stacks(account.user_stacks),
    }
}

/// Returns the numbers of user stacks; `None` without any.
fn user_stacks(stacks: UserStacks) -> Option<v1::UserStacks> {
    let UserStacks {
        delivered,
        truncated,
        empty,
        short,
    } = stacks;
    (delivered > 0).then_some(v1::UserStacks {
        delivered,
        truncated,
        empty,
        short,
    })
}

/// Returns the losses between two accounts of the same trace; `None` without losses.
pub(crate) fn lost_since(before: &Account, now: &Account) -> Option<v1::Lost> {
    let (before, now) = ((before.lost.stages(), before), (now.lost.stages(), now));
    let stages: Vec<v1::Stage> = before
        .0
        .iter()
        .zip(&now.0)
        .filter(|((_, before, _), (_, now, _))| now > before)
        .map(|((name, before, _), (_, now, _))| stage(name, now - before))
        .collect();
    let missed_runs = now.1.missed_runs.saturating_sub(before.1.missed_runs);
    let any = !stages.is_empty() || missed_runs > 0;
    any.then_some(v1::Lost {
        stages,
        missed_runs,
    })
}

fn stage(name: &str, events: u64) -> v1::Stage {
    v1::Stage {
        name: name.to_owned(),
        events,
    }
}

fn time(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::value::Kind as Json;

    fn spec(json: &[(&str, Json)]) -> v1::TraceSpec {
        let value = |kind: &Json| prost_types::Value {
            kind: Some(kind.clone()),
        };
        let fields = json
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), value(kind)));
        v1::TraceSpec {
            tracer: tracers::ALL[0].name().to_owned(),
            options: Some(prost_types::Struct {
                fields: fields.collect(),
            }),
            targets: vec![v1::Target {
                target: Some(v1::target::Target::Process(1)),
                ..v1::Target::default()
            }],
            ..v1::TraceSpec::default()
        }
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        let field = |spec| request(Some(spec)).unwrap_err().field;
        assert_eq!(request(None).unwrap_err().field, "spec");
        let no_targets = v1::TraceSpec {
            targets: vec![],
            ..spec(&[])
        };
        assert_eq!(field(no_targets), "spec.targets");
        let unknown = v1::TraceSpec {
            tracer: "tcp_conect".to_owned(),
            ..spec(&[])
        };
        assert_eq!(field(unknown), "spec.tracer");
        assert_eq!(
            field(spec(&[("noSuch", Json::BoolValue(true))])),
            "spec.options"
        );
        assert_eq!(
            field(spec(&[("failedOnly", Json::NumberValue(0.5))])),
            "spec.options"
        );
        let negative = v1::TraceSpec {
            duration: Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            }),
            ..spec(&[])
        };
        assert_eq!(field(negative), "spec.duration");
        let ring = v1::TraceSpec {
            ring_bytes: 1 << 40,
            ..spec(&[])
        };
        assert_eq!(field(ring), "spec.ring_bytes");
        let filtered = |filter: &str| v1::TraceSpec {
            filter: filter.to_owned(),
            ..spec(&[])
        };
        assert_eq!(field(filtered("pidd > 1")), "spec.filter");
        assert_eq!(field(filtered(&"!".repeat(5000))), "spec.filter");
        let filters = request(Some(filtered("pid > 1"))).unwrap().filters;
        assert!(filters[0].is_some());
        let up = v1::TraceSpec {
            targets: vec![v1::Target {
                target: Some(v1::target::Target::Cgroup("a/../../b".to_owned())),
                ..v1::Target::default()
            }],
            ..spec(&[])
        };
        assert_eq!(field(up), "spec.targets.cgroup");
        let named = |target| v1::TraceSpec {
            targets: vec![v1::Target {
                target: Some(target),
                ..v1::Target::default()
            }],
            ..spec(&[])
        };
        use v1::target::Target::{Cgroup, Container, Pod};
        let long = |bytes| "a".repeat(bytes);
        for (field_name, target) in [
            ("spec.targets.container", Container(long(ID_BYTES + 1))),
            ("spec.targets.pod", Pod(long(ID_BYTES + 1))),
            ("spec.targets.cgroup", Cgroup(long(PATH_BYTES + 1))),
        ] {
            assert_eq!(field(named(target)), field_name);
        }
        let mut of_a_pod = named(Container(long(ID_BYTES)));
        of_a_pod.targets[0].pod_uid = long(ID_BYTES + 1);
        assert_eq!(field(of_a_pod), "spec.targets.pod_uid");
        assert!(request(Some(named(Container(long(ID_BYTES))))).is_ok());
        assert!(request(Some(named(Cgroup(long(PATH_BYTES))))).is_ok());
        let many = v1::TraceSpec {
            targets: vec![spec(&[]).targets[0].clone(); TARGETS + 1],
            ..spec(&[])
        };
        assert_eq!(field(many), "spec.targets");
        let long = Json::StringValue(long(OPTIONS_BYTES));
        assert_eq!(field(spec(&[("a", long)])), "spec.options");
        for hostile in ["a\nb", "\x1b[2J", "é", "../..\0", &"a".repeat(254)] {
            let labelled = v1::TraceSpec {
                targets: vec![v1::Target {
                    target: Some(v1::target::Target::Process(1)),
                    labels: Some(v1::Labels {
                        pod: hostile.to_owned(),
                        ..v1::Labels::default()
                    }),
                    ..v1::Target::default()
                }],
                ..spec(&[])
            };
            assert_eq!(field(labelled), "spec.targets.labels", "{hostile:?}");
        }
    }

    #[test]
    fn only_new_losses_are_sent() {
        let mut before = Account::default();
        before.lost.ring_full = 3;
        let mut now = before.clone();
        assert_eq!(lost_since(&before, &now), None);
        now.lost.ring_full = 10;
        now.missed_runs = 2;
        let lost = lost_since(&before, &now).unwrap();
        assert_eq!(lost.stages, [stage("ring_full", 7)]);
        assert_eq!(lost.missed_runs, 2);
    }
}

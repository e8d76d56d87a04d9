//! The forms of a tracer's rows: by an agent and by `tracejob run`, as table, JSON and CSV, with the described columns; and its command line.

use super::{Checked, Entry, Expects, Suite};
use proto::v1::{self, State, agent_client::AgentClient};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tests::{Agent, Outcome, Trace, Tracing, columns_of, columns_where, described, until};
use tonic::transport::Endpoint;

/// Units of the workload.
const SOME: u64 = 3;

/// The configuration of an agent that refuses no tracer.
const EVERY_CLASS: &str = "policy: {classes: [observe, payload, memory, act]}";

/// A trace by `tracejob run` and one by an agent, of the same workload at the same time.
pub(crate) struct Places {
    here: Outcome,
    there: Outcome,
    /// The other outputs of the trace by `tracejob run`.
    csv: String,
    table: String,
}

/// Returns the agent that the tests of all tracers share. The last test that uses the agent ends it.
fn shared_agent() -> Arc<Agent> {
    static AGENT: Mutex<Weak<Agent>> = Mutex::new(Weak::new());
    let mut agent = AGENT.lock().unwrap_or_else(PoisonError::into_inner);
    agent.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Agent::start(EVERY_CLASS));
        *agent = Arc::downgrade(&started);
        started
    })
}

/// Waits until the agent runs a trace with this tracer.
fn until_it_runs(agent: &Agent, tracer: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let traces = || {
        runtime.block_on(async {
            let endpoint = format!("unix:{}", agent.socket().display());
            let channel = Endpoint::new(endpoint).unwrap().connect().await.unwrap();
            let watch = v1::WatchTracesRequest::default();
            let watched = AgentClient::new(channel).watch_traces(watch).await;
            watched.unwrap().into_inner().message().await.unwrap()
        })
    };
    until("the agent's trace to run", || {
        let traces = traces().unwrap().traces;
        let runs =
            |trace: &v1::TraceStatus| trace.tracer == tracer && trace.state() == State::Running;
        traces.iter().any(runs).then_some(())
    });
}

fn run(suite: &Suite) -> Places {
    let entry = suite.entry;
    let agent = shared_agent();
    let folder = tests::folder();
    let file = |form: &str| -> PathBuf { folder.join(form) };
    let output = |form: &str| format!("{form}={}", file(form).display());
    let steps = format!("{} , say done , until-eof", entry.step(SOME));
    let mut workload = entry.workload(&steps);
    let limited = entry.limited(&[&workload]);
    let here: Trace = entry.trace().of_process(&workload);
    let here: Tracing = here
        .with(&["-o", &output("csv"), "-o", &output("table")])
        .start();
    let there = entry.trace().of_process(&workload);
    let there = there.with(&["--agent", &agent.url()]).spawn();
    until_it_runs(&agent, entry.tracer);
    workload.go();
    workload.wait_for("done");
    entry.settle(&here, SOME);
    // A gauge is read while the process lives.
    let (here, there) = match entry.expects {
        Expects::Events(_) | Expects::Count(_) => {
            entry.settle(&there, SOME);
            workload.end();
            (here.finish(), there.finish())
        }
        Expects::Gauge { .. } => {
            let both = (here.stop(), there.stop());
            workload.end();
            both
        }
    };
    drop(limited);
    let text = |form: &str| fs::read_to_string(file(form)).unwrap();
    let (csv, table) = (text("csv"), text("table"));
    fs::remove_dir_all(&folder as &Path).unwrap();
    Places {
        here,
        there,
        csv,
        table,
    }
}

impl Suite {
    fn places(&self) -> &Places {
        self.places.get_or_init(|| run(self))
    }
}

/// Returns the rows of the step without columns that differ between two traces: times, stacks and gauges.
/// Rows that are then equal are one entry, with the sum of their counts, or their number.
fn alike(entry: &Entry, outcome: &Outcome) -> BTreeMap<String, u64> {
    // What a gauge shows with its keys is the state of the moment at which it was read.
    let is_state = matches!(entry.expects, Expects::Gauge { .. });
    let differs = columns_where(entry.tracer, |column| {
        if is_state && column["role"] != "key" {
            return true;
        }
        let is_of_a_clock = column["kind"] == "time" || column["unit"] == "ns";
        is_of_a_clock || column["kind"] == "stack" || column["role"] == "gauge"
    });
    let counts = columns_where(entry.tracer, |column| column["role"] == "count");
    let mut sums = BTreeMap::new();
    for row in entry.rows(&outcome.rows) {
        let is_left = |name: &String| !differs.contains(name) && !counts.contains(name);
        let left = row.as_object().unwrap().iter();
        let left: BTreeMap<&String, &Value> = left.filter(|(name, _)| is_left(name)).collect();
        *sums.entry(json!(left).to_string()).or_default() += tests::amount(entry.tracer, &[row]);
    }
    sums
}

pub(crate) fn an_agent_gives_the_same_rows(suite: &Suite) -> Checked {
    let (entry, places) = (suite.entry, suite.places());
    for outcome in [&places.here, &places.there] {
        entry.holds(outcome, &entry.rows(&outcome.rows), SOME);
        entry.further_hold(outcome, SOME * entry.unit, SOME * entry.unit);
        super::ended(
            outcome,
            match entry.expects {
                Expects::Events(_) | Expects::Count(_) => "target_gone",
                Expects::Gauge { .. } => "stopped",
            },
        );
    }
    let (here, there) = (alike(entry, &places.here), alike(entry, &places.there));
    // Of two samplers one may see what the other one misses.
    let may_differ = |count: u64| match entry.missing_percent {
        0 => 0,
        percent => (count * percent / 100).max(1),
    };
    assert!(
        here.keys().eq(there.keys()) && { here.values().zip(there.values()) }
            .all(|(one, other)| one.abs_diff(*other) <= may_differ(*one)),
        "{here:?}\n{there:?}"
    );
    for (dataset, _) in entry.also {
        let keys = columns_of(entry.tracer, dataset, |column| column["role"] == "key");
        let keys_of = |outcome: &Outcome| -> BTreeSet<String> {
            let key = |row: &&Value| keys.iter().map(|name| row[name].clone()).collect();
            let rows = outcome.of_dataset(dataset);
            rows.iter()
                .map(|row| Value::Array(key(row)).to_string())
                .collect()
        };
        assert_eq!(keys_of(&places.here), keys_of(&places.there));
    }
    Ok(())
}

/// Returns the described columns of a tracer.
fn columns(entry: &Entry) -> Vec<String> {
    columns_where(entry.tracer, |_| true)
}

/// Returns a JSON value as CSV writes it; `None` for lists, which CSV writes in another form.
fn as_csv(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

pub(crate) fn table_and_csv_have_the_rows_of_json(suite: &Suite) -> Checked {
    let (entry, places) = (suite.entry, suite.places());
    let rows = &places.here.rows;
    let mut reader = csv::Reader::from_reader(places.csv.as_bytes());
    let head: Vec<String> = reader.headers().unwrap().iter().map(Into::into).collect();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), rows.len(), "{}", places.csv);
    for (row, record) in rows.iter().zip(&records) {
        for column in columns(entry) {
            let at = head.iter().position(|name| *name == column);
            let field = &record[at.unwrap_or_else(|| panic!("no {column} in {head:?}"))];
            match as_csv(&row[&column]) {
                Some(text) => assert_eq!(field, text, "{column} of {row}"),
                // Only an empty list is an empty field.
                None => {
                    let is_empty = row[&column] == json!([]) || row[&column] == json!({});
                    assert_eq!(field.is_empty(), is_empty, "{column} of {row}");
                }
            }
        }
    }
    // The tables of further datasets follow, each after an empty line and under its name.
    let mut tables = places.table.split("\n\n");
    let lines: Vec<&str> = tables.next().unwrap().lines().collect();
    assert_eq!(lines.len(), rows.len() + 1, "{}", places.table);
    for (further, (dataset, _)) in tables.zip(entry.also) {
        let lines: Vec<&str> = further.lines().collect();
        assert_eq!(lines[0], format!("{dataset}:"));
        let rows = places.here.of_dataset(dataset);
        assert_eq!(lines.len(), rows.len() + 2, "{}", places.table);
    }
    if let Some(column) = entry.identity.process {
        let heads: Vec<&str> = lines[0].split_whitespace().collect();
        assert!(heads.contains(&&*column.to_uppercase()), "{heads:?}");
        for row in rows {
            let (value, words) = (row[column].to_string(), |line: &&str| {
                line.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            });
            let is_there = lines.iter().any(|line| words(line).contains(&value));
            assert!(is_there, "no {value} in {}", places.table);
        }
    }
    Ok(())
}

pub(crate) fn rows_have_the_columns_that_are_described(suite: &Suite) -> Checked {
    let (entry, places) = (suite.entry, suite.places());
    let columns = columns(entry);
    for outcome in [&places.here, &places.there] {
        assert!(!outcome.rows.is_empty());
        for row in &outcome.rows {
            let row = row.as_object().unwrap();
            for column in &columns {
                assert!(row.contains_key(column), "no {column} in {row:?}");
            }
            // Keys that follow a column: docs/output.md.
            let is_described = |name: &str| {
                let more = ["_error", "_cut"].iter();
                let base = more.filter_map(|more| name.strip_suffix(more)).next();
                [Some(name), base]
                    .into_iter()
                    .flatten()
                    .any(|name| columns.iter().any(|column| column == name))
            };
            let unknown: Vec<_> = row.keys().filter(|name| !is_described(name)).collect();
            assert!(unknown.is_empty(), "{unknown:?} of {row:?}");
        }
    }
    for row in places.here.further.iter().chain(&places.there.further) {
        let columns = columns_of(entry.tracer, row["dataset"].as_str().unwrap(), |_| true);
        for column in &columns {
            assert!(!row[column].is_null(), "no {column} in {row:?}");
        }
        assert_eq!(row.as_object().unwrap().len(), columns.len() + 1, "{row:?}");
    }
    let identity = [
        entry.identity.process,
        entry.identity.thread,
        entry.identity.in_namespace,
        entry.identity.cgroup,
    ];
    for column in identity.into_iter().flatten() {
        assert!(columns.iter().any(|name| name == column), "no {column}");
    }
    Ok(())
}

fn command(args: &[&str]) -> Output {
    tests::tracejob(args).output().unwrap()
}

pub(crate) fn help_shows_every_option_and_an_unknown_one_is_refused(suite: &Suite) -> Checked {
    let tracer = suite.entry.tracer;
    let help = command(&["run", tracer, "--help"]);
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    let description = described(tracer);
    let options = description["options"].as_array().unwrap().iter();
    let flags: Vec<&str> = options
        .filter_map(|option| option["flag"].as_str())
        .collect();
    for flag in ["--pid", "--duration", "--output"].iter().chain(&flags) {
        assert!(help.contains(flag), "no {flag} in {help}");
    }
    let refused = command(&["run", tracer, "--no-such-option", "--", "true"]);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--no-such-option"), "{stderr}");
    // The error names the options that exist.
    for flag in flags {
        assert!(stderr.contains(flag), "no {flag} in {stderr}");
    }
    Ok(())
}

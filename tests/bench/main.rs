//! TraceJob beside its peers, on workloads that this program starts: `cargo xtask bench` fetches the peers, builds all of it optimised, and
//! runs it as root.
//!
//! BENCH_PEERS is the folder of the peers, BENCH_QUICK only checks that all of it runs and the counts agree, BENCH_ROWS names rows by
//! number, BENCH_ROUNDS is the number of rounds; BENCH_BESIDE is another build of `tracejob`, which is measured beside this one; BENCH_JSON and BENCH_MD are where the report goes.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what cannot be measured is a panic"
)]

mod contest;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../agent/daemon.rs"]
mod daemon;
mod idle;
mod peers;
mod rates;
mod report;
mod rows;
mod starts;
mod stats;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../agent/tally.rs"]
mod tally;

use peers::Peers;
use report::Section;
use serde_json::{Value, json};
use starts::call;
use std::{fs, process::ExitCode};

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let quick = std::env::var_os("BENCH_QUICK").is_some();
    let wanted = std::env::var("BENCH_ROWS").unwrap_or_default();
    let wanted: Vec<usize> = wanted
        .split(',')
        .filter_map(|row| row.parse().ok())
        .collect();
    let is_wanted = |row: usize| wanted.is_empty() || wanted.contains(&row);
    let rounds = number("BENCH_ROUNDS").unwrap_or(if quick { 1 } else { 7 });
    let peers: &'static Peers = Box::leak(Box::new(Peers::find()));
    let (machine, machine_json) = machine(peers);
    let mut sections: Vec<Section> = Vec::new();
    for (at, row) in rows::ROWS
        .iter()
        .enumerate()
        .filter(|(at, _)| is_wanted(at + 1))
    {
        let progress = |what: &str| eprintln!("{}. {}: {what}", at + 1, row.title);
        sections.push(rows::run(row, peers, rounds, quick, &progress));
    }
    let further = rows::ROWS.len();
    if is_wanted(further + 1) {
        eprintln!("{}. end to end", further + 1);
        sections.push(rates::section(peers, quick).await);
    }
    if is_wanted(further + 2) {
        eprintln!("{}. starts, memory, sizes", further + 2);
        sections.push(starts::section(peers, quick).await);
    }
    if is_wanted(further + 3) {
        eprintln!(
            "{}. idle traces, and the first row after a pause",
            further + 3
        );
        sections.push(idle::section(peers, quick).await);
    }
    let bodies: Vec<&str> = sections
        .iter()
        .map(|section| section.markdown.as_str())
        .collect();
    let text = format!("{machine}\n{}", bodies.join("\n"));
    println!("{text}");
    let rows: Vec<&Value> = sections.iter().map(|section| &section.json).collect();
    let all = json!({ "machine": machine_json, "quick": quick, "rows": rows });
    let pretty = serde_json::to_string_pretty(&all).unwrap() + "\n";
    for (name, text) in [("BENCH_JSON", &pretty), ("BENCH_MD", &text)] {
        if let Some(path) = std::env::var_os(name) {
            fs::write(path, text).unwrap();
        }
    }
    let wrong: Vec<&String> = sections.iter().flat_map(|section| &section.wrong).collect();
    for what in &wrong {
        eprintln!("WRONG: {what}");
    }
    match wrong.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Where this is measured.
fn machine(peers: &Peers) -> (String, Value) {
    let system = rustix::system::uname();
    let kernel = system.release().to_string_lossy().into_owned();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    let versions = peers.versions();
    let named: Vec<String> = versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "TraceJob {version} on Linux {kernel}, {cpus} CPUs ({model}); compared with {}.\n",
        if named.is_empty() {
            "no peers".to_owned()
        } else {
            named.join(", ")
        }
    );
    let json = json!({ "version": version, "kernel": kernel, "cpus": cpus, "model": model, "peers": versions });
    (text, json)
}

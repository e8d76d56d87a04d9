//! What the daemon costs and carries, measured on this machine: `cargo xtask figures` builds it optimised and runs it.
//!
//! It traces only workloads that it starts, as root. A table for people, and JSON where FIGURES_JSON says.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what cannot be measured is a panic"
)]

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../agent/daemon.rs"]
mod daemon;
mod rates;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../agent/tally.rs"]
mod tally;

use daemon::{Daemon, spec};
use proto::v1;
use serde_json::{Value, json};
use std::{
    fs,
    time::{Duration, Instant},
};
use tests::{Workload, resident};

/// Starts that are measured.
const STARTS: usize = 20;
/// Traces at once.
const TRACES: usize = 20;
/// How long idle CPU is measured.
const IDLE: Duration = Duration::from_secs(10);

fn call(spec: v1::TraceSpec) -> v1::TraceRequest {
    v1::TraceRequest {
        request: Some(v1::trace_request::Request::Start(spec)),
    }
}

/// One line: what, how much as people read it, and as programs do.
struct Figure {
    what: String,
    shown: String,
    json: Value,
}

fn figure(what: &str, shown: String, json: Value) -> Figure {
    Figure {
        what: what.to_owned(),
        shown,
        json,
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut figures = machine();
    figures.extend(starts().await);
    figures.extend(idle().await);
    figures.extend(rates::rates().await);
    figures.extend(sizes());
    let wide = figures.iter().map(|one| one.what.len()).max().unwrap_or(0);
    for Figure { what, shown, .. } in &figures {
        println!("{what:wide$}  {shown}");
    }
    if let Some(path) = std::env::var_os("FIGURES_JSON") {
        let all = figures.into_iter().map(|one| (one.what, one.json));
        let text = serde_json::to_string_pretty(&Value::Object(all.collect())).unwrap();
        fs::write(path, text + "\n").unwrap();
    }
}

/// Where this was measured.
fn machine() -> Vec<Figure> {
    let system = rustix::system::uname();
    let kernel = system.release().to_string_lossy().into_owned();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    let version = env!("CARGO_PKG_VERSION");
    vec![
        figure("version", version.to_owned(), json!(version)),
        figure("kernel", kernel.clone(), json!(kernel)),
        figure("cpus", format!("{cpus} of {model}"), json!(cpus)),
    ]
}

/// From the call to the schema, which says that all is attached, and to the first row; of a process that is busy already.
async fn starts() -> Vec<Figure> {
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&["open-paced", "600", "1000", "/dev/null"]);
    workload.go();
    let (mut attached, mut first) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let mut client = daemon.client().await;
        let began = Instant::now();
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(call(spec("open", &workload))).await.unwrap();
        let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut stream = client.trace(messages).await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        attached.push(began.elapsed());
        stream.message().await.unwrap().unwrap();
        first.push(began.elapsed());
    }
    workload.kill();
    vec![
        times("start to attached", &mut attached),
        times("start to first event", &mut first),
    ]
}

fn times(what: &str, times: &mut [Duration]) -> Figure {
    times.sort_unstable();
    let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
    let (median, most) = (ms(times[times.len() / 2]), ms(*times.last().unwrap()));
    let shown = format!("{median} ms, at most {most} ms, of {}", times.len());
    figure(what, shown, json!({ "median_ms": median, "most_ms": most }))
}

/// Memory and CPU of an agent without traces, and with those that see nothing.
async fn idle() -> Vec<Figure> {
    let daemon = Daemon::start("").await;
    // The first connection is no longer new.
    daemon.traces().await;
    let mut figures = vec![
        memory("memory idle", &daemon, 0),
        cpu("CPU idle", &daemon).await,
    ];
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let mut client = daemon.client().await;
    for n in 0..TRACES {
        let start = v1::StartTraceRequest {
            uid: format!("trace-{n}"),
            generation: 1,
            spec: Some(spec("open", &workload)),
        };
        client.start_trace(start).await.unwrap();
    }
    let told = async |daemon: &Daemon| {
        let traces = daemon.traces().await;
        traces.iter().all(|trace| kernel_bytes(trace) > 0)
    };
    daemon.until("every trace to tell of itself", told).await;
    let kernel = daemon.traces().await.iter().map(kernel_bytes).sum();
    figures.push(memory(&format!("memory, {TRACES} traces"), &daemon, kernel));
    figures.push(cpu(&format!("CPU, {TRACES} idle traces"), &daemon).await);
    figures
}

fn kernel_bytes(trace: &v1::TraceStatus) -> u64 {
    let account = trace.account.as_ref();
    account
        .and_then(|account| account.cost.as_ref())
        .map_or(0, |cost| cost.kernel_bytes)
}

fn memory(what: &str, daemon: &Daemon, kernel: u64) -> Figure {
    let process = resident(daemon.pid()).unwrap() as f64 / 1024.0;
    let kernel = kernel as f64 / f64::from(1 << 20);
    let shown = match kernel > 0.0 {
        true => format!("{process:.1} MiB, and {kernel:.1} MiB in the kernel"),
        false => format!("{process:.1} MiB"),
    };
    let json = json!({ "process_mib": process, "kernel_mib": kernel });
    figure(what, shown, json)
}

async fn cpu(what: &str, daemon: &Daemon) -> Figure {
    let before = ticks(daemon.pid());
    tokio::time::sleep(IDLE).await;
    let seconds =
        (ticks(daemon.pid()) - before) as f64 / rustix::param::clock_ticks_per_second() as f64;
    let percent = seconds / IDLE.as_secs_f64() * 100.0;
    figure(
        what,
        format!("{percent:.2} % of one CPU"),
        json!({ "percent": percent }),
    )
}

/// CPU time of a process, all its threads: fields 14 and 15 of its stat, proc_pid_stat(5).
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields[11..13]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum()
}

/// Programs on disk, as a package would have them: without debug information.
fn sizes() -> Vec<Figure> {
    let size = |name: &str| {
        let program = tests::program(name);
        let bare = tests::folder().join(name);
        let stripped = std::process::Command::new("strip")
            .arg("-o")
            .args([&bare, &program])
            .status();
        let file = match stripped.is_ok_and(|status| status.success()) {
            true => &bare,
            false => &program,
        };
        let bytes = fs::metadata(file).unwrap().len();
        let how = if file == &bare {
            "stripped"
        } else {
            "with debug information"
        };
        let _ = fs::remove_dir_all(bare.parent().unwrap());
        let shown = format!("{:.1} MiB, {how}", bytes as f64 / f64::from(1 << 20));
        figure(
            &format!("size of {name}"),
            shown,
            json!({ "bytes": bytes, "how": how }),
        )
    };
    ["tracejob", "tracejob-agent"].map(size).into()
}

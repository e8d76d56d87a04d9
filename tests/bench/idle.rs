//! What traces take that see nothing, and how soon the first row is there after a pause.

use crate::{
    contest::{BESIDE, beside, other_build, ours},
    daemon::{Daemon, spec},
    peers::Peers,
    report::{Goal, Section},
    starts::{Figure, TRACES, call, figure, in_terminal},
    stats::median,
};
use proto::v1::{self, stream_events_response::Item};
use serde_json::json;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};
use tests::Workload;

/// The most that idle traces may take, % of a CPU.
const CPU: f64 = 0.5;
/// How late a first row may be, ms.
const LATE: f64 = 20.0;
/// How a tool that prints a line for each file that a process opens is started.
type Start = dyn Fn(u32) -> Result<Command, String>;

/// The row.
pub(crate) async fn section(peers: &'static Peers, quick: bool) -> Section {
    let time = Duration::from_secs(if quick { 1 } else { 10 });
    let rows = if quick { 3 } else { 40 };
    let tracejob = |pid: u32| (ours("tracejob", &["open"]).command)(pid, Path::new(""));
    let opensnoop =
        move |pid: u32| peers.command("opensnoop-libbpf", &["-p".to_owned(), pid.to_string()]);
    let bpftrace = move |pid: u32| {
        let program = format!(
            "tracepoint:syscalls:sys_enter_openat /pid == {pid}/ {{ printf(\"%s\\n\", str(args.filename)); }}"
        );
        peers.command("bpftrace", &["-e".to_owned(), program])
    };
    let mut figures = Vec::new();
    let agent = agent_cpu("open", time).await;
    let of_tables = agent_cpu("syscall_count", time).await;
    for (what, percents) in [("", agent), (" that keep a table", of_tables)] {
        let what = format!("{TRACES} idle traces of one agent{what}, CPU");
        figures.push(percent(&what, Ok(percents)));
    }
    let other = other_build().map(|build| beside(ours("tracejob", &["open"]), build));
    let other = other.map(|tool| move |pid: u32| (tool.command)(pid, Path::new("")));
    let mut tools: Vec<(&str, &Start, usize)> = vec![
        ("tracejob", &tracejob, TRACES),
        ("opensnoop", &opensnoop, TRACES),
        // One takes 100 MiB.
        ("bpftrace", &bpftrace, 1),
    ];
    if let Some(other) = &other {
        tools.insert(1, (BESIDE, other, TRACES));
    }
    for (name, start, count) in tools.iter().copied() {
        let what = format!("{count} idle `{name}`, CPU");
        figures.push(percent(&what, cpu(start, count, time)));
    }
    let agent_row = agent_rows(rows).await;
    figures.push(latency(
        "agent to a client, first row after a pause",
        Ok(agent_row.as_slice()),
    ));
    let mut wrong = Vec::new();
    for (name, start, _) in tools {
        let times = first_rows(start, rows);
        let what = format!("`{name}`, first row after a pause");
        figures.push(latency(&what, times.as_deref().map_err(Clone::clone)));
        if name == "tracejob" {
            wrong.extend(times.err());
        }
    }
    let typical = median(&agent_row);
    let goals = [
        Goal {
            wanted: format!("{TRACES} idle traces of an agent take at most {CPU} % of a CPU"),
            is: format!("{agent:.2} %"),
            reached: Some(agent <= CPU),
        },
        Goal {
            wanted: format!("the first row {LATE} ms after its event"),
            is: format!("{typical:.1} ms"),
            reached: Some(typical <= LATE),
        },
    ];
    let about = "Traces of files that one process opens, which it does not; then it opens one after each pause of 100 to 300 ms.";
    let mut section = Section::figures(
        "Idle traces, and the first row after a pause",
        about,
        &figures,
        &goals,
        quick,
    );
    section.wrong.extend(wrong);
    section
}

fn percent(what: &str, outcome: Result<f64, String>) -> Figure {
    match outcome {
        Ok(percent) => figure(
            what,
            format!("{percent:.2} % of one CPU"),
            json!({ "percent": percent }),
        ),
        Err(why) => refused(what, &why),
    }
}

fn latency(what: &str, outcome: Result<&[f64], String>) -> Figure {
    match outcome {
        Ok(times) => {
            let (median, most) = (median(times), times.iter().copied().fold(0.0, f64::max));
            let shown = format!("{median:.2} ms, at most {most:.2} ms, of {}", times.len());
            figure(what, shown, json!({ "median_ms": median, "most_ms": most }))
        }
        Err(why) => refused(what, &why),
    }
}

fn refused(what: &str, why: &str) -> Figure {
    figure(
        what,
        format!("could not run: {why}"),
        json!({ "refused": why }),
    )
}

/// CPU time of a process and what it started, ns: /proc/PID/schedstat of each thread (Documentation/scheduler/sched-stats.rst).
fn cpu_ns(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter();
    let threads = threads.flatten().flatten().map(|thread| thread.path());
    let time = |thread: &Path| {
        let times = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
        let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        let own: u64 = times
            .split(' ')
            .next()
            .unwrap_or_default()
            .parse()
            .unwrap_or(0);
        own + children.map(cpu_ns).sum::<u64>()
    };
    threads.map(|thread| time(&thread)).sum()
}

/// % of a CPU that processes take in that time.
fn percent_of(pids: &[u32], time: Duration) -> f64 {
    let all = || pids.iter().copied().map(cpu_ns).sum::<u64>();
    let (before, began) = (all(), Instant::now());
    std::thread::sleep(time);
    (all() - before) as f64 / began.elapsed().as_nanos() as f64 * 100.0
}

/// That of an agent with traces that see nothing.
async fn agent_cpu(tracer: &str, time: Duration) -> f64 {
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let mut client = daemon.client().await;
    for n in 0..TRACES {
        let start = v1::StartTraceRequest {
            uid: format!("trace-{n}"),
            generation: 1,
            spec: Some(spec(tracer, &workload)),
        };
        client.start_trace(start).await.unwrap();
    }
    let have_cost = async |daemon: &Daemon| {
        let traces = daemon.traces().await;
        traces.iter().all(|trace| trace.account.is_some())
    };
    daemon.until("the status of every trace", have_cost).await;
    let pid = daemon.pid();
    tokio::task::spawn_blocking(move || percent_of(&[pid], time))
        .await
        .unwrap()
}

/// What opens a file for each byte that it is sent.
fn opener() -> Workload {
    Workload::behind_gate(&["open-per-byte", "1", "/dev/null"])
}

/// A pause before the n-th row: 100 to 300 ms.
fn pause(n: usize) -> Duration {
    Duration::from_millis(100 + (n as u64 * 67) % 200)
}

/// A tool in a terminal of its own, and when it showed a file.
struct Shown {
    child: Child,
    at: Receiver<Instant>,
}

impl Shown {
    /// Starts it, and has the workload open files until it shows one.
    fn start(start: &Start, workload: &mut Workload) -> Result<Self, String> {
        let errors = tests::folder().join("err");
        let (child, terminal) = in_terminal(start(workload.pid())?, &errors)?;
        let (sender, at) = channel();
        // It ends with the terminal.
        std::thread::spawn(move || {
            let lines = BufReader::new(terminal).lines().map_while(Result::ok);
            for _ in lines.filter(|line| line.contains("/dev/null")) {
                let _ = sender.send(Instant::now());
            }
        });
        let mut shown = Self { child, at };
        let end = Instant::now() + Duration::from_secs(30);
        while shown.at.recv_timeout(Duration::from_millis(100)).is_err() {
            if shown.child.try_wait().unwrap().is_some() || Instant::now() > end {
                let stderr = fs::read_to_string(&errors).unwrap_or_default();
                return Err(format!("it shows nothing: {stderr}"));
            }
            workload.go();
        }
        // What was opened meanwhile.
        while shown.at.recv_timeout(Duration::from_millis(300)).is_ok() {}
        Ok(shown)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU usage of several processes of a tool together while they see no events, in %.
fn cpu(start: &Start, count: usize, time: Duration) -> Result<f64, String> {
    let mut workload = opener();
    workload.go();
    let shown = (0..count).map(|_| Shown::start(start, &mut workload));
    let shown = shown.collect::<Result<Vec<_>, _>>()?;
    let pids: Vec<u32> = shown.iter().map(|shown| shown.child.id()).collect();
    Ok(percent_of(&pids, time))
}

/// ms from an event after a pause to the line that shows it.
fn first_rows(start: &Start, rows: usize) -> Result<Vec<f64>, String> {
    let mut workload = opener();
    workload.go();
    let shown = Shown::start(start, &mut workload)?;
    let mut times = Vec::new();
    for n in 0..rows {
        std::thread::sleep(pause(n));
        let began = Instant::now();
        workload.go();
        let at = shown.at.recv_timeout(Duration::from_secs(10));
        let at = at.map_err(|_| "it does not show a file that was opened".to_owned())?;
        times.push((at - began).as_secs_f64() * 1000.0);
    }
    Ok(times)
}

/// The same from an agent to its client.
async fn agent_rows(rows: usize) -> Vec<f64> {
    let daemon = Daemon::start("").await;
    let mut workload = opener();
    workload.go();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(call(spec("open", &workload))).await.unwrap();
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut client = daemon.client().await;
    let mut stream = client.trace(messages).await.unwrap().into_inner();
    // Its schema: all is attached.
    stream.message().await.unwrap().unwrap();
    let mut times = Vec::new();
    for n in 0..rows {
        tokio::time::sleep(pause(n)).await;
        let began = Instant::now();
        workload.go();
        loop {
            let message = stream.message().await.unwrap().unwrap();
            if matches!(message.item, Some(Item::Batch(_))) {
                break;
            }
        }
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    times
}

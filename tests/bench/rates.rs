//! How many events a second come through, from the kernel over the socket to a client, and from which rate on some are lost.

use crate::{
    contest::{Output, Running, Tool, beside, delivered, other_build, ours},
    daemon::{Daemon, spec},
    peers::Peers,
    report::{Goal, Section},
    rows::bpftrace_lines,
    starts::figure,
    stats::median,
    tally::Tally,
};
use proto::v1;
use serde_json::json;
use std::{fs, path::Path, process::Command, time::Instant};
use tests::{Workload, resident};

/// How long each rate is kept up.
const SECONDS: u64 = 3;
/// Load of opened files, slowest first: one thread at a rate per second, or a number of threads at their maximum rate.
const LOADS: [Load; 6] = [
    Load::Paced(100_000),
    Load::Paced(200_000),
    Load::Paced(400_000),
    Load::Threads(1),
    Load::Threads(2),
    Load::Threads(3),
];

#[derive(Clone, Copy)]
enum Load {
    Paced(u64),
    Threads(u64),
}

/// What came of a rate.
struct Outcome {
    produced: u64,
    delivered: u64,
    lost: u64,
    /// Delivered, and too late for the one reader.
    gaps: u64,
}

/// The row.
pub(crate) async fn section(peers: &'static Peers, quick: bool) -> Section {
    let (mut figures, mut best, mut clean) = (Vec::new(), 0, true);
    let loads = if quick { &LOADS[..1] } else { &LOADS[..] };
    let seconds = if quick { 1 } else { SECONDS };
    for load in loads {
        let outcome = under(*load, seconds).await;
        let Outcome {
            produced,
            delivered,
            lost,
            gaps,
        } = outcome;
        // To the unit: whatever is not delivered is counted.
        assert_eq!(produced, delivered + lost);
        clean &= lost == 0 && gaps == 0;
        let per_second = produced / seconds;
        if clean {
            best = best.max(per_second);
        }
        let what = match load {
            Load::Paced(rate) => format!("agent to a client, {rate} files opened a second"),
            Load::Threads(1) => {
                "agent to a client, one thread that opens files without a pause".to_owned()
            }
            Load::Threads(threads) => {
                format!("agent to a client, {threads} threads that open files without a pause")
            }
        };
        let received = delivered - gaps;
        let shown = format!(
            "{per_second} produced a second, {} received, {:.2} % lost, {:.2} % in gaps",
            received / seconds,
            percent(lost, produced),
            percent(gaps, produced),
        );
        let json = json!({
            "produced": produced, "delivered": delivered, "received": received, "lost": lost, "gap_rows": gaps,
            "seconds": seconds,
        });
        figures.push(figure(&what, shown, json));
    }
    figures.push(figure(
        "agent to a client, without loss",
        format!("{best} a second: the highest rate below the first rate with a loss"),
        json!(best),
    ));
    let calls = if quick { 50_000 } else { 2_000_000 };
    let repeated = if quick { 1 } else { 5 };
    let mut agent = Vec::new();
    for _ in 0..repeated {
        agent.push(through_the_agent(calls).await);
    }
    let agent = median(&agent);
    let tracejob = || ours("tracejob", &["open", "-o", "json"]);
    let rate = |tool: Tool| {
        let command = |pid| (tool.command)(pid, Path::new(""));
        outside(command, delivered, calls, repeated)
    };
    let here = rate(tracejob());
    let other = other_build().map(|build| rate(beside(tracejob(), build)));
    let program = "tracepoint:syscalls:sys_enter_openat /pid == {pid}/ { printf(\"%d %s %s\\n\", pid, comm, str(args.filename)); }";
    let bpftrace = outside(
        |pid| {
            let args = ["-f", "json", "-e", program];
            let args = args.map(|arg| arg.replace("{pid}", &pid.to_string()));
            peers.command("bpftrace", &args)
        },
        bpftrace_lines,
        calls,
        repeated,
    );
    let shown = |rate: &Result<f64, String>| match rate {
        Ok(rate) => (format!("{rate:.0} a second"), json!(rate)),
        Err(why) => (format!("could not run: {why}"), json!({ "refused": why })),
    };
    let agent_rate = Ok(agent);
    let rates = [
        ("agent to a client", Some(&agent_rate)),
        ("`tracejob run -o json` to a file", Some(&here)),
        ("the other `tracejob run -o json` to a file", other.as_ref()),
        ("`bpftrace -f json` to a file", Some(&bpftrace)),
    ];
    for (what, rate) in { rates.into_iter() }.filter_map(|(what, rate)| Some((what, rate?))) {
        let (shown, json) = shown(rate);
        figures.push(figure(
            &format!("events that fail to open, end to end: {what}"),
            shown,
            json,
        ));
    }
    let (before, most, rows) = stopped_reader(if quick { 20_000 } else { 2_000_000 }).await;
    figures.push(figure(
        &format!("agent's memory with a stopped reader, while another received {rows} rows"),
        format!("{before:.1} MiB before, {most:.1} MiB at most"),
        json!({ "before_mib": before, "most_mib": most, "rows": rows }),
    ));
    let times = bpftrace.as_ref().ok().map(|other| agent / other);
    let goals = [
        Goal {
            wanted: "a million events a second from agent to client".to_owned(),
            is: format!("{agent:.0}"),
            reached: Some(agent >= 1e6),
        },
        Goal {
            wanted: "five times as many as bpftrace -f json".to_owned(),
            is: times.map_or_else(
                || "not measured".to_owned(),
                |times| format!("{times:.1} ×"),
            ),
            reached: times.map(|times| times >= 5.0),
        },
        Goal {
            wanted: "at most 16 MiB more with a stopped reader".to_owned(),
            is: format!("{:.1} MiB", most - before),
            reached: Some(most - before <= 16.0),
        },
    ];
    let about = "Workload, agent and client share two CPUs. The end-to-end rate is the number of rows received, divided by the time from the first call to the last row.";
    Section::figures("Events end to end", about, &figures, &goals, quick)
}

/// Events a second that a client of an agent got.
async fn through_the_agent(calls: u64) -> f64 {
    let daemon = Daemon::start("").await;
    let times = calls.to_string();
    let mut workload = Workload::behind_gate(&["open-missing", &times, "1"]);
    let start = v1::StartTraceRequest {
        uid: "a".to_owned(),
        generation: 1,
        spec: Some(spec("open", &workload)),
    };
    daemon.client().await.start_trace(start).await.unwrap();
    let mut reader = Tally::follow(&daemon, "a").await;
    let began = Instant::now();
    workload.go();
    let account = reader.read_all().await.unwrap().clone();
    let took = began.elapsed();
    workload.wait();
    let lost: u64 = account.lost.iter().map(|stage| stage.events).sum();
    assert!(account.produced >= calls, "{account:?}");
    assert_eq!(account.produced, account.delivered + lost);
    reader.rows as f64 / took.as_secs_f64()
}

/// Events a second that a tool wrote.
fn outside(
    command: impl Fn(u32) -> Result<Command, String>,
    saw: fn(&Output) -> Option<(u64, u64)>,
    calls: u64,
    repeated: usize,
) -> Result<f64, String> {
    let mut rates = Vec::new();
    for _ in 0..repeated {
        let mut workload = Workload::behind_gate(&["open-missing", &calls.to_string(), "1"]);
        let running = Running::start(command(workload.pid())?, workload.pid())?;
        let began = Instant::now();
        workload.finish();
        let (output, folder) = running.stop();
        let took = began.elapsed();
        let (seen, _) = saw(&output).ok_or("its output has no count of events")?;
        rates.push(seen as f64 / took.as_secs_f64());
        let _ = fs::remove_dir_all(folder);
    }
    Ok(median(&rates))
}

/// The agent's memory before and at most, MiB, while one reader does not read and another receives every row; and the number of rows.
async fn stopped_reader(calls: u64) -> (f64, f64, u64) {
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&["open-missing", &calls.to_string(), "1"]);
    let start = v1::StartTraceRequest {
        uid: "a".to_owned(),
        generation: 1,
        spec: Some(spec("open", &workload)),
    };
    daemon.client().await.start_trace(start).await.unwrap();
    let mut stopped = Tally::follow(&daemon, "a").await;
    let mut other = Tally::follow(&daemon, "a").await;
    let mib = || resident(daemon.pid()).map(|kib| kib as f64 / 1024.0);
    let before = mib().unwrap();
    let mut most = before;
    workload.go();
    let mut next = calls / 20;
    // On a machine that is busy with others some are lost, and counted.
    while other.next().await.unwrap() {
        if other.rows + other.gap_rows >= next {
            next += calls / 20;
            most = most.max(mib().unwrap());
        }
    }
    let rows = other.read_all().await.unwrap().delivered;
    most = most.max(mib().unwrap());
    workload.wait();
    stopped.read_all().await.unwrap();
    assert_eq!(stopped.rows + stopped.gap_rows, rows);
    (before, most, rows)
}

fn percent(of: u64, all: u64) -> f64 {
    of as f64 * 100.0 / all.max(1) as f64
}

async fn under(load: Load, seconds: u64) -> Outcome {
    let daemon = Daemon::start("").await;
    let (step, much) = match load {
        Load::Paced(rate) => ("open-paced", rate),
        Load::Threads(threads) => ("open-storm", threads),
    };
    let (seconds, much) = (seconds.to_string(), much.to_string());
    let mut workload = Workload::behind_gate(&[step, &seconds, &much, "/dev/null"]);
    let start = v1::StartTraceRequest {
        uid: "a".to_owned(),
        generation: 1,
        spec: Some(spec("open", &workload)),
    };
    daemon.client().await.start_trace(start).await.unwrap();
    let mut reader = Tally::follow(&daemon, "a").await;
    workload.go();
    let account = reader.read_all().await.unwrap().clone();
    workload.wait();
    let stages = account.lost.iter();
    Outcome {
        produced: account.produced,
        delivered: account.delivered,
        lost: stages.map(|stage| stage.events).sum(),
        gaps: reader.gap_rows,
    }
}

//! What a start takes and what the daemon weighs: time to the first event, memory and CPU with and without traces, sizes on disk.

use crate::{
    contest::ours,
    daemon::{Daemon, spec},
    peers::Peers,
    report::{Goal, Section},
    stats::median,
};
use proto::v1;
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tests::{Workload, resident};

/// Traces at once.
pub(crate) const TRACES: usize = 20;

pub(crate) fn call(spec: v1::TraceSpec) -> v1::TraceRequest {
    v1::TraceRequest {
        request: Some(v1::trace_request::Request::Start(spec)),
    }
}

/// One line: what, how much as people read it, and as programs do.
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) shown: String,
    pub(crate) json: Value,
}

pub(crate) fn figure(what: &str, shown: String, json: Value) -> Figure {
    Figure {
        what: what.to_owned(),
        shown,
        json,
    }
}

/// The row.
pub(crate) async fn section(peers: &'static Peers, quick: bool) -> Section {
    let starts = if quick { 1 } else { 10 };
    let mut figures = Vec::new();
    let ours = first_line(
        |pid| (ours("tracejob", &["open"]).command)(pid, Path::new("")),
        starts,
    );
    let peer = |program: &'static str, args: &'static [&'static str]| {
        first_line(
            |pid| {
                let args = args
                    .iter()
                    .map(|arg| arg.replace("{pid}", &pid.to_string()));
                peers.command(program, &args.collect::<Vec<_>>())
            },
            starts,
        )
    };
    let opensnoop = peer("opensnoop-libbpf", &["-p", "{pid}"]);
    let bpftrace = peer(
        "bpftrace",
        &[
            "-e",
            "tracepoint:syscalls:sys_enter_openat /pid == {pid}/ { printf(\"%s\\n\", str(args.filename)); }",
        ],
    );
    let ms = |outcome: &Result<f64, String>| match outcome {
        Ok(ms) => (format!("{ms:.0} ms"), json!(ms)),
        Err(why) => (format!("could not run: {why}"), json!({ "refused": why })),
    };
    for (name, outcome) in [
        ("tracejob", &ours),
        ("opensnoop", &opensnoop),
        ("bpftrace", &bpftrace),
    ] {
        let (shown, json) = ms(outcome);
        figures.push(figure(
            &format!("`{name}`, from its start to its first line"),
            shown,
            json,
        ));
    }
    figures.extend(daemon_starts(starts).await);
    let (idle, more) = idle(quick).await;
    figures.extend(more);
    figures.extend(sizes());
    let ratio = ours
        .as_ref()
        .ok()
        .zip(opensnoop.as_ref().ok())
        .map(|(ours, other)| ours / other);
    let goals = [
        Goal {
            wanted: "the first line no later than opensnoop's".to_owned(),
            is: ratio.map_or_else(
                || "not measured".to_owned(),
                |ratio| format!("{ratio:.2} × its time"),
            ),
            reached: ratio.map(|ratio| ratio <= 1.0),
        },
        Goal {
            wanted: "an idle agent below 30 MiB".to_owned(),
            is: format!("{idle:.1} MiB"),
            reached: Some(idle < 30.0),
        },
    ];
    let about = "Each tool is started in its own terminal, on a process that opens a file 1,000 times a second. Values are medians.";
    let mut section = Section::figures("Starts, memory and sizes", about, &figures, &goals, quick);
    section.wrong.extend(ours.err());
    section
}

/// Median time from the start of a tool to its first line of an open, ms.
fn first_line(
    command: impl Fn(u32) -> Result<Command, String>,
    starts: usize,
) -> Result<f64, String> {
    let mut workload = Workload::behind_gate(&["open-paced", "600", "1000", "/dev/null"]);
    workload.go();
    let mut times = Vec::new();
    for _ in 0..starts {
        let command = command(workload.pid())?;
        let errors = tests::folder().join("err");
        let began = Instant::now();
        let (mut child, terminal) = in_terminal(command, &errors)?;
        let mut lines = BufReader::new(terminal).lines();
        let first = lines.find(|line| {
            line.as_ref()
                .map_or(true, |line| line.contains("/dev/null"))
        });
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        child.kill().unwrap();
        child.wait().unwrap();
        let stderr = fs::read_to_string(&errors).unwrap_or_default();
        let _ = fs::remove_dir_all(errors.parent().unwrap());
        if !matches!(first, Some(Ok(_))) {
            return Err(stderr);
        }
    }
    workload.kill();
    Ok(median(&times))
}

/// Starts a tool in a terminal of its own, with its errors in a file.
pub(crate) fn in_terminal(mut command: Command, errors: &Path) -> Result<(Child, File), String> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    // The command keeps the terminal's other end open, and reading would not end: it is dropped here.
    let child = command
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null())
        .stdout(Stdio::from(slave))
        .stderr(File::create(errors).unwrap())
        .spawn()
        .map_err(|error| error.to_string())?;
    Ok((child, File::from(master)))
}

/// Times from the call to the schema, after which all is attached, and to the first row; of a busy process.
async fn daemon_starts(starts: usize) -> Vec<Figure> {
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&["open-paced", "600", "1000", "/dev/null"]);
    workload.go();
    let (mut attached, mut first) = (Vec::new(), Vec::new());
    for _ in 0..starts {
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
        times("agent, from a call to all attached", &mut attached),
        times(
            "agent, from a call to the first event at the client",
            &mut first,
        ),
    ]
}

fn times(what: &str, times: &mut [Duration]) -> Figure {
    times.sort_unstable();
    let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
    let (median, most) = (ms(times[times.len() / 2]), ms(*times.last().unwrap()));
    let shown = format!("{median} ms, at most {most} ms, of {}", times.len());
    figure(what, shown, json!({ "median_ms": median, "most_ms": most }))
}

/// Memory and CPU of an agent without traces, and with those that see nothing; first MiB without.
async fn idle(quick: bool) -> (f64, Vec<Figure>) {
    let time = Duration::from_secs(if quick { 1 } else { 10 });
    let daemon = Daemon::start("").await;
    // The first connection is no longer new.
    daemon.traces().await;
    let idle = resident(daemon.pid()).unwrap() as f64 / 1024.0;
    let mut figures = vec![
        memory("agent, memory idle", &daemon, 0),
        cpu("agent, CPU idle", &daemon, time).await,
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
    let have_updates = async |daemon: &Daemon| {
        let traces = daemon.traces().await;
        traces.iter().all(|trace| kernel_bytes(trace) > 0)
    };
    daemon.until("an update of every trace", have_updates).await;
    let kernel = daemon.traces().await.iter().map(kernel_bytes).sum();
    figures.push(memory(
        &format!("agent, memory with {TRACES} traces"),
        &daemon,
        kernel,
    ));
    figures.push(
        cpu(
            &format!("agent, CPU with {TRACES} idle traces"),
            &daemon,
            time,
        )
        .await,
    );
    (idle, figures)
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

async fn cpu(what: &str, daemon: &Daemon, time: Duration) -> Figure {
    let before = ticks(daemon.pid());
    tokio::time::sleep(time).await;
    let seconds =
        (ticks(daemon.pid()) - before) as f64 / rustix::param::clock_ticks_per_second() as f64;
    let percent = seconds / time.as_secs_f64() * 100.0;
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

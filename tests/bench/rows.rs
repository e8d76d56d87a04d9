//! The rows: which workload, which tools, and what is wanted of the numbers.

use crate::{
    contest::{
        Contest, Measured, Output, Standing, bare, beside, delivered, other_build, ours, peer,
    },
    peers::Peers,
    report::{Goal, Section},
};
use serde_json::Value;

/// A row by its number.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    /// What a call of it is.
    pub(crate) unit: &'static str,
    /// Measurement, and its tool.
    pub(crate) about: &'static str,
    pub(crate) contest: fn(&'static Peers) -> Contest,
    pub(crate) goals: fn(&Standing) -> Vec<Goal>,
    /// Whether every event must be seen by ours.
    pub(crate) all_seen: bool,
}

pub(crate) const ROWS: [Row; 9] = [
    Row {
        title: "Tax on a process that is not traced",
        unit: "getppid(2)",
        about: "The tools count another process's system calls.",
        contest: tax,
        goals: |standing| {
            vec![
                Goal::ratio(standing, OURS, "syscount", 0.8),
                Goal::ratio(standing, OURS, EMPTY, 1.1),
            ]
        },
        all_seen: true,
    },
    Row {
        title: "System calls counted, with a histogram of their latency",
        unit: "getppid(2)",
        about: "`syscount` counts without latencies, `syscount -L` sums them without a histogram.",
        contest: counts,
        goals: |standing| vec![Goal::ratio(standing, OURS, "syscount -L", 0.5)],
        all_seen: true,
    },
    Row {
        title: "Files opened, each as JSON",
        unit: "openat(2) and close(2)",
        about: "Every open with its path, to a file in memory. `perf record` writes binary records without a path that the kernel resolved, and no program reads them.",
        contest: opens,
        goals: |standing| vec![Goal::ratio(standing, OURS, "opensnoop", 0.15)],
        all_seen: true,
    },
    Row {
        title: "Programs executed",
        unit: "fork(2), execve(2) and wait4(2) of /bin/true",
        about: "Every exec with its arguments.",
        contest: execs,
        goals: |standing| vec![Goal::rate(standing, OURS, 0.97)],
        all_seen: true,
    },
    Row {
        title: "TCP connections",
        unit: "connection on loopback with 16 KiB each way, both ends in one process",
        about: "Both ends of each connection, with their bytes. Only rows with correct bytes count as seen.",
        contest: connections,
        goals: |standing| vec![Goal::ratio(standing, OURS, "tcplife", 1.0)],
        all_seen: true,
    },
    Row {
        title: "Page faults with user stacks",
        unit: "first write to a page",
        about: "Counted by stack; `perf record` writes every stack instead.",
        contest: faults,
        goals: |standing| vec![Goal::ratio(standing, OURS, "bpftrace", 0.7)],
        all_seen: true,
    },
    Row {
        title: "CPU time sampled at 99 Hz, with stacks",
        unit: "getppid(2)",
        about: "Samples of a busy process. How many there are is not known in advance.",
        contest: samples,
        goals: |standing| vec![Goal::ratio(standing, OURS, "perf record -g", 1.0)],
        all_seen: false,
    },
    Row {
        title: "Waits with user and kernel stacks",
        unit: "byte to another thread and back by pipes",
        about: "Two waits a call, which both threads spend off the CPU.",
        contest: waits,
        goals: |standing| vec![Goal::ratio(standing, OURS, "offcputime", 1.0)],
        all_seen: false,
    },
    Row {
        title: "Time in the run queue, as histograms",
        unit: "byte to another thread and back by pipes",
        about: "Two wake-ups a call.",
        contest: queue,
        goals: |standing| vec![Goal::ratio(standing, OURS, "runqlat", 1.0)],
        all_seen: false,
    },
];

const OURS: &str = "tracejob";
const EMPTY: &str = "empty programs";
const SYSCALLS: &[&str] = &["sys_enter", "sys_exit"];

fn step(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn tax(peers: &'static Peers) -> Contest {
    Contest {
        traced: false,
        tools: vec![
            bare(EMPTY, "empty-programs", SYSCALLS),
            ours(OURS, &["syscall_count", "-o", "json"]).reading(our_getppids),
            peer(
                peers,
                "syscount",
                "syscount-libbpf",
                &["-p", "{pid}"],
                getppids,
            ),
            peer(
                peers,
                "syscount -L",
                "syscount-libbpf",
                &["-L", "-p", "{pid}"],
                getppids,
            ),
            peer(peers, "bpftrace", "bpftrace", COUNT, bpftrace_count),
        ],
        ..counts(peers)
    }
}

/// A map's value that bpftrace prints at its end: `@: 1000`.
const COUNT: &[&str] = &[
    "-e",
    "tracepoint:raw_syscalls:sys_enter /pid == {pid} && args.id == 110/ { @ = count(); }",
];

fn counts(peers: &'static Peers) -> Contest {
    const HISTOGRAM: &[&str] = &[
        "-e",
        "tracepoint:raw_syscalls:sys_enter /pid == {pid}/ { @since[tid] = nsecs; } \
         tracepoint:raw_syscalls:sys_exit /@since[tid]/ { @ns[args.id] = hist(nsecs - @since[tid]); \
         if (args.id == 110) { @ = count(); } delete(@since[tid]); }",
    ];
    Contest {
        step: step(&["getppid", "50000"]),
        calls: 50_000,
        chunks: 20,
        traced: true,
        tools: vec![
            bare(EMPTY, "empty-programs", SYSCALLS),
            bare("programs that read the clock", "clock-programs", SYSCALLS),
            ours(OURS, &["syscall_count", "-o", "json"]).reading(our_getppids),
            peer(
                peers,
                "syscount",
                "syscount-libbpf",
                &["-p", "{pid}"],
                getppids,
            ),
            peer(
                peers,
                "syscount -L",
                "syscount-libbpf",
                &["-L", "-p", "{pid}"],
                getppids,
            ),
            peer(peers, "bpftrace", "bpftrace", HISTOGRAM, bpftrace_count),
            peer(
                peers,
                "perf trace -s",
                "perf",
                &["trace", "-s", "-p", "{pid}"],
                |_| None,
            )
            .slow(20),
            peer(
                peers,
                "strace -c",
                "strace",
                &["-c", "-p", "{pid}"],
                strace_getppids,
            )
            .slow(20),
        ],
    }
}

fn opens(peers: &'static Peers) -> Contest {
    const PRINT: &[&str] = &[
        "-f",
        "json",
        "-e",
        "tracepoint:syscalls:sys_enter_openat /pid == {pid}/ { printf(\"%d %s %s\\n\", pid, comm, str(args.filename)); }",
    ];
    Contest {
        step: step(&["open-times", "20000", "openat", "/dev/null", "0", "0"]),
        calls: 20_000,
        chunks: 20,
        traced: true,
        tools: vec![
            ours(OURS, &["open", "-o", "json"]),
            peer(
                peers,
                "opensnoop",
                "opensnoop-libbpf",
                &["-p", "{pid}"],
                but_a_header,
            ),
            peer(peers, "bpftrace -f json", "bpftrace", PRINT, bpftrace_lines),
            peer(
                peers,
                "perf record",
                "perf",
                &[
                    "record",
                    "-o",
                    "perf.data",
                    "-e",
                    "syscalls:sys_enter_openat",
                    "-p",
                    "{pid}",
                ],
                perf_samples,
            ),
            peer(
                peers,
                "strace",
                "strace",
                &["-e", "openat", "-p", "{pid}"],
                strace_lines,
            )
            .slow(20),
        ],
    }
}

fn execs(peers: &'static Peers) -> Contest {
    const ARGV: &[&str] = &[
        "-e",
        "tracepoint:syscalls:sys_enter_execve /curtask->real_parent->tgid == {pid}/ { join(args.argv); }",
    ];
    Contest {
        step: step(&["spawn-times", "50", "/bin/true", "true", "an argument"]),
        calls: 50,
        chunks: 20,
        traced: true,
        tools: vec![
            ours(OURS, &["exec", "-o", "json"]).reading(our_execs),
            peer(
                peers,
                "execsnoop",
                "execsnoop-libbpf",
                &["-c", "{cgroup}"],
                |output| Some((count(&output.text(), "an argument"), 0)),
            ),
            peer(peers, "bpftrace", "bpftrace", ARGV, |output| {
                Some((
                    count(&output.text(), "true an argument"),
                    bpftrace_lost(output),
                ))
            }),
            peer(
                peers,
                "strace -f",
                "strace",
                &["-f", "-e", "execve", "-p", "{pid}"],
                |output| Some((count(&output.stderr, "\"an argument\"]"), 0)),
            )
            .slow(10),
        ],
    }
}

fn connections(peers: &'static Peers) -> Contest {
    Contest {
        step: step(&["connections", "100", "16384"]),
        calls: 100,
        chunks: 20,
        traced: true,
        tools: vec![
            ours(OURS, &["tcp_life", "-o", "json"]).reading(our_connections),
            peer(
                peers,
                "tcplife",
                "tcplife-libbpf",
                &["-p", "{pid}"],
                |output| {
                    // PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS
                    let text = output.text();
                    let right = text.lines().filter(|line| {
                        let words: Vec<&str> = line.split_whitespace().collect();
                        words.get(6..8) == Some(&["16.00", "16.00"])
                    });
                    // Each has two ends, which are one call.
                    Some((right.count() as u64 / 2, 0))
                },
            ),
        ],
    }
}

fn faults(peers: &'static Peers) -> Contest {
    const STACKS: &[&str] = &[
        "-e",
        "tracepoint:exceptions:page_fault_user /pid == {pid}/ { @stacks[ustack] = count(); @ = count(); }",
    ];
    Contest {
        step: step(&["touch", "5000", "write"]),
        calls: 5_000,
        chunks: 20,
        traced: true,
        tools: vec![
            ours(OURS, &["page_fault", "-o", "json"]),
            peer(peers, "bpftrace", "bpftrace", STACKS, bpftrace_count),
            peer(
                peers,
                "perf record -g",
                "perf",
                &[
                    "record",
                    "-o",
                    "perf.data",
                    "-e",
                    "page-faults:u",
                    "-c",
                    "1",
                    "-g",
                    "-p",
                    "{pid}",
                ],
                perf_samples,
            ),
        ],
    }
}

fn samples(peers: &'static Peers) -> Contest {
    const STACKS: &[&str] = &[
        "-e",
        "profile:hz:99 /pid == {pid}/ { @[ustack, kstack] = count(); }",
    ];
    Contest {
        step: step(&["getppid", "500000"]),
        calls: 500_000,
        chunks: 20,
        traced: true,
        tools: vec![
            ours(OURS, &["cpu_profile", "-o", "json"]).reading(|_| None),
            ours(
                "tracejob --unwind copy",
                &["cpu_profile", "--unwind", "copy", "-o", "json"],
            )
            .reading(|_| None),
            peer(peers, "bpftrace", "bpftrace", STACKS, |_| None),
            peer(
                peers,
                "perf record -g",
                "perf",
                &["record", "-o", "perf.data", "-F", "99", "-g", "-p", "{pid}"],
                |_| None,
            ),
            peer(
                peers,
                "perf record --call-graph dwarf",
                "perf",
                &[
                    "record",
                    "-o",
                    "perf.data",
                    "-F",
                    "99",
                    "--call-graph",
                    "dwarf,16384",
                    "-p",
                    "{pid}",
                ],
                |_| None,
            ),
        ],
    }
}

fn waits(peers: &'static Peers) -> Contest {
    Contest {
        tools: vec![
            ours(OURS, &["off_cpu", "--unwind", "fp", "-o", "json"]).reading(|_| None),
            ours("tracejob --unwind auto", &["off_cpu", "-o", "json"]).reading(|_| None),
            peer(
                peers,
                "offcputime",
                "offcputime-libbpf",
                &["-p", "{pid}"],
                |_| None,
            ),
        ],
        ..ping_pong()
    }
}

fn queue(peers: &'static Peers) -> Contest {
    Contest {
        tools: vec![
            ours(OURS, &["run_queue", "-o", "json"]).reading(|_| None),
            peer(peers, "runqlat", "runqlat-libbpf", &["-p", "{pid}"], |_| {
                None
            }),
        ],
        ..ping_pong()
    }
}

fn ping_pong() -> Contest {
    Contest {
        step: step(&["ping-pong", "10000"]),
        calls: 10_000,
        chunks: 20,
        traced: true,
        tools: Vec::new(),
    }
}

fn rows(output: &Output) -> impl Iterator<Item = Value> {
    let text = output.text();
    let rows: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    rows.into_iter()
}

fn our_getppids(output: &Output) -> Option<(u64, u64)> {
    let (_, lost) = delivered(output)?;
    let row = rows(output).find(|row| row["syscall"] == "getppid")?;
    Some((row["count"].as_u64()?, lost))
}

fn our_execs(output: &Output) -> Option<(u64, u64)> {
    let (_, lost) = delivered(output)?;
    let right =
        rows(output).filter(|row| row["args"] == serde_json::json!(["true", "an argument"]));
    Some((right.count() as u64, lost))
}

fn our_connections(output: &Output) -> Option<(u64, u64)> {
    let (_, lost) = delivered(output)?;
    let right = rows(output).filter(|row| row["rx_bytes"] == 16384 && row["tx_bytes"] == 16384);
    Some((right.count() as u64 / 2, lost))
}

/// `getppid    1000    0.123`
fn getppids(output: &Output) -> Option<(u64, u64)> {
    let text = output.text();
    let line = text.lines().find(|line| line.starts_with("getppid"))?;
    Some((line.split_whitespace().nth(1)?.parse().ok()?, 0))
}

/// `100.00    0.000123    12    1000           getppid`
fn strace_getppids(output: &Output) -> Option<(u64, u64)> {
    let line = output
        .stderr
        .lines()
        .find(|line| line.ends_with(" getppid"))?;
    Some((line.split_whitespace().nth(3)?.parse().ok()?, 0))
}

fn strace_lines(output: &Output) -> Option<(u64, u64)> {
    Some((count(&output.stderr, "openat("), 0))
}

fn count(text: &str, what: &str) -> u64 {
    text.lines().filter(|line| line.contains(what)).count() as u64
}

fn but_a_header(output: &Output) -> Option<(u64, u64)> {
    Some((output.lines().saturating_sub(1), 0))
}

fn bpftrace_count(output: &Output) -> Option<(u64, u64)> {
    let text = output.text();
    let value = text.lines().find_map(|line| line.strip_prefix("@: "))?;
    Some((value.trim().parse().ok()?, bpftrace_lost(output)))
}

pub(crate) fn bpftrace_lines(output: &Output) -> Option<(u64, u64)> {
    Some((
        count(&output.text(), "\"type\": \"printf\""),
        bpftrace_lost(output),
    ))
}

/// `WARNING: Total lost event count: 160831`
fn bpftrace_lost(output: &Output) -> u64 {
    let line = output.stderr.lines().rev();
    let mut counts = line.filter_map(|line| line.split_once("lost event count: "));
    counts
        .next()
        .and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or(0)
}

/// `[ perf record: Captured and wrote 0.123 MB perf.data (400000 samples) ]`
fn perf_samples(output: &Output) -> Option<(u64, u64)> {
    let (_, rest) = output.stderr.rsplit_once(" (")?;
    Some((rest.split_once(" samples)")?.0.parse().ok()?, 0))
}

/// What a tool adds, if it ran.
pub(crate) fn of<'a>(standing: &'a Standing, name: &str) -> Option<&'a Measured> {
    let tool = standing.tools.iter().find(|tool| tool.name == name)?;
    tool.result.as_ref().ok()
}

/// Runs a row and makes its section.
pub(crate) fn run(
    row: &Row,
    peers: &'static Peers,
    rounds: usize,
    quick: bool,
    progress: &dyn Fn(&str),
) -> Section {
    let mut contest = (row.contest)(peers);
    if let Some(build) = other_build() {
        let of_ours = (row.contest)(peers).tools.into_iter();
        let other = of_ours.filter(|tool| tool.name == OURS);
        contest
            .tools
            .extend(other.map(|tool| beside(tool, build.clone())));
    }
    if quick {
        contest.chunks = contest.chunks.min(2);
        for tool in &mut contest.tools {
            tool.part = tool.part.min(2);
        }
    }
    let standing = contest.run(rounds, progress);
    Section::of(row, &contest, &standing, quick)
}

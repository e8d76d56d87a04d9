//! One workload, and tools beside it in turn: what each adds to it, and whether it saw everything.
//!
//! A round runs the workload alone and then once beside each tool, so that changes of the machine affect all alike. The workload reports
//! itself how long its chunks took; of each run the lower quartile counts, which a busy machine disturbs least. Where a round's run alone is
//! more than 5 % from the others', the round is thrown out.

use crate::{
    peers::Peers,
    stats::{Estimate, estimate, median},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tests::{Cgroup, Workload, program, until};

/// How far a round's run alone may be from the others'.
const STEADY: f64 = 0.05;
/// How long nothing may change of what a tool has open before it counts as attached.
const SETTLED: Duration = Duration::from_millis(400);

/// What is measured.
pub(crate) struct Contest {
    /// The step of the workload that is timed, again and again.
    pub(crate) step: Vec<String>,
    /// Calls in it.
    pub(crate) calls: u64,
    /// How often it is done in a run.
    pub(crate) chunks: u64,
    /// Whether the tools trace the workload; else another process, which does nothing meanwhile.
    pub(crate) traced: bool,
    pub(crate) tools: Vec<Tool>,
}

/// Returns the command of a tool for a process in its own cgroup, or the reason for its absence.
pub(crate) type Start = dyn Fn(u32, &Path) -> Result<Command, String>;

/// A tool beside the workload.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// How it is started on a process, which is in a cgroup of its own.
    pub(crate) command: Box<Start>,
    /// Reads the numbers of events that it saw and that it lost from its output.
    pub(crate) saw: fn(&Output) -> Option<(u64, u64)>,
    /// Divisor of the number of calls for a slow tool.
    pub(crate) part: u64,
}

/// What a tool printed.
pub(crate) struct Output {
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn lines(&self) -> u64 {
        let bytes = fs::read(&self.stdout).unwrap_or_default();
        bytes.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }
}

/// What came of a tool.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) result: Result<Measured, String>,
}

/// What a tool adds.
#[derive(Clone)]
pub(crate) struct Measured {
    /// ns a call that it adds, one number a round.
    pub(crate) added: Vec<f64>,
    /// What a call takes beside it by what it takes alone.
    pub(crate) slowdown: Vec<f64>,
    /// Events that it saw and all events, over all rounds; `None` if it does not report them.
    pub(crate) seen: Option<(u64, u64)>,
    /// Lost events that it reported.
    pub(crate) lost: u64,
}

impl Measured {
    pub(crate) fn estimate(&self) -> Estimate {
        estimate(&self.added)
    }

    /// What this one adds by what the other does, round by round.
    pub(crate) fn by(&self, other: &Self) -> Estimate {
        let ratios = self.added.iter().zip(&other.added);
        let ratios: Vec<f64> = ratios.map(|(one, other)| one / other).collect();
        estimate(&ratios)
    }
}

/// All of it.
pub(crate) struct Standing {
    /// ns that a call takes alone.
    pub(crate) alone: f64,
    pub(crate) rounds: usize,
    pub(crate) thrown_out: usize,
    pub(crate) tools: Vec<Outcome>,
}

/// A tool that runs.
pub(crate) struct Running {
    child: Child,
    folder: PathBuf,
}

/// Where tools write: memory, so that no disk is measured.
fn scratch() -> PathBuf {
    let (shm, new) = (Path::new("/dev/shm"), tests::folder());
    if !shm.is_dir() {
        return new;
    }
    // Only its name is new there as well.
    let folder = shm.join(new.file_name().unwrap_or_default());
    fs::create_dir_all(&folder).unwrap();
    fs::remove_dir(new).unwrap();
    folder
}

impl Running {
    /// Starts it on the second CPU, and waits until it is attached to a process or to the kernel.
    pub(crate) fn start(mut command: Command, on: u32) -> Result<Self, String> {
        let folder = scratch();
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", "1"]);
        pinned.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => pinned.env(name, value),
                None => pinned.env_remove(name),
            };
        }
        command = pinned;
        let mut child = command
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("out")).unwrap())
            .stderr(File::create(folder.join("err")).unwrap())
            .spawn()
            .map_err(|error| error.to_string())?;
        let began = Instant::now();
        let (mut last, mut since) = (Vec::new(), Instant::now());
        loop {
            if child.try_wait().unwrap().is_some() {
                let running = Self { child, folder };
                return Err(last_line(&running.output().stderr));
            }
            let now = open_files(child.id());
            if now != last {
                (last, since) = (now, Instant::now());
            }
            // strace attaches by ptrace(2), and has nothing open for it.
            let attached = last.iter().any(|file| is_attachment(file)) || is_traced(on);
            if attached && since.elapsed() >= SETTLED {
                return Ok(Self { child, folder });
            }
            if began.elapsed() > Duration::from_secs(30) {
                child.kill().unwrap();
                child.wait().unwrap();
                return Err("timeout: nothing was attached within 30 s".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn output(&self) -> Output {
        let stderr = fs::read(self.folder.join("err")).unwrap_or_default();
        Output {
            stdout: self.folder.join("out"),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Interrupts it and waits for its end, if it has not ended by itself.
    pub(crate) fn stop(mut self) -> (Output, PathBuf) {
        if self.child.try_wait().unwrap().is_none() {
            let pid = Pid::from_child(&self.child);
            // It may end meanwhile.
            let _ = kill_process(pid, Signal::INT);
            let signalled = Instant::now();
            until("a tool to end", || {
                if signalled.elapsed() > Duration::from_secs(10) {
                    // A background process of a shell may ignore the other signal.
                    let _ = kill_process(pid, Signal::TERM);
                }
                self.child.try_wait().unwrap()
            });
        }
        (self.output(), self.folder.clone())
    }
}

/// What a process and its children have open, by name.
fn open_files(pid: u32) -> Vec<String> {
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    let mut all = Vec::new();
    for pid in std::iter::once(pid).chain(pids) {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        let names = files.flatten().filter_map(|file| {
            let name = fs::read_link(file.path()).ok()?;
            Some(name.to_string_lossy().into_owned())
        });
        all.extend(names);
    }
    all.sort();
    all
}

fn is_attachment(file: &str) -> bool {
    ["bpf_link", "bpf-link", "raw-tracepoint", "perf_event"]
        .iter()
        .any(|what| file.contains(what))
}

/// Returns whether a process is traced by ptrace(2): proc_pid_status(5).
fn is_traced(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|pid| pid.trim() != "0")
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("no message").trim().to_owned()
}

/// Starts the workload with this step repeated, on the first CPU, behind its gate.
fn workload(step: &[String], chunks: u64) -> Workload {
    let mut steps: Vec<&str> = Vec::new();
    for chunk in 0..chunks {
        if chunk > 0 {
            steps.push(",");
        }
        steps.push("timed");
        steps.extend(step.iter().map(String::as_str));
    }
    Workload::behind_gate_after(&["pin", "0"], &steps)
}

/// ns a call: the lower quartile of the chunks.
fn finish(mut workload: Workload, calls: u64) -> f64 {
    let report = workload.finish();
    let mut times: Vec<u64> = report
        .all("ns")
        .iter()
        .filter_map(serde_json::Value::as_u64)
        .collect();
    times.sort_unstable();
    times[times.len() / 4] as f64 / calls as f64
}

impl Contest {
    fn chunks_of(&self, tool: &Tool) -> u64 {
        (self.chunks / tool.part).max(1)
    }

    /// A run beside a tool: ns a call, and what it saw.
    fn beside(&self, tool: &Tool) -> Result<(f64, Option<(u64, u64)>), String> {
        let chunks = self.chunks_of(tool);
        let workload = workload(&self.step, chunks);
        let decoy = (!self.traced).then(|| Workload::behind_gate(&["getppid", "1000"]));
        let pid = decoy.as_ref().map_or(workload.pid(), Workload::pid);
        let cgroup = Cgroup::new();
        cgroup.add(pid);
        let running = Running::start((tool.command)(pid, cgroup.path())?, pid)?;
        let time = finish(workload, self.calls);
        if let Some(mut decoy) = decoy {
            decoy.finish();
        }
        // What it holds back for a while, it still has to take.
        std::thread::sleep(Duration::from_millis(100));
        let (output, folder) = running.stop();
        let saw = (tool.saw)(&output);
        let _ = fs::remove_dir_all(folder);
        Ok((time, saw))
    }

    /// How many events a tool should have seen of a run.
    fn truth(&self, tool: &Tool) -> u64 {
        match self.traced {
            true => self.calls * self.chunks_of(tool),
            false => 1000,
        }
    }

    /// Runs at least this number of steady rounds, and at most three times as many.
    pub(crate) fn run(&self, rounds: usize, progress: &dyn Fn(&str)) -> Standing {
        struct Round {
            alone: f64,
            beside: BTreeMap<usize, f64>,
        }
        let mut all: Vec<Round> = Vec::new();
        let mut seen: BTreeMap<usize, Option<(u64, u64)>> = BTreeMap::new();
        let mut lost: BTreeMap<usize, u64> = BTreeMap::new();
        let mut refused: BTreeMap<usize, String> = BTreeMap::new();
        let steady = |all: &[Round]| -> Vec<usize> {
            let middle = median(&all.iter().map(|round| round.alone).collect::<Vec<_>>());
            let near = |round: &Round| (round.alone / middle - 1.0).abs() <= STEADY;
            (0..all.len()).filter(|at| near(&all[*at])).collect()
        };
        while steady(&all).len() < rounds && all.len() < 3 * rounds {
            let alone = finish(workload(&self.step, self.chunks), self.calls);
            let mut beside = BTreeMap::new();
            for (at, tool) in self.tools.iter().enumerate() {
                if refused.contains_key(&at) {
                    continue;
                }
                progress(&format!("round {}, with {}", all.len() + 1, tool.name));
                match self.beside(tool) {
                    Err(why) => drop(refused.insert(at, why)),
                    Ok((time, saw)) => {
                        beside.insert(at, time);
                        let (saw, missed) = saw.map_or((None, 0), |(saw, lost)| (Some(saw), lost));
                        let entry = seen.entry(at).or_insert(Some((0, 0)));
                        *entry = entry
                            .zip(saw)
                            .map(|((seen, of), saw)| (seen + saw, of + self.truth(tool)));
                        *lost.entry(at).or_default() += missed;
                    }
                }
            }
            all.push(Round { alone, beside });
        }
        let kept = steady(&all);
        let tools = self.tools.iter().enumerate().map(|(at, tool)| Outcome {
            name: tool.name,
            result: match refused.get(&at) {
                Some(why) => Err(why.clone()),
                None => Ok(Measured {
                    added: kept
                        .iter()
                        .map(|n| all[*n].beside[&at] - all[*n].alone)
                        .collect(),
                    slowdown: kept
                        .iter()
                        .map(|n| all[*n].beside[&at] / all[*n].alone)
                        .collect(),
                    seen: seen.get(&at).copied().flatten(),
                    lost: lost.get(&at).copied().unwrap_or(0),
                }),
            },
        });
        Standing {
            alone: median(&kept.iter().map(|n| all[*n].alone).collect::<Vec<_>>()),
            rounds: kept.len(),
            thrown_out: all.len() - kept.len(),
            tools: tools.collect(),
        }
    }
}

/// `tracejob run TRACER --pid PID …`
pub(crate) fn ours(name: &'static str, args: &'static [&'static str]) -> Tool {
    Tool {
        name,
        command: Box::new(move |pid, _| {
            let pid = pid.to_string();
            let run = ["run", args[0], "--pid", &pid].into_iter();
            Ok(tests::tracejob(
                &run.chain(args[1..].iter().copied()).collect::<Vec<_>>(),
            ))
        }),
        saw: delivered,
        part: 1,
    }
}

/// Another build of `tracejob`, which BENCH_BESIDE names: each figure of ours is measured with it as well, in the same rounds.
pub(crate) const BESIDE: &str = "the other tracejob";

/// The other build's path; `None` where the benchmark compares with peers only.
pub(crate) fn other_build() -> Option<PathBuf> {
    std::env::var_os("BENCH_BESIDE").map(PathBuf::from)
}

/// A tool of ours, run with another build of `tracejob`.
pub(crate) fn beside(tool: Tool, build: PathBuf) -> Tool {
    Tool {
        name: BESIDE,
        command: Box::new(move |pid, cgroup| {
            let ours = (tool.command)(pid, cgroup)?;
            let mut command = Command::new(&build);
            command.args(ours.get_args());
            Ok(command)
        }),
        saw: tool.saw,
        part: tool.part,
    }
}

/// Reads the events that our account reports.
pub(crate) fn delivered(output: &Output) -> Option<(u64, u64)> {
    let account = account(output)?;
    let lost = account["lost"].as_object()?;
    let lost: u64 = lost.values().filter_map(serde_json::Value::as_u64).sum();
    Some((account["delivered"].as_u64()?, lost))
}

/// It is one line on stderr, among the workload's own.
pub(crate) fn account(output: &Output) -> Option<serde_json::Value> {
    output.stderr.lines().find_map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(value.get("account")?.clone())
    })
}

/// A program that does nothing at these tracepoints, or reads the clock: what no tool there can be cheaper than.
pub(crate) fn bare(
    name: &'static str,
    step: &'static str,
    tracepoints: &'static [&'static str],
) -> Tool {
    Tool {
        name,
        command: Box::new(move |_, _| {
            let mut command = Command::new(program("workload"));
            command
                .arg(step)
                .args(tracepoints)
                .args([",", "pause-forever"]);
            Ok(command)
        }),
        saw: |_| None,
        part: 1,
    }
}

/// A peer; `{pid}` in its arguments is the process, and `{cgroup}` its cgroup.
pub(crate) fn peer(
    peers: &'static Peers,
    name: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    saw: fn(&Output) -> Option<(u64, u64)>,
) -> Tool {
    Tool {
        name,
        command: Box::new(move |pid, cgroup| {
            let (pid, cgroup) = (pid.to_string(), cgroup.display().to_string());
            let args = args.iter();
            let args = args.map(|arg| arg.replace("{pid}", &pid).replace("{cgroup}", &cgroup));
            peers.command(program, &args.collect::<Vec<_>>())
        }),
        saw,
        part: 1,
    }
}

impl Tool {
    /// Sets another reader of its output.
    pub(crate) fn reading(self, saw: fn(&Output) -> Option<(u64, u64)>) -> Self {
        Self { saw, ..self }
    }

    /// Sets the divisor of the number of calls.
    pub(crate) fn slow(self, part: u64) -> Self {
        Self { part, ..self }
    }
}

//! Rights of each thread of the agent, as the kernel reports them.

use crate::daemon::{Daemon, Events, spec};
use proto::v1::{self, stream_events_response::Item};
use std::{collections::BTreeMap, fs, path::PathBuf};
use tests::{Cgroup, Workload, must_be_closed, needs, program, take_over};

/// CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_SYSLOG: include/uapi/linux/capability.h.
const LOADING: u64 = 1 << 39 | 1 << 38 | 1 << 19 | 1 << 2 | 1 << 34;
/// Threads that load programs, read the kernel's maps, and inspect targets. All others serve.
const LOADING_THREADS: [&str; 4] = [
    "tracejob-load",
    "tracejob-reader",
    "symbol-files",
    "symbol-worker",
];

/// A thread or process: its name, and the fields of its status.
struct Status {
    name: String,
    fields: BTreeMap<String, String>,
}

impl Status {
    fn read(folder: PathBuf) -> Option<Self> {
        let text = fs::read_to_string(folder.join("status")).ok()?;
        let fields: BTreeMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect();
        // Cut to 15 bytes.
        let name = fields["Name"].clone();
        Some(Self { name, fields })
    }

    fn capabilities(&self, set: &str) -> u64 {
        u64::from_str_radix(&self.fields[set], 16).unwrap()
    }

    fn loads(&self) -> bool {
        LOADING_THREADS
            .iter()
            .any(|name| name[..name.len().min(15)] == self.name)
    }

    fn must_be_confined(&self) {
        let Self { name, fields } = self;
        assert_eq!((name, fields["NoNewPrivs"].as_str()), (name, "1"));
        assert_eq!((name, fields["Seccomp"].as_str()), (name, "2"));
        for set in ["CapInh", "CapAmb"] {
            assert_eq!((name, self.capabilities(set)), (name, 0));
        }
        let most = if self.loads() { LOADING } else { 0 };
        for set in ["CapPrm", "CapEff"] {
            assert_eq!((name, set, self.capabilities(set) & !most), (name, set, 0));
        }
    }
}

fn threads(pid: u32) -> Vec<Status> {
    let folders = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may end meanwhile.
    let folders = folders.filter_map(|entry| Some(entry.ok()?.path()));
    folders.filter_map(Status::read).collect()
}

/// Processes that its threads have started: workers that read symbols.
fn children(pid: u32) -> Vec<Status> {
    let folders = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists =
        folders.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("children")).ok());
    let pids: Vec<String> = lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let folders = pids.iter().map(|pid| PathBuf::from(format!("/proc/{pid}")));
    folders.filter_map(Status::read).collect()
}

/// Starts a process without capabilities, so that the agent may inspect it with any capabilities.
fn toucher() -> Workload {
    let program = program("workload");
    let program = program.to_str().unwrap();
    Workload::child_behind_gate(&[
        "with-caps",
        "",
        program,
        "gate",
        ",",
        "touch",
        "300",
        "write",
        ",",
        "until-eof",
    ])
}

#[tokio::test]
async fn a_process_of_its_user_without_capabilities_cannot_attach_to_the_agent_or_its_worker() {
    needs!("page_fault");
    let daemon = Daemon::start("").await;
    let mut workload = toucher();
    let mut events = daemon.trace(spec("page_fault", &workload)).await.unwrap();
    workload.go();
    until_named(&mut events, "write_pages").await;
    // What makes the refusals below worth something: a process without capabilities it may attach to.
    assert_eq!(take_over(workload.pid()), [0, 0]);
    must_be_closed(daemon.pid());
    let workers = children(daemon.pid());
    assert_eq!(workers.len(), 1);
    let worker = workers[0].fields["Pid"].parse().unwrap();
    must_be_closed(worker);
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"]);
    workload.end();
}

/// Reads until a table has this function in a stack.
pub(crate) async fn until_named(events: &mut Events, function: &str) {
    let end = std::time::Instant::now() + tests::deadline();
    loop {
        assert!(
            std::time::Instant::now() < end,
            "waited for {function} in vain"
        );
        let message = tokio::time::timeout(tests::deadline(), events.next())
            .await
            .unwrap();
        let Some(Item::Batch(v1::Batch { strings, .. })) = message else {
            continue;
        };
        if strings.iter().any(|name| name.contains(function)) {
            return;
        }
    }
}

#[tokio::test]
async fn names_are_found_in_the_hosts_proc_by_an_agent_in_another_pid_namespace() {
    needs!("page_fault");
    let mut daemon = Daemon::in_pid_namespace("");
    let mut workload = toucher();
    // No process has this number there, and the error has that reason.
    let refused = daemon.trace(spec("page_fault", &workload)).await;
    let refused = refused.map(drop).unwrap_err();
    assert!(refused.message().contains("namespace"), "{refused}");
    let group = Cgroup::new();
    group.add(workload.pid());
    let path = group.path().display().to_string();
    let target = v1::Target {
        target: Some(v1::target::Target::Cgroup(path)),
        ..v1::Target::default()
    };
    let of_group = v1::TraceSpec {
        targets: vec![target],
        ..spec("page_fault", &workload)
    };
    let mut events = daemon.trace(of_group).await.unwrap();
    workload.go();
    until_named(&mut events, "write_pages").await;
    workload.end();
    daemon.kill_inside();
}

#[tokio::test]
async fn threads_that_serve_have_no_capability_and_those_that_load_what_they_need() {
    needs!("page_fault");
    let daemon = Daemon::start("").await;
    let mut workload = toucher();
    let mut events = daemon.trace(spec("page_fault", &workload)).await.unwrap();
    workload.go();
    // So that the worker is there as well, and works although it inherits all of this.
    until_named(&mut events, "write_pages").await;
    let threads = threads(daemon.pid());
    threads.iter().for_each(Status::must_be_confined);
    let count = |wanted: &str| {
        threads
            .iter()
            .filter(|thread| wanted.starts_with(&thread.name))
            .count()
    };
    for name in [
        "tracejob-agent",
        "tracejob-trace",
        "tracejob-reader",
        "tracejob-load",
        "tokio-rt-worker",
    ] {
        assert!(count(name) > 0, "no thread {name}");
    }
    // What would make the figures above hold for nothing.
    let bpf = |thread: &Status| thread.capabilities("CapEff") & 1 << 39 != 0;
    assert!(threads.iter().any(bpf), "no thread could have loaded it");
    let workers = children(daemon.pid());
    assert_eq!(workers.len(), 1);
    workers[0].must_be_confined();
    workload.end();
}

//! The worker: what it may do, and what becomes of it.

use super::{symbolizer, target::Waiting, user, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};
use symbols::Symbolizer;

/// The name of an address near the start of `getpgid` in a process's libc.
fn ask(symbolizer: &mut Symbolizer, target: &Waiting, offset: u64) -> String {
    user(symbolizer, target.pid(), target.libc_function() + offset)
        .name
        .to_string()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

fn status(pid: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim_start_matches(':').trim().to_owned())
}

/// Gone and reaped: not even its number is left.
fn wait_for_its_end(pid: u32) {
    wait_for("the worker is reaped", || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
}

#[test]
fn nothing_runs_before_the_first_question() {
    assert_eq!(symbolizer().worker(), None);
}

#[test]
fn the_worker_has_no_rights() {
    let target = Waiting::new("/bin/cat");
    let mut symbolizer = symbolizer();
    ask(&mut symbolizer, &target, 0);
    let worker = symbolizer.worker().unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(worker, set).unwrap(), "0000000000000000", "{set}");
    }
    assert_eq!(status(worker, "NoNewPrivs").unwrap(), "1");
    assert_eq!(status(worker, "Seccomp").unwrap(), "2");
    let limits = fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    let limit = |name| {
        limits
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned()
    };
    assert!(limit("Max core file size").contains(" 0 "), "{limits}");
    assert!(
        limit("Max address space").contains(" 1073741824 "),
        "{limits}"
    );
    assert!(limit("Max processes").contains(" 0 "), "{limits}");
    assert!(
        !limit("Max cpu time").contains("unlimited            unlimited"),
        "{limits}"
    );
}

#[test]
fn a_worker_that_was_killed_is_replaced_at_the_next_question() {
    let target = Waiting::new("/bin/cat");
    let mut symbolizer = symbolizer();
    assert!(ask(&mut symbolizer, &target, 0).contains("getpgid"));
    let worker = symbolizer.worker().unwrap();
    signal(worker, Signal::KILL);
    wait_for_its_end(worker);
    assert!(ask(&mut symbolizer, &target, 1).contains("getpgid"));
    assert_eq!(symbolizer.counts().workers, 2);
    assert_eq!(symbolizer.counts().failures, 0);
}

#[test]
fn a_worker_that_is_killed_in_the_middle_costs_nothing_the_first_time() {
    let target = Waiting::new("/bin/cat");
    let mut symbolizer = symbolizer();
    assert!(ask(&mut symbolizer, &target, 0).contains("getpgid"));
    let worker = symbolizer.worker().unwrap();
    // It stands still, so that the question is in its hands when it dies.
    signal(worker, Signal::STOP);
    wait_for("it stands still", || {
        status(worker, "State")?.starts_with('T').then_some(())
    });
    let asker = rustix::thread::gettid().as_raw_nonzero();
    let killer = thread::spawn(move || {
        // The asker waits for the answer in poll, and for nothing else there.
        wait_for("the question is asked", || {
            let call = fs::read_to_string(format!("/proc/self/task/{asker}/syscall")).ok()?;
            call.starts_with(&format!("{} ", libc::SYS_ppoll))
                .then_some(())
        });
        signal(worker, Signal::KILL);
    });
    assert!(ask(&mut symbolizer, &target, 1).contains("getpgid"));
    killer.join().unwrap();
    wait_for_its_end(worker);
    assert_eq!(
        (
            symbolizer.counts().failures,
            symbolizer.counts().without_lines
        ),
        (1, 0)
    );
}

#[test]
fn a_worker_that_hangs_is_killed_and_the_file_has_names_only() {
    let target = Waiting::new("/bin/cat");
    let mut symbolizer = symbolizer();
    assert!(ask(&mut symbolizer, &target, 0).contains("getpgid"));
    let worker = symbolizer.worker().unwrap();
    signal(worker, Signal::STOP);
    wait_for("it stands still", || {
        status(worker, "State")?.starts_with('T').then_some(())
    });
    let name = ask(&mut symbolizer, &target, 1);
    wait_for_its_end(worker);
    // Where libc has no debug information there is nothing less to try.
    let counts = symbolizer.counts();
    assert_eq!(
        (counts.failures, counts.without_lines + counts.without_names),
        (1, 1)
    );
    assert!(
        name.contains("getpgid") || counts.without_names == 1,
        "{name}"
    );
}

#[test]
fn an_idle_worker_is_ended_and_the_next_question_has_a_new_one() {
    let target = Waiting::new("/bin/cat");
    let mut symbolizer = symbolizer();
    ask(&mut symbolizer, &target, 0);
    let worker = symbolizer.worker().unwrap();
    symbolizer.rest(Duration::from_secs(1000));
    assert_eq!(symbolizer.worker(), Some(worker));
    symbolizer.rest(Duration::ZERO);
    assert_eq!(symbolizer.worker(), None);
    wait_for_its_end(worker);
    assert!(ask(&mut symbolizer, &target, 1).contains("getpgid"));
}

#[test]
fn the_worker_ends_with_its_symbolizer() {
    let target = Waiting::new("/bin/cat");
    let mut symbolizer = symbolizer();
    ask(&mut symbolizer, &target, 0);
    let worker = symbolizer.worker().unwrap();
    drop(symbolizer);
    wait_for_its_end(worker);
}

#[test]
fn without_a_worker_frames_are_module_and_offset() {
    let target = Waiting::new("/bin/cat");
    let mut symbolizer = Symbolizer::with_worker("/nonexistent/program");
    let name = ask(&mut symbolizer, &target, 0);
    assert!(name.starts_with("libc") && name.contains("+0x"), "{name}");
}

#[test]
fn a_worker_that_says_nothing_true_costs_names_only() {
    // It ends at once, and it answers with nonsense.
    let target = Waiting::new("/bin/cat");
    for program in ["/bin/true", "/bin/echo"] {
        let mut symbolizer = Symbolizer::with_worker(program);
        let name = ask(&mut symbolizer, &target, 0);
        assert!(name.starts_with("libc") && name.contains("+0x"), "{name}");
    }
}

/// Set in the process that is to be killed.
const PARENT: &str = "TRACEJOB_TEST_PARENT";

#[test]
fn the_worker_ends_with_its_parent_even_if_that_is_killed() {
    if std::env::var_os(PARENT).is_some() {
        let target = Waiting::new("/bin/cat");
        let mut symbolizer = symbolizer();
        ask(&mut symbolizer, &target, 0);
        println!("worker {}", symbolizer.worker().unwrap());
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "worker::the_worker_ends_with_its_parent_even_if_that_is_killed",
        ])
        .env(PARENT, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(parent.stdout.take().unwrap());
    let worker = said.lines().find_map(|line| {
        let line = line.unwrap();
        line.split_once("worker ")?.1.parse::<u32>().ok()
    });
    parent.kill().unwrap();
    parent.wait().unwrap();
    let worker = worker.unwrap();
    // Whoever inherits it reaps it, sooner or later.
    wait_for("the worker ends", || {
        status(worker, "State")
            .is_none_or(|state| state.starts_with('Z'))
            .then_some(())
    });
}

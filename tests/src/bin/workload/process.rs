//! Processes, threads and their credentials.

use crate::{number, raw, report, step, steps};
use serde_json::json;
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Prints that this process is ready, and waits for a byte on stdin.
pub(crate) fn gate() {
    report::say(json!({ "ready": std::process::id() }));
    assert_eq!(raw::read_byte(0), Ok(1), "the gate was not opened");
    report::begin();
}

/// Waits until stdin is closed.
pub(crate) fn until_eof() {
    while raw::read_byte(0) != Ok(0) {}
}

/// Runs on one CPU from now on.
pub(crate) fn pin(cpu: u64) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu as usize);
    rustix::thread::sched_setaffinity(None, &set).unwrap();
}

/// Does a step and notes how long it took.
pub(crate) fn timed(args: &[OsString]) {
    let began = Instant::now();
    step(args);
    report::note(json!({ "ns": began.elapsed().as_nanos() as u64 }));
}

/// CPU time of this thread, and its time in run queues, ns: /proc/thread-self/schedstat (Documentation/scheduler/sched-stats.rst).
fn schedstat() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let mut fields = text.split_whitespace().map(|field| field.parse().unwrap());
    [fields.next().unwrap(), fields.next().unwrap()]
}

/// Notes what a step took of this thread: wall time, CPU time, and time in run queues.
pub(crate) fn time_of(args: &[OsString]) {
    let (began, [cpu, waited]) = (Instant::now(), schedstat());
    step(args);
    let (wall, now) = (began.elapsed().as_nanos() as u64, schedstat());
    report::note(json!({ "wall_ns": wall, "cpu_ns": now[0] - cpu, "waited_ns": now[1] - waited }));
}

/// CPU time of this thread, ns.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    (time.tv_sec * 1_000_000_000 + time.tv_nsec) as u64
}

/// Runs until this thread has had that much CPU time.
#[inline(always)]
fn burn_until(end: u64) {
    while cpu_ns() < end {
        raw::spin(50_000);
    }
}

/// Runs for so many milliseconds of this thread's CPU time.
#[inline(never)]
pub(crate) fn burn(ms: u64) {
    burn_until(cpu_ns() + ms * 1_000_000);
}

#[inline(never)]
fn burn_more(ns: u64) {
    burn_until(cpu_ns() + ns);
}

#[inline(never)]
fn burn_less(ns: u64) {
    // Not the same code, which the linker would make one function.
    std::hint::black_box(ns);
    burn_until(cpu_ns() + ns);
}

/// Runs for so many milliseconds of this thread's CPU time, in turns in two functions, and notes what each had.
pub(crate) fn burn_unevenly(ms: u64) {
    let (began, mut more, mut less) = (cpu_ns(), 0, 0);
    let mut turn = 0_u64;
    while cpu_ns() < began + ms * 1_000_000 {
        // Turns of 1 to 3 ms that are in step with no tick.
        turn = (turn * 48_271 + 11) % 0x7fff_ffff;
        let ns = 1_000_000 + turn % 2_000_000;
        let before = cpu_ns();
        burn_more(ns * 7 / 10);
        let between = cpu_ns();
        burn_less(ns * 3 / 10);
        more += between - before;
        less += cpu_ns() - between;
    }
    report::note(json!({ "more_ns": more, "less_ns": less, "cpu_ns": cpu_ns() - began }));
}

/// Names this thread.
pub(crate) fn comm(name: &OsStr) {
    raw::set_comm(name);
}

/// Becomes another user.
pub(crate) fn ids(uid: u64, gid: u64) {
    raw::set_ids(uid as u32, gid as u32);
}

/// Takes a directory for its root.
pub(crate) fn chroot(path: &OsStr) {
    std::os::unix::fs::chroot(path).unwrap();
    std::env::set_current_dir("/").unwrap();
}

/// Shows `from` at `to` too, in a mount namespace of its own.
pub(crate) fn bind(from: &OsStr, to: &OsStr) {
    raw::unshare(libc::CLONE_NEWNS);
    raw::make_mounts_private();
    raw::bind_mount(&raw::c_string(from), &raw::c_string(to));
}

/// A child does steps and reports; waits for it.
pub(crate) fn fork(args: &[OsString]) {
    match raw::fork() {
        None => child(args),
        Some(pid) => {
            report::note(json!({ "child": pid }));
            assert_eq!(raw::wait(pid), 0);
        }
    }
}

fn child(args: &[OsString]) -> ! {
    report::begin();
    // Steps of a child are separated by `;`.
    let own: Vec<OsString> = args
        .iter()
        .map(|arg| if arg == ";" { ",".into() } else { arg.clone() })
        .collect();
    steps(&own);
    report::end();
    raw::exit_now(0);
}

/// A child does steps and reports, and this process ends without it.
pub(crate) fn abandon(args: &[OsString]) {
    if raw::fork().is_none() {
        child(args);
    }
}

/// Starts a child that ends at once and is not reaped.
pub(crate) fn zombie() {
    match raw::fork() {
        None => raw::exit_now(0),
        Some(pid) => {
            until(|| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|rest| rest.starts_with('Z'))
            });
            report::say(json!({ "zombie": pid }));
        }
    }
}

/// Children one after the other, each called `a child` and noted, that end at once.
pub(crate) fn ending_children(count: u64) {
    for _ in 0..count {
        match raw::fork() {
            None => {
                raw::set_comm("a child".as_ref());
                raw::exit_now(0);
            }
            Some(pid) => {
                report::note(json!({ "ended": pid }));
                assert_eq!(raw::wait(pid), 0);
            }
        }
    }
}

/// Children one after the other, each of which calls getppid(2) once.
pub(crate) fn fork_storm(count: u64) {
    for _ in 0..count {
        child_that(|| _ = raw::getppid());
    }
}

/// Starts children one after the other that call getppid(2), until there is a byte on stdin; then `after` children whose close(2) fails.
pub(crate) fn fork_until_byte(count: u64) {
    let mut forked = 0;
    while rustix::io::ioctl_fionread(std::io::stdin()).unwrap() == 0 {
        child_that(|| _ = raw::getppid());
        forked += 1;
        if forked == 1 {
            report::say(json!({ "said": "forking" }));
        }
    }
    for _ in 0..count {
        child_that(|| _ = raw::close(-1));
    }
}

fn child_that(does: impl Fn()) {
    match raw::fork() {
        None => {
            does();
            raw::exit_now(0);
        }
        Some(pid) => assert_eq!(raw::wait(pid), 0),
    }
}

/// Prints a word after `ms` milliseconds.
pub(crate) fn sleep_and_say(ms: u64, word: &OsStr) {
    std::thread::sleep(Duration::from_millis(ms));
    report::say(json!({ "said": word.to_str() }));
}

/// Prints the id of this thread, and stays.
pub(crate) fn say_tid_until_eof() {
    report::say(json!({ "tid": rustix::thread::gettid().as_raw_nonzero().get() }));
    until_eof();
}

/// The first process of a new pid namespace does a step and reports; waits for it.
pub(crate) fn new_pid_namespace(args: &[OsString]) {
    raw::unshare(libc::CLONE_NEWPID);
    fork(args);
}

/// Ends the first thread. Another thread reports it, and the process runs until its stdin is closed.
pub(crate) fn first_thread_ends() {
    let stat = format!("/proc/self/task/{}/stat", std::process::id());
    std::thread::spawn(move || {
        let ended = || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('Z'))
        };
        while !ended() {
            std::thread::yield_now();
        }
        report::say(json!({ "alone": true }));
        until_eof();
        raw::exit_now(0);
    });
    raw::exit_thread();
}

/// Does the step in each of `count` threads.
pub(crate) fn threads(count: u64, args: &[OsString]) {
    std::thread::scope(|scope| {
        let threads = (0..count).map(|_| {
            scope.spawn(|| {
                report::note(json!({ "tid": rustix::thread::gettid().as_raw_nonzero().get() }));
                step(args);
            })
        });
        let threads: Vec<_> = threads.collect();
        // The scope alone waits for what they do, not for their exit.
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A child that is killed while it sleeps in the system call of that number; `202/34` is its first thread in 202 and all others in 34.
pub(crate) fn killed_in(numbers: &OsStr, args: &[OsString]) {
    let pid = match raw::fork() {
        None => child(args),
        Some(pid) => pid,
    };
    report::note(json!({ "child": pid }));
    let numbers = numbers.to_str().unwrap();
    let (first, others) = numbers.split_once('/').unwrap_or((numbers, numbers));
    until(|| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.map(|task| task.unwrap()).all(|task| {
            let is_first = task.file_name().to_str() == Some(&pid.to_string());
            sleeps_in(&task.path(), if is_first { first } else { others })
        })
    });
    raw::kill(pid, libc::SIGKILL);
    assert_eq!(raw::wait(pid), libc::SIGKILL);
}

/// A child does steps and is killed in them by a signal.
pub(crate) fn dies_of(signal: u64, args: &[OsString]) {
    match raw::fork() {
        None => child(args),
        Some(pid) => {
            report::note(json!({ "child": pid }));
            // With or without a core: WTERMSIG(3) of waitpid(2).
            assert_eq!(raw::wait(pid) & 0x7f, signal as i32);
        }
    }
}

/// `NUMBER ERRNO TIMES STEP…`: does the step in a thread. Another thread answers its calls NUMBER with the error, TIMES times.
pub(crate) fn supervised(args: &[OsString]) {
    let [call, errno, times] = [0, 1, 2].map(|n| number(&args[n]));
    let (send, listener) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            send.send(raw::listen_for(call as u32)).unwrap();
            step(&args[3..]);
        });
        let listener = listener.recv().unwrap();
        for _ in 0..times {
            raw::supervise(&listener, errno as i32);
        }
    });
}

/// Does the step in a child. This process, its tracer, answers the first calls of the child with an error.
#[cfg(target_arch = "x86_64")]
pub(crate) fn emulated(times: u64, errno: u64, args: &[OsString]) {
    let child = raw::emulate(times, errno as i32, || step(args));
    report::note(json!({ "child": child }));
}

/// Whether a task sleeps in a system call.
pub(crate) fn sleeps_in(task: &Path, number: &str) -> bool {
    let state = fs::read_to_string(task.join("stat")).unwrap_or_default();
    let sleeps = state
        .rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('S'));
    // Kernels without CONFIG_HAVE_ARCH_TRACEHOOK have no such file; sleeping is what counts then.
    let call = fs::read_to_string(task.join("syscall")).unwrap_or_default();
    sleeps && (call.is_empty() || call.split(' ').next() == Some(number))
}

/// Waits for a condition, for two minutes at most: a busy machine may be slow.
pub(crate) fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ends with this status, reporting first.
pub(crate) fn exit(code: u64) {
    report::end();
    raw::exit_now(code as i32);
}

/// Sends itself a signal, reporting first.
pub(crate) fn kill_self(signal: u64) {
    report::end();
    raw::kill(std::process::id() as i32, signal as i32);
    until(|| false);
}

/// Tries to attach to each thread of a process, and to open its memory: what it takes to act with its rights. Notes how many there were
/// and what each try came to, 0 or an error number.
pub(crate) fn take_over(pid: u64) {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(folder).unwrap();
    let attached: Vec<i32> = threads
        .map(|entry| {
            let tid = entry.unwrap().file_name();
            raw::seize(tid.to_str().unwrap().parse().unwrap())
        })
        .collect();
    let memory = fs::File::open(format!("/proc/{pid}/mem"));
    let memory = memory.map_or_else(|error| error.raw_os_error().unwrap(), |_| 0);
    report::note(json!({ "attached": attached }));
    report::note(json!({ "memory": memory }));
}

/// Notes whether other processes of this user may inspect this process: prctl(2), `PR_GET_DUMPABLE`.
pub(crate) fn is_dumpable() {
    let dumpable = raw::prctl(libc::PR_GET_DUMPABLE, 0).unwrap();
    report::note(json!({ "dumpable": dumpable }));
}

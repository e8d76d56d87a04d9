//! Each kind of point on this kernel: its program runs while it is attached, its verdict is applied, and detaching removes it.

use engine::selftest::{Probe, refuses};
use std::{
    ffi::CString,
    fs::{self, File},
    hint::black_box,
    io::Read,
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
};
use tests::{Cgroup, Workload, in_kernel, needs, until};
use tracers::{
    AddressCall, At, Direction, Names, Point, Side, fentry, fexit, fmod_ret, iter, raw_tp, tp_btf,
};

/// Detaches the probe, and waits until the kernel has none of its links.
fn detach(probe: &mut Probe) {
    let links = probe.links();
    assert!(!links.is_empty());
    let there = in_kernel();
    assert!(links.iter().all(|link| there.contains(link)), "{links:?}");
    probe.detach();
    // Another test's thread may be between fork(2) and execve(2): its child has a copy of each descriptor until then.
    until("the links to be gone", || {
        let there = in_kernel();
        (!links.iter().any(|link| there.contains(link))).then_some(())
    });
}

/// Attaches the program of the point, does an action that reaches it, and checks that detaching removes it. Prints the reason if this
/// kernel lacks the point.
fn reached(point: Point, test: &str, mut act: impl FnMut(&mut Probe)) {
    if let Some(reason) = refuses(&point).unwrap() {
        println!("SKIPPED points::{test}: {reason}");
        return;
    }
    let mut probe = Probe::at(point.clone()).unwrap();
    act(&mut probe);
    let hits = probe.hits().unwrap();
    assert!(hits > 0, "{point} was not reached");
    detach(&mut probe);
    let hits = probe.hits().unwrap();
    read_a_byte().unwrap();
    tested(1);
    assert_eq!(probe.hits().unwrap(), hits, "{point} is still attached");
}

/// System calls, among them an open and a read.
fn read_a_byte() -> std::io::Result<()> {
    File::open("/dev/zero")?.read_exact(&mut [0])
}

/// A function of this program.
#[inline(never)]
extern "C" fn tested(number: u64) -> u64 {
    black_box(number) + 1
}

#[test]
fn a_raw_tracepoint_is_reached_until_it_is_detached() {
    needs!("open");
    let point = raw_tp("sys_enter").by("test_raw_tp");
    let test = "a_raw_tracepoint_is_reached_until_it_is_detached";
    reached(point, test, |_| read_a_byte().unwrap());
}

#[test]
fn a_typed_tracepoint_is_reached_until_it_is_detached() {
    needs!("open");
    let point = tp_btf("sys_enter").by("test_tp_btf");
    let test = "a_typed_tracepoint_is_reached_until_it_is_detached";
    reached(point, test, |_| read_a_byte().unwrap());
}

#[test]
fn the_entry_of_a_function_is_reached_until_it_is_detached() {
    needs!("open");
    let point = fentry("vfs_read").by("test_fentry");
    let test = "the_entry_of_a_function_is_reached_until_it_is_detached";
    reached(point, test, |_| read_a_byte().unwrap());
}

#[test]
fn the_return_of_a_function_is_reached_until_it_is_detached() {
    needs!("open");
    let point = fexit("vfs_read").by("test_fexit");
    let test = "the_return_of_a_function_is_reached_until_it_is_detached";
    reached(point, test, |_| read_a_byte().unwrap());
}

#[test]
fn a_denied_function_fails_with_eperm_until_it_is_detached() {
    needs!("open");
    use rustix::process::{getpgid, getpid};
    let point = fmod_ret("security_task_getpgid").by("test_fmod_ret");
    let test = "a_denied_function_fails_with_eperm_until_it_is_detached";
    reached(point, test, |_| {
        // No other test of this process calls it. Without the program a test kernel returns 0, which is an error for rustix.
        assert_eq!(getpgid(Some(getpid())), Err(rustix::io::Errno::PERM));
    });
}

#[test]
fn an_iterator_visits_every_thread_of_this_process() {
    needs!("open");
    let point = iter("task").by("test_iter");
    let test = "an_iterator_visits_every_thread_of_this_process";
    reached(point, test, |probe| {
        probe.iterate().unwrap();
        let first = probe.hits().unwrap();
        assert!(first >= 1);
        // Each pass visits them anew.
        probe.iterate().unwrap();
        assert!(probe.hits().unwrap() > first);
    });
}

/// Lock of the tests that count the calls of this process.
static COUNTING: Mutex<()> = Mutex::new(());

fn counting() -> MutexGuard<'static, ()> {
    COUNTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kernel function of a system call.
fn call(name: &str) -> String {
    match cfg!(target_arch = "aarch64") {
        true => format!("__arm64_sys_{name}"),
        false => format!("__x64_sys_{name}"),
    }
}

fn kernel_functions(functions: &[&str], side: Side, program: &'static str) -> Point {
    let functions = functions.iter().map(ToString::to_string).collect();
    let functions = Names::Found(functions);
    Point::new(At::KernelFunctions { functions, side }, program)
}

/// Returns whether this kernel has points at kernel functions, by its version and its symbols.
fn has_kernel_functions() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    // Every kernel of ours from 6.7 on has sessions too.
    let built = { symbols.lines() }.any(|line| line.ends_with(" register_fprobe_ips"));
    version >= (6, 7) && built
}

/// Attaches a point at kernel functions; `None` if this kernel lacks them and the reason is right.
fn at_kernel_functions(point: &Point, test: &str) -> Option<Probe> {
    let Some(reason) = refuses(point).unwrap() else {
        return Some(Probe::at(point.clone()).unwrap());
    };
    println!("SKIPPED points::{test}: {reason}");
    assert!(!has_kernel_functions(), "{reason}");
    let At::KernelFunctions { side, .. } = point.at else {
        panic!("{point} is at no kernel functions");
    };
    let (what, since) = match side {
        Side::Entry | Side::Return => ("", "6.7"),
        Side::Session => (" by sessions", "6.10"),
    };
    let begin = format!("this kernel does not allow hooking lists of kernel functions{what} (");
    assert!(reason.starts_with(&begin), "{reason}");
    let end = format!("); this requires Linux {since}, built with CONFIG_FPROBE");
    assert!(reason.ends_with(&end), "{reason}");
    None
}

/// Checks that a point was reached `times` times, except runs that the kernel skipped and counted; these may be of other processes.
fn was_reached(probe: &Probe, times: u64) {
    let (hits, missed) = (probe.hits().unwrap(), probe.missed().unwrap());
    let all = hits == times || (hits < times && hits + missed >= times);
    assert!(all, "{hits} of {times} seen, {missed} missed");
}

/// Calls eventfd2(2) with a number; the descriptor that was its result.
fn eventfd(number: u32) -> u64 {
    let made = rustix::event::eventfd(number, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    made.as_raw_fd() as u64
}

fn kernel_function_is_reached(side: Side, program: &'static str, each: u64, test: &str) {
    needs!("open");
    let point = kernel_functions(&[&call("eventfd2")], side, program);
    let _alone = counting();
    let Some(mut probe) = at_kernel_functions(&point, test) else {
        return;
    };
    let results: Vec<u64> = (0..100).map(eventfd).collect();
    was_reached(&probe, 100 * each);
    let seen = probe.seen().unwrap();
    match side {
        Side::Entry => assert_eq!(seen, 99),
        Side::Return => assert_eq!(Some(&seen), results.last()),
        Side::Session => {}
    }
    detach(&mut probe);
    let hits = probe.hits().unwrap();
    eventfd(0);
    assert_eq!(probe.hits().unwrap(), hits, "{point} is still attached");
}

#[test]
fn a_kernel_function_is_reached_at_each_entry_with_its_argument_until_it_is_detached() {
    let test = "a_kernel_function_is_reached_at_each_entry_with_its_argument_until_it_is_detached";
    kernel_function_is_reached(Side::Entry, "test_kprobe", 1, test);
}

#[test]
fn a_kernel_function_is_reached_at_each_return_with_its_result_until_it_is_detached() {
    let test = "a_kernel_function_is_reached_at_each_return_with_its_result_until_it_is_detached";
    kernel_function_is_reached(Side::Return, "test_kretprobe", 1, test);
}

#[test]
fn a_session_reaches_a_kernel_function_at_each_entry_and_return_until_it_is_detached() {
    let test = "a_session_reaches_a_kernel_function_at_each_entry_and_return_until_it_is_detached";
    kernel_function_is_reached(Side::Session, "test_kprobe_session", 2, test);
}

#[test]
fn one_program_distinguishes_its_kernel_functions() {
    needs!("open");
    let test = "one_program_distinguishes_its_kernel_functions";
    // Not in the order of their names, in which the kernel looks them up.
    let functions = [call("getppid"), call("eventfd2")];
    let functions = [functions[0].as_str(), functions[1].as_str()];
    for (side, program) in [
        (Side::Entry, "test_kprobe"),
        (Side::Return, "test_kretprobe"),
        (Side::Session, "test_kprobe_session"),
    ] {
        let _alone = counting();
        let point = kernel_functions(&functions, side, program);
        let Some(probe) = at_kernel_functions(&point, test) else {
            return;
        };
        for number in 0..10 {
            eventfd(number);
            black_box(rustix::process::getppid());
            black_box(rustix::process::getppid());
        }
        let each = match side {
            Side::Entry | Side::Return => 1,
            Side::Session => 2,
        };
        was_reached(&probe, 30 * each);
        if probe.missed().unwrap() == 0 {
            assert_eq!(probe.hits_of(0), Ok(20 * each));
            assert_eq!(probe.hits_of(1), Ok(10 * each));
        }
    }
}

#[test]
fn a_kernel_function_that_cannot_be_probed_is_refused_by_its_name() {
    needs!("open");
    let test = "a_kernel_function_that_cannot_be_probed_is_refused_by_its_name";
    let there = call("eventfd2");
    // The second is one that nothing may hook: kernel/time/timekeeping.c.
    for function in ["no_such_function", "ktime_get_mono_fast_ns"] {
        for side in [Side::Entry, Side::Return, Side::Session] {
            let point = kernel_functions(&[&there], side, "test_kprobe");
            if at_kernel_functions(&point, test).is_none() {
                return;
            }
            let point = kernel_functions(&[&there, function], side, "test_kprobe");
            let reason = format!("this kernel has no function {function} that can be probed");
            assert_eq!(refuses(&point).unwrap(), Some(reason));
        }
    }
}

#[test]
fn kernel_functions_take_no_capability_but_bpf_and_perfmon() {
    needs!("open");
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    let test = "kernel_functions_take_no_capability_but_bpf_and_perfmon";
    // Capabilities are a thread's own.
    let confined = std::thread::spawn(move || {
        let few = CapabilitySet::BPF | CapabilitySet::PERFMON;
        let sets = CapabilitySets {
            effective: few,
            permitted: few,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).unwrap();
        let point = kernel_functions(&[&call("eventfd2")], Side::Entry, "test_kprobe");
        let _alone = counting();
        if let Some(probe) = at_kernel_functions(&point, test) {
            eventfd(1);
            was_reached(&probe, 1);
        }
    });
    confined.join().unwrap();
}

#[test]
fn a_run_at_a_kernel_function_that_the_kernel_skips_is_counted() {
    needs!("open");
    let test = "a_run_at_a_kernel_function_that_the_kernel_skips_is_counted";
    // While bpf(2) is at work on a map no program at a function runs there: bpf_disable_instrumentation, include/linux/bpf.h.
    let point = kernel_functions(&["array_map_lookup_elem"], Side::Entry, "test_kprobe");
    let Some(probe) = at_kernel_functions(&point, test) else {
        return;
    };
    for _ in 0..100 {
        assert_eq!(probe.seen(), Ok(0));
    }
    let missed = probe.missed().unwrap();
    assert!(missed >= 100, "{missed}");
    assert_eq!(probe.hits(), Ok(0));
}

#[test]
fn returns_of_many_calls_at_once_are_seen_or_counted() {
    needs!("open");
    const CALLS: u64 = 64;
    let test = "returns_of_many_calls_at_once_are_seen_or_counted";
    // No other test calls it.
    let point = kernel_functions(&[&call("tee")], Side::Return, "test_kretprobe");
    let Some(probe) = at_kernel_functions(&point, test) else {
        return;
    };
    let (empty, writer) = rustix::pipe::pipe().unwrap();
    let (_reader, to) = rustix::pipe::pipe().unwrap();
    let (threads, started) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..CALLS {
            let (threads, empty, to) = (threads.clone(), &empty, &to);
            scope.spawn(move || {
                threads.send(rustix::thread::gettid()).unwrap();
                let flags = rustix::pipe::SpliceFlags::empty();
                assert_eq!(rustix::pipe::tee(empty, to, 1, flags), Ok(0));
            });
        }
        // All wait in the call until the pipe has no writer.
        for thread in started.iter().take(CALLS as usize) {
            let call = format!("/proc/self/task/{}/syscall", thread.as_raw_pid());
            let tee = format!("{} ", libc::SYS_tee);
            until("a call of tee(2)", || {
                let call = fs::read_to_string(&call).unwrap();
                call.starts_with(&tee).then_some(())
            });
        }
        drop(writer);
    });
    was_reached(&probe, CALLS);
    println!("{} of {CALLS} seen", probe.hits().unwrap());
}

/// Returns the file of this program, and the offset of a function in it.
fn place_of(function: extern "C" fn(u64) -> u64) -> (CString, u64) {
    let address = function as usize as u64;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let offset = maps.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = (hex(start)?, hex(end)?);
        let offset = hex(words.nth(1)?)?;
        (start..end)
            .contains(&address)
            .then_some(address - start + offset)
    });
    let path = std::env::current_exe().unwrap();
    let path = CString::new(path.to_str().unwrap()).unwrap();
    (path, offset.unwrap())
}

fn user_function(side: Side, program: &'static str) -> Point {
    let at = At::UserFunction {
        object: "self".into(),
        symbol: "tested".into(),
        side,
    };
    Point::new(at, program)
}

fn user_function_is_reached(side: Side, program: &'static str, each: u64, test: &str) {
    let (path, offset) = place_of(tested);
    reached(user_function(side, program), test, |probe| {
        tested(1);
        assert_eq!(probe.hits().unwrap(), 0, "it is attached to no file yet");
        probe.attach_to_file(&path, offset).unwrap();
        for number in 0..10 {
            assert_eq!(tested(number), number + 1);
        }
        // Other tests of this process call it too.
        assert!(probe.hits().unwrap() >= 10 * each);
    });
}

#[test]
fn a_user_function_is_reached_at_its_entry_until_it_is_detached() {
    needs!("open");
    let test = "a_user_function_is_reached_at_its_entry_until_it_is_detached";
    user_function_is_reached(Side::Entry, "test_uprobe", 1, test);
}

#[test]
fn a_user_function_is_reached_at_its_return_until_it_is_detached() {
    needs!("open");
    let test = "a_user_function_is_reached_at_its_return_until_it_is_detached";
    user_function_is_reached(Side::Return, "test_uretprobe", 1, test);
}

#[test]
fn a_session_reaches_a_user_function_at_entry_and_return() {
    needs!("open");
    let test = "a_session_reaches_a_user_function_at_entry_and_return";
    user_function_is_reached(Side::Session, "test_uprobe", 2, test);
}

/// Attaches a point at a cgroup, and returns the result of a connect(2) in it: 0, or an error.
fn connecting(at: impl FnOnce(String) -> At, program: &'static str, test: &str) -> Option<i64> {
    let cgroup = Cgroup::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut workload = Workload::behind_gate(&["connect", &address, "0", "0"]);
    cgroup.add(workload.pid());
    let point = Point::new(at(cgroup.path().to_str().unwrap().to_owned()), program);
    if let Some(reason) = refuses(&point).unwrap() {
        println!("SKIPPED points::{test}: {reason}");
        workload.kill();
        return None;
    }
    let mut probe = Probe::at(point).unwrap();
    let accepting = std::thread::spawn(move || drop(listener.accept()));
    workload.go();
    assert!(workload.wait().success());
    let report = workload.reports().remove(0);
    // If the workload was refused, there was no connection yet.
    drop(TcpStream::connect(&address));
    accepting.join().unwrap();
    assert!(probe.hits().unwrap() > 0);
    detach(&mut probe);
    let result = report.all("result");
    Some(result.first().map_or(0, |result| result.as_i64().unwrap()))
}

#[test]
fn a_program_at_packets_that_returns_nothing_lets_them_pass() {
    needs!("open");
    let test = "a_program_at_packets_that_returns_nothing_lets_them_pass";
    let at = |cgroup: String| At::CgroupPackets {
        cgroup: cgroup.into(),
        direction: Direction::Egress,
    };
    if let Some(result) = connecting(at, "test_cgroup_skb", test) {
        assert_eq!(result, 0);
    }
}

fn connect4(cgroup: String) -> At {
    At::CgroupAddress {
        cgroup: cgroup.into(),
        call: AddressCall::Connect4,
    }
}

#[test]
fn a_program_at_connect_that_returns_nothing_lets_it_go_on() {
    needs!("open");
    let test = "a_program_at_connect_that_returns_nothing_lets_it_go_on";
    if let Some(result) = connecting(connect4, "test_connect4", test) {
        assert_eq!(result, 0);
    }
}

#[test]
fn a_denied_connect_fails_with_eperm() {
    needs!("open");
    let test = "a_denied_connect_fails_with_eperm";
    if let Some(result) = connecting(connect4, "test_connect4_deny", test) {
        assert_eq!(result, -i64::from(libc::EPERM));
    }
}

//! Each kind of point on this kernel: its program runs while it is attached, decides what it decides, and is gone when it is detached.

use agent::selftest::{Probe, refuses};
use std::{
    ffi::CString,
    fs::{self, File},
    hint::black_box,
    io::Read,
    net::{TcpListener, TcpStream},
};
use tests::{Cgroup, Workload, in_kernel, needs};
use tracers::{
    AddressCall, At, Direction, Point, Side, fentry, fexit, fmod_ret, iter, raw_tp, tp_btf,
};

/// Detaches it: the kernel has none of its links any more.
fn detach(probe: &mut Probe) {
    let links = probe.links();
    assert!(!links.is_empty());
    let there = in_kernel();
    assert!(links.iter().all(|link| there.contains(link)), "{links:?}");
    probe.detach();
    let there = in_kernel();
    assert!(!links.iter().any(|link| there.contains(link)), "{links:?}");
}

/// Attaches the point's program, does what reaches it, and sees that it is gone when it is detached. Says why where this kernel lacks it.
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
        // No other test of this process asks for it. Without the program a test kernel answers 0, which rustix takes for a bug.
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

/// The file of this program, and where in it a function is.
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

/// A point at a cgroup, and what a process in it gets that connects: 0, or an error.
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
    // Where the workload was refused, nobody has connected yet.
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

//! `workload`: the program that the tests trace. It is deterministic, reports its own actions, and does not depend on tracing.
//!
//! `workload STEP [ARG…] [, STEP [ARG…]]…` does one step after the other and then writes one line of JSON on stderr:
//! `{"workload":{"pid":…,"notes":[…]}}`, a note per thing that is worth checking. Any surprise is a panic.
#![allow(
    clippy::unwrap_used,
    reason = "a workload that cannot do what it should is a test that fails"
)]

mod allocate;
mod bpf;
mod capabilities;
mod exec;
mod files;
#[cfg(target_arch = "x86_64")]
mod jit;
mod lock;
mod memory;
mod network;
mod process;
mod raw;
mod report;
mod syscalls;

use std::{
    ffi::{OsStr, OsString},
    time::{Duration, Instant},
};

fn main() {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|first| first.to_str()) {
        Some("with-caps") => capabilities::exec_with(&args[1..]),
        Some("bpf-ids") => bpf::print_ids(),
        Some("bpf-programs") => bpf::print_programs(&args[1..]),
        _ => {
            report::begin();
            steps(&args);
            report::end();
        }
    }
}

/// Does the steps, which are separated by `,`.
fn steps(args: &[OsString]) {
    for one in args.split(|arg| arg == ",") {
        step(one);
    }
}

/// Does one step.
fn step(args: &[OsString]) {
    let (name, args) = args.split_first().expect("a step has a name");
    match name.to_str().unwrap() {
        // Identity and place of this process.
        "gate" => process::gate(),
        "until-eof" => process::until_eof(),
        "say" => report::say(serde_json::json!({ "said": args[0].to_str() })),
        "sleep-and-say" => process::sleep_and_say(number(&args[0]), &args[1]),
        "say-tid-until-eof" => process::say_tid_until_eof(),
        "comm" => process::comm(&args[0]),
        "ids" => process::ids(number(&args[0]), number(&args[1])),
        "chdir" => std::env::set_current_dir(&args[0]).unwrap(),
        "chroot" => process::chroot(&args[0]),
        "bind" => process::bind(&args[0], &args[1]),
        "pin" => process::pin(number(&args[0])),
        "timed" => process::timed(args),
        "time-of" => process::time_of(args),
        "burn" => process::burn(number(&args[0])),
        // Ticks of 4 ms: CONFIG_HZ is 250.
        "burn-ticks" => process::burn(4 * number(&args[0])),
        "burn-unevenly" => process::burn_unevenly(number(&args[0])),
        "newnet" => raw::unshare(libc::CLONE_NEWNET),
        // The process or thread of the rest of the step.
        "fork" => process::fork(args),
        "abandon" => process::abandon(args),
        "zombie" => process::zombie(),
        "fork-until-byte" => process::fork_until_byte(number(&args[0])),
        "ending-children" => process::ending_children(number(&args[0])),
        "fork-storm" => process::fork_storm(number(&args[0])),
        "newpid" => process::new_pid_namespace(args),
        "first-thread-ends" => process::first_thread_ends(),
        "threads" => process::threads(number(&args[0]), &args[1..]),
        "killed-in" => process::killed_in(&args[0], &args[1..]),
        "exit" => process::exit(number(&args[0])),
        "dies-of" => process::dies_of(number(&args[0]), &args[1..]),
        "kill" => process::kill_self(number(&args[0])),
        "take-over" => process::take_over(number(&args[0])),
        "is-dumpable" => process::is_dumpable(),
        "empty-programs" => bpf::bare(args, false),
        "clock-programs" => bpf::bare(args, true),
        // System calls.
        "ignore" => raw::exit_now(0),
        "getppid" => syscalls::getppid(number(&args[0])),
        "getppid32" => syscalls::getppid32(number(&args[0])),
        "close-bad" => syscalls::close_bad(number(&args[0])),
        "mount-fails" => syscalls::mount_fails(number(&args[0]), number(&args[1])),
        // Calls that the kernel never begins.
        "answer" => raw::answer(number(&args[0]) as u32, number(&args[1]) as u32),
        "supervised" => process::supervised(args),
        #[cfg(target_arch = "x86_64")]
        "emulated" => process::emulated(number(&args[0]), number(&args[1]), &args[2..]),
        "no-such-call" => syscalls::no_such_call(number(&args[0]), number(&args[1])),
        "open-errors" => syscalls::open_errors(),
        "futex-waits" => syscalls::futex_waits(number(&args[0]), number(&args[1])),
        "poll-nothing" => syscalls::poll_nothing(number(&args[0]), number(&args[1])),
        "ping-pong" => syscalls::ping_pong(number(&args[0])),
        "nanosleep" => syscalls::nanosleep(number(&args[0]), number(&args[1])),
        "read-forever" => syscalls::read_forever(),
        "pause-forever" => syscalls::pause_forever(),
        "storm" => syscalls::storm(&args[0], number(&args[1])),
        // Files.
        "open" => files::open(1, args),
        "open-times" => files::open(number(&args[0]), &args[1..]),
        "open-deep" => files::open_deep(number(&args[0]), number(&args[1])),
        "open-fifo" => files::open_fifo(&args[0], number(&args[1])),
        "open-fifo-before-gate" => files::open_fifo_before_gate(&args[0]),
        "open-bad-pointer" => files::open_bad_pointer(),
        "open-bad-how" => files::open_bad_how(&args[0]),
        "sync-file" => files::sync(&args[0], number(&args[1])),
        "open-unread" => files::open_unread(&args[0]),
        "open-per-byte" => files::open_per_byte(number(&args[0]), &args[1]),
        "open-paced" => files::open_paced(number(&args[0]), number(&args[1]), &args[2]),
        "open-missing" => files::open_missing(number(&args[0]), number(&args[1])),
        "open-storm" => files::storm(&args[0], number(&args[1]), &args[2]),
        // Programs.
        "exec" => exec::become_program(args),
        "exec-in-thread" => exec::become_program_in_thread(args),
        "spawn" => exec::spawn("execve", args),
        "spawn-at" => exec::spawn("execveat", args),
        "spawn-times" => exec::spawn_times(number(&args[0]), &args[1..]),
        "spawn-with" => exec::spawn_with(number(&args[0]), number(&args[1]), &args[2]),
        "exec-fails" => exec::fails(1, args),
        "exec-fails-times" => exec::fails(number(&args[0]), &args[1..]),
        "exec-fails-with" => exec::fails_with(number(&args[0]), number(&args[1]), &args[2]),
        // Connections.
        "receive-nothing" => network::receive_nothing(number(&args[0]), number(&args[1])),
        "send-to-itself" => network::send_to_itself(number(&args[0])),
        "connect" => network::connect(args),
        "connect-to-itself" => network::connect_to_itself(),
        "mptcp" => network::by_mptcp(args),
        "mptcp-subflows" => network::mptcp_subflows(args),
        "connect-before-gate" => network::connect_before_gate(args),
        "connect-times" => network::connect_times(number(&args[0]), &args[1]),
        "connections" => network::connections(number(&args[0]), number(&args[1])),
        "connect-and-reset" => network::connect_and_reset(args),
        "connect-and-wait" => network::connect_and_wait(args),
        "serve-until-broken-off" => network::serve_until_broken_off(args),
        "serve-unread" => network::serve_unread(args),
        "give-up" => network::give_up(&args[0]),
        "unanswered" => network::unanswered(number(&args[0])),
        "time-out" => network::time_out(&args[0]),
        "serve" => network::serve(args),
        "serve-by-child" => network::serve_by_child(args),
        // Memory.
        "allocate" => allocate::by(&args[0], number(&args[1]), number(&args[2])),
        "contend" => lock::contend(number(&args[0]), number(&args[1])),
        "wait-for-page" => lock::wait_for_page(number(&args[0]), number(&args[1])),
        "map-and-unmap" => raw::map_and_unmap(number(&args[0])),
        "touch" => memory::touch(number(&args[0]), &args[1]),
        "touch-deep" => memory::touch_deep(number(&args[0]), number(&args[1])),
        "write-after-fork" => memory::write_after_fork(number(&args[0])),
        "read-into" => memory::read_into(number(&args[0])),
        #[cfg(target_arch = "x86_64")]
        "jit" => jit::touch(
            number(&args[0]),
            number(&args[1]),
            number(&args[2]),
            &args[3],
        ),
        "eat" => memory::eat(),
        "victims" => memory::victims(number(&args[0])),
        "hold" => memory::hold(number(&args[0])),
        other => panic!("no step is called {other:?}"),
    }
}

/// Returns a function that reports whether a storm is over: after the given seconds, or for `until-byte` when there is a byte on stdin.
fn is_over(lasts: &OsStr) -> impl Fn() -> bool + Sync {
    let seconds = (lasts != "until-byte").then(|| Duration::from_secs(number(lasts)));
    let end = seconds.map(|seconds| Instant::now() + seconds);
    move || match end {
        Some(end) => Instant::now() >= end,
        None => rustix::io::ioctl_fionread(std::io::stdin()).unwrap() > 0,
    }
}

/// A number among a step's arguments.
fn number(arg: &OsStr) -> u64 {
    arg.to_str()
        .unwrap()
        .parse()
        .unwrap_or_else(|_| panic!("{arg:?} is no number"))
}

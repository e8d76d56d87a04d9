//! Programs started, and those that cannot be.

use crate::{raw, report};
use serde_json::json;
use std::ffi::{CString, OsStr, OsString};

fn strings(args: &[OsString]) -> Vec<CString> {
    args.iter().map(|arg| raw::c_string(arg)).collect()
}

/// Becomes `PATH ARG0 ARG1…`, reporting first.
pub(crate) fn become_program(args: &[OsString]) {
    report::end();
    let errno = raw::exec("execve", &raw::c_string(&args[0]), &strings(&args[1..]));
    panic!("{:?}: {errno}", args[0]);
}

/// The same from a thread that is not the first.
pub(crate) fn become_program_in_thread(args: &[OsString]) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            report::note(json!({ "tid": rustix::thread::gettid().as_raw_nonzero().get() }));
            become_program(args);
        });
    });
}

fn spawn_program(how: &str, path: &CString, argv: &[CString]) {
    match raw::fork() {
        None => {
            raw::exec(how, path, argv);
            raw::exit_now(127);
        }
        Some(pid) => {
            report::note(json!({ "child": pid }));
            assert_eq!(raw::wait(pid), 0);
        }
    }
}

/// A child becomes `PATH ARG0 ARG1…`, which must end well.
pub(crate) fn spawn(how: &str, args: &[OsString]) {
    spawn_program(how, &raw::c_string(&args[0]), &strings(&args[1..]));
}

/// Spawns the program `times` times.
pub(crate) fn spawn_times(times: u64, args: &[OsString]) {
    for _ in 0..times {
        spawn("execve", args);
    }
}

/// `count` arguments of `bytes` bytes each; they begin with their own number.
fn many(count: u64, bytes: u64) -> Vec<CString> {
    let arg = |n: u64| {
        let mut text = n.to_string();
        text.extend(std::iter::repeat_n(
            'x',
            (bytes as usize).saturating_sub(text.len()),
        ));
        CString::new(text).unwrap()
    };
    (0..count).map(arg).collect()
}

/// A child becomes a program with that many arguments of that many bytes.
pub(crate) fn spawn_with(count: u64, bytes: u64, path: &OsStr) {
    spawn_program("execve", &raw::c_string(path), &many(count, bytes));
}

/// `CALL PATH ARG0 ARG1…`: executes a program `times` times, which must fail.
pub(crate) fn fails(times: u64, args: &[OsString]) {
    let how = args[0].to_str().unwrap();
    let (path, argv) = (raw::c_string(&args[1]), strings(&args[2..]));
    for n in 0..times {
        let errno = raw::exec(how, &path, &argv);
        if n == 0 {
            report::note(json!({ "result": -errno }));
        }
    }
}

/// Fails to become a program with that many arguments of that many bytes.
pub(crate) fn fails_with(count: u64, bytes: u64, path: &OsStr) {
    let errno = raw::exec("execve", &raw::c_string(path), &many(count, bytes));
    report::note(json!({ "result": -errno }));
}

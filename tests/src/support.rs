//! Features of this machine and its kernel, and capabilities under test.

use crate::tracejob_path;
use serde_json::Value;
use std::{process::Command, sync::OnceLock};

/// Returns whether this machine runs a test kernel: then everything on it may be traced.
pub fn in_vm() -> bool {
    std::env::var_os("TRACEJOB_TEST_VM").is_some()
}

/// Returns whether the kernel preempts programs at tracepoints, and skips them for other tasks meanwhile: since Linux 7.0.
pub fn skips_runs() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_str().unwrap();
    release.split('.').next().unwrap().parse::<u32>().unwrap() >= 7
}

/// Creates an MPTCP socket.
///
/// # Errors
/// If the kernel is built without MPTCP, or MPTCP is disabled.
pub fn mptcp_socket() -> Result<std::os::fd::OwnedFd, String> {
    use rustix::net::{AddressFamily, SocketType, ipproto, socket};
    socket(
        AddressFamily::INET,
        SocketType::STREAM,
        Some(ipproto::MPTCP),
    )
    .map_err(|error| format!("this kernel makes no MPTCP sockets: {error}"))
}

/// Returns whether this kernel has MPTCP. If not, prints that the test of this name is skipped.
pub fn mptcp_here(test: &str) -> bool {
    match mptcp_socket() {
        Ok(_) => true,
        Err(why) => {
            println!("SKIPPED {test}: {why}");
            false
        }
    }
}

/// Every tracer, as the program under test lists it where it has each capability.
fn list_of_root() -> &'static [Value] {
    static LIST: OnceLock<Vec<Value>> = OnceLock::new();
    LIST.get_or_init(|| listed(Command::new(tracejob_path()).args(["list", "-o", "json"])))
}

/// The same with the capabilities under test, and those that a tracer requires besides.
fn list() -> &'static [Value] {
    static LIST: OnceLock<Vec<Value>> = OnceLock::new();
    LIST.get_or_init(|| {
        let Some(all) = capabilities(Requiring::Every) else {
            return list_of_root().to_vec();
        };
        let mut command = Command::new(crate::program("workload"));
        command.args(["with-caps", &all]).arg(tracejob_path());
        listed(command.args(["list", "-o", "json"]))
    })
}

fn listed(command: &mut Command) -> Vec<Value> {
    let output = command.env_remove("TRACEJOB_AGENT").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let list: Value = serde_json::from_str(&text).unwrap();
    list["tracers"].as_array().unwrap().clone()
}

/// Tracers whose required capabilities a program gets in addition to those under test.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Requiring<'a> {
    /// No tracer.
    None,
    /// This tracer.
    One(&'a str),
    /// Every tracer.
    Every,
}

/// Returns the capabilities under test; `None` if the program gets all.
pub(crate) fn capabilities(tracers: Requiring<'_>) -> Option<String> {
    let mut all = std::env::var("TRACEJOB_TEST_CAPS").ok()?;
    if all.is_empty() {
        return None;
    }
    let is_required_by = |tracer: &&Value| match tracers {
        Requiring::None => false,
        Requiring::One(name) => tracer["name"] == name,
        Requiring::Every => true,
    };
    match tracers {
        Requiring::None => {}
        Requiring::One(_) | Requiring::Every => {
            let tracers = list_of_root().iter().filter(is_required_by);
            tracers.for_each(|tracer| required(tracer, &mut all));
        }
    }
    Some(all)
}

/// Adds the capabilities that a listed tracer requires.
fn required(tracer: &Value, to: &mut String) {
    for need in tracer["needs"].as_array().unwrap() {
        let name = need["name"].as_str().unwrap();
        if let Some(capability) = name.strip_prefix("CAP_")
            && need["required"] == true
        {
            let capability = capability.to_lowercase();
            if !to.split(',').any(|one| one == capability) {
                to.push(',');
                to.push_str(&capability);
            }
        }
    }
}

/// All tracers of the program under test.
pub fn all_tracers() -> Vec<String> {
    let names = list().iter().map(|one| one["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

/// The tracers that run on this kernel.
pub fn tracers() -> Vec<String> {
    let supported = list().iter().filter(|one| one["supported"] == true);
    supported
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Returns whether a tracer runs on this kernel with these capabilities. If not, prints that the test is skipped, with the tracer's reason.
/// `test` is the type name of a function in the test.
pub fn runs_here(tracer: &str, test: &str) -> bool {
    let listed = list().iter().find(|one| one["name"] == tracer);
    let listed = listed.unwrap_or_else(|| panic!("`tracejob list` does not list {tracer}"));
    if listed["supported"] == true {
        return true;
    }
    let reason = listed["reason"].as_str().unwrap();
    println!("SKIPPED {}: {reason}", name_of(test));
    false
}

/// Returns the name of a test, from the type name of a function in it.
fn name_of(test: &str) -> &str {
    let test = test.trim_end_matches("::here");
    test.split_once("::").map_or(test, |(_, name)| name)
}

/// Returns from the test if the tracer does not run on this kernel, and prints the reason.
#[macro_export]
macro_rules! needs {
    ($tracer:literal) => {{
        fn here() {}
        if !$crate::runs_here($tracer, std::any::type_name_of_val(&here)) {
            return;
        }
    }};
}

/// Returns whether the program under test may read the symbols of the kernel and of processes. If not, prints that the test is skipped.
pub fn names_here(test: &str) -> bool {
    let Some(all) = capabilities(Requiring::None) else {
        return true;
    };
    if all.split(',').any(|one| one == "syslog") {
        return true;
    }
    println!(
        "SKIPPED {}: names of functions are hidden from a program with {all} alone",
        name_of(test)
    );
    false
}

/// Returns from the test if the program under test gets no names of functions, and prints the reason.
#[macro_export]
macro_rules! needs_names {
    () => {{
        fn here() {}
        if !$crate::names_here(std::any::type_name_of_val(&here)) {
            return;
        }
    }};
}

//! What this machine allows.

use crate::trace;
use serde_json::Value;
use std::sync::OnceLock;

/// Whether this machine is a test kernel's own: then everything on it may be traced.
pub fn in_vm() -> bool {
    std::env::var_os("TRACEJOB_TEST_VM").is_some()
}

/// Whether the kernel preempts programs at tracepoints, and skips them for other tasks meanwhile: since Linux 7.0.
pub fn skips_runs() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_str().unwrap();
    release.split('.').next().unwrap().parse::<u32>().unwrap() >= 7
}

/// An MPTCP socket, or why this kernel has none.
///
/// # Errors
/// Where the kernel is built without MPTCP, or it is switched off.
pub fn mptcp_socket() -> Result<std::os::fd::OwnedFd, String> {
    use rustix::net::{AddressFamily, SocketType, ipproto, socket};
    socket(
        AddressFamily::INET,
        SocketType::STREAM,
        Some(ipproto::MPTCP),
    )
    .map_err(|error| format!("this kernel makes no MPTCP sockets: {error}"))
}

/// Whether there is MPTCP here; says that the test of this name is skipped where there is none.
pub fn mptcp_here(test: &str) -> bool {
    match mptcp_socket() {
        Ok(_) => true,
        Err(why) => {
            println!("SKIPPED {test}: {why}");
            false
        }
    }
}

fn list() -> &'static [Value] {
    static LIST: OnceLock<Vec<Value>> = OnceLock::new();
    LIST.get_or_init(|| {
        let output = trace::tracejob(&["list", "-o", "json"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let list: Value = serde_json::from_str(&text).unwrap();
        list["tracers"].as_array().unwrap().clone()
    })
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

/// Whether a tracer runs on this kernel with these capabilities. If not, the test is skipped aloud, with the tracer's own reason.
/// `test` is the type name of a function in the test.
pub fn runs_here(tracer: &str, test: &str) -> bool {
    let listed = list().iter().find(|one| one["name"] == tracer);
    let listed = listed.unwrap_or_else(|| panic!("`tracejob list` knows no {tracer}"));
    if listed["supported"] == true {
        return true;
    }
    let test = test.trim_end_matches("::here");
    let test = test.split_once("::").map_or(test, |(_, name)| name);
    println!("SKIPPED {test}: {}", listed["reason"].as_str().unwrap());
    false
}

/// Returns from the test where the tracer does not run on this kernel, which it says.
#[macro_export]
macro_rules! needs {
    ($tracer:literal) => {{
        fn here() {}
        if !$crate::runs_here($tracer, std::any::type_name_of_val(&here)) {
            return;
        }
    }};
}

//! Names of functions, as rows have them: those that a program makes long, and those of the kernel that the node hides.

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};
use tests::{Workload, folder, most_resident, needs, program, tracejob, tracejob_path, until};

/// What `tracejob` may take of memory for it, KiB: its table, the names, a flame graph of 64 MiB and what drawing it takes.
const MOST: i64 = 160 << 10;

#[test]
fn a_flame_graph_of_220000_places_with_names_of_4_kb_takes_bounded_memory() {
    needs!("page_fault");
    let folder = folder();
    let path = |name: &str| folder.join(name);
    let form = |form: &str| format!("{form}={}", path(form).display());
    let mut workload = Workload::behind_gate(&["jit", "2000", "110", "4000", "one"]);
    // The start is read from JSON messages; its rows are too many to be kept.
    let mut tracing = tracejob(&["run", "page_fault", "-o", "json", "--duration", "3s"])
        .args(["-o", &form("folded"), "-o", &form("flamegraph")])
        .args(["--pid", &workload.pid().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut messages = BufReader::new(tracing.stderr.take().unwrap()).lines();
    let started = messages.next().unwrap().unwrap();
    assert!(started.contains("started"), "{started}");
    workload.go();
    let mut most = 0;
    until("the trace to end", || {
        most = most_resident(tracing.id()).unwrap_or(0).max(most);
        tracing.try_wait().unwrap()
    });
    workload.end();
    let account: String = messages.map(Result::unwrap).collect();
    let size = |name| fs::metadata(path(name)).unwrap().len();
    let (svg, folded) = (size("flamegraph"), size("folded"));
    println!("{most} KiB; {svg} bytes of SVG, {folded} of folded stacks; {account}");
    // All faults are there, by the names of their places: many are in one line of 110 names of 512 bytes.
    let lines = fs::read_to_string(path("folded")).unwrap();
    let counts = lines.lines().map(|line| line.rsplit_once(' ').unwrap());
    let counts = counts.map(|(stack, count)| (stack.len(), count.parse::<u64>().unwrap()));
    let counts: Vec<(usize, u64)> = counts.collect();
    let account: Value = serde_json::from_str(&account).unwrap();
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    assert_eq!(account["account"]["delivered"], all);
    assert!(most <= MOST, "{most} KiB");
    fs::remove_dir_all(folder).unwrap();
    // Symbolizing has a timeout: a stack that is not symbolized by then is marked.
    if !counts.iter().any(|(len, _)| *len > 100 * 500) {
        assert!(lines.contains("[unknown]"));
        println!(
            "SKIPPED names::a_flame_graph_of_220000_places_with_names_of_4_kb_takes_bounded_memory: this machine is too busy to name all in time"
        );
    }
}

#[test]
fn no_output_has_an_address_of_the_kernel_where_names_are_hidden() {
    needs!("page_fault");
    let folder = folder();
    let path = |name: &str| folder.join(name).display().to_string();
    let workload = program("workload");
    // Without CAP_SYSLOG, as the packaged unit runs the agent.
    let all = std::env::var("TRACEJOB_TEST_CAPS").unwrap_or_else(|_| "bpf,perfmon".to_owned());
    let some = all.split(',').filter(|name| *name != "syslog");
    let traced = Command::new(&workload)
        .args(["with-caps", &some.collect::<Vec<_>>().join(",")])
        .arg(tracejob_path())
        .args(["run", "page_fault", "-o", "json"])
        .args(["-o", &format!("folded={}", path("folded"))])
        .args(["-o", &format!("csv={}", path("csv"))])
        .arg("--")
        .arg(&workload)
        .args(["read-into", "50"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&traced.stderr);
    assert!(traced.status.success(), "{stderr}");
    let json = String::from_utf8(traced.stdout).unwrap();
    let mut frames = 0;
    for line in json.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        for frame in row["kernel_stack"].as_array().unwrap() {
            frames += 1;
            // A kernel that shows its symbols to every user (kptr_restrict 0) has names; other numbers would reveal its place in memory.
            assert!(frame["offset"].as_u64().unwrap() < 1 << 20, "{frame}");
            if frame["name"] == "[kernel]" {
                assert_eq!(
                    (&frame["module"], &frame["offset"]),
                    (&"[kernel]".into(), &0.into())
                );
            }
        }
    }
    assert!(frames > 0, "faults in the kernel have stacks: {json}");
    for text in [json, read(&path("folded")), read(&path("csv"))] {
        assert!(!text.contains("0xffff"), "{text}");
    }
    fs::remove_dir_all(folder).unwrap();
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

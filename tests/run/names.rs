//! Names of functions, as rows have them: those that a program makes long, and those of the kernel that the node hides.

use serde_json::Value;
use std::{fs, process::Command};
use tests::{Trace, Workload, folder, most_resident, needs, program, until};

/// What `tracejob` may take of memory for it, KiB: its table, the names, a flame graph of 64 MiB and what drawing it takes.
const MOST: i64 = 400 << 10;

#[test]
fn a_flame_graph_of_200000_places_with_names_of_4_kb_takes_bounded_memory() {
    needs!("page_fault");
    let folder = folder();
    let path = |name: &str| folder.join(name);
    let form = |form: &str| format!("{form}={}", path(form).display());
    let mut workload = Workload::behind_gate(&["jit", "2000", "110", "4000", "one"]);
    let trace = Trace::of("page_fault")
        .with(&[
            "--duration",
            "3s",
            "-o",
            &form("folded"),
            "-o",
            &form("flamegraph"),
        ])
        .of_process(&workload)
        .counting()
        .start();
    workload.go();
    let mut most = 0;
    until("the flame graph", || {
        most = most_resident(trace.pid()).unwrap_or(0).max(most);
        path("flamegraph").exists().then_some(())
    });
    most = most_resident(trace.pid()).unwrap_or(0).max(most);
    let outcome = trace.finish();
    workload.end();
    let size = |name| fs::metadata(path(name)).unwrap().len();
    println!(
        "{most} KiB; {} bytes of SVG, {} of folded stacks; {:?}",
        size("flamegraph"),
        size("folded"),
        outcome.account().elapsed_ns,
    );
    assert!(outcome.account().delivered > 2000);
    assert!(most <= MOST, "{most} KiB");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn no_output_has_an_address_of_the_kernel_where_names_are_hidden() {
    needs!("page_fault");
    let folder = folder();
    let path = |name: &str| folder.join(name).display().to_string();
    let workload = program("workload");
    // Without CAP_SYSLOG, as the packaged unit runs the agent.
    let traced = Command::new(&workload)
        .args(["with-caps", "bpf,perfmon,sys_resource"])
        .arg(program("tracejob"))
        .args(["run", "page_fault", "-o", "json"])
        .args(["-o", &format!("folded={}", path("folded"))])
        .args(["-o", &format!("csv={}", path("csv"))])
        .arg("--")
        .arg(&workload)
        .args(["read-into", "50"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&traced.stderr);
    assert!(traced.status.success(), "{said}");
    let json = String::from_utf8(traced.stdout).unwrap();
    let mut frames = 0;
    for line in json.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        for frame in row["kernel_stack"].as_array().unwrap() {
            frames += 1;
            // A kernel whose names everybody may see (kptr_restrict 0) gives them; a number from anything else tells where it lies.
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

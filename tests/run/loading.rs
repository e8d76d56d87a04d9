//! What it takes to load a tracer: the verifier refuses a program at a million instructions, and takes seconds long before.

use std::time::Instant;
use tests::{Trace, Workload, needs, tracers};

/// A quarter of the kernel's limit: BPF_COMPLEXITY_LIMIT_INSNS, include/linux/bpf.h.
const MOST: u64 = 250_000;

/// Instructions that the verifier went through for each program that a process holds: /proc/PID/fdinfo, since Linux 5.16.
fn verified(pid: u32) -> Vec<u64> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap_or_default());
    let number = |text: String| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("verified_insns:"));
        line.and_then(|value| value.trim().parse().ok())
    };
    texts.filter_map(number).collect()
}

#[test]
fn every_tracer_is_far_from_what_the_verifier_refuses() {
    needs!("open");
    let workload = Workload::behind_gate(&["getppid", "1"]);
    for tracer in tracers() {
        let began = Instant::now();
        let trace = Trace::of(&tracer).of_process(&workload).start();
        let took = began.elapsed();
        let mut verified = verified(trace.pid());
        verified.sort_unstable();
        println!("{tracer}: started in {took:?}, verified instructions {verified:?}");
        trace.stop();
        let Some(&most) = verified.last() else {
            println!(
                "SKIPPED loading::every_tracer_is_far_from_what_the_verifier_refuses: this kernel does not tell how much it verified; 5.16 does"
            );
            return;
        };
        assert!(most <= MOST, "{tracer}: {most} of a program");
    }
}

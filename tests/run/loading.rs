//! What it takes to load a tracer: the verifier refuses a program at a million instructions, and takes seconds long before.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Instant,
};
use tests::{Trace, Workload, held_by, needs, program, tracers};

/// A quarter of the kernel's limit: BPF_COMPLEXITY_LIMIT_INSNS, include/linux/bpf.h.
const MOST: u64 = 250_000;
/// What each program took on each kernel when that was last recorded: `cargo xtask verifier` writes it.
const RECORD: &str = include_str!("verifier.txt");
/// Growth of a program that needs no new record: a tenth, and this number of instructions.
const SLACK: u64 = 200;

/// Instructions of one program: those that the verifier processed (0 if the kernel does not report them), and those of the program.
type Size = (u64, u64);

/// Of each program that a process holds, by name.
fn programs(pid: u32) -> BTreeMap<String, Size> {
    let held = held_by(pid);
    let ids = held.iter().filter_map(|held| held.strip_prefix("prog "));
    let output = Command::new(program("workload"))
        .arg("bpf-programs")
        .args(ids)
        .output()
        .unwrap();
    let programs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let programs = programs.as_array().unwrap().iter();
    let mut sizes = BTreeMap::new();
    for program in programs {
        let number = |name: &str| program[name].as_u64().unwrap();
        let name = program["name"].as_str().unwrap().to_owned();
        // The kernel keeps 15 bytes of a name: of two that begin alike the larger counts.
        let size: &mut Size = sizes.entry(name).or_default();
        *size = (*size).max((number("verified"), number("size")));
    }
    sizes
}

/// The running kernel as the record names it: two numbers, or one from 7 on.
fn series() -> String {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release.split(['.', '-']);
    match (numbers.next().unwrap(), numbers.next().unwrap()) {
        (major, _) if major.parse::<u32>().unwrap() >= 7 => major.to_owned(),
        (major, minor) => format!("{major}.{minor}"),
    }
}

/// What was recorded of a kernel, by tracer and program.
fn recorded(series: &str) -> BTreeMap<(String, String), Size> {
    let lines = RECORD.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[0] == series)
        .map(|row| {
            let key = (row[1].to_owned(), row[2].to_owned());
            (key, (row[3].parse().unwrap(), row[4].parse().unwrap()))
        })
        .collect()
}

#[test]
fn no_program_has_grown_in_silence_and_all_are_far_from_what_the_verifier_refuses() {
    needs!("open");
    let series = series();
    let recorded = recorded(&series);
    let workload = Workload::behind_gate("getppid 1");
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for tracer in tracers() {
        let began = Instant::now();
        let trace = Trace::of(&tracer).of_process(&workload).start();
        println!("{tracer}: started in {:?}", began.elapsed());
        let programs = programs(trace.pid());
        trace.stop();
        assert!(!programs.is_empty(), "{tracer} holds no program");
        for (name, (verified, size)) in programs {
            println!("VERIFIED {series} {tracer} {name} {verified} {size}");
            assert!(verified <= MOST, "{tracer}: {verified} of {name}");
            let key = (tracer.clone(), name.clone());
            seen.insert(key.clone());
            match recorded.get(&key) {
                None => wrong.push(format!("{tracer}: {name} is not recorded")),
                Some(&(was_verified, was_size)) => {
                    for (what, now, was) in [
                        (
                            "instructions that the verifier went through",
                            verified,
                            was_verified,
                        ),
                        ("instructions", size, was_size),
                    ] {
                        if now > was + was / 10 + SLACK {
                            wrong.push(format!("{tracer}: {name} has {now} {what}, and had {was}"));
                        }
                    }
                }
            }
        }
    }
    if recorded.is_empty() {
        println!(
            "SKIPPED loading::no_program_has_grown_in_silence_and_all_are_far_from_what_the_verifier_refuses: nothing is recorded of Linux {series}; `cargo xtask verifier` does it"
        );
        return;
    }
    let ours = tracers();
    let gone = recorded
        .keys()
        .filter(|key| ours.contains(&key.0) && !seen.contains(key));
    wrong.extend(
        gone.map(|(tracer, name)| format!("{tracer}: {name} is recorded and was not loaded")),
    );
    assert!(
        wrong.is_empty(),
        "on Linux {series}:\n{}\nif that is wanted, `cargo xtask verifier` records it",
        wrong.join("\n")
    );
}

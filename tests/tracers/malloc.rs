//! `malloc` against allocations with known number, size and function.

use crate::conformance::{Entry, Expects, Identity, conforms};
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};
use tests::{Cgroup, Outcome, Trace, Workload, executable, needs, program, sum, until};

/// The line of the conformance suite. Hardly anything else is so large.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    options: &["--sample-every", "1B", "--min-size", "70000B"],
    besides: 20,
    unit: 100,
    storm: 5000,
    ..Entry::of("malloc", "allocate malloc {} 70000", Expects::Count(1))
};
conforms!(CONFORMANCE);

const EVERY: &[&str] = &["--sample-every", "1B"];

/// The rows of one function that allocates, by the innermost frame.
fn rows<'a>(outcome: &'a Outcome, function: &str) -> Vec<&'a Value> {
    let innermost = |row: &Value| row["user_stack"][0]["name"].as_str().map(str::to_owned);
    let all = outcome.rows.iter();
    all.filter(|row| innermost(row).is_some_and(|name| name.ends_with(function)))
        .collect()
}

/// Allocations and bytes of a function.
fn counted(outcome: &Outcome, function: &str) -> (u64, u64) {
    let rows = rows(outcome, function);
    (sum(&rows, "allocations"), sum(&rows, "size_bytes"))
}

/// Whether a row has this many allocations of this size and no others. Stacks of a program that ends at once may have no names.
fn has_row(outcome: &Outcome, allocations: u64, size: u64) -> bool {
    outcome.rows.iter().any(|row| {
        row["allocations"] == allocations
            && row["size_bytes"] == allocations * size
            && row["largest_bytes"] == size
    })
}

fn traced(options: &[&str], steps: &[&str]) -> Outcome {
    let outcome = Trace::of("malloc").with(options).workload(steps).run();
    outcome.complete();
    outcome
}

#[test]
fn every_allocation_by_each_function_is_one_with_its_size() {
    needs!("malloc");
    let functions = [
        ("malloc", 1),
        ("calloc", 1),
        ("realloc", 2),
        ("reallocarray", 1),
        ("aligned_alloc", 1),
        ("posix_memalign", 1),
        ("posix_memalign_small", 1),
        ("nothing", 0),
    ];
    let mut steps = Vec::new();
    for (function, _) in functions {
        steps.extend(["allocate", function, "300", "4096", ","]);
    }
    steps.pop();
    let outcome = traced(EVERY, &steps);
    for (function, each) in functions {
        // reallocarray has the stack of the realloc that it calls.
        let name = match function {
            "reallocarray" => "reallocarray".to_owned(),
            other => format!("by_{other}"),
        };
        let wanted = (300 * each, 300 * each * 4096);
        assert_eq!(counted(&outcome, &name), wanted, "{function}");
    }
    let all: Vec<&Value> = outcome.rows.iter().collect();
    assert_eq!(sum(&all, "allocations"), outcome.account().produced);
    for row in rows(&outcome, "by_malloc") {
        assert_eq!(row["largest_bytes"], 4096, "{row}");
        assert_eq!(row["sizes"], json!([[4096, row["allocations"]]]), "{row}");
    }
}

#[test]
fn a_sample_by_bytes_estimates_numbers_and_bytes_without_bias() {
    needs!("malloc");
    // 40,000 of 100 bytes are 4,000,000: some 244 samples of 16 KiB. Six standard deviations are 38 %.
    let steps = [
        "allocate", "malloc", "40000", "100", ",", "allocate", "calloc", "50", "32768",
    ];
    let trace = Trace::of("malloc").with(&["--sample-every", "16KiB"]);
    let outcome = trace.estimating().workload(&steps).run();
    outcome.complete();
    let (allocations, bytes) = counted(&outcome, "by_malloc");
    let near = |value: u64, truth: u64| value.abs_diff(truth) < truth * 2 / 5;
    assert!(near(allocations, 40_000), "{allocations}");
    assert!(near(bytes, 4_000_000), "{bytes}");
    // The histogram has the weight of each sample.
    for row in rows(&outcome, "by_malloc") {
        assert_eq!(row["sizes"], json!([[64, row["allocations"]]]), "{row}");
    }
    // What is larger than a sample is always seen.
    assert_eq!(counted(&outcome, "by_calloc"), (50, 50 * 32768));
    // The account is of what was seen.
    assert!(outcome.account().produced < 1000);
}

#[test]
fn a_running_process_is_traced_and_another_of_the_same_file_is_not() {
    needs!("malloc");
    let steps = ["allocate", "malloc", "500", "1000"];
    let (mut selected, mut beside) = (Workload::behind_gate(&steps), Workload::behind_gate(&steps));
    let trace = Trace::of("malloc")
        .with(EVERY)
        .of_process(&selected)
        .start();
    beside.finish();
    selected.finish();
    let outcome = trace.finish();
    outcome.complete();
    assert!(has_row(&outcome, 500, 1000), "{:?}", outcome.rows);
    assert!(outcome.rows.iter().all(|row| row["pid"] == selected.pid()));
}

/// A program of the system that is linked dynamically, and allocates.
const DYNAMIC: &str = "/bin/ls";

#[test]
fn threads_that_allocate_at_once_are_counted_to_the_last_one() {
    needs!("malloc");
    const ALL: u64 = 8 * 2000;
    let outcome = traced(EVERY, &["threads", "8", "allocate", "malloc", "2000", "64"]);
    let (allocations, bytes) = counted(&outcome, "by_malloc");
    assert_eq!(bytes, allocations * 64);
    // While a preempted thread reads its stack, another thread on that CPU may find no room for its own: its allocation is in a row
    // without a stack, and counted.
    let account = outcome.account();
    let without = outcome.rows_where("user_stack", json!([]));
    let without = sum(&without, "allocations");
    assert_eq!(without, account.stacks_missing(), "{}", account.raw);
    assert!(allocations <= ALL, "{allocations}");
    let seen = allocations + without.min(ALL - allocations);
    outcome.saw(seen, ALL);
}

/// Writes a program without symbols.
fn stripped(folder: &Path) -> PathBuf {
    let path = folder.join("stripped");
    let mut bytes = fs::read(program("workload")).unwrap();
    // Where its sections are, and how many: Elf64_Ehdr.
    bytes[40..48].fill(0);
    bytes[58..64].fill(0);
    executable(&path, bytes);
    path
}

#[test]
fn a_program_without_symbols_is_refused_by_its_reason() {
    needs!("malloc");
    let folder = tests::folder();
    let path = stripped(&folder);
    let outcome = Trace::of("malloc").command(vec![path.clone().into()]).run();
    assert_ne!(outcome.status, Some(0));
    let wanted = "it has no symbol table";
    assert!(outcome.stderr.contains(wanted), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("stripped"), "{}", outcome.stderr);
    fs::remove_dir_all(folder).unwrap();
}

mod here {
    use super::*;

    #[test]
    fn a_program_that_is_linked_dynamically_is_traced_in_its_c_library() {
        needs!("malloc");
        let command = [DYNAMIC, "/"].map(OsString::from).to_vec();
        let outcome = Trace::of("malloc").with(EVERY).command(command).run();
        outcome.complete();
        let of_ls: Vec<&Value> = outcome.rows_where("comm", "ls");
        assert!(sum(&of_ls, "allocations") > 10, "{:?}", outcome.rows);
    }

    /// Whether a process has code of its own in place of that file's: a page with a breakpoint is not shared any more.
    fn has_breakpoint(pid: u32, file: &str) -> bool {
        let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
        let mut lines = maps.lines();
        while let Some(line) = lines.next() {
            if line.contains(" r-xp ") && line.ends_with(file) {
                let own = lines
                    .by_ref()
                    .find_map(|line| line.strip_prefix("Anonymous:"));
                return own.is_some_and(|own| own.trim() != "0 kB");
            }
        }
        false
    }

    #[test]
    fn a_program_that_is_executed_later_with_another_c_library_is_traced() {
        needs!("malloc");
        let group = Cgroup::new();
        let folder = tests::folder();
        let copy = folder.join("later");
        fs::copy(program("workload"), &copy).unwrap();
        let copy = copy.to_str().unwrap();
        let later = format!("exec {copy} gate , allocate malloc 700 128");
        let mut workload = Workload::behind_gate(&["exec", "/bin/sh", "sh", "-c", &later]);
        group.add(workload.pid());
        let trace = Trace::of("malloc")
            .with(EVERY)
            .with(&["--cgroup".as_ref(), group.path().as_os_str()])
            .start();
        workload.go();
        until("the other program is attached to", || {
            has_breakpoint(workload.pid(), copy).then_some(())
        });
        workload.finish();
        let outcome = trace.stop();
        assert!(has_row(&outcome, 700, 128), "{:?}", outcome.rows);
        // Earlier allocations of the other program are in no row, and the account has the reason.
        let account = outcome.account();
        assert!(!account.complete, "{}", account.raw);
        let reasons = account.raw["untraced"]["reasons"].to_string();
        let late = "later were attached to after";
        assert!(reasons.contains(late), "{reasons}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_program_of_a_cgroup_that_cannot_be_attached_to_is_in_the_account() {
        needs!("malloc");
        let group = Cgroup::new();
        let folder = tests::folder();
        let (without, copy) = (stripped(&folder), folder.join("later"));
        fs::copy(program("workload"), &copy).unwrap();
        let [mut first, mut second] = [&without, &copy].map(|path| {
            let workload =
                Workload::behind_gate(&["exec", path.to_str().unwrap(), "later", "gate"]);
            group.add(workload.pid());
            workload
        });
        let trace = Trace::of("malloc")
            .with(EVERY)
            .with(&["--cgroup".as_ref(), group.path().as_os_str()])
            .start();
        first.go();
        until("the first program runs", || {
            let running = fs::read_link(format!("/proc/{}/exe", first.pid())).ok()?;
            (running == without).then_some(())
        });
        second.go();
        until("the second program is attached to", || {
            has_breakpoint(second.pid(), copy.to_str().unwrap()).then_some(())
        });
        // Both programs run until the trace has ended: its last check finds the first one, if no earlier check did.
        let account = trace.stop().account().raw.clone();
        first.finish();
        second.finish();
        assert_eq!(account["complete"], false, "{account}");
        let untraced = account["untraced"].to_string();
        assert_eq!(account["untraced"]["count"], 2, "{untraced}");
        assert!(untraced.contains("no symbol table"), "{untraced}");
    }

    #[test]
    fn allocations_below_the_minimum_size_are_in_no_row() {
        needs!("malloc");
        let steps = [
            "allocate", "malloc", "100", "999", ",", "allocate", "calloc", "200", "1000",
        ];
        let outcome = traced(&["--sample-every", "1B", "--min-size", "1000B"], &steps);
        assert_eq!(counted(&outcome, "by_malloc"), (0, 0));
        assert_eq!(counted(&outcome, "by_calloc"), (200, 200_000));
    }
}

//! `page_fault` against memory with known first accesses.

use crate::conformance::{Entry, Expects, Identity, conforms};
use serde_json::{Value, json};
use std::{ffi::OsString, fs, path::Path};
use tests::{Outcome, Steps, Trace, copy_of_workload, executable, needs, program, sum};

/// The entry of the conformance suite. A process also touches its stack and its heap.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    only: &[("access", "write|user")],
    besides: 300,
    unit: 500,
    storm: 5000,
    ..Entry::of("page_fault", "touch {} write", Expects::Count(1))
};
conforms!(CONFORMANCE);

/// The rows of the one function that touches pages, by the thread's name and the innermost frame.
fn rows<'a>(outcome: &'a Outcome, comm: &str, function: &str) -> Vec<&'a Value> {
    let innermost = |row: &Value| {
        row["user_stack"][0]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let all = outcome.rows_where("comm", comm);
    all.into_iter()
        .filter(|row| innermost(row).contains(function))
        .collect()
}

fn access(rows: &[&Value], access: &str) -> u64 {
    let of: Vec<&Value> = rows
        .iter()
        .copied()
        .filter(|row| row["access"] == access)
        .collect();
    sum(&of, "faults")
}

/// A command traced to its end. Stacks are resolved while it lives, by its own file.
fn traced(options: &[&str], steps: &(impl Steps + ?Sized)) -> Outcome {
    let outcome = Trace::of("page_fault").with(options).workload(steps).run();
    outcome.complete();
    let all: Vec<&Value> = outcome.rows.iter().collect();
    assert_eq!(sum(&all, "faults"), outcome.account().produced);
    outcome
}

#[test]
fn every_page_that_is_written_first_is_one_fault_of_its_stack() {
    needs!("page_fault");
    let outcome = traced(&[], "comm a_writer , touch 1234 write");
    let rows = rows(&outcome, "a_writer", "write_pages");
    assert_eq!(access(&rows, "write|user"), 1234);
    let pid = outcome.report().pid;
    for row in rows {
        assert_eq!(
            (&row["pid"], &row["kernel_stack"]),
            (&json!(pid), &json!([]))
        );
        let frame = &row["user_stack"][0];
        assert!(
            frame["module"].as_str().unwrap().ends_with("/workload"),
            "{frame}"
        );
        assert!(row["user_stack"].as_array().unwrap().len() > 1, "{row}");
    }
}

/// The program under another name, where `write_pages` is called `other_pages`, and a build id of its own.
fn other_workload(path: &Path) {
    let mut bytes = fs::read(program("workload")).unwrap();
    let places = |bytes: &[u8], what: &[u8]| -> Vec<usize> {
        let windows = bytes.windows(what.len()).enumerate();
        windows
            .filter(|(_, window)| *window == what)
            .map(|(at, _)| at)
            .collect()
    };
    for at in places(&bytes, b"write_pages") {
        bytes[at..at + 11].copy_from_slice(b"other_pages");
    }
    // Lengths of name and id, NT_GNU_BUILD_ID, name: include/uapi/linux/elf.h.
    let words = [4_u32, 20, 3].map(u32::to_ne_bytes).concat();
    let [note] = places(&bytes, &[&words[..], b"GNU\0"].concat())[..] else {
        panic!("one build id");
    };
    bytes[note + 16] ^= 0xff;
    executable(path, bytes);
}

#[test]
fn two_programs_with_the_same_addresses_have_their_own_names() {
    needs!("page_fault");
    let folder = tests::folder();
    let (one, other) = (folder.join("one"), folder.join("other"));
    copy_of_workload(&one);
    other_workload(&other);
    let (a, b) = (one.display(), other.display());
    // Two processes that stay until they are observed; then one after the other, so that each gets the addresses of the one before.
    let script = format!(
        "{a} nanosleep 1000 1 & {b} nanosleep 1000 1 &
        for i in 1 2 3 4 5 6 7 8 9 10; do {a} touch 200 write; {b} touch 200 write; done; wait"
    );
    let command = ["sh", "-c", &script].map(OsString::from).to_vec();
    let outcome = Trace::of("page_fault").command(command).run();
    outcome.complete();
    let written = |comm, function| access(&rows(&outcome, comm, function), "write|user");
    assert_eq!(
        [written("one", "write_pages"), written("one", "other_pages")],
        [2000, 0]
    );
    assert_eq!(
        [
            written("other", "write_pages"),
            written("other", "other_pages")
        ],
        [0, 2000]
    );
    fs::remove_dir_all(folder).unwrap();
}

/// The outermost frame of a stack that is deeper than it was recorded.
const DEEPER: &str = "[deeper than recorded]";

/// Rows of 200 pages that are written in a call of `write_pages_deep` that is 300 deep, and the trace's account.
fn deep_dive() -> (Vec<Vec<Value>>, Outcome) {
    let outcome = traced(&[], "comm a_diver , touch-deep 300 200");
    let rows = rows(&outcome, "a_diver", "write_pages_deep");
    assert_eq!(access(&rows, "write|user"), 200, "{rows:?}");
    let stacks = rows
        .iter()
        .map(|row| row["user_stack"].as_array().unwrap().clone());
    (stacks.collect(), outcome)
}

/// Checks that each of these stacks has this number of frames, and then the mark.
fn check_truncated(stacks: &[Vec<Value>], frames: usize) {
    for stack in stacks {
        let (mark, recorded) = stack.split_last().unwrap();
        assert_eq!((&mark["name"], recorded.len()), (&json!(DEEPER), frames));
        let is_deep = |frame: &Value| frame["name"].as_str().unwrap().contains("write_pages_deep");
        assert!(recorded.iter().all(is_deep), "{recorded:?}");
    }
}

/// How many frames the kernel records: Documentation/admin-guide/sysctl/kernel.rst.
const LIMIT: &str = "/proc/sys/kernel/perf_event_max_stack";

/// Sets the limit. The kernel refuses while a loaded program reads stacks.
fn set_limit(to: &str) {
    tests::until("no program to read stacks", || fs::write(LIMIT, to).ok());
}

#[test]
fn a_stack_deeper_than_the_kernel_records_is_marked_and_counted() {
    needs!("page_fault");
    let limit = fs::read_to_string(LIMIT).unwrap();
    let (stacks, outcome) = deep_dive();
    check_truncated(&stacks, limit.trim().parse().unwrap());
    let is_marked = |row: &&Value| {
        let stack = row["user_stack"].as_array().unwrap();
        stack.last().is_some_and(|frame| frame["name"] == DEEPER)
    };
    let (marked, others): (Vec<&Value>, Vec<&Value>) = outcome.rows.iter().partition(is_marked);
    assert!(!others.is_empty());
    assert_eq!(
        outcome.account().stacks_truncated(),
        sum(&marked, "faults"),
        "{}",
        outcome.account().raw
    );
    for row in others {
        let stack = row["user_stack"].as_array().unwrap();
        assert!(stack.iter().all(|frame| frame["name"] != DEEPER), "{row}");
    }
    // The limit is the whole machine's.
    if !tests::in_vm() {
        return;
    }
    set_limit("20");
    let (stacks, lower) = deep_dive();
    set_limit("1000");
    let (whole, higher) = deep_dive();
    set_limit(&limit);
    check_truncated(&stacks, 20);
    assert!(lower.account().stacks_truncated() >= 200);
    assert_eq!(higher.account().stacks_truncated(), 0);
    for stack in whole {
        assert!(stack.len() > 300, "{}", stack.len());
        assert!(stack.iter().all(|frame| frame["name"] != DEEPER));
    }
}

#[test]
fn every_page_that_is_read_first_is_one_fault_of_its_stack() {
    needs!("page_fault");
    let outcome = traced(&[], "comm a_reader , touch 321 read");
    assert_eq!(
        access(&rows(&outcome, "a_reader", "read_pages"), "read|user"),
        321
    );
}

#[test]
fn every_page_that_a_child_writes_and_shared_is_one_fault_on_a_page_that_was_there() {
    needs!("page_fault");
    let outcome = traced(&[], "comm a_parent , write-after-fork 250");
    let children: Vec<&Value> = rows(&outcome, "a child", "write_pages");
    assert_eq!(access(&children, "write|user|protection"), 250);
    assert_eq!(access(&children, "write|user"), 0);
    assert_eq!(
        access(&rows(&outcome, "a_parent", "write_pages"), "write|user"),
        250
    );
}

#[test]
fn every_page_that_the_kernel_writes_first_is_one_fault_with_a_kernel_stack() {
    needs!("page_fault");
    let outcome = traced(&[], "comm a_caller , read-into 200");
    let in_kernel: Vec<&Value> = outcome
        .rows_where("comm", "a_caller")
        .into_iter()
        .filter(|row| row["access"] == "write" && row["faults"].as_u64() >= Some(100))
        .collect();
    assert_eq!(sum(&in_kernel, "faults"), 200, "{:?}", outcome.rows);
    for row in in_kernel {
        assert!(!row["kernel_stack"].as_array().unwrap().is_empty(), "{row}");
        assert!(!row["user_stack"].as_array().unwrap().is_empty(), "{row}");
    }
}

#[test]
fn threads_that_fault_at_once_are_counted_to_the_last_page() {
    needs!("page_fault");
    let outcome = traced(&[], "comm threads , threads 8 touch 500 write");
    // Besides, a thread touches its stack and its heap.
    let count = access(&outcome.rows_where("comm", "threads"), "write|user");
    assert!((4000..4400).contains(&count), "{count}");
}

#[test]
fn stacks_of_threads_that_fault_at_once_are_resolved() {
    needs!("page_fault");
    let outcome = traced(&[], "comm threads , threads 8 touch 500 write");
    let rows = rows(&outcome, "threads", "write_pages");
    assert_eq!(
        access(&rows, "write|user"),
        8 * 500,
        "{:#?}",
        outcome.rows_where("comm", "threads")
    );
}

mod here {
    use super::*;

    #[test]
    fn options_count_only_writes_and_only_user_faults() {
        needs!("page_fault");
        let steps = "comm all_sorts , touch 100 write , touch 200 read , read-into 300";
        let writes = traced(&["--write-only"], &steps);
        assert_eq!(
            access(&rows(&writes, "all_sorts", "write_pages"), "write|user"),
            100
        );
        assert!(
            writes
                .rows
                .iter()
                .all(|row| row["access"].as_str().unwrap().starts_with("write"))
        );
        assert!(access(&writes.rows_where("comm", "all_sorts"), "write") >= 300);
        let users = traced(&["--user-only"], &steps);
        assert_eq!(
            access(&rows(&users, "all_sorts", "write_pages"), "write|user"),
            100
        );
        assert_eq!(
            access(&rows(&users, "all_sorts", "read_pages"), "read|user"),
            200
        );
        assert!(
            users
                .rows
                .iter()
                .all(|row| row["access"].as_str().unwrap().contains("user"))
        );
        let both = traced(&["--user-only", "--write-only"], &steps);
        assert!(
            both.rows
                .iter()
                .all(|row| row["access"].as_str().unwrap().starts_with("write|user"))
        );
    }
}

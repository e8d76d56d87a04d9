//! Traces without events: their readers sleep, their tables are not read again, and the next event is not missed.

use crate::filters::request;
use engine::{Kernel, Selector, Trace, Update};
use std::{ffi::OsStr, time::Duration};
use tests::{Cgroup, Workload, needs, sleeps, until};
use tracers::{Batch, Filter, Value, find};

/// The name of a reader's thread, of which the kernel keeps 15 letters.
const READER: &str = "tracejob-reader";

#[test]
fn an_idle_trace_of_a_cgroup_wakes_up_only_for_its_account_and_ends_with_the_cgroup() {
    needs!("open");
    const SECONDS: u64 = 3;
    /// Each second an account, and a part of a second pause of the sleep.
    const EACH: u64 = 4;
    let first_version = Cgroup::of_version_1(&format!("tracejob-test-{}-idle", std::process::id()));
    for group in [Some(Cgroup::new()), first_version].into_iter().flatten() {
        let trace = tests::Trace::of("open")
            .with(&[OsStr::new("--cgroup"), group.path().as_os_str()])
            .start();
        let woken = || sleeps(trace.pid(), READER).iter().sum::<u64>();
        let mut before = woken();
        until("the reader to sleep", || {
            std::thread::sleep(Duration::from_millis(300));
            let now = woken();
            (now - std::mem::replace(&mut before, now) <= 1).then_some(())
        });
        let before = woken();
        std::thread::sleep(Duration::from_secs(SECONDS));
        let woken = woken() - before;
        println!("the reader woke up {woken} times in {SECONDS} s");
        // A check of the cgroup every 100 ms would be 10 times a second.
        assert!(woken <= SECONDS * EACH, "{woken}");
        drop(group);
        assert_eq!(trace.finish().account().ended, "target_gone");
    }
}

/// The number of events in a table that counts one system call.
fn counted(table: &Batch) -> u64 {
    let columns = find("syscall_count").unwrap().columns();
    let count = columns.iter().position(|column| column.name == "count");
    match table.rows() {
        0 => 0,
        _ => match table.value(count.unwrap(), 0) {
            Value::Unsigned(count) => count,
            value => panic!("{value:?}"),
        },
    }
}

#[test]
fn a_table_without_new_events_is_sent_at_each_interval_and_has_every_later_event() {
    needs!("syscall_count");
    const EVENTS: u64 = 30;
    let mut workload = Workload::behind_gate("open-per-byte 1 /dev/null");
    let datasets = find("syscall_count").unwrap().datasets();
    let filters = Filter::of_datasets("syscall == openat", &datasets).unwrap();
    let mut request = request("syscall_count", filters, Selector::Process(workload.pid()));
    request.limits.interval = Duration::from_millis(20);
    let mut trace = Trace::start(request, &Kernel::read().unwrap()).unwrap();
    workload.go();
    for event in 1..=EVENTS {
        workload.go();
        // The first two tables with this event are read, and those after them are copies.
        let mut tables = event % 6 + 1;
        until("a table with each event", || {
            if let Some(Update::Table(table)) = trace.next(Duration::from_secs(1)).unwrap() {
                assert!((event - 1..=event).contains(&counted(&table)), "{table:?}");
                tables -= u64::from(counted(&table) == event);
            }
            (tables == 0).then_some(())
        });
    }
    workload.end();
    let mut last = 0;
    let account = until("its account", || {
        match trace.next(Duration::from_secs(1)).unwrap() {
            Some(Update::Table(table)) => last = counted(&table),
            Some(Update::Done(account)) => return Some(account),
            Some(Update::Rows(_) | Update::Progress(_)) | None => {}
        }
        None
    });
    assert_eq!((last, account.delivered), (EVENTS, EVENTS), "{account:?}");
    assert!(account.balanced(), "{account:?}");
}

//! Conditions that users write: the kernel side agrees with user space on each, and every source's account has the rows that are removed.

use crate::filters::{Numbers, STEPS, assert_whole, request, row};
use engine::{Account, Error, Kernel, Labels, Selector, Trace, Update, selftest::Filled};
use std::{collections::BTreeMap, iter, net::Ipv6Addr, time::Duration};
use tests::{Workload, needs, until};
use tracers::{Batch, Column, Compared, Filter, Held, Slot, Value, find};

/// The value of a column as a user writes it, or one near it, and whether it has an order; `None` where the kernel side compares none.
fn written(numbers: &mut Numbers, column: &Column, value: Value<'_>) -> Option<(String, bool)> {
    match (column.place?.held, column.kind.compared(), value) {
        (Held::Bytes(16), Compared::Address, Value::Bytes(address, _)) => {
            let sixteen: [u8; 16] = address.try_into().ok()?;
            let address = Ipv6Addr::from(sixteen).to_canonical();
            let most = if address.is_ipv4() { 32 } else { 128 };
            let written = match numbers.below(4) {
                0 => address.to_string(),
                _ => format!("{address}/{}", numbers.below(most + 1)),
            };
            Some((written, false))
        }
        (Held::Number(_), Compared::Boolean, _) => {
            Some((["yes", "no"][numbers.below(2)].into(), false))
        }
        (Held::Text(_), Compared::Text, Value::Bytes(text, _)) => {
            let text = std::str::from_utf8(text).ok()?;
            let escaped = text.chars().flat_map(|c| {
                let escape = ['"', '\\', '*', '?'].contains(&c).then_some('\\');
                escape.into_iter().chain([c])
            });
            Some((format!("\"{}\"", escaped.collect::<String>()), false))
        }
        (Held::Number(_), Compared::Number | Compared::Named(_), Value::Unsigned(number)) => {
            Some(match numbers.below(3) {
                0 => (format!("{number:#x}"), true),
                1 => (number.saturating_add(1).to_string(), true),
                _ => (number.to_string(), true),
            })
        }
        (Held::Number(_), Compared::Number | Compared::Named(_), Value::Signed(number)) => {
            Some((number.to_string(), true))
        }
        (_, _, _) => None,
    }
}

/// A condition on values of this row or near them.
fn condition(numbers: &mut Numbers, columns: &[Column], row: &Batch, depth: usize) -> String {
    let pair = |numbers: &mut Numbers, symbol: &str| {
        let [a, b] = [(); 2].map(|()| condition(numbers, columns, row, depth - 1));
        format!("({a}) {symbol} ({b})")
    };
    match if depth == 0 { 9 } else { numbers.below(8) } {
        0 | 1 => return pair(numbers, "&&"),
        2 | 3 => return pair(numbers, "||"),
        4 => return format!("!({})", condition(numbers, columns, row, depth - 1)),
        _ => {}
    }
    loop {
        let at = numbers.below(columns.len());
        let name = &columns[at].name;
        let Some((value, ordered)) = written(numbers, &columns[at], row.value(at, 0)) else {
            continue;
        };
        let operators = ["==", "!=", "in", "<", "<=", ">", ">="];
        let operator = operators[numbers.below(if ordered { 7 } else { 3 })];
        return match operator {
            "in" => format!("{name} in ({value}, {value})"),
            operator => format!("{name} {operator} {value}"),
        };
    }
}

/// Returns a row with addresses that are often those of IPv4.
fn row_with_addresses(numbers: &mut Numbers, tracer: &str) -> (Vec<u8>, Batch) {
    let tracer = find(tracer).unwrap();
    let (mut bytes, _) = row(numbers, tracer);
    let first = tracer.datasets().remove(0);
    for column in &first.columns {
        if let (Compared::Address, Some(place)) = (column.kind.compared(), column.place)
            && numbers.below(3) > 0
        {
            let address = &mut bytes[place.offset..place.offset + 12];
            address.fill(0);
            address[10..].fill(0xff);
        }
    }
    let mut batch = Batch::new(&first.columns);
    first.decode(&bytes, &mut batch).unwrap();
    (bytes, batch)
}

#[test]
fn the_kernel_side_keeps_exactly_the_rows_of_which_a_written_condition_is_true() {
    needs!("open");
    const SEED: u64 = 23;
    let mut numbers = Numbers(SEED);
    let (mut kept, mut networks) = ([0; 2], 0);
    for tracer in ["tcp_connect", "tcp_life", "oom_kill"] {
        let columns = find(tracer).unwrap().columns();
        for _ in 0..16 {
            let first = row_with_addresses(&mut numbers, tracer);
            let text = condition(&mut numbers, &columns, &first.1, 2);
            networks += usize::from(text.contains('/'));
            let filter = Filter::parse(&text, &columns)
                .unwrap_or_else(|mistake| panic!("{mistake}\n{}", mistake.marked(&text)));
            let Some(code) = filter.instructions(&columns) else {
                panic!("the kernel side cannot test {text}");
            };
            let filled = Filled::with(&BTreeMap::from([(Slot::Row, code)]))
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            let others = iter::repeat_with(|| row_with_addresses(&mut numbers, tracer)).take(30);
            for (bytes, decoded) in iter::once(first).chain(others) {
                let wanted = filter.matches(&decoded, 0);
                let passes = filled.passes(&bytes).unwrap();
                assert_eq!(passes, wanted, "seed {SEED}: {text} of {decoded:?}");
                kept[usize::from(wanted)] += 1;
            }
        }
    }
    assert!(kept.iter().all(|count| *count > 100), "{kept:?}");
    assert!(networks > 5, "{networks}");
}

/// What a trace with a condition gave.
struct Given {
    /// Its rows of events.
    rows: Vec<Batch>,
    /// The last table of each dataset.
    tables: BTreeMap<usize, Batch>,
    account: Account,
}

impl Given {
    fn rows(&self) -> usize {
        self.rows.iter().map(Batch::rows).sum()
    }
}

/// What a condition leaves of a workload's steps.
fn given(tracer: &str, condition: &str, steps: &str) -> Given {
    given_with(tracer, condition, steps, |_| {})
}

fn given_with(
    tracer: &str,
    condition: &str,
    steps: &str,
    change: impl FnOnce(&mut engine::Request),
) -> Given {
    let mut workload = Workload::behind_gate(steps);
    let datasets = find(tracer).unwrap().datasets();
    let filters = Filter::of_datasets(condition, &datasets)
        .unwrap_or_else(|mistake| panic!("{mistake}\n{}", mistake.marked(condition)));
    let mut request = request(tracer, filters, Selector::Process(workload.pid()));
    change(&mut request);
    let mut trace = Trace::start(request, &Kernel::read().unwrap()).unwrap();
    workload.go();
    assert!(workload.wait().success());
    let (mut rows, mut tables) = (Vec::new(), BTreeMap::new());
    let account = until("its account", || {
        match trace.next(Duration::from_secs(1)).unwrap() {
            Some(Update::Rows(batch)) => rows.push(batch),
            Some(Update::Table(table)) => drop(tables.insert(table.dataset, table)),
            Some(Update::Done(account)) => return Some(account),
            Some(Update::Progress(_)) | None => {}
        }
        None
    });
    Given {
        rows,
        tables,
        account,
    }
}

#[test]
fn a_limit_of_events_counts_rows_of_which_the_condition_is_true() {
    needs!("open");
    // The path is compared after reading, the label after naming.
    for condition in ["path == /dev/zero", "path == /dev/zero && pod == cart"] {
        let given = given_with("open", condition, STEPS, |request| {
            request.limits.max_events = Some(50);
            request.targets[0].labels = cart();
        });
        let account = &given.account;
        assert_eq!((given.rows(), account.delivered), (50, 50), "{account:?}");
        assert!(account.balanced(), "{account:?}");
        assert_eq!(account.lost.total(), 0, "{account:?}");
        assert!(account.filtered + account.missed_runs >= 300, "{account:?}");
    }
}

fn cart() -> Labels {
    let mut labels = Labels::default();
    labels.0[2] = "cart".into();
    labels
}

#[test]
fn a_label_is_compared_with_that_of_the_rows_target() {
    needs!("open");
    for (condition, wanted) in [
        ("pod == c*t && path == /dev/zero", 70),
        ("pod != cart", 0),
        ("node == '' && path == /dev/zero", 70),
        ("node == a", 0),
    ] {
        let given = given_with("open", condition, STEPS, |request| {
            request.targets[0].labels = cart();
        });
        assert_eq!(given.rows(), wanted, "{condition}");
        let account = &given.account;
        assert_eq!(account.produced, account.delivered + account.filtered);
        assert!(account.produced + account.missed_runs >= 370, "{account:?}");
        assert_whole(account);
    }
}

const DROPS: &str = "connect-times 20 127.0.0.1:9";

#[test]
fn a_name_that_the_kernel_has_for_a_number_is_compared_in_events_and_tables() {
    needs!("tcp_drop");
    for (condition, is_true) in [
        ("reason == SKB_DROP_REASON_NO_SOCKET", true),
        ("reason == *_NO_SOCKET && dport == 9", true),
        ("reason == SKB_DROP_REASON_PKT_TOO_SMALL", false),
    ] {
        let given = given("tcp_drop", condition, DROPS);
        // Each drop is an event of both datasets. A segment that ksoftirqd handles on a busy machine belongs to no process.
        let drops = given.account.produced / 2;
        assert!((15..=20).contains(&drops), "{:?}", given.account);
        let wanted = if is_true { drops as usize } else { 0 };
        assert_eq!(given.rows(), wanted, "{condition}");
        let counted: u64 = { given.tables.values() }
            .flat_map(|table| {
                let columns = &find("tcp_drop").unwrap().datasets()[1].columns;
                let at = columns.iter().position(|one| one.name == "drops").unwrap();
                (0..table.rows()).map(move |row| number(table.value(at, row)))
            })
            .sum();
        // The table has no port: all of its rows are delivered where one is in the condition.
        assert_eq!(counted, wanted as u64, "{condition}");
        let account = &given.account;
        assert_eq!(account.delivered, 2 * wanted as u64, "{account:?}");
        assert_eq!(account.filtered, 2 * (drops - wanted as u64), "{account:?}");
        assert_whole(account);
    }
}

#[test]
fn a_dataset_without_the_column_has_all_its_rows() {
    needs!("tcp_drop");
    let given = given("tcp_drop", "dport == 10", DROPS);
    assert_eq!(given.rows(), 0);
    assert!(given.tables.values().any(|table| table.rows() > 0));
    let account = &given.account;
    assert_eq!(
        (account.delivered, account.filtered),
        (20, 20),
        "{account:?}"
    );
    assert_whole(account);
}

fn number(value: Value<'_>) -> u64 {
    match value {
        Value::Unsigned(number) => number,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_of_a_table_of_each_cpu_that_are_removed_filter_the_events_that_they_count() {
    needs!("syscall_count");
    let columns = find("syscall_count").unwrap().columns();
    let count = columns.iter().position(|one| one.name == "count").unwrap();
    let all = given("syscall_count", "count >= 0", STEPS);
    assert_eq!(all.account.filtered, 0, "{:?}", all.account);
    for condition in [
        "syscall == openat",
        "syscall == open*",
        "count >= 370",
        "count >= 370 && node == ''",
    ] {
        let given = given("syscall_count", condition, STEPS);
        let table = &given.tables[&0];
        let sum: u64 = (0..table.rows())
            .map(|row| number(table.value(count, row)))
            .sum();
        let account = &given.account;
        assert!(sum + account.missed_runs >= 370, "{condition}: {account:?}");
        assert_eq!(sum, account.delivered, "{condition}: {account:?}");
        assert_eq!(
            account.produced,
            account.delivered + account.filtered,
            "{account:?}"
        );
        assert!(account.filtered > 0, "{account:?}");
        assert_whole(account);
    }
}

#[test]
fn rows_of_a_snapshot_that_are_removed_are_filtered() {
    needs!("rss");
    for (condition, kept) in [
        ("rss > 1KiB", true),
        ("rss > 1000GiB", false),
        ("comm == no*such", false),
    ] {
        let given = given("rss", condition, "nanosleep 1500 1");
        let account = &given.account;
        assert_eq!(account.delivered > 0, kept, "{condition}: {account:?}");
        assert_eq!(account.filtered > 0, !kept, "{condition}: {account:?}");
        let rows = given.tables.values().map(Batch::rows).max();
        assert_eq!(rows.unwrap_or(0) > 0, kept, "{condition}");
        assert_whole(account);
    }
}

#[test]
fn a_filter_of_a_dataset_that_there_is_not_is_an_error() {
    needs!("open");
    let request = request(
        "open",
        vec![None, None],
        Selector::Process(std::process::id()),
    );
    let refused = Trace::start(request, &Kernel::read().unwrap()).err();
    assert!(matches!(refused, Some(Error::Bug(_))), "{refused:?}");
}

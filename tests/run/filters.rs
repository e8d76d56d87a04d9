//! Filters: rows that the kernel side removes, rows that are removed after reading, and the account of both.

use engine::{Account, Bounds, Kernel, Request, Selector, Trace, Update, selftest::Filled};
use std::{collections::BTreeMap, iter, time::Duration};
use tests::{Workload, needs, runs_here, until};
use tracers::{
    ALL, Batch, Column, Comparison, Data, Erased, Filter, Form, Held, Kind, LABELS, Naming,
    Operand, Operator, Place, Role, Slot, Spec, Value, Width, find,
};

/// Pseudorandom numbers that are the same in each run: SplitMix64.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    /// A byte of which some are more likely: so values of rows and filters are equal now and then.
    pub(crate) fn byte(&mut self) -> u8 {
        match self.below(8) {
            0..3 => 0,
            3 => 1,
            4 => 0xff,
            5 => 0x80,
            _ => self.next() as u8,
        }
    }
}

const OPERATORS: [Operator; 6] = [
    Operator::Equal,
    Operator::NotEqual,
    Operator::Less,
    Operator::AtMost,
    Operator::Greater,
    Operator::AtLeast,
];

/// Columns that the kernel side can compare, by their places.
fn comparable(columns: &[Column]) -> Vec<usize> {
    let held = |column: &Column| match column.place {
        Some(Place { held, .. }) => held != Held::Other,
        None => false,
    };
    (0..columns.len())
        .filter(|at| held(&columns[*at]))
        .filter(|at| is_comparable(columns, *at))
        .collect()
}

fn is_comparable(columns: &[Column], at: usize) -> bool {
    // What gets its name after reading is compared by that.
    if columns[at].kind.naming() != Naming::None {
        return false;
    }
    [Operand::Number(0), Operand::Bytes(vec![])]
        .into_iter()
        .any(|with| Comparison::new(columns, at, Operator::Equal, with).is_ok())
}

/// Something to compare with, often what the row has or what lies next to that.
fn operand(numbers: &mut Numbers, value: Value<'_>) -> Operand {
    let near = |value: i128, numbers: &mut Numbers| match numbers.below(6) {
        0 => value - 1,
        1 => value + 1,
        2 => i128::from(numbers.next()),
        3 => i128::from(numbers.next() as i64),
        4 => i128::from(numbers.byte()),
        _ => value,
    };
    match value {
        Value::Unsigned(value) => Operand::Number(near(value.into(), numbers)),
        Value::Signed(value) => Operand::Number(near(value.into(), numbers)),
        Value::Bytes(value, _) => {
            let mut bytes = value.to_vec();
            match numbers.below(5) {
                0 => bytes.push(numbers.byte()),
                1 => drop(bytes.pop()),
                2 => bytes
                    .iter_mut()
                    .for_each(|byte| *byte = byte.wrapping_add(1)),
                _ => {}
            }
            Operand::Bytes(bytes)
        }
        other => panic!("{other:?} cannot be compared"),
    }
}

/// A filter that the kernel side can test, of comparisons with values of this row or near them.
fn filter(numbers: &mut Numbers, columns: &[Column], row: &Batch, depth: usize) -> Filter {
    let parts = |numbers: &mut Numbers| {
        let count = numbers.below(4);
        (0..count)
            .map(|_| filter(numbers, columns, row, depth - 1))
            .collect()
    };
    match if depth == 0 { 9 } else { numbers.below(10) } {
        0..3 => Filter::All(parts(numbers)),
        3..6 => Filter::Any(parts(numbers)),
        6 => Filter::Not(Box::new(filter(numbers, columns, row, depth - 1))),
        _ => {
            let choice = comparable(columns);
            let at = choice[numbers.below(choice.len())];
            let value = row.value(at, 0);
            let operators = match value {
                // The kernel side does not compare the order of bytes.
                Value::Bytes(..) => &OPERATORS[..2],
                _ => &OPERATORS[..],
            };
            let operator = operators[numbers.below(operators.len())];
            let with = operand(numbers, value);
            Filter::Compare(Comparison::new(columns, at, operator, with).unwrap())
        }
    }
}

/// A row of arbitrary bytes, and the same decoded.
pub(crate) fn row(numbers: &mut Numbers, tracer: &dyn Erased) -> (Vec<u8>, Batch) {
    let first = tracer.datasets().remove(0);
    loop {
        let bytes: Vec<u8> = iter::repeat_with(|| numbers.byte())
            .take(first.row_bytes)
            .collect();
        let mut batch = Batch::new(&first.columns);
        // Spans of a tail that is not there are no row.
        if first.decode(&bytes, &mut batch).is_ok() {
            return (bytes, batch);
        }
    }
}

/// Numbers of every width, signed and not, at every offset that their widths allow.
fn every_width() -> Vec<Column> {
    let column = |(kind, offset, width)| Column {
        kind,
        place: Some(Place {
            offset,
            held: Held::Number(width),
        }),
        ..Column::of("x", "", Role::None, false)
    };
    let of = |kind| {
        [
            (kind, 0, Width::Byte),
            (kind, 7, Width::Byte),
            (kind, 10, Width::Half),
            (kind, 12, Width::Word),
            (kind, 16, Width::Double),
            (kind, 248, Width::Double),
        ]
    };
    let both = [Kind::Unsigned, Kind::Signed].into_iter().flat_map(of);
    both.map(column).collect()
}

/// Returns a row with these columns at their places.
fn row_of_numbers(numbers: &mut Numbers, columns: &[Column]) -> (Vec<u8>, Batch) {
    let row: Vec<u8> = iter::repeat_with(|| numbers.byte())
        .take(Filled::ROW_BYTES)
        .collect();
    let value = |column: &Column| {
        let Some(Place {
            offset,
            held: Held::Number(width),
        }) = column.place
        else {
            panic!("{column:?} is no number");
        };
        let mut word = [0; 8];
        word[..width.bytes()].copy_from_slice(&row[offset..offset + width.bytes()]);
        let mut data = Data::of(column.kind);
        let above = 64 - 8 * width.bytes() as u32;
        let pushed = match &data {
            Data::Signed(_) => data.push(Value::Signed(i64::from_le_bytes(word) << above >> above)),
            _ => data.push(Value::Unsigned(u64::from_le_bytes(word))),
        };
        assert!(pushed);
        data
    };
    let values = columns.iter().map(value).collect();
    (row, Batch::from_columns(values, Vec::new()))
}

#[test]
fn the_kernel_side_keeps_exactly_the_rows_that_match() {
    needs!("open");
    const SEED: u64 = 17;
    let mut numbers = Numbers(SEED);
    let mut kept = [0; 2];
    let mut agree = |columns: &[Column], row: &dyn Fn(&mut Numbers) -> (Vec<u8>, Batch)| {
        for _ in 0..12 {
            let first = row(&mut numbers);
            let filter = filter(&mut numbers, columns, &first.1, 3);
            let Some(code) = filter.instructions(columns) else {
                panic!("the kernel side cannot test {filter:?}");
            };
            let filled = Filled::with(&BTreeMap::from([(Slot::Row, code)]))
                .unwrap_or_else(|error| panic!("{filter:?}: {error}"));
            let others = iter::repeat_with(|| row(&mut numbers)).take(30);
            for (bytes, decoded) in iter::once(first).chain(others) {
                let wanted = filter.matches(&decoded, 0);
                let passes = filled.passes(&bytes).unwrap();
                assert_eq!(passes, wanted, "seed {SEED}: {filter:?} of {decoded:?}");
                kept[usize::from(wanted)] += 1;
            }
        }
    };
    // Addresses, names, ports, flags and results.
    for name in ["tcp_connect", "tcp_life", "oom_kill"] {
        let tracer = find(name).unwrap();
        agree(&tracer.columns(), &|numbers| row(numbers, tracer));
    }
    let columns = every_width();
    agree(&columns, &|numbers| row_of_numbers(numbers, &columns));
    assert!(kept.iter().all(|count| *count > 100), "{kept:?}");
}

pub(crate) fn request(tracer: &str, filters: Vec<Option<Filter>>, selector: Selector) -> Request {
    Request {
        filters,
        bounds: Bounds::NONE,
        ..Request::new(Spec::new(tracer).unwrap(), vec![selector.into()])
    }
}

/// A comparison with a column of this name.
fn is(tracer: &str, column: &str, operator: Operator, with: Operand) -> Filter {
    let columns = find(tracer).unwrap().datasets()[0].labelled();
    let at = columns.iter().position(|one| one.name == column).unwrap();
    Filter::Compare(Comparison::new(&columns, at, operator, with).unwrap())
}

/// The rows of a workload's steps that are left of a filter, and the account.
fn left_of(filter: Filter, steps: &str) -> (Vec<Batch>, Account) {
    let mut workload = Workload::behind_gate(steps);
    let request = request(
        "open",
        vec![Some(filter)],
        Selector::Process(workload.pid()),
    );
    let mut trace = Trace::start(request, &Kernel::read().unwrap()).unwrap();
    workload.go();
    assert!(workload.wait().success());
    let mut rows = Vec::new();
    let account = until("its account", || {
        match trace.next(Duration::from_secs(1)).unwrap() {
            Some(Update::Rows(batch)) => rows.push(batch),
            Some(Update::Done(account)) => return Some(account),
            Some(Update::Table(_) | Update::Progress(_)) | None => {}
        }
        None
    });
    (rows, account)
}

/// Nothing is lost, but for runs of a program that the kernel may skip: Linux 7.0 and later interrupt programs at tracepoints.
pub(crate) fn assert_whole(account: &Account) {
    let lost = account.lost.total() + account.sampled + account.beyond_limit;
    assert_eq!(lost, 0, "{account:?}");
    assert!(account.balanced(), "{account:?}");
}

pub(crate) const STEPS: &str =
    "open-times 300 openat /dev/null 0 0 , open-times 70 openat /dev/zero 0 0";

/// The paths of rows.
fn paths(rows: &[Batch]) -> Vec<String> {
    let columns = find("open").unwrap().columns();
    let at = columns.iter().position(|one| one.name == "path").unwrap();
    let rows = rows
        .iter()
        .flat_map(|batch| (0..batch.rows()).map(move |row| batch.value(at, row)));
    rows.map(|value| match value {
        Value::Bytes(path, _) => String::from_utf8(path.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn rows_that_the_kernel_side_removes_are_filtered_in_an_exact_account() {
    needs!("open");
    // No call of these fails, and all are of this program.
    let failed = is("open", "result", Operator::Less, Operand::Number(0));
    let other = is(
        "open",
        "comm",
        Operator::Equal,
        Operand::Bytes(b"other".to_vec()),
    );
    for none in [failed.clone(), other] {
        let (rows, account) = left_of(none, STEPS);
        assert!(paths(&rows).is_empty(), "{:?}", paths(&rows));
        assert!(account.filtered + account.missed_runs >= 370, "{account:?}");
        assert_eq!(account.produced, account.filtered, "{account:?}");
        assert_whole(&account);
    }
    let (rows, account) = left_of(Filter::Not(failed.into()), STEPS);
    assert!(
        account.delivered + account.missed_runs >= 370,
        "{account:?}"
    );
    assert_eq!(paths(&rows).len() as u64, account.delivered);
    assert_whole(&account);
}

#[test]
fn a_filter_that_only_decoded_rows_can_answer_has_the_same_account() {
    needs!("open");
    let zero = Operand::Bytes(b"/dev/zero".to_vec());
    let path = is("open", "path", Operator::Equal, zero);
    let worked = is("open", "result", Operator::AtLeast, Operand::Number(0));
    // The path lies in the tail, the result does not.
    let both = Filter::All(vec![path.clone(), worked]);
    let columns = find("open").unwrap().columns();
    let early = |filter: &Filter| filter.clone().by_time(LABELS.len()).0;
    let split = early(&both).unwrap().split(&columns);
    assert!(split.kernel.is_some());
    assert_eq!(split.user, early(&path));
    let (rows, account) = left_of(both, STEPS);
    assert_eq!(paths(&rows), vec!["/dev/zero"; 70]);
    assert_eq!(account.delivered, 70);
    assert!(account.filtered + account.missed_runs >= 300, "{account:?}");
    assert_eq!(account.produced, account.delivered + account.filtered);
    assert_whole(&account);
}

#[test]
fn every_tracer_of_events_takes_a_filter_with_each_of_its_columns() {
    fn here() {}
    for tracer in ALL.iter().filter(|one| one.source().form() == Form::Events) {
        let name = tracer.name();
        if !runs_here(name, std::any::type_name_of_val(&here)) {
            continue;
        }
        let own = tracer.columns();
        let all = tracer.datasets()[0].labelled();
        let mut numbers = Numbers(1);
        let (_, decoded) = row(&mut numbers, *tracer);
        let each = comparable(&own).into_iter().map(|at| {
            let with = match decoded.value(at, 0) {
                Value::Bytes(value, _) => Operand::Bytes(value.to_vec()),
                // A number that takes two instructions.
                _ => Operand::Number(0x1234_5678_9abc),
            };
            let operator = match with {
                Operand::Number(_) => Operator::AtMost,
                _ => Operator::NotEqual,
            };
            let at = at + LABELS.len();
            Filter::Compare(Comparison::new(&all, at, operator, with).unwrap())
        });
        let filter = Filter::All(each.collect());
        let (early, late) = filter.clone().by_time(LABELS.len());
        assert_eq!(late, None, "{name}");
        assert!(early.unwrap().instructions(&own).is_some(), "{name}");
        let request = request(
            name,
            vec![Some(filter)],
            Selector::Process(std::process::id()),
        );
        assert_eq!(request.datasets()[0].columns.len(), own.len());
        let trace = Trace::start(request, &Kernel::read().unwrap());
        drop(trace.unwrap_or_else(|error| panic!("{name}: {error}")));
    }
}

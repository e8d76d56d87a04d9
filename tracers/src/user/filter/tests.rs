//! Filters by their outcomes on rows, and what the kernel side is left to test of them.

mod condition;

use super::*;
use crate::{ALL, Held, Kind, Place, Role, Width, find};
use std::{format, string::ToString, vec};

fn columns() -> Vec<Column> {
    let column = |name, kind, held| {
        Column::of(name, "", Role::None, false)
            .kind(kind)
            .at(8)
            .held(held)
    };
    vec![
        column("byte", Kind::Unsigned, Held::Number(Width::Byte)),
        column("result", Kind::Outcome, Held::Number(Width::Double)),
        column("comm", Kind::Text, Held::Text(16)),
        column("path", Kind::Path, Held::Other),
    ]
}

fn is(column: usize, operator: Operator, with: Operand) -> Filter {
    Filter::Compare(Comparison::new(&columns(), column, operator, with).unwrap())
}

fn number(column: usize, operator: Operator, with: i128) -> Filter {
    is(column, operator, Operand::Number(with))
}

fn text(column: usize, operator: Operator, with: &str) -> Filter {
    is(column, operator, Operand::Bytes(with.into()))
}

fn batch(byte: u64, result: i64, comm: &str, path: &str) -> Batch {
    let mut batch = Batch::new(&columns());
    batch.append(&[], |out| {
        out.unsigned(byte);
        out.signed(result);
        out.bytes(comm.as_bytes());
        out.bytes(path.as_bytes());
    });
    assert_eq!(batch.rows(), 1);
    batch
}

#[test]
fn a_filter_holds_by_the_values_of_its_columns() {
    use Operator::*;
    let row = batch(200, -2, "nginx", "/etc/passwd");
    let both = |a, b| Filter::All(vec![a, b]);
    for (filter, wanted) in [
        (number(0, Equal, 200), true),
        (number(0, Less, 200), false),
        (number(0, AtMost, 200), true),
        // No number that the column could have, and none less than it.
        (number(0, Greater, -1), true),
        (number(1, Less, 0), true),
        (number(1, Less, i128::MAX), true),
        (text(2, Equal, "nginx"), true),
        (text(2, NotEqual, "ngin"), true),
        (text(3, Greater, "/etc/"), true),
        (both(number(0, Equal, 200), number(1, Equal, 0)), false),
        (
            Filter::Any(vec![number(1, Equal, 0), number(0, Equal, 200)]),
            true,
        ),
        (Filter::Not(number(0, Equal, 200).into()), false),
        (Filter::All(vec![]), true),
        (Filter::Any(vec![]), false),
    ] {
        assert_eq!(filter.matches(&row, 0), wanted, "{filter:?}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused_by_the_columns_name() {
    let open = find("tcp_drop").unwrap().columns();
    let refused = |column: &str, with| {
        let at = open.iter().position(|one| one.name == column).unwrap();
        let refused = Comparison::new(&open, at, Operator::Equal, with).unwrap_err();
        refused.to_string()
    };
    let (number, text) = (Operand::Number(0), Operand::Bytes(vec![]));
    assert_eq!(
        refused("comm", number.clone()),
        "comm is a text: compare it with a text"
    );
    assert_eq!(
        refused("sport", text.clone()),
        "sport is a number: compare it with a number"
    );
    // Not by its number, which shows where the kernel lies in memory; by a name that it gets later, if by anything.
    let named = (0..open.len()).filter(|at| open[*at].kind.naming() != Naming::None);
    let mut refusals = 0;
    for at in named {
        let (name, kind) = (&open[at].name, open[at].kind);
        let wanted = format!("{name} cannot be compared");
        assert_eq!(refused(name, number.clone()), wanted);
        let by_name = Comparison::new(&open, at, Operator::Equal, text.clone());
        assert_eq!(by_name.is_ok(), !kind.is_stack(), "{name}");
        refusals += 1;
    }
    assert!(refusals >= 2, "an enum and an address at least");
    let none = Comparison::new(&open, open.len(), Operator::Equal, number);
    assert_eq!(none, Err(NotComparable::NoColumn(open.len())));
}

#[test]
fn the_kernel_side_tests_what_it_can_and_the_rest_is_left() {
    use Operator::*;
    let (below, above) = (number(0, Equal, 1), text(3, Equal, "/etc/passwd"));
    let code = below.instructions(&columns());
    assert!(code.is_some());
    let split = |filter: Filter| filter.split(&columns());
    // All of both: one here, one there.
    let both = Filter::All(vec![Filter::All(vec![above.clone()]), below.clone()]);
    let wanted = Split {
        kernel: code,
        user: Some(above.clone()),
    };
    assert_eq!(split(both.clone()), wanted);
    assert_eq!(both.instructions(&columns()), None);
    // Either of them, or the order of a text: nothing below.
    for whole in [
        Filter::Any(vec![below, above]),
        text(2, Less, "nginx"),
        text(3, NotEqual, ""),
    ] {
        let wanted = Split {
            kernel: None,
            user: Some(whole.clone()),
        };
        assert_eq!(split(whole), wanted);
    }
    // More than the kernel side compares at once.
    let many = Filter::All((0..100).map(|n| number(0, NotEqual, n)).collect());
    let Split { kernel, user } = split(many);
    assert!(kernel.is_some());
    assert!(matches!(user, Some(Filter::All(rest)) if rest.len() == 36));
}

#[test]
fn numbers_that_a_column_cannot_have_need_no_comparison() {
    use Operator::*;
    let constant = |filter: Filter| {
        let code = filter.instructions(&columns()).unwrap();
        assert_eq!(code.len(), 1, "{code:?}");
        code[0].0 >> 32
    };
    assert_eq!(constant(number(0, Equal, 256)), 0);
    assert_eq!(constant(number(0, NotEqual, 256)), 1);
    assert_eq!(constant(number(0, AtMost, 256)), 1);
    assert_eq!(constant(number(0, Less, -1)), 0);
    assert_eq!(constant(number(1, Greater, i128::from(u64::MAX))), 0);
    assert_eq!(constant(text(2, Equal, "a name of 17 byte")), 0);
    assert_eq!(constant(text(2, NotEqual, "zero\0byte")), 1);
    // What is decided by others is no part of the instructions.
    let decided = Filter::Any(vec![number(0, Equal, 3), number(0, Equal, 256)]);
    let alone = number(0, Equal, 3).instructions(&columns());
    assert_eq!(decided.instructions(&columns()), alone);
    let impossible = Filter::All(vec![number(0, Equal, 3), number(0, Equal, 256)]);
    assert_eq!(constant(impossible), 0);
    assert_eq!(constant(Filter::All(vec![])), 1);
}

/// Every tracer's rows of arbitrary bytes: where a column says that its value lies, there it is.
#[test]
fn every_value_lies_in_the_row_where_its_column_says() {
    let mut seen = 0;
    for dataset in ALL.iter().flat_map(|tracer| tracer.datasets()) {
        let columns = &dataset.columns;
        for seed in 0..32u64 {
            let mut state = seed;
            let mut record = vec![0; dataset.row_bytes];
            for byte in &mut record {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Often zero, so that texts end at different places.
                *byte = (state >> 56) as u8 & ((state >> 33) as u8 | (state >> 41) as u8);
            }
            let mut batch = Batch::new(columns);
            if dataset.decode(&record, &mut batch).is_err() {
                // A span that lies beyond the record: no tail here.
                blank_tails(columns, &mut record);
                if dataset.decode(&record, &mut batch).is_err() {
                    continue;
                }
            }
            for (at, column) in columns.iter().enumerate() {
                let Some(Place { offset, held }) = column.place else {
                    panic!("{} of {} has no place", column.name, dataset.name);
                };
                let signed = column.kind.store() == Store::Signed;
                let wanted = match held {
                    Held::Number(width) => {
                        let mut word = [0; 8];
                        let bytes = &record[offset..offset + width.bytes()];
                        word[..bytes.len()].copy_from_slice(bytes);
                        let above = 64 - 8 * bytes.len() as u32;
                        match signed {
                            true => Value::Signed(i64::from_le_bytes(word) << above >> above),
                            false => Value::Unsigned(u64::from_le_bytes(word)),
                        }
                    }
                    Held::Bytes(bytes) => Value::Bytes(&record[offset..offset + bytes], false),
                    Held::Text(most) => {
                        let text = &record[offset..offset + most];
                        let text = text.split(|byte| *byte == 0).next().unwrap();
                        Value::Bytes(text, false)
                    }
                    Held::Other => continue,
                };
                seen += 1;
                let name = dataset.name;
                assert_eq!(batch.value(at, 0), wanted, "{} of {name}", column.name);
            }
        }
    }
    assert!(seen > 1000, "{seen}");
}

/// Empties the spans of texts, which lie where no number does.
fn blank_tails(columns: &[Column], record: &mut [u8]) {
    for column in columns {
        let Some(Place {
            offset,
            held: Held::Other,
        }) = column.place
        else {
            continue;
        };
        if column.kind.store() == Store::Bytes {
            record[offset..(offset + 8)].fill(0);
        }
    }
}

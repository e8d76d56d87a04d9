//! Views of made-up datasets.

use super::*;
use tracers::{Kind, Role};

fn column(name: &'static str, kind: Kind, role: Role, wide: bool) -> Column {
    Column::of(name, "", role, wide).kind(kind)
}

/// Columns of a table.
fn counts() -> Vec<Column> {
    let unit = tracers::Unit::Nanoseconds;
    vec![
        column("comm", Kind::Text, Role::Key, false),
        column("cgroup", Kind::Unsigned, Role::Key, true),
        column("calls", Kind::Unsigned, Role::Count, false),
        column("total_ns", Kind::Unsigned, Role::Sum, false),
        column("latency", Kind::Log2 { unit }, Role::Histogram, false),
    ]
}

/// Columns of events.
fn events() -> Vec<Column> {
    vec![
        column("time", Kind::Time, Role::None, true),
        column("comm", Kind::Text, Role::None, false),
        column("latency_ns", Kind::Unsigned, Role::None, false),
    ]
}

fn shape<'a>(name: &'a str, columns: &'a [Column], form: Form) -> Shape<'a> {
    Shape {
        name,
        columns,
        form,
    }
}

fn args(columns: &[&str], sort: &[&str], top: Option<usize>) -> ViewArgs {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    ViewArgs {
        columns: owned(columns),
        sort: owned(sort),
        top,
        root: Vec::new(),
    }
}

fn of_table(args: &ViewArgs) -> Result<RowView, String> {
    let columns = counts();
    let views = args.of(&[shape("calls", &columns, Form::Table)], None)?;
    Ok(views.into_iter().next().unwrap())
}

/// Names of the columns that are shown, those that an ordinary table leaves out in brackets.
fn shown(columns: &[&str]) -> String {
    let view = of_table(&args(columns, &[], None)).unwrap();
    let names = view.columns(&counts()).into_iter().map(|c| match c.wide {
        true => format!("({})", c.name),
        false => c.name.into_owned(),
    });
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn columns_are_chosen_and_ordered_added_and_hidden() {
    assert_eq!(shown(&[]), "comm (cgroup) calls total_ns latency");
    assert_eq!(shown(&["calls", "comm"]), "calls comm");
    assert_eq!(shown(&["+cgroup"]), "comm cgroup calls total_ns latency");
    assert_eq!(shown(&["-latency", "-calls"]), "comm (cgroup) total_ns");
    assert_eq!(shown(&["comm", "+cgroup", "comm"]), "comm cgroup");
    assert_eq!(shown(&["comm", "calls", "-comm"]), "calls");
}

#[test]
fn a_name_without_its_unit_is_enough_where_no_other_column_has_it() {
    assert_eq!(shown(&["total"]), "total_ns");
    let mut columns = counts();
    columns.push(column("total_bytes", Kind::Unsigned, Role::Sum, false));
    assert_eq!(column_named(&columns, "total"), None);
    assert_eq!(column_named(&columns, "total_bytes"), Some(5));
}

#[test]
fn errors_name_the_column_the_nearest_and_what_there_is() {
    let refused =
        |columns: &[&str], sort: &[&str]| of_table(&args(columns, sort, None)).unwrap_err();
    assert_eq!(
        refused(&["+cgrop"], &[]),
        "--columns: rows of calls have no column \"cgrop\"; did you mean cgroup? Columns: comm, cgroup, calls, total_ns, latency"
    );
    assert_eq!(
        refused(&[], &["-x\x1b"]),
        "--sort: rows of calls have no column \"x\\u{1b}\"; columns: comm, cgroup, calls, total_ns, latency"
    );
    assert_eq!(
        refused(&[], &["latency"]),
        "--sort: latency is a histogram, which has no order; columns with an order: comm, cgroup, calls, total_ns"
    );
    let all = ["-comm", "-cgroup", "-calls", "-total_ns", "-latency"];
    assert!(refused(&all, &[]).contains("no column of calls is left"));
}

fn batch() -> Batch {
    let columns = counts();
    let mut data: Vec<Data> = columns.iter().map(|column| Data::of(column.kind)).collect();
    for (comm, cgroup, calls) in [("b", 9, 2), ("a", 10, 2), ("c", 1, 5), ("a", 2, 7)] {
        assert!(data[0].push(Value::Bytes(comm.as_bytes(), false)));
        assert!(data[1].push(Value::Unsigned(cgroup)));
        assert!(data[2].push(Value::Unsigned(calls)));
        assert!(data[3].push(Value::Unsigned(0)));
        assert!(data[4].push(Value::List(&[])));
    }
    let mut batch = Batch::from_columns(data, Vec::new());
    batch.dataset = 3;
    batch
}

#[test]
fn rows_are_sorted_by_each_column_in_turn_and_equal_ones_stay_in_their_order() {
    let order = |sort: &[&str], top| {
        let view = of_table(&args(&[], sort, top)).unwrap();
        view.rows(&counts(), &batch())
    };
    assert_eq!(order(&[], None), [0, 1, 2, 3]);
    assert_eq!(order(&["calls"], None), [0, 1, 2, 3]);
    assert_eq!(order(&["-calls"], None), [3, 2, 0, 1]);
    assert_eq!(order(&["comm", "-cgroup"], None), [1, 3, 0, 2]);
    assert_eq!(order(&["cgroup"], Some(2)), [2, 3]);
    assert_eq!(order(&[], Some(1)), [0]);
}

#[test]
fn names_of_numbers_are_sorted_as_they_are_shown() {
    let columns = [column("call", Kind::Syscall, Role::Key, false)];
    let mut data = Data::of(Kind::Syscall);
    // On x86-64 and on arm64 these have other numbers; their names are in another order.
    (0..40).for_each(|number| assert!(data.push(Value::Unsigned(number))));
    let batch = Batch::from_columns(vec![data], Vec::new());
    let args = args(&[], &["call"], None);
    let views = args.of(&[shape("calls", &columns, Form::Table)], None);
    let rows = views.unwrap()[0].rows(&columns, &batch);
    let texts = rows
        .iter()
        .map(|row| key(&columns[0], &batch, 0, *row as usize));
    assert!(texts.is_sorted());
    assert_ne!(rows[0], 0);
}

#[test]
fn a_batch_is_shown_through_the_view() {
    let (columns, batch) = (counts(), batch());
    let view = of_table(&args(&["calls", "comm"], &["-calls"], Some(2))).unwrap();
    let out = view.apply(&columns, &batch);
    assert_eq!((out.rows(), out.columns.len(), out.dataset), (2, 2, 3));
    assert_eq!(out.value(0, 0), Value::Unsigned(7));
    assert_eq!(out.value(1, 1), Value::Bytes(b"c", false));
    let all = RowView::default();
    assert!(matches!(all.apply(&columns, &batch), Cow::Borrowed(_)));
}

#[test]
fn rows_of_events_are_neither_sorted_nor_counted() {
    let (table, stream) = (counts(), events());
    let both = [
        shape("first", &stream, Form::Events),
        shape("calls", &table, Form::Table),
    ];
    let refused = |args: &ViewArgs, only| args.of(&both, only).unwrap_err();
    let sorted = args(&[], &["-latency"], None);
    assert!(refused(&sorted, Some(0)).starts_with("--sort: rows of first are events"));
    let some = args(&[], &[], Some(3));
    assert!(refused(&some, Some(0)).contains("--max-events N"));
    // Of two datasets the table is.
    let views = args(&[], &["-calls"], Some(3)).of(&both, None).unwrap();
    assert_eq!((views[0].top, views[1].top), (None, Some(3)));
    assert!(views[0].sort.is_empty());
}

#[test]
fn each_dataset_shows_the_columns_that_it_has() {
    let (table, stream) = (counts(), events());
    let both = [
        shape("first", &stream, Form::Events),
        shape("calls", &table, Form::Table),
    ];
    let views = args(&["calls"], &[], None).of(&both, None).unwrap();
    assert_eq!(views[0], RowView::default());
    assert_eq!(views[1].columns(&table).len(), 1);
    let refused = args(&["calls"], &[], None).of(&both, Some(0)).unwrap_err();
    assert!(
        refused.contains("rows of first have no column"),
        "{refused}"
    );
}

#[test]
fn flags_override_the_jobs_view() {
    let flags = args(&["comm"], &[], Some(1));
    let job = args(&["calls"], &["-calls"], Some(9));
    assert_eq!(flags.or(job), args(&["comm"], &["-calls"], Some(1)));
}

#[test]
fn frames_below_the_root_are_identities_and_others_are_refused_with_a_list() {
    let columns = counts();
    let dataset = shape("calls", &columns, Form::Table);
    let places = |names: &[&str]| {
        let root = names.iter().map(|name| (*name).to_owned()).collect();
        let args = ViewArgs {
            root,
            ..ViewArgs::default()
        };
        assert!(!args.selects_rows());
        args.root_places(&dataset)
    };
    let comm = column_named(&columns, "comm").unwrap();
    let cgroup = column_named(&columns, "cgroup").unwrap();
    assert_eq!(places(&["cgroup", "comm"]), Ok(vec![cgroup, comm]));
    for name in ["pod", "calls", "latency"] {
        let error = places(&[name]).unwrap_err();
        let expected = format!(
            "--root: {name:?} is no column of calls that can be a frame; columns: comm, cgroup"
        );
        assert_eq!(error, expected);
    }
}

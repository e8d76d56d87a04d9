//! Tests of valid and invalid batches of rows.

use super::*;

#[test]
fn what_an_agent_sends_of_every_kind_is_shown_in_every_form() {
    for table in [false, true] {
        let mut follow = follow(table);
        let mut out = VecDeque::new();
        let late = Duration::from_secs(5);
        follow
            .take(message(1, Item::Batch(good_batch())), late, &mut out)
            .unwrap();
        assert_eq!(out.len(), 1);
        show(&follow, &out);
    }
}

#[test]
fn an_invalid_batch_is_refused_with_its_column() {
    let columns = KINDS.len() * 2;
    let with = |at: usize, values: Option<Values>| {
        let mut batch = good_batch();
        batch.columns[at].values = values;
        batch
    };
    let place = |kind: v1::Kind| KINDS.iter().position(|known| *known == kind).unwrap();
    let text = place(v1::Kind::Text);
    let stack = place(v1::Kind::Stack);
    let log2 = place(v1::Kind::Log2);
    let errors = place(v1::Kind::Errors);
    let with_frames = |change: &dyn Fn(&mut v1::Batch)| {
        let mut batch = good_batch();
        change(&mut batch);
        batch
    };
    let cases: Vec<(&str, v1::Batch)> = vec![
        (
            "a name of 100000 bytes",
            with_frames(&|batch| batch.strings[0] = "x".repeat(100_000)),
        ),
        (
            "a name of 4097 bytes",
            with_frames(&|batch| {
                batch.frames.push(v1::Frame {
                    module: "x".repeat(4097),
                    ..v1::Frame::default()
                });
            }),
        ),
        (
            "a stack of 100000 frames",
            with(stack, Some(stacks(&[1, 100_001], &[0; 100_001]))),
        ),
        (
            "text 3, and there are 3",
            with_frames(&|batch| batch.interned.as_mut().unwrap().files[1] = 3),
        ),
        (
            "frames whose columns differ",
            with_frames(&|batch| batch.interned.as_mut().unwrap().lines.truncate(1)),
        ),
        (
            "rows of events in the form of a table",
            with_frames(&|batch| batch.more = true),
        ),
        (
            "31 columns",
            batch_of(KINDS.iter().chain(&KINDS).skip(1).map(|kind| good(*kind))),
        ),
        ("0 columns", v1::Batch::default()),
        (
            "has 2 rows, and the batch 4294967295",
            v1::Batch {
                rows: u32::MAX,
                ..good_batch()
            },
        ),
        (
            "has 2 rows, and the batch 0",
            v1::Batch {
                rows: 0,
                ..good_batch()
            },
        ),
        ("has 1 rows", with(1, Some(unsigned(&[1])))),
        ("it has no values", with(1, None)),
        ("not of its kind", with(1, Some(lists(&[0, 0], &[])))),
        ("not of its kind", with(text, Some(unsigned(&[1, 2])))),
        (
            "do not end where its 9 values do",
            with(text, Some(bytes(&[3, 10], &[0; 9], &[]))),
        ),
        (
            "do not end where its 9 values do",
            with(text, Some(bytes(&[3, 8], &[0; 9], &[]))),
        ),
        (
            "do not end where its 3 values do",
            with(text, Some(bytes(&[9, 3], &[0; 3], &[]))),
        ),
        (
            "do not end where its 1 values do",
            with(text, Some(bytes(&[], &[0; 1], &[]))),
        ),
        ("in no row", with(text, Some(bytes(&[3, 9], &[0; 9], &[2])))),
        (
            "not in order",
            with(text, Some(bytes(&[3, 9], &[0; 9], &[1, 0]))),
        ),
        (
            "frame 2, and there are 2",
            with(stack, Some(stacks(&[1, 1], &[2]))),
        ),
        (
            "do not end where",
            with(stack, Some(stacks(&[u32::MAX, 0], &[]))),
        ),
        (
            "more than 64 buckets",
            with(log2, Some(lists(&[65, 65], &[0; 65]))),
        ),
        (
            "an error without its count",
            with(errors, Some(lists(&[1, 2], &[0; 2]))),
        ),
    ];
    assert_eq!(good_batch().columns.len(), columns);
    for (sentence, batch) in cases {
        let mut out = VecDeque::new();
        let refused = follow(false).take(message(1, Item::Batch(batch)), Duration::ZERO, &mut out);
        let why = refused.unwrap_err();
        assert!(why.contains(sentence), "{why:?} and not {sentence:?}");
        assert!(out.is_empty());
    }
}

#[test]
fn a_batch_without_rows_is_taken_whatever_its_columns_are_stored_as() {
    let none = v1::Values {
        values: Some(unsigned(&[])),
    };
    let batch = v1::Batch {
        columns: vec![none; 2 * KINDS.len()],
        ..v1::Batch::default()
    };
    let mut out = VecDeque::new();
    let taken = follow(false).take(message(1, Item::Batch(batch)), Duration::ZERO, &mut out);
    assert!(taken.is_ok());
}

//! Tests with valid and invalid messages of an agent.

mod further;
mod hostile;

use super::*;
use crate::show::{
    account::{account_json, account_text},
    output::{self, Format, OutputArg, Scene},
    render::{Output, Palette, Table},
    shape::Shape,
    sink::Sink,
};
use prost::Message;
use proto::v1::{self, values::Values};
use std::path::Path;

const KINDS: [v1::Kind; 16] = [
    v1::Kind::Unspecified,
    v1::Kind::Unsigned,
    v1::Kind::Signed,
    v1::Kind::Bool,
    v1::Kind::Time,
    v1::Kind::Text,
    v1::Kind::Path,
    v1::Kind::Args,
    v1::Kind::Ip,
    v1::Kind::Syscall,
    v1::Kind::Outcome,
    v1::Kind::Octal,
    v1::Kind::Flags,
    v1::Kind::Stack,
    v1::Kind::Log2,
    v1::Kind::Errors,
];
/// Returns any tracer; the columns of the tests are others.
fn tracer() -> &'static str {
    tracers::ALL[0].name()
}

/// Returns a schema with a column of every kind, with and without a role that adds up.
fn told(table: bool) -> v1::Schema {
    let role = |at: usize| match (table, at % 8) {
        (false, _) => v1::Role::Unspecified,
        (true, 1) => v1::Role::Count,
        (true, 3) => v1::Role::Sum,
        (true, 4) => v1::Role::Max,
        (true, 6) => v1::Role::Histogram,
        (true, _) => v1::Role::Key,
    };
    let column = |(at, kind): (usize, &v1::Kind)| v1::Column {
        name: format!("c{at}{}", if at % 3 == 0 { "_ns" } else { "" }),
        kind: (*kind).into(),
        role: role(at).into(),
        unit: "ns".to_owned(),
        ..v1::Column::default()
    };
    v1::Schema {
        tracer: tracer().to_owned(),
        table,
        columns: KINDS.iter().chain(&KINDS).enumerate().map(column).collect(),
        instance: 0,
        further: Vec::new(),
        filter: String::new(),
    }
}

fn bytes(ends: &[u32], data: &[u8], cut: &[u32]) -> Values {
    Values::Bytes(v1::Bytes {
        ends: ends.to_vec(),
        data: data.to_vec().into(),
        cut: cut.to_vec(),
    })
}

fn lists(ends: &[u32], values: &[u64]) -> Values {
    Values::Lists(v1::Lists {
        ends: ends.to_vec(),
        values: values.to_vec(),
    })
}

fn stacks(ends: &[u32], frames: &[u32]) -> Values {
    Values::Stacks(v1::Stacks {
        ends: ends.to_vec(),
        frames: frames.to_vec(),
    })
}

fn unsigned(values: &[u64]) -> Values {
    Values::Unsigned(v1::Unsigned {
        values: values.to_vec(),
    })
}

/// Returns two valid values of a kind.
fn good(kind: v1::Kind) -> Values {
    match kind {
        v1::Kind::Signed | v1::Kind::Outcome => Values::Signed(v1::Signed {
            values: vec![-2, i64::MIN],
        }),
        v1::Kind::Ip => bytes(&[16, 20], &[7; 20], &[]),
        v1::Kind::Text | v1::Kind::Path | v1::Kind::Args | v1::Kind::Syscall | v1::Kind::Flags => {
            bytes(&[3, 9], b"a\0\xff\x1b[2Jbc", &[1])
        }
        v1::Kind::Stack => stacks(&[2, 3], &[0, 1, 1]),
        v1::Kind::Log2 => lists(&[64, 66], &[u64::MAX; 66]),
        v1::Kind::Errors => lists(&[2, 6], &[2, u64::MAX, 0, u64::MAX, u64::MAX, 1]),
        v1::Kind::Unspecified
        | v1::Kind::Unsigned
        | v1::Kind::Bool
        | v1::Kind::Time
        | v1::Kind::Octal => unsigned(&[0, u64::MAX]),
    }
}

fn batch_of(values: impl Iterator<Item = Values>) -> v1::Batch {
    let strings = ["a;b\x1b[2J", "", "/bin/\u{202e}x"];
    v1::Batch {
        rows: 2,
        columns: values
            .map(|values| v1::Values {
                values: Some(values),
            })
            .collect(),
        strings: strings.map(str::to_owned).to_vec(),
        interned: Some(v1::Frames {
            names: vec![0, 1],
            modules: vec![2, 2],
            offsets: vec![u64::MAX; 2],
            files: vec![1, 1],
            lines: vec![u32::MAX; 2],
        }),
        ..v1::Batch::default()
    }
}

fn good_batch() -> v1::Batch {
    batch_of(KINDS.iter().chain(&KINDS).map(|kind| good(*kind)))
}

fn message(sequence: u64, item: Item) -> StreamEventsResponse {
    StreamEventsResponse {
        sequence,
        item: Some(item),
        ..StreamEventsResponse::default()
    }
}

fn follow(table: bool) -> Follow {
    Follow::new(
        Schema::read(told(table), tracer()).unwrap(),
        Duration::from_secs(1),
    )
}

/// Shows rows in every renderer.
fn show(follow: &Follow, updates: &VecDeque<Update>) {
    let columns = &follow.schema().columns;
    let scene = Scene {
        view: Default::default(),
        usual_view: Default::default(),
        tracer: tracer(),
        datasets: Shape::of_schema(follow.schema()),
        dataset: None,
        command: false,
        intervals: true,
        title: "t".to_owned(),
    };
    let formats = [
        Format::Table,
        Format::Wide,
        Format::Json,
        Format::Csv,
        Format::Folded,
        Format::Pprof,
        Format::Flamegraph,
    ];
    let null = || Sink::create(Path::new("/dev/null")).unwrap();
    let mut outputs: Vec<Box<dyn Output>> = vec![
        Box::new(Table::terminal(
            columns,
            &Default::default(),
            false,
            Palette { on: true },
            null(),
            true,
        )),
        Box::new(Table::terminal(
            columns,
            &Default::default(),
            true,
            Palette { on: true },
            null(),
            false,
        )),
    ];
    for format in formats {
        let file = Some("/dev/null".into());
        let opened = output::open(&[OutputArg { format, file }], &scene).unwrap();
        outputs.extend(opened.all.into_iter().map(|(output, _)| output));
    }
    let mut account = Account::default();
    let wall = rows::wall(0);
    for output in &mut outputs {
        let mut last = None;
        for update in updates {
            match update {
                Update::Rows(batch) => output.rows(batch, wall).unwrap(),
                Update::Table(batch) => {
                    output.table(batch, wall, Duration::from_secs(1)).unwrap();
                    last = Some(batch);
                }
                Update::Progress(told) | Update::Done(told) => account = told.clone(),
            }
        }
        let last: Vec<&Batch> = last.into_iter().collect();
        output.end(&last, wall, &account).unwrap();
    }
    let said = account_text(
        &account,
        crate::show::account::Rows::of(2, None),
        &follow.beside,
    );
    assert!(!said.contains('\x1b'), "{said:?}");
    drop(account_json(&account, &follow.beside).to_string());
}

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
fn a_batch_that_is_none_is_refused_by_name() {
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
    for (said, batch) in cases {
        let mut out = VecDeque::new();
        let refused = follow(false).take(message(1, Item::Batch(batch)), Duration::ZERO, &mut out);
        let why = refused.unwrap_err();
        assert!(why.contains(said), "{why:?} and not {said:?}");
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

#[test]
fn an_account_that_is_none_is_refused_and_one_of_a_newer_agent_is_told() {
    let stage = |name: &str, events| v1::Stage {
        name: name.to_owned(),
        events,
    };
    let take = |account: v1::Account| {
        let mut follow = follow(false);
        let mut out = VecDeque::new();
        follow.take(message(1, Item::Account(account)), Duration::ZERO, &mut out)?;
        show(&follow, &out);
        match out.pop_back() {
            Some(Update::Done(account)) => Ok::<_, String>((account, follow.beside)),
            other => panic!("{other:?}"),
        }
    };
    let overflow = v1::Account {
        delivered: 1,
        lost: vec![stage("ring_full", u64::MAX)],
        ..v1::Account::default()
    };
    assert!(take(overflow).unwrap_err().contains("overflow"));
    let twice = v1::Account {
        lost: vec![stage("busy", u64::MAX), stage("busy", 1)],
        ..v1::Account::default()
    };
    assert!(take(twice).unwrap_err().contains("overflow"));
    let left_out = v1::Account {
        sampled: 7,
        ..v1::Account::default()
    };
    let (account, beside) = take(left_out).unwrap();
    assert!(
        account_text(&account, crate::show::account::Rows::of(0, None), &beside)
            .contains("do not add up")
    );
    let untraced = v1::Account {
        untraced: vec!["functions of /x\x1b[2J cannot be traced".to_owned()],
        untraced_count: 1,
        ..v1::Account::default()
    };
    let (account, beside) = take(untraced).unwrap();
    let text = account_text(&account, crate::show::account::Rows::of(0, None), &beside);
    assert!(text.contains("\nNot traced: functions of /x"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let filtered = v1::Account {
        produced: 9,
        delivered: 2,
        filtered: 7,
        complete: true,
        ..v1::Account::default()
    };
    let (account, beside) = take(filtered).unwrap();
    assert_eq!(account.filtered, 7);
    let text = account_text(&account, crate::show::account::Rows::of(2, None), &beside);
    let wanted = "2 rows, complete: 9 produced, 2 delivered, 7 filtered, 0 lost";
    assert!(text.starts_with(wanted), "{text}");
    assert!(!text.contains("do not add up"), "{text}");
    let many = v1::Account {
        lost: (0..100).map(|n| stage(&format!("s{n}"), 1)).collect(),
        ..v1::Account::default()
    };
    assert!(take(many).unwrap_err().contains("64 stages"));
    for (seconds, nanos) in [(-1, 0), (i64::MAX, 0), (0, i32::MIN)] {
        let time = v1::Account {
            elapsed: Some(prost_types::Duration { seconds, nanos }),
            ..v1::Account::default()
        };
        assert!(take(time).unwrap_err().contains("an invalid time"));
    }

    let newer = v1::Account {
        produced: 9,
        delivered: 5,
        lost: vec![stage("ring_full", 1), stage("over\x1bflow", 3)],
        ended: "sun_set".to_owned(),
        ..v1::Account::default()
    };
    let (account, beside) = take(newer).unwrap();
    assert_eq!(beside.lost, [("over\\x1bflow".to_owned(), 3)]);
    let said = account_text(&account, crate::show::account::Rows::of(5, None), &beside);
    assert!(
        said.contains("PARTIAL") && said.contains("4 lost"),
        "{said}"
    );
    assert!(said.contains("End reason: sun set."), "{said}");
    assert!(!said.contains("do not add up"), "{said}");
    let json = account_json(&account, &beside);
    assert_eq!(json["account"]["ended"], "sun_set");
    assert_eq!(json["account"]["complete"], false);

    let other = v1::Account {
        complete: false,
        ..v1::Account::default()
    };
    let (account, beside) = take(other).unwrap();
    assert!(
        account_text(&account, crate::show::account::Rows::of(0, None), &beside)
            .contains("Use a tracejob of the agent's version")
    );
}

#[test]
fn what_does_not_come_is_told_also_where_the_agent_says_nothing() {
    let rows = |sequence| message(sequence, Item::Batch(good_batch()));
    let gap = |first, last, rows| {
        message(
            0,
            Item::Gap(v1::Gap {
                first_sequence: first,
                last_sequence: last,
                rows,
            }),
        )
    };
    let beside = |messages: Vec<StreamEventsResponse>, table: bool| {
        let mut follow = follow(table);
        for message in messages {
            follow
                .take(message, Duration::ZERO, &mut VecDeque::new())
                .unwrap();
        }
        follow.beside.gaps.map(|gaps| (gaps.count, gaps.rows))
    };
    assert_eq!(beside(vec![rows(1), rows(2)], false), None);
    let told = vec![
        rows(1),
        gap(2, 4, Some(70)),
        rows(5),
        gap(6, 6, Some(5)),
        rows(7),
    ];
    assert_eq!(beside(told, false), Some((2, Some(75))));
    assert_eq!(beside(vec![rows(1), rows(3)], false), Some((1, None)));
    let whole = vec![rows(1), gap(2, 4, Some(70)), rows(5)];
    assert_eq!(
        beside(whole, true),
        None,
        "the next table is the whole table"
    );
    let first_part = v1::Batch {
        more: true,
        ..good_batch()
    };
    let first_part = |sequence| message(sequence, Item::Batch(first_part.clone()));
    let over = |sequence| message(sequence, Item::Account(v1::Account::default()));
    let whole = vec![first_part(1), gap(2, 3, None), rows(4), over(5)];
    assert_eq!(beside(whole, true), None);
    // The last table, or a part of it: nothing replaces it.
    for cut in [
        vec![rows(1), first_part(2), gap(3, 3, None), over(4)],
        vec![rows(1), gap(2, 3, Some(7)), over(4)],
        vec![rows(1), first_part(2), over(3)],
    ] {
        assert_eq!(beside(cut, true), Some((1, None)));
    }
    let last = vec![gap(1, u64::MAX, None), rows(u64::MAX)];
    assert_eq!(beside(last, false), Some((1, None)));
}

#[test]
fn a_table_is_told_as_often_as_it_was_asked_for_and_the_last_always() {
    let mut follow = Follow::new(
        Schema::read(told(true), tracer()).unwrap(),
        Duration::from_secs(3),
    );
    let mut told = Vec::new();
    for second in 1..=7 {
        let mut out = VecDeque::new();
        // A little early, as an agent's clock may be.
        let elapsed = Duration::from_millis(second * 1000 - 20);
        follow
            .take(
                message(second, Item::Batch(good_batch())),
                elapsed,
                &mut out,
            )
            .unwrap();
        if matches!(out.pop_front(), Some(Update::Table(_))) {
            told.push(second);
        }
    }
    assert_eq!(told, [3, 6]);
    let mut out = VecDeque::new();
    let account = message(8, Item::Account(v1::Account::default()));
    follow
        .take(account, Duration::from_secs(8), &mut out)
        .unwrap();
    assert!(matches!(out[0], Update::Table(_)) && matches!(out[1], Update::Done(_)));
    let again = message(9, Item::Account(v1::Account::default()));
    assert!(
        follow.take(again, Duration::ZERO, &mut out).is_err(),
        "nothing follows the account"
    );
}

#[test]
fn where_the_agent_is_gone_what_came_is_told_as_partial() {
    let mut follow = follow(false);
    let mut out = VecDeque::new();
    let lost = v1::Lost {
        stages: vec![v1::Stage {
            name: "ring_full".to_owned(),
            events: 7,
        }],
        missed_runs: 0,
    };
    follow
        .take(
            message(1, Item::Batch(good_batch())),
            Duration::ZERO,
            &mut out,
        )
        .unwrap();
    follow
        .take(message(2, Item::Lost(lost)), Duration::ZERO, &mut out)
        .unwrap();
    assert!(matches!(&out[1], Update::Progress(account) if account.lost.ring_full == 7));
    let (account, _) = follow.cut_off(Duration::from_secs(3));
    insta::assert_snapshot!(account_text(&account, crate::show::account::Rows::of(2, None), &follow.beside), @r"
    2 rows, PARTIAL: at least 9 produced, 2 delivered, 7 lost (7 ring full) in 3.0 s. No account was received, so the cost is unknown.
    Ring full: a larger ring (`--ring 8MiB`) or a narrower selection keeps up.
    ");
    let json = account_json(&account, &follow.beside);
    assert_eq!(json["account"]["ended"], "agent_gone");
    assert_eq!(json["account"]["complete"], false);
}

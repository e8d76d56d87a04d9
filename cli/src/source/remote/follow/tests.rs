//! Tests with valid and invalid messages of an agent.

mod accounts;
mod batches;
mod further;
mod gaps;
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
fn schema_message(table: bool) -> v1::Schema {
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
        Schema::read(schema_message(table), tracer()).unwrap(),
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
                Update::Progress(received) | Update::Done(received) => account = received.clone(),
            }
        }
        let last: Vec<&Batch> = last.into_iter().collect();
        output.end(&last, wall, &account).unwrap();
    }
    let text = account_text(
        &account,
        crate::show::account::Rows::of(2, None),
        &follow.beside,
    );
    assert!(!text.contains('\x1b'), "{text:?}");
    drop(account_json(&account, &follow.beside).to_string());
}

//! Rows for tests: columns of every kind, with values that are hard to show.

use super::Wall;
use crate::show::sink::Sink;
use engine::{Account, Ended};
use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tracers::{Basic, Batch, Column, Data, Frame, Kind, Naming, Role, Store, Unit, Value};

/// Clock of the tests.
pub(super) const WALL: Wall = Wall {
    boot_unix_ns: 1_700_049_600_000_000_000,
    offset_s: 0,
};

fn column(name: &'static str, kind: Kind, role: Role, wide: bool) -> Column {
    Column::of(name, "What it is.", role, wide).kind(kind)
}

fn flags(bits: u64, each: &mut dyn FnMut(&str)) {
    each("O_RDONLY");
    each(&format!("{bits:#x}"));
}

fn filled(columns: &[Column], rows: &[Vec<Value<'_>>], frames: Vec<Frame>) -> Batch {
    let mut data: Vec<Data> = columns
        .iter()
        .map(|column| match column.kind.is_stack() {
            true => Data::Frames {
                ends: vec![],
                ids: vec![],
            },
            false => Data::of(column.kind),
        })
        .collect();
    for row in rows {
        for (data, value) in data.iter_mut().zip(row) {
            assert!(data.push(*value), "{value:?}");
        }
    }
    Batch::from_columns(data, frames)
}

/// Returns columns of events, of every kind that an event can have.
pub(super) fn event_columns() -> Vec<Column> {
    let none = |name, kind| column(name, kind, Role::None, false);
    vec![
        column("time", Kind::Time, Role::None, true),
        none("latency_ns", Kind::Unsigned),
        none("pid", Kind::Unsigned),
        column("tid", Kind::Unsigned, Role::None, true),
        none("comm", Kind::Text),
        none("daddr", Kind::Ip),
        none("rx_bytes", Kind::Unsigned),
        none("result", Kind::Outcome),
        none("call", Kind::Syscall),
        column("mode", Kind::Octal, Role::None, true),
        none("score", Kind::Signed),
        none("flags", Kind::Flags { names: flags }),
        none("ok", Kind::Bool),
        none("args", Kind::Args),
        none("path", Kind::Path),
    ]
}

/// Returns events.
pub(super) fn events() -> Batch {
    let v4 = |a, b, c, d| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d];
    let (near, far) = (
        v4(10, 244, 0, 7),
        [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x17],
    );
    let u = Value::Unsigned;
    let b = |text: &'static [u8]| Value::Bytes(text, false);
    let rows = vec![
        vec![
            u(113_000_000),
            u(312_000),
            u(4242),
            u(4243),
            b(b"checkout"),
            Value::Bytes(&near, false),
            u(1_258_291),
            Value::Signed(3),
            u(257),
            u(0o644),
            Value::Signed(-17),
            u(0),
            u(1),
            b(b"ls\0-l\0/etc/my file\0"),
            b(b"/etc/ld.so.cache"),
        ],
        vec![
            u(870_500_000),
            u(1_040_000_000),
            u(7),
            u(7),
            b(b"evil\x1b[31m\n"),
            Value::Bytes(&far, false),
            u(0),
            Value::Signed(-2),
            u(5 | 1 << 31),
            u(0),
            Value::Signed(1000),
            u(0x80),
            u(0),
            Value::Bytes(b"sh\0-c\0it's\0", true),
            Value::Bytes("/home/\u{202e}user/\u{200b}日本語".as_bytes(), true),
        ],
        vec![
            u(3_600_000_000_000),
            u(870),
            u(4_194_304),
            u(1),
            b(b"ba\xffd"),
            Value::Bytes(&near, false),
            u(512),
            Value::Signed(-512),
            u(9999),
            u(0o7777),
            Value::Signed(0),
            u(0),
            u(1),
            b(b""),
            Value::Bytes(b".../deep/in/some\xffwhere", true),
        ],
    ];
    filled(&event_columns(), &rows, vec![])
}

/// Returns columns of counts.
pub(super) fn count_columns() -> Vec<Column> {
    vec![
        column("call", Kind::Syscall, Role::Key, false),
        column("pid", Kind::Unsigned, Role::Key, true),
        column("comm", Kind::Text, Role::Key, true),
        column("calls", Kind::Unsigned, Role::Count, false),
        column("errors", Kind::Errors, Role::Histogram, false),
        column("total_ns", Kind::Unsigned, Role::Sum, false),
        column("max_ns", Kind::Unsigned, Role::Max, false),
        column(
            "latency",
            Kind::Log2 {
                unit: Unit::Nanoseconds,
            },
            Role::Histogram,
            false,
        ),
    ]
}

/// Returns counts; `processes` adds the process as a key.
pub(super) fn counts(processes: bool, scale: u64) -> Batch {
    let u = Value::Unsigned;
    let buckets = |from: usize, counts: &[u64]| -> Vec<u64> {
        let zeros = std::iter::repeat_n(0, from);
        zeros.chain(counts.iter().map(|n| n * scale)).collect()
    };
    let (fast, slow, one) = (
        buckets(9, &[40, 300, 80, 2]),
        buckets(14, &[1, 0, 5, 30, 9, 1]),
        buckets(12, &[1]),
    );
    let many = [11, 1022, 4, 3, 0, 1];
    let pid = if processes { 4242 } else { 0 };
    let comm: &[u8] = if processes { b"checkout" } else { b"" };
    let rows = vec![
        vec![
            u(202),
            u(pid),
            Value::Bytes(comm, false),
            u(412_070 * scale),
            Value::List(&many),
            u(865_347_000 * scale),
            u(1_900_000),
            Value::List(&fast),
        ],
        vec![
            u(232),
            u(pid),
            Value::Bytes(comm, false),
            u(91_204 * scale),
            Value::List(&[]),
            u(8_846_788_000 * scale),
            u(12_000_000),
            Value::List(&slow),
        ],
        vec![
            u(257),
            u(pid),
            Value::Bytes(comm, false),
            u(1),
            Value::List(&[2, 1]),
            u(8_400),
            u(8_400),
            Value::List(&one),
        ],
    ];
    filled(&count_columns(), &rows, vec![])
}

/// Returns columns of counts by stack.
pub(super) fn stack_columns() -> Vec<Column> {
    vec![
        column("pid", Kind::Unsigned, Role::Key, false),
        column("comm", Kind::Text, Role::Key, false),
        column("user_stack", Kind::UserStack, Role::Key, false),
        column("kernel_stack", Kind::KernelStack, Role::Key, false),
        column("faults", Kind::Unsigned, Role::Count, false),
    ]
}

/// Returns counts by stack.
pub(super) fn stacks() -> Batch {
    let frame = |name: &str, module: &str, offset, file: &str, line| Frame {
        name: name.into(),
        module: module.into(),
        offset,
        file: file.into(),
        line,
    };
    let frames = vec![
        frame("memset", "/usr/lib/libc.so.6", 0x20, "", 0),
        frame("Vec<T>::push<a;b>", "/usr/bin/prog", 0x8, "", 0),
        frame("main", "/usr/bin/prog", 0x10, "src/main.c", 42),
        frame("copy_to_user", "[kernel]", 0x44, "", 0),
        frame("evil\x1b<b>&\n", "/tmp/\u{202e}x", 1, "", 0),
    ];
    let row = |comm: &'static [u8], user: &'static [u32], kernel: &'static [u32], n| {
        vec![
            Value::Unsigned(4242),
            Value::Bytes(comm, false),
            Value::Frames(user),
            Value::Frames(kernel),
            Value::Unsigned(n),
        ]
    };
    let rows = vec![
        row(b"prog", &[0, 2], &[], 960),
        row(b"prog", &[1, 2], &[3], 240),
        row(b"prog;x", &[4, 2], &[], 3),
        row(b"gone", &[], &[], 1),
    ];
    filled(&stack_columns(), &rows, frames)
}

/// Returns a row with the count 7 for each function that `main` called.
pub(super) fn stacks_of(names: &[String]) -> Batch {
    let names = ["main"].into_iter().chain(names.iter().map(String::as_str));
    let frames: Vec<Frame> = names
        .map(|name| Frame {
            name: name.into(),
            module: "/usr/bin/prog".into(),
            ..Frame::default()
        })
        .collect();
    let stacks: Vec<[u32; 2]> = (1..frames.len() as u32).map(|name| [name, 0]).collect();
    let rows: Vec<Vec<Value<'_>>> = stacks
        .iter()
        .map(|stack| {
            vec![
                Value::Unsigned(4242),
                Value::Bytes(b"prog", false),
                Value::Frames(stack),
                Value::Frames(&[]),
                Value::Unsigned(7),
            ]
        })
        .collect();
    filled(&stack_columns(), &rows, frames)
}

/// Returns a usual value of a column, by its kind.
fn usual<'a>(column: &Column, row: usize) -> Value<'a> {
    const ADDRESSES: [[u8; 16]; 2] = [
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 244, 1, 12],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 250],
    ];
    let bytes = |text: &'static [u8]| Value::Bytes(text, false);
    let second = row == 1;
    match column.kind.basic() {
        Some(Basic::Path) if second => bytes(b"/usr/lib/x86_64-linux-gnu/libcrypto.so.3.0.11"),
        Some(Basic::Path) => bytes(b"/var/lib/postgresql/16/main/base/16384/2619"),
        Some(Basic::Args) => bytes(b"/usr/bin/python3\0-m\0http.server\0--bind\0::1\0"),
        Some(Basic::Ip) => Value::Bytes(&ADDRESSES[usize::from(second)], false),
        Some(Basic::Outcome) if second => Value::Signed(-111),
        Some(Basic::Outcome | Basic::Signed) => Value::Signed(3),
        _ => match (column.kind.store(), column.kind.naming()) {
            (Store::Bytes, _) => bytes(b"checkout"),
            (Store::Unsigned, Naming::KernelEnum) => bytes(b"SOCKET_RCVBUFF"),
            (Store::Unsigned, Naming::KernelSymbol) => bytes(b"tcp_v4_rcv+0x4c1"),
            (Store::Unsigned, _) => Value::Unsigned(match (column.unit(), column.kind.basic()) {
                (Unit::Nanoseconds, _) => 41_500_000,
                (Unit::Bytes, _) => 12_582_912,
                (_, Some(Basic::Time)) => 870_500_000,
                (_, Some(Basic::Flags)) => 0x80000 | 0x241,
                (_, Some(Basic::Bool)) => 1,
                (_, Some(Basic::Syscall)) => 257,
                (_, Some(Basic::Octal)) => 0o644,
                (_, Some(Basic::Text)) => 1,
                _ => 51_644,
            }),
            (Store::Signed, _) => Value::Signed(3),
            (Store::Buckets, _) => Value::List(&[0, 0, 0, 4, 30, 9, 1]),
            (Store::Pairs, _) => Value::List(&[11, 1022]),
            (Store::Stack, _) => Value::Frames(&[0, 1]),
        },
    }
}

/// Returns two rows of a dataset.
pub(super) fn usual_rows(columns: &[Column]) -> Batch {
    let frame = |name: &str| Frame {
        name: name.into(),
        module: "/usr/lib/libc.so.6".into(),
        ..Frame::default()
    };
    let rows: Vec<Vec<Value<'_>>> = (0..2)
        .map(|row| columns.iter().map(|column| usual(column, row)).collect())
        .collect();
    let data = columns.iter().enumerate().map(|(at, column)| {
        let mut data = match rows[0][at] {
            Value::Bytes(..) => Data::of(Kind::Text),
            Value::Frames(_) => Data::Frames {
                ends: vec![],
                ids: vec![],
            },
            _ => Data::of(column.kind),
        };
        assert!(rows.iter().all(|row| data.push(row[at])), "{column:?}");
        data
    });
    let frames = vec![frame("__memset_avx2_unaligned_erms"), frame("main")];
    Batch::from_columns(data.collect(), frames)
}

/// Returns the account of the rows.
pub(super) fn account() -> Account {
    Account {
        produced: 3,
        delivered: 3,
        elapsed: Duration::from_secs(10),
        ended: Some(Ended::Duration),
        ..Account::default()
    }
}

/// Returns the bytes that `write` writes to a sink.
pub(super) fn written(write: impl FnOnce(Sink)) -> Vec<u8> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("tracejob-render-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    write(Sink::create(&path).unwrap());
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    bytes
}

//! Conditions as users write them: what they mean, and how mistakes are shown.

use super::*;
use crate::{Cell as _, Data, Dataset, OpenFlags};

/// One column of each kind that is compared in a way of its own, behind those of labels.
fn all() -> Vec<Column> {
    let column = |name, kind| Column::of(name, "", Role::None, false).kind(kind);
    let mut columns: Vec<Column> = crate::LABELS.to_vec();
    columns.extend([
        column("pid", Kind::Process),
        column("latency_ns", Kind::Unsigned),
        column("wait_us", Kind::Unsigned),
        column("size_bytes", Kind::Unsigned),
        column("busy_pct", Kind::Unsigned),
        column("change", Kind::Signed),
        column("result", Kind::Outcome),
        column("comm", Kind::Text),
        column("args", Kind::Args),
        column("daddr", Kind::Ip),
        column("call", Kind::Syscall),
        column("signal", Kind::Signal),
        column("state", Kind::TcpState),
        column("cap", Kind::Capability),
        column("device", Kind::Device),
        column("mode", Kind::Octal),
        column("new", Kind::Bool),
        column(
            "reason",
            Kind::KernelEnum {
                of: "skb_drop_reason",
            },
        ),
        column("stack", Kind::UserStack),
        column("time_ns", Kind::Time),
    ]);
    OpenFlags::columns(Column::of("flags", "", Role::None, false), &mut columns);
    columns
}

const SYS_OPENAT: u64 = syscalls::Sysno::openat as u64;

/// A row with a value in each column but labels' and what is named later.
fn row() -> Batch {
    let data = |value: Value<'_>| {
        let mut data = match value {
            Value::Unsigned(_) => Data::of(Kind::Unsigned),
            Value::Signed(_) => Data::of(Kind::Signed),
            _ => Data::of(Kind::Text),
        };
        assert!(data.push(value));
        data
    };
    let text = |text: &'static str| Value::Bytes(text.as_bytes(), false);
    let mut address = [0; 16];
    address[10..].copy_from_slice(&[0xff, 0xff, 10, 1, 2, 3]);
    let values = [
        text("node-1"),
        text("shop"),
        text("cart-7"),
        text(""),
        Value::Unsigned(4242),
        Value::Unsigned(10_000_000),
        Value::Unsigned(1500),
        Value::Unsigned(4096),
        Value::Unsigned(50),
        Value::Signed(-7),
        Value::Signed(-2),
        text("nginx: worker"),
        text("ls\0-l\0a b\0"),
        Value::Bytes(&address, false),
        Value::Unsigned(SYS_OPENAT),
        Value::Unsigned(9),
        Value::Unsigned(1),
        Value::Unsigned(21),
        Value::Unsigned(0x0080_0001),
        Value::Unsigned(0o644),
        Value::Unsigned(1),
        text("TCP_RESET"),
        Value::Unsigned(0),
        Value::Unsigned(1),
        Value::Unsigned(0o2000101),
    ];
    Batch::from_columns(values.map(data).into(), Vec::new())
}

#[test]
fn a_condition_means_what_its_columns_kinds_say() {
    let (columns, row) = (all(), row());
    for (text, wanted) in [
        ("pid == 4242", true),
        ("pid = 0x1092", true),
        ("pid != 4242", false),
        ("pid == 18446744073709551616", false),
        ("latency_ns > 9ms", true),
        ("latency>10ms", false),
        ("latency >= 10ms && latency <= 10000000", true),
        ("wait == 1500us && wait < 1.6ms", true),
        ("size >= 4KiB", true),
        ("size < 4096", false),
        ("busy == 50%", true),
        ("change < 0 && change == -7", true),
        ("result == ENOENT", true),
        ("result == enoent", true),
        ("result != ENOENT", false),
        ("result < 0", true),
        ("result in (EACCES, EPERM)", false),
        ("comm == nginx", false),
        (r#"comm == "nginx: worker""#, true),
        ("comm == 'nginx: worker'", true),
        ("comm == nginx*", true),
        ("comm == *work??", true),
        (r"comm == nginx\*", false),
        ("comm != *x:*", false),
        ("comm > nginx", true),
        ("args == 'ls -l a b'", true),
        ("args == *-l*", true),
        ("daddr == 10.1.2.3", true),
        ("daddr == ::ffff:10.1.2.3", true),
        ("daddr == 10.0.0.0/8", true),
        ("daddr == 10.1.2.0/23", true),
        ("daddr == 10.1.4.0/22", false),
        ("daddr != 10.0.0.0/8", false),
        ("daddr in (192.168.0.0/16, 10.1.2.3)", true),
        ("daddr == ::/0", false),
        ("daddr != ::/0", true),
        ("daddr == 0.0.0.0/0", true),
        ("call == openat", true),
        ("call == open*", true),
        ("call != open*", false),
        ("call in (read, write)", false),
        ("signal == SIGKILL", true),
        ("signal == 9", true),
        ("state == ESTABLISHED", true),
        ("state != established", false),
        ("cap == CAP_SYS_ADMIN", true),
        ("device == 8:1", true),
        ("mode == 0644", true),
        ("mode == 644", true),
        ("new", true),
        ("!new", false),
        ("new == no", false),
        ("new == true", true),
        ("reason == TCP_RESET", true),
        ("reason == NETFILTER_*", false),
        ("flags == O_CREAT", true),
        ("flags == 'O_WRONLY|O_CREAT'", true),
        ("flags == O_APPEND", false),
        ("flags != O_CREAT", false),
        ("flags in (O_APPEND, O_CLOEXEC)", true),
        ("pod == cart-*", true),
        ("container == ''", true),
        ("pid == 1 || pid == 4242 && new", true),
        ("(pid == 1 || pid == 4242) && !new", false),
        ("!(pid == 1) && !!new", true),
    ] {
        let filter = Filter::parse(text, &columns);
        let filter = filter.unwrap_or_else(|mistake| panic!("{}\n{mistake}", mistake.marked(text)));
        assert_eq!(filter.matches(&row, 0), wanted, "{text}");
    }
}

#[test]
fn a_mistake_names_its_place_and_what_to_write() {
    let columns = all();
    for (text, wanted, place) in [
        (
            "",
            "the condition is empty: write a comparison, such as pid == 1",
            "",
        ),
        ("pid ==", "expected a value, found the end", ""),
        (
            "pid == 1 and new",
            "expected `&&`, `||` or the end, found `and`: write `&&`",
            "and",
        ),
        ("(pid == 1", "expected `)`, found the end", ""),
        ("pid & 1", "expected `&&`, found `&`", "&"),
        ("comm == \"a", "the quoted text does not end: add \"", "\"a"),
        (
            r"comm == a\b",
            r#"\ escapes only \, ", ', * and ?: write \\ for a backslash"#,
            r"\",
        ),
        (
            "latncy > 1",
            "there is no column latncy: did you mean latency_ns?",
            "latncy",
        ),
        (
            "commm == a",
            "there is no column commm: did you mean comm?",
            "commm",
        ),
        (
            "pid == ten",
            "ten is not a value of pid: write a number",
            "ten",
        ),
        (
            "latency > 10x",
            "10x is not a value of latency_ns: write a time with its unit, such as 10ms, or a number of ns",
            "10x",
        ),
        (
            "wait > 10ns",
            "10ns is not a value of wait_us: write a whole number of us",
            "10ns",
        ),
        (
            "pid == 1*",
            r"1* is not a value of pid: patterns are for text; write \* for a *",
            "1*",
        ),
        (
            "comm < a*",
            r"a* is not a value of comm: a pattern has no order; use == or !=, or write \* for a *",
            "a*",
        ),
        (
            "pid",
            "pid is not yes or no: compare it with a value",
            "pid",
        ),
        (
            "new == maybe",
            "maybe is not a value of new: write yes or no",
            "maybe",
        ),
        (
            "call == opennat",
            "opennat is not a value of call: did you mean openat?",
            "opennat",
        ),
        (
            "result == ENOEN",
            "ENOEN is not a value of result: did you mean ENOENT?",
            "ENOEN",
        ),
        (
            "result < ENOENT",
            "ENOENT is not a value of result: such values have no order; use == or !=",
            "ENOENT",
        ),
        (
            "call == zzz*",
            "zzz* is not a value of call: no name matches this pattern",
            "zzz*",
        ),
        (
            "flags == O_CRAET",
            "O_CRAET is not a value of flags: did you mean O_CREAT?",
            "O_CRAET",
        ),
        (
            "mode == 9",
            "9 is not a value of mode: write it as octal digits, such as 0644",
            "9",
        ),
        (
            "stack == main",
            "stack cannot be compared: it is a stack",
            "stack",
        ),
        (
            "time_ns > 1s",
            "time_ns cannot be compared: bound the time of a trace by its duration",
            "time_ns",
        ),
        (
            "daddr == 10.0.0.0/33",
            "10.0.0.0/33 is not a value of daddr: write an address, such as 10.0.0.9 or fd00::9, or a network, such as 10.0.0.0/8",
            "10.0.0.0/33",
        ),
    ] {
        let mistake = Filter::parse(text, &columns).unwrap_err();
        assert_eq!(mistake.to_string(), wanted, "{text}");
        assert_eq!(&text[mistake.place()], place, "{text}");
    }
}

#[test]
fn the_place_of_a_mistake_is_marked_below_it_and_nothing_reaches_a_terminal() {
    let columns = all();
    let marked = |text: &str| Filter::parse(text, &columns).unwrap_err().marked(text);
    assert_eq!(marked("pid == ten && new"), "pid == ten && new\n       ^^^");
    assert_eq!(marked("pid =="), "pid ==\n      ^");
    assert_eq!(
        marked("comm == '中' && pdi == 1"),
        "comm == '中' && pdi == 1\n                ^^^"
    );
    let hostile = marked("comm == '\u{1b}[2J' && x\u{7} == 1");
    assert!(!hostile.contains(['\u{1b}', '\u{7}']), "{hostile:?}");
    let long = format!("{} && pdi == 1", vec!["pid == 1"; 50].join(" && "));
    let shown = marked(&long);
    let (line, marks) = shown.split_once('\n').unwrap();
    assert!(line.len() < 200, "{line}");
    let at = marks.find('^').unwrap();
    assert!(crate::escape::width(line) >= at + 3, "{shown}");
    assert!(line.contains("pdi == 1"), "{line}");
}

#[test]
fn bounds_are_mistakes() {
    let columns = all();
    let wrong = |text: &str| Filter::parse(text, &columns).unwrap_err().to_string();
    let bytes = format!("comm == '{}'", "x".repeat(5000));
    assert_eq!(
        wrong(&bytes),
        "the condition has 5010 bytes: write at most 4096"
    );
    let deep = format!("{}new", "!".repeat(33));
    assert!(wrong(&deep).starts_with("more than 32 parentheses"));
    assert!(Filter::parse(&deep[1..], &columns).is_ok());
    let deep = format!("{}new{}", "(".repeat(40), ")".repeat(40));
    assert!(wrong(&deep).starts_with("more than 32 parentheses"));
    let values = vec!["1"; 65].join(",");
    assert!(wrong(&format!("pid in ({values})")).starts_with("more than 64 comparisons"));
    assert!(Filter::parse(&format!("pid in ({})", &values[2..]), &columns).is_ok());
}

#[test]
fn a_short_name_that_two_columns_have_is_refused() {
    let column = |name| Column::of(name, "", Role::None, false);
    let columns = [
        column("size_bytes"),
        column("size_pages"),
        column("x_ns"),
        column("x"),
    ];
    let wrong = Filter::parse("size > 1", &columns).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "size is size_bytes or size_pages: write one of them"
    );
    // The name itself comes before one without its unit.
    let filter = Filter::parse("x == 3", &columns).unwrap();
    let with = Operand::Number(3);
    let wanted = Comparison::new(&columns, 3, Operator::Equal, with).unwrap();
    assert_eq!(filter, Filter::Compare(wanted));
}

#[test]
fn datasets_without_a_column_of_the_condition_have_no_filter() {
    let datasets = find("tcp_drop").unwrap().datasets();
    assert_eq!(datasets.len(), 2, "a tracer with two datasets");
    let has = |dataset: &Dataset, name: &str| dataset.columns.iter().any(|one| one.name == name);
    let only_first = (datasets[0].columns.iter())
        .find(|one| {
            one.kind.store() == Store::Unsigned
                && !has(&datasets[1], &one.name)
                && matches!(one.kind.compared(), Compared::Number)
        })
        .unwrap();
    let filters = Filter::of_datasets(&format!("{} == 1", only_first.name), &datasets).unwrap();
    assert!(filters[0].is_some() && filters[1].is_none());
    let both = Filter::of_datasets("node == a", &datasets).unwrap();
    assert!(both.iter().all(Option::is_some));
    let none = Filter::of_datasets("no_such_column == 1", &datasets).unwrap_err();
    assert!(
        none.to_string()
            .starts_with("there is no column no_such_column")
    );
    // Labels may be there already.
    let mut labelled = datasets;
    for dataset in &mut labelled {
        dataset.columns = dataset.labelled();
    }
    assert_eq!(Filter::of_datasets("node == a", &labelled).unwrap(), both);
}

#[test]
fn what_needs_names_or_labels_is_tested_late_and_all_else_early() {
    let columns = all();
    let parse = |text| Filter::parse(text, &columns).unwrap();
    let own = &columns[4..];
    let early = |text| Some(Filter::parse(text, own).unwrap());
    assert_eq!(parse("pid == 1").by_time(4), (early("pid == 1"), None));
    assert_eq!(
        parse("pod == a").by_time(4),
        (None, Some(parse("pod == a")))
    );
    assert_eq!(
        parse("pid == 1 && (reason == a && new)").by_time(4),
        (early("pid == 1 && new"), Some(parse("reason == a")))
    );
    let either = "pid == 1 || reason == a";
    assert_eq!(parse(either).by_time(4), (None, Some(parse(either))));
}

#[test]
fn a_label_that_rows_do_not_have_is_empty() {
    let columns = all();
    let row = row();
    let without = Batch::from_columns([&row.columns[2..3], &row.columns[4..]].concat(), Vec::new());
    let has = [false, false, true, false];
    for (text, wanted) in [
        ("pod == cart-7 && pid == 4242", true),
        ("node == ''", true),
        ("node == node-1", false),
        ("node != node-1 && new", true),
        ("container == * && latency == 10ms", true),
    ] {
        let filter = Filter::parse(text, &columns).unwrap().with_labels(has);
        assert_eq!(filter.matches(&without, 0), wanted, "{text}");
    }
}

/// SplitMix64.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)) as usize
}

/// Words of the language in any order: they are read or refused with a place in the text.
#[test]
fn any_words_in_any_order_are_a_condition_or_a_mistake_with_a_place() {
    let columns = all();
    let mut words: Vec<String> = columns.iter().map(|one| one.name.to_string()).collect();
    let symbols = [
        "&&",
        "||",
        "!",
        "(",
        ")",
        "==",
        "=",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "in",
        ",",
        "1",
        "-5",
        "10ms",
        "0x",
        "4KiB",
        "'",
        "\"",
        "\\",
        "\\*",
        "*",
        "?",
        "10.0.0.0/8",
        "::/0",
        "ENOENT",
        "yes",
        "é",
        "\u{f0000}",
        "\0",
        "O_CREAT",
        "99999999999999999999999999999999999999999",
    ];
    words.extend(symbols.map(String::from));
    let (mut state, mut good) = (5, 0);
    for _ in 0..20_000 {
        let mut text = String::new();
        // Often a comparison, so that some are conditions.
        for _ in 0..random(&mut state) % 6 + 1 {
            if random(&mut state).is_multiple_of(3) {
                let columns = &words[4..columns.len()];
                text += &columns[random(&mut state) % columns.len()];
                text += [" == ", " > ", "=", " != "][random(&mut state) % 4];
            }
            text += &words[random(&mut state) % words.len()];
            text += [" ", "", " && ", " || "][random(&mut state) % 4];
        }
        match Filter::parse(&text, &columns) {
            Ok(filter) => {
                good += 1;
                let row = row();
                let (early, late) = filter.clone().by_time(4);
                let own = Batch::from_columns(row.columns[4..].to_vec(), Vec::new());
                let both = early.is_none_or(|early| early.matches(&own, 0))
                    && late.is_none_or(|late| late.matches(&row, 0));
                assert_eq!(filter.matches(&row, 0), both, "{text}");
            }
            Err(mistake) => {
                assert!(text.get(mistake.place()).is_some(), "{text:?}: {mistake:?}");
                assert!(!mistake.to_string().is_empty());
                assert_eq!(mistake.marked(&text).lines().count(), 2, "{text:?}");
            }
        }
    }
    assert!(good > 50, "{good}");
}

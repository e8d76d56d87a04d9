//! A tracer with an option of every type, and each of them through every form.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "it is written as a tracer is, and used by these tests alone"
)]

use super::{Draft, Options, Spec, SpecError, options_schema};
use crate::{
    Class, Erased, Facts, Family, Handle, Opt, OptKind, OptValue, OptionForm, Tracer, prelude::*,
    quantity,
};
use serde::de::DeserializeSeed;
use serde_json::{Value as Json, json};
use std::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use zerocopy::{FromBytes, IntoBytes};

/// Nothing happens.
#[event]
pub struct Rows {
    /// When.
    pub time: Time,
}

/// Which way packets go.
#[choice]
pub enum Direction {
    /// All packets.
    Both,
    /// Packets that arrive.
    In,
    /// Packets that are sent.
    SentOut,
}

/// Options of every type.
#[params]
pub struct Params {
    /// Only failures.
    pub failed_only: bool,
    /// Remote port.
    #[range = 1..=65535]
    #[default = 443]
    pub port: u16,
    /// Batches of this many.
    #[unit = "events"]
    pub batch: u32,
    /// Inode.
    pub inode: u64,
    /// Only slow ones.
    pub min_latency: option::Duration,
    /// Timeout.
    #[range = "1ms"..="10s"]
    #[default = "250ms"]
    pub timeout: option::Duration,
    /// Bytes of each packet.
    #[range = ..="1MiB"]
    #[default = "64KiB"]
    pub snaplen: option::Size,
    /// Name of the program.
    pub name: option::Text<16>,
    /// Packets of one direction.
    pub direction: Direction,
    /// Ports.
    pub ports: option::List<u16, 4>,
    /// Names.
    pub names: option::List<option::Text<3>, 2>,
    /// Waits.
    pub waits: option::List<option::Duration, 2>,
    /// The error.
    #[required]
    #[range = 1..=4095]
    pub errno: u16,
}

impl Tracer for Rows {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Syscalls;
    const POINTS: &'static [&'static [Point]] = &[&[raw_tp("sys_enter")]];
    const COST: &'static str = "nothing";
    const EXAMPLES: &'static [&'static str] = &["--errno 5"];
}

static FIXTURE: &dyn Erased = &Handle::<Rows>::new("fixture");

fn read(json: &str) -> Result<Spec, String> {
    let seed = Options {
        tracer: FIXTURE,
        name: "fixture",
    };
    let mut reader = serde_json::Deserializer::from_str(json);
    seed.deserialize(&mut reader)
        .map_err(|error| error.to_string())
}

/// The options as flags: each is given in the text that the value is written as.
fn by_flags(spec: &Spec) -> Spec {
    let mut draft = Draft::new(FIXTURE);
    for (option, value) in spec.set_options() {
        let form = option.kind.form();
        draft
            .set(option.name, form.parse(&form.text(value)).unwrap())
            .unwrap();
    }
    draft.finish().unwrap()
}

fn by_json(spec: &Spec) -> Spec {
    let json = serde_json::to_value(spec).unwrap();
    read(&json["fixture"].to_string()).unwrap()
}

fn set(name: &str, value: OptValue) -> Result<Spec, SpecError> {
    let mut draft = Draft::new(FIXTURE);
    draft.set("errno", OptValue::Number(5))?;
    draft.set(name, value)?;
    draft.finish()
}

/// Values at the bounds of an option, and ones that are just beyond them.
fn candidates(kind: &OptKind) -> Vec<OptValue> {
    let mut all = vec![OptValue::Flag(false), OptValue::Flag(true)];
    let Facts {
        bounds,
        choices,
        max_bytes,
        max_items,
        item,
        unit: _,
    } = kind.form().facts();
    for bound in bounds.map(|(min, max)| [min, max]).into_iter().flatten() {
        let around = [bound.saturating_sub(1), bound, bound.saturating_add(1)];
        all.extend(around.map(OptValue::Number));
    }
    all.extend([0, 1, 7, 1_500, 1 << 20, u64::MAX].map(OptValue::Number));
    all.extend(
        choices
            .iter()
            .map(|(word, _)| OptValue::Text((*word).to_string())),
    );
    let most = max_bytes.unwrap_or(4) as usize;
    let texts = [
        String::new(),
        "a".repeat(most),
        "a".repeat(most + 1),
        "é".repeat(most / 2),
        "é".repeat(most),
        "a\0".to_string(),
        "\x1b[2J".to_string(),
        "in".to_string(),
        " a".to_string(),
    ];
    all.extend(texts.map(OptValue::Text));
    let most = max_items.unwrap_or(1) as usize;
    for value in item.map(candidates).unwrap_or_default() {
        all.extend([1, most, most + 1].map(|n| OptValue::List(vec![value.clone(); n])));
    }
    all.push(OptValue::List(Vec::new()));
    all
}

#[test]
fn every_value_that_fits_is_the_same_in_every_form() {
    let mut fitting = 0;
    for option in FIXTURE.options() {
        for value in candidates(&option.kind) {
            // A comma separates items.
            let Ok(spec) = set(option.name, value.clone()) else {
                assert!(
                    !option.kind.form().fits(&value) || value.is_empty(),
                    "{}: {value:?}",
                    option.name
                );
                continue;
            };
            fitting += 1;
            let is = |other: Spec| {
                let of = |spec: &Spec| spec.values.clone();
                assert_eq!(of(&other), of(&spec), "{}: {value:?}", option.name);
                assert_eq!(other.globals(), spec.globals());
            };
            is(by_json(&spec));
            if !matches!(value, OptValue::List(ref items) if items.is_empty()) {
                is(by_flags(&spec));
            }
        }
    }
    assert!(fitting > 60, "{fitting}");
}

#[test]
fn a_sample_of_every_type_fits_and_every_type_says_what_it_wants() {
    for option in FIXTURE.options() {
        let form = option.kind.form();
        let sample = form.sample();
        assert!(form.fits(&sample), "{}", option.name);
        let read = form.parse(&form.text(&sample));
        assert_eq!(read.as_ref(), Some(&sample), "{}", option.name);
        assert!(!form.wanted().is_empty() && !form.word().is_empty());
    }
}

#[test]
fn defaults_reach_the_kernel_and_are_sent() {
    let spec = read(r#"{"errno": 5}"#).unwrap();
    let globals = spec.globals();
    let of = |name| {
        &globals
            .iter()
            .find(|(global, _)| *global == name)
            .unwrap()
            .1
    };
    assert_eq!(of("PORT"), &443u16.to_le_bytes());
    assert_eq!(of("TIMEOUT"), &250_000_000u64.to_le_bytes());
    assert_eq!(of("SNAPLEN"), &65_536u64.to_le_bytes());
    assert_eq!(of("ERRNO"), &5u16.to_le_bytes());
    let sent: Vec<&str> = spec.set_options().map(|(option, _)| option.name).collect();
    assert_eq!(sent, ["port", "timeout", "snaplen", "errno"]);
}

#[test]
fn a_global_has_the_bytes_of_its_type() {
    let spec = read(
        r#"{"errno": 5, "direction": "sent-out", "name": "curl", "ports": [80, 443], "names": ["a", "bcd"],
            "minLatency": "1.5ms", "waits": ["1s"]}"#,
    )
    .unwrap();
    let globals = spec.globals();
    let of = |name| {
        let found = globals.iter().find(|(global, _)| *global == name);
        found.unwrap().1.as_slice()
    };
    assert_eq!(of("DIRECTION"), [Direction::SentOut as u8]);
    let name = option::Text::<16>::read_from_bytes(of("NAME")).unwrap();
    assert_eq!(&name.0, b"curl\0\0\0\0\0\0\0\0\0\0\0\0");
    let ports = option::List::<u16, 4>::read_from_bytes(of("PORTS")).unwrap();
    assert_eq!((ports.len, ports.items), (2, [80, 443, 0, 0]));
    let names = option::List::<option::Text<3>, 2>::read_from_bytes(of("NAMES")).unwrap();
    assert_eq!(names.items.as_bytes(), b"a\0\0bcd");
    assert_eq!(of("MIN_LATENCY"), option::Duration(1_500_000).as_bytes());
    let waits = option::List::<option::Duration, 2>::read_from_bytes(of("WAITS")).unwrap();
    assert_eq!((waits.len, waits.items[0].0), (1, 1_000_000_000));
    for (option, (_, bytes)) in FIXTURE.options().iter().zip(&globals) {
        assert_eq!(bytes.len(), option.kind.form().bytes(), "{}", option.name);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_option_the_value_and_what_would_fit() {
    for (json, message) in [
        (
            "{}",
            "fixture requires errno: a whole number from 1 to 4095",
        ),
        (
            r#"{"errno": 0}"#,
            "errno must be a whole number from 1 to 4095, but is 0",
        ),
        (
            r#"{"errno": 5, "port": "443"}"#,
            r#"port must be a whole number from 1 to 65535, but is \"443\""#,
        ),
        (
            r#"{"errno": 5, "port": -1}"#,
            "port must be a whole number from 1 to 65535, but is -1",
        ),
        (
            r#"{"errno": 5, "batch": 0.5}"#,
            "batch must be a whole number of events from 0 to 4294967295, but is 0.5",
        ),
        (
            r#"{"errno": 5, "timeout": "11s"}"#,
            r#"timeout must be a time with its unit, such as 250us, 10ms or 1m30s, from 1ms to 10s, but is \"11s\""#,
        ),
        (
            r#"{"errno": 5, "minLatency": 10}"#,
            "minLatency must be a time with its unit, such as 250us, 10ms or 1m30s, up to 2501h, but is 10",
        ),
        (
            r#"{"errno": 5, "snaplen": "2MiB"}"#,
            r#"snaplen must be a size with its unit, such as 100B, 64KiB or 1.5GiB, from 0B to 1MiB, but is \"2MiB\""#,
        ),
        (
            r#"{"errno": 5, "name": "12345678901234567"}"#,
            r#"name must be a text of at most 16 bytes without control characters, but is \"12345678901234567\""#,
        ),
        (
            r#"{"errno": 5, "direction": "out"}"#,
            r#"direction must be one of both, in, sent-out, but is \"out\""#,
        ),
        (
            r#"{"errno": 5, "ports": [1, 2, 3, 4, 5]}"#,
            "ports must be a list of at most 4, each a whole number from 0 to 65535, but is [1,2,3,4,5]",
        ),
        (
            r#"{"errno": 5, "ports": 80}"#,
            "ports must be a list of at most 4, each a whole number from 0 to 65535, but is 80",
        ),
        (
            r#"{"errno": 5, "failedOnly": {"a": 1}}"#,
            "failedOnly must be true or false, but is an object",
        ),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.starts_with(message), "{json}: {error}");
    }
    assert!(
        Draft::new(FIXTURE)
            .finish()
            .is_err_and(|error| error.to_string().starts_with("fixture requires errno: "))
    );
    let long = read(&json!({"errno": "\u{1b}".repeat(100)}).to_string()).unwrap_err();
    assert!(long.contains('…') && !long.contains('\u{1b}'), "{long}");
}

#[test]
fn help_says_bounds_defaults_and_what_is_required() {
    let help: Vec<String> = FIXTURE.options().iter().map(Opt::help).collect();
    insta::assert_snapshot!(help.join("\n"));
}

#[test]
fn the_schema_is_one_that_an_api_server_takes() {
    let schema = options_schema("A fixture.", FIXTURE.options());
    insta::assert_snapshot!(format!("{schema:#}"));
}

/// The controller reads every object that the API server has stored: one that it cannot read would stop all of them.
#[test]
fn what_the_schema_takes_is_read() {
    let texts = [
        "0s",
        "1ms",
        "10s",
        "1.5s",
        "9999ms",
        "0.001s",
        "1m",
        "00000001s",
        "1us2ns",
        "10.000000000s",
    ];
    let time = json_kind("timeout");
    for text in texts {
        // CEL's arithmetic, by what the schema's pattern lets through.
        let fits = quantity::nanoseconds(text)
            .is_some_and(|ns| (1_000_000..=10_000_000_000).contains(&ns));
        assert_eq!(reads(time, &text.into()), fits, "{text}");
    }
    let size = json_kind("snaplen");
    for text in [
        "0B", "1MiB", "1Mi", "1M", "1MB", "1048576B", "1.5KiB", "0.1B", "1GiB", "1K",
    ] {
        let fits = quantity::size_bytes(text).is_some_and(|bytes| bytes <= 1 << 20);
        assert_eq!(reads(size, &text.into()), fits, "{text}");
    }
}

fn json_kind(name: &str) -> &'static dyn OptionForm {
    let option = FIXTURE.options().iter().find(|option| option.name == name);
    option.unwrap().kind.form()
}

fn reads(form: &dyn OptionForm, json: &Json) -> bool {
    form.read_json(json).is_some_and(|value| form.fits(&value))
}

//! Tests of differences of profiles: tables, folded lines, pictures and sample types.

use super::{
    profile::tests::{parsed, profile},
    *,
};

const TIME: (&str, &str) = ("time", "nanoseconds");
const CALLS: (&str, &str) = ("calls", "count");

fn names() -> [String; 2] {
    ["a.pb.gz", "b.pb.gz"].map(str::to_owned)
}

fn of(stacks: &[(&str, i64)]) -> Profile {
    let stacks: Vec<(&str, [i64; 1])> = stacks.iter().map(|(stack, n)| (*stack, [*n])).collect();
    let stacks: Vec<(&str, &[i64])> = stacks.iter().map(|(stack, n)| (*stack, &n[..])).collect();
    parsed(&profile(&[TIME], &stacks)).unwrap()
}

fn table(before: &Profile, after: &Profile) -> String {
    let names = names();
    let difference = Difference::of([before, after], &names, None).unwrap();
    difference.table(20, None)
}

fn folded(before: &Profile, after: &Profile) -> String {
    let (names, mut lines) = (names(), Vec::new());
    let difference = Difference::of([before, after], &names, None).unwrap();
    difference.fold(&mut lines).unwrap();
    String::from_utf8(lines).unwrap()
}

fn svg(before: &Profile, after: &Profile) -> String {
    let (names, mut svg) = (names(), Vec::new());
    let difference = Difference::of([before, after], &names, None).unwrap();
    difference.draw(&mut svg).unwrap();
    String::from_utf8(svg).unwrap()
}

#[test]
fn the_table_has_the_functions_with_the_largest_changes_and_no_programs() {
    let before = of(&[
        ("p;main;work;parse", 500_000),
        ("p;main;work;parse;parse", 100_000),
        ("p;main;[kernel];read", 300_000),
        ("q;main;[heap];jitted", 100_000),
    ]);
    let after = of(&[
        ("p;main;work;parse", 1_000_000),
        ("p;main;work;render", 700_000),
        ("p;main;[kernel];read", 200_000),
        ("q;main;[heap];jitted", 100_000),
    ]);
    insta::assert_snapshot!(table(&before, &after));
}

#[test]
fn a_longer_run_with_the_same_shares_has_no_change() {
    let before = of(&[("p;main;a", 50), ("p;main;[kernel];b", 50)]);
    let longer = of(&[("p;main;a", 500), ("p;main;[kernel];b", 500)]);
    let text = table(&before, &longer);
    assert!(text.contains("No share of a function changed"), "{text}");
    assert!(
        text.starts_with("time: 100ns in a.pb.gz, 1µs in b.pb.gz\n"),
        "{text}"
    );
    assert_eq!(
        folded(&before, &longer),
        "p;main;a 500000 500000\np;main;b_[k] 500000 500000\n"
    );
}

#[test]
fn the_shares_of_small_and_large_totals_add_up_to_the_whole() {
    let before = of(&[("p;a", 1), ("p;b", 1), ("p;c", 1)]);
    let after = of(&[("p;a", i64::MAX), ("p;b", i64::MAX), ("p;d", 1)]);
    let lines = folded(&before, &after);
    assert_eq!(
        lines,
        "p;a 333333 499999\np;b 333333 500000\np;c 333334 0\np;d 0 1\n"
    );
}

#[test]
fn growth_is_red_shrinking_is_blue_and_chance_is_pale() {
    let before = of(&[("p;a", 50), ("p;b", 50)]);
    let after = of(&[("p;a", 20), ("p;b", 80)]);
    let large = svg(&before, &after);
    assert!(large.contains("rgb(255,100,100)"), "{large}");
    assert!(large.contains("rgb(100,100,255)"), "{large}");
    assert!(
        large.contains("b (800,000 ppm, 80.00%; +30.00%)"),
        "{large}"
    );
    assert!(large.contains("time: a.pb.gz → b.pb.gz") && !large.contains("[scale]"));
    let chance = svg(
        &of(&[("p;a", 5000), ("p;b", 5000)]),
        &of(&[("p;a", 5001), ("p;b", 4999)]),
    );
    assert!(!chance.contains("rgb(255,100,100)"), "{chance}");
    assert!(chance.contains("rgb(255,248,248)"), "{chance}");
}

#[test]
fn profiles_without_names_of_programs_are_compared_without_them() {
    let ours = of(&[("p;main;a", 1)]);
    let mut message = profile(&[TIME], &[("p;main;a", &[1])]);
    message.sample[0].label.clear();
    let theirs = parsed(&message).unwrap();
    assert_eq!(folded(&ours, &theirs), "main;a 1000000 1000000\n");
}

#[test]
fn the_sample_type_is_selected_for_both_profiles() {
    let both = |kinds: &[(&str, &str)], default: usize| {
        let values = [1, 2];
        let mut message = profile(kinds, &[("p;a", &values[..kinds.len()])]);
        if let Some(kind) = message.sample_type.get(default) {
            message.default_sample_type = kind.r#type;
        }
        parsed(&message).unwrap()
    };
    let names = names();
    let chosen = |a: &Profile, b: &Profile, wanted| {
        let kind = choose([a, b], &names, wanted).map(|kind| kind.name.to_owned());
        kind.map_err(|error| format!("{error:#}"))
    };
    let (time, calls) = (both(&[CALLS, TIME], 1), both(&[CALLS, TIME], 0));
    let last = both(&[CALLS, TIME], 9);
    assert_eq!(chosen(&time, &time, None), Ok("time".to_owned()));
    assert_eq!(chosen(&time, &last, None), Ok("time".to_owned()));
    assert_eq!(chosen(&time, &calls, Some("calls")), Ok("calls".to_owned()));
    assert_eq!(
        chosen(&time, &both(&[CALLS], 0), None),
        Ok("calls".to_owned())
    );
    let lists = "a.pb.gz has calls (count), time (nanoseconds); b.pb.gz has ";
    let error = chosen(&time, &calls, None).unwrap_err();
    let sentence = "the profiles have different default sample types; select one with --sample";
    assert_eq!(
        error,
        format!("{sentence}: {lists}calls (count), time (nanoseconds)")
    );
    let error = chosen(&time, &both(&[("time", "count")], 0), None).unwrap_err();
    let sentence = "the profiles have no common sample type";
    assert_eq!(error, format!("{sentence}: {lists}time (count)"));
    let error = chosen(&time, &both(&[CALLS], 0), Some("time")).unwrap_err();
    assert_eq!(error, format!("{sentence} \"time\": {lists}calls (count)"));
}

#[test]
fn a_file_without_samples_is_named() {
    let names = names();
    let (one, empty) = (of(&[("p;a", 1)]), of(&[("p;a", 0)]));
    let difference = Difference::of([&one, &empty], &names, None);
    let error = format!("{:#}", difference.err().unwrap());
    assert_eq!(error, "cannot compare b.pb.gz: it has no samples of time");
}

#[test]
fn names_are_cut_to_the_width_of_a_terminal() {
    let long = format!("p;{}", "f".repeat(100));
    let (before, after) = (of(&[("p;a", 1)]), of(&[(&long, 1)]));
    let names = names();
    let difference = Difference::of([&before, &after], &names, None).unwrap();
    let table = difference.table(2, Some(80));
    let widest = table.lines().map(|line| line.chars().count()).max();
    assert_eq!(widest, Some(80), "{table}");
}

//! What every kind owes, whatever it is.

use super::*;
use crate::{Batch, Column, Data, LABELS, Role, Wall};
use std::{collections::BTreeSet, format, fs, path::Path};

fn column(kind: Kind) -> Column {
    Column::of("x", "What it is.", Role::Key, false).kind(kind)
}

/// A document of this repository.
fn document(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::read_to_string(docs.join(name)).expect("a document of this repository")
}

#[test]
fn every_kind_has_a_wire_name_of_its_own_by_which_it_is_found() {
    let samples = Kind::samples();
    let names: BTreeSet<&str> = samples.iter().map(|(kind, _)| kind.name()).collect();
    assert_eq!(names.len(), samples.len());
    // All but the one for names that nobody knows.
    assert_eq!(samples.len(), Kind::COUNT - 1);
    for (kind, _) in samples {
        let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(kind.name().chars().all(snake), "{kind:?}");
        assert!(!kind.word().is_empty(), "{kind:?}");
        assert!(
            kind.basic().is_some(),
            "{kind:?} has no form for older clients"
        );
    }
    assert!(Kind::named("", Unit::None).is_none());
    assert!(Kind::named("newer", Unit::None).is_none());
}

#[test]
fn every_kind_has_a_text_a_json_and_a_csv_form() {
    for (kind, sample) in Kind::samples() {
        let column = column(kind);
        let shown = Shown {
            column: &column,
            frames: &[],
            wall: Wall::default(),
        };
        let (mut text, mut json, mut csv) = (String::new(), Vec::new(), Vec::new());
        kind.text(sample.value, shown, &mut text);
        kind.json(sample.value, shown, &mut json);
        kind.csv(sample.value, shown, &mut csv);
        assert_eq!(text, sample.text, "{kind:?}");
        assert_eq!(String::from_utf8_lossy(&json), sample.json, "{kind:?}");
        assert_eq!(String::from_utf8_lossy(&csv), sample.csv, "{kind:?}");
        let object = format!("{{\"x\":{}}}", sample.json);
        serde_json::from_str::<serde_json::Value>(&object).expect("it is JSON");
    }
}

#[test]
fn a_column_stores_what_its_kind_says() {
    for (kind, sample) in Kind::samples() {
        let mut data = Data::of(kind);
        assert!(
            data.push(sample.value),
            "{kind:?} stores {:?}",
            kind.store()
        );
    }
}

#[test]
fn every_kind_is_in_the_documentation_of_outputs_and_of_the_api() {
    let (output, grpc) = (document("output.md"), document("grpc.md"));
    for (kind, _) in Kind::samples() {
        let (word, name) = (kind.word(), format!("`{}`", kind.name()));
        let row = |line: &str| {
            let kinds = line.split('|').nth(1).unwrap_or_default().split(',');
            line.starts_with("| ") && kinds.map(str::trim).any(|kind| kind == word)
        };
        assert!(
            output.lines().any(row),
            "docs/output.md has no row of {word}"
        );
        assert!(grpc.contains(&name), "docs/grpc.md does not name {name}");
    }
}

#[test]
fn text_that_a_traced_program_chooses_is_not_trusted() {
    for kind in [Kind::Text, Kind::Path, Kind::Args, Kind::UserStack] {
        assert_eq!(kind.trust(), Trust::Program, "{kind:?}");
    }
    for basic in [None, Some(Basic::Unsigned), Some(Basic::Text)] {
        let unknown = Kind::Unknown { basic };
        assert_eq!(unknown.trust(), Trust::Program, "{unknown:?}");
    }
    // What is stored as bytes is text, unless its file says what else it is.
    for (kind, _) in Kind::samples() {
        if kind.store() == Store::Bytes && kind.trust() == Trust::Kernel {
            assert_eq!(kind.basic(), Some(Basic::Ip), "{kind:?}");
        }
    }
}

#[test]
fn an_unknown_kind_is_shown_in_its_basic_form() {
    let kind = Kind::Unknown {
        basic: Some(Basic::Outcome),
    };
    let column = column(kind);
    let shown = Shown {
        column: &column,
        frames: &[],
        wall: Wall::default(),
    };
    let mut text = String::new();
    assert_eq!(kind.text(Value::Signed(-2), shown, &mut text), Tone::Bad);
    assert_eq!(text, "ENOENT");
    let batch = Batch::new(&[column.clone(), LABELS[0].clone()]);
    assert_eq!(batch.columns[0], Data::Signed(Vec::new()));
}

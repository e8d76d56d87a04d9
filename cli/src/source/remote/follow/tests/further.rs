//! Tests of streams with several datasets.

use super::*;

/// Returns the schema of events with a further table.
pub(super) fn further_schema_message() -> v1::Schema {
    let further = v1::Dataset {
        name: "more".to_owned(),
        table: true,
        columns: schema_message(true).columns,
        ..v1::Dataset::default()
    };
    v1::Schema {
        further: vec![further],
        ..schema_message(false)
    }
}

pub(super) fn with_further() -> Follow {
    let schema = Schema::read(further_schema_message(), tracer()).unwrap();
    Follow::new(schema, Duration::from_secs(1))
}

#[test]
fn rows_have_their_dataset_and_tables_between_events_lose_nothing() {
    let further = |dataset, part, more| {
        let batch = v1::Batch {
            part,
            more,
            ..good_batch()
        };
        Item::Further(v1::Further {
            dataset,
            batch: Some(batch),
        })
    };
    let items = [
        Item::Batch(good_batch()),
        further(0, 0, true),
        Item::Batch(good_batch()),
        further(0, 1, false),
        further(0, 0, false),
        Item::Account(v1::Account::default()),
    ];
    let (mut follow, mut out) = (with_further(), VecDeque::new());
    for (sequence, item) in (1..).zip(items) {
        let late = Duration::from_secs(sequence);
        follow
            .take(message(sequence, item), late, &mut out)
            .unwrap();
    }
    show(&follow, &out);
    let text = out.iter().map(|update| match update {
        Update::Rows(batch) => ("rows", batch.dataset, batch.rows()),
        Update::Table(batch) => ("table", batch.dataset, batch.rows()),
        Update::Progress(_) => ("progress", 0, 0),
        Update::Done(_) => ("done", 0, 0),
    });
    let wanted = [
        ("rows", 0, 2),
        ("rows", 0, 2),
        ("table", 1, 4),
        ("table", 1, 2),
        ("done", 0, 0),
    ];
    assert_eq!(text.collect::<Vec<_>>(), wanted);
    assert_eq!(follow.beside.gaps, None);
    let unknown = message(1, further(1, 0, false));
    let refused = with_further().take(unknown, Duration::ZERO, &mut VecDeque::new());
    assert!(refused.unwrap_err().contains("not in the schema"));
}

//! Targets that choose what their functions are called, and how many there are.

use crate::{
    daemon::{Daemon, process},
    reason, start,
};
use proto::v1::{self, stream_events_response::Item};
use std::time::Duration;
use tests::{Workload, most_resident, needs};

/// What a trace may take of memory besides what was admitted, KiB: connections, the allocator, all that is there without a trace.
const SLACK: i64 = 64 << 10;
/// Bytes of a message that every gRPC client takes.
const MESSAGE: usize = 4 << 20;
/// Duration of the trace, and interval of its tables.
const DURATION: Duration = Duration::from_secs(4);
const INTERVAL: Duration = Duration::from_millis(250);

fn spec(workload: &Workload, memory_bytes: u64) -> v1::TraceSpec {
    v1::TraceSpec {
        tracer: "page_fault".to_owned(),
        targets: vec![process(workload.pid())],
        duration: DURATION.try_into().ok(),
        interval: INTERVAL.try_into().ok(),
        budget: Some(v1::Budget {
            memory_bytes,
            ..v1::Budget::default()
        }),
        ..v1::TraceSpec::default()
    }
}

/// The last table of a trace, from its parts.
#[derive(Default)]
pub(super) struct Table {
    strings: Vec<String>,
    frames: usize,
    stacks: usize,
    faults: u64,
    parts: u32,
    bytes: usize,
}

impl Table {
    fn add(&mut self, schema: &v1::Schema, batch: v1::Batch) {
        use v1::values::Values;
        if batch.part == 0 {
            *self = Self::default();
        }
        assert_eq!(batch.part, self.parts, "parts come in their order");
        self.parts += 1;
        self.bytes += prost_bytes(&batch);
        self.strings.extend(batch.strings);
        if let Some(frames) = &batch.interned {
            self.frames += frames.names.len();
            let known = self.strings.len();
            assert!(frames.names.iter().all(|name| (*name as usize) < known));
        }
        for (column, values) in schema.columns.iter().zip(&batch.columns) {
            match values.values.as_ref().unwrap() {
                Values::Stacks(stacks) => {
                    self.stacks += stacks.ends.len();
                    let known = self.frames;
                    assert!(stacks.frames.iter().all(|frame| (*frame as usize) < known));
                }
                Values::Unsigned(of) if column.name == "faults" => {
                    self.faults += of.values.iter().sum::<u64>();
                }
                _ => {}
            }
        }
    }
}

/// About what a batch's texts and stacks take.
fn prost_bytes(batch: &v1::Batch) -> usize {
    use v1::values::Values;
    let texts: usize = batch.strings.iter().map(String::len).sum();
    let stacks = batch.columns.iter().map(|values| match &values.values {
        Some(Values::Stacks(stacks)) => 4 * stacks.frames.len(),
        _ => 0,
    });
    texts + stacks.sum::<usize>()
}

/// Traces a program with such functions until its trace ends, by a client that takes no message above [`MESSAGE`]: its last table, its
/// account, and how many bytes were admitted for it.
pub(super) async fn read_long_names(
    daemon: &Daemon,
    uid: &str,
    steps: [&str; 5],
) -> (Table, v1::Account, u64) {
    let mut workload = Workload::behind_gate(&steps);
    let mut client = daemon.client().await;
    // What it would take is in the refusal.
    let refused = client.start_trace(start(uid, 1, spec(&workload, 1))).await;
    let refused = refused.unwrap_err();
    assert_eq!(reason(&refused), "ResourceExhausted");
    let mut words = refused.message().split(' ');
    let admitted: u64 = words.find_map(|word| word.parse().ok()).unwrap();
    let started = client.start_trace(start(uid, 1, spec(&workload, admitted)));
    started.await.unwrap();
    let mut client = client.max_decoding_message_size(MESSAGE);
    let stream = client.stream_events(crate::events(uid, 0)).await;
    let mut stream = stream.unwrap().into_inner();
    workload.go();
    let (mut schema, mut table, mut account) = (None, Table::default(), None);
    while let Some(message) = stream.message().await.unwrap() {
        match message.item.unwrap() {
            Item::Schema(sent) => schema = Some(sent),
            Item::Batch(batch) => table.add(schema.as_ref().unwrap(), batch),
            Item::Account(sent) => account = Some(sent),
            Item::Lost(_) | Item::Gap(_) | Item::Nodes(_) | Item::Further(_) => {}
        }
    }
    workload.end();
    (table, account.unwrap(), admitted)
}

async fn long_names(steps: [&str; 5]) -> Table {
    let daemon = Daemon::start("").await;
    let (table, account, admitted) = read_long_names(&daemon, "a", steps).await;
    let most = most_resident(daemon.pid()).unwrap();
    let elapsed = Duration::try_from(account.elapsed.unwrap()).unwrap();
    println!(
        "{} stacks, {} frames, {} texts, {} bytes in {} messages; {elapsed:?}; the agent had {most} KiB at most, {} KiB were admitted",
        table.stacks,
        table.frames,
        table.strings.len(),
        table.bytes,
        table.parts,
        admitted / 1024,
    );
    assert_eq!(table.faults, account.delivered);
    assert!(table.faults > 300, "{account:?}");
    assert!(table.strings.iter().all(|name| name.len() <= 512));
    // Naming must not hold up the end, which is late by a table at most: a second of this machine's time.
    assert!(elapsed < DURATION * 5, "{elapsed:?}");
    assert!(most <= (admitted / 1024) as i64 + SLACK, "{most} KiB");
    // What is admitted is the kernel's too; of this process alone it is less.
    let kernel = account.cost.unwrap().kernel_bytes;
    let own = admitted.saturating_sub(kernel / 2) / 1024;
    assert!(most <= own as i64 + SLACK, "{most} KiB of {own}");
    table
}

/// Traces such a program until a table has all of its names, and gives it: naming has a time limit, and this machine may be busy with
/// other tests. None where it always is.
async fn named(test: &str, steps: [&str; 5], is_named: impl Fn(&Table) -> bool) -> Option<Table> {
    for _ in 0..3 {
        let table = long_names(steps).await;
        if is_named(&table) {
            return Some(table);
        }
        // A stack that is not symbolized in time is marked.
        let unnamed = table.strings.iter().any(|name| name == "[unknown]");
        assert!(unnamed, "{} texts", table.strings.len());
    }
    println!("SKIPPED attack::symbols::{test}: this machine is too busy to name all in time");
    None
}

#[tokio::test]
async fn a_name_of_4_kb_in_200000_places_reaches_every_client_and_takes_what_was_admitted() {
    needs!("page_fault");
    let test = "a_name_of_4_kb_in_200000_places_reaches_every_client_and_takes_what_was_admitted";
    let is_named = |table: &Table| {
        // It is sent once, and its cut shows.
        let long = table.strings.iter().filter(|name| name.contains("nnnn"));
        let long: Vec<&String> = long.collect();
        assert!(long.len() <= 1, "{long:?}");
        let cut = long
            .first()
            .is_some_and(|name| name.matches('…').count() == 2);
        cut && table.stacks > 2000
    };
    let steps = ["jit", "2000", "100", "4000", "one"];
    if let Some(table) = named(test, steps, is_named).await {
        assert!(table.parts > 1, "{}", table.parts);
    }
}

#[tokio::test]
async fn fifteen_thousand_long_names_fill_their_room_and_the_rest_is_marked() {
    needs!("page_fault");
    let test = "fifteen_thousand_long_names_fill_their_room_and_the_rest_is_marked";
    let bytes = |table: &Table| table.strings.iter().map(String::len).sum::<usize>();
    let is_named = |table: &Table| {
        let full = table.strings.iter().any(|name| name == "[too many frames]");
        full && bytes(table) >= 6 << 20
    };
    if let Some(table) = named(test, ["jit", "300", "50", "1000", "each"], is_named).await {
        assert!(bytes(&table) < 9 << 20, "{}", bytes(&table));
    }
}

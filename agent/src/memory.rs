//! What a trace takes of memory, before it is loaded: what is admitted is known, not found out.

use crate::{
    Kernel, Request, columns,
    limits::{BATCH_BYTES, LABELS_BYTES, QUEUE, SNAPSHOT_ROWS},
    load, object,
    select::Shape,
    stage::{self, stacks},
};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use tracers::Source;

/// Types of maps: include/uapi/linux/bpf.h.
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_HASH: u32 = 5;
const PERCPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;
const RINGBUF: u32 = 27;

/// Bytes of a hash map's entry besides key and value: `struct htab_elem`, kernel/bpf/hashtab.c; of a bucket; of a map and its parts.
const ELEMENT: u64 = 64;
const BUCKET: u64 = 16;
const MAP: u64 = 4096;
/// Bytes of a label in a row: Kubernetes' names have 253 letters at most, and a place where they end.
const LABEL: u64 = 257;
/// Bytes of a value of a row of a table while rows of several CPUs are merged.
const CELL: u64 = 40;
/// Bytes of a row besides its values then: its key twice, its place.
const ROW: u64 = 192;

/// A map as an object defines it: `bpf_map_def`, which aya-ebpf writes into the section `maps`.
struct Definition {
    kind: u32,
    key: u64,
    value: u64,
    entries: u64,
}

impl Definition {
    fn bytes(&self, cpus: u64) -> u64 {
        let value = self.value.next_multiple_of(8);
        let each = match self.kind {
            PERCPU_HASH => ELEMENT + self.key.next_multiple_of(8) + 8 + cpus * value,
            HASH | LRU_HASH => ELEMENT + self.key.next_multiple_of(8) + value,
            PERCPU_ARRAY => cpus * value,
            ARRAY => value,
            // The ring itself, its two pages of positions and one of its own.
            RINGBUF => return self.entries + 3 * MAP,
            _ => self.key + value,
        };
        let buckets = match self.kind {
            HASH | LRU_HASH | PERCPU_HASH => self.entries.next_power_of_two() * BUCKET,
            _ => 0,
        };
        MAP + buckets + self.entries * each
    }
}

/// Bytes that a trace takes at most, of the kernel and of this process: its maps, its ring, its queue to whoever takes its rows, the
/// labels of its targets, and, where it counts, its table with the names of its stacks.
pub fn memory(request: &Request, kernel: &Kernel) -> u64 {
    let shape = Shape::of(&request.targets, request.changing);
    let tracer = request.spec.tracer();
    let Some(elf) = object(tracer.name()) else {
        return 0;
    };
    let cpus = crate::read::possible_cpus() as u64;
    let depth = load::depth();
    let sizes = load::sizes(tracer, shape, &request.limits, kernel, depth);
    let values = load::value_bytes(depth);
    let mut rows = 0;
    let maps: u64 = definitions(elf)
        .into_iter()
        .map(|(name, mut map)| {
            if let Some((_, entries)) = sizes.iter().find(|(sized, _)| *sized == name) {
                map.entries = u64::from(*entries);
            }
            if let Some((_, bytes)) = values.iter().find(|(stacks, _)| *stacks == name) {
                map.value = u64::from(*bytes);
            }
            match name.as_str() {
                "ROWS" => rows += map.entries,
                "FIRST" => rows += map.entries * cpus,
                // As many are kept here once they were taken out of one of the two, and all are shown.
                "SHARED_A" => rows += 2 * map.entries,
                "SHARED_B" => rows += map.entries,
                _ => {}
            }
            map.bytes(cpus)
        })
        .sum();
    let read = match tracer.source() {
        Source::Ring => names(request),
        Source::PerCpu => table(request, rows),
        Source::Shared => table(request, rows) + rows * merged_row(request),
        Source::Snapshot => table(request, SNAPSHOT_ROWS as u64),
    };
    maps + programs(elf) + (QUEUE * BATCH_BYTES + LABELS_BYTES) as u64 + read
}

/// Bytes of a table of this many rows: as it is read and named, as it is made into messages, and the messages of the last one, which
/// are kept. The next one is read when all that is over.
fn table(request: &Request, rows: u64) -> u64 {
    let tracer = request.spec.tracer();
    let columns = columns(request);
    let labels = columns.iter().filter(|column| column.is_label()).count() as u64;
    let values = rows * (tracer.row_bytes() as u64 + labels * LABEL);
    let merged = rows * merged_row(request);
    let (named, messages, names) = match stage::names(&columns) {
        true => (
            stacks::TABLE_BYTES as u64,
            stacks::MESSAGES_BYTES as u64,
            stacks::NAMES_BYTES as u64,
        ),
        false => (0, 0, 0),
    };
    let messages = values + messages;
    merged.max(named + messages) + values + messages + names
}

/// Bytes of a row of a table while it is merged.
fn merged_row(request: &Request) -> u64 {
    columns(request).len() as u64 * CELL + ROW
}

/// Bytes of the stacks of events: of each batch that waits to be taken, and the names.
fn names(request: &Request) -> u64 {
    match stage::names(&request.spec.tracer().columns()) {
        true => (QUEUE * stacks::BATCH_BYTES + stacks::NAMES_BYTES) as u64,
        false => 0,
    }
}

/// The kernel keeps a program as it came, as it was verified, and as machine code.
fn programs(elf: &[u8]) -> u64 {
    let Ok(file) = object::File::parse(elf) else {
        return 0;
    };
    let programs = file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text);
    programs.map(|section| 3 * section.size() + MAP).sum()
}

fn definitions(elf: &[u8]) -> Vec<(String, Definition)> {
    let Ok(file) = object::File::parse(elf) else {
        return Vec::new();
    };
    let Some(section) = file.section_by_name("maps") else {
        return Vec::new();
    };
    let data = section.data().unwrap_or_default();
    let of = |symbol: object::Symbol<'_, '_>| {
        if symbol.section_index() != Some(section.index()) {
            return None;
        }
        let at = usize::try_from(symbol.address()).ok()?;
        let word = |n: usize| {
            let bytes = data.get(at + n * 4..at + n * 4 + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let map = Definition {
            kind: word(0)?,
            key: word(1)?.into(),
            value: word(2)?.into(),
            entries: word(3)?.into(),
        };
        Some((symbol.name().ok()?.to_owned(), map))
    };
    file.symbols().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_of_an_object_is_counted() {
        for tracer in tracers::ALL {
            let maps = definitions(object(tracer.name()).unwrap());
            let bytes = |name: &str| {
                let map = maps.iter().find(|(map, _)| map == name);
                map.unwrap_or_else(|| panic!("{}: {name}", tracer.name()))
                    .1
                    .bytes(2)
            };
            assert!(bytes("COUNTERS") > 2 * 88);
            // 16,384 processes of 4 + 12 bytes.
            assert!(bytes("PROCESSES") > 16384 * 16);
            assert_eq!(bytes("EVENTS"), (1 << 18) + 3 * MAP);
        }
    }
}

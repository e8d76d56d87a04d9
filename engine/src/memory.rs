//! The memory of a trace, computed before it is loaded.

use crate::{
    Error, Kernel, Request,
    limits::{BATCH_BYTES, COPIES_AT_ONCE, LABELS_BYTES, QUEUE, SNAPSHOT_ROWS, UNWOUND_ROWS},
    load, object,
    select::Shape,
    stage::{self, stacks},
};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use tracers::{Dataset, Source};

/// Types of maps that objects may have, the same as in `load::map_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MapType {
    Hash,
    Array,
    PercpuHash,
    PercpuArray,
    LruHash,
    LruPercpuHash,
    Ring,
}

impl MapType {
    /// Returns the type with this number in include/uapi/linux/bpf.h; `None` if its memory cannot be computed here.
    const fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Hash,
            2 => Self::Array,
            5 => Self::PercpuHash,
            6 => Self::PercpuArray,
            9 => Self::LruHash,
            10 => Self::LruPercpuHash,
            27 => Self::Ring,
            _ => return None,
        })
    }
}

/// Bytes of a hash map's entry besides key and value: `struct htab_elem`, kernel/bpf/hashtab.c; of a bucket; of a map and its parts.
const ELEMENT: u64 = 64;
const BUCKET: u64 = 16;
const MAP: u64 = 4096;
/// Bytes of a label in a row: names of Kubernetes have at most 253 characters, and an end offset.
const LABEL: u64 = 257;
/// Bytes of a value of a row of a table while rows of several CPUs are merged.
const CELL: u64 = 40;
/// Bytes of a row besides its values in this time: its key twice, its index.
const ROW: u64 = 192;

/// The definition of a map in an object: `bpf_map_def`, which aya-ebpf writes into the section `maps`.
struct Definition {
    kind: MapType,
    key: u64,
    value: u64,
    entries: u64,
}

impl Definition {
    fn bytes(&self, cpus: u64) -> u64 {
        let value = self.value.next_multiple_of(8);
        let key = self.key.next_multiple_of(8);
        let (each, is_hash) = match self.kind {
            MapType::Hash | MapType::LruHash => (ELEMENT + key + value, true),
            MapType::PercpuHash | MapType::LruPercpuHash => {
                (ELEMENT + key + 8 + cpus * value, true)
            }
            MapType::PercpuArray => (cpus * value, false),
            // A mapped array uses whole pages.
            MapType::Array => return MAP + (self.entries * value).next_multiple_of(MAP),
            // The ring itself, its two pages of positions and one of its own.
            MapType::Ring => return self.entries + 3 * MAP,
        };
        let buckets = match is_hash {
            true => self.entries.next_power_of_two() * BUCKET,
            false => 0,
        };
        MAP + buckets + self.entries * each
    }
}

/// Returns the maximum bytes of a trace in the kernel and in this process: its maps, its ring, its queue to the consumer, the labels of its
/// targets, and the table of each dataset of that form with the names of its stacks.
///
/// # Errors
/// If the tracer has a map whose memory cannot be computed.
pub fn memory(request: &Request, kernel: &Kernel) -> Result<u64, Error> {
    let shape = Shape::of(&request.targets, request.changing);
    let plan = request.spec.plan();
    let refused = |reason| Error::Load {
        tracer: plan.tracer,
        reason,
    };
    let elf = object(plan.tracer);
    let elf = elf.ok_or_else(|| refused("it has no object: a bug of the build".to_owned()))?;
    let cpus = crate::cpus::possible_cpus() as u64;
    let depth = load::depth();
    let sizes = load::sizes(&plan, shape, &request.limits, kernel, depth);
    let values = load::value_bytes(depth);
    let (mut per_cpu_rows, mut shared_rows) = (0, 0);
    let maps: u64 = definitions(elf)
        .map_err(refused)?
        .into_iter()
        .map(|(name, mut map)| {
            if let Some((_, entries)) = sizes.iter().find(|(sized, _)| *sized == name) {
                map.entries = u64::from(*entries);
            }
            if let Some((_, bytes)) = values.iter().find(|(stacks, _)| *stacks == name) {
                map.value = u64::from(*bytes);
            }
            match name.as_str() {
                "ROWS" => per_cpu_rows += map.entries,
                "FIRST" => per_cpu_rows += map.entries * cpus,
                // As many rows are kept here after they were moved out of one of the maps, and the table has all of them.
                "SHARED_A" => shared_rows += 2 * map.entries,
                "SHARED_B" => shared_rows += map.entries,
                _ => {}
            }
            map.bytes(cpus)
        })
        .sum();
    let unwound_rows = match plan.copies_stacks() {
        true => UNWOUND_ROWS as u64,
        false => 0,
    };
    // Copies, and their requests to the worker.
    let copies = match plan.copies_stacks() {
        true => stage::UNWOUND_BYTES + 2 * COPIES_AT_ONCE * plan.stack_copy_bytes(),
        false => 0,
    };
    let read = |one: &Dataset| match one.source {
        Source::Ring => names(one),
        Source::PerCpu => table(one, per_cpu_rows + unwound_rows) + unwound_rows * merged_row(one),
        Source::Shared => table(one, shared_rows) + shared_rows * merged_row(one),
        Source::Snapshot => table(one, SNAPSHOT_ROWS as u64),
    };
    let read: u64 = request.datasets().iter().map(read).sum();
    let rest = QUEUE * BATCH_BYTES + LABELS_BYTES + copies;
    Ok(maps + programs(elf) + rest as u64 + read)
}

/// Returns the bytes of a table with this many rows: while it is read and named, while it is converted to messages, and the messages of the
/// last one, which are kept. The next table is read only after that.
fn table(dataset: &Dataset, rows: u64) -> u64 {
    let columns = &dataset.columns;
    let labels = columns.iter().filter(|column| column.is_label()).count() as u64;
    let values = rows * (dataset.row_bytes as u64 + labels * LABEL);
    let merged = rows * merged_row(dataset);
    let (named, messages, names) = match stage::names(columns) {
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

/// Returns the bytes of a row of a table while it is merged.
fn merged_row(dataset: &Dataset) -> u64 {
    dataset.columns.len() as u64 * CELL + ROW
}

/// Returns the bytes of the stacks of events: of each batch in the queue, and the names.
fn names(dataset: &Dataset) -> u64 {
    match stage::names(&dataset.columns) {
        true => (QUEUE * stacks::BATCH_BYTES + stacks::NAMES_BYTES) as u64,
        false => 0,
    }
}

/// Returns the bytes of programs: the kernel keeps the loaded, the verified and the machine code.
fn programs(elf: &[u8]) -> u64 {
    let Ok(file) = object::File::parse(elf) else {
        return 0;
    };
    let programs = file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text);
    programs.map(|section| 3 * section.size() + MAP).sum()
}

/// Returns the maps of an object. An unknown type is an error with the name of the map.
fn definitions(elf: &[u8]) -> Result<Vec<(String, Definition)>, String> {
    let file = object::File::parse(elf).map_err(|error| error.to_string())?;
    let Some(section) = file.section_by_name("maps") else {
        return Ok(Vec::new());
    };
    let data = section.data().map_err(|error| error.to_string())?;
    let of = |symbol: object::Symbol<'_, '_>| {
        let name = symbol.name().map_err(|error| error.to_string())?;
        let word = |n: u64| {
            let at = usize::try_from(symbol.address() + n * 4).ok()?;
            let bytes = data.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let word = |n| word(n).ok_or_else(|| format!("its map {name} is cut short"));
        let number = word(0)?;
        let map = Definition {
            kind: MapType::of(number).ok_or_else(|| {
                format!("its map {name} has type {number}, whose memory is unknown: a bug")
            })?,
            key: word(1)?.into(),
            value: word(2)?.into(),
            entries: word(3)?.into(),
        };
        Ok((name.to_owned(), map))
    };
    let symbols = file.symbols();
    // The section's own symbol has no name and is no map.
    let maps = symbols.filter(|symbol| {
        symbol.section_index() == Some(section.index()) && symbol.kind() != SymbolKind::Section
    });
    maps.map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_of_an_object_is_counted() {
        for tracer in tracers::ALL {
            let maps = definitions(object(tracer.name()).unwrap()).unwrap();
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

    #[test]
    fn a_map_of_an_unknown_type_refuses_its_object_by_its_name() {
        let mut elf = object("open").unwrap().to_vec();
        let file = object::File::parse(&*elf).unwrap();
        let (start, _) = file.section_by_name("maps").unwrap().file_range().unwrap();
        let map = file.symbols().find(|one| one.name() == Ok("PROCESSES"));
        let at = (start + map.unwrap().address()) as usize;
        // BPF_MAP_TYPE_LPM_TRIE.
        elf[at] = 11;
        let error = definitions(&elf).err().unwrap();
        assert_eq!(
            error,
            "its map PROCESSES has type 11, whose memory is unknown: a bug"
        );
    }
}

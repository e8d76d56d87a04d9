//! A table with a part for each CPU. Values only grow, and the parts of a row are merged when they are read.
//! Rows of events with a copied stack come through a ring, and are a further part.

use super::{
    Counted, Read,
    copies::{Copied, CopiedRow, Copies},
    counts, decoded,
};
use crate::{Error, bpf, cpus::possible_cpus, limits::UNWOUND_ROWS, load::Loaded};
use tracers::{Batch, Data, Dataset, Role, Table, Value, control::FirstHead};
use zerocopy::IntoBytes;

/// Reader of a per-CPU table.
pub(crate) struct PerCpu {
    dataset: Dataset,
    count_column: Option<usize>,
    cpus: usize,
    /// Sum of the rows' counts.
    counted: u64,
    copies: Option<Copies>,
    /// Rows of events with a copied stack.
    unwound: Table,
    /// Events that found no room in these rows.
    no_room: u64,
    /// Records of copies that did not decode.
    malformed: u64,
    /// Omitted events in the counts of lost events: their weights minus 1.
    lost_weight: u64,
}

impl PerCpu {
    /// Creates the reader. `copies`: whether stacks may be copied.
    pub(super) fn new(loaded: &mut Loaded, dataset: Dataset, copies: bool) -> Result<Self, Error> {
        let mut columns = dataset.columns.iter();
        Ok(Self {
            count_column: columns.position(|column| column.role == Role::Count),
            unwound: Table::new(&dataset.columns),
            copies: match copies {
                true => Copies::new(loaded, &dataset)?,
                false => None,
            },
            dataset,
            cpus: possible_cpus(),
            counted: 0,
            no_room: 0,
            malformed: 0,
            lost_weight: 0,
        })
    }

    /// Returns the ring of copies.
    pub(crate) fn copies(&self) -> Option<&Copies> {
        self.copies.as_ref()
    }

    /// Returns the account of the events until now.
    pub(super) fn so_far(&self, counted: Counted) -> Read {
        // A row that also counts omitted events is one event.
        let weighted = counted.weighted.saturating_sub(self.lost_weight);
        Read {
            delivered: self.counted.saturating_sub(weighted),
            no_room: self.no_room,
            malformed: self.malformed,
            ..Read::default()
        }
    }

    /// Adds the rows in the ring of copies, at most as many as the ring has room for. `unwind` returns the numbers of their unwound stacks;
    /// `None` keeps the stack by frame pointers.
    pub(crate) fn take_copies(
        &mut self,
        mut unwind: impl FnMut(&[CopiedRow]) -> Result<Vec<Option<u64>>, Error>,
    ) -> Result<(), Error> {
        let Some(copies) = &mut self.copies else {
            return Ok(());
        };
        let mut room = copies.records_max();
        while room > 0 {
            let Copied {
                mut rows,
                malformed,
            } = copies.some();
            self.malformed += malformed;
            if rows.is_empty() {
                break;
            }
            room = room.saturating_sub(rows.len());
            let stacks = unwind(&rows)?;
            let weights: Vec<u64> = rows.iter().map(CopiedRow::weight).collect();
            let records = rows.iter_mut().zip(stacks).map(|(row, stack)| {
                let stack = stack.unwrap_or(row.stack());
                row.with_stack(stack)
            });
            let (batch, malformed) = decoded(&self.dataset, records);
            self.malformed += malformed;
            let (mut no_room, mut lost_weight) = (0, 0);
            self.unwound.add_within(UNWOUND_ROWS, &batch, |row| {
                no_room += 1;
                lost_weight += weights
                    .get(row)
                    .map_or(0, |weight| weight.saturating_sub(1));
            });
            self.no_room += no_room;
            self.lost_weight += lost_weight;
        }
        Ok(())
    }

    /// Reads the rows until now, merged over CPUs.
    pub(super) fn read(&mut self, loaded: &Loaded) -> Result<Batch, Error> {
        let failed = |source| Error::Read {
            what: "the map of rows",
            source,
        };
        let dataset = &self.dataset;
        let (key_bytes, row_bytes) = (dataset.key_bytes, dataset.row_bytes);
        let value_bytes = row_bytes - key_bytes;
        let mut table = Table::new(&dataset.columns);
        // The kernel rounds each CPU's value up to 8 bytes.
        const HEAD: usize = size_of::<FirstHead>();
        let used = FirstHead { used: 1 };
        let first = loaded.map("FIRST")?;
        let stride = HEAD + row_bytes.next_multiple_of(8);
        let mut values = vec![0; stride * self.cpus];
        let mut entry = 0u32;
        while bpf::lookup(first, &entry.to_ne_bytes(), &mut values).map_err(failed)? {
            let values = values.chunks_exact(stride);
            let used = values.filter(|value| value[..HEAD] == *used.as_bytes());
            let used = used.map(|value| &value[HEAD..HEAD + row_bytes]);
            table.add(&counts(dataset, used)?);
            entry += 1;
        }
        let map = loaded.map("ROWS")?;
        let stride = value_bytes.next_multiple_of(8);
        let mut values = vec![0; stride * self.cpus];
        let mut key: Option<Vec<u8>> = None;
        let mut next = vec![0; key_bytes];
        while bpf::next_key(map, key.as_deref(), &mut next).map_err(failed)? {
            if bpf::lookup(map, &next, &mut values).map_err(failed)? {
                let records: Vec<Vec<u8>> = values
                    .chunks_exact(stride)
                    // A CPU without this key has no minimum.
                    .filter(|value| value.iter().any(|&b| b != 0))
                    .map(|value| [&next, &value[..value_bytes]].concat())
                    .collect();
                let records = records.iter().map(Vec::as_slice);
                table.add(&counts(dataset, records)?);
            }
            key = Some(next.clone());
        }
        if self.unwound.rows() > 0 {
            table.add(&self.unwound.batch());
        }
        let rows = table.batch();
        let column = self.count_column.map(|column| &rows.columns[column]);
        self.counted = column.map_or(0, total);
        Ok(rows)
    }
}

fn total(column: &Data) -> u64 {
    (0..column.rows())
        .map(|row| match column.value(row) {
            Value::Unsigned(n) => n,
            Value::Signed(_) | Value::Bytes(..) | Value::List(_) | Value::Frames(_) => 0,
        })
        .sum()
}

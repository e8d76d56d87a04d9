//! A table with a part for each CPU. Values only grow, and the parts of a row are merged when they are read.

use super::counts;
use crate::{Error, bpf, cpus::possible_cpus, load::Loaded};
use tracers::{Batch, Data, Dataset, Role, Table, Value, control::FirstHead};
use zerocopy::IntoBytes;

/// Reader of a per-CPU table.
pub(crate) struct PerCpu {
    dataset: Dataset,
    count_column: Option<usize>,
    cpus: usize,
    /// Sum of the rows' counts.
    pub(super) counted: u64,
}

impl PerCpu {
    pub(super) fn new(dataset: Dataset) -> Self {
        let mut columns = dataset.columns.iter();
        Self {
            count_column: columns.position(|column| column.role == Role::Count),
            dataset,
            cpus: possible_cpus(),
            counted: 0,
        }
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

//! Rows with copies of their user stacks, through a ring. Kernel side: `agent-ebpf/src/unwind.rs`.

use crate::{
    Error,
    limits::COPIES_AT_ONCE,
    load::{Loaded, locked_bytes},
    source::ring,
};
use aya::maps::{MapData, RingBuf};
use std::os::fd::{AsFd, BorrowedFd};
use symbols::{Registers, StackCopy};
use tracers::{
    Dataset, Kind,
    control::{COPY_STEP, CopyHead},
};
use zerocopy::FromBytes;

/// Name of the ring.
const RING: &str = "COPIES";

/// Reader of the ring of copies.
pub(crate) struct Copies {
    ring: RingBuf<MapData>,
    /// Bytes of a row.
    row_bytes: usize,
    /// Bytes of a row before its user stack.
    offset: usize,
}

/// A row with a copy of its user stack.
pub(crate) struct CopiedRow {
    head: CopyHead,
    /// The row, and the copied bytes.
    bytes: Vec<u8>,
    row_bytes: usize,
    offset: usize,
}

/// The records of one reading of the ring.
#[derive(Default)]
pub(crate) struct Copied {
    pub(crate) rows: Vec<CopiedRow>,
    /// Records that are no rows: a bug.
    pub(crate) malformed: u64,
}

impl Copies {
    /// Creates the reader; `None` for a dataset without user stacks.
    pub(super) fn new(loaded: &mut Loaded, dataset: &Dataset) -> Result<Option<Self>, Error> {
        let mut columns = dataset.columns.iter();
        let column = columns.find(|column| matches!(column.kind, Kind::UserStack));
        let Some(place) = column.and_then(|column| column.place) else {
            return Ok(None);
        };
        Ok(Some(Self {
            ring: ring::mapped(loaded, RING)?,
            row_bytes: dataset.row_bytes,
            offset: place.offset,
        }))
    }

    /// Returns the bytes of the ring, which is mapped here.
    pub(crate) fn bytes(&self) -> u64 {
        locked_bytes(self.fd())
    }

    /// Returns the descriptor of the ring, which is readable when programs wake the reader.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Returns the maximum number of records that the ring may have at once.
    pub(super) fn records_max(&self) -> usize {
        self.bytes() as usize / COPY_STEP + 1
    }

    /// Takes some records out of the ring; fewer than [`COPIES_AT_ONCE`] if it has no more.
    pub(super) fn some(&mut self) -> Copied {
        let mut copied = Copied::default();
        while copied.rows.len() < COPIES_AT_ONCE
            && let Some(record) = self.ring.next()
        {
            match row_of(&record, self.row_bytes, self.offset) {
                Some(row) => copied.rows.push(row),
                None => copied.malformed += 1,
            }
        }
        copied
    }
}

fn row_of(record: &[u8], row_bytes: usize, offset: usize) -> Option<CopiedRow> {
    let (head, rest) = CopyHead::read_from_prefix(record).ok()?;
    let bytes = rest.get(..row_bytes + head.bytes as usize)?;
    let has_stack = offset + size_of::<u64>() <= row_bytes;
    has_stack.then(|| CopiedRow {
        head,
        bytes: bytes.to_vec(),
        row_bytes,
        offset,
    })
}

impl CopiedRow {
    /// Returns the PID of the process, in the kernel.
    pub(crate) fn pid(&self) -> u32 {
        self.head.pid
    }

    /// Returns the number of events that the row stands for.
    pub(super) fn weight(&self) -> u64 {
        self.head.weight
    }

    /// Returns the copy of the stack.
    pub(crate) fn copy(&self) -> StackCopy<'_> {
        let [ip, sp, fp, lr] = self.head.registers;
        StackCopy {
            registers: Registers { ip, sp, fp, lr },
            address: sp,
            bytes: &self.bytes[self.row_bytes..],
        }
    }

    /// Returns the number of the stack by frame pointers.
    pub(crate) fn stack(&self) -> u64 {
        let number = self.bytes[self.offset..].first_chunk();
        number.map_or(0, |number| u64::from_ne_bytes(*number))
    }

    /// Returns the row with another stack.
    pub(super) fn with_stack(&mut self, number: u64) -> &[u8] {
        if let Some(at) = self.bytes[self.offset..].first_chunk_mut() {
            *at = number.to_ne_bytes();
        }
        &self.bytes[..self.row_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn a_record_is_a_row_with_a_stack_and_the_copied_bytes_and_nothing_else_is() {
        let head = CopyHead {
            pid: 7,
            bytes: 3,
            weight: 2,
            registers: [1, 2, 3, 4],
        };
        let row: Vec<u8> = (0..24).collect();
        let record = [head.as_bytes(), &row, b"abc", b"what was reserved"].concat();
        let mut copied = row_of(&record, 24, 8).unwrap();
        assert_eq!((copied.pid(), copied.weight()), (7, 2));
        let StackCopy {
            registers,
            address,
            bytes,
        } = copied.copy();
        assert_eq!((registers.ip, registers.lr, address), (1, 4, 2));
        assert_eq!(bytes, b"abc");
        assert_eq!(copied.stack().to_ne_bytes(), [8, 9, 10, 11, 12, 13, 14, 15]);
        let changed = [&row[..8], &6u64.to_ne_bytes(), &row[16..]].concat();
        assert_eq!(copied.with_stack(6), changed);
        assert!(row_of(&record[..size_of::<CopyHead>() + 26], 24, 8).is_none());
        assert!(row_of(&record, 24, 17).is_none());
        assert!(row_of(&[], 24, 8).is_none());
    }
}

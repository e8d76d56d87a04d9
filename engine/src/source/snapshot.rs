//! Rows that an iterator program writes when its descriptor is read. Each reading is the whole table at that time.

use super::{Read, decoded};
use crate::{Error, limits::SNAPSHOT_ROWS, load::Loaded};
use std::io::{self, ErrorKind};
use tracers::{Batch, Dataset, Table};

/// Bytes of one read: the kernel's own buffer has 8 pages (bpf_seq_read, kernel/bpf/bpf_iter.c).
const PIECE: usize = 64 << 10;
/// Maximum number of successive reads without a row. The kernel returns from a read after a million objects without a row.
const EMPTY_READS: usize = 1024;

/// Reader of snapshots.
pub(crate) struct Snapshot {
    dataset: Dataset,
    pub(super) read: Read,
    /// Delivered rows of the last reading.
    pub(super) of_last: u64,
}

impl Snapshot {
    pub(super) fn new(dataset: Dataset) -> Self {
        Self {
            dataset,
            read: Read::default(),
            of_last: 0,
        }
    }

    /// Reads the rows.
    pub(super) fn read(&mut self, loaded: &mut Loaded) -> Result<Batch, Error> {
        let mut table = Table::new(&self.dataset.columns);
        let before = self.read.delivered;
        for mut reading in loaded.readings()? {
            self.take(&mut reading, &mut table)?;
        }
        self.of_last = self.read.delivered - before;
        Ok(table.batch())
    }

    /// Adds all rows of a reading to the table.
    fn take(&mut self, from: &mut impl io::Read, table: &mut Table) -> Result<(), Error> {
        let row_bytes = self.dataset.row_bytes;
        let mut bytes = vec![0; PIECE.next_multiple_of(row_bytes)];
        let (mut have, mut empty) = (0, 0);
        loop {
            match from.read(&mut bytes[have..]) {
                Ok(0) => break,
                Ok(more) => (have, empty) = (have + more, 0),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
                        && empty < EMPTY_READS =>
                {
                    empty += 1;
                    continue;
                }
                Err(source) => {
                    return Err(Error::Read {
                        what: "the rows of an iterator",
                        source,
                    });
                }
            }
            let whole = have - have % row_bytes;
            self.rows(&bytes[..whole], table);
            bytes.copy_within(whole..have, 0);
            have -= whole;
        }
        // The kernel writes whole rows.
        self.read.malformed += u64::from(have > 0);
        Ok(())
    }

    /// Adds whole rows to the table, while it has room.
    fn rows(&mut self, bytes: &[u8], table: &mut Table) {
        let records = bytes.chunks_exact(self.dataset.row_bytes);
        let (batch, malformed) = decoded(&self.dataset, records);
        let mut no_room = 0;
        table.add_within(SNAPSHOT_ROWS, &batch, |_| no_room += 1);
        self.read.no_room += no_room;
        self.read.malformed += malformed;
        self.read.delivered += batch.rows() as u64 - no_room;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A descriptor that returns these pieces, one at a time.
    struct Pieces(VecDeque<io::Result<Vec<u8>>>);

    impl io::Read for Pieces {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            match self.0.pop_front() {
                None => Ok(0),
                Some(Err(error)) => Err(error),
                Some(Ok(piece)) => {
                    to[..piece.len()].copy_from_slice(&piece);
                    Ok(piece.len())
                }
            }
        }
    }

    /// Rows of a tracer of the catalogue, one per process. Its source does not matter here.
    fn rows(processes: std::ops::Range<u32>) -> (Snapshot, Vec<u8>) {
        let dataset = tracers::find("page_fault").unwrap().datasets().remove(0);
        let row = |pid: u32| {
            let mut row = vec![0; dataset.row_bytes];
            row[..4].copy_from_slice(&pid.to_ne_bytes());
            row
        };
        let bytes = processes.flat_map(row).collect();
        (Snapshot::new(dataset), bytes)
    }

    fn taken(snapshot: &mut Snapshot, pieces: Vec<io::Result<Vec<u8>>>) -> Result<usize, Error> {
        let mut table = Table::new(&snapshot.dataset.columns);
        snapshot.take(&mut Pieces(pieces.into()), &mut table)?;
        Ok(table.rows())
    }

    #[test]
    fn rows_may_come_in_any_pieces_and_each_reading_adds_to_what_was_delivered() {
        let (mut snapshot, bytes) = rows(0..100);
        let pieces = bytes.chunks(101).map(|piece| Ok(piece.to_vec()));
        assert_eq!(taken(&mut snapshot, pieces.collect()).unwrap(), 100);
        let (_, bytes) = rows(50..60);
        assert_eq!(taken(&mut snapshot, vec![Ok(bytes)]).unwrap(), 10);
        let read = Read {
            delivered: 110,
            ..Read::default()
        };
        assert_eq!(snapshot.read, read);
    }

    #[test]
    fn a_kernel_that_found_no_row_yet_is_read_on() {
        let (mut snapshot, bytes) = rows(0..3);
        let nothing = || Err(ErrorKind::WouldBlock.into());
        let pieces = vec![nothing(), Ok(bytes), nothing(), nothing()];
        assert_eq!(taken(&mut snapshot, pieces).unwrap(), 3);
        let forever = (0..=EMPTY_READS).map(|_| nothing()).collect();
        assert!(taken(&mut snapshot, forever).is_err());
    }

    #[test]
    fn a_reading_that_breaks_off_is_an_error_and_a_part_of_a_row_is_counted() {
        let (mut snapshot, bytes) = rows(0..3);
        let broken = vec![Ok(bytes.clone()), Err(ErrorKind::OutOfMemory.into())];
        assert!(taken(&mut snapshot, broken).is_err());
        let short = bytes[..bytes.len() - 1].to_vec();
        assert_eq!(taken(&mut snapshot, vec![Ok(short)]).unwrap(), 2);
        assert_eq!(snapshot.read.malformed, 1);
    }

    #[test]
    fn rows_that_a_table_has_no_room_for_are_counted() {
        let all = SNAPSHOT_ROWS as u32 + 1000;
        let (mut snapshot, bytes) = rows(0..all);
        let pieces = bytes.chunks(PIECE / 2).map(|piece| Ok(piece.to_vec()));
        let shown = taken(&mut snapshot, pieces.collect()).unwrap() as u64;
        let Read {
            delivered,
            no_room,
            malformed,
            filtered,
            beyond_limit,
        } = snapshot.read;
        assert_eq!(
            (shown, delivered),
            (SNAPSHOT_ROWS as u64, SNAPSHOT_ROWS as u64)
        );
        assert_eq!(no_room, 1000);
        assert_eq!((malformed, beyond_limit, filtered), (0, 0, 0));
    }
}

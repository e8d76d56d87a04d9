//! Events through a ring buffer.

use super::Read;
use crate::{
    Error,
    limits::{BATCH_BYTES, BATCH_ROWS},
    load::{Loaded, locked_bytes},
};
use aya::maps::{MapData, RingBuf};
use std::os::fd::{AsFd, BorrowedFd};
use tracers::{Batch, Dataset, Filter};

/// Reader of a ring.
pub(crate) struct Ring {
    dataset: Dataset,
    ring: RingBuf<MapData>,
    max_events: u64,
    /// The part of the filter that the kernel side does not test.
    filter: Option<Filter>,
    pub(super) read: Read,
}

impl Ring {
    pub(super) fn new(
        loaded: &mut Loaded,
        dataset: Dataset,
        max_events: Option<u64>,
        filter: Option<Filter>,
    ) -> Result<Self, Error> {
        Ok(Self {
            dataset,
            ring: mapped(loaded, EVENTS)?,
            max_events: max_events.unwrap_or(u64::MAX),
            filter,
            read: Read::default(),
        })
    }

    /// Returns the delivered events.
    pub(crate) fn delivered(&self) -> u64 {
        self.read.delivered
    }

    /// Returns the bytes of the ring, which is mapped here.
    pub(crate) fn bytes(&self) -> u64 {
        locked_bytes(self.fd())
    }

    /// Returns the descriptor of the ring, which is readable when there are records. A wait for it ends at the watermark, and in a sleep with
    /// the first record.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Empties the ring, in batches of at most `batch_rows` rows. Returns whether there were any records.
    pub(crate) fn drain(
        &mut self,
        loaded: &Loaded,
        batch_rows: usize,
        mut each: impl FnMut(Batch) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut any = false;
        let batch_rows = batch_rows.min(BATCH_ROWS);
        let mut batch = Batch::new(&self.dataset.columns);
        let mut bytes = 0;
        while let Some(record) = self.ring.next() {
            any = true;
            // A wake-up without a row: `agent-ebpf/src/wake.rs`.
            if record.is_empty() {
                continue;
            }
            if self.read.delivered >= self.max_events {
                self.read.beyond_limit += 1;
                continue;
            }
            let before = self.read.delivered + self.read.filtered + self.read.malformed;
            let faults = (loaded.faults).record(before);
            match faults.and_then(|()| self.dataset.decode(&record, &mut batch)) {
                Ok(()) if removes_last(self.filter.as_ref(), &batch) => {
                    self.read.filtered += 1;
                    batch.remove_last();
                    continue;
                }
                Ok(()) => self.read.delivered += 1,
                Err(error) => {
                    self.read.malformed += 1;
                    tracing::error!(dataset = self.dataset.name, %error, "a record did not decode");
                }
            }
            bytes += record.len();
            drop(record);
            if batch.rows() >= batch_rows || bytes >= BATCH_BYTES {
                bytes = 0;
                let next = Batch::like(&batch, &self.dataset.columns);
                each(std::mem::replace(&mut batch, next))?;
            }
        }
        match batch.rows() {
            0 => {}
            _ => each(batch)?,
        }
        Ok(any)
    }
}

/// Name of the ring of events.
const EVENTS: &str = "EVENTS";

/// Maps a ring.
pub(super) fn mapped(loaded: &mut Loaded, name: &str) -> Result<RingBuf<MapData>, Error> {
    RingBuf::try_from(loaded.take_map(name)?).map_err(|error| {
        let what = format!("the ring of {} cannot be mapped", loaded.tracer);
        Error::exhausted(&what, &error).unwrap_or_else(|| Error::Load {
            tracer: loaded.tracer,
            reason: format!("its ring cannot be mapped: {error}"),
        })
    })
}

/// The ring of a tracer without events, by which programs wake the reader.
pub(crate) struct Bell(RingBuf<MapData>);

impl Bell {
    pub(crate) fn new(loaded: &mut Loaded) -> Result<Self, Error> {
        mapped(loaded, EVENTS).map(Self)
    }

    /// Returns the bytes of the ring, which is mapped here.
    pub(crate) fn bytes(&self) -> u64 {
        locked_bytes(self.fd())
    }

    /// Returns the descriptor that is readable after a wake-up.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Returns whether there was a wake-up since the last call.
    pub(crate) fn rang(&mut self) -> bool {
        let mut rang = false;
        while self.0.next().is_some() {
            rang = true;
        }
        rang
    }
}

/// Returns whether a filter removes the last row.
fn removes_last(filter: Option<&Filter>, batch: &Batch) -> bool {
    let both = filter.zip(batch.rows().checked_sub(1));
    both.is_some_and(|(filter, last)| !filter.matches(batch, last))
}

//! The recent messages of a trace: one bounded log that any number of readers follow, each at its own pace.
//!
//! There is no queue per reader: memory does not grow with readers, and a slow reader delays no other. It receives a gap for what it missed.

use proto::v1::{Further, Gap, StreamEventsResponse, stream_events_response::Item};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// The log of one trace.
pub(crate) struct Log {
    kept: Mutex<Kept>,
    /// The next sequence number, for readers that wait.
    next: watch::Sender<u64>,
}

struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
    most_bytes: usize,
    /// Sequence number of the first entry.
    first: u64,
    /// Rows of the first dataset in all that is no longer kept.
    forgotten_rows: u64,
    /// Rows in all of it.
    rows: u64,
    /// Datasets with the first message of the newest table of each, which is kept whatever it takes until events follow it: a newer table
    /// follows these within an interval, or at the end. None is here where nothing is kept any more.
    newest_tables: Vec<(usize, u64)>,
    closed: bool,
}

struct Entry {
    message: Arc<StreamEventsResponse>,
    bytes: usize,
    rows: u64,
    /// Whether it continues the previous entry. Both are removed together.
    continues: bool,
}

/// Bytes of a message in memory besides what it points to: its counts, its place here, and what an allocation takes.
const MESSAGE_BYTES: usize =
    size_of::<StreamEventsResponse>() + 2 * size_of::<usize>() + size_of::<Entry>() + 16;

/// A place in a log.
pub(crate) struct Cursor {
    next: u64,
    /// Rows before `next`; `None` if the reader starts in the removed part.
    rows: Option<u64>,
}

/// The message at a reader's position.
pub(crate) enum Next {
    /// This.
    Message(Arc<StreamEventsResponse>),
    /// Nothing yet.
    Wait,
    /// Nothing any more.
    End,
}

impl Kept {
    fn add(&mut self, item: Item, bytes: usize, continues: bool) {
        let rows = match &item {
            Item::Batch(batch) => u64::from(batch.rows),
            _ => 0,
        };
        let message = Arc::new(StreamEventsResponse {
            sequence: self.first + self.entries.len() as u64,
            rows_before: self.rows,
            item: Some(item),
            ..StreamEventsResponse::default()
        });
        let bytes = bytes + MESSAGE_BYTES;
        self.rows += rows;
        self.bytes += bytes;
        self.entries.push_back(Entry {
            message,
            bytes,
            rows,
            continues,
        });
    }

    /// Forgets the oldest until the rest has room.
    fn shrink(&mut self) {
        let is_newest = |kept: &Self| {
            let mut newest = kept.newest_tables.iter();
            newest.any(|(_, first)| *first == kept.first)
        };
        while self.bytes > self.most_bytes && !is_newest(self) {
            // A whole table, or one message.
            let more = self.entries.iter().skip(1);
            let oldest = 1 + more.take_while(|entry| entry.continues).count();
            if oldest == self.entries.len() {
                break;
            }
            for entry in self.entries.drain(..oldest) {
                self.bytes -= entry.bytes;
                self.forgotten_rows += entry.rows;
                self.first += 1;
            }
        }
        // Room for what a large table took goes with it.
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to_fit();
        }
    }
}

impl Log {
    /// Creates an empty log that keeps this number of bytes, and always the last message and the newest table of each dataset.
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            kept: Mutex::new(Kept {
                entries: VecDeque::new(),
                bytes: 0,
                most_bytes,
                first: 1,
                forgotten_rows: 0,
                rows: 0,
                newest_tables: Vec::new(),
                closed: false,
            }),
            next: watch::Sender::new(1),
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a message that points to this many bytes.
    pub(crate) fn push(&self, item: Item, bytes: usize) {
        let mut kept = self.kept();
        match &item {
            Item::Batch(_) | Item::Further(_) => kept.newest_tables.clear(),
            Item::Schema(_) | Item::Lost(_) | Item::Gap(_) | Item::Account(_) | Item::Nodes(_) => {}
        }
        kept.add(item, bytes, false);
        kept.shrink();
        let next = kept.first + kept.entries.len() as u64;
        drop(kept);
        self.next.send_replace(next);
    }

    /// Appends a table of a dataset, each part with the bytes that it points to.
    pub(crate) fn push_table(
        &self,
        dataset: usize,
        parts: impl IntoIterator<Item = (Item, usize)>,
    ) {
        let mut kept = self.kept();
        let first = kept.first + kept.entries.len() as u64;
        for (part, bytes) in parts {
            let batch = match &part {
                Item::Further(Further { batch, .. }) => batch.as_ref(),
                Item::Batch(batch) => Some(batch),
                Item::Schema(_)
                | Item::Lost(_)
                | Item::Gap(_)
                | Item::Account(_)
                | Item::Nodes(_) => None,
            };
            let continues = batch.is_some_and(|batch| batch.part > 0);
            kept.add(part, bytes, continues);
        }
        kept.newest_tables.retain(|(of, _)| *of != dataset);
        kept.newest_tables.push((dataset, first));
        kept.shrink();
        let next = kept.first + kept.entries.len() as u64;
        drop(kept);
        self.next.send_replace(next);
    }

    /// Removes all but the last message, also if readers follow it: a stalled reader holds nothing else.
    pub(crate) fn release(&self) {
        let mut kept = self.kept();
        kept.most_bytes = 0;
        kept.newest_tables.clear();
        kept.shrink();
    }

    /// Nothing follows.
    pub(crate) fn close(&self) {
        self.kept().closed = true;
        self.next.send_modify(|_| {});
    }

    /// Returns a receiver of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }

    /// A reader that begins at a sequence number; 0 is the oldest that is kept.
    pub(crate) fn cursor(&self, from: u64) -> Cursor {
        let kept = self.kept();
        match from {
            0 => Cursor {
                next: kept.first,
                rows: Some(kept.forgotten_rows),
            },
            from => Cursor {
                next: from,
                rows: None,
            },
        }
    }

    /// Returns the message at a reader's position, and advances the position.
    pub(crate) fn read(&self, cursor: &mut Cursor) -> Next {
        let kept = self.kept();
        if cursor.next < kept.first {
            let gap = Gap {
                first_sequence: cursor.next,
                last_sequence: kept.first - 1,
                rows: cursor.rows.map(|rows| kept.forgotten_rows - rows),
            };
            cursor.next = kept.first;
            cursor.rows = Some(kept.forgotten_rows);
            return Next::Message(Arc::new(StreamEventsResponse {
                item: Some(Item::Gap(gap)),
                ..StreamEventsResponse::default()
            }));
        }
        let at = usize::try_from(cursor.next - kept.first).unwrap_or(usize::MAX);
        match kept.entries.get(at) {
            Some(entry) => {
                cursor.next += 1;
                cursor.rows = cursor.rows.map(|rows| rows + entry.rows);
                Next::Message(Arc::clone(&entry.message))
            }
            None if kept.closed => Next::End,
            None => Next::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::v1::Batch;

    fn batch(rows: u32) -> Item {
        Item::Batch(Batch {
            rows,
            ..Batch::default()
        })
    }

    fn sequence(log: &Log, cursor: &mut Cursor) -> (u64, Option<Gap>) {
        match log.read(cursor) {
            Next::Message(message) => match &message.item {
                Some(Item::Gap(gap)) => (0, Some(*gap)),
                _ => (message.sequence, None),
            },
            Next::Wait | Next::End => (u64::MAX, None),
        }
    }

    #[test]
    fn a_slow_reader_receives_a_gap_and_continues() {
        let log = Log::new(100 + 2 * MESSAGE_BYTES);
        let mut slow = log.cursor(0);
        log.push(batch(5), 40);
        assert_eq!(sequence(&log, &mut slow), (1, None));
        for _ in 0..4 {
            log.push(batch(7), 40);
        }
        // Two of 40 bytes fit: 4 and 5.
        let (_, gap) = sequence(&log, &mut slow);
        let gap = gap.unwrap();
        assert_eq!((gap.first_sequence, gap.last_sequence), (2, 3));
        assert_eq!(gap.rows, Some(14));
        assert_eq!(sequence(&log, &mut slow), (4, None));
        assert_eq!(sequence(&log, &mut slow), (5, None));
        assert!(matches!(log.read(&mut slow), Next::Wait));
        log.close();
        assert!(matches!(log.read(&mut slow), Next::End));
    }

    #[test]
    fn a_reader_resumes_where_it_was() {
        let log = Log::new(1000);
        for _ in 0..3 {
            log.push(batch(1), 10);
        }
        assert_eq!(sequence(&log, &mut log.cursor(3)), (3, None));
        assert!(matches!(log.read(&mut log.cursor(4)), Next::Wait));
    }

    #[test]
    fn a_reader_of_a_released_log_receives_a_gap_and_the_last_message() {
        let log = Log::new(1000);
        let mut slow = log.cursor(0);
        for _ in 0..3 {
            log.push(batch(7), 10);
        }
        log.close();
        log.release();
        assert_eq!(log.kept().entries.len(), 1);
        let (_, gap) = sequence(&log, &mut slow);
        assert_eq!(gap.unwrap().rows, Some(14));
        assert_eq!(sequence(&log, &mut slow), (3, None));
        assert!(matches!(log.read(&mut slow), Next::End));
    }

    #[test]
    fn a_table_is_forgotten_as_a_whole_and_the_newest_is_kept_whatever_it_takes() {
        let table = |parts: u32| {
            (0..parts).map(move |part| {
                let batch = Batch {
                    rows: 2,
                    part,
                    more: part + 1 < parts,
                    ..Batch::default()
                };
                (Item::Batch(batch), 1000)
            })
        };
        let log = Log::new(5 * (1000 + MESSAGE_BYTES));
        let mut slow = log.cursor(0);
        log.push_table(0, table(3));
        assert_eq!(sequence(&log, &mut slow), (1, None));
        // Neither both fit, nor the newer one alone.
        log.push_table(0, table(7));
        let (_, gap) = sequence(&log, &mut slow);
        let gap = gap.unwrap();
        assert_eq!((gap.first_sequence, gap.last_sequence), (2, 3));
        log.push(Item::Lost(proto::v1::Lost::default()), 100);
        for number in 4..=11 {
            assert_eq!(sequence(&log, &mut slow), (number, None));
        }
        log.close();
        assert!(matches!(log.read(&mut slow), Next::End));
        // A smaller table replaces it, and the entries between them are removed.
        log.push_table(0, table(1));
        assert_eq!(log.kept().first, 11);
        log.release();
        assert_eq!(log.kept().entries.len(), 1);
    }

    #[test]
    fn a_log_without_room_for_replay_keeps_the_newest_table_for_who_comes_later() {
        let log = Log::new(0);
        let part = |part| {
            Item::Batch(Batch {
                part,
                more: part == 0,
                ..Batch::default()
            })
        };
        log.push_table(0, [(part(0), 1000), (part(1), 1000)]);
        log.push(Item::Account(proto::v1::Account::default()), 100);
        let mut late = log.cursor(0);
        for number in 1..=3 {
            assert_eq!(sequence(&log, &mut late), (number, None));
        }
    }

    #[test]
    fn the_newest_table_of_each_dataset_is_kept_until_events_follow() {
        let table = |dataset| {
            Item::Further(Further {
                dataset,
                batch: Some(Batch::default()),
            })
        };
        let log = Log::new(100);
        log.push_table(1, [(table(0), 1000)]);
        log.push_table(2, [(table(1), 1000)]);
        log.push_table(2, [(table(1), 1000)]);
        assert_eq!(log.kept().first, 1);
        log.push_table(1, [(table(0), 1000)]);
        assert_eq!(log.kept().first, 3, "each has a newer one");
        log.push(batch(7), 10);
        assert_eq!(log.kept().first, 5, "a newer one follows the events");
        log.push_table(1, [(table(0), 1000)]);
        log.push(Item::Account(proto::v1::Account::default()), 10);
        let mut late = log.cursor(0);
        assert_eq!(sequence(&log, &mut late), (6, None), "the last one");
        assert_eq!(sequence(&log, &mut late), (7, None));
    }

    #[test]
    fn the_last_message_is_kept_however_large() {
        let log = Log::new(10);
        log.push(batch(1), 1000);
        assert_eq!(sequence(&log, &mut log.cursor(0)), (1, None));
    }
}

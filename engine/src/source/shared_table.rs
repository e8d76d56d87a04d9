//! A table that all CPUs share, with values that grow and shrink. Kernel side: `agent-ebpf/src/shared_table.rs`.
//!
//! Each reading moves the changes from a map of the kernel side to the table here, and drops rows that are zero again. Programs add to one
//! map while the other is emptied, so no change is lost.

use super::counts;
use crate::{
    Error, bpf,
    limits::BATCH_ROWS,
    load::{Loaded, entries},
};
use std::os::fd::BorrowedFd;
use tracers::{Batch, Dataset, Table};

/// The maps that programs add to alternately.
const SIDES: [&str; 2] = ["SHARED_A", "SHARED_B"];

/// Reader of a shared table.
pub(crate) struct Shared {
    dataset: Dataset,
    table: Table,
    /// Maximum rows that are kept here; further rows stay in the kernel.
    most: usize,
    /// Whether rows stayed in the kernel: the table then has the rows of both.
    was_full: bool,
    /// Index of the map that programs add to.
    side: usize,
}

impl Shared {
    pub(super) fn new(loaded: &Loaded, dataset: Dataset) -> Result<Self, Error> {
        Ok(Self {
            table: Table::new(&dataset.columns),
            dataset,
            most: entries(loaded.map(SIDES[0])?) as usize,
            was_full: false,
            side: 0,
        })
    }

    /// Reads the rows.
    pub(super) fn read(&mut self, loaded: &Loaded) -> Result<Batch, Error> {
        let [a, b] = SIDES;
        self.read_sides([loaded.map(a)?, loaded.map(b)?], loaded.map("SIDE")?)
    }

    fn read_sides(
        &mut self,
        sides: [BorrowedFd<'_>; 2],
        side: BorrowedFd<'_>,
    ) -> Result<Batch, Error> {
        let still = self.side;
        self.side = 1 - still;
        let now = (self.side as u64).to_ne_bytes();
        bpf::update(side, &[0; 4], &now).map_err(failed)?;
        bpf::wait_for_running_programs();
        self.empty(sides[still])?;
        self.table.drop_zeros();
        if !self.was_full {
            return Ok(self.table.batch());
        }
        let mut shown = Table::new(&self.dataset.columns);
        shown.add(&self.table.batch());
        for side in sides {
            self.each(side, |this, records| {
                let records = records.iter().map(Vec::as_slice);
                shown.add(&counts(&this.dataset, records)?);
                Ok(())
            })?;
        }
        shown.drop_zeros();
        Ok(shown.batch())
    }

    /// Moves the rows of a map to the table, while there is room.
    fn empty(&mut self, map: BorrowedFd<'_>) -> Result<(), Error> {
        let key_bytes = self.dataset.key_bytes;
        self.each(map, |this, records| {
            let batch = counts(&this.dataset, records.iter().map(Vec::as_slice))?;
            let mut taken = vec![true; records.len()];
            (this.table).add_within(this.most, &batch, |row| taken[row] = false);
            for (record, taken) in records.iter().zip(taken) {
                this.was_full |= !taken;
                if taken {
                    bpf::delete(map, &record[..key_bytes]).map_err(failed)?;
                }
            }
            Ok(())
        })
    }

    /// Calls `with` with the rows of a map, some at a time.
    fn each(
        &mut self,
        map: BorrowedFd<'_>,
        mut with: impl FnMut(&mut Self, &[Vec<u8>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let key_bytes = self.dataset.key_bytes;
        let mut value = vec![0; self.dataset.row_bytes - key_bytes];
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut next = vec![0; key_bytes];
        let mut more = bpf::next_key(map, None, &mut next).map_err(failed)?;
        while more {
            let key = next.clone();
            if bpf::lookup(map, &key, &mut value).map_err(failed)? {
                records.push([&key[..], &value].concat());
            }
            // Before this key may be deleted.
            more = bpf::next_key(map, Some(&key), &mut next).map_err(failed)?;
            if records.len() >= BATCH_ROWS || !more {
                with(self, &records)?;
                records.clear();
            }
        }
        Ok(())
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Read {
        what: "the map of rows",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya::{EbpfLoader, GlobalData, maps::MapData, programs::RawTracePoint};
    use std::{
        os::fd::{AsFd, OwnedFd},
        sync::atomic::{AtomicBool, Ordering},
    };
    use tracers::{Column, Role, Value, control::Counters};

    /// Returns whether this process may create maps, which needs root on most machines.
    fn may_make_maps() -> bool {
        let may = bpf::new_hash(8, 8, 1).is_ok();
        if !may {
            println!("SKIPPED: this needs CAP_BPF");
        }
        may
    }

    fn shared(most: usize) -> Shared {
        let dataset = tracers::find("page_fault").unwrap().datasets().remove(0);
        Shared {
            table: Table::new(&dataset.columns),
            dataset,
            most,
            was_full: false,
            side: 0,
        }
    }

    /// Each process with its sum.
    fn sums(columns: &[Column], batch: &Batch) -> Vec<(u64, u64)> {
        let sum = columns.iter().position(|c| c.role == Role::Count).unwrap();
        let number = |column, row| match batch.value(column, row) {
            Value::Unsigned(n) => n,
            other => panic!("{other:?}"),
        };
        let mut rows: Vec<_> = (0..batch.rows())
            .map(|row| (number(0, row), number(sum, row)))
            .collect();
        rows.sort_unstable();
        rows
    }

    /// Rows as a tracer of the catalogue has them, whichever way they leave the kernel there.
    struct Sides {
        shared: Shared,
        maps: [OwnedFd; 2],
        side: OwnedFd,
    }

    impl Sides {
        fn new(most: usize) -> Self {
            let shared = shared(most);
            let key = shared.dataset.key_bytes;
            let value = shared.dataset.row_bytes - key;
            Self {
                shared,
                maps: [(); 2].map(|()| bpf::new_hash(key, value, 64).unwrap()),
                side: bpf::new_hash(4, 8, 1).unwrap(),
            }
        }

        /// What the kernel side does: adds to the row of a process.
        fn add(&self, pid: u32, change: i64) {
            let map = self.maps[self.shared.side].as_fd();
            let mut key = vec![0; self.shared.dataset.key_bytes];
            key[..4].copy_from_slice(&pid.to_ne_bytes());
            let mut value = [0; 8];
            bpf::lookup(map, &key, &mut value).unwrap();
            let sum = i64::from_ne_bytes(value) + change;
            bpf::update(map, &key, &sum.to_ne_bytes()).unwrap();
        }

        fn read(&mut self) -> Vec<(u64, u64)> {
            let maps = [self.maps[0].as_fd(), self.maps[1].as_fd()];
            let batch = self.shared.read_sides(maps, self.side.as_fd()).unwrap();
            sums(&self.shared.dataset.columns, &batch)
        }

        fn left(&self) -> usize {
            let map = |map: &OwnedFd| bpf::keys::<48>(map.as_fd(), 64).unwrap().len();
            self.maps.iter().map(map).sum()
        }
    }

    #[test]
    fn changes_of_all_intervals_add_up_and_a_row_that_is_zero_again_is_gone_everywhere() {
        if !may_make_maps() {
            return;
        }
        let mut sides = Sides::new(64);
        sides.add(1, 100);
        sides.add(2, 5);
        assert_eq!(sides.read(), [(1, 100), (2, 5)]);
        assert_eq!(sides.left(), 0, "what was read takes no room");
        sides.add(1, -40);
        sides.add(2, -5);
        assert_eq!(sides.read(), [(1, 60)]);
        assert_eq!(sides.read(), [(1, 60)], "what does not change stays");
        sides.add(2, 7);
        sides.add(1, -60);
        assert_eq!(sides.read(), [(2, 7)]);
    }

    #[test]
    fn rows_beyond_the_room_for_them_stay_in_the_kernel_and_are_shown() {
        if !may_make_maps() {
            return;
        }
        let mut sides = Sides::new(2);
        sides.add(1, 1);
        sides.add(2, 2);
        assert_eq!(sides.read(), [(1, 1), (2, 2)]);
        sides.add(3, 3);
        assert_eq!(sides.read(), [(1, 1), (2, 2), (3, 3)]);
        assert_eq!(sides.left(), 1);
        sides.add(3, 4);
        assert_eq!(sides.read(), [(1, 1), (2, 2), (3, 7)]);
        // Room again: all of it comes over, the part of each map in its turn.
        sides.add(1, -1);
        sides.add(2, -2);
        sides.read();
        sides.read();
        assert_eq!(sides.read(), [(3, 7)]);
        assert_eq!(sides.left(), 0);
    }

    #[test]
    fn nothing_is_lost_of_what_programs_add_while_the_table_is_read() {
        const UPS: u64 = 100_000;
        const DOWNS: u64 = 30_000;
        static OBJECT: &[u8] = include!(concat!(env!("OUT_DIR"), "/selftest_rows.rs"));
        let Ok(tested) = bpf::own_process() else {
            println!("SKIPPED: this needs CAP_BPF and CAP_PERFMON");
            return;
        };
        let numbers =
            [libc::SYS_getppid, libc::SYS_getpgid].map(|n| n.cast_unsigned().to_ne_bytes());
        let tested_bytes = tested.to_ne_bytes();
        let mut ebpf = EbpfLoader::new()
            .override_global("TESTED", GlobalData::from(tested_bytes.as_slice()), true)
            .override_global("UP", GlobalData::from(numbers[0].as_slice()), true)
            .override_global("DOWN", GlobalData::from(numbers[1].as_slice()), true)
            .load(OBJECT)
            .unwrap();
        let program = ebpf.program_mut("count_calls").unwrap();
        let program: &mut RawTracePoint = program.try_into().unwrap();
        program.load().unwrap();
        let attached = program.attach("sys_enter").unwrap();
        let mut map = |name: &str| {
            let data = match ebpf.take_map(name).unwrap() {
                aya::maps::Map::HashMap(data)
                | aya::maps::Map::Array(data)
                | aya::maps::Map::PerCpuArray(data) => data,
                other => panic!("{name}: {other:?}"),
            };
            data as MapData
        };
        let [a, b, side, counters] = ["SHARED_A", "SHARED_B", "SIDE", "COUNTERS"].map(&mut map);
        let mut shared = shared(64);
        let mut read = || {
            let sides = [a.fd().as_fd(), b.fd().as_fd()];
            shared.read_sides(sides, side.fd().as_fd()).unwrap()
        };
        let over = AtomicBool::new(false);
        let mut readings = 0;
        std::thread::scope(|scope| {
            let threads = [UPS, UPS].map(|ups| {
                scope.spawn(move || {
                    for n in 0..ups {
                        let _ = rustix::process::getppid();
                        if n < DOWNS {
                            rustix::process::getpgid(None).unwrap();
                        }
                    }
                })
            });
            let over = &over;
            scope.spawn(move || {
                threads
                    .into_iter()
                    .for_each(|thread| thread.join().unwrap());
                over.store(true, Ordering::Release);
            });
            while !over.load(Ordering::Acquire) {
                read();
                readings += 1;
            }
        });
        drop(ebpf);
        let _ = attached;
        let batch = read();
        let (ups, downs) = (2 * UPS, 2 * DOWNS);
        let columns = tracers::find("page_fault").unwrap().columns();
        assert_eq!(
            sums(&columns, &batch),
            [(tested.into(), ups - downs)],
            "{readings} readings"
        );
        let counted: Vec<Counters> =
            bpf::lookup_per_cpu(counters.fd().as_fd(), crate::cpus::possible_cpus()).unwrap();
        let folded: u64 = counted.iter().map(|one| one.folded).sum();
        assert_eq!(folded, ups + downs);
        assert!(readings > 1);
    }
}

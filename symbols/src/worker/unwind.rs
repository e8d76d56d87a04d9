//! Unwinds copies of stacks: by unwind tables where a file has them, by frame pointers elsewhere.
//!
//! Tables and stacks are hostile. Frames and work are bounded, and each return address is in an executable mapping.

use super::{
    super::wire::{Chain, Copied, End, Key, Mapped},
    row::{Lack, Machine, Row, Stack, Values},
    tables::Tables,
};
use crate::limits::UNWOUND_FRAMES_MAX;
use gimli::UnwindContext;
use std::collections::HashMap;

/// Bytes of cached rows. The cache is cleared at this number.
const ROWS_BYTES_MAX: usize = 8 << 20;
/// Bytes of a place in the cache besides the row.
const PLACE_BYTES: usize = 64;
/// Bytes of tables that are interpreted for one request: 30 ms. An entry of a function has some 50 bytes.
const WORK_BYTES_MAX: usize = 8 << 20;
/// The default limit of a stack (`RLIMIT_STACK`, getrlimit(2)): a frame pointer further away is another value.
const STACK_BYTES_MAX: u64 = 8 << 20;

/// The unwinder, with the rows that earlier stacks needed.
#[derive(Debug)]
pub(super) struct Unwinder {
    machine: Machine,
    /// Rows by tables and offset in the file; `None` without a row.
    rows: HashMap<(Key, u64), Option<Row>>,
    rows_bytes: usize,
    context: UnwindContext<usize>,
    /// Bytes of tables that may still be interpreted.
    work: usize,
}

/// The position in a stack.
struct Frame {
    ip: u64,
    /// Whether `ip` is the address of an instruction, and not a return address.
    is_exact: bool,
    values: Values,
}

/// What the tables of a mapping contain about an address.
enum Found {
    Row(Row),
    /// The file has tables, without this address.
    Uncovered,
    /// The mapping has no tables.
    NoTables,
}

impl Unwinder {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            rows: HashMap::new(),
            rows_bytes: 0,
            context: UnwindContext::new(),
            work: 0,
        }
    }

    /// Forgets all rows, because tables were replaced.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.rows_bytes = 0;
    }

    /// Unwinds copies of stacks of a process. `tables` returns loaded tables.
    pub(super) fn unwind<'t>(
        &mut self,
        mappings: &[Mapped],
        copies: &[Copied],
        mut tables: impl FnMut(Key) -> Option<&'t Tables>,
    ) -> Vec<Chain> {
        self.work = WORK_BYTES_MAX;
        copies
            .iter()
            .map(|copied| self.unwind_one(mappings, copied, &mut tables))
            .collect()
    }

    fn unwind_one<'t>(
        &mut self,
        mappings: &[Mapped],
        copied: &Copied,
        tables: &mut impl FnMut(Key) -> Option<&'t Tables>,
    ) -> Chain {
        let registers = copied.registers;
        let link = match self.machine {
            Machine::X86_64 => registers.ip,
            Machine::Aarch64 => registers.lr,
        };
        let mut frame = Frame {
            ip: registers.ip,
            is_exact: true,
            values: Values::new(self.machine, registers.sp, registers.fp, link),
        };
        let stack = Stack {
            address: copied.address,
            bytes: &copied.stack,
        };
        let mut addresses = vec![frame.ip];
        let end = loop {
            if addresses.len() >= UNWOUND_FRAMES_MAX {
                break End::Limit;
            }
            match self.step(mappings, &mut frame, stack, tables) {
                Ok(()) => addresses.push(frame.ip),
                Err(end) => break end,
            }
        };
        Chain { addresses, end }
    }

    /// Moves to the caller.
    fn step<'t>(
        &mut self,
        mappings: &[Mapped],
        frame: &mut Frame,
        stack: Stack<'_>,
        tables: &mut impl FnMut(Key) -> Option<&'t Tables>,
    ) -> Result<(), End> {
        let machine = self.machine;
        let sp = frame.values.get(machine.sp()).ok_or(End::NoTables)?;
        let (ip, values, is_exact) = match self.find(mappings, frame, tables)? {
            Found::Row(row) => {
                let link = match machine {
                    Machine::X86_64 => None,
                    Machine::Aarch64 => frame.values.get(machine.lr()).filter(|_| frame.is_exact),
                };
                let caller = row.caller(machine, &frame.values, link, stack);
                let caller = caller.map_err(|lack| match lack {
                    Lack::Stack => End::Short,
                    Lack::Rule => End::NoTables,
                })?;
                let ip = caller.ip.ok_or(End::Complete)?;
                (ip, caller.values, row.is_signal)
            }
            Found::Uncovered => {
                let leaf = leaf(machine, frame, sp, stack);
                let leaf = leaf.filter(|(ip, _)| find(mappings, ip.wrapping_sub(1)).is_some());
                let (ip, values) =
                    leaf.map_or_else(|| frame_pointer(machine, frame, sp, stack), Ok)?;
                (ip, values, false)
            }
            Found::NoTables => {
                let (ip, values) = frame_pointer(machine, frame, sp, stack)?;
                (ip, values, false)
            }
        };
        let ip = machine.code_address(ip);
        if ip == 0 {
            return Err(End::Complete);
        }
        // A handler may run on another stack, below or above.
        let new_sp = values.get(machine.sp()).ok_or(End::NoTables)?;
        if !is_exact && (new_sp < sp || new_sp == sp && !frame.is_exact) {
            return Err(End::NoTables);
        }
        *frame = Frame {
            ip,
            is_exact,
            values,
        };
        if find(mappings, frame.place()).is_none() {
            return Err(End::Unmapped);
        }
        if machine == Machine::X86_64 {
            frame.values.set(machine.lr(), Some(ip));
        }
        Ok(())
    }

    /// Returns what the tables contain about the position.
    fn find<'t>(
        &mut self,
        mappings: &[Mapped],
        frame: &Frame,
        tables: &mut impl FnMut(Key) -> Option<&'t Tables>,
    ) -> Result<Found, End> {
        let mapped = find(mappings, frame.place()).ok_or(End::Unmapped)?;
        let Some(key) = mapped.tables else {
            return Ok(Found::NoTables);
        };
        let offset = (frame.place() - mapped.start).wrapping_add(mapped.offset);
        if let Some(row) = self.rows.get(&(key, offset)) {
            return Ok(row.clone().map_or(Found::Uncovered, Found::Row));
        }
        let tables = tables(key).ok_or(End::NotLoaded(key))?;
        if self.work == 0 {
            return Err(End::Limit);
        }
        let row = tables.row(offset, &mut self.context, &mut self.work);
        let bytes = PLACE_BYTES + row.as_ref().map_or(0, Row::bytes);
        if self.rows_bytes + bytes > ROWS_BYTES_MAX {
            self.clear();
        }
        self.rows_bytes += bytes;
        self.rows.insert((key, offset), row.clone());
        Ok(row.map_or(Found::Uncovered, Found::Row))
    }
}

impl Frame {
    /// Returns an address of the instruction: a call ends one byte before its return address, which may be in another function.
    fn place(&self) -> u64 {
        self.ip.wrapping_sub(u64::from(!self.is_exact))
    }
}

/// Returns the mapping that contains an address.
fn find(mappings: &[Mapped], address: u64) -> Option<&Mapped> {
    let after = mappings.partition_point(|mapped| mapped.start <= address);
    let mapped = mappings.get(after.checked_sub(1)?)?;
    (address < mapped.end).then_some(mapped)
}

/// Returns the caller of an innermost function that has not stored anything: a stub, or a function in assembler.
fn leaf(machine: Machine, frame: &Frame, sp: u64, stack: Stack<'_>) -> Option<(u64, Values)> {
    if !frame.is_exact {
        return None;
    }
    let mut values = frame.values.clone();
    match machine {
        Machine::X86_64 => {
            values.set(machine.sp(), Some(sp.checked_add(8)?));
            Some((stack.word(sp).ok()?, values))
        }
        Machine::Aarch64 => Some((machine.code_address(values.get(machine.lr())?), values)),
    }
}

/// Returns the caller by the frame record: the caller's frame pointer and the return address (System V ABI of AMD64, 3.2.2; Procedure Call
/// Standard for the Arm 64-bit Architecture, 6.4.6). The outermost record has a frame pointer of 0.
fn frame_pointer(
    machine: Machine,
    frame: &Frame,
    sp: u64,
    stack: Stack<'_>,
) -> Result<(u64, Values), End> {
    let record = frame.values.get(machine.fp()).ok_or(End::NoTables)?;
    if record == 0 {
        return Err(End::Complete);
    }
    let is_far = record
        .checked_sub(sp)
        .is_none_or(|far| far >= STACK_BYTES_MAX);
    if !record.is_multiple_of(8) || is_far {
        return Err(End::NoTables);
    }
    let word = |address| stack.word(address).map_err(|_| End::Short);
    let (fp, ip) = (word(record)?, word(record.wrapping_add(8))?);
    // Other registers are not in the record, and may have changed since.
    Ok((ip, Values::new(machine, record.wrapping_add(16), fp, ip)))
}

#[cfg(test)]
mod tests;

//! Slots: places in kernel programs that a plan may fill with instructions of its own.
//!
//! A slot is one instruction of 16 bytes, `r0 = mark`, for which the loader puts others. Left as it is, it lets everything pass at the
//! cost of one move, because a mark is not 0.

/// A kind of marked place. A program may have several places of one kind, and all of them are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Slot {
    /// Where a finished row is about to enter the ring. r1 points to its fixed part, at a multiple of 8; 0 in r0 removes the row.
    Row = 1,
}

/// The upper half of every mark: `trac`.
const MARK: u64 = 0x7472_6163 << 32;

impl Slot {
    /// The number by which the loader finds the slot. The kernel side compiles it in.
    pub const fn mark(self) -> u64 {
        MARK | self as u64
    }
}

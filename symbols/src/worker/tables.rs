//! Unwind tables of a program file: call frame information of `.eh_frame` and `.debug_frame`, and its lookup by address.
//!
//! The sections are copied from the file, with bounds; gimli parses them when a row is looked up. Format: DWARF 5, 6.4, and
//! the Linux Standard Base Core 5.0, 10.6.

use super::{
    elf::{Elf, ElfError, FRAME_SECTIONS, Section, Segment, TEXT_SECTION},
    image::{SHF_COMPRESSED, address},
    row::{Machine, Row},
};
use gimli::{
    BaseAddresses, CieOrFde, DebugFrame, EhFrame, EhFrameHdr, EndianSlice, FrameDescriptionEntry,
    LittleEndian, UnwindContext, UnwindSection, Vendor,
};
use std::fs::File;

/// Bytes of one section. Chromium's `.eh_frame`, the largest known, is 20 MB.
const SECTION_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the entry of a function and of its shared part. Each instruction of them may be executed for a lookup.
const ENTRY_BYTES_MAX: usize = 256 << 10;
/// Bytes of an address. Programs of 32 bits have no tables here.
const ADDRESS_BYTES: u8 = 8;

/// A part of a section, as gimli reads it. Both machines are little-endian.
pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Reason why a file has no tables.
#[derive(Debug, thiserror::Error)]
pub(super) enum TablesError {
    #[error("its headers cannot be used: {0}")]
    Elf(#[from] ElfError),
    #[error("it is for another machine")]
    OtherMachine,
    #[error("it has no unwind tables")]
    Missing,
}

/// The unwind tables of a program file.
#[derive(Debug)]
pub(super) struct Tables {
    machine: Machine,
    eh_frame: Vec<u8>,
    /// A sorted index of `eh_frame`; empty if the file has none.
    eh_frame_hdr: Vec<u8>,
    debug_frame: Vec<u8>,
    /// Our own index of `eh_frame`, where the file has none.
    eh_index: Index,
    debug_index: Index,
    bases: BaseAddresses,
    segments: Vec<Segment>,
}

/// The first addresses of functions and the positions of their entries, sorted.
type Index = Box<[(u64, u32)]>;

impl Tables {
    /// Reads the tables of a program, and of its debug file.
    pub(super) fn read(file: &File, debug: Option<&File>) -> Result<Self, TablesError> {
        let elf = Elf::read(file)?;
        let machine = Machine::OURS;
        let is_ours = |elf: &Elf<'_>| elf.wide && elf.machine == machine.elf_number();
        if !is_ours(&elf) {
            return Err(TablesError::OtherMachine);
        }
        let [hdr, eh_frame, debug_frame, got] = FRAME_SECTIONS;
        let start = |name| elf.section(name).map_or(0, |section| section.address);
        let bases = BaseAddresses::default()
            .set_eh_frame_hdr(start(hdr))
            .set_eh_frame(start(eh_frame))
            .set_text(start(TEXT_SECTION))
            .set_got(start(got));
        let debug = debug.and_then(|file| Elf::read(file).ok()).filter(is_ours);
        let own_debug_frame = content(&elf, debug_frame);
        let tables = Self {
            machine,
            eh_frame: content(&elf, eh_frame).unwrap_or_default(),
            eh_frame_hdr: content(&elf, hdr).unwrap_or_default(),
            debug_frame: own_debug_frame
                .or_else(|| content(debug.as_ref()?, debug_frame))
                .unwrap_or_default(),
            eh_index: Index::default(),
            debug_index: Index::default(),
            bases,
            segments: elf.loaded().collect(),
        };
        if tables.eh_frame.is_empty() && tables.debug_frame.is_empty() {
            return Err(TablesError::Missing);
        }
        Ok(tables.indexed())
    }

    /// Creates tables of these sections, as if each started at address 0, for tests.
    pub(super) fn of_sections(machine: Machine, [hdr, eh, debug]: [&[u8]; 3], code: u64) -> Self {
        let tables = Self {
            machine,
            eh_frame: eh.into(),
            eh_frame_hdr: hdr.into(),
            debug_frame: debug.into(),
            eh_index: Index::default(),
            debug_index: Index::default(),
            bases: BaseAddresses::default()
                .set_eh_frame_hdr(0)
                .set_eh_frame(0)
                .set_text(0)
                .set_got(0),
            segments: vec![Segment::at_its_offset(code)],
        };
        tables.indexed()
    }

    /// Adds an index of each section that has none.
    fn indexed(mut self) -> Self {
        let hdr = EhFrameHdr::new(&self.eh_frame_hdr, LittleEndian);
        let hdr = hdr.parse(&self.bases, ADDRESS_BYTES);
        if hdr.is_err() || hdr.is_ok_and(|hdr| hdr.table().is_none()) {
            self.eh_frame_hdr = Vec::new();
            self.eh_index = index(&self.eh_frame(), &self.bases);
        }
        self.debug_index = index(&self.debug_frame(), &self.bases);
        self
    }

    /// Returns the memory of the tables, bytes.
    pub(super) fn bytes(&self) -> u64 {
        let sections = [&self.eh_frame, &self.eh_frame_hdr, &self.debug_frame];
        let sections: usize = sections.iter().map(|section| section.len()).sum();
        let entries = self.eh_index.len() + self.debug_index.len();
        (sections + entries * size_of::<(u64, u32)>()) as u64
    }

    /// Returns the rule to unwind a frame whose code is at an offset of the file, and subtracts the bytes that were interpreted from `work`.
    pub(super) fn row(
        &self,
        offset: u64,
        context: &mut UnwindContext<usize>,
        work: &mut usize,
    ) -> Option<Row> {
        let address = address(&self.segments, offset)?;
        let entry = self.eh_entry(address);
        entry
            .and_then(|entry| self.row_in(&self.eh_frame(), entry, address, context, work))
            .or_else(|| {
                let entry = find(&self.debug_index, address)?;
                self.row_in(&self.debug_frame(), entry.into(), address, context, work)
            })
    }

    fn eh_entry(&self, address: u64) -> Option<gimli::EhFrameOffset> {
        if self.eh_frame_hdr.is_empty() {
            return find(&self.eh_index, address).map(Into::into);
        }
        let hdr = EhFrameHdr::new(&self.eh_frame_hdr, LittleEndian);
        let hdr = hdr.parse(&self.bases, ADDRESS_BYTES).ok()?;
        let pointer = hdr.table()?.lookup(address, &self.bases).ok()?;
        let start = hdr.eh_frame_ptr().direct().ok()?;
        let offset = pointer.direct().ok()?.checked_sub(start)?;
        Some(usize::try_from(offset).ok()?.into())
    }

    fn row_in<'a, S: UnwindSection<Slice<'a>>>(
        &self,
        section: &S,
        entry: S::Offset,
        address: u64,
        context: &mut UnwindContext<usize>,
        work: &mut usize,
    ) -> Option<Row> {
        let entry: FrameDescriptionEntry<_> = section
            .fde_from_offset(&self.bases, entry, S::cie_from_offset)
            .ok()?;
        let bytes = entry.entry_len().checked_add(entry.cie().entry_len())?;
        if !entry.contains(address) || bytes > ENTRY_BYTES_MAX {
            return None;
        }
        *work = work.saturating_sub(bytes);
        let row = entry
            .unwind_info_for_address(section, &self.bases, context, address)
            .ok()?;
        Row::new(self.machine, section, entry.cie(), row)
    }

    fn eh_frame(&self) -> EhFrame<Slice<'_>> {
        let mut section = EhFrame::new(&self.eh_frame, LittleEndian);
        section.set_address_size(ADDRESS_BYTES);
        section.set_vendor(self.vendor());
        section
    }

    fn debug_frame(&self) -> DebugFrame<Slice<'_>> {
        let mut section = DebugFrame::new(&self.debug_frame, LittleEndian);
        section.set_address_size(ADDRESS_BYTES);
        section.set_vendor(self.vendor());
        section
    }

    fn vendor(&self) -> Vendor {
        match self.machine {
            Machine::X86_64 => Vendor::Default,
            Machine::Aarch64 => Vendor::AArch64,
        }
    }
}

/// Returns the content of a section that is not compressed.
fn content(elf: &Elf<'_>, name: &'static str) -> Option<Vec<u8>> {
    let plain = |section: &Section| section.flags & SHF_COMPRESSED == 0;
    let section = elf.section(name).filter(plain)?;
    elf.bounded(name, section.offset, section.bytes, SECTION_BYTES_MAX)
        .ok()
}

/// Returns an index of all entries before the first invalid one.
fn index<'a, S: UnwindSection<Slice<'a>>>(section: &S, bases: &BaseAddresses) -> Index {
    let mut found = Vec::new();
    let mut entries = section.entries(bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(entry) = entry else {
            continue;
        };
        let offset = u32::try_from(entry.offset());
        if let (Ok(entry), Ok(offset)) = (entry.parse(S::cie_from_offset), offset) {
            found.push((entry.initial_address(), offset));
        }
    }
    found.sort_unstable();
    found.into()
}

/// Returns the position of the last entry that starts at the address or before it.
fn find(index: &Index, address: u64) -> Option<usize> {
    let after = index.partition_point(|(start, _)| *start <= address);
    let (_, offset) = index.get(after.checked_sub(1)?)?;
    usize::try_from(*offset).ok()
}

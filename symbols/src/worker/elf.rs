//! Parser of program files: segments, the sections with names, and the file's own properties.
//!
//! The file is hostile and may change while it is read. Everything is read with pread into memory of a bounded size, never mapped:
//! a mapped file that somebody cuts short ends its reader with SIGBUS.

use super::super::wire::Inspected;
use std::{fs::File, io, os::unix::fs::FileExt};

/// More segments than any linker makes (a dozen); the format allows 65,534.
const SEGMENTS_MAX: usize = 128;
/// Linkers make some 40 sections; `-ffunction-sections` concerns object files, not programs.
const SECTIONS_MAX: usize = 16_384;
/// The names of the sections.
const SECTION_NAMES_MAX: u64 = 1 << 20;
/// Notes, of one segment.
const NOTES_MAX: u64 = 64 << 10;
/// The dynamic section: 16 bytes per library, and some.
const DYNAMIC_MAX: u64 = 64 << 10;
/// Libraries that a program names.
const NEEDED_MAX: usize = 256;
/// The longest path or name that is read: PATH_MAX of the kernel.
const NAME_MAX: u64 = 4096;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ElfError {
    #[error("reading {count} bytes at {offset:#x} failed: {source}")]
    Read {
        offset: u64,
        count: u64,
        source: io::Error,
    },
    #[error("it is no ELF file")]
    NotElf,
    #[error("it is for machines of another byte order")]
    ByteOrder,
    #[error("it has {0} segments")]
    TooManySegments(usize),
    #[error("it has {0} sections")]
    TooManySections(u64),
    #[error("{what} of {bytes} bytes is too large")]
    TooLarge { what: &'static str, bytes: u64 },
    #[error("its tables point outside of it")]
    OutOfBounds,
}

/// A part that is loaded into memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    kind: u32,
    flags: u32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) bytes: u64,
}

impl Segment {
    /// Creates a part that is loaded at its offset.
    pub(super) fn at_its_offset(bytes: u64) -> Self {
        Self {
            kind: PT_LOAD,
            flags: PF_X,
            offset: 0,
            address: 0,
            bytes,
        }
    }
}

/// A section that names things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) kind: u32,
    pub(super) flags: u64,
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) entry_bytes: u64,
}

/// The headers of a program file.
#[derive(Debug)]
pub(super) struct Elf<'f> {
    file: &'f File,
    length: u64,
    /// 64 bits.
    pub(super) wide: bool,
    pub(super) machine: u16,
    segments: Vec<Segment>,
    pub(super) sections: Vec<Section>,
}

/// The symbol tables.
pub(super) const NAME_SECTIONS: [&str; 4] = [".symtab", ".strtab", ".dynsym", ".dynstr"];
/// Go's own table, which has another name in position-independent programs, and what it is relative to.
pub(super) const GO_SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
pub(super) const TEXT_SECTION: &str = ".text";
/// Sections of call frame information: its index, the information itself, that of debuggers, and an address that pointers are relative to.
pub(super) const FRAME_SECTIONS: [&str; 4] = [".eh_frame_hdr", ".eh_frame", ".debug_frame", ".got"];
/// Sections of debug information, except those about variables and stack frames.
pub(super) const LINE_SECTIONS: [&str; 13] = [
    ".debug_abbrev",
    ".debug_addr",
    ".debug_aranges",
    ".debug_info",
    ".debug_line",
    ".debug_line_str",
    ".debug_ranges",
    ".debug_rnglists",
    ".debug_str",
    ".debug_str_offsets",
    ".debug_types",
    ".debug_cu_index",
    ".debug_tu_index",
];

// Names and values of the System V ABI, <https://gabi.xinuos.com/elf/>.
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const NT_GNU_BUILD_ID: u32 = 3;
pub(super) const SHT_NOBITS: u32 = 8;

impl<'f> Elf<'f> {
    pub(super) fn read(file: &'f File) -> Result<Self, ElfError> {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let mut elf = Self {
            file,
            length,
            wide: true,
            machine: 0,
            segments: Vec::new(),
            sections: Vec::new(),
        };
        let ident = elf.bytes(0, 16).map_err(|_| ElfError::NotElf)?;
        if !ident.starts_with(b"\x7fELF") || !matches!(ident[4], 1 | 2) {
            return Err(ElfError::NotElf);
        }
        elf.wide = ident[4] == 2;
        let ours = if cfg!(target_endian = "little") { 1 } else { 2 };
        if ident[5] != ours {
            return Err(ElfError::ByteOrder);
        }
        let header = elf.bytes(0, if elf.wide { 64 } else { 52 })?;
        elf.machine = u16_at(&header, 18);
        elf.segments = elf.read_segments(&header)?;
        elf.sections = elf.read_sections(&header)?;
        Ok(elf)
    }

    fn read_segments(&self, header: &[u8]) -> Result<Vec<Segment>, ElfError> {
        let (offset, at) = if self.wide {
            (u64_at(header, 32), 54)
        } else {
            (u32_at(header, 28).into(), 42)
        };
        let entry = usize::from(u16_at(header, at));
        let count = usize::from(u16_at(header, at + 2));
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > SEGMENTS_MAX {
            return Err(ElfError::TooManySegments(count));
        }
        if entry != if self.wide { 56 } else { 32 } {
            return Err(ElfError::OutOfBounds);
        }
        let table = self.bytes(offset, (count * entry) as u64)?;
        let segment = |raw: &[u8]| {
            let kind = u32_at(raw, 0);
            let (flags, offset, address, bytes) = if self.wide {
                (
                    u32_at(raw, 4),
                    u64_at(raw, 8),
                    u64_at(raw, 16),
                    u64_at(raw, 32),
                )
            } else {
                (
                    u32_at(raw, 24),
                    u32_at(raw, 4).into(),
                    u32_at(raw, 8).into(),
                    u32_at(raw, 16).into(),
                )
            };
            Segment {
                kind,
                flags,
                offset,
                address,
                bytes,
            }
        };
        Ok(table.chunks_exact(entry).map(segment).collect())
    }

    fn read_sections(&self, header: &[u8]) -> Result<Vec<Section>, ElfError> {
        let (offset, at) = if self.wide {
            (u64_at(header, 40), 58)
        } else {
            (u32_at(header, 32).into(), 46)
        };
        let entry = usize::from(u16_at(header, at));
        if offset == 0 || entry != if self.wide { 64 } else { 40 } {
            // Nothing is wrong with a program without sections: it has no names, and it runs.
            return Ok(Vec::new());
        }
        let mut count = u64::from(u16_at(header, at + 2));
        let mut names_index = u32::from(u16_at(header, at + 4));
        if count == 0 || names_index == 0xffff {
            // More than fit into these fields: the first section header has the numbers.
            let first = self.raw_section(&self.bytes(offset, entry as u64)?);
            count = if count == 0 {
                first.section.bytes
            } else {
                count
            };
            names_index = if names_index == 0xffff {
                first.link
            } else {
                names_index
            };
        }
        if count > SECTIONS_MAX as u64 {
            return Err(ElfError::TooManySections(count));
        }
        let table = self.bytes(offset, count * entry as u64)?;
        let Some(names) = table.chunks_exact(entry).nth(names_index as usize) else {
            return Ok(Vec::new());
        };
        let names = self.raw_section(names).section;
        let names = self.bounded(
            "section names",
            names.offset,
            names.bytes,
            SECTION_NAMES_MAX,
        )?;
        let known = |raw: &[u8]| {
            let raw = self.raw_section(raw);
            let name = text_at(&names, raw.name as usize)?;
            let name = NAME_SECTIONS
                .iter()
                .chain(&LINE_SECTIONS)
                .chain(&GO_SECTIONS)
                .chain(&FRAME_SECTIONS)
                .chain([&TEXT_SECTION])
                .find(|known| known.as_bytes() == name)?;
            Some(Section {
                name,
                ..raw.section
            })
        };
        let mut sections: Vec<Section> = Vec::new();
        for section in table.chunks_exact(entry).filter_map(known) {
            // Of equal names the first counts, as for every other reader: a thousand copies cost nothing.
            if !sections.iter().any(|other| other.name == section.name) {
                sections.push(section);
            }
        }
        Ok(sections)
    }

    fn raw_section(&self, raw: &[u8]) -> RawSection {
        let section = |flags, address, offset, bytes, entry_bytes| Section {
            name: "",
            kind: u32_at(raw, 4),
            flags,
            address,
            offset,
            bytes,
            entry_bytes,
        };
        if self.wide {
            RawSection {
                name: u32_at(raw, 0),
                link: u32_at(raw, 40),
                section: section(
                    u64_at(raw, 8),
                    u64_at(raw, 16),
                    u64_at(raw, 24),
                    u64_at(raw, 32),
                    u64_at(raw, 56),
                ),
            }
        } else {
            RawSection {
                name: u32_at(raw, 0),
                link: u32_at(raw, 24),
                section: section(
                    u32_at(raw, 8).into(),
                    u32_at(raw, 12).into(),
                    u32_at(raw, 16).into(),
                    u32_at(raw, 20).into(),
                    u32_at(raw, 36).into(),
                ),
            }
        }
    }

    /// The parts that are loaded.
    pub(super) fn loaded(&self) -> impl Iterator<Item = Segment> {
        self.segments
            .iter()
            .copied()
            .filter(|segment| segment.kind == PT_LOAD)
    }

    /// The section of that name, if the file has its content.
    pub(super) fn section(&self, name: &str) -> Option<Section> {
        self.sections
            .iter()
            .copied()
            .find(|section| section.name == name && section.kind != SHT_NOBITS && section.bytes > 0)
            .filter(|section| self.inside(section.offset, section.bytes))
    }

    /// Returns the file's own properties. They are untrusted, and unreadable ones are omitted.
    pub(super) fn inspect(&self) -> Inspected {
        let mut inspected = Inspected {
            build_id: self.build_id(),
            has_debug: self.section(".debug_info").is_some(),
            interpreter: self.interpreter(),
            ..Inspected::default()
        };
        // A program without it is static.
        let _ = self.read_dynamic(&mut inspected);
        inspected
    }

    fn build_id(&self) -> Option<[u8; 20]> {
        self.segments
            .iter()
            .filter(|segment| segment.kind == PT_NOTE)
            .take(8)
            .find_map(|segment| {
                let count = segment.bytes.min(NOTES_MAX);
                build_id_in(&self.bytes(segment.offset, count).ok()?)
            })
    }

    fn interpreter(&self) -> Option<Vec<u8>> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.kind == PT_INTERP)?;
        let path = self
            .bounded("interpreter", segment.offset, segment.bytes, NAME_MAX)
            .ok()?;
        text_at(&path, 0).map(<[u8]>::to_vec)
    }

    fn read_dynamic(&self, inspected: &mut Inspected) -> Option<()> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.kind == PT_DYNAMIC)?;
        let table = self
            .bounded(
                "dynamic section",
                segment.offset,
                segment.bytes,
                DYNAMIC_MAX,
            )
            .ok()?;
        let entry = if self.wide { 16 } else { 8 };
        let entries: Vec<(u64, u64)> = table
            .chunks_exact(entry)
            .map(|raw| {
                if self.wide {
                    (u64_at(raw, 0), u64_at(raw, 8))
                } else {
                    (u32_at(raw, 0).into(), u32_at(raw, 4).into())
                }
            })
            .take_while(|(tag, _)| *tag != 0)
            .collect();
        let value = |wanted| {
            entries
                .iter()
                .find(|(tag, _)| *tag == wanted)
                .map(|(_, value)| *value)
        };
        let strings = self.offset_of(value(DT_STRTAB)?)?;
        let strings_bytes = value(DT_STRSZ)?;
        let text = |index: u64| {
            let count = strings_bytes.checked_sub(index)?.min(NAME_MAX);
            let offset = strings.checked_add(index)?;
            let count = count.min(self.length.checked_sub(offset)?);
            text_at(&self.bytes(offset, count).ok()?, 0).map(<[u8]>::to_vec)
        };
        inspected.needed = entries
            .iter()
            .filter(|(tag, _)| *tag == DT_NEEDED)
            .filter_map(|(_, index)| text(*index))
            .take(NEEDED_MAX)
            .collect();
        inspected.run_path = value(DT_RUNPATH).or(value(DT_RPATH)).and_then(text);
        Some(())
    }

    /// Where in the file lies what is at that address.
    fn offset_of(&self, address: u64) -> Option<u64> {
        self.loaded().find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            (within < segment.bytes).then(|| segment.offset.checked_add(within))?
        })
    }

    /// Where in the file lies the code at that address.
    pub(super) fn code_offset(&self, address: u64) -> Option<u64> {
        let offset = self
            .loaded()
            .filter(|segment| segment.flags & PF_X != 0)
            .find_map(|segment| {
                let within = address.checked_sub(segment.address)?;
                (within < segment.bytes).then(|| segment.offset.checked_add(within))?
            })?;
        self.inside(offset, 1).then_some(offset)
    }

    fn inside(&self, offset: u64, count: u64) -> bool {
        offset
            .checked_add(count)
            .is_some_and(|end| end <= self.length)
    }

    pub(super) fn bounded(
        &self,
        what: &'static str,
        offset: u64,
        bytes: u64,
        most: u64,
    ) -> Result<Vec<u8>, ElfError> {
        if bytes > most {
            return Err(ElfError::TooLarge { what, bytes });
        }
        self.bytes(offset, bytes)
    }

    /// Reads; the caller bounds the count.
    fn bytes(&self, offset: u64, count: u64) -> Result<Vec<u8>, ElfError> {
        if !self.inside(offset, count) {
            return Err(ElfError::OutOfBounds);
        }
        let mut bytes = vec![0; count as usize];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|source| ElfError::Read {
                offset,
                count,
                source,
            })?;
        Ok(bytes)
    }
}

struct RawSection {
    name: u32,
    link: u32,
    section: Section,
}

/// Returns the interpreter in the first line of a script.
pub(super) fn script_interpreter(file: &File) -> Option<Vec<u8>> {
    let mut start = [0; 256];
    let count = file.read_at(&mut start, 0).ok()?;
    let line = start[..count].strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii_start();
    let path = line.split(u8::is_ascii_whitespace).next()?;
    (!path.is_empty()).then(|| path.to_vec())
}

/// Finds the build id among notes: name size, description size, kind, then name and description, each filled up to 4 bytes.
fn build_id_in(notes: &[u8]) -> Option<[u8; 20]> {
    let mut rest = notes;
    while rest.len() >= 12 {
        let name_bytes = u32_at(rest, 0) as usize;
        let description_bytes = u32_at(rest, 4) as usize;
        let kind = u32_at(rest, 8);
        let name = rest.get(12..12usize.checked_add(name_bytes)?)?;
        let start = 12 + name_bytes.checked_next_multiple_of(4)?;
        let description = rest.get(start..start.checked_add(description_bytes)?)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && (1..=20).contains(&description_bytes) {
            let mut id = [0; 20];
            id[..description_bytes].copy_from_slice(description);
            return Some(id);
        }
        rest = rest.get(start + description_bytes.checked_next_multiple_of(4)?..)?;
    }
    None
}

/// The text that starts there, up to its zero. None if it has no end.
fn text_at(texts: &[u8], start: usize) -> Option<&[u8]> {
    let text = texts.get(start..)?;
    text.split(|byte| *byte == 0)
        .next()
        .filter(|found| found.len() < text.len())
}

// The callers have checked the length: a header's, or a whole entry of a table.

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let (low, high) = (u32_at(bytes, at), u32_at(bytes, at + 4));
    if cfg!(target_endian = "little") {
        u64::from(high) << 32 | u64::from(low)
    } else {
        u64::from(low) << 32 | u64::from(high)
    }
}

//! Distils a hostile program file into a small, well-formed one of our own, in memory.
//!
//! blazesym reads files by mapping them, follows links to debug files by path, and takes the headers as they are.
//! So it gets a file that we wrote: an ELF header, copies of the sections that name things, aligned, within bounds, and nothing else.
//! No link, no path, no relocation, no segment of the original reaches it, and nobody else can change or cut the file.

use super::{
    elf::{
        Elf, ElfError, GO_SECTIONS, LINE_SECTIONS, NAME_SECTIONS, Section, Segment, TEXT_SECTION,
    },
    go::GoTable,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::{fs::File, io, os::unix::fs::FileExt};

/// The symbol tables of one file. Chromium's, the largest known, are 100 MB.
pub(super) const NAMES_BYTES_MAX: u64 = 128 << 20;
/// The symbol tables and the debug information of one file. A file with more of it gets names only.
pub(super) const LINES_BYTES_MAX: u64 = 384 << 20;
/// Go's table of one file. A kubelet's is 30 MB.
const GO_BYTES_MAX: u64 = 96 << 20;
/// What compressed sections may hold when they are not any more, all together.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;
/// The alignment of each section: what every table in them needs at most.
const ALIGN: u64 = 16;
const CHUNK: usize = 256 << 10;
pub(super) const SHF_COMPRESSED: u64 = 1 << 11;
const SHT_STRTAB: u32 = 3;
const ET_DYN: u16 = 3;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    #[error("its headers cannot be used: {0}")]
    Elf(#[from] ElfError),
    #[error("its symbol tables are {0} bytes long")]
    TooLarge(u64),
    #[error("section {name} cannot be copied: {source}")]
    Copy {
        name: &'static str,
        source: io::Error,
    },
    #[error("the memory file cannot be made: {0}")]
    Memory(io::Error),
}

/// A program file as blazesym may see it.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) file: File,
    pub(super) bytes: u64,
    /// Whether there is debug information in it.
    pub(super) has_lines: bool,
    /// What a Go program without symbols is named by.
    pub(super) go: Option<GoTable>,
    /// The loaded parts, to turn offsets of the file into its addresses.
    segments: Vec<Segment>,
}

impl Image {
    /// The address, as the program was linked, of what is at that offset of the file.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        address(&self.segments, offset)
    }

    /// Takes names, and with `lines` the debug information, from the file and from a second one with its debug information.
    pub(super) fn distil(
        file: &File,
        debug: Option<&File>,
        lines: bool,
    ) -> Result<Self, ImageError> {
        let elf = Elf::read(file)?;
        // A debug file that is not one does not matter.
        let debug = debug.and_then(|file| Some((file, Elf::read(file).ok()?)));
        let debug =
            debug.filter(|(_, debug)| debug.wide == elf.wide && debug.machine == elf.machine);
        let sources = [
            Some((file, &elf)),
            debug.as_ref().map(|(file, elf)| (*file, elf)),
        ];
        let mut parts = symbol_tables(sources);
        let has_symtab = parts
            .iter()
            .any(|(_, section)| section.name == NAME_SECTIONS[0]);
        let names_bytes = total(&parts);
        if names_bytes > NAMES_BYTES_MAX {
            return Err(ImageError::TooLarge(names_bytes));
        }
        // All debug information comes from one file: its sections refer to each other.
        let holder = sources
            .into_iter()
            .flatten()
            .find(|(_, elf)| elf.section(".debug_info").is_some());
        let mut has_lines = false;
        if let (true, Some((file, elf))) = (lines, holder) {
            let all: Vec<(&File, Section)> = LINE_SECTIONS
                .iter()
                .filter_map(|name| Some((file, elf.section(name)?)))
                .collect();
            if names_bytes + total(&all) <= LINES_BYTES_MAX
                && unpacked(&all, elf.wide) <= UNPACKED_BYTES_MAX
            {
                parts.extend(all);
                has_lines = true;
            }
        }
        let go = if has_symtab { None } else { go_table(&elf) };
        let (file, bytes) = write(&elf, &parts)?;
        Ok(Self {
            file,
            bytes: bytes + go.as_ref().map_or(0, GoTable::bytes),
            has_lines,
            go,
            segments: elf.loaded().collect(),
        })
    }
}

/// Returns the address, as the program was linked, of an offset of its file.
pub(super) fn address(segments: &[Segment], offset: u64) -> Option<u64> {
    segments.iter().find_map(|segment| {
        let within = offset.checked_sub(segment.offset)?;
        (within < segment.bytes).then(|| segment.address.checked_add(within))?
    })
}

/// A table of symbols is of use only with the names that belong to it, from the same file.
fn symbol_tables<'f>(sources: [Option<(&'f File, &Elf<'f>)>; 2]) -> Vec<(&'f File, Section)> {
    let [symtab, strtab, dynsym, dynstr] = NAME_SECTIONS;
    [(symtab, strtab), (dynsym, dynstr)]
        .into_iter()
        .filter_map(|(table, names)| {
            sources.into_iter().flatten().find_map(|(file, elf)| {
                let pair = [elf.section(table)?, elf.section(names)?];
                // Symbol tables are never compressed.
                let plain = pair
                    .iter()
                    .all(|section| section.flags & SHF_COMPRESSED == 0);
                plain.then(|| pair.map(|section| (file, section)))
            })
        })
        .flatten()
        .collect()
}

fn go_table(elf: &Elf<'_>) -> Option<GoTable> {
    let section = GO_SECTIONS.iter().find_map(|name| elf.section(name))?;
    let text = elf.section(TEXT_SECTION).map_or(0, |text| text.address);
    let table = elf
        .bounded("Go's table", section.offset, section.bytes, GO_BYTES_MAX)
        .ok()?;
    GoTable::new(table, text)
}

fn total(parts: &[(&File, Section)]) -> u64 {
    // Each is inside its file, whose length is below 2^63: eighteen of them do not overflow once saturated.
    parts.iter().fold(0, |sum: u64, (_, section)| {
        sum.saturating_add(section.bytes)
    })
}

/// What compressed sections claim to hold. A lie is met by the limit on the worker's memory.
fn unpacked(parts: &[(&File, Section)], wide: bool) -> u64 {
    parts
        .iter()
        .filter(|(_, section)| section.flags & SHF_COMPRESSED != 0)
        .fold(0, |sum: u64, (file, section)| {
            let mut header = [0; 24];
            let claimed = match file.read_exact_at(&mut header, section.offset) {
                Ok(()) if wide => u64::from_ne_bytes(header[8..16].try_into().unwrap_or_default()),
                Ok(()) => u32::from_ne_bytes(header[4..8].try_into().unwrap_or_default()).into(),
                Err(_) => u64::MAX,
            };
            sum.saturating_add(claimed)
        })
}

/// Header, sections, names of the sections, table of the sections.
fn write(elf: &Elf<'_>, parts: &[(&File, Section)]) -> Result<(File, u64), ImageError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let image = memfd_create("symbols", flags).map_err(|error| ImageError::Memory(error.into()))?;
    let image = File::from(image);
    let mut end: u64 = 64;
    let mut names = vec![0];
    let mut table = vec![0; header_bytes(elf.wide)];
    let mut chunk = vec![0; CHUNK];
    for (file, section) in parts {
        let offset = end.next_multiple_of(ALIGN);
        copy(file, section, &image, offset, &mut chunk).map_err(|source| ImageError::Copy {
            name: section.name,
            source,
        })?;
        end = offset + section.bytes;
        push_header(&mut table, elf.wide, names.len() as u32, section, offset);
        names.extend_from_slice(section.name.as_bytes());
        names.push(0);
    }
    let names_header = Section {
        name: ".shstrtab",
        kind: SHT_STRTAB,
        flags: 0,
        address: 0,
        offset: 0,
        bytes: (names.len() + ".shstrtab".len() + 1) as u64,
        entry_bytes: 0,
    };
    push_header(&mut table, elf.wide, names.len() as u32, &names_header, end);
    names.extend_from_slice(b".shstrtab\0");
    let table_offset = (end + names.len() as u64).next_multiple_of(ALIGN);
    let bytes = table_offset + table.len() as u64;
    let header = file_header(elf, table_offset, parts.len() as u16 + 2);
    image
        .write_all_at(&names, end)
        .and_then(|()| image.write_all_at(&table, table_offset))
        .and_then(|()| image.write_all_at(&header, 0))
        .and_then(|()| {
            let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
            fcntl_add_seals(&image, seals).map_err(io::Error::from)
        })
        .map_err(ImageError::Memory)?;
    Ok((image, bytes))
}

fn copy(from: &File, section: &Section, to: &File, at: u64, chunk: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < section.bytes {
        let count = (section.bytes - done).min(chunk.len() as u64) as usize;
        from.read_exact_at(&mut chunk[..count], section.offset + done)?;
        to.write_all_at(&chunk[..count], at + done)?;
        done += count as u64;
    }
    Ok(())
}

fn header_bytes(wide: bool) -> usize {
    if wide { 64 } else { 40 }
}

fn push_header(table: &mut Vec<u8>, wide: bool, name: u32, section: &Section, offset: u64) {
    table.extend_from_slice(&name.to_ne_bytes());
    table.extend_from_slice(&section.kind.to_ne_bytes());
    // The only flag that says how to read it.
    let flags = section.flags & SHF_COMPRESSED;
    let words = [flags, 0, offset, section.bytes];
    words
        .iter()
        .for_each(|value| push_word(table, wide, *value));
    // Link and info.
    table.extend_from_slice(&[0; 8]);
    let words = [ALIGN, section.entry_bytes];
    words
        .iter()
        .for_each(|value| push_word(table, wide, *value));
}

fn push_word(out: &mut Vec<u8>, wide: bool, value: u64) {
    if wide {
        out.extend_from_slice(&value.to_ne_bytes());
    } else {
        // What is longer than 4 GiB is not in an image.
        out.extend_from_slice(&(value as u32).to_ne_bytes());
    }
}

fn file_header(elf: &Elf<'_>, table_offset: u64, sections: u16) -> Vec<u8> {
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    let mut out = vec![
        0x7f,
        b'E',
        b'L',
        b'F',
        if elf.wide { 2 } else { 1 },
        order,
        1,
    ];
    out.resize(16, 0);
    out.extend_from_slice(&ET_DYN.to_ne_bytes());
    out.extend_from_slice(&elf.machine.to_ne_bytes());
    out.extend_from_slice(&1u32.to_ne_bytes());
    // Entry, segments, sections.
    let words = [0, 0, table_offset];
    words
        .iter()
        .for_each(|value| push_word(&mut out, elf.wide, *value));
    out.extend_from_slice(&[0; 4]);
    let halves = [
        if elf.wide { 64 } else { 52 },
        0,
        0,
        header_bytes(elf.wide) as u16,
        sections,
        sections - 1,
    ];
    halves
        .iter()
        .for_each(|value: &u16| out.extend_from_slice(&value.to_ne_bytes()));
    out
}

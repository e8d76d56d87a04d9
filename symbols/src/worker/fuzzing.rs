//! What the worker reads, for fuzz targets alone.

use super::{
    super::wire::{Copied, Detail, Mapped},
    elf::{Elf, script_interpreter},
    find::find,
    image::Image,
    kallsyms::Kallsyms,
    perf_map::PerfMap,
    program::Program,
    row::Machine,
    tables::Tables,
    unwind::Unwinder,
};
use crate::{limits::UNWOUND_FRAMES_MAX, unwind::Registers};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{fs::File, io::Write};

/// Places at the start and the end of what small files have, and far beyond.
const PLACES: [u64; 8] = [0, 1, 0x40, 0x1000, 0x1004, 0x10_0000, 1 << 40, u64::MAX];

/// The bytes as a file, as the worker gets them.
fn file(data: &[u8]) -> Option<File> {
    let mut file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).ok()?);
    file.write_all(data).ok()?;
    Some(file)
}

/// A program file, by our own readers.
pub fn elf(data: &[u8]) {
    let Some(file) = file(data) else { return };
    script_interpreter(&file);
    if let Ok(elf) = Elf::read(&file) {
        elf.inspect();
        let names = [b"malloc".to_vec(), b"main".to_vec(), Vec::new()];
        if let Ok(functions) = find(&elf, &names) {
            assert_eq!(functions.len(), names.len());
        }
    }
    if let Ok(image) = Image::distil(&file, None, true) {
        for place in PLACES {
            image.address(place);
            image.go.as_ref().and_then(|go| go.find(place));
        }
    }
}

/// A program file to the end, names and lines: with the libraries that do so.
pub fn program(data: &[u8], places: &[u64]) -> Vec<String> {
    let read = |file| Program::new(&file, None, Detail::Lines).ok();
    let Some(program) = file(data).and_then(read) else {
        return Vec::new();
    };
    let found = program.resolve(places);
    assert_eq!(found.len(), places.len());
    found
        .into_iter()
        .flatten()
        .map(|frame| frame.name)
        .collect()
}

/// A just-in-time compiler's list of functions.
pub fn perf_map(data: &[u8]) {
    if let Ok(map) = PerfMap::read(data) {
        assert_eq!(map.resolve(&PLACES).len(), PLACES.len());
    }
}

/// The kernel's list of symbols.
pub fn kallsyms(data: &[u8]) {
    if let Ok(Some(symbols)) = Kallsyms::read(data) {
        assert_eq!(symbols.resolve(&PLACES).len(), PLACES.len());
    }
}

/// Unwind tables and a stack: the first byte selects the machine and the section, the second one divides the rest into an index, the tables
/// and the stack.
pub fn unwind(data: &[u8]) {
    let [first, second, rest @ ..] = data else {
        return;
    };
    let machine = match first & 1 {
        0 => Machine::X86_64,
        _ => Machine::Aarch64,
    };
    let (head, tail) = rest.split_at((usize::from(*second) * 16).min(rest.len()));
    let sections = match first >> 1 & 3 {
        0 => [&[][..], head, &[]],
        1 => [&[], &[], head],
        2 => [head, tail, &[]],
        _ => [&[], head, head],
    };
    let code = 1 << 20;
    let tables = Tables::of_sections(machine, sections, code);
    let mapped = Mapped {
        start: 0,
        end: code,
        offset: 0,
        tables: Some(1),
    };
    let copied = Copied {
        registers: Registers {
            ip: 0x1000,
            sp: 0x8000,
            fp: 0x8010,
            lr: 0x1004,
        },
        address: 0x8000,
        stack: tail.to_vec(),
    };
    let chains = Unwinder::new(machine).unwind(&[mapped], &[copied], |_| Some(&tables));
    assert!(
        chains
            .iter()
            .all(|chain| chain.addresses.len() <= UNWOUND_FRAMES_MAX)
    );
}

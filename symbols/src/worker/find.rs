//! Finds functions of a program file by name: where in the file they begin.
//!
//! The symbol tables are read with pread in pieces, never mapped, and everything is bounded: symbols by the size of their table, offsets
//! by [`OFFSETS_MAX`] for each name.

use super::elf::{Elf, ElfError, Section};
use crate::wire::Function;
use std::collections::HashMap;

/// Bytes of a table of symbols, and of its names. Chromium's, the largest known, are 100 MB together.
const TABLE_MAX: u64 = 64 << 20;
/// Offsets of one name: versions of a symbol (`memcpy@GLIBC_2.2.5` and `memcpy@@GLIBC_2.14`) are functions of their own.
const OFFSETS_MAX: usize = 8;
/// Symbols that are read at once.
const CHUNK: usize = 4096;
/// The longest name of a symbol that is compared.
const NAME_MAX: usize = 256;

// Names and values of the System V ABI, <https://gabi.xinuos.com/elf/>.
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;
const SHN_UNDEF: u16 = 0;
const SHN_LORESERVE: u16 = 0xff00;
const SHF_COMPRESSED: u64 = 1 << 11;
/// EM_X86_64 or EM_AARCH64: the machine that this program is for.
const MACHINE: u16 = if cfg!(target_arch = "aarch64") {
    183
} else {
    62
};

/// Why no function can be looked for in a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindError {
    #[error("its headers cannot be used: {0}")]
    Elf(#[from] ElfError),
    #[error("it is for another machine")]
    Machine,
    #[error("it has no symbol table")]
    NoSymbols,
}

/// Finds each of the names, in their order.
pub(super) fn find(elf: &Elf<'_>, names: &[Vec<u8>]) -> Result<Vec<Function>, FindError> {
    if !elf.wide || elf.machine != MACHINE {
        return Err(FindError::Machine);
    }
    let mut found = vec![Function::default(); names.len()];
    // A name may be asked for twice.
    let mut wanted: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        wanted.entry(name).or_default().push(index);
    }
    let mut any = false;
    for (table, strings) in [(".dynsym", ".dynstr"), (".symtab", ".strtab")] {
        let plain = |name| {
            elf.section(name)
                .filter(|section| section.flags & SHF_COMPRESSED == 0)
        };
        if let (Some(table), Some(strings)) = (plain(table), plain(strings)) {
            any = true;
            search(elf, &table, &strings, &wanted, &mut found)?;
        }
    }
    match any {
        true => Ok(found),
        false => Err(FindError::NoSymbols),
    }
}

fn search(
    elf: &Elf<'_>,
    table: &Section,
    strings: &Section,
    wanted: &HashMap<&[u8], Vec<usize>>,
    found: &mut [Function],
) -> Result<(), ElfError> {
    /// Bytes of `Elf64_Sym`.
    const SYMBOL: usize = 24;
    for (what, section) in [("symbol table", table), ("symbol names", strings)] {
        if section.bytes > TABLE_MAX {
            let bytes = section.bytes;
            return Err(ElfError::TooLarge { what, bytes });
        }
    }
    let names = elf.bounded("symbol names", strings.offset, strings.bytes, TABLE_MAX)?;
    let mut done = 0;
    while done < table.bytes {
        let bytes = (table.bytes - done).min((CHUNK * SYMBOL) as u64);
        let symbols = elf.bounded("symbol table", table.offset + done, bytes, TABLE_MAX)?;
        done += bytes;
        for symbol in symbols.as_chunks::<SYMBOL>().0 {
            let [n0, n1, n2, n3, info, _, s0, s1, rest @ ..] = symbol;
            let section = u16::from_ne_bytes([*s0, *s1]);
            let kind = info & 0xf;
            // One that is not defined here may have the address of its stub in the procedure linkage table.
            if !matches!(kind, STT_FUNC | STT_GNU_IFUNC)
                || section == SHN_UNDEF
                || section >= SHN_LORESERVE
            {
                continue;
            }
            let start = u32::from_ne_bytes([*n0, *n1, *n2, *n3]) as usize;
            let Some(indices) = name_at(&names, start).and_then(|name| wanted.get(name)) else {
                continue;
            };
            let address = rest.first_chunk().map_or(0, |at| u64::from_ne_bytes(*at));
            for index in indices {
                let Some(function) = found.get_mut(*index) else {
                    continue;
                };
                match kind {
                    // The address is that of the function which chooses.
                    STT_GNU_IFUNC => function.indirect = true,
                    _ => add(function, elf.code_offset(address)),
                }
            }
        }
    }
    Ok(())
}

fn add(function: &mut Function, offset: Option<u64>) {
    if let Some(offset) = offset
        && !function.offsets.contains(&offset)
        && function.offsets.len() < OFFSETS_MAX
    {
        function.offsets.push(offset);
    }
}

/// The name of a symbol without its version, which `.symtab` may have behind an `@`. None if it has no end, or is too long to be asked for.
fn name_at(names: &[u8], start: usize) -> Option<&[u8]> {
    let rest = names.get(start..)?;
    let rest = &rest[..rest.len().min(NAME_MAX)];
    let end = rest.iter().position(|byte| matches!(byte, 0 | b'@'))?;
    Some(&rest[..end])
}

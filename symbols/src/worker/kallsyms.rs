//! Names places in the kernel and its modules, by /proc/kallsyms.

use super::super::{maps::hex, wire::Found};
use crate::limits::FUNCTION_BYTES;
use std::{
    collections::HashMap,
    io::{self, BufRead},
};

/// A kernel with its modules has some 200,000 symbols; this many take 250 MB at most, which the limit on memory meets before.
const SYMBOLS_MAX: usize = 4 << 20;

/// So many functions at address zero: all of them are, and the rest is not worth reading.
const HIDDEN: usize = 16;

/// The kernel's functions, by address.
#[derive(Debug)]
pub(super) struct Kallsyms {
    /// Sorted by address.
    symbols: Vec<Symbol>,
    names: String,
    modules: Vec<String>,
}

#[derive(Debug)]
struct Symbol {
    address: u64,
    name: u32,
    name_bytes: u16,
    module: u16,
}

impl Kallsyms {
    /// Reads lines of `address type name [module]`, proc_kallsyms(5). `None`: all addresses are zero, because we may not see them.
    pub(super) fn read(mut text: impl BufRead) -> io::Result<Option<Self>> {
        let mut kallsyms = Self {
            symbols: Vec::new(),
            names: String::new(),
            modules: vec!["[kernel]".into()],
        };
        let mut modules = HashMap::new();
        let mut line = Vec::new();
        while kallsyms.symbols.len() < SYMBOLS_MAX {
            line.clear();
            if text.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            kallsyms.take(&line, &mut modules);
            if kallsyms.symbols.len() == HIDDEN && kallsyms.is_hidden() {
                return Ok(None);
            }
        }
        if kallsyms.is_hidden() {
            return Ok(None);
        }
        // Of several names of one address the first counts: the others are aliases.
        kallsyms.symbols.sort_by_key(|symbol| symbol.address);
        kallsyms.symbols.dedup_by_key(|symbol| symbol.address);
        kallsyms.symbols.shrink_to_fit();
        Ok(Some(kallsyms))
    }

    /// The kernel shows all addresses, or zeros in their place (kernel/kallsyms.c, v6.12: s_show).
    fn is_hidden(&self) -> bool {
        self.symbols.iter().all(|symbol| symbol.address == 0)
    }

    fn take(&mut self, line: &[u8], modules: &mut HashMap<String, u16>) -> Option<()> {
        let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
        let address = hex(words.next()?.as_bytes())?;
        // Only code: text, weak too.
        if !matches!(words.next()?, "t" | "T" | "w" | "W") {
            return None;
        }
        let name = words.next()?;
        let module = match words.next() {
            None => 0,
            Some(module) => self.module(module.trim_matches(['[', ']']), modules)?,
        };
        self.symbols.push(Symbol {
            address,
            name: u32::try_from(self.names.len()).ok()?,
            name_bytes: u16::try_from(name.len()).ok()?,
            module,
        });
        self.names.push_str(name);
        Some(())
    }

    fn module(&mut self, name: &str, modules: &mut HashMap<String, u16>) -> Option<u16> {
        if let Some(module) = modules.get(name) {
            return Some(*module);
        }
        let module = u16::try_from(self.modules.len()).ok()?;
        self.modules.push(name.into());
        modules.insert(name.into(), module);
        Some(module)
    }

    /// For each address its frame; none if it lies before everything.
    pub(super) fn resolve(&self, addresses: &[u64]) -> Vec<Vec<Found>> {
        addresses
            .iter()
            .map(|address| self.find(*address).into_iter().collect())
            .collect()
    }

    fn find(&self, address: u64) -> Option<Found> {
        let after = self
            .symbols
            .partition_point(|symbol| symbol.address <= address);
        let symbol = &self.symbols[after.checked_sub(1)?];
        // In no function at all, such as a trampoline: its distance to the last one would tell where it lies.
        if address - symbol.address > FUNCTION_BYTES {
            return None;
        }
        let start = symbol.name as usize;
        let name = &self.names[start..start + usize::from(symbol.name_bytes)];
        Some(Found {
            name: name.into(),
            module: Some(self.modules[usize::from(symbol.module)].clone()),
            offset: address - symbol.address,
            file: None,
            line: None,
            inlined: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"ffff000000002000 T do_thing\n\
        ffff000000001000 t first\n\
        ffff000000001000 t alias_of_first\n\
        ffff000000001800 d data\n\
        \xff\xfe garbage\n\
        zz T broken\n\
        ffffa00000000000 t ext4_read\t[ext4]\n";

    #[test]
    fn an_address_has_the_last_function_before_it_with_its_module() {
        let kallsyms = Kallsyms::read(TEXT).unwrap().unwrap();
        let found = kallsyms.resolve(&[
            0xffff_0000_0000_1810,
            0xffff_0000_0000_2004,
            0xffff_a000_0000_0001,
            0x1000,
        ]);
        let names: Vec<_> = found
            .iter()
            .map(|frames| {
                frames
                    .first()
                    .map(|frame| (&*frame.name, frame.module.as_deref(), frame.offset))
            })
            .collect();
        assert_eq!(
            names,
            [
                Some(("first", Some("[kernel]"), 0x810)),
                Some(("do_thing", Some("[kernel]"), 4)),
                Some(("ext4_read", Some("ext4"), 1)),
                None,
            ]
        );
    }

    #[test]
    fn zeros_say_that_addresses_are_hidden() {
        let text = b"0000000000000000 T a\n0000000000000000 t b\n";
        assert!(Kallsyms::read(&text[..]).unwrap().is_none());
        assert!(Kallsyms::read(&b""[..]).unwrap().is_none());
    }
}

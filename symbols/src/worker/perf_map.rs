//! Names code that a just-in-time compiler made, by the map that it writes for perf.
//!
//! The format is tools/perf/Documentation/jit-interface.txt in the kernel tree (v6.12): lines of `start size name`, both hexadecimal.

use super::super::{frames::cut, maps::hex, wire::Found};
use std::io::{self, BufRead};

/// The part of a map that is read. A JVM's is a few MB.
const BYTES_MAX: u64 = 64 << 20;
/// The functions that are taken from it.
const FUNCTIONS_MAX: usize = 1 << 20;
/// How far back is looked for a function that covers an address: compilers reuse memory and leave the old entry.
const LOOK_BACK: usize = 16;

/// The functions of a map, by address.
#[derive(Debug)]
pub(super) struct PerfMap {
    /// Sorted by start; of equal starts the newer one last.
    functions: Vec<Function>,
}

#[derive(Debug)]
struct Function {
    start: u64,
    bytes: u64,
    name: Box<str>,
}

impl PerfMap {
    pub(super) fn read(text: impl BufRead) -> io::Result<Self> {
        let mut text = text.take(BYTES_MAX);
        let mut functions = Vec::new();
        let mut line = Vec::new();
        while functions.len() < FUNCTIONS_MAX {
            line.clear();
            if text.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            functions.extend(function(&line));
        }
        functions.sort_by_key(|function| function.start);
        Ok(Self { functions })
    }

    /// For each address its frame; none if no function covers it.
    pub(super) fn resolve(&self, addresses: &[u64]) -> Vec<Vec<Found>> {
        addresses
            .iter()
            .map(|address| self.find(*address).into_iter().collect())
            .collect()
    }

    fn find(&self, address: u64) -> Option<Found> {
        let after = self
            .functions
            .partition_point(|function| function.start <= address);
        let function = self.functions[..after]
            .iter()
            .rev()
            .take(LOOK_BACK)
            .find(|function| address - function.start < function.bytes)?;
        Some(Found {
            name: function.name.to_string(),
            module: None,
            offset: address - function.start,
            file: None,
            line: None,
            inlined: false,
        })
    }
}

fn function(line: &[u8]) -> Option<Function> {
    let line = line.trim_ascii();
    let (start, rest) = split(line)?;
    let (bytes, name) = split(rest)?;
    Some(Function {
        start: hex(without_0x(start))?,
        bytes: hex(without_0x(bytes))?,
        // Once, and not for each address in it.
        name: cut(&String::from_utf8_lossy(name)).into(),
    })
}

/// Some runtimes write the prefix, others do not.
fn without_0x(digits: &[u8]) -> &[u8] {
    digits.strip_prefix(b"0x").unwrap_or(digits)
}

fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b' ')?;
    Some((&text[..at], text[at..].trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &[u8], address: u64) -> Option<(String, u64)> {
        let map = PerfMap::read(text).unwrap();
        let mut found = map.resolve(&[address]);
        found[0].pop().map(|frame| (frame.name, frame.offset))
    }

    #[test]
    fn a_function_covers_its_bytes_and_no_more() {
        let text = b"1000 10 LazyCompile:~f a.js:1\n0x2000 0x10 g\n";
        assert_eq!(
            name(text, 0x100f),
            Some(("LazyCompile:~f a.js:1".into(), 15))
        );
        assert_eq!(name(text, 0x1010), None);
        assert_eq!(name(text, 0x2000), Some(("g".into(), 0)));
        assert_eq!(name(text, 0xfff), None);
    }

    #[test]
    fn of_two_functions_at_one_address_the_newer_counts() {
        assert_eq!(
            name(b"1000 10 old\n1000 8 new\n", 0x1004),
            Some(("new".into(), 4))
        );
        assert_eq!(
            name(b"1000 10 old\n1000 8 new\n", 0x100c),
            Some(("old".into(), 12))
        );
    }

    #[test]
    fn lines_that_are_none_are_left_out() {
        let text = b"\xff\nxyz 10 f\n1000\n1000 10\n\n1000 ffffffffffffffff \xffname\nffffffffffffffff 10 end";
        assert_eq!(name(text, 0x1001), Some(("\u{fffd}name".into(), 1)));
        assert_eq!(name(text, u64::MAX), Some(("end".into(), 0)));
    }
}

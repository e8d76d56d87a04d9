//! The questions that we ask of the kernel's type information: where a field lies, what a constant is,
//! whether a tracepoint or a function is there. The format is Documentation/bpf/btf.rst of the kernel.
//!
//! It is read once, answers by scanning, and is dropped after use: 6 MiB that an idle agent does not keep.

use crate::Error;
use memchr::memmem;
use std::{
    collections::HashMap,
    ops::Range,
    sync::{Mutex, PoisonError},
};

const KERNEL: &str = "/sys/kernel/btf/vmlinux";

// Kinds of type: include/uapi/linux/btf.h.
const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// The kernel's types.
pub(crate) struct Btf {
    bytes: Vec<u8>,
    /// Where each type starts; index 0 is void.
    types: Vec<u32>,
    strings: Range<usize>,
    /// Structs and unions that were asked for, so that many fields of one are found by one scan.
    structs: Mutex<HashMap<String, Option<u32>>>,
}

impl Btf {
    pub(crate) fn of_kernel() -> Result<Self, Error> {
        let bytes = std::fs::read(KERNEL).map_err(|error| Error::Btf(error.to_string()))?;
        Self::parse(bytes).ok_or_else(|| Error::Btf("it is malformed".to_owned()))
    }

    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let word = |at: usize| read(&bytes, at);
        if word(0)? & 0xffff != 0xeb9f {
            return None;
        }
        let header = word(4)? as usize;
        let first = header.checked_add(word(8)? as usize)?;
        let end = first.checked_add(word(12)? as usize)?;
        let strings = header.checked_add(word(16)? as usize)?;
        let strings = strings..strings.checked_add(word(20)? as usize)?;
        if end > bytes.len() || strings.end > bytes.len() {
            return None;
        }
        let mut types = vec![0];
        let mut at = first;
        while at < end {
            types.push(at as u32);
            let info = word(at + 4)?;
            let vlen = (info & 0xffff) as usize;
            at += 12
                + match info >> 24 & 0x1f {
                    INT | VAR | DECL_TAG => 4,
                    ARRAY => 12,
                    STRUCT | UNION | DATASEC | ENUM64 => 12 * vlen,
                    ENUM | FUNC_PROTO => 8 * vlen,
                    _ => 0,
                };
        }
        Some(Self {
            bytes,
            types,
            strings,
            structs: Mutex::default(),
        })
    }

    /// Byte offset of a field, or of a field in a field: `["thread_info", "status"]`. Anonymous members are looked through.
    pub(crate) fn offset(&self, of: &str, path: &[&str]) -> Option<u32> {
        let mut at = self.find_struct(of)?;
        let mut bits = 0;
        for (depth, field) in path.iter().enumerate() {
            let (offset, ty) = self.member(at, field, 8)?;
            bits += offset;
            if depth + 1 < path.len() {
                at = self.resolve(ty)?;
            }
        }
        Some(bits / 8)
    }

    /// Value of an enum's constant, whichever enum it is of.
    pub(crate) fn constant(&self, name: &str) -> Option<u32> {
        let name = self.string(name)?;
        self.types[1..].iter().find_map(|&at| {
            let each = match self.kind(at) {
                ENUM => 8,
                ENUM64 => 12,
                _ => return None,
            };
            (0..self.vlen(at))
                .map(|i| at + 12 + i * each)
                .find(|&at| self.word(at) == name)
                .map(|at| self.word(at + 4))
        })
    }

    /// How many arguments a tracepoint has; `None` where there is no such tracepoint.
    pub(crate) fn tracepoint_arguments(&self, name: &str) -> Option<u8> {
        // Each has a typedef of its probe's function: include/trace/bpf_probe.h. Its first parameter is not an argument.
        let typedef = self.find(TYPEDEF, &format!("btf_trace_{name}"))?;
        let pointer = self.at(self.word(self.types[typedef as usize] + 8))?;
        let proto = (self.kind(pointer) == PTR).then(|| self.at(self.word(pointer + 8)))??;
        (self.kind(proto) == FUNC_PROTO).then(|| self.vlen(proto).saturating_sub(1) as u8)
    }

    /// The type id of a function.
    pub(crate) fn function(&self, name: &str) -> Option<u32> {
        self.find(FUNC, name)
    }

    fn find_struct(&self, name: &str) -> Option<u32> {
        let known = || self.structs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&known) = known().get(name) {
            return known;
        }
        let found = self.string(name).and_then(|string| {
            self.types[1..].iter().copied().find(|&at| {
                matches!(self.kind(at), STRUCT | UNION)
                    && self.word(at) == string
                    && self.vlen(at) > 0
            })
        });
        known().insert(name.to_owned(), found);
        found
    }

    /// Offset in bits and type of a member, also of anonymous structs within.
    fn member(&self, at: u32, field: &str, depth: u8) -> Option<(u32, u32)> {
        let has_bitfields = self.word(at + 4) >> 31 == 1;
        (0..self.vlen(at)).find_map(|i| {
            let member = at + 12 + 12 * i;
            let (name, ty, offset) = (
                self.word(member),
                self.word(member + 4),
                self.word(member + 8),
            );
            let bits = if has_bitfields {
                offset & 0xff_ffff
            } else {
                offset
            };
            if name == 0 {
                let inner = self.resolve(ty).filter(|_| depth > 0)?;
                let (more, ty) = self.member(inner, field, depth - 1)?;
                return Some((bits + more, ty));
            }
            (self.text(name) == field.as_bytes()).then_some((bits, ty))
        })
    }

    /// The struct or union behind qualifiers and typedefs.
    fn resolve(&self, id: u32) -> Option<u32> {
        let mut at = self.at(id)?;
        for _ in 0..16 {
            match self.kind(at) {
                STRUCT | UNION => return Some(at),
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => {
                    at = self.at(self.word(at + 8))?
                }
                _ => return None,
            }
        }
        None
    }

    fn find(&self, kind: u32, name: &str) -> Option<u32> {
        let string = self.string(name)?;
        (1..self.types.len())
            .find(|&id| self.kind(self.types[id]) == kind && self.word(self.types[id]) == string)
            .map(|id| id as u32)
    }

    /// Where a string lies among the strings, each of which is there once.
    fn string(&self, name: &str) -> Option<u32> {
        let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
        memmem::find(&self.bytes[self.strings.clone()], &wanted).map(|at| at as u32 + 1)
    }

    fn text(&self, string: u32) -> &[u8] {
        let rest = self
            .bytes
            .get(self.strings.start + string as usize..self.strings.end)
            .unwrap_or_default();
        rest.split(|&b| b == 0).next().unwrap_or_default()
    }

    fn at(&self, id: u32) -> Option<u32> {
        (id > 0).then(|| self.types.get(id as usize).copied())?
    }

    fn kind(&self, at: u32) -> u32 {
        self.word(at + 4) >> 24 & 0x1f
    }

    fn vlen(&self, at: u32) -> u32 {
        self.word(at + 4) & 0xffff
    }

    fn word(&self, at: u32) -> u32 {
        read(&self.bytes, at as usize).unwrap_or(0)
    }
}

fn read(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_constants_and_tracepoints_of_this_kernel_are_found() {
        let btf = Btf::of_kernel().unwrap();
        assert!(btf.offset("task_struct", &["tgid"]).is_some());
        let status = btf.offset("task_struct", &["thread_info", "status"]);
        assert_eq!(
            status,
            btf.offset("thread_info", &["status"]),
            "thread_info comes first on x86-64"
        );
        assert_eq!(btf.offset("task_struct", &["no_such_field"]), None);
        assert_eq!(btf.offset("no_such_struct", &["x"]), None);
        assert_eq!(btf.constant("MM_FILEPAGES"), Some(0));
        assert_eq!(btf.tracepoint_arguments("inet_sock_set_state"), Some(3));
        assert_eq!(btf.tracepoint_arguments("no_such_tracepoint"), None);
        assert!(btf.function("do_sys_openat2").is_some());
    }

    #[test]
    fn truncated_type_information_is_refused_or_finds_nothing() {
        let whole = std::fs::read(KERNEL).unwrap();
        for len in [0, 3, 16, 24, 1000, whole.len() / 2] {
            if let Some(btf) = Btf::parse(whole[..len].to_vec()) {
                assert_eq!(btf.offset("task_struct", &["tgid"]), None);
            }
        }
    }
}

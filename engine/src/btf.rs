//! Queries of the kernel's type information: offsets of fields, constants, existence of tracepoints and functions. The format is in
//! Documentation/bpf/btf.rst of the kernel.
//!
//! It is read once, scanned for each query, and dropped after use: 6 MiB that an idle agent does not keep.

use crate::Error;
use memchr::memmem;
use std::{
    collections::HashMap,
    ops::Range,
    sync::{Mutex, PoisonError},
};

const KERNEL: &str = "/sys/kernel/btf/vmlinux";
/// Folder with a file for each module that has types, and one for the kernel.
const MODULES: &str = "/sys/kernel/btf";

// Kinds of type: include/uapi/linux/btf.h.
const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// The kernel's types.
pub(crate) struct Btf {
    bytes: Vec<u8>,
    /// Offset of each type; index 0 is void.
    types: Vec<u32>,
    strings: Range<usize>,
    /// Structs and unions of earlier queries, so that many fields of one need one scan.
    structs: Mutex<HashMap<String, Option<u32>>>,
}

impl Btf {
    pub(crate) fn of_kernel() -> Result<Self, Error> {
        let bytes = std::fs::read(KERNEL).map_err(|error| Error::Btf(error.to_string()))?;
        Self::parse(bytes).ok_or_else(|| Error::Btf("it is malformed".to_owned()))
    }

    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let word = |at: usize| read(&bytes, at);
        let (Range { start: first, end }, strings) = sections(&bytes)?;
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

    /// Returns the byte offset of a field, or of a field in a field: `["thread_info", "status"]`. Anonymous members are searched too.
    pub(crate) fn offset(&self, of: &str, path: &[&str]) -> Option<u32> {
        Some(self.bits(of, path)? / 8)
    }

    /// Returns the offset of a field in bits: of one that has fewer bits than a byte.
    pub(crate) fn bits(&self, of: &str, path: &[&str]) -> Option<u32> {
        let mut at = self.find_struct(of)?;
        let mut bits = 0;
        for (depth, field) in path.iter().enumerate() {
            let (offset, ty) = self.member(at, field, 8)?;
            bits += offset;
            if depth + 1 < path.len() {
                at = self.resolve(ty)?;
            }
        }
        Some(bits)
    }

    /// Returns the size of a field in bytes; `None` for one of some bits.
    pub(crate) fn size(&self, of: &str, path: &[&str]) -> Option<u32> {
        let mut at = self.find_struct(of)?;
        let (last, path) = path.split_last()?;
        for field in path {
            let (_, ty) = self.member(at, field, 8)?;
            at = self.resolve(ty)?;
        }
        let (bits, ty) = self.member(at, last, 8)?;
        (bits % 8 == 0).then(|| self.size_of(ty, 16))?
    }

    /// Returns the size of a type in bytes, followed through this many others.
    fn size_of(&self, id: u32, depth: u8) -> Option<u32> {
        const POINTER_BYTES: u32 = 8;
        let at = self.at(id)?;
        let depth = depth.checked_sub(1)?;
        match self.kind(at) {
            INT | STRUCT | UNION | ENUM | ENUM64 => Some(self.word(at + 8)),
            PTR => Some(POINTER_BYTES),
            TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => {
                self.size_of(self.word(at + 8), depth)
            }
            // The type of an element, that of its index, and the number of elements.
            ARRAY => {
                let each = self.size_of(self.word(at + 12), depth)?;
                each.checked_mul(self.word(at + 20))
            }
            _ => None,
        }
    }

    /// Returns the value of a constant of any enum.
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

    /// Returns these types, followed by those of a module with the next numbers.
    pub(crate) fn with_module(&self, module: &[u8]) -> Option<Self> {
        let (types, strings) = sections(module)?;
        let (own_types, own_strings) = sections(&self.bytes)?;
        // A new header, and both sections of both.
        let mut bytes = self.bytes.get(..HEADER)?.to_vec();
        let types_len = own_types.len() + types.len();
        let strings_len = own_strings.len() + strings.len();
        for (at, word) in [
            (4, HEADER),
            (8, 0),
            (12, types_len),
            (16, types_len),
            (20, strings_len),
        ] {
            let word = u32::try_from(word).ok()?;
            bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        for (of, section) in [
            (&self.bytes[..], own_types),
            (module, types),
            (&self.bytes[..], own_strings),
            (module, strings),
        ] {
            bytes.extend_from_slice(of.get(section)?);
        }
        Self::parse(bytes)
    }

    /// Returns the result of the first module of the kernel with one. The types of modules are read for this query only.
    pub(crate) fn in_modules<T>(&self, find: impl Fn(&Self) -> Option<T>) -> Option<T> {
        let modules = std::fs::read_dir(MODULES).ok()?;
        modules.flatten().find_map(|module| {
            if module.file_name() == "vmlinux" {
                return None;
            }
            let module = std::fs::read(module.path()).ok()?;
            find(&self.with_module(&module)?)
        })
    }

    /// Returns the type id of a tracepoint's prototype; `None` if the tracepoint does not exist.
    pub(crate) fn tracepoint(&self, name: &str) -> Option<u32> {
        // Each has a typedef of its probe's function: include/trace/bpf_probe.h.
        self.find(TYPEDEF, &format!("btf_trace_{name}"))
    }

    /// Returns the types of a tracepoint's arguments in C syntax without `const`; `None` if the tracepoint does not exist.
    pub(crate) fn tracepoint_arguments(&self, name: &str) -> Option<Vec<String>> {
        let pointer = self.at(self.word(self.at(self.tracepoint(name)?)? + 8))?;
        let proto = (self.kind(pointer) == PTR).then(|| self.word(pointer + 8))?;
        // Its first parameter is not an argument.
        Some(self.parameters(proto)?.split_off(1))
    }

    /// Returns the types of a function's arguments in C syntax without `const`; `None` if the function does not exist.
    pub(crate) fn function_arguments(&self, name: &str) -> Option<Vec<String>> {
        let function = self.at(self.function(name)?)?;
        self.parameters(self.word(function + 8))
    }

    /// Returns all constants of an enum with their values; empty if the enum does not exist.
    pub(crate) fn constants(&self, of: &str) -> Vec<(u64, String)> {
        let Some(name) = self.string(of) else {
            return Vec::new();
        };
        let sized = self.types[1..].iter().find_map(|&at| {
            let each = match self.kind(at) {
                ENUM => 8,
                ENUM64 => 12,
                _ => return None,
            };
            (self.word(at) == name && self.vlen(at) > 0).then_some((at, each))
        });
        let Some((at, each)) = sized else {
            return Vec::new();
        };
        let constant = |at: u32| {
            let high = match each {
                12 => u64::from(self.word(at + 8)) << 32,
                _ => 0,
            };
            let name = String::from_utf8_lossy(self.text(self.word(at)));
            (high | u64::from(self.word(at + 4)), name.into_owned())
        };
        let constants = (0..self.vlen(at)).map(|i| constant(at + 12 + i * each));
        constants.collect()
    }

    /// Returns the type id of a function.
    pub(crate) fn function(&self, name: &str) -> Option<u32> {
        self.find(FUNC, name)
    }

    fn parameters(&self, proto: u32) -> Option<Vec<String>> {
        let at = self.at(proto)?;
        (self.kind(at) == FUNC_PROTO).then(|| {
            let each = (0..self.vlen(at)).map(|i| self.word(at + 12 + 8 * i + 4));
            each.map(|id| c_type(&self.type_text(id, 8))).collect()
        })
    }

    /// Returns a type in C syntax, without qualifiers.
    fn type_text(&self, id: u32, depth: u8) -> String {
        let Some(at) = self.at(id) else {
            return "void".to_owned();
        };
        let name = || {
            let name = self.text(self.word(at));
            match name.is_empty() {
                true => "(anonymous)".to_owned(),
                false => String::from_utf8_lossy(name).into_owned(),
            }
        };
        match self.kind(at) {
            _ if depth == 0 => "(nested)".to_owned(),
            PTR => match self.type_text(self.word(at + 8), depth - 1) {
                inner if inner.ends_with('*') => inner + "*",
                inner => inner + " *",
            },
            CONST | VOLATILE | RESTRICT | TYPE_TAG => self.type_text(self.word(at + 8), depth - 1),
            STRUCT => format!("struct {}", name()),
            UNION => format!("union {}", name()),
            FWD if self.word(at + 4) >> 31 == 1 => format!("union {}", name()),
            FWD => format!("struct {}", name()),
            ENUM | ENUM64 => format!("enum {}", name()),
            INT | FLOAT | TYPEDEF => name(),
            FUNC_PROTO => "(function)".to_owned(),
            ARRAY => "(array)".to_owned(),
            // No argument has a type of these kinds.
            FUNC | VAR | DATASEC | DECL_TAG => "(no type)".to_owned(),
            unknown => format!("(type of kind {unknown})"),
        }
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

    /// Returns the offset in bits and the type of a member, also in nested anonymous structs.
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

    /// Returns the struct or union behind qualifiers and typedefs.
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

    /// Returns the offset of a string, each of which exists once.
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

/// Returns the canonical form of a C type, for comparisons: integers have many names.
pub(crate) fn c_type(text: &str) -> String {
    const INTEGER: [&str; 6] = ["signed", "unsigned", "char", "short", "int", "long"];
    let (base, stars) = match text.find('*') {
        Some(at) => (&text[..at], text[at..].matches('*').count()),
        None => (text, 0),
    };
    let words = base.split_whitespace();
    let mut words: Vec<&str> = words
        .filter(|word| !["const", "volatile", "restrict"].contains(word))
        .collect();
    if words.iter().all(|word| INTEGER.contains(word)) {
        let other = |word: &&str| *word != "int" && *word != "signed";
        // `long unsigned int` is `unsigned long`; a plain `int` stays.
        if words.iter().any(other) {
            words.retain(other);
        } else {
            words = vec!["int"];
        }
        words.sort_unstable_by_key(|word| INTEGER.iter().position(|known| known == word));
    }
    let mut out = words.join(" ");
    if stars > 0 {
        out.push(' ');
        out.push_str(&"*".repeat(stars));
    }
    out
}

/// Bytes of a header.
const HEADER: usize = 24;

/// Positions of types and strings.
fn sections(bytes: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let word = |at: usize| read(bytes, at).map(|word| word as usize);
    if word(0)? & 0xffff != 0xeb9f {
        return None;
    }
    let header = word(4)?;
    let first = header.checked_add(word(8)?)?;
    let types = first..first.checked_add(word(12)?)?;
    let strings = header.checked_add(word(16)?)?;
    let strings = strings..strings.checked_add(word(20)?)?;
    (types.end <= bytes.len() && strings.end <= bytes.len()).then_some((types, strings))
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
        let types = btf.constants("pid_type");
        assert_eq!(
            types[..2],
            [(0, "PIDTYPE_PID".into()), (1, "PIDTYPE_TGID".into())]
        );
        assert_eq!(btf.constants("no_such_enum"), []);
        assert_eq!(btf.tracepoint_arguments("no_such_tracepoint"), None);
        assert!(btf.function("do_sys_openat2").is_some());
    }

    #[test]
    fn arguments_of_tracepoints_and_functions_are_told_as_c_writes_them() {
        let btf = Btf::of_kernel().unwrap();
        assert_eq!(
            btf.tracepoint_arguments("inet_sock_set_state").unwrap(),
            ["struct sock *", "int", "int"]
        );
        // It has `const char *`, and a number that compilers call by different names.
        let arguments = btf.tracepoint_arguments("sched_process_exec").unwrap();
        assert_eq!(
            arguments,
            ["struct task_struct *", "pid_t", "struct linux_binprm *"]
        );
        let arguments = btf.tracepoint_arguments("sys_enter").unwrap();
        assert_eq!(arguments, ["struct pt_regs *", "long"]);
        let arguments = btf.tracepoint_arguments("sched_switch").unwrap();
        assert_eq!(
            arguments[..3],
            ["bool", "struct task_struct *", "struct task_struct *"]
        );
        let arguments = btf.function_arguments("vfs_read").unwrap();
        assert_eq!(arguments, ["struct file *", "char *", "size_t", "loff_t *"]);
        assert_eq!(btf.function_arguments("no_such_function"), None);
    }

    #[test]
    fn names_of_one_integer_type_are_one() {
        for (one, other) in [
            ("unsigned long", "long unsigned int"),
            ("short", "short int"),
            ("signed", "int"),
            ("unsigned int", "unsigned"),
            ("const struct sock *", "struct sock *"),
            ("const char * const *", "char **"),
        ] {
            assert_eq!(c_type(one), c_type(other));
        }
        assert_ne!(c_type("struct page *"), c_type("struct folio *"));
        assert_ne!(c_type("unsigned int"), c_type("int"));
    }

    #[test]
    fn types_of_a_module_follow_those_of_the_kernel() {
        // `typedef void (*btf_trace_ours)(void *, struct task_struct *)`, as a module's BTF has it.
        let btf = Btf::of_kernel().unwrap();
        let task = btf.types.len() as u32;
        let strings = btf.strings.len() as u32;
        let task_struct = btf.find(STRUCT, "task_struct").unwrap();
        let text = b"\0btf_trace_ours\0";
        let types: Vec<u32> = [
            [0, PTR << 24, task_struct].as_slice(),
            &[0, FUNC_PROTO << 24 | 2, 0, 0, 0, 0, task],
            &[0, PTR << 24, task + 1],
            &[strings + 1, TYPEDEF << 24, task + 2],
        ]
        .concat();
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let len = types.len() as u32;
        let header = [0x1_eb9f, 24, 0, len, len, text.len() as u32];
        let header = header.iter().flat_map(|word| word.to_ne_bytes());
        let module: Vec<u8> = header.chain(types).chain(*text).collect();
        let both = btf.with_module(&module).unwrap();
        assert_eq!(
            both.tracepoint_arguments("ours").unwrap(),
            ["struct task_struct *"]
        );
        assert_eq!(btf.tracepoint_arguments("ours"), None);
        assert!(btf.with_module(&module[..40]).is_none());
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

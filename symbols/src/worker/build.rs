//! Builds program files for tests: small, well-formed, and then as wrong as a test wants.

/// A 64-bit program file of the machine's byte order.
pub(super) struct Build {
    symbols: Vec<BuiltSymbol>,
    sections: Vec<BuiltSection>,
    build_id: Option<[u8; 20]>,
}

struct BuiltSymbol {
    name: String,
    info: u8,
    section: u16,
    offset: u64,
    bytes: u64,
}

struct BuiltSection {
    name: &'static str,
    kind: u32,
    flags: u64,
    entry_bytes: u64,
    content: Vec<u8>,
}

/// Where the file is linked to be: address = offset + this.
const BASE: u64 = 0x10_0000;
const SECTION_BYTES: usize = 64;

impl Build {
    pub(super) fn new() -> Self {
        Self {
            symbols: Vec::new(),
            sections: Vec::new(),
            build_id: None,
        }
    }

    pub(super) fn build_id(mut self, id: [u8; 20]) -> Self {
        self.build_id = Some(id);
        self
    }

    /// A function, at an offset of the file.
    pub(super) fn function(self, name: &str, offset: u64, bytes: u64) -> Self {
        // A global function of the first section.
        self.symbol(name, 0x12, 1, offset, bytes)
    }

    /// A symbol: its binding and type, and the number of its section.
    pub(super) fn symbol(
        mut self,
        name: &str,
        info: u8,
        section: u16,
        offset: u64,
        bytes: u64,
    ) -> Self {
        self.symbols.push(BuiltSymbol {
            name: name.into(),
            info,
            section,
            offset,
            bytes,
        });
        self
    }

    pub(super) fn section(
        mut self,
        name: &'static str,
        kind: u32,
        flags: u64,
        content: &[u8],
    ) -> Self {
        self.sections.push(BuiltSection {
            name,
            kind,
            flags,
            entry_bytes: 0,
            content: content.into(),
        });
        self
    }

    /// With the functions in `.symtab`.
    pub(super) fn unstripped(self) -> Vec<u8> {
        self.bytes(".symtab", ".strtab")
    }

    /// With the functions in `.dynsym` only.
    pub(super) fn stripped(self) -> Vec<u8> {
        self.bytes(".dynsym", ".dynstr")
    }

    fn bytes(mut self, symbols: &'static str, strings: &'static str) -> Vec<u8> {
        let mut table = vec![0; 24];
        let mut names = vec![0];
        for symbol in &self.symbols {
            let BuiltSymbol {
                name,
                info,
                section,
                offset,
                bytes,
            } = symbol;
            table.extend_from_slice(&(names.len() as u32).to_ne_bytes());
            table.extend_from_slice(&[*info, 0]);
            table.extend_from_slice(&section.to_ne_bytes());
            table.extend_from_slice(&(BASE + offset).to_ne_bytes());
            table.extend_from_slice(&bytes.to_ne_bytes());
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        self = self
            .section(symbols, 2, 0, &table)
            .section(strings, 3, 0, &names);
        let table_at = self.sections.len() - 2;
        self.sections[table_at].entry_bytes = 24;

        // Header, two segments, the note, then sections.
        let mut out = vec![0; 64 + 2 * 56];
        let note_at = out.len();
        if let Some(id) = self.build_id {
            for word in [4u32, 20, 3] {
                out.extend_from_slice(&word.to_ne_bytes());
            }
            out.extend_from_slice(b"GNU\0");
            out.extend_from_slice(&id);
        }
        let note_bytes = out.len() - note_at;
        let mut headers = vec![0; SECTION_BYTES];
        let mut section_names = vec![0];
        let shstrtab = BuiltSection {
            name: ".shstrtab",
            kind: 3,
            flags: 0,
            entry_bytes: 0,
            content: Vec::new(),
        };
        self.sections.push(shstrtab);
        let last = self.sections.len() - 1;
        for (index, section) in self.sections.iter().enumerate() {
            let name_at = section_names.len() as u32;
            section_names.extend_from_slice(section.name.as_bytes());
            section_names.push(0);
            let content = if index == last {
                &section_names
            } else {
                &section.content
            };
            out.resize(out.len().next_multiple_of(16), 0);
            headers.extend_from_slice(&name_at.to_ne_bytes());
            headers.extend_from_slice(&section.kind.to_ne_bytes());
            let words = [
                section.flags,
                0,
                out.len() as u64,
                content.len() as u64,
                0,
                8,
                section.entry_bytes,
            ];
            words
                .iter()
                .for_each(|word| headers.extend_from_slice(&word.to_ne_bytes()));
            out.extend_from_slice(content);
        }
        // Code to point at.
        out.resize(out.len().next_multiple_of(4096), 0xcc);
        let headers_at = out.len() as u64;
        out.extend_from_slice(&headers);
        let whole = out.len() as u64;
        put_header(&mut out, headers_at, self.sections.len() as u16 + 1);
        put_segment(&mut out, 64, 1, 0, whole);
        put_segment(&mut out, 64 + 56, 4, note_at as u64, note_bytes as u64);
        out
    }
}

fn put_header(out: &mut [u8], headers_at: u64, sections: u16) {
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    out[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, order, 1]);
    let machine: u16 = if cfg!(target_arch = "aarch64") {
        183
    } else {
        62
    };
    let halves = [
        (16, 3),
        (18, machine),
        (52, 64),
        (54, 56),
        (56, 2),
        (58, 64),
        (60, sections),
        (62, sections - 1),
    ];
    for (at, value) in halves {
        out[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    }
    out[32..40].copy_from_slice(&64u64.to_ne_bytes());
    out[40..48].copy_from_slice(&headers_at.to_ne_bytes());
}

fn put_segment(out: &mut [u8], at: usize, kind: u32, offset: u64, bytes: u64) {
    out[at..at + 4].copy_from_slice(&kind.to_ne_bytes());
    // To read and to execute.
    out[at + 4..at + 8].copy_from_slice(&5u32.to_ne_bytes());
    for (field, value) in [(8, offset), (16, BASE + offset), (32, bytes), (40, bytes)] {
        out[at + field..at + field + 8].copy_from_slice(&value.to_ne_bytes());
    }
}

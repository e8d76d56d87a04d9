//! Names places in Go programs without a symbol table, by the table that Go's runtime itself has to have.
//!
//! Go programs in containers are mostly linked with `-s -w`, which takes the symbols and not this.
//! The layout is that of Go 1.18 to 1.25: src/runtime/symtab.go (`pcHeader`, `_func`, `step`) and src/internal/abi/symtab.go.
//! All numbers in it are hostile.

use super::super::wire::Found;

/// The header's first word, for Go 1.18 and 1.20. Older programs have other layouts and no names here.
const GO_1_18: u32 = 0xffff_fff0;
const GO_1_20: u32 = 0xffff_fff1;
/// How long a name or path may be.
const TEXT_MAX: usize = 4096;
/// Steps through a table of lines: one for each change of line in a function.
const STEPS_MAX: usize = 1 << 16;

/// Go's table of functions and lines.
#[derive(Debug)]
pub(super) struct GoTable {
    bytes: Vec<u8>,
    /// The unit of code addresses.
    quantum: u64,
    functions: usize,
    /// The length of the description of a function, without the tables after it, in words of 4 bytes.
    description_words: usize,
    /// The address that all others are relative to.
    text: u64,
    names: usize,
    units: usize,
    files: usize,
    steps: usize,
    table: usize,
}

impl GoTable {
    /// Takes the content of the section `.gopclntab`. `text` is where the code starts, if the table does not say.
    pub(super) fn new(bytes: Vec<u8>, text: u64) -> Option<Self> {
        let magic = u32_at(&bytes, 0)?;
        let [_, _, quantum, word_bytes] = *bytes.get(4..8)? else {
            return None;
        };
        if !matches!(magic, GO_1_18 | GO_1_20) || word_bytes != 8 || !matches!(quantum, 1 | 2 | 4) {
            return None;
        }
        let word = |index: usize| u64_at(&bytes, 8 + 8 * index);
        let offset = |index| usize::try_from(word(index)?).ok();
        let own_text = word(2)?;
        Some(Self {
            quantum: quantum.into(),
            functions: offset(0)?,
            // 1.20 added the line where a function starts.
            description_words: if magic == GO_1_20 { 11 } else { 10 },
            // Position-independent programs have it filled in when they start.
            text: if own_text == 0 { text } else { own_text },
            names: offset(3)?,
            units: offset(4)?,
            files: offset(5)?,
            steps: offset(6)?,
            table: offset(7)?,
            bytes,
        })
    }

    /// The memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The frame of an address, as the program was linked.
    pub(super) fn find(&self, address: u64) -> Option<Found> {
        let wanted = u32::try_from(address.checked_sub(self.text)?).ok()?;
        let index = self.last_before(wanted)?;
        let (start, function) = self.entry(index)?;
        let function = self.table.checked_add(function as usize)?;
        let name = self.field(function, 1)? as usize;
        let name = self.text_at(self.names.checked_add(name)?)?;
        let within = u64::from(wanted - start);
        let place = match self.is_inlined(function, within) {
            true => None,
            false => self.place(function, within),
        };
        let (file, line) = place.unzip();
        Some(Found {
            name,
            module: None,
            offset: within,
            file,
            line,
            inlined: false,
        })
    }

    /// File and line.
    fn place(&self, function: usize, within: u64) -> Option<(String, u32)> {
        let line = self.value_at(self.field(function, 6)?, within)?;
        let file = self.value_at(self.field(function, 5)?, within)?;
        let unit = (self.field(function, 8)? as usize).checked_add(usize::try_from(file).ok()?)?;
        let text = u32_at(&self.bytes, self.units.checked_add(unit.checked_mul(4)?)?)?;
        let file = self.text_at(self.files.checked_add(text as usize)?)?;
        Some((file, u32::try_from(line).ok().filter(|line| *line > 0)?))
    }

    /// Whether another function was put into this one here. Its name is out of our reach, but file and line are its own: they would
    /// be wrong with this one's name.
    fn is_inlined(&self, function: usize, within: u64) -> bool {
        // The third of the tables that follow the description.
        let tables = self.field(function, 7).unwrap_or(0);
        let table = self
            .field(function, self.description_words + 2)
            .filter(|table| *table != 0);
        let index = table
            .filter(|_| tables > 2)
            .and_then(|table| self.value_at(table, within));
        index.is_some_and(|index| index >= 0)
    }

    fn field(&self, function: usize, index: usize) -> Option<u32> {
        u32_at(&self.bytes, function.checked_add(4 * index)?)
    }

    /// The number of the last function that starts at or before that place.
    fn last_before(&self, wanted: u32) -> Option<usize> {
        let (mut low, mut high) = (0, self.functions);
        while low < high {
            let middle = low + (high - low) / 2;
            // Beyond the table nothing starts.
            let before = self.entry(middle).is_some_and(|(start, _)| start <= wanted);
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        // After the last one comes where the code ends.
        let end = u32_at(
            &self.bytes,
            self.table.checked_add(self.functions.checked_mul(8)?)?,
        )?;
        (wanted < end).then(|| low.checked_sub(1))?
    }

    /// Where a function starts, and where it is described.
    fn entry(&self, index: usize) -> Option<(u32, u32)> {
        let at = self.table.checked_add(index.checked_mul(8)?)?;
        Some((
            u32_at(&self.bytes, at)?,
            u32_at(&self.bytes, at.checked_add(4)?)?,
        ))
    }

    fn text_at(&self, at: usize) -> Option<String> {
        let text = self.bytes.get(at..)?;
        let text = &text[..text.len().min(TEXT_MAX)];
        let end = text.iter().position(|byte| *byte == 0)?;
        (end > 0).then(|| String::from_utf8_lossy(&text[..end]).into_owned())
    }

    /// Goes through pairs of differences, of value and of place, up to the wanted place.
    fn value_at(&self, table: u32, wanted: u64) -> Option<i64> {
        let mut at = self.steps.checked_add(table as usize)?;
        let mut value: i64 = -1;
        let mut place: u64 = 0;
        for step in 0..STEPS_MAX {
            let difference = self.varint(&mut at)?;
            if difference == 0 && step > 0 {
                return None;
            }
            let difference = i64::from(difference >> 1) ^ -i64::from(difference & 1);
            value = value.wrapping_add(difference);
            place += u64::from(self.varint(&mut at)?) * self.quantum;
            if wanted < place {
                return Some(value);
            }
        }
        None
    }

    fn varint(&self, at: &mut usize) -> Option<u32> {
        let mut value: u32 = 0;
        for shift in (0..32).step_by(7) {
            let byte = *self.bytes.get(*at)?;
            *at += 1;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two functions of 16 bytes at 0x1000; the first has line 7 in its first 4 bytes and line 9 after.
    fn table() -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&GO_1_20.to_ne_bytes());
        out.extend_from_slice(&[0, 0, 1, 8]);
        let header = 8 + 8 * 8;
        let names = b"\0main.main\0main.add\0";
        let units = 4;
        let files = b"/src/main.go\0";
        // Lines: 7 (from -1: +8) for 4 bytes, 9 (+2) for 12. Files: 0 (from -1: +1) for 16. Each value doubled, for the sign.
        // In the last 4 bytes something is inlined: from -1 no (+0) for 12, then 0 (+1) for 4.
        let steps = [0, 16, 4, 4, 12, 0, 2, 16, 0, 0, 12, 2, 4, 0];
        let offsets = [
            2,
            1,
            0x1000,
            header,
            header + names.len(),
            header + names.len() + units,
            header + names.len() + units + files.len(),
            header + names.len() + units + files.len() + steps.len(),
        ];
        offsets
            .iter()
            .for_each(|offset| out.extend_from_slice(&(*offset as u64).to_ne_bytes()));
        out.extend_from_slice(names);
        out.extend_from_slice(&0u32.to_ne_bytes());
        out.extend_from_slice(files);
        out.extend_from_slice(&steps);
        let functions = [[0u32, 20], [16, 20 + 56]];
        functions
            .iter()
            .flatten()
            .for_each(|word| out.extend_from_slice(&word.to_ne_bytes()));
        out.extend_from_slice(&32u32.to_ne_bytes());
        for (start, name) in [(0u32, 1u32), (16, 11)] {
            let fields = [start, name, 0, 0, 0, 6, 1, 3, 0, 0, 0, 0, 0, 9];
            fields
                .iter()
                .for_each(|field| out.extend_from_slice(&field.to_ne_bytes()));
        }
        out
    }

    #[test]
    fn a_place_has_function_file_and_line() {
        let table = GoTable::new(table(), 0).unwrap();
        let found = table.find(0x1003).unwrap();
        assert_eq!(
            (&*found.name, found.offset, found.line),
            ("main.main", 3, Some(7))
        );
        assert_eq!(found.file.as_deref(), Some("/src/main.go"));
        assert_eq!(table.find(0x1004).unwrap().line, Some(9));
        assert_eq!(table.find(0x100c).unwrap().line, None);
        let found = table.find(0x1010).unwrap();
        assert_eq!((&*found.name, found.offset), ("main.add", 0));
        assert!(table.find(0x1020).is_none());
        assert!(table.find(0xfff).is_none());
        assert!(table.find(u64::MAX).is_none());
    }

    #[test]
    fn no_byte_of_it_can_break_its_reader() {
        let good = table();
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let Some(table) = GoTable::new(bytes, 0) else {
                    continue;
                };
                for address in [0, 0x1000, 0x1004, 0x1010, 0x101f, u64::MAX] {
                    table.find(address);
                }
            }
        }
        for length in 0..good.len() {
            if let Some(table) = GoTable::new(good[..length].to_vec(), 0) {
                table.find(0x1004);
            }
        }
    }
}

//! Instructions that a plan brings along, and a small assembler for them: jumps lead forward only, so all of it ends.

use std::vec::Vec;

/// One instruction, as the kernel reads it: opcode, registers, offset and immediate from the lowest byte up (RFC 9669).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction(pub u64);

impl Instruction {
    const fn new(code: u8, to: Register, from: u8, offset: i16, immediate: i32) -> Self {
        Self(
            code as u64
                | (to as u64) << 8
                | (from as u64) << 12
                | (offset as u16 as u64) << 16
                | (immediate as u32 as u64) << 32,
        )
    }
}

/// The registers that instructions in a slot may use. The others are the program's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// The verdict.
    R0 = 0,
    /// What the slot's place gives.
    R1 = 1,
    /// A value.
    R2 = 2,
    /// Another one.
    R3 = 3,
}

/// Bytes that one load reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 1
    Byte,
    /// 2
    Half,
    /// 4
    Word,
    /// 8
    Double,
}

impl Width {
    /// The width of this many bytes.
    pub const fn of(bytes: usize) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Half),
            4 => Some(Self::Word),
            8 => Some(Self::Double),
            _ => None,
        }
    }

    /// How many bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
            Self::Double => 8,
        }
    }
}

/// When a jump is taken, by 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// Where both are equal.
    Equal,
    /// Where they are not.
    NotEqual,
    /// Where the first is less, of numbers from 0.
    Less,
    /// Where it is not greater.
    AtMost,
    /// Where it is greater.
    Greater,
    /// Where it is not less.
    AtLeast,
    /// Where the first is less, of signed numbers.
    SignedLess,
    /// Where it is not greater.
    SignedAtMost,
    /// Where it is greater.
    SignedGreater,
    /// Where it is not less.
    SignedAtLeast,
}

impl Jump {
    /// Taken exactly where this one is not.
    pub const fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::AtLeast,
            Self::AtLeast => Self::Less,
            Self::AtMost => Self::Greater,
            Self::Greater => Self::AtMost,
            Self::SignedLess => Self::SignedAtLeast,
            Self::SignedAtLeast => Self::SignedLess,
            Self::SignedAtMost => Self::SignedGreater,
            Self::SignedGreater => Self::SignedAtMost,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Equal => 0x10,
            Self::Greater => 0x20,
            Self::AtLeast => 0x30,
            Self::NotEqual => 0x50,
            Self::SignedGreater => 0x60,
            Self::SignedAtLeast => 0x70,
            Self::Less => 0xa0,
            Self::AtMost => 0xb0,
            Self::SignedLess => 0xc0,
            Self::SignedAtMost => 0xd0,
        }
    }
}

/// A place further on, to which jumps lead.
#[derive(Debug)]
#[must_use = "jumps to it lead nowhere until it is placed"]
pub struct Label(Vec<usize>);

impl Label {
    /// A place that is not known yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }
}

impl Default for Label {
    fn default() -> Self {
        Self::new()
    }
}

/// Puts instructions together.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Instruction>,
    /// A jump was too far.
    too_far: bool,
}

impl Assembler {
    fn push(&mut self, code: u8, to: Register, from: u8, offset: i16, immediate: i32) {
        self.code
            .push(Instruction::new(code, to, from, offset, immediate));
    }

    /// `to = number`.
    pub fn set(&mut self, to: Register, number: u64) {
        match small(number) {
            Some(small) => self.push(0xb7, to, 0, 0, small),
            None => {
                self.push(0x18, to, 0, 0, number as u32 as i32);
                let upper = Instruction::new(0, Register::R0, 0, 0, (number >> 32) as u32 as i32);
                self.code.push(upper);
            }
        }
    }

    /// Loads a number from memory; the bits above it become 0.
    pub fn load(&mut self, to: Register, width: Width, from: Register, offset: i16) {
        let code = match width {
            Width::Word => 0x61,
            Width::Half => 0x69,
            Width::Byte => 0x71,
            Width::Double => 0x79,
        };
        self.push(code, to, from as u8, offset, 0);
    }

    /// Makes a signed number of this width one of 64 bits.
    pub fn extend_sign(&mut self, of: Register, width: Width) {
        let above = 64 - 8 * width.bytes() as i32;
        if above > 0 {
            // of <<= above; of s>>= above
            self.push(0x67, of, 0, 0, above);
            self.push(0xc7, of, 0, 0, above);
        }
    }

    /// Jumps to a place further on where `register` compares so with `number`; `spare` is overwritten where the number is large.
    pub fn jump(
        &mut self,
        when: Jump,
        register: Register,
        number: u64,
        spare: Register,
        to: &mut Label,
    ) {
        match small(number) {
            Some(small) => self.push(0x05 | when.code(), register, 0, 0, small),
            None => {
                self.set(spare, number);
                self.push(0x0d | when.code(), register, spare as u8, 0, 0);
            }
        }
        to.0.push(self.code.len() - 1);
    }

    /// The label is here.
    pub fn place(&mut self, label: Label) {
        for jump in label.0 {
            match i16::try_from(self.code.len() - jump - 1) {
                Ok(offset) => self.code[jump].0 |= (offset as u16 as u64) << 16,
                Err(_) => self.too_far = true,
            }
        }
    }

    /// The instructions, which go on behind their end; `None` where a jump was too far.
    pub fn finish(self) -> Option<Vec<Instruction>> {
        (!self.too_far).then_some(self.code)
    }
}

/// The number as an immediate, which is sign-extended to 64 bits.
fn small(number: u64) -> Option<i32> {
    i32::try_from(number as i64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn assembled(with: impl FnOnce(&mut Assembler)) -> Vec<u64> {
        let mut code = Assembler::default();
        with(&mut code);
        let code = code.finish().unwrap();
        code.into_iter().map(|one| one.0).collect()
    }

    // The numbers are what `llvm-mc -triple=bpfel -show-encoding` makes of the comments.
    #[test]
    fn a_small_number_is_one_instruction_and_a_large_one_two() {
        // r0 = 1
        assert_eq!(
            assembled(|code| code.set(Register::R0, 1)),
            [0x0000_0001_0000_00b7]
        );
        // r3 = -2
        assert_eq!(
            assembled(|code| code.set(Register::R3, -2i64 as u64)),
            [0xffff_fffe_0000_03b7]
        );
        // r3 = 0x1122334455667788 ll
        let large = assembled(|code| code.set(Register::R3, 0x1122_3344_5566_7788));
        assert_eq!(large, [0x5566_7788_0000_0318, 0x1122_3344_0000_0000]);
        // 2^31 would become negative.
        assert_eq!(
            assembled(|code| code.set(Register::R2, 0x8000_0000)).len(),
            2
        );
    }

    #[test]
    fn loads_have_the_width_and_the_offset_that_they_should_have() {
        let load = |width| assembled(|code| code.load(Register::R2, width, Register::R1, 0x18))[0];
        // r2 = *(u8 *)(r1 + 24), and so on
        assert_eq!(load(Width::Byte), 0x0018_1271);
        assert_eq!(load(Width::Half), 0x0018_1269);
        assert_eq!(load(Width::Word), 0x0018_1261);
        assert_eq!(load(Width::Double), 0x0018_1279);
        for bytes in 0..10 {
            assert!(Width::of(bytes).is_none_or(|width| width.bytes() == bytes));
        }
    }

    #[test]
    fn a_sign_is_extended_by_two_shifts_and_not_where_there_is_nothing_above() {
        // r2 <<= 32; r2 s>>= 32
        let word = assembled(|code| code.extend_sign(Register::R2, Width::Word));
        assert_eq!(word, [0x0000_0020_0000_0267, 0x0000_0020_0000_02c7]);
        assert!(assembled(|code| code.extend_sign(Register::R2, Width::Double)).is_empty());
    }

    #[test]
    fn jumps_lead_to_where_their_label_was_placed() {
        let code = assembled(|code| {
            let mut end = Label::new();
            code.jump(Jump::SignedLess, Register::R2, 5, Register::R3, &mut end);
            code.jump(Jump::Equal, Register::R2, 1 << 40, Register::R3, &mut end);
            code.set(Register::R0, 1);
            code.place(end);
        });
        // if r2 s< 5 goto +4; r3 = 1 << 40 ll; if r2 == r3 goto +1; r0 = 1
        let wanted = vec![
            0x0000_0005_0004_02c5,
            0x0000_0000_0000_0318,
            0x0000_0100_0000_0000,
            0x0000_0000_0001_321d,
            0x0000_0001_0000_00b7,
        ];
        assert_eq!(code, wanted);
    }

    #[test]
    fn a_jump_that_is_too_far_gives_no_instructions() {
        let mut code = Assembler::default();
        let mut end = Label::new();
        code.jump(Jump::Equal, Register::R2, 0, Register::R3, &mut end);
        (0..40_000).for_each(|_| code.set(Register::R0, 1));
        code.place(end);
        assert_eq!(code.finish(), None);
    }
}

//! Compilation of filters to instructions for the kernel side.

use super::{Comparison, Filter, Network, Operand, Operator, Read, Split, all_of};
use crate::{Assembler, Column, Held, Instruction, Jump, Label, Place, Register, Store, Width};
use core::cmp::Ordering;
use std::vec::Vec;

/// Maximum numbers that the kernel side compares for one row: further comparisons are made after reading.
const MOST: usize = 64;

/// A test of the kernel side. Constants are only at the top: the verifier refuses unreachable code after a jump that is always taken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Constant(bool),
    All(Vec<Self>),
    Any(Vec<Self>),
    Number(Number),
}

/// A number in the row, compared with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    offset: i16,
    width: Width,
    signed: bool,
    holds: Jump,
    with: u64,
}

pub(super) fn split(parts: Vec<Filter>, columns: &[Column]) -> Split {
    let (mut below, mut above) = (Vec::new(), Vec::new());
    let mut numbers = 0;
    for part in parts {
        let test = test(&part, columns, true);
        match test.filter(|test| numbers + test.numbers() <= MOST) {
            Some(test) => {
                numbers += test.numbers();
                below.push(test);
            }
            None => above.push(part),
        }
    }
    let kernel = match all(below) {
        // No test, or a test that removes no row.
        Test::Constant(true) if !above.is_empty() => None,
        test => Some(assembled(&test).expect("so few comparisons need no long jump")),
    };
    Split {
        kernel,
        user: all_of(above),
    }
}

/// Returns a test that is true if the result of the filter is `wanted`.
fn test(filter: &Filter, columns: &[Column], wanted: bool) -> Option<Test> {
    let each = |parts: &[Filter]| {
        let parts = parts.iter().map(|part| test(part, columns, wanted));
        parts.collect::<Option<Vec<_>>>()
    };
    Some(match (filter, wanted) {
        (Filter::All(parts), true) | (Filter::Any(parts), false) => all(each(parts)?),
        (Filter::Any(parts), true) | (Filter::All(parts), false) => any(each(parts)?),
        (Filter::Not(part), wanted) => test(part, columns, !wanted)?,
        (Filter::Compare(comparison), wanted) => comparison.test(columns, wanted)?,
    })
}

/// All of these.
fn all(mut tests: Vec<Test>) -> Test {
    if tests.contains(&Test::Constant(false)) {
        return Test::Constant(false);
    }
    tests.retain(|test| *test != Test::Constant(true));
    match tests.len() {
        0 => Test::Constant(true),
        1 => tests.remove(0),
        _ => Test::All(tests),
    }
}

/// At least one of these.
fn any(mut tests: Vec<Test>) -> Test {
    if tests.contains(&Test::Constant(true)) {
        return Test::Constant(true);
    }
    tests.retain(|test| *test != Test::Constant(false));
    match tests.len() {
        0 => Test::Constant(false),
        1 => tests.remove(0),
        _ => Test::Any(tests),
    }
}

impl Comparison {
    fn test(&self, columns: &[Column], wanted: bool) -> Option<Test> {
        let column = columns.get(self.column)?;
        let Place { offset, held } = column.place?;
        if self.named_later || self.read != Read::Stored {
            return None;
        }
        let operator = match wanted {
            true => self.operator,
            false => self.operator.negated(),
        };
        match (held, &self.with) {
            (Held::Number(width), Operand::Number(with)) => {
                let signed = column.kind.store() == Store::Signed;
                number(offset, width, signed, operator, *with)
            }
            (Held::Bytes(bytes), Operand::Bytes(with)) if with.len() != bytes => unequal(operator),
            (Held::Bytes(_), Operand::Bytes(with)) => bytes(offset, operator, with),
            (Held::Text(bytes), Operand::Bytes(with))
                if with.len() > bytes || with.contains(&0) =>
            {
                unequal(operator)
            }
            (Held::Text(most), Operand::Bytes(with)) => {
                let mut with = with.clone();
                // The text ends there, regardless of the following bytes.
                with.extend((with.len() < most).then_some(0));
                bytes(offset, operator, &with)
            }
            (Held::Bytes(16), Operand::Network(with)) => network(offset, operator, with),
            (Held::Other, _)
            | (
                Held::Number(_),
                Operand::Bytes(_) | Operand::Pattern(_) | Operand::Network(_) | Operand::Names(_),
            )
            | (
                Held::Bytes(_) | Held::Text(_),
                Operand::Number(_) | Operand::Pattern(_) | Operand::Network(_) | Operand::Names(_),
            ) => None,
        }
    }
}

/// Returns the test for a value that is never equal; `None` for an ordering of bytes.
fn unequal(operator: Operator) -> Option<Test> {
    match operator {
        Operator::Equal => Some(Test::Constant(false)),
        Operator::NotEqual => Some(Test::Constant(true)),
        Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast => None,
    }
}

/// Compares bytes, in the largest numbers that their alignment allows: loads from the stack are aligned.
fn bytes(offset: usize, operator: Operator, with: &[u8]) -> Option<Test> {
    let mut tests = Vec::new();
    let (mut at, mut rest) = (offset, with);
    while !rest.is_empty() {
        let widths = [Width::Double, Width::Word, Width::Half, Width::Byte];
        let mut widths = widths.into_iter();
        let width =
            widths.find(|width| at.is_multiple_of(width.bytes()) && width.bytes() <= rest.len())?;
        let (these, others) = rest.split_at(width.bytes());
        // In the machine's byte order, padded with zeros.
        let mut word = [0; 8];
        match cfg!(target_endian = "little") {
            true => word[..these.len()].copy_from_slice(these),
            false => word[8 - these.len()..].copy_from_slice(these),
        }
        let with = i128::from(u64::from_ne_bytes(word));
        tests.push(number(at, width, false, operator, with)?);
        at += width.bytes();
        rest = others;
    }
    match operator {
        Operator::Equal => Some(all(tests)),
        Operator::NotEqual => Some(any(tests)),
        Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast => None,
    }
}

/// Compares the common bytes of a network's addresses, and the partly common byte.
fn network(offset: usize, operator: Operator, with: &Network) -> Option<Test> {
    let (whole, range) = with.parts();
    let byte = |operator, with: u8| {
        number(
            offset + whole.len(),
            Width::Byte,
            false,
            operator,
            with.into(),
        )
    };
    let mut tests = Vec::from([bytes(offset, operator, whole)?]);
    if let Some((least, most)) = range {
        let (low, high) = match operator {
            Operator::NotEqual => (Operator::Less, Operator::Greater),
            Operator::Equal
            | Operator::Less
            | Operator::AtMost
            | Operator::Greater
            | Operator::AtLeast => (Operator::AtLeast, Operator::AtMost),
        };
        tests.extend([byte(low, least)?, byte(high, most)?]);
    }
    match operator {
        Operator::Equal => Some(all(tests)),
        Operator::NotEqual => Some(any(tests)),
        Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast => None,
    }
}

/// Compares a number; a number outside of the column's range results in a constant.
fn number(
    offset: usize,
    width: Width,
    signed: bool,
    operator: Operator,
    with: i128,
) -> Option<Test> {
    let bits = 8 * width.bytes() as u32;
    let (least, most) = match signed {
        true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
        false => (0, (1i128 << bits) - 1),
    };
    if with < least {
        return Some(Test::Constant(operator.holds(Ordering::Greater)));
    }
    if with > most {
        return Some(Test::Constant(operator.holds(Ordering::Less)));
    }
    let holds = match (operator, signed) {
        (Operator::Equal, _) => Jump::Equal,
        (Operator::NotEqual, _) => Jump::NotEqual,
        (Operator::Less, false) => Jump::Less,
        (Operator::AtMost, false) => Jump::AtMost,
        (Operator::Greater, false) => Jump::Greater,
        (Operator::AtLeast, false) => Jump::AtLeast,
        (Operator::Less, true) => Jump::SignedLess,
        (Operator::AtMost, true) => Jump::SignedAtMost,
        (Operator::Greater, true) => Jump::SignedGreater,
        (Operator::AtLeast, true) => Jump::SignedAtLeast,
    };
    Some(Test::Number(Number {
        offset: i16::try_from(offset).ok()?,
        width,
        signed,
        holds,
        with: with as u64,
    }))
}

/// Returns instructions that set r0 to 1 if the test is true for the row at r1, otherwise to 0.
fn assembled(test: &Test) -> Option<Vec<Instruction>> {
    let mut code = Assembler::default();
    match test {
        Test::Constant(outcome) => code.set(Register::R0, u64::from(*outcome)),
        test => {
            let mut end = Label::new();
            code.set(Register::R0, 0);
            test.jump(&mut code, false, &mut end);
            code.set(Register::R0, 1);
            code.place(end);
        }
    }
    code.finish()
}

impl Test {
    fn numbers(&self) -> usize {
        match self {
            Self::Constant(_) => 0,
            Self::Number(_) => 1,
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::numbers).sum(),
        }
    }

    /// Appends a test that jumps if its result is `on`, and continues otherwise.
    fn jump(&self, code: &mut Assembler, on: bool, to: &mut Label) {
        match (self, on) {
            // `all` and `any` leave none of them within.
            (Self::Constant(_), _) => debug_assert!(false, "a constant within a test"),
            (Self::Number(number), on) => number.jump(code, on, to),
            // Each of them decides alone.
            (Self::All(parts), false) | (Self::Any(parts), true) => {
                parts.iter().for_each(|part| part.jump(code, on, to));
            }
            // The last one decides, if it comes to that.
            (Self::All(parts), true) | (Self::Any(parts), false) => {
                let mut decided = Label::new();
                if let [first @ .., last] = parts.as_slice() {
                    first
                        .iter()
                        .for_each(|part| part.jump(code, !on, &mut decided));
                    last.jump(code, on, to);
                }
                code.place(decided);
            }
        }
    }
}

impl Number {
    fn jump(self, code: &mut Assembler, on: bool, to: &mut Label) {
        let Self {
            offset,
            width,
            signed,
            holds,
            with,
        } = self;
        code.load(Register::R2, width, Register::R1, offset);
        if signed {
            code.extend_sign(Register::R2, width);
        }
        let when = if on { holds } else { holds.negated() };
        code.jump(when, Register::R2, with, Register::R3, to);
    }
}

//! The rule to find the caller of a frame, and its evaluation. A rule is independent of the tables that it was read from.

use super::tables::Slice;
use gimli::{
    CfaRule, CommonInformationEntry, Encoding, EndianSlice, Evaluation, EvaluationResult, Format,
    LittleEndian, Register, RegisterRule, UnwindExpression, UnwindSection, UnwindTableRow, Value,
};

/// Operations of one expression. Those of compilers have about ten; the format has loops.
const OPERATIONS_MAX: u32 = 256;
/// Bytes of one expression.
const EXPRESSION_BYTES_MAX: usize = 256;
/// DWARF registers of a machine: 0 to 32.
const REGISTERS: usize = 33;

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each architecture is tested on both")]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// The architecture of this program.
    pub(super) const OURS: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else {
        Self::X86_64
    };

    /// Returns the number of the architecture in ELF headers.
    pub(super) fn elf_number(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }

    /// Returns the DWARF number of the stack pointer (System V ABI of AMD64, figure 3.36; DWARF for the Arm 64-bit Architecture, 4.1).
    pub(super) fn sp(self) -> u8 {
        match self {
            Self::X86_64 => 7,
            Self::Aarch64 => 31,
        }
    }

    /// Returns the DWARF number of the frame pointer.
    pub(super) fn fp(self) -> u8 {
        match self {
            Self::X86_64 => 6,
            Self::Aarch64 => 29,
        }
    }

    /// Returns the DWARF number of the link register; on x86-64, of the return address.
    pub(super) fn lr(self) -> u8 {
        match self {
            Self::X86_64 => 16,
            Self::Aarch64 => 30,
        }
    }

    /// Returns a code address without its authentication code, which is above the 48 bits of an address (Arm ARM, D8.8).
    pub(super) fn code_address(self, address: u64) -> u64 {
        match self {
            Self::X86_64 => address,
            Self::Aarch64 => address & ((1 << 48) - 1),
        }
    }
}

/// The registers of a frame: the known values by their DWARF numbers.
#[derive(Clone, Debug)]
pub(super) struct Values([Option<u64>; REGISTERS]);

impl Values {
    /// Creates the registers of a frame of which only these are known.
    pub(super) fn new(machine: Machine, sp: u64, fp: u64, lr: u64) -> Self {
        let mut values = Self([None; REGISTERS]);
        values.set(machine.sp(), Some(sp));
        values.set(machine.fp(), Some(fp));
        values.set(machine.lr(), Some(lr));
        values
    }

    pub(super) fn get(&self, register: u8) -> Option<u64> {
        self.0.get(usize::from(register)).copied().flatten()
    }

    pub(super) fn set(&mut self, register: u8, value: Option<u64>) {
        if let Some(place) = self.0.get_mut(usize::from(register)) {
            *place = value;
        }
    }
}

/// A copy of a stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack<'a> {
    pub(super) address: u64,
    pub(super) bytes: &'a [u8],
}

impl Stack<'_> {
    /// Returns the word at an address, or that the copy does not contain it.
    pub(super) fn word(&self, address: u64) -> Result<u64, Lack> {
        let word = address
            .checked_sub(self.address)
            .and_then(|within| usize::try_from(within).ok())
            .and_then(|within| self.bytes.get(within..)?.first_chunk::<8>());
        word.map(|bytes| u64::from_ne_bytes(*bytes))
            .ok_or(Lack::Stack)
    }
}

/// Reason why a value cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The copy of the stack does not contain it.
    Stack,
    /// It depends on an unknown register, or the rule is invalid.
    Rule,
}

/// The registers of the caller.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) values: Values,
    /// Return address; `None` for the outermost function.
    pub(super) ip: Option<u64>,
}

/// The rule to find the caller of a frame.
#[derive(Clone, Debug)]
pub(super) struct Row {
    cfa: Cfa,
    saved: Box<[(u8, Saved)]>,
    /// Register with the return address.
    ip: u8,
    /// Whether the caller was interrupted by a signal, so that the address is not that of a call.
    pub(super) is_signal: bool,
}

/// The rule for the canonical frame address: the caller's stack pointer.
#[derive(Clone, Debug)]
enum Cfa {
    Register(u8, i64),
    Expression(Box<[u8]>),
}

/// The rule for a register of the caller.
#[derive(Clone, Debug)]
enum Saved {
    Undefined,
    Same,
    /// Stored at an offset from the canonical frame address.
    At(i64),
    /// An offset from the canonical frame address.
    Offset(i64),
    Register(u8),
    /// Stored at the computed address.
    AtExpression(Box<[u8]>),
    Expression(Box<[u8]>),
}

impl Row {
    /// Creates a rule from a row of call frame information; `None` if the row is beyond our bounds.
    pub(super) fn new<'a>(
        machine: Machine,
        section: &impl UnwindSection<Slice<'a>>,
        shared: &CommonInformationEntry<Slice<'a>>,
        row: &UnwindTableRow<usize>,
    ) -> Option<Self> {
        let expression = |expression: &UnwindExpression<usize>| -> Option<Box<[u8]>> {
            let bytes = expression.get(section).ok()?.0.slice();
            (bytes.len() <= EXPRESSION_BYTES_MAX).then(|| bytes.into())
        };
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                Cfa::Register(number(*register)?, *offset)
            }
            CfaRule::Expression(of) => Cfa::Expression(expression(of)?),
        };
        let mut saved = Vec::new();
        for (register, rule) in row.registers() {
            // Vector registers do not matter.
            let Some(register) = number(*register) else {
                continue;
            };
            let rule = match rule {
                RegisterRule::Undefined => Saved::Undefined,
                RegisterRule::SameValue => Saved::Same,
                RegisterRule::Offset(offset) => Saved::At(*offset),
                RegisterRule::ValOffset(offset) => Saved::Offset(*offset),
                RegisterRule::Register(other) => Saved::Register(number(*other)?),
                RegisterRule::Expression(of) => Saved::AtExpression(expression(of)?),
                RegisterRule::ValExpression(of) => Saved::Expression(expression(of)?),
                // Pseudo registers, such as the state of pointer authentication.
                _ => continue,
            };
            saved.push((register, rule));
        }
        let is_signal = shared.is_signal_trampoline();
        let ip = number(shared.return_address_register()).unwrap_or(machine.lr());
        Some(Self {
            cfa,
            saved: saved.into(),
            ip,
            is_signal,
        })
    }

    /// Returns the memory of the rule, bytes.
    pub(super) fn bytes(&self) -> usize {
        let expression = |saved: &Saved| match saved {
            Saved::AtExpression(bytes) | Saved::Expression(bytes) => bytes.len(),
            Saved::Undefined
            | Saved::Same
            | Saved::At(_)
            | Saved::Offset(_)
            | Saved::Register(_) => 0,
        };
        let cfa = match &self.cfa {
            Cfa::Register(..) => 0,
            Cfa::Expression(bytes) => bytes.len(),
        };
        let saved: usize = self.saved.iter().map(|(_, saved)| expression(saved)).sum();
        size_of::<Self>() + cfa + size_of_val::<[_]>(&self.saved) + saved
    }

    /// Returns the caller of a frame with these registers. `link` is the return address if no rule describes it.
    pub(super) fn caller(
        &self,
        machine: Machine,
        values: &Values,
        link: Option<u64>,
        stack: Stack<'_>,
    ) -> Result<Caller, Lack> {
        let cfa = match &self.cfa {
            Cfa::Register(register, offset) => values
                .get(*register)
                .ok_or(Lack::Rule)?
                .wrapping_add_signed(*offset),
            Cfa::Expression(bytes) => evaluate(bytes, None, values, stack)?,
        };
        let mut caller = values.clone();
        caller.set(machine.sp(), Some(cfa));
        let mut ip = link.ok_or(Lack::Rule);
        let mut is_outermost = false;
        for (register, saved) in &self.saved {
            let value = match saved {
                Saved::Undefined => Err(Lack::Rule),
                Saved::Same => values.get(*register).ok_or(Lack::Rule),
                Saved::At(offset) => stack.word(cfa.wrapping_add_signed(*offset)),
                Saved::Offset(offset) => Ok(cfa.wrapping_add_signed(*offset)),
                Saved::Register(other) => values.get(*other).ok_or(Lack::Rule),
                Saved::AtExpression(bytes) => evaluate(bytes, Some(cfa), values, stack)
                    .and_then(|address| stack.word(address)),
                Saved::Expression(bytes) => evaluate(bytes, Some(cfa), values, stack),
            };
            caller.set(*register, value.ok());
            if *register == self.ip {
                is_outermost = matches!(saved, Saved::Undefined);
                if !matches!(saved, Saved::Same) {
                    ip = value;
                }
            }
        }
        let ip = match is_outermost {
            true => None,
            false => Some(ip?),
        };
        Ok(Caller { values: caller, ip })
    }
}

/// Returns the number of a register that is tracked.
fn number(register: Register) -> Option<u8> {
    let number = u8::try_from(register.0).ok()?;
    (usize::from(number) < REGISTERS).then_some(number)
}

/// Evaluates an expression, with the canonical frame address as its input.
fn evaluate(
    bytes: &[u8],
    cfa: Option<u64>,
    values: &Values,
    stack: Stack<'_>,
) -> Result<u64, Lack> {
    let encoding = Encoding {
        address_size: 8,
        format: Format::Dwarf32,
        version: 4,
    };
    let mut evaluation = Evaluation::new(EndianSlice::new(bytes, LittleEndian), encoding);
    evaluation.set_max_iterations(OPERATIONS_MAX);
    if let Some(cfa) = cfa {
        evaluation.set_initial_value(cfa);
    }
    let mut state = evaluation.evaluate();
    loop {
        state = match state.map_err(|_| Lack::Rule)? {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresRegister { register, .. } => {
                let value = number(register).and_then(|register| values.get(register));
                evaluation.resume_with_register(Value::Generic(value.ok_or(Lack::Rule)?))
            }
            EvaluationResult::RequiresMemory { address, size, .. } => {
                let word = stack.word(address)?;
                let mask = u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
                evaluation.resume_with_memory(Value::Generic(word & mask))
            }
            _ => return Err(Lack::Rule),
        };
    }
    let value = evaluation.value_result().ok_or(Lack::Rule)?;
    value.to_u64(u64::MAX).map_err(|_| Lack::Rule)
}

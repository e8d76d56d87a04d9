//! Fills the slots of programs: the instructions of a plan take the place of each mark (`tracers::Slot`).
//!
//! Slots are filled after maps and calls are relocated, because relocations refer to the instructions' positions in the file.

use aya_obj::{Function, generated::bpf_insn};
use tracers::{Instruction, Slot};

/// Classes, operations and sources of instructions: include/uapi/linux/bpf.h.
const CLASS: u8 = 0x07;
const JMP: u8 = 0x05;
const JMP32: u8 = 0x06;
const OPERATION: u8 = 0xf0;
const JA: u8 = 0x00;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
/// Loads 64 bits by two instructions.
const LOAD_64: u8 = 0x18;
/// The call or the address of a function of the same program.
const PSEUDO_CALL: u8 = 1;
const PSEUDO_FUNC: u8 = 4;

/// Fills a slot at all its places in a function, and returns the number of places.
///
/// # Errors
/// If a jump of the function would become too long, or there are no instructions for the slot.
pub(super) fn fill(
    function: &mut Function,
    slot: Slot,
    with: &[Instruction],
) -> Result<usize, String> {
    if with.is_empty() {
        return Err(format!(
            "the slot {slot:?} was to be filled with nothing: a bug"
        ));
    }
    let old = std::mem::take(&mut function.instructions);
    // New position of each of the original instructions.
    let mut place = Vec::with_capacity(old.len() + 1);
    let mut new = Vec::with_capacity(old.len());
    let mut rest = old.as_slice();
    let mut filled = 0;
    while let [first, behind @ ..] = rest {
        place.push(new.len());
        match behind {
            [second, behind @ ..] if marks(first, second, slot) => {
                filled += 1;
                place.push(new.len());
                new.extend(with.iter().map(|one| parsed(*one)));
                rest = behind;
            }
            _ => {
                new.push(*first);
                rest = behind;
            }
        }
    }
    place.push(new.len());
    if filled > 0 {
        // A former mark has no destination: it is skipped like every instruction that is not a jump.
        for (at, insn) in old.iter().enumerate() {
            moved(&mut new[place[at]], insn, at, &place).ok_or_else(|| {
                let name = &function.name;
                format!("a jump of {name} is too long with its slots filled")
            })?;
        }
        let place_of = |insn: u32| place.get(insn as usize).map(|place| *place as u32);
        for info in &mut function.func_info.func_info {
            info.insn_off = place_of(info.insn_off).ok_or("a function begins behind its end")?;
        }
        for info in &mut function.line_info.line_info {
            info.insn_off = place_of(info.insn_off).ok_or("a line begins behind its end")?;
        }
    }
    function.instructions = new;
    Ok(filled)
}

fn marks(first: &bpf_insn, second: &bpf_insn, slot: Slot) -> bool {
    let number = u64::from(first.imm as u32) | u64::from(second.imm as u32) << 32;
    first.code == LOAD_64 && first.src_reg() == 0 && number == slot.mark()
}

fn parsed(Instruction(word): Instruction) -> bpf_insn {
    let [code, registers, ..] = word.to_le_bytes();
    bpf_insn {
        code,
        _bitfield_1: bpf_insn::new_bitfield_1(registers & 0xf, registers >> 4),
        off: (word >> 16) as i16,
        imm: (word >> 32) as i32,
    }
}

/// Adjusts the destination of a jump or call; `None` if it does not fit. `at` is the original position.
fn moved(now: &mut bpf_insn, old: &bpf_insn, at: usize, place: &[usize]) -> Option<()> {
    let by = |distance: i32| {
        let target = usize::try_from(at as i64 + 1 + i64::from(distance)).ok()?;
        i32::try_from(*place.get(target)? as i64 - (place[at] as i64 + 1)).ok()
    };
    let class = old.code & CLASS;
    let jumps = class == JMP || class == JMP32;
    match old.code & OPERATION {
        CALL if jumps => {
            if old.src_reg() == PSEUDO_CALL {
                now.imm = by(old.imm)?;
            }
        }
        EXIT if jumps => {}
        JA if class == JMP32 => now.imm = by(old.imm)?,
        // Any other jump, conditional or not.
        _ if jumps => now.off = i16::try_from(by(old.off.into())?).ok()?,
        // No jump.
        _ => {
            if old.code == LOAD_64 && old.src_reg() == PSEUDO_FUNC {
                now.imm = by(old.imm)?;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya_obj::{
        btf::{FuncSecInfo, LineSecInfo},
        generated::{bpf_func_info, bpf_line_info},
    };

    const MARK: [u64; 2] = [
        (Slot::Row.mark() & 0xffff_ffff) << 32 | 0x18,
        Slot::Row.mark() & 0xffff_ffff_0000_0000,
    ];
    const EXIT: u64 = 0x95;
    const NOTHING: u64 = 0xb7;

    fn function(words: &[u64], lines: &[u32]) -> Function {
        let line = |insn_off: &u32| bpf_line_info {
            insn_off: *insn_off,
            file_name_off: 0,
            line_off: 0,
            line_col: *insn_off,
        };
        let mut func_info = FuncSecInfo::default();
        func_info.func_info = vec![bpf_func_info {
            insn_off: 0,
            type_id: 1,
        }];
        let mut line_info = LineSecInfo::default();
        line_info.line_info = lines.iter().map(line).collect();
        Function {
            address: 0,
            name: "one".to_owned(),
            section_index: object::SectionIndex(0),
            section_offset: 0,
            instructions: words
                .iter()
                .map(|word| parsed(Instruction(*word)))
                .collect(),
            func_info,
            line_info,
            func_info_rec_size: 8,
            line_info_rec_size: 16,
        }
    }

    fn words(function: &Function) -> Vec<u64> {
        let word = |insn: &bpf_insn| {
            let registers = insn.dst_reg() | insn.src_reg() << 4;
            u64::from(insn.code)
                | u64::from(registers) << 8
                | u64::from(insn.off as u16) << 16
                | u64::from(insn.imm as u32) << 32
        };
        function.instructions.iter().map(word).collect()
    }

    fn lines(function: &Function) -> Vec<(u32, u32)> {
        let lines = function.line_info.line_info.iter();
        lines.map(|line| (line.insn_off, line.line_col)).collect()
    }

    /// Returns a jump over `by` instructions.
    const fn jump(by: i16) -> u64 {
        0x05 | (by as u16 as u64) << 16
    }

    #[test]
    fn jumps_over_a_slot_and_back_lead_where_they_led() {
        // goto +3 (the exit); the mark; goto -3 (the mark); exit
        let program = [jump(3), MARK[0], MARK[1], jump(-3), EXIT];
        let mut one = function(&program, &[0, 1, 3, 4]);
        let with = [Instruction(NOTHING); 5];
        assert_eq!(fill(&mut one, Slot::Row, &with).unwrap(), 1);
        let mut wanted = vec![jump(6)];
        wanted.extend([NOTHING; 5]);
        wanted.extend([jump(-6), EXIT]);
        assert_eq!(words(&one), wanted);
        assert_eq!(lines(&one), [(0, 0), (1, 1), (6, 3), (7, 4)]);
    }

    #[test]
    fn a_slot_may_become_shorter() {
        let program = [jump(2), MARK[0], MARK[1], EXIT];
        let mut one = function(&program, &[1, 3]);
        assert_eq!(
            fill(&mut one, Slot::Row, &[Instruction(NOTHING)]).unwrap(),
            1
        );
        assert_eq!(words(&one), [jump(1), NOTHING, EXIT]);
        assert_eq!(lines(&one), [(1, 1), (2, 3)]);
    }

    #[test]
    fn calls_and_addresses_of_functions_lead_where_they_led() {
        // call the function behind the exit; its address; the mark; exit; that function: r0 = 0; exit
        let to = |code: u64, source: u64, by: u64| code | source << 12 | by << 32;
        let program = [
            to(0x85, 1, 5),
            to(0x18, 4, 4),
            0,
            MARK[0],
            MARK[1],
            EXIT,
            NOTHING,
            EXIT,
        ];
        let mut one = function(&program, &[0, 6]);
        one.func_info.func_info.push(bpf_func_info {
            insn_off: 6,
            type_id: 2,
        });
        let with = [Instruction(NOTHING); 4];
        assert_eq!(fill(&mut one, Slot::Row, &with).unwrap(), 1);
        let wanted = [to(0x85, 1, 7), to(0x18, 4, 6), 0];
        assert_eq!(words(&one)[..3], wanted);
        assert_eq!(one.func_info.func_info[1].insn_off, 8);
        // A helper's number is none of these.
        let helper = to(0x85, 0, 14);
        let mut one = function(&[helper, MARK[0], MARK[1], EXIT], &[]);
        fill(&mut one, Slot::Row, &with).unwrap();
        assert_eq!(words(&one)[0], helper);
    }

    #[test]
    fn every_place_is_filled_and_a_function_without_one_is_left_as_it_is() {
        let program = [MARK[0], MARK[1], MARK[0], MARK[1], EXIT];
        let mut one = function(&program, &[]);
        let with = [Instruction(NOTHING); 2];
        assert_eq!(fill(&mut one, Slot::Row, &with).unwrap(), 2);
        assert_eq!(words(&one), [NOTHING, NOTHING, NOTHING, NOTHING, EXIT]);
        let program = [jump(1), NOTHING, EXIT];
        let mut one = function(&program, &[0, 2]);
        assert_eq!(fill(&mut one, Slot::Row, &with).unwrap(), 0);
        assert_eq!(words(&one), program);
    }

    #[test]
    fn nothing_is_no_filling() {
        let mut one = function(&[MARK[0], MARK[1], EXIT], &[]);
        assert!(fill(&mut one, Slot::Row, &[]).is_err());
    }

    #[test]
    fn a_jump_that_becomes_too_long_is_an_error() {
        let program = [jump(2), MARK[0], MARK[1], EXIT];
        let mut one = function(&program, &[]);
        let with = vec![Instruction(NOTHING); 40_000];
        let error = fill(&mut one, Slot::Row, &with).unwrap_err();
        assert!(error.contains("a jump of one is too long"), "{error}");
    }
}

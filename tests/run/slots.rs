//! Slots of programs: as they were built, and filled with instructions.

use engine::selftest::Filled;
use std::collections::BTreeMap;
use tests::needs;
use tracers::{Assembler, Jump, Label, Register, Slot, Width};

#[test]
fn a_slot_that_is_not_filled_lets_every_row_pass() {
    needs!("open");
    let filled = Filled::with(&BTreeMap::new()).unwrap();
    assert!(filled.passes(&[0; 8]).unwrap());
    assert!(filled.passes(&[0xff; Filled::ROW_BYTES]).unwrap());
}

#[test]
fn instructions_in_a_slot_decide_about_the_row() {
    needs!("open");
    const LARGE: u64 = 0x1122_3344_5566_7788;
    let mut code = Assembler::default();
    let mut end = Label::new();
    code.set(Register::R0, 0);
    code.load(Register::R2, Width::Double, Register::R1, 8);
    code.jump(Jump::NotEqual, Register::R2, LARGE, Register::R3, &mut end);
    code.load(Register::R2, Width::Half, Register::R1, 2);
    code.extend_sign(Register::R2, Width::Half);
    let least = -5i64 as u64;
    code.jump(
        Jump::SignedLess,
        Register::R2,
        least,
        Register::R3,
        &mut end,
    );
    code.set(Register::R0, 1);
    code.place(end);
    let code = BTreeMap::from([(Slot::Row, code.finish().unwrap())]);
    let filled = Filled::with(&code).unwrap();
    let row = |half: i16, large: u64| {
        let mut row = [0; 16];
        row[2..4].copy_from_slice(&half.to_ne_bytes());
        row[8..].copy_from_slice(&large.to_ne_bytes());
        row
    };
    for (half, large, passes) in [
        (-5, LARGE, true),
        (i16::MAX, LARGE, true),
        (-6, LARGE, false),
        (i16::MIN, LARGE, false),
        (-5, LARGE + 1, false),
        (-5, LARGE & 0xffff_ffff, false),
    ] {
        let row = row(half, large);
        assert_eq!(filled.passes(&row).unwrap(), passes, "{half} {large:#x}");
    }
}

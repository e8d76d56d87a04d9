//! Hostile and small tables, on both machines.

use super::*;
use crate::unwind::Registers;
use std::time::{Duration, Instant};

const CODE: u64 = 1 << 20;
const STACK: u64 = 0x10_0000_0000;

/// An entry of a section, filled up with no operations.
fn entry(body: &[u8]) -> Vec<u8> {
    let length = body.len().next_multiple_of(4);
    let mut out = (length as u32).to_ne_bytes().to_vec();
    out.extend_from_slice(body);
    out.resize(length + 4, 0);
    out
}

/// The tables of one function that covers all code, with these instructions after the initial ones of the machine.
fn tables(machine: Machine, augmentation: &[u8], instructions: &[u8]) -> Tables {
    // CFA = sp + 8 with the return address below, or CFA = sp.
    let initial: &[u8] = match machine {
        Machine::X86_64 => &[0x0c, 7, 8, 0x90, 1],
        Machine::Aarch64 => &[0x0c, 31, 0],
    };
    // Version 1, code by 1, data by -8, addresses as they are.
    let shared = [
        &[0, 0, 0, 0, 1][..],
        augmentation,
        &[0, 1, 0x78, machine.lr(), 1, 0],
        initial,
    ];
    let mut section = entry(&shared.concat());
    let back = section.len() as u32 + 4;
    let function = [
        &back.to_ne_bytes()[..],
        &0u64.to_ne_bytes(),
        &CODE.to_ne_bytes(),
        &[0],
        instructions,
    ];
    section.extend(entry(&function.concat()));
    section.extend([0; 4]);
    Tables::of_sections(machine, [&[], &section, &[]], CODE)
}

fn unwind(machine: Machine, tables: Option<&Tables>, fp: u64, words: &[u64]) -> Chain {
    let mapped = Mapped {
        start: CODE,
        end: 2 * CODE,
        offset: 0,
        tables: tables.map(|_| 1),
    };
    let copied = Copied {
        registers: Registers {
            ip: CODE + 16,
            sp: STACK,
            fp,
            lr: CODE + 32,
        },
        address: STACK,
        stack: words.iter().flat_map(|word| word.to_ne_bytes()).collect(),
    };
    let started = Instant::now();
    let mut unwinder = Unwinder::new(machine);
    let chain = unwinder.unwind(&[mapped], &[copied], |_| tables).remove(0);
    assert!(started.elapsed() < Duration::from_secs(10));
    chain
}

#[test]
fn a_stack_ends_where_the_return_address_is_zero_or_elsewhere_or_not_copied() {
    let tables = tables(Machine::X86_64, b"zR", &[]);
    let ends = |words: &[u64]| unwind(Machine::X86_64, Some(&tables), 0, words);
    let chain = ends(&[CODE + 1, CODE + 2, 0]);
    assert_eq!(chain.addresses, [CODE + 16, CODE + 1, CODE + 2]);
    assert_eq!(chain.end, End::Complete);
    assert_eq!(ends(&[CODE + 1, 7]).end, End::Unmapped);
    assert_eq!(ends(&[CODE + 1]).end, End::Short);
    let long = ends(&[CODE + 1; 1000]);
    assert_eq!(long.addresses.len(), UNWOUND_FRAMES_MAX);
    assert_eq!(long.end, End::Limit);
}

#[test]
fn an_undefined_return_address_is_the_outermost_function() {
    let tables = tables(Machine::X86_64, b"zR", &[0x07, 16]);
    let chain = unwind(Machine::X86_64, Some(&tables), 0, &[CODE + 1]);
    assert_eq!((chain.addresses.len(), chain.end), (1, End::Complete));
}

#[test]
fn an_expression_that_never_ends_and_a_stack_that_does_not_grow_end_the_stack() {
    // CFA = an operation that jumps to itself.
    let endless = tables(Machine::X86_64, b"zR", &[0x0f, 3, 0x2f, 0xfd, 0xff]);
    let chain = unwind(Machine::X86_64, Some(&endless), 0, &[CODE + 1; 9]);
    assert_eq!((chain.addresses.len(), chain.end), (1, End::NoTables));
    // CFA = sp, with the return address in it.
    let constant = tables(Machine::X86_64, b"zR", &[0x0e, 0, 0x90, 0]);
    let chain = unwind(Machine::X86_64, Some(&constant), 0, &[CODE + 1; 9]);
    assert_eq!((chain.addresses.len(), chain.end), (2, End::NoTables));
    // The same as a signal's frame, which may be on any stack: bounded by the number of frames.
    let signal = tables(Machine::X86_64, b"zRS", &[0x0e, 0, 0x90, 0]);
    let chain = unwind(Machine::X86_64, Some(&signal), 0, &[CODE + 1; 9]);
    assert_eq!(chain.end, End::Limit);
}

#[test]
fn a_function_with_too_many_instructions_is_not_interpreted() {
    let long = tables(Machine::X86_64, b"zR", &vec![0; 1 << 20]);
    let chain = unwind(Machine::X86_64, Some(&long), 0, &[7]);
    assert_eq!((chain.addresses.len(), chain.end), (1, End::Complete));
}

#[test]
fn memory_without_tables_is_unwound_by_frame_pointers() {
    let words = [9, 9, STACK + 40, CODE + 5, 9, 0, CODE + 6];
    let chain = unwind(Machine::X86_64, None, STACK + 16, &words);
    assert_eq!(chain.addresses, [CODE + 16, CODE + 5, CODE + 6]);
    assert_eq!(chain.end, End::Complete);
    for fp in [STACK - 8, STACK + 4, u64::MAX, 1] {
        let chain = unwind(Machine::X86_64, None, fp, &words);
        assert_eq!((chain.addresses.len(), chain.end), (1, End::NoTables));
    }
}

#[test]
fn on_arm_a_leaf_returns_to_the_link_register_and_its_caller_does_not() {
    let leaf = tables(Machine::Aarch64, b"zR", &[]);
    let chain = unwind(Machine::Aarch64, Some(&leaf), 0, &[0; 9]);
    assert_eq!(chain.addresses, [CODE + 16, CODE + 32]);
    assert_eq!(chain.end, End::NoTables);
    // A signed return address: x29 and x30 are stored below CFA = sp + 16.
    let signed = [0x2d, 0x0e, 16, 0x9d, 2, 0x9e, 1];
    let signed = tables(Machine::Aarch64, b"zR", &signed);
    let words = [STACK, (0xab51 << 48) | (CODE + 8), 0, 0];
    let chain = unwind(Machine::Aarch64, Some(&signed), 0, &words);
    assert_eq!(chain.addresses, [CODE + 16, CODE + 8]);
    assert_eq!(chain.end, End::Complete);
}

/// Not a proof, but it finds the cheap mistakes: 20,000 tables and stacks with a few wrong bytes each.
#[test]
fn tables_with_wrong_bytes_end_in_time_and_without_harm() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/unwind");
    let files = std::fs::read_dir(corpus).unwrap();
    let good: Vec<_> = files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    let interesting = [0, 1, 7, 0x0f, 0x10, 0x2f, 0x40, 0x7f, 0x80, 0xff];
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        // Xorshift: the same tables every time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let started = Instant::now();
    for _ in 0..20_000 {
        let mut bytes = good[next() % good.len()].clone();
        for _ in 0..1 + next() % 6 {
            let at = next() % bytes.len();
            bytes[at] = match next() % 2 {
                0 => interesting[next() % interesting.len()],
                _ => next() as u8,
            };
        }
        crate::fuzzing::unwind(&bytes);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

//! What a program file may do to its reader. In the test's own process: nothing here may even need the worker's walls.

use super::{
    super::wire::{Detail, Function, Reply},
    build::Build,
    elf::Elf,
    functions, inspect,
    program::Program,
};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

const SHT_PROGBITS: u32 = 1;
const SHF_COMPRESSED: u64 = 1 << 11;
/// The file header's count of sections, and where they are.
const SECTIONS_AT: usize = 40;
const SECTIONS_COUNT: usize = 60;
const SEGMENTS_COUNT: usize = 56;

fn file(bytes: &[u8]) -> File {
    let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn name(bytes: &[u8], offset: u64) -> Option<String> {
    let program = Program::new(&file(bytes), None, Detail::Lines).ok()?;
    let mut frames = program.resolve(&[offset]).pop()?;
    Some(frames.pop()?.name)
}

fn program() -> Build {
    Build::new()
        .function("first", 0x400, 0x10)
        .function("second", 0x410, 0x10)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[test]
fn a_function_has_its_name_from_either_table() {
    for bytes in [program().unstripped(), program().stripped()] {
        assert_eq!(name(&bytes, 0x40f), Some("first".into()));
        assert_eq!(name(&bytes, 0x410), Some("second".into()));
        assert_eq!(name(&bytes, 0x420), None);
        assert_eq!(name(&bytes, u64::MAX), None);
    }
}

/// What is found of names in a file.
fn found(bytes: &[u8], names: &[&str]) -> Vec<Function> {
    let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    match functions(&file(bytes), &names) {
        Reply::Functions(functions) => functions,
        other => panic!("{other:?}"),
    }
}

fn at(offsets: &[u64]) -> Function {
    Function {
        offsets: offsets.to_vec(),
        indirect: false,
    }
}

#[test]
fn a_function_is_found_by_its_name_in_either_table() {
    for bytes in [program().unstripped(), program().stripped()] {
        let names = ["second", "third", "first", "first"];
        let all = [at(&[0x410]), at(&[]), at(&[0x400]), at(&[0x400])];
        assert_eq!(found(&bytes, &names), all);
        assert_eq!(
            found(&bytes, &["firs", "first ", ""]),
            [at(&[]), at(&[]), at(&[])]
        );
    }
}

#[test]
fn every_version_of_a_function_is_found_once() {
    let bytes = program()
        .function("copy@GLIBC_2.2.5", 0x500, 8)
        .function("copy@@GLIBC_2.14", 0x508, 8)
        .function("copy", 0x508, 8)
        .unstripped();
    assert_eq!(found(&bytes, &["copy"]), [at(&[0x500, 0x508])]);
}

#[test]
fn stubs_variables_and_indirect_functions_are_not_taken_for_functions() {
    // Undefined with the address of a stub, a variable, an absolute one, one outside of the code, and one that is chosen at run time.
    let bytes = program()
        .symbol("stub", 0x12, 0, 0x500, 8)
        .symbol("variable", 0x11, 1, 0x500, 8)
        .symbol("absolute", 0x12, 0xfff1, 0x500, 8)
        .symbol("outside", 0x12, 1, 0xf000_0000, 8)
        .symbol("chosen", 0x1a, 1, 0x500, 8)
        .unstripped();
    let names = ["stub", "variable", "absolute", "outside", "chosen"];
    let found = found(&bytes, &names);
    assert!(found.iter().all(|function| function.offsets.is_empty()));
    let indirect: Vec<bool> = found.iter().map(|function| function.indirect).collect();
    assert_eq!(indirect, [false, false, false, false, true]);
}

#[test]
fn a_file_without_symbols_or_for_another_machine_is_refused_by_its_reason() {
    let refused = |bytes: &[u8]| match functions(&file(bytes), &[b"first".to_vec()]) {
        Reply::Refused(why) => why,
        other => panic!("{other:?}"),
    };
    let mut other = program().unstripped();
    put(&mut other, 18, &3u16.to_ne_bytes());
    assert_eq!(refused(&other), "it is for another machine");
    let mut bare = program().unstripped();
    put(&mut bare, SECTIONS_AT, &[0; 8]);
    assert_eq!(refused(&bare), "it has no symbol table");
    assert_eq!(
        refused(b"#!/bin/sh"),
        "its headers cannot be used: it is no ELF file"
    );
}

#[test]
fn a_mangled_name_is_demangled() {
    let bytes = program()
        .function("_ZN4core3ptr4swap17h0123456789abcdefE", 0x500, 8)
        .function("_ZN3foo3barEv", 0x508, 8)
        .unstripped();
    assert_eq!(name(&bytes, 0x500), Some("core::ptr::swap".into()));
    assert_eq!(name(&bytes, 0x508), Some("foo::bar()".into()));
}

#[test]
fn a_build_id_is_found_in_the_notes() {
    let bytes = program().build_id([7; 20]).unstripped();
    assert_eq!(
        Elf::read(&file(&bytes)).unwrap().inspect().build_id,
        Some([7; 20])
    );
    let bytes = program().unstripped();
    assert_eq!(Elf::read(&file(&bytes)).unwrap().inspect().build_id, None);
}

#[test]
fn a_script_names_what_runs_it() {
    let reply = inspect(&file(b"#! /usr/bin/env python3\nimport os\n"));
    let Reply::Inspected(inspected) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(inspected.interpreter, Some(b"/usr/bin/env".to_vec()));
}

#[test]
fn names_come_from_the_debug_file_when_the_program_has_none() {
    let stripped = file(&Build::new().stripped());
    let debug = file(&program().unstripped());
    let program = Program::new(&stripped, Some(&debug), Detail::Lines).unwrap();
    assert_eq!(program.resolve(&[0x404])[0][0].name, "first");
}

#[test]
fn what_is_no_program_is_refused() {
    for bytes in [
        &b""[..],
        b"\x7f",
        b"\x7fELF",
        b"#!/bin/sh\n",
        &[0; 4096],
        &[0xff; 4096],
    ] {
        assert!(Program::new(&file(bytes), None, Detail::Lines).is_err());
    }
}

#[test]
fn a_program_cut_anywhere_never_has_a_wrong_name() {
    let whole = program().unstripped();
    for length in (0..whole.len()).step_by(7) {
        let name = name(&whole[..length], 0x404);
        assert!(
            name.is_none() || name.as_deref() == Some("first"),
            "{length}: {name:?}"
        );
    }
}

#[test]
fn huge_counts_of_sections_and_segments_are_refused() {
    // With zero there, the first section says how many there are.
    let mut bytes = program().unstripped();
    let first =
        u64::from_ne_bytes(bytes[SECTIONS_AT..SECTIONS_AT + 8].try_into().unwrap()) as usize;
    put(&mut bytes, SECTIONS_COUNT, &[0; 2]);
    for count in [u64::MAX, u64::MAX / 64, 1 << 40, 20_000] {
        put(&mut bytes, first + 32, &count.to_ne_bytes());
        assert!(Program::new(&file(&bytes), None, Detail::Lines).is_err());
    }
    let mut bytes = program().unstripped();
    for count in [0xffffu16, 0xfffe, 1000] {
        put(&mut bytes, SEGMENTS_COUNT, &count.to_ne_bytes());
        assert!(Program::new(&file(&bytes), None, Detail::Lines).is_err());
    }
}

#[test]
fn sections_that_point_anywhere_name_nothing_and_break_nothing() {
    let good = program().unstripped();
    let table = u64::from_ne_bytes(good[SECTIONS_AT..SECTIONS_AT + 8].try_into().unwrap()) as usize;
    for section in 1..4 {
        // Offset and size.
        for field in [24, 32] {
            for value in [
                u64::MAX,
                1 << 63,
                good.len() as u64,
                good.len() as u64 - 1,
                1 << 40,
            ] {
                let mut bytes = good.clone();
                put(
                    &mut bytes,
                    table + section * 64 + field,
                    &value.to_ne_bytes(),
                );
                let name = name(&bytes, 0x404);
                assert!(
                    name.is_none() || name.as_deref() == Some("first"),
                    "{section} {field} {value:#x}: {name:?}"
                );
            }
        }
    }
}

#[test]
fn a_symbol_that_ends_beyond_all_addresses_breaks_nothing() {
    let bytes = program()
        .function("long", 0x800, u64::MAX - 0x100)
        .unstripped();
    // Either the name or none; blazesym adds start and size, which overflows.
    let resolved = std::panic::catch_unwind(|| name(&bytes, 0x900));
    assert!(
        resolved.is_err() || matches!(resolved, Ok(ref name) if name.as_deref() != Some("first"))
    );
}

#[test]
fn a_compressed_section_that_claims_too_much_costs_only_the_lines() {
    let mut header = Vec::new();
    header.extend_from_slice(&1u32.to_ne_bytes());
    header.extend_from_slice(&0u32.to_ne_bytes());
    header.extend_from_slice(&(1u64 << 40).to_ne_bytes());
    header.extend_from_slice(&1u64.to_ne_bytes());
    let bytes = program()
        .section(".debug_info", SHT_PROGBITS, SHF_COMPRESSED, &header)
        .unstripped();
    let program = Program::new(&file(&bytes), None, Detail::Lines).unwrap();
    assert_eq!(program.resolve(&[0x404])[0][0].name, "first");
    assert_eq!(program.resolve(&[0x404])[0][0].line, None);
}

#[test]
fn broken_debug_information_costs_only_the_lines() {
    let bytes = program()
        .section(".debug_info", SHT_PROGBITS, 0, &[0xff; 4000])
        .section(".debug_abbrev", SHT_PROGBITS, 0, &[0xff; 4000])
        .section(".debug_line", SHT_PROGBITS, 0, &[0x7f; 4000])
        .unstripped();
    assert_eq!(name(&bytes, 0x404), Some("first".into()));
}

#[test]
fn a_link_to_a_debug_file_is_not_followed() {
    // blazesym would open it, and refuse the whole program for its wrong checksum.
    let bytes = program()
        .section(
            ".gnu_debuglink",
            SHT_PROGBITS,
            0,
            b"/proc/self/exe\0\0\0\0\0\0",
        )
        .section(
            ".gnu_debugaltlink",
            SHT_PROGBITS,
            0,
            b"/proc/self/exe\0aaaaaaaaaaaaaaaaaaaa",
        )
        .unstripped();
    assert_eq!(name(&bytes, 0x404), Some("first".into()));
}

/// Not a proof, but it finds the cheap mistakes: 4,000 programs with a few wrong bytes each.
#[test]
fn programs_with_wrong_bytes_end_in_time_and_without_harm() {
    let good = program().build_id([1; 20]).unstripped();
    let interesting = [0, 1, 0x7f, 0x80, 0xff];
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        // Xorshift: the same programs every time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let started = Instant::now();
    for _ in 0..4000 {
        let mut bytes = good.clone();
        for _ in 0..1 + next() % 4 {
            // The code in the middle is not looked at: the start, and the table of sections at the end.
            let at = next() % 1024;
            let at = if next() % 2 == 0 {
                at
            } else {
                bytes.len() - 1 - at % 384
            };
            bytes[at] = interesting[next() % interesting.len()];
        }
        let file = file(&bytes);
        // The worker catches what overflows in debug builds of blazesym.
        let _ = std::panic::catch_unwind(|| {
            inspect(&file);
            functions(&file, &[b"first".to_vec()]);
            if let Ok(program) = Program::new(&file, None, Detail::Lines) {
                program.resolve(&[0, 0x404, 0x410, 0x1000, u64::MAX]);
            }
        });
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

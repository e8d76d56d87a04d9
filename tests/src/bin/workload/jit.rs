//! Functions without a file, with names in a perf map, as a just-in-time compiler or an attacker creates them.

use crate::{process, raw, report};
use serde_json::json;
use std::{
    ffi::OsStr,
    fs::File,
    io::{BufWriter, Write},
};

/// Bytes of a function.
const FUNCTION: usize = 32;
/// `push %rbp; mov %rsp,%rbp; call …`: up to the call's distance.
const CALL: [u8; 5] = [0x55, 0x48, 0x89, 0xe5, 0xe8];
/// `push %rbp; mov %rsp,%rbp; movb $1,(%rdi); pop %rbp; ret`
const WRITE: [u8; 9] = [0x55, 0x48, 0x89, 0xe5, 0xc6, 0x07, 0x01, 0x5d, 0xc3];
/// `pop %rbp; ret`
const RETURN: [u8; 2] = [0x5d, 0xc3];

/// Creates `chains` chains of `depth` functions, of which the last one writes a fresh page. All functions have `one` name of `name_bytes`
/// bytes together, or `each` has one. Then it waits until its standard input ends, because the tracer reads the names from a file.
pub(crate) fn touch(chains: u64, depth: u64, name_bytes: u64, names: &OsStr) {
    let (chains, depth) = (chains as usize, depth as usize);
    let mut code = Vec::with_capacity(chains * depth * FUNCTION);
    for _ in 0..chains {
        for level in 1..=depth {
            let start = code.len();
            if level < depth {
                code.extend(CALL);
                // From the end of the call to the beginning of the next function.
                let distance = (FUNCTION - CALL.len() - 4) as i32;
                code.extend(distance.to_le_bytes());
                code.extend(RETURN);
            } else {
                code.extend(WRITE);
            }
            code.resize(start + FUNCTION, 0xcc);
        }
    }
    let code = raw::code(&code);
    let map = format!("/tmp/perf-{}.map", std::process::id());
    let mut file = BufWriter::new(File::create(&map).unwrap());
    let start = code.as_ptr() as usize;
    let mut function = |at: usize, bytes: usize, number: usize| {
        let name = format!("{number:x}_{}", "n".repeat(name_bytes as usize));
        let name = &name[..name_bytes as usize];
        writeln!(file, "{:x} {bytes:x} {name}", start + at).unwrap();
    };
    match names.to_str().unwrap() {
        "one" => function(0, code.len(), 0),
        "each" => {
            (0..chains * depth).for_each(|number| function(number * FUNCTION, FUNCTION, number))
        }
        other => panic!("names are of one or each, and not of {other:?}"),
    }
    file.flush().unwrap();
    let pages = raw::pages(chains);
    for chain in 0..chains {
        raw::call_code(code, chain * depth * FUNCTION, &mut pages[chain * 4096]);
    }
    report::say(json!({ "chains": chains }));
    process::until_eof();
    std::fs::remove_file(map).unwrap();
}

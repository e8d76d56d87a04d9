//! User stacks of programs without frame pointers, in the account.

use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use tests::{Trace, folder, needs, tracejob};

/// Pages that the program writes to.
const PAGES: u32 = 64;

/// Writes an x86-64 program that writes to [`PAGES`] new pages and exits: all its code is one function without callers. elf(5).
fn write_program(path: &Path) {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut code = vec![0xbf]; // mov edi, the second page
    code.extend((BASE as u32 + 4096).to_le_bytes());
    code.push(0xb9); // mov ecx, PAGES
    code.extend(PAGES.to_le_bytes());
    code.extend([0xc6, 0x07, 1]); // mov byte [rdi], 1
    code.extend([0x48, 0x81, 0xc7, 0, 0x10, 0, 0]); // add rdi, 4096
    code.extend([0xff, 0xc9, 0x75, 0xf2]); // dec ecx; jnz to the write
    code.extend([0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]); // exit(0)
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // ET_EXEC, EM_X86_64, version 1.
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    // No flags; the sizes and numbers of headers.
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // PT_LOAD, to be read, written and executed.
    file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    let memory = u64::from(PAGES + 2) * 4096;
    for word in [0, BASE, BASE, size, memory, 4096] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    fs::write(path, file).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn many_short_user_stacks_are_in_the_account_and_others_are_not() {
    needs!("page_fault");
    if !cfg!(target_arch = "x86_64") {
        println!("SKIPPED short_stacks: the program is for x86-64");
        return;
    }
    let folder = folder();
    let program = folder.join("short");
    write_program(&program);
    let run = |format: &str| {
        let mut command = tracejob(&["run", "page_fault", "-o", format, "--"]);
        let output = command.arg(&program).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        (String::from_utf8(output.stdout).unwrap(), stderr)
    };
    let (_, stderr) = run("table");
    let line = " % of user stacks have fewer than three frames: built without frame pointers?";
    let line = stderr.lines().find_map(|text| text.strip_suffix(line));
    let percent: u64 = line.expect(&stderr).parse().unwrap();
    assert!((50..=100).contains(&percent), "{stderr}");

    let (rows, stderr) = run("json");
    let account = stderr
        .lines()
        .rev()
        .find(|line| line.contains("\"account\""));
    let account: Value = serde_json::from_str(account.unwrap()).unwrap();
    let stacks = &account["account"]["user_stacks"];
    let number = |name: &str| stacks[name].as_u64().unwrap_or_else(|| panic!("{account}"));
    assert!(number("short") >= u64::from(PAGES), "{account}");
    assert_eq!(number("truncated"), 0);
    // The rows have the same stacks.
    let (mut all, mut short) = (0, 0);
    for row in rows.lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let (faults, frames) = (&row["faults"], &row["user_stack"]);
        let faults = faults.as_u64().unwrap();
        all += faults;
        if (1..3).contains(&frames.as_array().unwrap().len()) {
            short += faults;
        }
    }
    assert_eq!((number("delivered"), number("short")), (all, short));
    fs::remove_dir_all(folder).unwrap();

    let steps = ["touch", "2000", "write"];
    let outcome = Trace::of("page_fault").workload(&steps).run();
    let account = &outcome.account().raw;
    assert!(account.get("user_stacks").is_none(), "{account}");
}

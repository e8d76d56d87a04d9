//! Hostile files, through the whole way: named, opened, read by the worker.

use super::{
    DEADLINE,
    build::Build,
    by_build_id, symbolizer,
    target::{Directory, Waiting},
    user,
};
use std::{fs, path::Path, time::Instant};
use symbols::{Symbolizer, UserAddr};

const SHT_PROGBITS: u32 = 1;
const SHF_COMPRESSED: u64 = 1 << 11;
const ID: [u8; 20] = [0x42; 20];

fn program() -> Build {
    Build::new().build_id(ID).function("good", 0x400, 0x10)
}

fn name(symbolizer: &mut Symbolizer, path: &Path) -> String {
    symbolizer.know_file(path);
    by_build_id(symbolizer, ID, 0x404).name.to_string()
}

/// Another file is named as if nothing had been.
fn is_well(symbolizer: &mut Symbolizer) {
    let other = Waiting::new("/bin/cat");
    let frame = user(symbolizer, other.pid(), other.libc_function());
    assert!(frame.name.contains("getpgid"), "{frame:?}");
}

#[test]
fn a_good_file_has_names() {
    let directory = Directory::new("good");
    for (file, bytes) in [("a", program().unstripped()), ("b", program().stripped())] {
        let path = directory.file(file, &bytes);
        assert_eq!(name(&mut symbolizer(), &path), "good");
    }
}

/// A section that unpacks to a hundred thousand times its size and says that it is small: blocks of one repeated byte (RFC 8878, 3.1.1.2).
fn bomb() -> Vec<u8> {
    let mut bomb = Vec::new();
    // Compressed with zstd, 1,000 bytes long, so it says.
    for word in [2u32, 0, 1000, 0, 1, 0] {
        bomb.extend_from_slice(&word.to_ne_bytes());
    }
    // The frame's magic, no options, a window of 128 KiB.
    bomb.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
    let block = ((128u32 << 10) << 3 | 1 << 1).to_le_bytes();
    for _ in 0..200_000 {
        bomb.extend_from_slice(&[block[0], block[1], block[2], 0]);
    }
    bomb
}

#[test]
fn a_compressed_bomb_costs_its_own_lines_and_nothing_else() {
    let directory = Directory::new("bomb");
    let bytes = program()
        .section(".debug_info", SHT_PROGBITS, SHF_COMPRESSED, &bomb())
        .unstripped();
    let path = directory.file("bomb", &bytes);
    let mut symbolizer = symbolizer();
    let started = Instant::now();
    assert_eq!(name(&mut symbolizer, &path), "good");
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    assert_eq!(symbolizer.counts().without_lines, 1);
    is_well(&mut symbolizer);
}

#[test]
fn who_makes_the_worker_fail_again_and_again_is_not_read_any_more() {
    if !rustix::process::getuid().is_root() {
        eprintln!("left out: giving a file to another user needs root");
        return;
    }
    let directory = Directory::new("blame");
    let mut symbolizer = symbolizer();
    let give = |path: &Path| {
        rustix::fs::chown(path, Some(rustix::fs::Uid::from_raw(12345)), None).unwrap()
    };
    let mut name = |file: &str, id: [u8; 20], section: &[u8]| {
        let program = Build::new().build_id(id).function("good", 0x400, 0x10);
        let bytes = program
            .section(".debug_info", SHT_PROGBITS, SHF_COMPRESSED, section)
            .unstripped();
        let path = directory.file(file, &bytes);
        give(&path);
        symbolizer.know_file(&path);
        by_build_id(&mut symbolizer, id, 0x404).name.to_string()
    };
    let names: Vec<String> = (0..8)
        .map(|n| name(&format!("bomb{n}"), [n; 20], &bomb()))
        .collect();
    assert_eq!(names[0], "good");
    assert_eq!(names[7], "bomb7+0x404");
    assert_eq!(name("harmless", ID, b""), "harmless+0x404");
    is_well(&mut symbolizer);
}

/// All symbols are at one place and cover none: whoever looks for one goes through all of them, for each address.
#[test]
fn a_table_of_symbols_that_takes_forever_is_given_up_in_time() {
    let directory = Directory::new("slow");
    let mut program = Build::new().build_id(ID);
    for _ in 0..1_000_000 {
        program = program.function("x", 0x400, 1);
    }
    let path = directory.file("slow", &program.unstripped());
    let mut symbolizer = symbolizer();
    symbolizer.know_file(&path);
    let stack: Vec<UserAddr> = (0..1000)
        .map(|n| UserAddr::BuildId {
            id: ID,
            offset: 0x402 + n,
        })
        .collect();
    let started = Instant::now();
    assert_eq!(symbolizer.user(1, &stack).len(), 1000);
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    is_well(&mut symbolizer);
}

#[test]
fn a_pipe_a_device_and_a_directory_are_left_alone() {
    let directory = Directory::new("special");
    let pipe = directory.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let mut symbolizer = symbolizer();
    for path in [
        &*pipe,
        Path::new("/dev/zero"),
        Path::new("/tmp"),
        Path::new("/proc/kmsg"),
        Path::new("relative"),
    ] {
        symbolizer.know_file(path);
    }
    assert_eq!(symbolizer.worker(), None);
    is_well(&mut symbolizer);
}

#[test]
fn a_cut_file_has_no_names_and_does_no_harm() {
    let directory = Directory::new("cut");
    let whole = program().unstripped();
    let mut symbolizer = symbolizer();
    for length in [1, 63, 64, 200, 300, whole.len() - 100] {
        let path = directory.file("cut", &whole[..length]);
        assert_ne!(name(&mut symbolizer, &path), "good");
        fs::remove_file(path).unwrap();
    }
    is_well(&mut symbolizer);
}

#[test]
fn a_file_that_is_cut_while_it_is_read_does_no_harm() {
    let directory = Directory::new("shrinks");
    let path = directory.file("a", &program().unstripped());
    let mut symbolizer = symbolizer();
    symbolizer.know_file(&path);
    // Between its inspection and its reading.
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    let frame = by_build_id(&mut symbolizer, ID, 0x404);
    assert_eq!(&*frame.name, "a+0x404");
    assert_eq!(symbolizer.counts().failures, 0);
    is_well(&mut symbolizer);
}

#[test]
fn a_file_may_be_cut_after_it_was_read() {
    let directory = Directory::new("shrunk");
    let path = directory.file("a", &program().function("other", 0x800, 0x10).unstripped());
    let mut symbolizer = symbolizer();
    assert_eq!(name(&mut symbolizer, &path), "good");
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    // A reader that had mapped it would die of SIGBUS here.
    assert_eq!(&*by_build_id(&mut symbolizer, ID, 0x804).name, "other");
    assert_eq!(symbolizer.counts().workers, 1);
}

#[test]
fn programs_that_name_each_other_are_followed_to_an_end() {
    let directory = Directory::new("loop");
    let (a, b) = (directory.path("a"), directory.path("b"));
    fs::write(&a, format!("#!{}\n", b.display())).unwrap();
    fs::write(&b, format!("#!{}\n", a.display())).unwrap();
    let mut symbolizer = symbolizer();
    symbolizer.know_file(&a);
    is_well(&mut symbolizer);
}

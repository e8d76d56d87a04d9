//! Functions by name, in the files that processes have mapped.

use super::{
    DEADLINE,
    build::Build,
    target::{Directory, Waiting, libc_function_offset},
    wait_for,
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};
use symbols::{FindError, Finder, Object, ObserveError, Place};

fn finder() -> Finder {
    Finder::with_worker("/proc", env!("CARGO_BIN_EXE_symbolize"))
}

fn identity(path: &Path) -> (u64, u64) {
    let data = fs::metadata(path).unwrap();
    (data.dev(), data.ino())
}

#[test]
fn a_function_of_a_processs_libc_is_found_where_its_file_has_it() {
    let waiting = Waiting::new("/bin/cat");
    let path = waiting.libc_path();
    let mut finder = finder();
    let file = finder.look(waiting.pid(), &Object::Libc).unwrap().unwrap();
    assert_eq!(file.path, path.as_os_str());
    assert_eq!(file.identity, identity(&path));
    let found = finder.functions(&file, &["getpgid", "no_such_function"]);
    let offset = libc_function_offset(&path);
    assert_eq!(found.unwrap(), [Place::At(vec![offset]), Place::Missing]);
}

#[test]
fn a_library_is_found_by_its_file_name_and_a_program_as_what_runs() {
    let waiting = Waiting::new("/bin/cat");
    let mut finder = finder();
    let program = finder.look(waiting.pid(), &Object::Program).unwrap();
    assert_eq!(program.unwrap().identity, identity("/bin/cat".as_ref()));
    let name = waiting.libc_path();
    let name = name.file_name().unwrap().to_str().unwrap();
    let library = finder.look(waiting.pid(), &Object::named(name)).unwrap();
    assert_eq!(library.unwrap().identity, identity(&waiting.libc_path()));
    let other = Object::named("libnone.so.1");
    assert!(finder.look(waiting.pid(), &other).unwrap().is_none());
}

#[test]
fn the_libc_of_a_static_program_is_the_program() {
    // The tests themselves may be linked either way: what counts is whether a loader is mapped.
    let own = std::process::id();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let file = finder().look(own, &Object::Libc).unwrap().unwrap();
    let own = identity(&std::env::current_exe().unwrap());
    assert_eq!(file.identity == own, !maps.contains("/ld-"));
}

#[test]
fn the_libc_of_a_program_is_known_before_it_runs() {
    let waiting = Waiting::new("/bin/cat");
    let mut finder = finder();
    let file = finder.of_program("/bin/cat".as_ref(), &Object::Libc);
    assert_eq!(
        file.unwrap().unwrap().identity,
        identity(&waiting.libc_path())
    );
    let program = finder.of_program("/bin/cat".as_ref(), &Object::Program);
    assert_eq!(
        program.unwrap().unwrap().identity,
        identity("/bin/cat".as_ref())
    );
    let none = finder.of_program("/no/such/program".as_ref(), &Object::Libc);
    assert!(none.unwrap().is_none());
}

#[test]
fn a_file_that_was_replaced_is_not_the_one_that_is_mapped() {
    let directory = Directory::new("find-replaced");
    let path = directory.path("cat");
    fs::copy("/bin/cat", &path).unwrap();
    let waiting = Waiting::new(&path);
    let before = identity(&path);
    fs::rename(
        directory.file("other", &fs::read("/bin/echo").unwrap()),
        &path,
    )
    .unwrap();
    let file = finder().look(waiting.pid(), &Object::Program).unwrap();
    assert_eq!(file.unwrap().identity, before);
}

#[test]
fn a_process_that_has_ended_is_gone() {
    let mut child = Command::new("/bin/true")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    child.wait().unwrap();
    let found = finder().look(child.id(), &Object::Libc);
    let gone = ObserveError::Gone { pid: child.id() };
    let Err(FindError::Observe(error)) = found else {
        panic!("{found:?}")
    };
    assert_eq!(error.to_string(), gone.to_string());
}

/// A table of a million symbols, all of them asked for: bounded by its size, and found in time.
#[test]
fn a_huge_table_of_symbols_is_searched_in_time() {
    let directory = Directory::new("find-huge");
    let mut program = Build::new();
    for _ in 0..1_000_000 {
        program = program.function("x", 0x400, 1);
    }
    let path = directory.file("huge", &program.function("y", 0x410, 1).unstripped());
    let mut finder = finder();
    let file = finder.of_program(&path, &Object::Program).unwrap().unwrap();
    let started = Instant::now();
    let found = finder.functions(&file, &["y", "x"]).unwrap();
    assert_eq!(found, [Place::At(vec![0x410]), Place::At(vec![0x400])]);
    assert!(started.elapsed() < DEADLINE);
}

#[test]
fn a_file_without_symbols_is_said_to_have_none_and_others_are_found_still() {
    let directory = Directory::new("find-bare");
    let mut bare = Build::new().function("x", 0x400, 1).unstripped();
    // Where its sections are.
    bare[40..48].fill(0);
    let path = directory.file("bare", &bare);
    let mut finder = finder();
    let file = finder.of_program(&path, &Object::Program).unwrap().unwrap();
    let error = finder.functions(&file, &["x"]).unwrap_err();
    assert_eq!(error.to_string(), "it has no symbol table");
    let waiting = Waiting::new("/bin/cat");
    let file = wait_for("libc", || {
        finder.look(waiting.pid(), &Object::Libc).unwrap()
    });
    let found = finder.functions(&file, &["getpgid"]).unwrap();
    assert!(matches!(&found[..], [Place::At(offsets)] if offsets.len() == 1));
}

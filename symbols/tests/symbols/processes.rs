//! Running and ended processes.

use super::{
    by_build_id, frames, symbolizer,
    target::{Area, Directory, Waiting, build_id, functions, libc_function_offset},
    user, wait_for,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};
use symbols::{Frame, ObserveError, UserAddr};

#[inline(never)]
fn a_function_of_this_test(value: u64) -> u64 {
    std::hint::black_box(value) + 1
}

#[test]
fn a_function_of_a_running_process_has_its_name_file_and_line() {
    let mut symbolizer = symbolizer();
    let address = a_function_of_this_test as *const () as u64;
    let frame = user(&mut symbolizer, std::process::id(), address + 1);
    assert_eq!(&*frame.name, "symbols::processes::a_function_of_this_test");
    assert_eq!(frame.offset, 1);
    let program = std::env::current_exe().unwrap();
    assert_eq!(&*frame.module, program.to_str().unwrap());
    assert!(
        frame
            .file
            .as_ref()
            .unwrap()
            .ends_with("tests/symbols/processes.rs"),
        "{frame:?}"
    );
    assert!(frame.line.is_some());
}

#[test]
fn a_caller_is_named_by_its_call_and_not_by_what_follows() {
    let mut symbolizer = symbolizer();
    let start = a_function_of_this_test as *const () as u64;
    let stack = [UserAddr::Ip(start), UserAddr::Ip(start)];
    let ids = symbolizer.user(std::process::id(), &stack);
    let frames = frames(&symbolizer, &ids);
    let functions: Vec<_> = frames.iter().filter(|frame| !frame.inlined).collect();
    assert_eq!(functions.len(), 2);
    assert_eq!(
        &*functions[0].name,
        "symbols::processes::a_function_of_this_test"
    );
    // Nothing returns to its first byte; what called is in whatever lies before.
    assert_ne!(functions[1].name, functions[0].name);
}

#[inline(always)]
fn an_inlined_function(value: u64) -> u64 {
    std::hint::black_box(value) * 3
}

#[inline(never)]
fn a_function_with_another_inside(value: u64) -> u64 {
    an_inlined_function(value) + 1
}

#[test]
fn an_inlined_function_comes_before_the_one_that_it_is_in() {
    let mut symbolizer = symbolizer();
    let start = a_function_with_another_inside as *const () as u64;
    let chains = (0..64).map(|n| symbolizer.user(std::process::id(), &[UserAddr::Ip(start + n)]));
    let chains: Vec<_> = chains.collect();
    let chain = chains
        .iter()
        .map(|ids| frames(&symbolizer, ids))
        .find(|chain| {
            let names = chain.iter().map(|frame| &*frame.name);
            names
                .clone()
                .any(|name| name.ends_with("an_inlined_function"))
        });
    let chain = chain.unwrap();
    let [.., inner, outer] = &chain[..] else {
        panic!("{chain:?}")
    };
    assert_eq!(&*inner.name, "symbols::processes::an_inlined_function");
    assert_eq!(
        &*outer.name,
        "symbols::processes::a_function_with_another_inside"
    );
    assert!(inner.inlined && !outer.inlined);
    assert!(outer.line > inner.line, "{chain:?}");
}

#[test]
fn a_function_of_libc_has_its_name() {
    let mut symbolizer = symbolizer();
    let waiting = Waiting::new("/bin/cat");
    let frame = user(&mut symbolizer, waiting.pid(), waiting.libc_function());
    assert!(frame.name.contains("getpgid"), "{frame:?}");
    assert_eq!(frame.offset, 0);
    assert_eq!(Path::new(&*frame.module), waiting.libc_path());
}

#[test]
fn a_process_that_has_ended_is_named_by_what_was_observed() {
    let mut symbolizer = symbolizer();
    let waiting = Waiting::new("/bin/cat");
    let address = waiting.libc_function();
    let pid = waiting.pid();
    symbolizer.observe(pid).unwrap();
    waiting.end();
    let frame = user(&mut symbolizer, pid, address);
    assert!(frame.name.contains("getpgid"), "{frame:?}");
    assert!(matches!(
        symbolizer.observe(pid),
        Err(ObserveError::Gone { .. })
    ));
    assert_eq!(user(&mut symbolizer, pid, address), frame);
}

#[test]
fn a_file_that_was_deleted_after_it_was_observed_has_names() {
    let directory = Directory::new("deleted");
    let path = directory.path("cat");
    fs::copy("/bin/cat", &path).unwrap();
    let mut symbolizer = symbolizer();
    let waiting = Waiting::new(&path);
    symbolizer.observe(waiting.pid()).unwrap();
    let area = waiting.area("/cat").unwrap();
    fs::remove_file(&path).unwrap();
    // A stripped program has few names; that it was read shows in that nothing was given up.
    let frame = user(&mut symbolizer, waiting.pid(), area.start + 0x100);
    assert_eq!(&*frame.module, path.to_str().unwrap());
    assert_eq!(symbolizer.counts().without_names, 0);
}

/// A library that Python does not load by itself.
fn library() -> PathBuf {
    let libc = Waiting::new("/bin/cat").libc_path();
    libc.with_file_name("libresolv.so.2")
}

/// Python that has loaded a library by this expression, after these lines, and waits.
fn with_library(lines: &str, path: &str) -> Waiting {
    let program = format!("import ctypes, os, sys\n{lines}\nctypes.CDLL({path})\nsys.stdin.read()");
    Waiting::start(Command::new("python3").args(["-c", &program]))
}

fn area_of(waiting: &Waiting, part: &str) -> Area {
    wait_for("the library to be mapped", || waiting.area(part))
}

/// The frames of these places of a process, looked at without the right to open mappings, as agents are.
fn as_an_agent(pid: u32, addresses: [UserAddr; 2]) -> Vec<Frame> {
    // Rights are a thread's own.
    let looked = thread::spawn(move || {
        let mut rights = capabilities(None).unwrap();
        let none = CapabilitySet::SYS_ADMIN | CapabilitySet::CHECKPOINT_RESTORE;
        rights.effective.remove(none);
        set_capabilities(None, rights).unwrap();
        let mut symbolizer = symbolizer();
        symbolizer.observe(pid).unwrap();
        let addresses = addresses.map(|address| symbolizer.user(pid, &[address]));
        addresses.map(|ids| frames(&symbolizer, &ids).remove(0))
    });
    looked.join().unwrap().into()
}

#[test]
fn a_deleted_library_that_cannot_be_opened_has_its_name_and_offset_by_address_and_by_build_id() {
    let directory = Directory::new("deleted-library");
    let path = directory.path("gone.so");
    fs::copy(library(), &path).unwrap();
    let waiting = with_library("", &format!("{path:?}"));
    let area = area_of(&waiting, "gone.so");
    fs::remove_file(&path).unwrap();
    let (_, offset) = functions(&library()).remove(0);
    let id = build_id(&library());
    let places = [
        UserAddr::Ip(area.address(offset)),
        UserAddr::BuildId { id, offset },
    ];
    for frame in as_an_agent(waiting.pid(), places) {
        assert_eq!(&*frame.name, &format!("gone.so (deleted)+{offset:#x}"));
        let module = format!("{} (deleted)", path.display());
        assert_eq!((&*frame.module, frame.offset), (&*module, offset));
    }
}

#[test]
fn a_library_in_a_memfd_has_its_name_and_offset_and_functions_for_those_who_may_open_it() {
    let lines = format!(
        "fd = os.memfd_create('brought')\nos.write(fd, open({:?}, 'rb').read())",
        library()
    );
    let waiting = with_library(&lines, "f'/proc/self/fd/{fd}'");
    let area = area_of(&waiting, "/memfd:brought");
    let (name, offset) = functions(&library()).remove(0);
    let id = build_id(&library());
    let places = [
        UserAddr::Ip(area.address(offset)),
        UserAddr::BuildId { id, offset },
    ];
    for frame in as_an_agent(waiting.pid(), places) {
        let wanted = format!("memfd:brought (deleted)+{offset:#x}");
        assert_eq!(&*frame.name, &wanted);
    }
    if !rustix::process::getuid().is_root() {
        eprintln!("left out: opening a mapping needs CAP_CHECKPOINT_RESTORE");
        return;
    }
    let mut symbolizer = symbolizer();
    symbolizer.observe(waiting.pid()).unwrap();
    for place in places {
        let ids = symbolizer.user(waiting.pid(), &[place]);
        let frame = frames(&symbolizer, &ids).remove(0);
        assert_eq!((&*frame.name, frame.offset), (&*name, 0));
    }
}

#[test]
fn a_program_in_a_memfd_has_the_names_of_its_functions() {
    let program = "import os, sys\nfd = os.memfd_create('brought')\n\
        os.write(fd, open('/bin/cat', 'rb').read())\nos.execve(fd, ['cat'], {})";
    let waiting = Waiting::start(Command::new("python3").args(["-c", program]));
    let area = area_of(&waiting, "/memfd:brought");
    let id = build_id(Path::new("/bin/cat"));
    let places = [
        UserAddr::Ip(area.start + 0x100),
        UserAddr::BuildId { id, offset: 0x5000 },
    ];
    // A stripped program has few names; that it is known shows in its module.
    for frame in as_an_agent(waiting.pid(), places) {
        assert_eq!(&*frame.module, "/memfd:brought", "{frame:?}");
    }
}

#[test]
fn a_file_that_was_replaced_never_lends_its_names() {
    let directory = Directory::new("replaced");
    let path = directory.path("cat");
    fs::copy("/bin/cat", &path).unwrap();
    let waiting = Waiting::new(&path);
    let area = waiting.area("/cat").unwrap();
    // A program in which every place has the same name.
    let liar = super::build::Build::new()
        .function("lie", 0, u64::MAX / 2)
        .unstripped();
    let other = directory.file("other", &liar);
    fs::rename(other, &path).unwrap();
    let mut symbolizer = symbolizer();
    let frame = user(&mut symbolizer, waiting.pid(), area.start + 0x100);
    assert_ne!(&*frame.name, "lie");
    assert!(frame.module.ends_with("/cat"), "{frame:?}");
}

#[test]
fn a_process_in_another_root_is_named_as_it_sees_itself() {
    if !rustix::process::getuid().is_root() {
        eprintln!("left out: another root needs root");
        return;
    }
    // A root with cat and what it maps.
    let directory = Directory::new("root");
    let outside = Waiting::new("/bin/cat");
    let maps = fs::read_to_string(format!("/proc/{}/maps", outside.pid())).unwrap();
    let mapped = maps
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    for path in mapped
        .filter(|path| path.contains("lib"))
        .chain(["/bin/cat"])
    {
        let copy = directory.path(&path[1..]);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(path, copy).unwrap();
    }
    // The loader has one more name, by which programs call it.
    for dir in ["lib64", "lib"] {
        if let Ok(loaders) = fs::read_dir(format!("/{dir}")) {
            let loaders = loaders
                .flatten()
                .filter(|file| file.file_name().to_string_lossy().starts_with("ld-"));
            fs::create_dir_all(directory.path(dir)).unwrap();
            loaders.for_each(|file| {
                drop(fs::copy(
                    file.path(),
                    directory.path(dir).join(file.file_name()),
                ))
            });
        }
    }
    let inside = Waiting::start(
        Command::new("chroot")
            .arg(directory.path(""))
            .arg("/bin/cat"),
    );
    let theirs = wait_for("cat runs in its root", || {
        let exe = fs::read_link(format!("/proc/{}/exe", inside.pid())).ok()?;
        exe.ends_with("bin/cat").then(|| inside.area("libc"))?
    });
    let libc = outside.libc_path();
    let mut symbolizer = symbolizer();
    let address = theirs.address(libc_function_offset(&libc));
    let frame = user(&mut symbolizer, inside.pid(), address);
    assert!(frame.name.contains("getpgid"), "{frame:?}");
    assert_eq!(Path::new(&*frame.module), libc);
}

#[test]
fn a_process_that_nobody_saw_has_addresses_only() {
    let mut symbolizer = symbolizer();
    let waiting = Waiting::new("/bin/cat");
    let pid = waiting.pid();
    waiting.end();
    let frame = user(&mut symbolizer, pid, 0x7f00_1234);
    assert_eq!((&*frame.name, &*frame.module), ("[unknown]", "[unknown]"));
}

#[test]
fn a_program_that_was_only_named_lends_its_libraries_by_build_id() {
    let mut symbolizer = symbolizer();
    symbolizer.know_file(Path::new("/bin/cat"));
    let libc = Waiting::new("/bin/cat").libc_path();
    let frame = by_build_id(
        &mut symbolizer,
        build_id(&libc),
        libc_function_offset(&libc),
    );
    assert!(frame.name.contains("getpgid"), "{frame:?}");
}

#[test]
fn a_program_may_be_named_by_a_relative_path() {
    let mut symbolizer = symbolizer();
    let here = std::env::current_dir().unwrap();
    let root = "../".repeat(here.components().count() - 1);
    symbolizer.know_file(&Path::new(&root).join("bin/cat"));
    let libc = Waiting::new("/bin/cat").libc_path();
    let offset = libc_function_offset(&libc);
    let frame = by_build_id(&mut symbolizer, build_id(&libc), offset);
    assert!(frame.name.contains("getpgid"), "{frame:?}");
}

#[test]
fn a_process_whose_first_thread_has_ended_is_named_by_another() {
    // Python, because a test program's own threads are its harness's.
    let program = format!(
        "import ctypes, sys, threading\nsys.stdin.read()\nthreading.Thread(target=threading.Event().wait).start()\n\
         ctypes.CDLL(None).syscall({}, 0)",
        libc::SYS_exit
    );
    let mut waiting = Waiting::start(Command::new("python3").args(["-c", &program]));
    // That may be a script first, which finds Python and becomes it.
    wait_for("Python to have mapped libc", || {
        let python = waiting.area("/python");
        python.and(waiting.area("/libc")).map(drop)
    });
    let (pid, address) = (waiting.pid(), waiting.libc_function());
    waiting.close();
    wait_for("the first thread to end", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") Z ").then_some(())
    });
    let mut symbolizer = symbolizer();
    symbolizer.observe(pid).unwrap();
    let frame = user(&mut symbolizer, pid, address);
    assert!(frame.name.contains("getpgid"), "{frame:?}");
}

#[test]
fn an_unknown_build_id_is_shown() {
    let mut symbolizer = symbolizer();
    let frame = by_build_id(&mut symbolizer, [0xab; 20], 0x10);
    assert_eq!(
        &*frame.name,
        &format!("[build id {}]+0x10", "ab".repeat(20))
    );
}

#[test]
fn the_vdso_has_names() {
    let mut symbolizer = symbolizer();
    let pid = std::process::id();
    let vdso = Area::of(pid, "[vdso]").unwrap();
    let names: Vec<String> = (vdso.start..vdso.end)
        .step_by(16)
        .map(|address| user(&mut symbolizer, pid, address))
        .filter(|frame| &*frame.module == "[vdso]")
        .map(|frame| frame.name.to_string())
        .collect();
    assert!(
        names.iter().any(|name| name.contains("clock_gettime")),
        "{names:?}"
    );
}

#[test]
fn prepared_stacks_are_named_alike() {
    let waiting = Waiting::new("/bin/cat");
    let (pid, function) = (waiting.pid(), waiting.libc_function());
    let stacks: Vec<Vec<UserAddr>> = (0..20)
        .map(|n| vec![UserAddr::Ip(function + n), UserAddr::Ip(function + 7 * n)])
        .collect();
    let mut prepared = symbolizer();
    prepared.prepare(pid, &stacks.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut plain = symbolizer();
    for stack in &stacks {
        let (a, b) = (prepared.user(pid, stack), plain.user(pid, stack));
        assert_eq!(frames(&prepared, &a), frames(&plain, &b));
    }
    assert_eq!(prepared.counts().workers, 1);
}

//! Processes and files to look at.

use super::wait_for;
use object::{Object, ObjectSegment, ObjectSymbol, SymbolKind};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A directory that goes away with the test.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tracejob-symbols-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that waits, with its libraries mapped, until it is dropped.
pub(super) struct Waiting(Child);

impl Waiting {
    pub(super) fn new(program: impl AsRef<Path>) -> Self {
        Self::start(&mut Command::new(program.as_ref()))
    }

    pub(super) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        // Another test that starts a program just now has our open file for a moment, and a file that is open to be written cannot run.
        let child = wait_for("the program can be run", || match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => None,
            other => Some(other.unwrap()),
        });
        let waiting = Self(child);
        wait_for("the loader maps libc", || waiting.area("libc").map(drop));
        waiting
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn area(&self, part: &str) -> Option<Area> {
        Area::of(self.pid(), part)
    }

    /// The file of the libc that the process has mapped, as the process sees it.
    pub(super) fn libc_path(&self) -> PathBuf {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid())).unwrap();
        let line = maps.lines().find(|line| line.contains("/libc")).unwrap();
        line[line.find('/').unwrap()..].into()
    }

    /// The address of the function `getpgid` of libc in this process.
    pub(super) fn libc_function(&self) -> u64 {
        let area = self.area("libc").unwrap();
        area.address(libc_function_offset(&self.libc_path()))
    }

    /// Closes its stdin, on which it may wait.
    pub(super) fn close(&mut self) {
        self.0.stdin = None;
    }

    pub(super) fn end(self) {
        drop(self);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The executable mapping of a file.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) start: u64,
    pub(super) end: u64,
    offset: u64,
}

impl Area {
    pub(super) fn of(pid: u32, part: &str) -> Option<Self> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        let executable = |line: &&str| {
            line.split(' ')
                .nth(1)
                .is_some_and(|perms| perms.contains('x'))
        };
        let line = maps
            .lines()
            .filter(executable)
            .find(|line| line.contains(part))?;
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        let mut words = line.split(' ');
        let (start, end) = words.next()?.split_once('-')?;
        let (start, end, offset) = (hex(start)?, hex(end)?, hex(words.nth(1)?)?);
        Some(Self { start, end, offset })
    }

    /// Where an offset of the file is mapped.
    pub(super) fn address(&self, offset: u64) -> u64 {
        self.start + (offset - self.offset)
    }
}

/// The build id of a file, by the look of its note.
pub(super) fn build_id(path: &Path) -> [u8; 20] {
    let bytes = fs::read(path).unwrap();
    let mut note = Vec::new();
    for word in [4u32, 20, 3] {
        note.extend_from_slice(&word.to_ne_bytes());
    }
    note.extend_from_slice(b"GNU\0");
    let at = bytes
        .windows(note.len())
        .position(|window| window == note)
        .unwrap()
        + note.len();
    bytes[at..at + 20].try_into().unwrap()
}

/// The offset of the function `getpgid` in the file of a libc.
///
/// The test program is linked without shared libraries, so it has no such function itself.
pub(super) fn libc_function_offset(path: &Path) -> u64 {
    let functions = functions(path).into_iter();
    let mut named = functions.filter(|(name, _)| name == "getpgid");
    named.next().unwrap().1
}

/// The functions that a library offers, with their offsets in its file; those with several names are left out, but getpgid.
pub(super) fn functions(path: &Path) -> Vec<(String, u64)> {
    let bytes = fs::read(path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let symbols = file.dynamic_symbols();
    let symbols =
        symbols.filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text);
    let symbols: Vec<_> = symbols.collect();
    let has_one_name = |address| {
        symbols
            .iter()
            .filter(|other| other.address() == address)
            .count()
            == 1
    };
    let offset = |address: u64| {
        file.segments().find_map(|segment| {
            let within = address.checked_sub(segment.address())?;
            let (start, size) = segment.file_range();
            (within < size).then_some(start + within)
        })
    };
    symbols
        .iter()
        .filter(|symbol| has_one_name(symbol.address()) || symbol.name() == Ok("getpgid"))
        .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), offset(symbol.address())?)))
        .collect()
}

//! Reads the texts of /proc/PID: maps, stat and status.
//!
//! Pure: takes bytes, opens nothing. What is not understood is left out, never a failure: the target writes parts of it.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

/// Executable mappings of one process that are looked at. Beyond them addresses stay unknown.
/// The kernel's own limit of all mappings is 65,530 (`vm.max_map_count`, Documentation/admin-guide/sysctl/vm.rst).
const MAPPINGS_MAX: usize = 8192;

/// An executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where in the file it starts, in bytes.
    pub(super) offset: u64,
    pub(super) backing: Backing,
    /// Address at which the start of the same file is mapped.
    pub(super) head: Option<u64>,
}

/// What an executable mapping shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    File(MappedFile),
    /// A file outside of every file system, such as that of memfd_create(2): a library, or what a just-in-time compiler writes.
    Nameless(MappedFile),
    Vdso,
    /// Memory without a file, or with one that has no name: what just-in-time compilers write.
    Anonymous,
}

/// A mapped file as /proc/PID/maps tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MappedFile {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) path: OsString,
    /// Whether the name is gone from the file system.
    pub(super) deleted: bool,
}

/// The executable mappings of /proc/PID/maps, by ascending address as the kernel lists them.
pub(super) fn mappings(text: &[u8]) -> Vec<Mapping> {
    let mut head = None;
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| mapping(line, &mut head))
        .take(MAPPINGS_MAX)
        .collect()
}

/// The last mapping of a file's start: the file's device and inode, and the address. Loaders map that part first, and lowest.
type Head = Option<(u64, u64, u64)>;

/// `start-end perms offset major:minor inode   path`: proc_pid_maps(5).
fn mapping(line: &[u8], last_head: &mut Head) -> Option<Mapping> {
    let mut rest = line;
    let (start, end) = split_pair(word(&mut rest)?, b'-')?;
    let perms = word(&mut rest)?;
    let offset = hex(word(&mut rest)?)?;
    let (major, minor) = split_pair(word(&mut rest)?, b':')?;
    let inode = decimal(word(&mut rest)?)?;
    let path = rest.trim_ascii_start();
    let device = rustix::fs::makedev(u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
    if offset == 0 && inode != 0 {
        *last_head = Some((device, inode, start));
    }
    if perms.get(2) != Some(&b'x') {
        return None;
    }
    let head = last_head.filter(|(of, number, _)| (*of, *number) == (device, inode));
    (start < end).then(|| Mapping {
        start,
        end,
        offset,
        head: head.map(|(.., address)| address),
        backing: match backing(device, inode, path) {
            // That of a 32-bit process is another one than ours.
            Backing::Vdso if end <= u64::from(u32::MAX) => Backing::Anonymous,
            backing => backing,
        },
    })
}

fn backing(device: u64, inode: u64, path: &[u8]) -> Backing {
    if path == b"[vdso]" {
        return Backing::Vdso;
    }
    if inode == 0 || !path.starts_with(b"/") {
        return Backing::Anonymous;
    }
    let (path, deleted) = match path.strip_suffix(b" (deleted)") {
        Some(path) => (path, true),
        None => (path, false),
    };
    // Files without a place in any file system: what .NET's runtime and others map their compiled code from, and libraries.
    let nameless: [&[u8]; 4] = [b"/memfd:", b"/dev/zero", b"/SYSV", b"/anon_hugepage"];
    let nameless = deleted && nameless.iter().any(|prefix| path.starts_with(prefix));
    let file = MappedFile {
        device,
        inode,
        path: OsString::from_vec(unescape(path)),
        deleted,
    };
    match nameless {
        true => Backing::Nameless(file),
        false => Backing::File(file),
    }
}

impl MappedFile {
    /// The name to show while the file itself cannot be read: as /proc/PID/maps has it.
    pub(super) fn shown(&self) -> String {
        let end = if self.deleted { " (deleted)" } else { "" };
        format!("{}{end}", self.path.to_string_lossy())
    }
}

/// The kernel writes a line break in a path as `\012` and nothing else so (fs/proc/task_mmu.c, v6.12: `seq_path(m, path, "\n")`).
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

/// When a process started, in clock ticks since boot: field 22 of /proc/PID/stat. With the pid it names a process for good.
pub(super) fn start_time(stat: &[u8]) -> Option<u64> {
    // The name is in brackets and may hold anything, brackets and spaces too: the last bracket ends it.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut rest = &stat[name_end + 1..];
    // After the name come fields 3, 4, …
    (3..22).try_for_each(|_| word(&mut rest).map(drop))?;
    decimal(word(&mut rest)?)
}

/// What /proc/PID/status tells of a process's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// The effective user, as we number users.
    pub(super) uid: u32,
    /// The process as it numbers itself, in its own pid namespace. Kernels without these do not tell.
    pub(super) own_pid: Option<u32>,
}

/// Reads /proc/PID/status: proc_pid_status(5).
pub(super) fn status(text: &[u8]) -> Option<Status> {
    let mut uid = None;
    let mut own_pid = None;
    for line in text.split(|byte| *byte == b'\n') {
        if let Some(mut rest) = line.strip_prefix(b"Uid:") {
            word(&mut rest)?;
            uid = decimal(word(&mut rest)?);
        } else if let Some(rest) = line.strip_prefix(b"NSpid:") {
            own_pid = rest
                .split(u8::is_ascii_whitespace)
                .rfind(|number| !number.is_empty())
                .and_then(decimal)
                .and_then(|pid| u32::try_from(pid).ok());
        }
    }
    Some(Status {
        uid: u32::try_from(uid?).ok()?,
        own_pid,
    })
}

/// Takes the next word off the front.
fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let text = rest.trim_ascii_start();
    let end = text
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    *rest = after;
    (!word.is_empty()).then_some(word)
}

fn split_pair(word: &[u8], between: u8) -> Option<(u64, u64)> {
    let at = word.iter().position(|byte| *byte == between)?;
    Some((hex(&word[..at])?, hex(&word[at + 1..])?))
}

pub(super) fn hex(digits: &[u8]) -> Option<u64> {
    number(digits, 16)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    number(digits, 10)
}

fn number(digits: &[u8], base: u32) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(digits).ok()?, base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_mappings_are_taken_with_their_file() {
        let text = b"55d0-55d8 r--p 00000000 fd:01 42 /bin/x y\n\
            55d8-55e0 r-xp 00000008 fd:01 42                         /bin/x y\n\
            7f0000000000-7f0000001000 r-xp 00000000 00:00 0                          [vdso]\n\
            7f0000002000-7f0000003000 rwxp 00000000 00:00 0 \n\
            ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
        let mappings = mappings(text);
        assert_eq!(mappings.len(), 4);
        assert_eq!(
            mappings[0],
            Mapping {
                start: 0x55d8,
                end: 0x55e0,
                offset: 8,
                backing: Backing::File(MappedFile {
                    device: rustix::fs::makedev(0xfd, 1),
                    inode: 42,
                    path: "/bin/x y".into(),
                    deleted: false,
                }),
                head: Some(0x55d0),
            }
        );
        assert_eq!(mappings[1].backing, Backing::Vdso);
        assert_eq!(mappings[2].backing, Backing::Anonymous);
        assert_eq!(mappings[3].backing, Backing::Anonymous);
    }

    #[test]
    fn the_vdso_of_a_32_bit_process_is_not_taken_for_ours() {
        let text = b"f7f00000-f7f10000 r-xp 00000000 00:00 0                          [vdso]\n";
        assert_eq!(mappings(text)[0].backing, Backing::Anonymous);
    }

    #[test]
    fn a_deleted_file_keeps_its_name_and_a_memfd_has_no_place() {
        let text = b"1000-2000 r-xp 00000000 00:01 7 /tmp/a\\012b (deleted)\n\
            2000-3000 r-xp 00000000 00:01 8 /memfd:doublemapper (deleted)\n";
        let mappings = mappings(text);
        let Backing::File(file) = &mappings[0].backing else {
            panic!("a file")
        };
        assert_eq!(file.path, "/tmp/a\nb");
        assert_eq!(file.shown(), "/tmp/a\nb (deleted)");
        let Backing::Nameless(memfd) = &mappings[1].backing else {
            panic!("a memfd")
        };
        assert_eq!(memfd.shown(), "/memfd:doublemapper (deleted)");
    }

    #[test]
    fn the_start_of_a_file_is_that_of_the_same_mapping_of_it() {
        let text = b"1000-2000 r--p 00000000 00:01 7 /a\n\
            2000-3000 r-xp 00001000 00:01 7 /a\n\
            3000-4000 r-xp 00001000 00:01 8 /b\n\
            5000-6000 r--p 00000000 00:01 7 /a\n\
            6000-7000 r-xp 00001000 00:01 7 /a\n";
        let heads: Vec<_> = mappings(text).iter().map(|mapping| mapping.head).collect();
        assert_eq!(heads, [Some(0x1000), None, Some(0x5000)]);
    }

    #[test]
    fn nonsense_lines_are_left_out() {
        for line in [
            &b""[..],
            b"\xff\xfe",
            b"1000",
            b"2000-1000 r-xp 0 0:0 0",
            b"1000-2000 r-xp zz 0:0 0",
            b"1000-2000 r-xp 0 100000000:0 0",
            b"99999999999999999999-1 r-xp 0 0:0 0",
        ] {
            assert_eq!(mappings(line), []);
        }
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = b"7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(start_time(stat), Some(4242));
        assert_eq!(start_time(b"7 (a"), None);
        assert_eq!(start_time(b"7 (a) S 1"), None);
    }

    #[test]
    fn the_innermost_pid_and_the_effective_user_are_taken() {
        let text = b"Name:\tx\nUid:\t1\t1000\t3\t4\nNSpid:\t70001\t12\t1\n";
        assert_eq!(
            status(text),
            Some(Status {
                uid: 1000,
                own_pid: Some(1)
            })
        );
        assert_eq!(status(b"Name:\tx\n"), None);
    }
}

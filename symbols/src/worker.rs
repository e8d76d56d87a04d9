//! The worker: a process of its own that reads what targets wrote.
//!
//! It gets open files over a socket, its standard input, and answers with names. It opens nothing, keeps nothing on disk and knows no process.
//! Whatever goes wrong in it ends it; the parent starts another one.

mod confine;
mod elf;
mod find;
pub(super) mod fuzzing;
mod go;
mod image;
mod kallsyms;
mod perf_map;
mod program;
mod row;
mod tables;
mod unwind;

use super::wire::{Detail, FDS_MAX, Key, MESSAGE_MAX, Reply, Request, Source};
use crate::limits::TABLES_BYTES_MAX;
use confine::{allow_cpu, confine};
use kallsyms::Kallsyms;
use perf_map::PerfMap;
use program::Program;
use row::Machine;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
    },
    stdio::stdin,
};
use std::{
    cell::Cell,
    env,
    ffi::OsStr,
    fs::File,
    io::{self, BufReader, IoSliceMut, Seek},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    process::exit,
};
use tables::Tables;
use unwind::Unwinder;

/// The hidden first argument.
pub(super) const ARGUMENT: &str = "--symbolizer-worker";
/// Seconds without a request after which a worker ends. In most cases the parent ends it earlier (`Symbolizer::rest`).
const IDLE_SECONDS: i64 = 60;
/// Maximum bytes of all images. The least recently used one is removed first.
const IMAGES_BYTES_MAX: u64 = 448 << 20;
/// Things that are loaded at once: for names, and for unwinding.
const LOADED_MAX: usize = 256;
/// CPU seconds for one request without debug information, and with.
const NAMES_CPU_SECONDS: u64 = 1;
const LINES_CPU_SECONDS: u64 = 2;

/// Serves as the worker and never returns, if this process was started as one.
///
/// The first thing that `main` of any program with a [`Symbolizer`](super::Symbolizer) calls.
pub fn worker_if_asked() {
    if env::args_os().nth(1).as_deref() != Some(OsStr::new(ARGUMENT)) {
        return;
    }
    let status = match confine() {
        // The end of the socket, or of the wait, is the usual end.
        Ok(_) => serve(stdin()).map_or(1, |()| 0),
        Err(error) => {
            eprintln!("the symbolizer's worker cannot be confined: {error}");
            2
        }
    };
    exit(status);
}

/// What was loaded, with its key and the time of its last use.
struct Loaded {
    key: Key,
    used: Cell<u64>,
    table: Table,
}

enum Table {
    Program(Box<Program>),
    PerfMap(PerfMap),
    Kernel(Kallsyms),
    Unwind(Box<Tables>),
}

/// What the worker keeps between requests.
struct State {
    loaded: Vec<Loaded>,
    unwinder: Unwinder,
    /// Number of requests so far.
    clock: u64,
}

impl Table {
    fn has_lines(&self) -> bool {
        matches!(self, Self::Program(program) if program.has_lines())
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Program(program) => program.bytes(),
            // Bounded by themselves, and small.
            Self::PerfMap(_) | Self::Kernel(_) => 0,
            Self::Unwind(tables) => tables.bytes(),
        }
    }

    fn is_unwind(&self) -> bool {
        matches!(self, Self::Unwind(_))
    }
}

fn serve(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut state = State {
        loaded: Vec::new(),
        unwinder: Unwinder::new(Machine::OURS),
        clock: 0,
    };
    while let Some((body, files)) = receive(socket)? {
        let Some(request) = Request::decode(&body) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        state.clock += 1;
        let reply = catch_unwind(AssertUnwindSafe(|| answer(request, &files, &mut state)));
        let reply =
            reply.unwrap_or_else(|_| Reply::Refused("reading it made the reader fail".into()));
        // Closing a file may hang, and then this request is the one that fails, not the next.
        drop(files);
        send_all(socket, &reply.encode())?;
    }
    Ok(())
}

fn answer(request: Request, files: &[File], state: &mut State) -> Reply {
    let State {
        loaded: tables,
        unwinder,
        clock,
    } = state;
    let clock = *clock;
    match (request, files) {
        (Request::Inspect, [file]) => {
            allow_cpu(NAMES_CPU_SECONDS);
            inspect(file)
        }
        (Request::Find { names }, [file]) => {
            allow_cpu(NAMES_CPU_SECONDS);
            functions(file, &names)
        }
        (Request::Load { key, source }, [file, rest @ ..]) => {
            tables.retain(|loaded| loaded.key != key);
            if source == Source::Tables {
                unwinder.clear();
            }
            match load(source, file, rest.first()) {
                Ok(table) => {
                    let lines = table.has_lines();
                    tables.push(Loaded {
                        key,
                        used: Cell::new(clock),
                        table,
                    });
                    make_room(tables);
                    Reply::Loaded { lines }
                }
                Err(reply) => reply,
            }
        }
        (Request::Resolve { key, addresses }, []) => {
            let Some(loaded) = tables.iter().find(|loaded| loaded.key == key) else {
                return Reply::NotLoaded;
            };
            loaded.used.set(clock);
            allow_cpu(match loaded.table.has_lines() {
                true => LINES_CPU_SECONDS,
                false => NAMES_CPU_SECONDS,
            });
            Reply::Resolved(match &loaded.table {
                Table::Program(program) => program.resolve(&addresses),
                Table::PerfMap(map) => map.resolve(&addresses),
                Table::Kernel(kallsyms) => kallsyms.resolve(&addresses),
                Table::Unwind(_) => return Reply::Refused("unwind tables have no names".into()),
            })
        }
        (Request::Unwind { mappings, copies }, []) => {
            allow_cpu(NAMES_CPU_SECONDS);
            let tables = |key| {
                let loaded = tables.iter().find(|loaded| loaded.key == key)?;
                loaded.used.set(clock);
                match &loaded.table {
                    Table::Unwind(tables) => Some(&**tables),
                    Table::Program(_) | Table::PerfMap(_) | Table::Kernel(_) => None,
                }
            };
            Reply::Unwound(unwinder.unwind(&mappings, &copies, tables))
        }
        _ => Reply::Refused("the wrong number of files came".into()),
    }
}

fn inspect(file: &File) -> Reply {
    match elf::Elf::read(file) {
        Ok(elf) => Reply::Inspected(elf.inspect()),
        Err(error) => match elf::script_interpreter(file) {
            Some(interpreter) => Reply::Inspected(super::wire::Inspected {
                interpreter: Some(interpreter),
                ..Default::default()
            }),
            None => Reply::Refused(error.to_string()),
        },
    }
}

fn functions(file: &File, names: &[Vec<u8>]) -> Reply {
    let found = elf::Elf::read(file)
        .map_err(find::FindError::from)
        .and_then(|elf| find::find(&elf, names));
    found.map_or_else(|error| Reply::Refused(error.to_string()), Reply::Functions)
}

fn load(source: Source, file: &File, debug: Option<&File>) -> Result<Table, Reply> {
    let refused = |error: &dyn std::error::Error| Reply::Refused(error.to_string());
    match source {
        Source::Program { detail } => {
            allow_cpu(match detail {
                Detail::Lines => LINES_CPU_SECONDS,
                Detail::Names | Detail::Nothing => NAMES_CPU_SECONDS,
            });
            let program = Program::new(file, debug, detail).map_err(|error| refused(&error))?;
            Ok(Table::Program(Box::new(program)))
        }
        Source::PerfMap => {
            allow_cpu(NAMES_CPU_SECONDS);
            let map = rewound(file)
                .and_then(|file| PerfMap::read(BufReader::new(file)))
                .map_err(|error| refused(&error))?;
            Ok(Table::PerfMap(map))
        }
        Source::Kernel => {
            allow_cpu(LINES_CPU_SECONDS);
            let kallsyms = rewound(file)
                .and_then(|file| Kallsyms::read(BufReader::with_capacity(256 << 10, file)))
                .map_err(|error| refused(&error))?;
            kallsyms.map(Table::Kernel).ok_or(Reply::Hidden)
        }
        Source::Tables => {
            allow_cpu(LINES_CPU_SECONDS);
            let tables = Tables::read(file, debug).map_err(|error| refused(&error))?;
            Ok(Table::Unwind(Box::new(tables)))
        }
    }
}

/// The worker that had this file before us may have died while it read.
fn rewound(mut file: &File) -> io::Result<&File> {
    file.rewind()?;
    Ok(file)
}

/// Drops what was not used for the longest time, but never the newest.
fn make_room(tables: &mut Vec<Loaded>) {
    let Some(is_unwind) = tables.last().map(|loaded| loaded.table.is_unwind()) else {
        return;
    };
    let bytes_max = match is_unwind {
        true => TABLES_BYTES_MAX,
        false => IMAGES_BYTES_MAX,
    };
    // Only the kind of the newest has grown.
    loop {
        let of_kind = tables.iter().enumerate();
        let of_kind = of_kind.filter(|(_, loaded)| loaded.table.is_unwind() == is_unwind);
        let (count, bytes) = of_kind.clone().fold((0, 0), |(count, bytes), (_, loaded)| {
            (count + 1, bytes + loaded.table.bytes())
        });
        let fits = bytes <= bytes_max && count <= LOADED_MAX;
        let oldest = of_kind.min_by_key(|(_, loaded)| loaded.used.get());
        match oldest {
            Some((index, _)) if count > 1 && !fits => drop(tables.swap_remove(index)),
            _ => return,
        }
    }
}

/// Receives a message with its files; `None` if the parent has ended, or was idle for long.
fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<File>)>> {
    let idle = Timespec {
        tv_sec: IDLE_SECONDS,
        tv_nsec: 0,
    };
    let ready = retry_on_intr(|| poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&idle)))?;
    if ready == 0 {
        return Ok(None);
    }
    let mut files = Vec::new();
    let mut length = [0; 4];
    if !receive_all(socket, &mut length, &mut files)? {
        return Ok(None);
    }
    let length = u32::from_ne_bytes(length) as usize;
    if length > MESSAGE_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    let whole = receive_all(socket, &mut body, &mut files)?;
    Ok(whole.then_some((body, files)))
}

/// Fills the buffer; `false` if the socket ends before.
fn receive_all(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    files: &mut Vec<File>,
) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut rest = [IoSliceMut::new(&mut buffer[filled..])];
        let received = recvmsg(socket, &mut rest, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                files.extend(fds.map(|fd: OwnedFd| File::from(fd)));
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if received.bytes == 0 {
            return Ok(false);
        }
        filled += received.bytes;
    }
    Ok(true)
}

fn send_all(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    let mut rest = message;
    while !rest.is_empty() {
        let sent = send(socket, rest, SendFlags::NOSIGNAL)?;
        rest = &rest[sent..];
    }
    Ok(())
}

#[cfg(test)]
mod build;
#[cfg(test)]
mod tests;

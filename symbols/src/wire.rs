//! The messages between the parent and the worker, as bytes.
//!
//! Pure: encodes and decodes, sends nothing.
//! A message is its length (4 bytes) and its body; numbers are in the machine's order, since both ends are one program on one machine.
//! The parent takes an answer as hostile: the worker that wrote it has read hostile files.

mod unwind;

pub(super) use unwind::{Chain, Copied, End, Mapped};

use super::frames;
use crate::limits::FRAME_TEXT_BYTES;

/// The longest message. A longer one is cut by who writes it and refused by who reads it.
pub(super) const MESSAGE_MAX: usize = 16 << 20;
/// The most descriptors that come with a message.
pub(super) const FDS_MAX: usize = 2;
/// The longest path or other text that is sent, in bytes: PATH_MAX. Of frames it is [`FRAME_TEXT_BYTES`].
const TEXT_MAX: usize = 4096;
/// The longest chain of inlined functions that is sent.
const FRAMES_PER_ADDRESS_MAX: usize = 64;

/// A name for something that was loaded into the worker. The parent makes them.
pub(super) type Key = u64;

/// What the parent asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Properties of the program file, the first descriptor.
    Inspect,
    /// Take what the descriptors hold, to resolve by it under the key.
    Load { key: Key, source: Source },
    /// Name these addresses by what was loaded under the key.
    Resolve { key: Key, addresses: Vec<u64> },
    /// Where in the program file, the first descriptor, functions of these names begin.
    Find { names: Vec<Vec<u8>> },
    /// Unwind copies of stacks of one process, whose executable mappings are sorted by address.
    Unwind {
        mappings: Vec<Mapped>,
        copies: Vec<Copied>,
    },
}

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A program file, and maybe a second one with its debug information. Addresses are offsets in the first.
    Program { detail: Detail },
    /// /tmp/perf-PID.map. Addresses are those of the process.
    PerfMap,
    /// /proc/kallsyms. Addresses are the kernel's.
    Kernel,
    /// Unwind tables of a program file, and maybe of a second one with its debug information.
    Tables,
}

/// How much is taken from a program file. Each step down costs less and fails on less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detail {
    /// Nothing: the file was too much even for its names.
    Nothing,
    /// Names by the symbol tables.
    Names,
    /// Names, inlined functions, files and lines, by the debug information.
    Lines,
}

/// What the worker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Inspected(Inspected),
    /// It is there, and whether with debug information.
    Loaded {
        lines: bool,
    },
    /// For each address its frames, innermost first; none if there is no name for it.
    Resolved(Vec<Vec<Found>>),
    /// For each name what there is of it.
    Functions(Vec<Function>),
    /// The unwound stacks, one for each copy.
    Unwound(Vec<Chain>),
    /// Nothing is loaded under that key (any more).
    NotLoaded,
    /// What came cannot be used, in words for a log.
    Refused(String),
    /// The kernel shows no addresses to us.
    Hidden,
}

/// Properties of a program file, from its own headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inspected {
    /// The build id, shorter ones filled up with zeros as the kernel does (kernel/bpf/stackmap.c, v6.12).
    pub(super) build_id: Option<[u8; 20]>,
    /// Whether it holds its own debug information.
    pub(super) has_debug: bool,
    /// The program that runs it: the dynamic loader, or a script's.
    pub(super) interpreter: Option<Vec<u8>>,
    /// The libraries it names.
    pub(super) needed: Vec<Vec<u8>>,
    /// Directories of the libraries, from the file, separated by colons.
    pub(super) run_path: Option<Vec<u8>>,
}

/// What a program file has of a function's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Function {
    /// Bytes from the start of the file; more than one where several versions of the function have the name.
    pub(super) offsets: Vec<u64>,
    /// Whether a function with this name is chosen when the program starts (STT_GNU_IFUNC), so that the file does not contain its location.
    pub(super) indirect: bool,
}

/// A frame as the worker found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    /// Kernel module; for anything else the parent knows it.
    pub(super) module: Option<String>,
    pub(super) offset: u64,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) inlined: bool,
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        match self {
            Self::Inspect => out.u8(0),
            Self::Load { key, source } => {
                out.u8(1);
                out.u64(*key);
                out.u8(match source {
                    Source::Program {
                        detail: Detail::Nothing,
                    } => 0,
                    Source::Program {
                        detail: Detail::Names,
                    } => 1,
                    Source::Program {
                        detail: Detail::Lines,
                    } => 2,
                    Source::PerfMap => 3,
                    Source::Kernel => 4,
                    Source::Tables => 5,
                });
            }
            Self::Resolve { key, addresses } => {
                out.u8(2);
                out.u64(*key);
                out.u32(addresses.len() as u32);
                addresses.iter().for_each(|address| out.u64(*address));
            }
            Self::Find { names } => {
                out.u8(3);
                out.u32(names.len() as u32);
                names.iter().for_each(|name| out.bytes(name));
            }
            Self::Unwind { mappings, copies } => {
                out.u8(4);
                out.u32(mappings.len() as u32);
                mappings.iter().for_each(|mapped| mapped.encode(&mut out));
                out.u32(copies.len() as u32);
                copies.iter().for_each(|copied| copied.encode(&mut out));
            }
        }
        out.finish()
    }

    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut body = Decoder(body);
        let request = match body.u8()? {
            0 => Self::Inspect,
            1 => Self::Load {
                key: body.u64()?,
                source: match body.u8()? {
                    0 => Source::Program {
                        detail: Detail::Nothing,
                    },
                    1 => Source::Program {
                        detail: Detail::Names,
                    },
                    2 => Source::Program {
                        detail: Detail::Lines,
                    },
                    3 => Source::PerfMap,
                    4 => Source::Kernel,
                    5 => Source::Tables,
                    _ => return None,
                },
            },
            2 => Self::Resolve {
                key: body.u64()?,
                addresses: body.list(8, Decoder::u64)?,
            },
            3 => Self::Find {
                names: body.list(2, Decoder::bytes)?,
            },
            4 => Self::Unwind {
                mappings: body.list(25, Mapped::decode)?,
                copies: body.list(44, Copied::decode)?,
            },
            _ => return None,
        };
        body.end(request)
    }
}

impl Reply {
    /// Cut to [`MESSAGE_MAX`]: addresses beyond it have no frames.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        match self {
            Self::Inspected(Inspected {
                build_id,
                has_debug,
                interpreter,
                needed,
                run_path,
            }) => {
                out.u8(0);
                out.option(build_id.as_ref(), |out, id| out.0.extend_from_slice(id));
                out.u8(u8::from(*has_debug));
                out.option(interpreter.as_ref(), |out, path| out.bytes(path));
                out.u32(needed.len() as u32);
                needed.iter().for_each(|name| out.bytes(name));
                out.option(run_path.as_ref(), |out, path| out.bytes(path));
            }
            Self::Loaded { lines } => {
                out.u8(1);
                out.u8(u8::from(*lines));
            }
            Self::Resolved(addresses) => {
                out.u8(2);
                out.u32(addresses.len() as u32);
                for frames in addresses {
                    let longest = FRAMES_PER_ADDRESS_MAX * (3 * FRAME_TEXT_BYTES + 32);
                    let room = out.0.len() + longest < MESSAGE_MAX;
                    let frames = if room { &frames[..] } else { &[] };
                    // The outermost, the function itself, is kept: it is the one that calls and is called.
                    let frames = &frames[frames.len().saturating_sub(FRAMES_PER_ADDRESS_MAX)..];
                    out.u8(frames.len() as u8);
                    frames.iter().for_each(|frame| frame.encode(&mut out));
                }
            }
            Self::NotLoaded => out.u8(3),
            Self::Refused(why) => {
                out.u8(4);
                out.bytes(why.as_bytes());
            }
            Self::Hidden => out.u8(5),
            Self::Functions(functions) => {
                out.u8(6);
                out.u32(functions.len() as u32);
                for Function { offsets, indirect } in functions {
                    out.u32(offsets.len() as u32);
                    offsets.iter().for_each(|offset| out.u64(*offset));
                    out.u8(u8::from(*indirect));
                }
            }
            Self::Unwound(chains) => {
                out.u8(7);
                out.u32(chains.len() as u32);
                chains.iter().for_each(|chain| chain.encode(&mut out));
            }
        }
        out.finish()
    }

    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut body = Decoder(body);
        let reply = match body.u8()? {
            0 => Self::Inspected(Inspected {
                build_id: body.option(|body| body.take(20)?.try_into().ok())?,
                has_debug: body.u8()? != 0,
                interpreter: body.option(Decoder::bytes)?,
                needed: body.list(2, Decoder::bytes)?,
                run_path: body.option(Decoder::bytes)?,
            }),
            1 => Self::Loaded {
                lines: body.u8()? != 0,
            },
            2 => Self::Resolved(body.list(1, |body| {
                let count = body.u8()?;
                (0..count).map(|_| Found::decode(body)).collect()
            })?),
            3 => Self::NotLoaded,
            4 => Self::Refused(body.text()?),
            5 => Self::Hidden,
            6 => Self::Functions(body.list(5, |body| {
                Some(Function {
                    offsets: body.list(8, Decoder::u64)?,
                    indirect: body.u8()? != 0,
                })
            })?),
            7 => Self::Unwound(body.list(13, Chain::decode)?),
            _ => return None,
        };
        body.end(reply)
    }
}

impl Found {
    fn encode(&self, out: &mut Encoder) {
        let Self {
            name,
            module,
            offset,
            file,
            line,
            inlined,
        } = self;
        out.text(name);
        out.option(module.as_ref(), |out, module| out.text(module));
        out.u64(*offset);
        out.option(file.as_ref(), |out, file| out.text(file));
        out.u32(line.unwrap_or(0));
        out.u8(u8::from(*inlined));
    }

    fn decode(body: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            name: body.text()?,
            module: body.option(Decoder::text)?,
            offset: body.u64()?,
            file: body.option(Decoder::text)?,
            line: body.u32().map(|line| (line != 0).then_some(line))?,
            inlined: body.u8()? != 0,
        })
    }
}

/// Writes a message, its length first.
struct Encoder(Vec<u8>);

impl Encoder {
    fn new() -> Self {
        Self(vec![0; 4])
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32 - 4;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }

    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    /// At most [`TEXT_MAX`] bytes of it. Cut in the middle of a character at worst, which the reader replaces.
    fn bytes(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(TEXT_MAX)];
        self.0
            .extend_from_slice(&(bytes.len() as u16).to_ne_bytes());
        self.0.extend_from_slice(bytes);
    }

    /// Of a frame: cut so that it shows, and stays different from others.
    fn text(&mut self, text: &str) {
        self.bytes(frames::cut(text).as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Parses a message; `None` if it is invalid.
struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let count = self.array().map(u16::from_ne_bytes)?;
        Some(self.take(count.into())?.to_vec())
    }

    fn text(&mut self) -> Option<String> {
        let bytes = self.bytes()?;
        Some(
            String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.u8()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    /// Reads a list with entries of at least `least` bytes: a count cannot make us reserve more than the received bytes.
    fn list<T>(
        &mut self,
        least: usize,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = self.u32()? as usize;
        if count > self.0.len() / least {
            return None;
        }
        (0..count).map(|_| read(self)).collect()
    }

    /// The value, if nothing is left over.
    fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found {
            name: "main".into(),
            module: None,
            offset: 7,
            file: Some("a.rs".into()),
            line: Some(3),
            inlined: true,
        }
    }

    fn replies() -> Vec<Reply> {
        vec![
            Reply::Inspected(Inspected::default()),
            Reply::Inspected(Inspected {
                build_id: Some([7; 20]),
                has_debug: true,
                interpreter: Some(b"/lib/ld\xff".to_vec()),
                needed: vec![b"libc.so.6".to_vec(), b"".to_vec()],
                run_path: Some(b"$ORIGIN".to_vec()),
            }),
            Reply::Loaded { lines: true },
            Reply::Resolved(vec![vec![], vec![found(), found()]]),
            Reply::NotLoaded,
            Reply::Refused("no".into()),
            Reply::Hidden,
            Reply::Functions(vec![
                Function::default(),
                Function {
                    offsets: vec![1, u64::MAX],
                    indirect: true,
                },
            ]),
        ]
    }

    #[test]
    fn what_is_said_is_what_is_heard() {
        for reply in replies() {
            assert_eq!(Reply::decode(&reply.encode()[4..]), Some(reply));
        }
        for request in [
            Request::Inspect,
            Request::Load {
                key: 9,
                source: Source::Program {
                    detail: Detail::Names,
                },
            },
            Request::Load {
                key: 9,
                source: Source::Kernel,
            },
            Request::Resolve {
                key: 1,
                addresses: vec![1, u64::MAX],
            },
            Request::Find {
                names: vec![b"malloc".to_vec(), b"".to_vec()],
            },
        ] {
            assert_eq!(Request::decode(&request.encode()[4..]), Some(request));
        }
    }

    #[test]
    fn a_cut_or_lengthened_message_is_refused() {
        for reply in replies() {
            let encoded = reply.encode();
            let body = &encoded[4..];
            for cut in 0..body.len() {
                assert_eq!(Reply::decode(&body[..cut]), None);
            }
            assert_eq!(Reply::decode(&[body, b"x"].concat()), None);
        }
    }

    #[test]
    fn a_huge_count_reserves_nothing() {
        let mut body = vec![2];
        body.extend_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(Reply::decode(&body), None);
    }

    #[test]
    fn the_function_itself_survives_a_long_chain_and_a_long_name() {
        let mut frames = vec![found(); 300];
        frames.push(Found {
            name: "x".repeat(70_000),
            ..found()
        });
        let encoded = Reply::Resolved(vec![frames]).encode();
        let Some(Reply::Resolved(addresses)) = Reply::decode(&encoded[4..]) else {
            panic!("an answer")
        };
        assert_eq!(addresses[0].len(), FRAMES_PER_ADDRESS_MAX);
        assert_eq!(
            addresses[0][FRAMES_PER_ADDRESS_MAX - 1].name.len(),
            FRAME_TEXT_BYTES
        );
    }

    #[test]
    fn an_answer_that_is_too_long_ends_in_addresses_without_names() {
        let long = Found {
            name: "x".repeat(TEXT_MAX),
            file: Some("y".repeat(TEXT_MAX)),
            ..found()
        };
        let encoded = Reply::Resolved(vec![vec![long; 64]; 512]).encode();
        assert!(encoded.len() <= MESSAGE_MAX + 4);
        let Some(Reply::Resolved(addresses)) = Reply::decode(&encoded[4..]) else {
            panic!("an answer")
        };
        assert_eq!(addresses.len(), 512);
        assert_eq!(addresses[0].len(), 64);
        assert!(addresses[511].is_empty());
    }
}

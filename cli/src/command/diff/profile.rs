//! Reading of pprof profiles. Files are not trusted: sizes are checked before memory is allocated.

use crate::{
    limits::{DECODED_BYTES, PROFILE_BYTES, PROFILE_FRAMES, STACK_FRAMES},
    show::render::{Stacks, escaped},
};
use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use prost::Message as _;
use proto::pprof::{Function, Label, Line, Location, Mapping, Profile as Message, Sample};
use std::{collections::HashMap, fs::File, io::Read, os::unix::fs::MetadataExt as _, path::Path};

/// Label with the name of the program, which is the root frame.
const PROGRAM: &str = "comm";
/// First bytes of a gzip file: RFC 1952, section 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Mappings that are neither files nor the kernel: proc_pid_maps(5), and words of the symbolizer.
const NO_KERNEL: [&str; 10] = [
    "heap",
    "stack",
    "vdso",
    "vvar",
    "vvar_vclock",
    "vsyscall",
    "uprobes",
    "jit",
    "anonymous",
    "unknown",
];

/// A decoded profile with at least one sample type.
#[derive(Debug)]
pub(super) struct Profile(Message);

/// A sample type of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind<'a> {
    /// Name: `time`, `calls`.
    pub(super) name: &'a str,
    /// Unit: `nanoseconds`, `bytes`, `count`.
    pub(super) unit: &'a str,
}

/// Reads a profile. `identity` becomes the device and inode of the file.
///
/// # Errors
/// If the file cannot be read, or is no profile.
pub(super) fn read(path: &Path) -> Result<(Profile, (u64, u64))> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // A directory has no bytes to read, and the first read reports it.
    let profile = Profile::parse(file)?;
    Ok((profile, (metadata.dev(), metadata.ino())))
}

/// Reads bytes up to the size limit.
fn bounded(from: impl Read) -> Result<Vec<u8>> {
    let mut raw = Vec::new();
    from.take(PROFILE_BYTES as u64 + 1).read_to_end(&mut raw)?;
    let most = PROFILE_BYTES >> 20;
    ensure!(
        raw.len() <= PROFILE_BYTES,
        "it is larger than {most} MiB; record for a shorter time, or fewer processes"
    );
    Ok(raw)
}

impl Profile {
    /// Parses a profile, plain or compressed with gzip.
    pub(super) fn parse(from: impl Read) -> Result<Self> {
        let mut raw = bounded(from)?;
        ensure!(!raw.is_empty(), "the file is empty");
        if raw.starts_with(&GZIP) {
            let unpacked = bounded(MultiGzDecoder::new(raw.as_slice()));
            raw = unpacked.context("cannot decompress the file")?;
        }
        let no_profile =
            "it is not a pprof profile; `tracejob run TRACER -o pprof=FILE` writes one";
        let bytes = decoded_bytes(&raw, Level::Profile).context(no_profile)?;
        let most = DECODED_BYTES >> 20;
        ensure!(
            bytes <= DECODED_BYTES,
            "it needs more than {most} MiB of memory; record for a shorter time, or fewer processes"
        );
        let profile = Message::decode(raw.as_slice()).ok().context(no_profile)?;
        // Many short texts decode as a message without known fields.
        let first = profile.string_table.first().map(String::as_str);
        ensure!(
            !profile.sample_type.is_empty() && first == Some(""),
            no_profile
        );
        Ok(Self(profile))
    }

    fn text(&self, at: i64) -> &str {
        let found = usize::try_from(at).ok();
        let found = found.and_then(|at| self.0.string_table.get(at));
        found.map_or("", String::as_str)
    }

    /// Returns the sample types in their order.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind<'_>> {
        self.0.sample_type.iter().map(|one| Kind {
            name: self.text(one.r#type),
            unit: self.text(one.unit),
        })
    }

    /// Returns the default sample type. Without one it is the last: profile.proto, `default_sample_type`.
    pub(super) fn default_kind(&self) -> Option<Kind<'_>> {
        let name = self.text(self.0.default_sample_type);
        let named = self.kinds().find(|kind| kind.name == name);
        named.or_else(|| self.kinds().last())
    }

    /// Returns whether every sample has the name of its program.
    pub(super) fn has_programs(&self) -> bool {
        self.0.sample.iter().all(|one| self.program(one).is_some())
    }

    fn program(&self, sample: &Sample) -> Option<&str> {
        let mut labels = sample.label.iter();
        let label = labels.find(|label| self.text(label.key) == PROGRAM)?;
        Some(self.text(label.str))
    }

    /// Adds the weights of a sample type to those with the number `side`. Returns their sum.
    ///
    /// # Errors
    /// If the profile has no weights of this type, or refers to objects that it does not have.
    pub(super) fn fold(
        &self,
        kind: Kind<'_>,
        programs: Programs,
        side: usize,
        into: &mut Stacks<2>,
    ) -> Result<u128> {
        let Some(at) = self.kinds().position(|one| one == kind) else {
            bail!("it has no sample type {}", kind.name);
        };
        let mut frames = Frames::of(self);
        let (mut stack, mut left, mut total) = (Vec::new(), PROFILE_FRAMES, 0);
        for sample in &self.0.sample {
            let weight = sample.value.get(at).copied().unwrap_or(0);
            let Ok(weight) = u64::try_from(weight) else {
                bail!("it has negative weights: it is a difference of profiles");
            };
            if weight == 0 {
                continue;
            }
            stack.clear();
            if let (Programs::AreRoots, Some(name)) = (programs, self.program(sample)) {
                stack.push(into.number(name.as_bytes(), false));
            }
            let root = stack.len();
            for id in sample.location_id.iter().rev() {
                frames.push(*id, into, &mut stack)?;
                let most = STACK_FRAMES;
                ensure!(
                    stack.len() <= most,
                    "it has a stack of more than {most} frames"
                );
            }
            if stack.len() == root {
                stack.push(into.number(b"[no stack]", false));
            }
            let rest = left.checked_sub(stack.len());
            left = rest.with_context(|| {
                let most = PROFILE_FRAMES >> 20;
                format!("its samples have more than {most} million frames; record for a shorter time, or fewer processes")
            })?;
            let mut weights = [0; 2];
            weights[side] = weight;
            into.add(&stack, weights);
            total += u128::from(weight);
        }
        ensure!(total > 0, "it has no samples of {}", kind.name);
        Ok(total)
    }
}

/// Meaning of the name of a program in samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programs {
    /// It is the root frame.
    AreRoots,
    /// It is ignored.
    AreIgnored,
}

/// Numbers of the frames of each location.
struct Frames<'a> {
    profile: &'a Profile,
    functions: HashMap<u64, &'a Function>,
    mappings: HashMap<u64, &'a Mapping>,
    locations: HashMap<u64, &'a Location>,
    known: HashMap<u64, Vec<u32>>,
}

impl<'a> Frames<'a> {
    fn of(profile: &'a Profile) -> Self {
        let Message {
            function,
            mapping,
            location,
            ..
        } = &profile.0;
        Self {
            profile,
            functions: function.iter().map(|one| (one.id, one)).collect(),
            mappings: mapping.iter().map(|one| (one.id, one)).collect(),
            locations: location.iter().map(|one| (one.id, one)).collect(),
            known: HashMap::new(),
        }
    }

    /// Appends the frames of a location from the root.
    fn push(&mut self, id: u64, names: &mut Stacks<2>, stack: &mut Vec<u32>) -> Result<()> {
        if let Some(known) = self.known.get(&id) {
            stack.extend_from_slice(known);
            return Ok(());
        }
        let Some(location) = self.locations.get(&id) else {
            bail!("it is damaged: a sample refers to the location {id}, which does not exist");
        };
        let mapping = self.mappings.get(&location.mapping_id);
        let kernel = mapping.is_some_and(|one| is_kernel(self.profile.text(one.filename)));
        let mut numbers = Vec::with_capacity(location.line.len());
        for line in location.line.iter().rev() {
            let function = self.functions.get(&line.function_id);
            let name = function.map_or("", |one| self.profile.text(one.name));
            numbers.push(names.number(name.as_bytes(), kernel));
        }
        if numbers.is_empty() {
            let name = format!("[{:#x}]", location.address);
            numbers.push(names.number(name.as_bytes(), kernel));
        }
        stack.extend_from_slice(&numbers);
        self.known.insert(id, numbers);
        Ok(())
    }
}

/// Returns whether a mapping is the kernel or one of its modules. Their names are in brackets and consist of letters, digits and `_`;
/// perf's name of the kernel also has a dot: `[kernel.kallsyms]`.
fn is_kernel(file: &str) -> bool {
    let name = { file.strip_prefix('[') }.and_then(|rest| rest.strip_suffix(']'));
    name.is_some_and(|name| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        !name.is_empty() && name.chars().all(plain) && !NO_KERNEL.contains(&name)
    })
}

/// Message whose fields are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Profile,
    Sample,
    Location,
}

/// Returns an upper bound of the memory that decoded fields take, without the bytes of strings. `None` if the bytes are no message.
fn decoded_bytes(mut raw: &[u8], level: Level) -> Option<usize> {
    const VARINT: u64 = 0;
    const FIXED64: u64 = 1;
    const BYTES: u64 = 2;
    const FIXED32: u64 = 5;
    let mut bytes = 0;
    while !raw.is_empty() {
        let key = varint(&mut raw)?;
        match key & 7 {
            VARINT => {
                varint(&mut raw)?;
                bytes += size_of::<u64>();
            }
            FIXED64 => raw = raw.get(8..)?,
            FIXED32 => raw = raw.get(4..)?,
            BYTES => {
                let length = usize::try_from(varint(&mut raw)?).ok()?;
                let (body, rest) = raw.split_at_checked(length)?;
                raw = rest;
                bytes += match (level, key >> 3) {
                    (Level::Profile, 2) => {
                        size_of::<Sample>() + decoded_bytes(body, Level::Sample)?
                    }
                    (Level::Profile, 4) => {
                        size_of::<Location>() + decoded_bytes(body, Level::Location)?
                    }
                    (Level::Profile, 3) => size_of::<Mapping>(),
                    (Level::Profile, 5) => size_of::<Function>(),
                    (Level::Profile, 6) => size_of::<String>() + body.len(),
                    (Level::Sample, 3) => size_of::<Label>(),
                    (Level::Location, 4) => size_of::<Line>(),
                    // Packed numbers, or a field that is not kept.
                    (Level::Profile | Level::Sample | Level::Location, _) => {
                        let ends = body.iter().filter(|byte| **byte < 0x80);
                        ends.count() * size_of::<u64>()
                    }
                };
            }
            // Groups, which the format does not have.
            _ => return None,
        }
    }
    Some(bytes)
}

fn varint(raw: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = raw.split_first()?;
        *raw = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Returns a text of a file for a message.
pub(super) fn shown(text: &str) -> String {
    escaped(text.as_bytes())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proto::pprof::ValueType;
    use std::io::Write as _;

    /// Returns a profile of stacks from the root, each with its weights. A name in brackets is the mapping of the frames behind it.
    pub(in super::super) fn profile(kinds: &[(&str, &str)], stacks: &[(&str, &[i64])]) -> Message {
        let mut strings = vec![String::new()];
        let mut string = |text: &str| {
            let found = strings.iter().position(|one| one == text);
            let at = found.unwrap_or_else(|| {
                strings.push(text.to_owned());
                strings.len() - 1
            });
            at as i64
        };
        let mut out = Message::default();
        for (name, unit) in kinds {
            let (r#type, unit) = (string(name), string(unit));
            out.sample_type.push(ValueType { r#type, unit });
        }
        for (stack, value) in stacks {
            let mut names = stack.split(';');
            let label = Label {
                key: string(PROGRAM),
                str: string(names.next().unwrap()),
                ..Label::default()
            };
            let mut sample = Sample {
                value: value.to_vec(),
                label: vec![label],
                ..Sample::default()
            };
            let mut mapping = 0;
            for name in names {
                if name.starts_with('[') {
                    mapping = out.mapping.len() as u64 + 1;
                    out.mapping.push(Mapping {
                        id: mapping,
                        filename: string(name),
                        ..Mapping::default()
                    });
                    continue;
                }
                let id = out.location.len() as u64 + 1;
                out.function.push(Function {
                    id,
                    name: string(name),
                    ..Function::default()
                });
                let line = vec![Line {
                    function_id: id,
                    ..Line::default()
                }];
                out.location.push(Location {
                    id,
                    mapping_id: mapping,
                    line,
                    ..Location::default()
                });
                sample.location_id.insert(0, id);
            }
            out.sample.push(sample);
        }
        out.string_table = strings;
        out
    }

    pub(in super::super) fn parsed(message: &Message) -> Result<Profile> {
        Profile::parse(message.encode_to_vec().as_slice())
    }

    fn packed(raw: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(raw).unwrap();
        gzip.finish().unwrap()
    }

    fn refusal(raw: &[u8]) -> String {
        format!("{:#}", Profile::parse(raw).unwrap_err())
    }

    fn folded(message: &Message) -> Result<String> {
        let profile = parsed(message)?;
        let kind = profile.default_kind().unwrap();
        let mut stacks = Stacks::default();
        profile.fold(kind, Programs::AreRoots, 1, &mut stacks)?;
        let mut lines = Vec::new();
        stacks.write(&mut lines)?;
        Ok(String::from_utf8(lines)?)
    }

    #[test]
    fn a_file_that_is_no_profile_is_refused_with_a_reason() {
        assert_eq!(refusal(b""), "the file is empty");
        for raw in [
            &b"\xff\xff\xff"[..],
            b"hello\n",
            b"main;a 5\n",
            b"\x0b\x0c",
            &packed(b"text"),
            &packed(b""),
        ] {
            let text = refusal(raw);
            assert!(text.starts_with("it is not a pprof profile; "), "{text}");
        }
        let whole = packed(&[0; 1000]);
        let cut = refusal(&whole[..whole.len() - 9]);
        assert!(cut.starts_with("cannot decompress the file: "), "{cut}");
    }

    #[test]
    fn a_profile_that_takes_too_much_memory_is_refused() {
        let bomb = packed(&vec![0; PROFILE_BYTES + 1]);
        assert!(bomb.len() < 1 << 20);
        let text = refusal(&bomb);
        assert!(
            text.starts_with("cannot decompress the file: it is larger than 64 MiB"),
            "{text}"
        );
        // Samples, locations, strings and labels of two bytes each.
        for message in [&[0x12, 0][..], &[0x22, 0], &[0x32, 0], &[0x12, 2, 0x1a, 0]] {
            let count = DECODED_BYTES / size_of::<String>() + 1;
            let text = refusal(&message.repeat(count));
            assert!(
                text.starts_with("it needs more than 256 MiB of memory"),
                "{text}"
            );
        }
    }

    #[test]
    fn counted_memory_is_an_upper_bound() {
        let message = profile(&[("a", "count")], &[("p;x;y", &[1]), ("p;x", &[300])]);
        let raw = message.encode_to_vec();
        let frames = message.location.len();
        let least = 2 * size_of::<Sample>()
            + frames * (size_of::<Location>() + size_of::<Function>() + size_of::<Line>())
            + message.string_table.len() * size_of::<String>()
            + (2 + frames) * size_of::<u64>();
        assert!(decoded_bytes(&raw, Level::Profile).unwrap() >= least);
        for cut in 1..raw.len() {
            let _ = decoded_bytes(&raw[..cut], Level::Profile);
        }
    }

    #[test]
    fn a_stack_that_is_too_deep_or_refers_to_nothing_is_refused() {
        let mut message = profile(&[("a", "count")], &[("p;x", &[1])]);
        message.sample[0].location_id = vec![1; STACK_FRAMES + 1];
        let text = folded(&message).unwrap_err().to_string();
        assert_eq!(text, "it has a stack of more than 4096 frames");
        message.sample[0].location_id = vec![7];
        let text = folded(&message).unwrap_err().to_string();
        assert!(text.contains("the location 7, which does not exist"));
        message.sample[0].location_id = vec![1];
        // As many inlined functions as fit in a location, in many samples.
        message.location[0].line = vec![Line::default(); STACK_FRAMES - 1];
        message.sample = vec![message.sample[0].clone(); PROFILE_FRAMES / STACK_FRAMES + 1];
        let text = folded(&message).unwrap_err().to_string();
        assert!(
            text.starts_with("its samples have more than 32 million frames"),
            "{text}"
        );
    }

    #[test]
    fn a_profile_without_positive_weights_is_refused() {
        let none = profile(&[("a", "count")], &[("p;x", &[0])]);
        let text = folded(&none).unwrap_err().to_string();
        assert_eq!(text, "it has no samples of a");
        let negative = profile(&[("a", "count")], &[("p;x", &[-1])]);
        let text = folded(&negative).unwrap_err().to_string();
        assert!(text.contains("negative weights"), "{text}");
    }

    #[test]
    fn only_frames_of_the_kernel_have_its_mark() {
        let files = [
            ("[kernel]", true),
            ("[kernel.kallsyms]", true),
            ("[nf_tables]", true),
            ("[bpf]", true),
            ("[heap]", false),
            ("[stack]", false),
            ("[vdso]", false),
            ("[jit]", false),
            ("[anonymous]", false),
            ("[anon:dalvik]", false),
            ("[build id 00ff]", false),
            ("[]", false),
            ("nf_tables", false),
            ("/usr/bin/[", false),
        ];
        for (file, kernel) in files {
            assert_eq!(is_kernel(file), kernel, "{file}");
        }
        let message = profile(&[("a", "count")], &[("p;[heap];x;[kernel];y", &[1])]);
        assert_eq!(folded(&message).unwrap(), "p;x;y_[k] 0 1\n");
    }

    #[test]
    fn a_name_is_escaped_once() {
        // The label was escaped when it was written.
        let stack = "a\\x1b;f\u{1b}\\n\n";
        let message = profile(&[("a", "count")], &[(stack, &[2])]);
        assert_eq!(folded(&message).unwrap(), "a\\x1b;f\\x1b\\n\\n 0 2\n");
    }
}

//! Reading of profiles: pprof, plain or compressed, and folded stacks. Files are not trusted.

use crate::{
    limits::{MESSAGE_BYTES, PICTURE_BYTES},
    show::render::{frame_text, one_number},
};
use anyhow::{Context as _, Result, bail};
use flate2::read::MultiGzDecoder;
use prost::Message as _;
use proto::pprof::{Function, Location, Mapping, Profile};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read,
    path::Path,
};

/// Weights of folded stacks.
pub(super) type Stacks = BTreeMap<String, f64>;

/// Label with the name of the program, which is the root frame.
const PROGRAM: &str = "comm";
/// First bytes of a gzip file: RFC 1952, section 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads a profile. `sample` is the name of a sample type.
///
/// # Errors
/// If the file cannot be read or is no profile with samples: the error names the file.
pub(super) fn read(path: &Path, sample: Option<&str>) -> Result<Stacks> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    let raw = bounded(file).with_context(|| format!("cannot read {shown}"))?;
    let folded = path.extension().is_some_and(|end| end == "folded");
    let stacks = match folded {
        true => of_lines(&raw),
        false => of_profile(&raw, sample),
    };
    stacks.with_context(|| format!("cannot read the profile {shown}"))
}

fn bounded(from: impl Read) -> Result<Vec<u8>> {
    let mut raw = Vec::new();
    from.take(MESSAGE_BYTES as u64 + 1).read_to_end(&mut raw)?;
    if raw.len() > MESSAGE_BYTES {
        bail!("it is larger than {} MiB", MESSAGE_BYTES >> 20);
    }
    Ok(raw)
}

fn of_lines(raw: &[u8]) -> Result<Stacks> {
    let mut stacks = Stacks::new();
    for (at, line) in String::from_utf8_lossy(raw).lines().enumerate() {
        let pair = line.rsplit_once(' ');
        let pair = pair.and_then(|(stack, weight)| Some((stack, weight.parse::<u64>().ok()?)));
        let Some((stack, weight)) = pair else {
            bail!("line {} is not a stack, a space and a number", at + 1);
        };
        let frames: Vec<String> = { stack.split(';') }
            .map(|name| frame_text(name.as_bytes(), false))
            .collect();
        let stack = one_number(&frames.join(";")).into_owned();
        *stacks.entry(stack).or_default() += weight as f64;
    }
    some(stacks)
}

fn of_profile(raw: &[u8], sample: Option<&str>) -> Result<Stacks> {
    let unpacked;
    let raw = match raw.starts_with(&GZIP) {
        true => {
            unpacked = bounded(MultiGzDecoder::new(raw)).context("cannot decompress it")?;
            &unpacked
        }
        false => raw,
    };
    let profile = Profile::decode(raw).context("it is not a pprof profile")?;
    let text = |at: i64| {
        let found = usize::try_from(at).ok();
        found
            .and_then(|at| profile.string_table.get(at))
            .map_or("", String::as_str)
    };
    let names: Vec<&str> = { profile.sample_type.iter() }
        .map(|one| text(one.r#type))
        .collect();
    let chosen = sample.unwrap_or_else(|| text(profile.default_sample_type));
    let at = match names.iter().position(|name| *name == chosen) {
        Some(at) => at,
        None if sample.is_some() => {
            bail!(
                "it has no sample type {chosen:?}; sample types: {}",
                names.join(", ")
            )
        }
        // The format's default is the last.
        None => names.len().saturating_sub(1),
    };
    let functions: HashMap<u64, &Function> =
        profile.function.iter().map(|one| (one.id, one)).collect();
    let mappings: HashMap<u64, &Mapping> =
        profile.mapping.iter().map(|one| (one.id, one)).collect();
    let locations: HashMap<u64, &Location> =
        profile.location.iter().map(|one| (one.id, one)).collect();
    let mut stacks = Stacks::new();
    let mut left = PICTURE_BYTES;
    for sample in &profile.sample {
        let Some(weight) = sample.value.get(at).filter(|weight| **weight > 0) else {
            continue;
        };
        let mut stack = String::new();
        let mut push = |name: &str, kernel: bool| {
            // A name may be used by every frame: its copies are counted before they are made.
            match left.checked_sub(name.len() + 1) {
                Some(rest) => left = rest,
                None => bail!("its stacks exceed {} MiB of names", PICTURE_BYTES >> 20),
            }
            if !stack.is_empty() {
                stack.push(';');
            }
            stack.push_str(&frame_text(name.as_bytes(), kernel));
            Ok(())
        };
        if let Some(label) = sample.label.iter().find(|label| text(label.key) == PROGRAM) {
            push(text(label.str), false)?;
        }
        for id in sample.location_id.iter().rev() {
            let Some(location) = locations.get(id) else {
                bail!("a sample refers to the location {id}, which does not exist");
            };
            let mapping = mappings.get(&location.mapping_id);
            let kernel = mapping.is_some_and(|one| is_kernel(text(one.filename)));
            if location.line.is_empty() {
                push(&format!("[{:#x}]", location.address), kernel)?;
            }
            for line in location.line.iter().rev() {
                let function = functions.get(&line.function_id);
                push(function.map_or("", |one| text(one.name)), kernel)?;
            }
        }
        if sample.location_id.is_empty() {
            push("[no stack]", false)?;
        }
        let stack = one_number(&stack).into_owned();
        *stacks.entry(stack).or_default() += *weight as f64;
    }
    some(stacks)
}

/// Returns whether a mapping is the kernel or one of its modules: their names are in brackets, as few others are.
fn is_kernel(file: &str) -> bool {
    file.starts_with('[') && file.ends_with(']') && !["[vdso]", "[jit]"].contains(&file)
}

fn some(stacks: Stacks) -> Result<Stacks> {
    match stacks.values().any(|weight| *weight > 0.0) {
        true => Ok(stacks),
        false => bail!("it has no samples"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;

    fn refusal(raw: &[u8]) -> String {
        format!("{:#}", of_profile(raw, None).unwrap_err())
    }

    fn packed(raw: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(raw).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn hostile_files_are_refused_with_a_reason() {
        assert_eq!(refusal(b""), "it has no samples");
        assert!(refusal(b"\xff\xff\xff").starts_with("it is not a pprof profile"));
        let bomb = packed(&vec![0; MESSAGE_BYTES + 1]);
        assert_eq!(
            refusal(&bomb),
            "cannot decompress it: it is larger than 32 MiB"
        );
        let whole = packed(&[0; 1000]);
        assert!(refusal(&whole[..whole.len() - 9]).starts_with("cannot decompress it"));
        let missing = read(Path::new("/nonexistent.pb.gz"), None).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent.pb.gz"));
    }

    #[test]
    fn folded_lines_are_added_up() {
        let stacks = of_lines(b"p;a_[k] 2\np;a_[k] 3\n").unwrap();
        assert_eq!(stacks["p;a_[k]"], 5.0);
        assert!(of_lines(b"p;a\n").is_err());
    }
}

//! Files as YAML documents: their bounds, and the one document that is a job.

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Maximum size of a file. The API server's own limit is 1.5 MiB (etcd, --max-request-bytes).
const MAX_BYTES: u64 = 1 << 20;
/// Maximum nesting of brackets. A TraceJob has 4; libyaml's time grows with its square (1 MiB of `[`: 10 s).
const MAX_DEPTH: usize = 64;
/// Maximum number of documents in a file, including other objects.
const MAX_DOCUMENTS: usize = 64;

/// The kind of a document's object.
#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) kind: Option<String>,
}

/// Returns the text of a file, and its name for messages.
pub(super) fn text(path: &Path) -> Result<(String, String)> {
    let shown = if path.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let mut bytes = Vec::new();
    let limited =
        |source: &mut dyn Read, bytes: &mut Vec<u8>| source.take(MAX_BYTES + 1).read_to_end(bytes);
    let read = match path.as_os_str() == "-" {
        true => limited(&mut io::stdin(), &mut bytes),
        false => File::open(path).and_then(|mut file| limited(&mut file, &mut bytes)),
    };
    read.with_context(|| format!("cannot read {shown}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("cannot read {shown}: the file is larger than 1 MiB");
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        anyhow!("{shown}:{line}: invalid UTF-8")
    })?;
    // A byte order mark, as editors of Windows put it there; YAML 1.2, 5.2.
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok((text, shown))
}

/// Returns the only job of a file.
pub(super) fn only(text: &str, file: &str, kinds: &[&str]) -> Result<String> {
    let mut jobs: Vec<String> = Vec::new();
    if let Some(line) = too_deep(text) {
        bail!(
            "{file}:{line}: brackets are nested more than {MAX_DEPTH} levels deep; a TraceJob needs 4"
        );
    }
    if text.lines().filter(|line| line.starts_with("---")).count() > MAX_DOCUMENTS {
        bail!("{file} has more than {MAX_DOCUMENTS} documents");
    }
    let documents = documents(text);
    for document in &documents {
        let head = Head::deserialize(serde_yaml::Deserializer::from_str(document));
        // A single document is parsed as a job, whatever its kind.
        let named = |kind: String| kinds.contains(&kind.as_str());
        if documents.len() == 1 || head.is_ok_and(|head| head.kind.is_some_and(named)) {
            jobs.push(document.clone());
        }
    }
    match jobs.as_slice() {
        [] => bail!("{file} contains no TraceJob"),
        [text] => Ok(text.clone()),
        more => bail!(
            "{file} contains {} TraceJobs, but only one can run; use one file for each",
            more.len()
        ),
    }
}

/// Returns the line where brackets are nested too deeply. Brackets in strings and comments count as well.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    text.lines()
        .position(|line| {
            line.bytes().any(|byte| {
                match byte {
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth > MAX_DEPTH
            })
        })
        .map(|line| line + 1)
}

/// Returns the documents with content. Empty lines before each keep the line numbers of the file.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for (number, line) in text.lines().enumerate() {
        let separates = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if separates {
            documents.push("\n".repeat(number));
        }
        if let Some(document) = documents.last_mut() {
            document.push_str(if separates { &line[3..] } else { line });
            document.push('\n');
        }
    }
    let says = |line: &str| {
        !line.trim().is_empty() && !line.trim_start().starts_with('#') && !line.starts_with('%')
    };
    documents.retain(|document| document.lines().any(says));
    documents
}

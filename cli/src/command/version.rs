//! `version`: the version and the hash of every kernel program, to compare running programs with built ones.

use anyhow::Result;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::{self, Write};

/// Prints the version.
pub(crate) fn version(json: bool) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let objects: Vec<(&str, usize, String)> = tracers::ALL
        .iter()
        .map(|tracer| {
            let object = engine::object(tracer.name()).unwrap_or_default();
            (tracer.name(), object.len(), hex(&Sha256::digest(object)))
        })
        .collect();
    let text = match json {
        true => {
            let objects: Vec<_> = objects
                .iter()
                .map(|(name, bytes, sha256)| json!({ "name": name, "bytes": bytes, "sha256": sha256 }))
                .collect();
            format!("{:#}\n", json!({ "version": version, "objects": objects }))
        }
        false => {
            let width = objects
                .iter()
                .map(|(name, ..)| name.len())
                .max()
                .unwrap_or(0);
            let lines = objects.iter().map(|(name, bytes, sha256)| {
                format!("{name:width$}  {bytes:>7} bytes  sha256:{sha256}\n")
            });
            format!("tracejob {version}\n{}", lines.collect::<String>())
        }
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

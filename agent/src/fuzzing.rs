//! The daemon's parsers of foreign bytes, for fuzz targets (`fuzz/`) only. This is no interface for other crates.

use crate::{config as configuration, limits::TARGETS, parts::Kind, wire};
use prost::Message as _;
use proto::v1;

/// Reads a node's configuration.
pub fn config(text: &str) {
    // A user who may write the file may do everything else too, so only a panic counts.
    let _ = configuration::parse(text);
}

/// Reads a client's request, from the bytes on its connection.
///
/// # Panics
/// If a bound does not hold, or an error has no text.
pub fn request(data: &[u8]) {
    // Targets are counted before a message is decoded: the count must be that of the decoded message.
    if Kind::Start.check(data).is_ok()
        && let Ok(start) = v1::StartTraceRequest::decode(data)
    {
        let targets = start.spec.unwrap_or_default().targets.len();
        assert!(targets <= TARGETS);
    }
    let _ = Kind::Trace.check(data);
    if let Ok(spec) = v1::TraceSpec::decode(data)
        && let Err(wrong) = wire::request(Some(spec))
    {
        assert!(!wrong.why.is_empty());
    }
    if let Ok(update) = v1::Update::decode(data) {
        for change in update.changes {
            let _ = wire::change(change);
        }
    }
}

//! Decoder of length-delimited messages from chunks of bytes.

use crate::limits::MESSAGE_BYTES;
use prost::Message;
use proto::v1::StreamEventsResponse;

/// Buffer of incomplete messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Number of bytes already read.
    read: usize,
}

impl Frames {
    /// Adds bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next complete message.
    ///
    /// # Errors
    /// If the length is invalid, or too large.
    pub(super) fn next(&mut self) -> Result<Option<StreamEventsResponse>, String> {
        let rest = &self.bytes[self.read..];
        let Some((length, head)) = length(rest)? else {
            return Ok(None);
        };
        let Some(body) = rest.get(head..head + length) else {
            return Ok(None);
        };
        let message = StreamEventsResponse::decode(body)
            .map_err(|error| format!("an invalid message: {error}"))?;
        self.read += head + length;
        Ok(Some(message))
    }
}

/// Returns the length of a message and of its varint; `None` if the varint is incomplete.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut length = 0u64;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return match usize::try_from(length) {
                Ok(length) if length <= MESSAGE_BYTES => Ok(Some((length, at + 1))),
                _ => Err(format!("a message of {length} bytes")),
            };
        }
    }
    match bytes.len() < 5 {
        true => Ok(None),
        false => Err("a message without a length".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::v1::{self, stream_events_response::Item};

    fn messages() -> Vec<StreamEventsResponse> {
        let long = v1::NodeAccount {
            node: "n".repeat(300),
            ..v1::NodeAccount::default()
        };
        vec![
            StreamEventsResponse {
                item: Some(Item::Schema(v1::Schema::default())),
                ..StreamEventsResponse::default()
            },
            StreamEventsResponse::default(),
            StreamEventsResponse {
                item: Some(Item::Nodes(v1::Nodes { nodes: vec![long] })),
                ..StreamEventsResponse::default()
            },
            StreamEventsResponse {
                resume: vec![1, 2, 3],
                ..StreamEventsResponse::default()
            },
        ]
    }

    #[test]
    fn messages_are_the_same_wherever_their_bytes_are_cut() {
        let all: Vec<u8> = messages()
            .iter()
            .flat_map(Message::encode_length_delimited_to_vec)
            .collect();
        for cut in 0..=all.len() {
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for piece in [&all[..cut], &all[cut..]] {
                frames.add(piece);
                while let Some(message) = frames.next().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, messages(), "{cut}");
        }
        let mut frames = Frames::default();
        let mut got = Vec::new();
        for byte in &all {
            frames.add(&[*byte]);
            got.extend(frames.next().unwrap());
        }
        assert_eq!(got, messages());
    }

    #[test]
    fn what_is_no_message_is_refused_and_fills_no_memory() {
        let refused = |bytes: &[u8]| {
            let mut frames = Frames::default();
            frames.add(bytes);
            frames.next().unwrap_err()
        };
        assert!(refused(&[0xff, 0xff, 0xff, 0xff, 0x7f]).contains("bytes"));
        assert!(refused(&[0xff; 8]).contains("without a length"));
        assert!(refused(b"\x02{}").contains("invalid"));
    }
}

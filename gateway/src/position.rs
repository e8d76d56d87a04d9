//! Resume tokens: the position of a reader in a job's rows, which is valid for every replica. A position is the number of rows read of each
//! node's trace.

use prost::Message;
use std::collections::HashMap;

/// Position of a reader on one node.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, tag = "1")]
    pub(crate) node: String,
    /// Instance of the newest trace that the reader has rows of; the agent assigns it.
    #[prost(fixed64, tag = "2")]
    pub(crate) instance: u64,
    /// Number of rows read of this trace.
    #[prost(uint64, tag = "3")]
    pub(crate) rows: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Written {
    /// Uid of the job, because a position is valid for its job alone.
    #[prost(string, tag = "1")]
    job: String,
    #[prost(message, repeated, tag = "2")]
    nodes: Vec<Node>,
}

/// Reason why a resume token was rejected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The token was not issued by a gateway.
    #[error("resume is not a token of this API")]
    Nonsense,
    /// The token belongs to another job, possibly of the same name.
    #[error("resume is a token of another job: the job may have been deleted and created again")]
    OtherJob,
}

/// Encodes a resume token.
pub(crate) fn write(job: &str, nodes: Vec<Node>) -> Vec<u8> {
    let job = job.to_owned();
    Written { job, nodes }.encode_to_vec()
}

/// Decodes a resume token from a client.
///
/// # Errors
/// If the token is malformed or belongs to another job.
pub(crate) fn read(job: &str, bytes: &[u8]) -> Result<HashMap<String, Node>, Error> {
    if bytes.is_empty() {
        return Ok(HashMap::new());
    }
    let written = Written::decode(bytes).map_err(|_| Error::Nonsense)?;
    match written.job == job {
        true => Ok(written
            .nodes
            .into_iter()
            .map(|node| (node.node.clone(), node))
            .collect()),
        false => Err(Error::OtherJob),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_token_is_valid_for_its_job_alone() {
        let node = Node {
            node: "node-1".to_owned(),
            instance: 7,
            rows: 3,
        };
        let bytes = write("a", vec![node.clone()]);
        assert_eq!(read("a", &bytes).unwrap()["node-1"], node);
        assert!(read("a", b"").unwrap().is_empty());
        assert!(matches!(read("b", &bytes), Err(Error::OtherJob)));
        for nonsense in [&b"\xff"[..], b"rows", &bytes[..bytes.len() - 1]] {
            assert!(matches!(read("a", nonsense), Err(Error::Nonsense)));
        }
    }
}

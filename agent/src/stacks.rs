//! Stacks of a table: hashes become frames with names.

use crate::{Error, bpf, read::Reader};
use std::{collections::HashMap, ffi::OsString};
use tracers::{Batch, Column, Data, Frame, Kind, Value};

/// Most frames of a stack: `FRAMES` of `agent-ebpf/src/stack.rs`.
const FRAMES: usize = 127;
/// Bytes of `struct bpf_stack_build_id`.
const USER_FRAME: usize = 32;

/// Resolves the stacks of one trace.
pub(crate) struct Stacks {
    /// Which columns are stacks.
    columns: Vec<(usize, Kind)>,
}

impl Stacks {
    pub(crate) fn new(columns: &[Column]) -> Self {
        let stacks = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.kind.is_stack());
        Self {
            columns: stacks.map(|(index, column)| (index, column.kind)).collect(),
        }
    }

    /// A program that is about to run.
    pub(crate) fn know_command(&mut self, _argv: &[OsString]) {}

    /// Looks at the processes while they are there.
    pub(crate) fn observe(&mut self, _reader: &Reader) {}

    /// Replaces hashes by frames.
    pub(crate) fn resolve(&mut self, mut batch: Batch, reader: &Reader) -> Result<Batch, Error> {
        let mut frames: Vec<Frame> = Vec::new();
        let mut index: HashMap<Frame, u32> = HashMap::new();
        for &(column, kind) in &self.columns {
            let mut data = Data::Frames {
                ends: Vec::new(),
                ids: Vec::new(),
            };
            for row in 0..batch.rows() {
                let Value::Unsigned(hash) = batch.value(column, row) else {
                    continue;
                };
                let ids: Vec<u32> = addresses(reader, kind, hash)?
                    .into_iter()
                    .map(|frame| {
                        *index.entry(frame.clone()).or_insert_with(|| {
                            frames.push(frame);
                            frames.len() as u32 - 1
                        })
                    })
                    .collect();
                data.push(Value::Frames(&ids));
            }
            batch.columns[column] = data;
        }
        batch.frames = frames;
        Ok(batch)
    }
}

fn addresses(reader: &Reader, kind: Kind, hash: u64) -> Result<Vec<Frame>, Error> {
    let (map, bytes) = match kind {
        Kind::KernelStack => ("KERNEL_STACKS", 8),
        _ => ("USER_STACKS", USER_FRAME),
    };
    let mut value = vec![0; 8 + FRAMES * bytes];
    let failed = |source| Error::Read {
        what: "the map of stacks",
        source,
    };
    if hash == 0
        || !bpf::lookup(reader.loaded.map(map)?, &hash.to_ne_bytes(), &mut value).map_err(failed)?
    {
        return Ok(Vec::new());
    }
    let word = |at: usize| {
        value
            .get(at..at + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_ne_bytes)
    };
    let len = (word(0) as usize).min(FRAMES);
    Ok((0..len)
        .map(|i| Frame {
            name: format!("{:#x}", word(8 + i * bytes + bytes - 8)),
            ..Frame::default()
        })
        .collect())
}

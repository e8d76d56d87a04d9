//! The messages about unwinding: copies of stacks in, addresses out.

use super::{Decoder, Encoder, Key};
use crate::{
    limits::{STACK_COPY_BYTES, UNWOUND_FRAMES_MAX},
    unwind::Registers,
};

/// An executable mapping of a process, as the worker needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Position of the start in the mapped file, bytes.
    pub(crate) offset: u64,
    /// Key of the unwind tables of the file; `None` for memory without tables.
    pub(crate) tables: Option<Key>,
}

/// Registers of a thread and a copy of its stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) registers: Registers,
    /// Address of the first byte of the copy.
    pub(crate) address: u64,
    pub(crate) stack: Vec<u8>,
}

/// An unwound stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The instruction pointer, and return addresses, innermost first.
    pub(crate) addresses: Vec<u64>,
    pub(crate) end: End,
}

/// Reason why a stack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The outermost function was reached.
    Complete,
    /// The copy of the stack ends before the caller's frame.
    Short,
    /// There is no usable unwind information for the last address.
    NoTables,
    /// The next address is in no mapping.
    Unmapped,
    /// A bound of frames or of work was reached.
    Limit,
    /// The tables with this key are not loaded.
    NotLoaded(Key),
}

impl Mapped {
    pub(super) fn encode(&self, out: &mut Encoder) {
        let Self {
            start,
            end,
            offset,
            tables,
        } = self;
        [start, end, offset]
            .into_iter()
            .for_each(|value| out.u64(*value));
        out.option(*tables, Encoder::u64);
    }

    pub(super) fn decode(body: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            start: body.u64()?,
            end: body.u64()?,
            offset: body.u64()?,
            tables: body.option(Decoder::u64)?,
        })
    }
}

impl Copied {
    pub(super) fn encode(&self, out: &mut Encoder) {
        let Self {
            registers: Registers { ip, sp, fp, lr },
            address,
            stack,
        } = self;
        [ip, sp, fp, lr, address]
            .into_iter()
            .for_each(|value| out.u64(*value));
        let stack = &stack[..stack.len().min(STACK_COPY_BYTES)];
        out.u32(stack.len() as u32);
        out.0.extend_from_slice(stack);
    }

    pub(super) fn decode(body: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            registers: Registers {
                ip: body.u64()?,
                sp: body.u64()?,
                fp: body.u64()?,
                lr: body.u64()?,
            },
            address: body.u64()?,
            stack: {
                let count = body.u32()? as usize;
                let fits = count <= STACK_COPY_BYTES;
                fits.then(|| body.take(count))??.to_vec()
            },
        })
    }
}

impl Chain {
    pub(super) fn encode(&self, out: &mut Encoder) {
        let addresses = &self.addresses[..self.addresses.len().min(UNWOUND_FRAMES_MAX)];
        out.u32(addresses.len() as u32);
        addresses.iter().for_each(|address| out.u64(*address));
        let (number, key) = match self.end {
            End::Complete => (0, 0),
            End::Short => (1, 0),
            End::NoTables => (2, 0),
            End::Unmapped => (3, 0),
            End::Limit => (4, 0),
            End::NotLoaded(key) => (5, key),
        };
        out.u8(number);
        out.u64(key);
    }

    pub(super) fn decode(body: &mut Decoder<'_>) -> Option<Self> {
        let addresses = body.list(8, Decoder::u64)?;
        let end = match (body.u8()?, body.u64()?) {
            (0, _) => End::Complete,
            (1, _) => End::Short,
            (2, _) => End::NoTables,
            (3, _) => End::Unmapped,
            (4, _) => End::Limit,
            (5, key) => End::NotLoaded(key),
            _ => return None,
        };
        let fits = addresses.len() <= UNWOUND_FRAMES_MAX;
        fits.then_some(Self { addresses, end })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn request() -> Request {
        let registers = Registers {
            ip: 1,
            sp: 2,
            fp: 3,
            lr: u64::MAX,
        };
        let mapped = |tables| Mapped {
            start: 1,
            end: 9,
            offset: 7,
            tables,
        };
        Request::Unwind {
            mappings: vec![mapped(None), mapped(Some(5))],
            copies: vec![Copied {
                registers,
                address: 2,
                stack: vec![1, 2, 3],
            }],
        }
    }

    #[test]
    fn what_is_said_about_unwinding_is_what_is_heard() {
        let request = request();
        assert_eq!(
            Request::decode(&request.encode()[4..]).as_ref(),
            Some(&request)
        );
        let ends = [
            End::Complete,
            End::Short,
            End::NoTables,
            End::Unmapped,
            End::Limit,
            End::NotLoaded(7),
        ];
        let chains = ends.map(|end| Chain {
            addresses: vec![1, u64::MAX],
            end,
        });
        let reply = Reply::Unwound(chains.into());
        assert_eq!(Reply::decode(&reply.encode()[4..]), Some(reply));
    }

    #[test]
    fn a_cut_request_and_a_stack_beyond_the_limit_are_refused() {
        let encoded = request().encode();
        for cut in 4..encoded.len() {
            assert_eq!(Request::decode(&encoded[4..cut]), None);
        }
        let mut long = encoded[4..encoded.len() - 7].to_vec();
        long.extend_from_slice(&(STACK_COPY_BYTES as u32 + 1).to_ne_bytes());
        long.resize(long.len() + STACK_COPY_BYTES + 1, 0);
        assert_eq!(Request::decode(&long), None);
    }
}

//! Unwinding of copied stacks, and the distinct stacks that result.

use super::stacks::{Stacks, user_addresses};
use crate::{
    Error,
    limits::{UNWOUND_ADDRESSES, UNWOUND_FRAMES, UNWOUND_STACKS},
    load::Loaded,
    source::copies::CopiedRow,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};
use symbols::{UnwindEnd, UserAddr};
use tracers::control::OF_KERNEL_SIDE;

/// Bytes of these stacks: the addresses twice, the frames, and the entries of the stacks.
pub(crate) const MEMORY_BYTES: usize = UNWOUND_ADDRESSES * (2 * size_of::<UserAddr>() + 16)
    + UNWOUND_FRAMES * size_of::<u32>()
    + UNWOUND_STACKS * 96;

/// In place of a further frame: the stack is deeper than its copy.
const DEEPER: u32 = u32::MAX;

/// Numbers of copied stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Stacks that were not unwound up to their outermost frame, for another reason than the size of the copy.
    pub(crate) incomplete: u64,
    /// Stacks that are deeper than their copy.
    pub(crate) truncated: u64,
}

/// Distinct unwound stacks. Equal stacks of several processes are one.
#[derive(Default)]
pub(super) struct UnwoundStacks {
    addresses: Vec<UserAddr>,
    index: HashMap<UserAddr, u32>,
    stacks: Vec<Arc<[u32]>>,
    numbers: HashMap<Arc<[u32]>, u64>,
    frames: usize,
    counts: Counts,
}

impl UnwoundStacks {
    /// Returns the number of a stack; `None` if there is no room for it.
    fn number(&mut self, frames: &[UserAddr], is_deeper: bool) -> Option<u64> {
        let mut ids = Vec::with_capacity(frames.len() + 1);
        for address in frames {
            ids.push(match self.index.get(address) {
                Some(id) => *id,
                None if self.addresses.len() >= UNWOUND_ADDRESSES => return None,
                None => {
                    let id = self.addresses.len() as u32;
                    self.addresses.push(*address);
                    self.index.insert(*address, id);
                    id
                }
            });
        }
        ids.extend(is_deeper.then_some(DEEPER));
        if let Some(number) = self.numbers.get(ids.as_slice()) {
            return Some(*number);
        }
        if self.stacks.len() >= UNWOUND_STACKS || self.frames + ids.len() > UNWOUND_FRAMES {
            return None;
        }
        self.frames += ids.len();
        let ids: Arc<[u32]> = ids.into();
        self.stacks.push(Arc::clone(&ids));
        // Without the bit that marks stacks of the kernel side, and not 0.
        let number = self.stacks.len() as u64 * (OF_KERNEL_SIDE + 1);
        self.numbers.insert(ids, number);
        Some(number)
    }

    /// Returns the addresses of a stack, and whether it is deeper; `None` for a stack of the kernel side.
    pub(super) fn get(&self, number: u64) -> Option<(Vec<UserAddr>, bool)> {
        if number & OF_KERNEL_SIDE != 0 {
            return None;
        }
        let at = (number / (OF_KERNEL_SIDE + 1)).checked_sub(1)?;
        let ids = self.stacks.get(at as usize)?;
        let address = |id: &u32| self.addresses.get(*id as usize).copied();
        let is_deeper = ids.last() == Some(&DEEPER);
        Some((ids.iter().filter_map(address).collect(), is_deeper))
    }
}

impl Stacks {
    /// Returns the numbers of copied stacks until now.
    pub(super) fn unwound(&self) -> Counts {
        self.unwound.counts
    }

    /// Unwinds the copied stacks of these rows until the deadline. Returns the numbers of the stacks; `None` for a row that keeps its own.
    pub(super) fn unwind(
        &mut self,
        rows: &[CopiedRow],
        loaded: &Loaded,
        deadline: Instant,
    ) -> Result<Vec<Option<u64>>, Error> {
        let mut by_process: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            by_process.entry(row.pid()).or_default().push(at);
        }
        let mut numbers = vec![None; rows.len()];
        for (pid, places) in by_process {
            if Instant::now() >= deadline {
                self.unwound.counts.incomplete += places.len() as u64;
                continue;
            }
            self.follow(&[pid]);
            let copies: Vec<_> = places.iter().map(|at| rows[*at].copy()).collect();
            let unwound = self.symbolizer().unwind(pid, &copies);
            for (at, one) in places.into_iter().zip(unwound) {
                let (is_whole, is_deeper) = match one.end {
                    UnwindEnd::Complete => (true, false),
                    UnwindEnd::StackEnd | UnwindEnd::Limit => (true, true),
                    UnwindEnd::NoInfo | UnwindEnd::Failed => (false, false),
                };
                // If both are incomplete, the longer stack is kept: code that is compiled at run time has no tables, and may have frame pointers.
                let is_better =
                    is_whole || one.frames.len() > user_addresses(loaded, rows[at].stack())?.len();
                let number = match is_better {
                    true => self.unwound.number(&one.frames, is_deeper),
                    false => None,
                };
                let counts = &mut self.unwound.counts;
                counts.truncated += u64::from(is_deeper && number.is_some());
                counts.incomplete += u64::from(!is_whole || number.is_none());
                numbers[at] = number;
            }
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_have_one_number_which_is_none_of_the_kernel_side() {
        let mut stacks = UnwoundStacks::default();
        let build_id = |offset| UserAddr::BuildId {
            id: [7; 20],
            offset,
        };
        let one = [build_id(1), UserAddr::Ip(2)];
        let first = stacks.number(&one, false).unwrap();
        let deeper = stacks.number(&one, true).unwrap();
        let other = stacks.number(&[UserAddr::Ip(2)], false).unwrap();
        assert_eq!(stacks.number(&one, false), Some(first));
        assert!(first != deeper && first != other && deeper != other);
        assert_eq!((first | deeper | other) & OF_KERNEL_SIDE, 0);
        assert_eq!(stacks.get(first), Some((one.to_vec(), false)));
        assert_eq!(stacks.get(deeper), Some((one.to_vec(), true)));
        for none in [0, first | OF_KERNEL_SIDE, u64::MAX - 1] {
            assert_eq!(stacks.get(none), None, "{none}");
        }
    }

    #[test]
    fn stacks_beyond_the_limit_have_no_number_and_known_ones_keep_theirs() {
        let mut stacks = UnwoundStacks::default();
        let known = stacks.number(&[UserAddr::Ip(0)], false).unwrap();
        for n in 1..UNWOUND_STACKS as u64 {
            assert!(stacks.number(&[UserAddr::Ip(n)], false).is_some());
        }
        assert_eq!(stacks.number(&[UserAddr::Ip(1 << 32)], false), None);
        assert_eq!(stacks.number(&[UserAddr::Ip(0)], false), Some(known));
    }
}

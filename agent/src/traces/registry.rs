//! The registry of an agent's traces, and the limits of the node that a new trace must fit in.

use super::super::{policy::Policy, refuse::Refusal, trace::Trace};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// Traces that run, and ended traces that are kept for late readers.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) by_uid: BTreeMap<String, Arc<Trace>>,
    /// Removed or replaced traces. They count towards the limits until they end, and may have readers for a while longer.
    leaving: Vec<Arc<Trace>>,
    /// Number of traces that belong to a call so far; part of their uids.
    pub(super) calls: u64,
}

impl Registry {
    /// Adds a trace, and replaces the trace with the same uid.
    ///
    /// # Errors
    /// If the number of traces or their memory would exceed the policy's limits. The replaced trace is not counted.
    /// A namespace may use at most as many slots and bytes as remain free, so that a few namespaces cannot occupy the node.
    pub(super) fn insert(&mut self, trace: &Arc<Trace>, policy: &Policy) -> Result<(), Refusal> {
        let others = self.by_uid.values().filter(|other| other.uid != trace.uid);
        let running = others.chain(&self.leaving).filter(|trace| !trace.is_over());
        let running: Vec<&Arc<Trace>> = running.collect();
        let Some(free_slots) = policy.max_traces.checked_sub(running.len() + 1) else {
            return Err(Refusal::TooManyTraces(policy.max_traces));
        };
        let taken = running.iter().map(|other| other.share.bytes).sum();
        let free = policy.max_node_bytes.saturating_sub(taken);
        let needed = trace.share.bytes;
        let Some(left) = free.checked_sub(needed) else {
            return Err(Refusal::NodeMemory { needed, left: free });
        };
        let same = |other: &&&Arc<Trace>| {
            !trace.share.namespace.is_empty() && other.share.namespace == trace.share.namespace
        };
        let (own, own_bytes) = running
            .iter()
            .filter(same)
            .fold((0, 0), |(own, bytes), other| {
                (own + 1, bytes + other.share.bytes)
            });
        if own > free_slots + 1 || own_bytes > free {
            let namespace = trace.share.namespace.clone();
            return Err(Refusal::NamespaceShare { namespace });
        }
        if let Some(replaced) = self.by_uid.insert(trace.uid.clone(), Arc::clone(trace)) {
            replaced.stop();
            self.leaving.push(replaced);
        }
        // Ended traces are kept for late readers, in the memory that remains, and at most as many as may run.
        let room = left / (policy.replay_bytes as u64).max(1);
        let max_kept = policy
            .max_traces
            .min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut ended: Vec<Instant> = self.all().filter_map(|trace| trace.ended()).collect();
        ended.sort_unstable();
        if let Some(last) = ended
            .len()
            .checked_sub(max_kept.saturating_add(1))
            .map(|last| ended[last])
        {
            self.release(|ended| ended <= last);
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Trace>> {
        self.by_uid.values().chain(&self.leaving)
    }

    /// Removes the traces whose end time matches, and releases the messages that were kept for their readers.
    pub(super) fn release(&mut self, matches: impl Fn(Instant) -> bool) {
        let is_kept = |trace: &Arc<Trace>| {
            let is_released = trace.ended().is_some_and(&matches);
            if is_released {
                trace.log.release();
            }
            !is_released
        };
        self.by_uid.retain(|_, trace| is_kept(trace));
        self.leaving.retain(is_kept);
    }

    /// Removes a trace, unless another one has replaced it.
    pub(super) fn remove(&mut self, trace: &Arc<Trace>) {
        let known = self.by_uid.get(&trace.uid);
        if known.is_some_and(|known| Arc::ptr_eq(known, trace)) {
            self.by_uid.remove(&trace.uid);
            self.leaving.push(Arc::clone(trace));
        }
    }
}

//! Calls that have begun, by the task that is in them: from where a call begins to where it ends.
//!
//! A thread keeps its slot of an array for as long as it lives, which costs a tenth of a hash map; where the slot is another's it uses a
//! hash map instead.

use crate::{Loss, NO_EXIST, add_atomic, current, started};
use aya_ebpf::maps::{Array, HashMap};

/// Room for one call, for all tasks of one hash.
#[repr(C)]
pub struct Slot<T> {
    /// How many tasks have the slot, or try to.
    claims: u64,
    /// How many tasks of this hash are in the hash map.
    crowded: u64,
    /// Task that uses the slot; 0 is none.
    task: u64,
    /// 1 while that task is in a call.
    under_way: u64,
    call: T,
}

/// Slots: 2 to the power of this.
pub const SLOT_BITS: u32 = 14;

/// Declares `CALLS`: the state of each call from its start to its end, and the program that releases a thread's slot.
#[macro_export]
macro_rules! calls {
    ($call:ty) => {
        #[aya_ebpf::macros::map]
        static SLOTS: aya_ebpf::maps::Array<$crate::Slot<$call>> =
            aya_ebpf::maps::Array::with_max_entries(1 << $crate::SLOT_BITS, 0);
        /// Calls whose slot another task uses. A call that finds the map full is lost and counted.
        #[aya_ebpf::macros::map]
        static CROWDED: aya_ebpf::maps::HashMap<u64, $call> =
            aya_ebpf::maps::HashMap::with_max_entries(4096, 0);
        const CALLS: $crate::Calls<'static, $call> = $crate::Calls {
            slots: &SLOTS,
            crowded: &CROWDED,
        };
    };
}

/// The current task's calls.
pub struct Calls<'a, T> {
    /// By hash.
    pub slots: &'a Array<Slot<T>>,
    /// By task.
    pub crowded: &'a HashMap<u64, T>,
}

impl<T: Copy> Calls<'_, T> {
    #[inline(always)]
    fn slot(&self, task: u64) -> Option<*mut Slot<T>> {
        let hash = task.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS);
        self.slots.get_ptr_mut(hash as u32)
    }

    /// Records the start of a call. An earlier call of the same thread without an end is discarded.
    ///
    /// # Errors
    /// Where there is no room.
    #[inline(always)]
    pub fn begin(&self, call: &T) -> Result<(), Loss> {
        self.begin_of(current() as u64, call)
    }

    /// Begins a call of `task`, the address of its `struct task_struct`. Nobody else may begin or end a call of the same task meanwhile.
    ///
    /// # Errors
    /// Where there is no room.
    #[inline(always)]
    pub fn begin_of(&self, task: u64, call: &T) -> Result<(), Loss> {
        let slot = self.slot(task).ok_or(Loss::MapFull)?;
        // SAFETY: a slot of the array, which lives as long as the program. While it has this task, other tasks write only to its counts.
        let of = unsafe { &mut *slot };
        if of.task == task {
            of.call = *call;
            of.under_way = 1;
            return Ok(());
        }
        // SAFETY: an aligned u64 of the slot.
        unsafe { add_atomic(&raw mut (*slot).claims, 1) };
        // A task that finds only its own claim has the slot: two tasks at once both find two claims, and both use the map.
        // SAFETY: as above.
        if unsafe { core::ptr::read_volatile(&raw const (*slot).claims) } == 1 {
            of.call = *call;
            of.under_way = 1;
            of.task = task;
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { add_atomic(&raw mut (*slot).claims, -1) };
        // SAFETY: as above; before the entry exists, so that no lookup misses it.
        unsafe { add_atomic(&raw mut (*slot).crowded, 1) };
        if self.crowded.insert(&task, call, NO_EXIST).is_ok() {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { add_atomic(&raw mut (*slot).crowded, -1) };
        // Where there is an old one it is replaced, and else there is no room.
        (self.crowded.insert(&task, call, 0)).map_err(|_| Loss::MapFull)
    }

    /// Begins a call of `task`, unless one is known: for the pass when a trace begins, beside which tasks begin and end calls themselves.
    ///
    /// # Errors
    /// Where there is no room.
    #[inline(always)]
    pub fn begin_new(&self, task: u64, call: &T) -> Result<(), Loss> {
        let slot = self.slot(task).ok_or(Loss::MapFull)?;
        // SAFETY: an aligned u64 of the slot.
        match unsafe { core::ptr::read_volatile(&raw const (*slot).task) } == task {
            true => Ok(()),
            false => self.begin_of(task, call),
        }
    }

    /// The call that the current task is in, if it is in one; it goes on.
    #[inline(always)]
    pub fn under_way(&self) -> Option<T> {
        let task = current() as u64;
        // SAFETY: a slot of the array.
        let of = unsafe { &*self.slot(task)? };
        if of.task == task {
            return (of.under_way == 1).then_some(of.call);
        }
        if of.crowded == 0 {
            return None;
        }
        // SAFETY: copied at once.
        unsafe { self.crowded.get(&task) }.copied()
    }

    /// The call ends that the current task is in, if it is in one.
    #[inline(always)]
    pub fn end(&self) -> Option<T> {
        self.end_of(current() as u64)
    }

    /// Ends the call that `task` is in, if it is in one.
    #[inline(always)]
    pub fn end_of(&self, task: u64) -> Option<T> {
        // SAFETY: a slot of the array.
        let of = unsafe { &mut *self.slot(task)? };
        if of.task == task {
            if of.under_way == 0 {
                return None;
            }
            started();
            of.under_way = 0;
            return Some(of.call);
        }
        if of.crowded == 0 {
            return None;
        }
        // SAFETY: copied at once.
        let call = unsafe { self.crowded.get(&task) }.copied()?;
        started();
        if self.crowded.remove(&task).is_ok() {
            // SAFETY: an aligned u64 of the slot.
            unsafe { add_atomic(&raw mut of.crowded, -1) };
        }
        Some(call)
    }

    /// The current thread ends: it gives up its slot. A call that it was in is over.
    #[inline(always)]
    pub fn leave(&self) -> Option<T> {
        self.leave_of(current() as u64)
    }

    /// Ends the call that `task` is in, if it is in one, and releases its slot.
    #[inline(always)]
    pub fn leave_of(&self, task: u64) -> Option<T> {
        let call = self.end_of(task);
        // SAFETY: a slot of the array.
        let of = unsafe { &mut *self.slot(task)? };
        if of.task == task {
            of.task = 0;
            // SAFETY: an aligned u64 of the slot; it has no task before the claim is released.
            unsafe { add_atomic(&raw mut of.claims, -1) };
        }
        call
    }
}

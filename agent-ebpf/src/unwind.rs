//! Copies of user stacks, for programs that were built without frame pointers. User space unwinds them: `engine/src/stage/unwound.rs`.
//!
//! Copies differ at every event, so they are no keys of a table. An event with a copy is a record in a ring, with its row and with the stack by
//! frame pointers. User space adds the row to the table after it has unwound the copy. An event without room in the ring is added to the table
//! here, with the stack by frame pointers.

use crate::{
    Table, count, count_by, counter, current_tgid, forget, masked, registers, typed_current,
    user_stack_frames,
};
use aya_ebpf::{
    EbpfContext, Global,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_probe_read_kernel, bpf_probe_read_user,
        generated::{
            bpf_probe_read_user as bpf_probe_read_user_bytes, bpf_ringbuf_reserve,
            bpf_ringbuf_submit,
        },
    },
    macros::map,
    maps::RingBuf,
};
use tracers::{
    Unwind, UserStack,
    arch::machine::UNWOUND_FROM,
    control::{COPY_MAX, COPY_STEP, CopyHead},
};

/// How user stacks are taken: the number of an [`Unwind`].
#[unsafe(no_mangle)]
pub static UNWIND: Global<u8> = Global::new(Unwind::Fp as u8);
/// Bytes reserved for a copied stack.
#[unsafe(no_mangle)]
pub static STACK_COPY: Global<u64> = Global::new(16 << 10);
/// Bytes in the ring of copies at which a program wakes the reader.
#[unsafe(no_mangle)]
pub static COPIES_WAKE_BYTES: Global<u64> = Global::new(1 << 16);

/// Events with copied stacks. The loader sets the size. An event that finds it full is added to the table without its copy, which is counted.
#[map]
static COPIES: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// Frames of a plausible stack. `_start`, `main` and a function are three, and a register that is no frame pointer seldom leads further.
const FRAMES_MIN: u64 = 3;
/// Frame pointers that are followed. More of them in a row are no coincidence.
const FOLLOWED: usize = 16;
/// Maximum bytes of a function's frame.
const FRAME_BYTES_MAX: u64 = 1 << 20;

/// A user stack by frame pointers, and whether it is to be copied.
pub struct TakenStack {
    /// The stack by frame pointers.
    pub stack: UserStack,
    /// 1 if the stack is to be copied.
    copies: u64,
    /// Registers of the thread.
    registers: [u64; 4],
}

impl TakenStack {
    /// No stack.
    pub const NONE: Self = Self::before(UserStack(0));

    /// Returns a stack that was taken before, and is not copied now.
    #[inline(always)]
    pub const fn before(stack: UserStack) -> Self {
        Self {
            stack,
            copies: 0,
            registers: [0; 4],
        }
    }

    /// Returns a stack that was taken before, and is copied now: the stack of a thread that is about to return to the same place.
    #[inline(always)]
    pub fn again(stack: UserStack) -> Self {
        match user_registers() {
            Ok(registers) => Self {
                stack,
                copies: 1,
                registers,
            },
            Err(_) => {
                count(counter!(stacks_not_copied));
                Self::before(stack)
            }
        }
    }

    /// Returns whether the stack is to be copied.
    #[inline(always)]
    pub fn copies(&self) -> bool {
        self.copies != 0
    }
}

/// Returns the user stack of the current task, which is copied for [`Table::change`] if the options request it.
#[inline(always)]
pub fn taken_stack<C: EbpfContext>(ctx: &C) -> TakenStack {
    let (stack, frames) = user_stack_frames(ctx);
    // All ways to this place are one for the verifier from here on.
    let (stack, frames) = (UserStack(forget(stack.0)), forget(frames));
    // A thread of the kernel has none.
    if UNWIND.load() == Unwind::Fp as u8 || frames == 0 {
        return TakenStack::before(stack);
    }
    let Ok(registers) = user_registers() else {
        count(counter!(stacks_not_copied));
        return TakenStack::before(stack);
    };
    let copies = UNWIND.load() == Unwind::Copy as u8 || !is_plausible(frames, &registers);
    TakenStack {
        stack,
        copies: forget(u64::from(copies)),
        registers,
    }
}

/// Returns the registers with which the current task entered the kernel.
#[inline(always)]
fn user_registers() -> Result<[u64; 4], i32> {
    let from = registers(typed_current())?;
    let mut all = [0; 4];
    for (to, offset) in all.iter_mut().zip(UNWOUND_FROM) {
        // SAFETY: the helper checks the address.
        *to = unsafe { bpf_probe_read_kernel(from.wrapping_add(offset).cast()) }?;
    }
    Ok(all)
}

/// Returns whether frame pointers lead to an outermost frame: each is above the one before, and the last one is null, as processes and threads
/// start (System V ABI for AMD64, 3.4.1; AAPCS64, 6.4.6).
///
/// In code without frame pointers the register has any value. The stack then ends early, or has wrong frames.
#[inline(always)]
fn is_plausible(frames: u64, [_, stack, frame, _]: &[u64; 4]) -> bool {
    if frames < FRAMES_MIN {
        return false;
    }
    let (mut below, mut at) = (*stack, *frame);
    for _ in 0..FOLLOWED {
        if at == 0 {
            return true;
        }
        if at.wrapping_sub(below) > FRAME_BYTES_MAX {
            return false;
        }
        below = at + 1;
        // SAFETY: the helper checks the address.
        match unsafe { bpf_probe_read_user(at as *const u64) } {
            Ok(next) => at = next,
            Err(_) => return false,
        }
    }
    true
}

/// The start of a record: what follows it are the copied bytes.
#[repr(C)]
struct Record<K, V> {
    head: CopyHead,
    key: K,
    value: V,
}

impl<K: Copy, V: Copy> Table<'_, K, V> {
    /// Changes the row of `key` for an event that counts `weight` times. If its stack is to be copied, the row is sent with the copy, and
    /// added in user space.
    ///
    /// # Errors
    /// If there is no room.
    #[inline(always)]
    pub fn change(
        &self,
        key: &K,
        weight: u64,
        stack: &TakenStack,
        change: impl Fn(&mut V),
    ) -> Result<(), crate::Loss> {
        if stack.copies() {
            if self.send_copy(key, weight, &stack.registers, &change) {
                if weight > 1 {
                    count_by(counter!(weighted), weight - 1);
                }
                return Ok(());
            }
            count(counter!(stacks_not_copied));
        }
        change(self.row(key, weight)?);
        Ok(())
    }

    /// Sends a row with a copy of the current task's stack. Returns `false` if the ring is full.
    #[inline(always)]
    fn send_copy(
        &self,
        key: &K,
        weight: u64,
        registers: &[u64; 4],
        change: &impl Fn(&mut V),
    ) -> bool {
        const { assert!(size_of::<K>().is_multiple_of(8) && size_of::<V>().is_multiple_of(8)) };
        let Some(zeros) = self.zeros.get(0) else {
            return false;
        };
        let ring = core::ptr::from_ref(&COPIES).cast_mut().cast();
        let (waiting, mark) = (
            COPIES.query(BPF_RB_AVAIL_DATA as u64),
            COPIES_WAKE_BYTES.load(),
        );
        // Above the mark the reader was woken already.
        let wakes = waiting >= mark && waiting - mark < 2 * COPY_MAX as u64;
        let flags = match wakes {
            true => BPF_RB_FORCE_WAKEUP as u64,
            false => BPF_RB_NO_WAKEUP as u64,
        };
        let head = CopyHead {
            pid: current_tgid(),
            bytes: 0,
            weight,
            registers: *registers,
        };
        // The verifier reads the value of the global: the size is a constant for it.
        let size = size_of::<Record<K, V>>() as u64 + STACK_COPY.load();
        // SAFETY: a ring, and a size that is smaller.
        let record: *mut Record<K, V> = unsafe { bpf_ringbuf_reserve(ring, size, 0) }.cast();
        if record.is_null() {
            return false;
        }
        // SAFETY: the record has room for all of it, aligned to 8 bytes.
        unsafe {
            (&raw mut (*record).head).write(head);
            (&raw mut (*record).key).write(*key);
            (&raw mut (*record).value).write(*zeros);
            change(&mut (*record).value);
            let to = record.add(1).cast();
            (*record).head.bytes = copy_stack(to, registers[1]);
            bpf_ringbuf_submit(record.cast(), flags);
        }
        true
    }
}

/// Copies the stack above `from`, page by page: the pages after its end cannot be read. Returns the number of copied bytes.
///
/// # Safety
/// `to` has room for [`STACK_COPY`] bytes.
#[inline(always)]
unsafe fn copy_stack(to: *mut u8, from: u64) -> u32 {
    // Bytes to the end of the page: 1 to 4096.
    let first = masked::<{ COPY_STEP - 1 }>(!from as usize) + 1;
    // SAFETY: at most the least size of a copy; the helper checks the address.
    if unsafe { bpf_probe_read_user_bytes(to.cast(), first as u32, from as *const _) } != 0 {
        return 0;
    }
    let mut copied = 0;
    for page in 1..COPY_MAX / COPY_STEP {
        if (page + 1) * COPY_STEP > STACK_COPY.load() as usize {
            break;
        }
        // SAFETY: the end of this page is at most one step after its number's.
        let (to, from) = unsafe {
            let before = (page - 1) * COPY_STEP;
            (to.add(first).add(before), from + (first + before) as u64)
        };
        // SAFETY: as above; the helper checks the address.
        let failed =
            unsafe { bpf_probe_read_user_bytes(to.cast(), COPY_STEP as u32, from as *const _) };
        if failed != 0 {
            break;
        }
        copied = page;
    }
    forget((first + copied * COPY_STEP) as u64) as u32
}

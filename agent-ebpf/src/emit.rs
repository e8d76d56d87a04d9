//! The output path of events: records in the ring, with a tail of variable length for texts.

use crate::{
    CLAIMS, Claim, Claimable, FREE_FOR_ALL, Loss, asleep, claim, forget, masked, room, row_passes,
    sample, waking, woken,
};
use aya_ebpf::{
    Global,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_probe_read_kernel_buf, bpf_probe_read_user_buf,
        generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str, bpf_ringbuf_output},
    },
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use core::marker::PhantomData;
use tracers::{Event, Tail};
use zerocopy_free::as_bytes;

mod zerocopy_free {
    /// Returns the bytes of a row. `#[event]` has proved that the type has no padding, so every byte is initialised.
    pub(super) fn as_bytes<T: tracers::Event>(row: &T) -> &[u8] {
        // SAFETY: the pointer and length are those of `row`, and all its bytes are initialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(row).cast(), size_of::<T>()) }
    }
}

/// Records for user space. The loader sets the size. A record that finds it full is lost and counted.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// Bytes in the ring at which a program wakes the reader while it is awake. It polls every few ms then, because a wake-up per record costs
/// 11 µs, more than everything else here together. A sleeping reader is woken by the first record.
#[unsafe(no_mangle)]
pub static WAKE_BYTES: Global<u64> = Global::new(1 << 16);

/// Range of bytes above the watermark in which programs wake the reader; above it, the reader was woken already.
const WAKE_WINDOW: u64 = 1 << 16;

/// Bytes that this CPU has sent since its last query of the ring.
#[map]
static UNSEEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// Bytes between two queries: a query costs a sixth of a record. Each CPU may exceed the watermark by this number.
const LOOK_BYTES: u64 = 1 << 12;

/// Returns the flags of a record of `bytes` of this cgroup.
///
/// # Errors
/// If the ring is filling up and the cgroup has used its quota.
#[inline(always)]
fn admitted(cgroup: u64, bytes: usize) -> Result<u64, Loss> {
    let quiet = BPF_RB_NO_WAKEUP as u64;
    let waiting = if FREE_FOR_ALL.load() == 0 {
        let Some(unseen) = UNSEEN.get_ptr_mut(0) else {
            return Ok(quiet);
        };
        // SAFETY: this CPU's own number. If another program runs in between, the next query comes a little earlier or later.
        let unseen = unsafe { &mut *unseen };
        *unseen += bytes as u64;
        if *unseen < LOOK_BYTES {
            return Ok(quiet);
        }
        *unseen = 0;
        EVENTS.query(BPF_RB_AVAIL_DATA as u64)
    } else {
        let waiting = EVENTS.query(BPF_RB_AVAIL_DATA as u64);
        room(cgroup, waiting)?;
        waiting
    };
    let mark = WAKE_BYTES.load();
    Ok(match waiting >= mark && waiting - mark < WAKE_WINDOW {
        true => BPF_RB_FORCE_WAKEUP as u64,
        false => quiet,
    })
}

/// Sends a row without a tail, an event of the given cgroup.
#[inline(always)]
pub fn emit<T: Event>(cgroup: u64, row: &T) -> Result<bool, Loss> {
    const {
        assert!(
            align_of::<T>() == 8,
            "what fills a slot loads 8 bytes at once"
        )
    };
    sample()?;
    // SAFETY: the whole row, all of whose bytes are initialised.
    if !unsafe { row_passes(core::ptr::from_ref(row).cast()) } {
        return Err(Loss::Filtered);
    }
    let flags = admitted(cgroup, size_of::<T>())?;
    let sleep = asleep();
    match EVENTS.output(as_bytes(row), waking(flags, sleep)) {
        Ok(()) => {
            woken(sleep);
            Ok(true)
        }
        Err(_) => Err(Loss::RingFull),
    }
}

/// Bytes before the tail, reserved for the row.
const HEAD: usize = 512;
/// Maximum bytes of the tail of a record.
pub const TAIL_MAX: usize = 8192;
/// Maximum bytes of a text: PATH_MAX.
pub const TEXT_MAX: usize = 4096;

/// Scratch memory for a record with a tail: too large for the stack.
type Scratch = Claimable<[u8; HEAD + TAIL_MAX * 2]>;

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(CLAIMS, 0);

/// A record with a tail, under construction.
pub struct Record<T> {
    base: *mut u8,
    used: usize,
    /// Claim of the scratch memory, released when the record is dropped.
    _claim: Claim,
    row: PhantomData<T>,
}

impl<T: Event> Record<T> {
    /// Starts a record, unless sampling omits it.
    #[inline(always)]
    pub fn new() -> Result<Self, Loss> {
        const { assert!(size_of::<T>() <= HEAD && align_of::<T>() == 8) };
        sample()?;
        let (claim, scratch) = claim(&SCRATCH).ok_or(Loss::Busy)?;
        Ok(Self {
            base: scratch.cast(),
            used: 0,
            _claim: claim,
            row: PhantomData,
        })
    }

    /// Returns the end of the tail, at most `TAIL_MAX` bytes after its start.
    #[inline(always)]
    fn end(&self) -> *mut u8 {
        // SAFETY: the masked offset lies in the scratch, which has room for `TAIL_MAX` more behind it.
        unsafe { self.base.add(HEAD + masked::<{ TAIL_MAX - 1 }>(self.used)) }
    }

    /// Returns the bytes of the tail.
    #[inline(always)]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Makes the verifier forget the number of bytes, except for its bound.
    #[inline(always)]
    pub fn forget_used(&mut self) {
        self.used = masked::<{ TAIL_MAX * 2 - 1 }>(forget(self.used as u64) as usize);
    }

    /// Returns the bytes since `start` as a text.
    #[inline(always)]
    pub fn since(&self, start: usize, flags: u32) -> Tail {
        Tail {
            start: start as u16,
            len: (self.used - start) as u16,
            flags,
        }
    }

    /// Counts bytes that were appended. Masked, so that the verifier knows no more of the sum than its bound: a loop over texts then looks
    /// the same to it by whichever way it came, which it otherwise follows one by one (seen on 6.1: 857,525 instructions for 65 arguments).
    #[inline(always)]
    fn grow(&mut self, by: usize) {
        self.used = masked::<{ TAIL_MAX * 2 - 1 }>(self.used + by);
    }

    /// Appends a string that ends with a zero byte, without that byte unless `keep_zero`; at most `TEXT_MAX` bytes of it.
    #[inline(always)]
    fn text(&mut self, read: impl FnOnce(*mut u8) -> i64, keep_zero: bool) -> Result<Tail, Loss> {
        let start = self.used;
        if start >= TAIL_MAX {
            return Ok(self.since(start, Tail::CUT));
        }
        let n = read(self.end());
        if n < 0 {
            return Err(Loss::Unreadable);
        }
        let n = n as usize;
        self.grow(match keep_zero {
            true => n,
            false => n.saturating_sub(1),
        });
        let cut = n == TEXT_MAX;
        Ok(self.since(start, if cut { Tail::CUT } else { 0 }))
    }

    /// Appends the string at `from` in the current process's memory.
    #[inline(always)]
    pub fn user_text(&mut self, from: *const u8) -> Result<Tail, Loss> {
        self.text(
            // SAFETY: `end` has `TEXT_MAX` bytes behind it; a bad source is an error.
            |to| unsafe { bpf_probe_read_user_str(to.cast(), TEXT_MAX as u32, from.cast()) as i64 },
            false,
        )
    }

    /// Appends the string at `from` in kernel memory.
    #[inline(always)]
    pub fn kernel_text(&mut self, from: *const u8) -> Result<Tail, Loss> {
        self.text(
            // SAFETY: as above.
            |to| unsafe {
                bpf_probe_read_kernel_str(to.cast(), TEXT_MAX as u32, from.cast()) as i64
            },
            false,
        )
    }

    /// Appends strings of the current process's memory, each with its zero byte and at most `MAX` bytes of it, a power of two.
    /// `next` gives the address of one by its place in the list; null or nothing is the list's end.
    ///
    /// Few branches, because kernels of 6.1's time look at everything once for each way through the loop.
    #[inline(always)]
    pub fn user_texts<const COUNT: usize, const MAX: usize>(
        &mut self,
        next: impl Fn(usize) -> Result<*const u8, i32>,
    ) -> Tail {
        const { assert!(MAX.is_power_of_two()) };
        let start = self.used;
        // More than fit, unless the list's end is seen.
        let mut flags = Tail::CUT;
        let mut cut = 0;
        for i in 0..=COUNT {
            let Ok(from) = next(i) else {
                break;
            };
            if from.is_null() {
                flags = cut;
                break;
            }
            if i == COUNT || self.used >= TAIL_MAX {
                break;
            }
            // Before 5.19 an empty string is read as 0 bytes, its zero byte not being written (mm/maccess.c).
            // SAFETY: `end` has bytes behind it.
            unsafe { *self.end() = 0 };
            // SAFETY: `end` has `MAX` bytes behind it; a bad source is an error.
            let n = unsafe { bpf_probe_read_user_str(self.end().cast(), MAX as u32, from.cast()) };
            if n < 0 {
                break;
            }
            let n = masked::<{ TEXT_MAX * 2 - 1 }>(n as usize);
            cut |= (n / MAX) as u32 * Tail::CUT;
            // One more where n is 0, without a branch.
            self.grow(n + (n.wrapping_sub(1) >> (usize::BITS - 1)));
        }
        self.since(start, flags)
    }

    /// Appends a directory entry's name with its zero byte: at most 256 bytes. The answer is false where there was no room.
    #[inline(always)]
    pub fn kernel_name(&mut self, from: *const u8) -> Result<bool, Loss> {
        let name = self.text(
            // SAFETY: `end` has 256 bytes behind it; a bad source is an error.
            |to| unsafe { bpf_probe_read_kernel_str(to.cast(), 256, from.cast()) as i64 },
            true,
        )?;
        Ok(name.flags & Tail::CUT == 0)
    }

    /// Appends `len` bytes of the current process's memory, at most 4,095.
    #[inline(always)]
    pub fn user_bytes(&mut self, from: *const u8, len: usize) -> Result<Tail, Loss> {
        let start = self.used;
        let cut = len > TEXT_MAX - 1;
        let len = if cut { TEXT_MAX - 1 } else { len };
        if start >= TAIL_MAX {
            return Ok(self.since(start, Tail::CUT));
        }
        let len = masked::<{ TEXT_MAX - 1 }>(len);
        // SAFETY: `end` has `TEXT_MAX` bytes behind it.
        let to = unsafe { core::slice::from_raw_parts_mut(self.end(), len) };
        // SAFETY: a bad source is an error.
        unsafe { bpf_probe_read_user_buf(from, to)? };
        self.grow(len);
        Ok(self.since(start, if cut { Tail::CUT } else { 0 }))
    }

    /// Sends the row with its tail, and no byte more than it uses: an event of the given cgroup.
    #[inline(always)]
    pub fn send(self, cgroup: u64, row: &T) -> Result<bool, Loss> {
        let head = HEAD - size_of::<T>();
        // SAFETY: the row's bytes lie directly before the tail, both in the scratch.
        let to = unsafe { self.base.add(head) };
        // As what it is: as bytes it would be stored byte by byte.
        // SAFETY: as above.
        unsafe { core::ptr::copy_nonoverlapping(row, to.cast::<T>(), 1) };
        // SAFETY: the row is there, whole; the scratch begins at a multiple of 8, and the row's size is one.
        if !unsafe { row_passes(to) } {
            return Err(Loss::Filtered);
        }
        let flags = admitted(cgroup, size_of::<T>() + self.used)?;
        let sleep = asleep();
        let len = size_of::<T>() + masked::<{ TAIL_MAX * 2 - 1 }>(self.used);
        // SAFETY: as many bytes of the scratch, from the row's start on.
        let sent = unsafe {
            bpf_ringbuf_output(
                core::ptr::from_ref(&EVENTS).cast_mut().cast(),
                to.cast(),
                len as u64,
                waking(flags, sleep),
            )
        };
        match sent {
            0 => {
                woken(sleep);
                Ok(true)
            }
            _ => Err(Loss::RingFull),
        }
    }
}

/// Reads kernel memory into `to`.
///
/// # Errors
/// Where it cannot be read.
#[inline(always)]
pub fn read_kernel(from: *const u8, to: &mut [u8]) -> Result<(), i32> {
    // SAFETY: a bad source is an error.
    unsafe { bpf_probe_read_kernel_buf(from, to) }
}

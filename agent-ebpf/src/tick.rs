//! The kernel's tick: when a CPU is sampled, and the CPU time that a sample stands for.

use crate::{Loss, current, kernel_fields, kernel_functions, now};
use aya_ebpf::{
    Global,
    helpers::bpf_get_current_pid_tgid,
    maps::{LruHashMap, PerCpuArray},
    programs::RawTracePointContext,
};

/// Period of the kernel's tick.
#[unsafe(no_mangle)]
pub static TICK_NS: Global<u64> = Global::new(4_000_000);
/// Samples per second and CPU.
#[unsafe(no_mangle)]
pub static FREQUENCY: Global<u64> = Global::new(99);

kernel_functions! {
    // The tick, by which the kernel itself accounts CPU time: kernel/time/tick-sched.c.
    TICK = tick_nohz_handler | tick_sched_timer;
}

kernel_fields! {
    TIMER_FUNCTION = hrtimer.function: u64;
    TIMER_EXPIRES = hrtimer.node.expires: u64;
    TASK_RUNTIME = task_struct.se.sum_exec_runtime: u64;
}

/// Declares `TICKS`: what is known of the ticks before.
#[macro_export]
macro_rules! ticks {
    () => {
        /// CPU time of a thread at its last sample, ns, by thread ID.
        #[aya_ebpf::macros::map]
        static RUNTIMES: aya_ebpf::maps::LruHashMap<u32, u64> =
            aya_ebpf::maps::LruHashMap::with_max_entries(16384, 0);
        /// Time of each CPU's last tick.
        #[aya_ebpf::macros::map]
        static PREVIOUS: aya_ebpf::maps::PerCpuArray<u64> =
            aya_ebpf::maps::PerCpuArray::with_max_entries(1, 0);
        const TICKS: $crate::Ticks<'static> = $crate::Ticks {
            runtimes: &RUNTIMES,
            previous: &PREVIOUS,
        };
    };
}

/// The ticks before.
pub struct Ticks<'a> {
    /// CPU time of a thread at its last sample, ns, by thread ID.
    pub runtimes: &'a LruHashMap<u32, u64>,
    /// Time of each CPU's last tick.
    pub previous: &'a PerCpuArray<u64>,
}

impl Ticks<'_> {
    /// Returns the time that a sample stands for which is due at this timer: `(struct hrtimer *hrtimer, …)`, the arguments of
    /// `hrtimer_expire_entry`. `None` where none is due, or where the timer is not the tick.
    #[inline(always)]
    pub fn sample_at_timer(&self, ctx: &RawTracePointContext) -> Option<u64> {
        let timer: *const u8 = ctx.arg(0);
        if TIMER_FUNCTION.read(timer) != Ok(TICK.address()) {
            return None;
        }
        self.due(TIMER_EXPIRES.read(timer).ok()?)
    }

    /// Returns the same at a tick that is now.
    #[inline(always)]
    pub fn sample_now(&self) -> Option<u64> {
        self.due(now())
    }

    /// Returns the time that the sample of the tick at this time stands for; `None` where none is due.
    ///
    /// Samples are due at multiples of their period. A tick takes the sample if one was due since the tick before it, whether that one came
    /// or the CPU was idle then: so what runs at the tick does not matter, nor what ran before.
    #[inline(always)]
    fn due(&self, at: u64) -> Option<u64> {
        let (every, frequency) = (TICK_NS.load(), FREQUENCY.load());
        let wanted = 1_000_000_000_u64.checked_div(frequency)?;
        if wanted <= every {
            return Some(every);
        }
        let previous = self.previous.get_ptr_mut(0)?;
        // SAFETY: an aligned u64 of this CPU, which has one tick at a time.
        let previous = unsafe { previous.replace(at) };
        // A delayed tick may be followed by the next one at once. Before a tick that is later than that, the CPU was idle.
        let since = match at.wrapping_sub(previous) < 2 * every {
            true => previous,
            false => at.saturating_sub(every),
        };
        (at / wanted != since / wanted).then_some(wanted)
    }

    /// Returns the CPU time that the current thread had since its last sample; `period` at its first one.
    ///
    /// So the sum of a thread's samples is its CPU time even where ticks are missing: a virtual CPU that waits for a real one has none.
    ///
    /// # Errors
    /// Where the thread cannot be read, or there is no room for it.
    #[inline(always)]
    pub fn runtime(&self, period: u64) -> Result<u64, Loss> {
        let (thread, now) = (
            bpf_get_current_pid_tgid() as u32,
            TASK_RUNTIME.read(current())?,
        );
        // SAFETY: copied at once.
        let before = unsafe { self.runtimes.get(&thread) }.copied();
        (self.runtimes)
            .insert(&thread, &now, 0)
            .map_err(|_| Loss::MapFull)?;
        Ok(match before {
            Some(before) if before <= now => now - before,
            // A new thread, with the ID of an old one.
            Some(_) | None => period,
        })
    }
}

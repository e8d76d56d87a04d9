//! The state in which a thread leaves the CPU, shown by the word of proc_pid_status(5).

shared! {
    /// A state's number, from 0: its place in the list of words.
    ThreadState (pub u32);
}

impl ThreadState {
    /// The thread could go on: it was preempted, or it gave up the CPU.
    pub const RUNNING: Self = Self(0);
    /// It waits, and a signal ends the wait.
    pub const SLEEPING: Self = Self(1);
    /// It waits, and no signal ends the wait, or only a fatal one.
    pub const DISK_SLEEP: Self = Self(2);
    /// A signal stopped it.
    pub const STOPPED: Self = Self(3);
    /// A tracer by ptrace(2) stopped it.
    pub const TRACING_STOP: Self = Self(4);
    /// It has ended.
    pub const DEAD: Self = Self(5);
    /// A thread of the kernel that is put aside.
    pub const PARKED: Self = Self(6);
    /// A thread of the kernel that waits for work.
    pub const IDLE: Self = Self(7);

    /// Returns the state that these bits of `task_struct.__state` stand for, the same in all versions from 5.10 to 7.2:
    /// include/linux/sched.h.
    #[inline(always)]
    pub const fn of_bits(bits: u64) -> Self {
        const INTERRUPTIBLE: u64 = 0x1;
        const UNINTERRUPTIBLE: u64 = 0x2;
        const STOPPED: u64 = 0x4;
        const TRACED: u64 = 0x8;
        const PARKED: u64 = 0x40;
        const DEAD: u64 = 0x80;
        const NOLOAD: u64 = 0x400;
        if bits & DEAD != 0 {
            Self::DEAD
        } else if bits & UNINTERRUPTIBLE != 0 && bits & NOLOAD != 0 {
            Self::IDLE
        } else if bits & INTERRUPTIBLE != 0 {
            Self::SLEEPING
        } else if bits & STOPPED != 0 {
            Self::STOPPED
        } else if bits & TRACED != 0 {
            Self::TRACING_STOP
        } else if bits & PARKED != 0 {
            Self::PARKED
        } else if bits == 0 {
            Self::RUNNING
        } else {
            // UNINTERRUPTIBLE, and the waits of PREEMPT_RT's locks.
            Self::DISK_SLEEP
        }
    }
}

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};
    use std::{borrow::Cow, format};

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "thread_state";
        const WORD: &'static str = "thread state";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 12, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(2), text: "disk_sleep", json: "\"disk_sleep\"", csv: "disk_sleep" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Named(|each| {
                (0..NAMES.len()).for_each(|number| each(number as i64, &state(number as u64)));
            })
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Text)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        by_name!(_, n => state(n));
    }

    cell! { ThreadState => Kind::ThreadState, |v, out| out.unsigned(v.0.into()) }

    /// Words of proc_pid_status(5), by number.
    const NAMES: [&str; 8] = [
        "running", "sleeping", "disk_sleep", "stopped", "tracing_stop", "dead", "parked", "idle",
    ];

    fn state(number: u64) -> Cow<'static, str> {
        match NAMES.get(number as usize) {
            Some(name) => (*name).into(),
            None => format!("state_{number}").into(),
        }
    }

    #[test]
    fn thread_states_have_their_words_and_unknown_ones_their_numbers() {
        assert_eq!(state(ThreadState::RUNNING.0.into()), "running");
        assert_eq!(state(ThreadState::IDLE.0.into()), "idle");
        assert_eq!(state(8), "state_8");
    }

    #[test]
    fn bits_of_the_kernel_are_states() {
        // Bits of include/linux/sched.h: TASK_KILLABLE, TASK_IDLE, TASK_STOPPED, TASK_FREEZABLE | TASK_INTERRUPTIBLE, TASK_RTLOCK_WAIT.
        for (bits, state) in [
            (0, ThreadState::RUNNING),
            (0x102, ThreadState::DISK_SLEEP),
            (0x402, ThreadState::IDLE),
            (0x104, ThreadState::STOPPED),
            (0x8, ThreadState::TRACING_STOP),
            (0x2001, ThreadState::SLEEPING),
            (0x1000, ThreadState::DISK_SLEEP),
            (0x80, ThreadState::DEAD),
        ] {
            assert_eq!(ThreadState::of_bits(bits), state, "{bits:#x}");
        }
    }
}

//! What programs are given, by the kind of their point, and what they may decide.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock_addr},
    programs::{
        BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext,
        RetProbeContext, SkBuffContext, SockAddrContext,
    },
};
use core::{ffi::c_void, ptr::NonNull};

/// What a program is given; `#[program]` makes it of the kernel's pointer.
pub trait Context {
    /// The context behind the pointer that the kernel gives a program.
    fn of(ctx: *mut c_void) -> Self;
}

macro_rules! contexts {
    ($($context:ident),*) => { $(
        impl Context for $context {
            #[inline(always)]
            fn of(ctx: *mut c_void) -> Self {
                Self::new(ctx)
            }
        }
    )* };
}

contexts!(
    BtfTracePointContext,
    FEntryContext,
    FExitContext,
    IteratorContext,
    ProbeContext,
    RawTracePointContext,
    RetProbeContext
);

impl Context for SkBuffContext {
    #[inline(always)]
    fn of(ctx: *mut c_void) -> Self {
        // SAFETY: the kernel gives a packet.
        Self::new(unsafe { NonNull::new_unchecked(ctx.cast::<__sk_buff>()) })
    }
}

impl Context for SockAddrContext {
    #[inline(always)]
    fn of(ctx: *mut c_void) -> Self {
        Self::new(ctx.cast::<bpf_sock_addr>())
    }
}

/// What a program of an iterator is given: `struct bpf_iter__task` and the like.
pub struct IteratorContext(*const u64);

impl IteratorContext {
    const fn new(ctx: *mut c_void) -> Self {
        Self(ctx.cast())
    }

    /// The object that the iterator is at, the first after its `meta`; null at the end of the pass.
    #[inline(always)]
    pub fn object(&self) -> *const u8 {
        self.arg(1)
    }

    /// A member of the context, all of which are pointers or words.
    #[inline(always)]
    pub fn arg(&self, n: usize) -> *const u8 {
        // SAFETY: the verifier knows how many there are.
        unsafe { *self.0.add(n) as *const u8 }
    }
}

/// What a program decides that may.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as without the program.
    Allow,
    /// A packet is dropped; a call fails with EPERM.
    Deny,
}

impl Verdict {
    /// As programs of cgroups return it.
    #[inline(always)]
    pub const fn passes(self) -> i32 {
        match self {
            Self::Allow => 1,
            Self::Deny => 0,
        }
    }

    /// As programs at functions return it.
    #[inline(always)]
    pub const fn error(self) -> i32 {
        /// EPERM, include/uapi/asm-generic/errno-base.h.
        const EPERM: i32 = 1;
        match self {
            Self::Allow => 0,
            Self::Deny => -EPERM,
        }
    }
}

//! Contexts and verdicts of programs, by the kind of their point.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock_addr},
    helpers::bpf_probe_read_kernel,
    programs::{
        BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext,
        RetProbeContext, SkBuffContext, SockAddrContext,
    },
};
use core::{ffi::c_void, ptr::NonNull};

/// The context of a program, which `#[program]` creates from the kernel's pointer.
pub trait Context {
    /// Returns the context at the kernel's pointer.
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

/// The context of an iterator program: `struct bpf_iter__task` and similar ones.
pub struct IteratorContext(*const u64);

impl IteratorContext {
    const fn new(ctx: *mut c_void) -> Self {
        Self(ctx.cast())
    }

    /// Returns the current object of the iterator, the first member after `meta`; null at the end of the pass.
    #[inline(always)]
    pub fn object(&self) -> *const u8 {
        self.arg(1)
    }

    /// Returns the address of the current object as a number. The verifier allows no arithmetic, such as hashing, with a pointer that it
    /// knows the type of; a copy that a helper made is a number to it.
    ///
    /// # Errors
    /// Where the copy fails.
    #[inline(always)]
    pub fn address(&self) -> Result<u64, i32> {
        let object = self.object();
        // SAFETY: the source is a variable of this function.
        unsafe { bpf_probe_read_kernel((&raw const object).cast::<u64>()) }
    }

    /// Returns a member of the context: a pointer or a word.
    #[inline(always)]
    pub fn arg(&self, n: usize) -> *const u8 {
        // SAFETY: the verifier knows how many there are.
        unsafe { *self.0.add(n) as *const u8 }
    }
}

/// The verdict of a program at a point with verdicts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Accept: continue as without the program.
    Allow,
    /// Reject: a packet is dropped, a call fails with EPERM.
    Deny,
}

impl Verdict {
    /// Returns the verdict for programs of cgroups.
    #[inline(always)]
    pub const fn passes(self) -> i32 {
        match self {
            Self::Allow => 1,
            Self::Deny => 0,
        }
    }

    /// Returns the verdict for programs at functions.
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

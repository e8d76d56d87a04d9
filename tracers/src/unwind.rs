//! How user stacks are taken: an option of the tracers that can copy stacks.

use crate::prelude::*;

/// How a user stack is taken.
#[choice]
pub enum Unwind {
    /// By frame pointers, and by a copy of the stack where the frame pointers lead to no outermost frame.
    Auto,
    /// By frame pointers.
    Fp,
    /// By a copy of the stack.
    Copy,
}

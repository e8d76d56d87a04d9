#![allow(unused_imports, reason = "the attribute names them")]
use tracers::{Literal, Opt, OptionValue, Params, option, user_only};
use tracers_macros::{choice, params};

/// Ways.
#[choice]
pub enum Way {
    /// Into.
    In = 3,
}

fn main() {}

#![allow(unused_imports, reason = "the attribute names them")]
use tracers::{Literal, Opt, OptionValue, Params, option, user_only};
use tracers_macros::{choice, params};

/// Ways.
#[choice]
pub enum Way {
    /// Into.
    In,
}

/// Options.
#[params]
pub struct Options {
    /// An option.
    #[default = "out"]
    pub way: Way,
}

fn main() {}

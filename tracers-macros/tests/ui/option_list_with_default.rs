#![allow(unused_imports, reason = "the attribute names them")]
use tracers::{Literal, Opt, OptionValue, Params, option, user_only};
use tracers_macros::{choice, params};

/// Options.
#[params]
pub struct Options {
    /// An option.
    #[default = 80]
    pub ports: option::List<u16, 2>,
}

fn main() {}

#![allow(unused_imports, reason = "the attribute names them")]
use tracers::{Literal, Opt, OptionValue, Params, option, user_only};
use tracers_macros::params;

/// Options.
#[params]
pub struct Options {
    /// A name.
    pub name: &'static str,
}

fn main() {}

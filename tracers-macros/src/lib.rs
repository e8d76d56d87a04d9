//! `#[event]` and `#[params]`: a documented struct becomes a tracer's schema or its options. `#[program]`: a function becomes its kernel programs.
//!
//! Both fold every derive into one attribute, so that no tracer can forget one.
//! What a struct may not do (an undocumented column, padding, a role without a key) is a compile error here.
#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use syn::{DeriveInput, Error, parse_macro_input};

mod choice;
mod event;
mod fields;
mod params;
mod program;

/// Makes a struct the rows of a tracer: one column per field, named and documented by it.
///
/// Field attributes: `#[key]`, `#[count]`, `#[sum]`, `#[gauge]`, `#[max]`, `#[min]`, `#[last]`, `#[histogram]` give the column's role;
/// `#[wide]` leaves it out of the ordinary table, and `#[spare]` out of a narrow one: other columns then show their whole values.
/// `#[on_top]` is of stacks and a name that are drawn on top of the other stacks.
/// `#[part("COMMAND")]` is of the parts of a whole: a table shows them together, and names the command that shows more of the largest one.
/// Without a `#[key]` rows are events, and go through a ring. With one they are a table that the kernel keeps for each CPU:
/// the keys come first, and `NameKey` and `NameValue` are its map's key and value.
/// `#[event(shared)]` keeps one table for all CPUs, whose values go up and down.
/// `#[event(snapshot)]` takes the rows that an iterator program writes each time that it is read.
#[proc_macro_attribute]
pub fn event(args: TokenStream, input: TokenStream) -> TokenStream {
    let chosen = parse_macro_input!(args as event::Chosen);
    let input = parse_macro_input!(input as DeriveInput);
    event::expand(chosen, input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// Makes a struct the options of a tracer: each field sets the kernel global of the same name in upper case.
///
/// Field attributes: `#[default = 4096]` or `"64KiB"`, where it is not 0, off or empty; `#[required]`; `#[range = 1..=65535]` or
/// `"1ms"..="10s"`, for numbers, durations and sizes; `#[unit = "events"]` for a number whose name does not end with `_ns` or `_bytes`.
#[proc_macro_attribute]
pub fn params(args: TokenStream, input: TokenStream) -> TokenStream {
    expand(args, input, params::expand)
}

/// Makes an enum a type of options: one of its words, which are its variants in lower case. The first is the default.
#[proc_macro_attribute]
pub fn choice(args: TokenStream, input: TokenStream) -> TokenStream {
    expand(args, input, choice::expand)
}

fn expand(
    args: TokenStream,
    input: TokenStream,
    with: fn(DeriveInput) -> syn::Result<proc_macro2::TokenStream>,
) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    if !args.is_empty() {
        let args = proc_macro2::TokenStream::from(args);
        return Error::new_spanned(args, "this attribute takes no arguments")
            .into_compile_error()
            .into();
    }
    with(input).unwrap_or_else(Error::into_compile_error).into()
}

/// Makes a function that takes a reference to its context the kernel programs of a point: `#[program(raw_tp = "sys_enter")]`.
///
/// | kind | target | context | returns |
/// | --- | --- | --- | --- |
/// | `raw_tp`, `tp_btf` | tracepoint | `RawTracePointContext`, `BtfTracePointContext` | nothing |
/// | `fentry`, `fexit` | kernel function | `FEntryContext`, `FExitContext` | nothing |
/// | `fmod_ret` | kernel function `security_*` | `FEntryContext` | nothing, or a `Verdict`: `Deny` is EPERM |
/// | `iter` | iterator, such as `task` | `IteratorContext` | nothing |
/// | `uprobe`, `uretprobe` | user function | `ProbeContext`, `RetProbeContext` | nothing |
/// | `cgroup_skb` | `ingress` or `egress` | `SkBuffContext` | nothing, or a `Verdict`: `Deny` drops the packet |
/// | `cgroup` | `connect4`, `bind6`, … | `SockAddrContext` | nothing, or a `Verdict`: `Deny` is EPERM |
///
/// Programs of the first two rows are two: one of the function's name, and `…_again`, which the loader puts before it where the kernel may
/// skip it. A program that may decide and returns nothing lets everything pass.
#[proc_macro_attribute]
pub fn program(args: TokenStream, input: TokenStream) -> TokenStream {
    let place = parse_macro_input!(args as program::Place);
    let input = parse_macro_input!(input as syn::ItemFn);
    program::expand(place, input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

//! `#[program]`: a function becomes the two kernel programs of a hook.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{
    Error, FnArg, Ident, ItemFn, LitStr, Token, Type,
    parse::{Parse, ParseStream},
};

/// `raw_tp = "sys_enter"`.
pub(crate) struct Hook {
    kind: Ident,
    target: LitStr,
}

impl Parse for Hook {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.is_empty() {
            return Err(Error::new(
                Span::call_site(),
                "say where it attaches, for instance raw_tp = \"sys_enter\"",
            ));
        }
        let kind = input.parse()?;
        input.parse::<Token![=]>()?;
        let target = input.parse()?;
        Ok(Self { kind, target })
    }
}

/// How many programs of a CPU are told apart while they are at work: `SLOTS` of `agent-ebpf/src/again.rs`.
const SLOTS: u32 = 64;

pub(crate) fn expand(hook: Hook, input: ItemFn) -> syn::Result<TokenStream> {
    let target = &hook.target;
    let attribute = match hook.kind.to_string().as_str() {
        "raw_tp" => quote!(::aya_ebpf::macros::raw_tracepoint(tracepoint = #target)),
        "fentry" => quote!(::aya_ebpf::macros::fentry(function = #target)),
        "fexit" => quote!(::aya_ebpf::macros::fexit(function = #target)),
        "uprobe" => quote!(::aya_ebpf::macros::uprobe(multi)),
        "uretprobe" => quote!(::aya_ebpf::macros::uretprobe(multi)),
        _ => {
            return Err(Error::new_spanned(
                &hook.kind,
                "a program attaches by raw_tp, fentry, fexit, uprobe or uretprobe",
            ));
        }
    };
    let of_user_space = hook.kind == "uprobe" || hook.kind == "uretprobe";
    let context = match input.sig.inputs.iter().collect::<Vec<_>>()[..] {
        [FnArg::Typed(argument)] => match &*argument.ty {
            Type::Reference(reference) => Some(&reference.elem),
            _ => None,
        },
        _ => None,
    }
    .ok_or_else(|| {
        Error::new_spanned(
            &input.sig.inputs,
            "a program takes a reference to its context, and nothing else",
        )
    })?;
    let name = &input.sig.ident;
    let (again, body) = (format_ident!("{name}_again"), format_ident!("{name}_body"));
    let slot = slot(&name.to_string());
    let docs = input.attrs.iter().filter(|a| a.path().is_ident("doc"));
    let (inputs, block) = (&input.sig.inputs, &input.block);
    if of_user_space {
        // The kernel skips none of its runs, so there is no second one.
        return Ok(quote! {
            #[inline(always)]
            fn #body(#inputs) #block

            #(#docs)*
            #[#attribute]
            pub fn #name(ctx: #context) -> u32 {
                agent_ebpf::on_the_tasks_stack();
                #body(&ctx);
                0
            }
        });
    }
    Ok(quote! {
        #[inline(always)]
        fn #body(#inputs) #block

        #(#docs)*
        #[#attribute]
        pub fn #name(ctx: #context) -> i32 {
            if agent_ebpf::begin(#slot) {
                #body(&ctx);
                agent_ebpf::end(#slot);
            }
            0
        }

        /// The same, where the other is about to be skipped.
        #[#attribute]
        pub fn #again(ctx: #context) -> i32 {
            if agent_ebpf::take_over(#slot) {
                #body(&ctx);
            }
            0
        }
    })
}

/// A program's place among those of its CPU, by its name: FNV-1a. Two that share one do each other no harm, but help each other less.
fn slot(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash % SLOTS
}

//! `#[program]`: a function becomes the kernel programs of a point.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{
    Error, FnArg, Ident, ItemFn, LitStr, ReturnType, Token, Type,
    parse::{Parse, ParseStream},
};

/// `raw_tp = "sys_enter"`.
pub(crate) struct Place {
    kind: Ident,
    target: LitStr,
}

impl Parse for Place {
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

/// What the kernel takes what a program returns for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Returns {
    /// Nothing: it is 0. Such a program has a second one for runs that the kernel skips.
    Nothing,
    /// The same, of a program that is never skipped, or whose run cannot be made up for.
    NothingOnce,
    /// 1 lets it pass, 0 does not.
    Passes,
    /// 0 goes on, and a negative number is the error that the caller gets instead.
    Fails,
}

/// Every kind of point: its word, the section by which aya-obj knows that it is a program, and what it returns. `tracers::At` has the same.
const KINDS: [(&str, &str, Returns); 12] = [
    ("raw_tp", "raw_tp/", Returns::Nothing),
    ("tp_btf", "tp_btf/", Returns::Nothing),
    ("fentry", "fentry/", Returns::Nothing),
    ("fexit", "fexit/", Returns::Nothing),
    // aya-obj knows no section of that name. The loader does not go by it.
    ("fmod_ret", "fexit/", Returns::Fails),
    // aya-obj knows those of one function. The loader does not go by it.
    ("kprobe", "kprobe/", Returns::NothingOnce),
    ("kretprobe", "kretprobe/", Returns::NothingOnce),
    ("iter", "iter/", Returns::NothingOnce),
    ("uprobe", "uprobe.multi/", Returns::NothingOnce),
    ("uretprobe", "uretprobe.multi/", Returns::NothingOnce),
    ("cgroup_skb", "cgroup_skb/", Returns::Passes),
    ("cgroup", "cgroup/", Returns::Passes),
];

/// How many programs of a CPU are told apart while they are at work: `SLOTS` of `agent-ebpf/src/again.rs`.
const SLOTS: u32 = 64;

pub(crate) fn expand(place: Place, input: ItemFn) -> syn::Result<TokenStream> {
    let kind = KINDS.iter().find(|(word, ..)| place.kind == word);
    let Some(&(_, section, returns)) = kind else {
        let words: Vec<&str> = KINDS.iter().map(|(word, ..)| *word).collect();
        let message = format!("a program attaches by one of {}", words.join(", "));
        return Err(Error::new_spanned(&place.kind, message));
    };
    let section = format!("{section}{}", place.target.value());
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
    let (inputs, output, block) = (&input.sig.inputs, &input.sig.output, &input.block);
    let decides = !matches!(output, ReturnType::Default);
    // `agent-ebpf/src/user_probe.rs` says why. At kernel functions no such program runs twice on one CPU (kprobe_multi_link_prog_run,
    // kernel/trace/bpf_trace.c).
    let of_user_space = place.kind == "uprobe" || place.kind == "uretprobe";
    let guard = of_user_space.then(|| quote!(agent_ebpf::on_the_tasks_stack();));
    let run = match (returns, decides) {
        (Returns::Nothing, false) => quote! {
            if agent_ebpf::begin(#slot) {
                #body(&ctx);
                agent_ebpf::end(#slot);
            }
            0
        },
        (Returns::NothingOnce, false) => quote! {
            #body(&ctx);
            0
        },
        (Returns::Nothing | Returns::NothingOnce, true) => {
            let message = "a program of this kind decides nothing, so it returns nothing";
            return Err(Error::new_spanned(output, message));
        }
        // Without a verdict it lets everything pass.
        (Returns::Passes | Returns::Fails, false) => {
            let allow = i32::from(returns == Returns::Passes);
            quote! {
                #body(&ctx);
                #allow
            }
        }
        (Returns::Passes, true) => quote! {
            let verdict: agent_ebpf::Verdict = #body(&ctx);
            verdict.passes()
        },
        (Returns::Fails, true) => quote! {
            let verdict: agent_ebpf::Verdict = #body(&ctx);
            verdict.error()
        },
    };
    let second = (returns == Returns::Nothing).then(|| {
        quote! {
            /// The same, where the other is about to be skipped.
            #[unsafe(no_mangle)]
            #[unsafe(link_section = #section)]
            pub fn #again(ctx: *mut ::core::ffi::c_void) -> i32 {
                let ctx = <#context as agent_ebpf::Context>::of(ctx);
                if agent_ebpf::take_over(#slot) {
                    #body(&ctx);
                }
                0
            }
        }
    });
    Ok(quote! {
        #[inline(always)]
        fn #body(#inputs) #output #block

        #(#docs)*
        #[unsafe(no_mangle)]
        #[unsafe(link_section = #section)]
        pub fn #name(ctx: *mut ::core::ffi::c_void) -> i32 {
            #guard
            let ctx = <#context as agent_ebpf::Context>::of(ctx);
            #run
        }

        #second
    })
}

/// A program's place among those of its CPU, by its name: FNV-1a. Two that share one do each other no harm, but help each other less.
fn slot(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash % SLOTS
}

//! `#[choice]`: an enum becomes the words of an option, with their prose.

use crate::fields::doc;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields};

/// More words are no choice: a name or a number is meant.
const MOST: usize = 32;

pub(crate) fn expand(input: DeriveInput) -> syn::Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(&input, "an enum is wanted here"));
    };
    if data.variants.is_empty() || data.variants.len() > MOST {
        return Err(Error::new_spanned(
            &input.ident,
            format!("a choice has 1 to {MOST} words"),
        ));
    }
    let mut words = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) || variant.discriminant.is_some() {
            return Err(Error::new_spanned(
                variant,
                "a word has neither fields nor a number: its place is its number",
            ));
        }
        let about = doc(&variant.attrs);
        if about.is_empty() {
            return Err(Error::new_spanned(
                variant,
                "say what this word means, in a doc comment: it is the manual and the CRD",
            ));
        }
        let word = kebab(&variant.ident.to_string());
        words.push(quote!((#word, #about)));
    }
    let (name, first) = (&input.ident, &data.variants[0].ident);
    Ok(quote! {
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #input

        impl Default for #name {
            fn default() -> Self {
                Self::#first
            }
        }

        impl crate::option::Choice for #name {
            const WORDS: &'static [(&'static str, &'static str)] = &[#(#words),*];
        }
    })
}

/// `InAndOut` as it is typed: `in-and-out`.
fn kebab(pascal: &str) -> String {
    let mut out = String::new();
    for c in pascal.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

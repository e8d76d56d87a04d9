//! `#[params]`: options with their prose, their width and the kernel global that each sets.

use crate::fields::{doc, named, required_doc};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error};

pub(crate) fn expand(input: DeriveInput) -> syn::Result<TokenStream> {
    if doc(&input.attrs).is_empty() {
        return Err(Error::new_spanned(
            &input.ident,
            "say whose options these are, in a doc comment",
        ));
    }
    let mut options = vec![];
    for field in named(&input)? {
        let (ident, ty, about) = (&field.ident, &field.ty, required_doc(field)?);
        let name = ident.as_ref().map(ToString::to_string).unwrap_or_default();
        let (global, key) = (name.to_uppercase(), camel(&name));
        options.push(quote!(crate::Opt {
            name: #name, key: #key, global: #global, about: #about,
            kind: <#ty as crate::OptionValue>::KIND,
        }));
    }
    let name = &input.ident;
    Ok(quote! {
        #[derive(Clone, Copy, Debug, Default)]
        #input

        impl crate::Params for #name {
            const OPTIONS: &'static [crate::Opt] = &[#(#options),*];
        }
    })
}

fn camel(snake: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in snake.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

//! What both attributes read of a struct: its named fields and their prose.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, Lit, Meta, punctuated,
};

/// The named fields of the struct.
pub(crate) fn named(input: &DeriveInput) -> syn::Result<punctuated::Iter<'_, Field>> {
    match &input.data {
        Data::Struct(data) if matches!(data.fields, Fields::Named(_)) => Ok(data.fields.iter()),
        _ => Err(Error::new_spanned(
            input,
            "a struct with named fields is wanted here",
        )),
    }
}

/// The prose of a field, which it must have.
pub(crate) fn required_doc(field: &Field) -> syn::Result<String> {
    match doc(&field.attrs) {
        text if text.is_empty() => Err(Error::new_spanned(
            field,
            "say what this is, in a doc comment: it is the manual, the CRD and `--help`",
        )),
        text => Ok(text),
    }
}

/// The doc comment as one paragraph per blank line.
pub(crate) fn doc(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(nv) if nv.path.is_ident("doc") => match &nv.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    let mut out = String::new();
    for line in lines {
        match line.as_str() {
            "" => out.push('\n'),
            line if out.is_empty() || out.ends_with('\n') => out.push_str(line),
            line => {
                out.push(' ');
                out.push_str(line);
            }
        }
    }
    out.trim().to_owned()
}

/// The attributes that every struct shared with the kernel carries.
pub(crate) fn shared_derives() -> TokenStream {
    quote! {
        #[repr(C)]
        #[derive(
            Clone, Copy,
            crate::zerocopy::FromBytes, crate::zerocopy::IntoBytes,
            crate::zerocopy::Immutable, crate::zerocopy::KnownLayout,
        )]
        #[zerocopy(crate = "crate::zerocopy")]
    }
}

//! `#[params]`: options with their prose, their type, their bounds and the kernel global that each sets.

use crate::fields::{doc, named, required_doc};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{
    Attribute, DeriveInput, Error, Expr, ExprLit, ExprRange, Field, Lit, Meta, RangeLimits,
    spanned::Spanned,
};

/// A field's attributes that are ours: they are taken off before the struct is emitted.
const OURS: [&str; 4] = ["unit", "range", "default", "required"];

pub(crate) fn expand(mut input: DeriveInput) -> syn::Result<TokenStream> {
    if doc(&input.attrs).is_empty() {
        return Err(Error::new_spanned(
            &input.ident,
            "say whose options these are, in a doc comment",
        ));
    }
    let options = named(&input)?
        .map(option)
        .collect::<syn::Result<Vec<_>>>()?;
    strip(&mut input);
    let name = &input.ident;
    Ok(quote! {
        #[derive(Clone, Copy, Debug, Default)]
        #input

        impl crate::Params for #name {
            crate::user_only! {
                const OPTIONS: &'static [crate::Opt] = &[#(#options),*];
            }
        }

        crate::user_only! {
            // A constant that nobody uses is not evaluated, and would be wrong unseen.
            const _: &[crate::Opt] = <#name as crate::Params>::OPTIONS;
        }
    })
}

/// The description of one field.
fn option(field: &Field) -> syn::Result<TokenStream> {
    let (ident, ty, about) = (&field.ident, &field.ty, required_doc(field)?);
    let name = ident.as_ref().map(ToString::to_string).unwrap_or_default();
    let (global, key) = (name.to_uppercase(), camel(&name));
    let mut out = quote!(
        crate::Opt::of([#name, #key, #global, #about], <#ty as crate::OptionValue>::KIND)
    );
    let mut seen: Vec<&str> = Vec::new();
    for attr in &field.attrs {
        let Some(ours) = ours(attr) else { continue };
        if seen.contains(&ours) {
            return Err(Error::new_spanned(
                attr,
                format!("#[{ours}] stands here twice"),
            ));
        }
        seen.push(ours);
        let span = attr.span();
        let call = match ours {
            "required" => {
                attr.meta.require_path_only()?;
                quote_spanned!(span=> .required())
            }
            "unit" => {
                let unit = text(value(attr)?)?;
                quote_spanned!(span=> .unit(#unit))
            }
            "default" => {
                let default = literal(value(attr)?)?;
                quote_spanned!(span=> .default(#default))
            }
            _ => {
                let (from, to) = range(value(attr)?)?;
                quote_spanned!(span=> .range(#from, #to))
            }
        };
        out.extend(call);
    }
    Ok(quote_spanned!(field.span()=> #out.checked()))
}

fn ours(attr: &Attribute) -> Option<&'static str> {
    OURS.into_iter().find(|ours| attr.path().is_ident(ours))
}

/// What stands behind the attribute's `=`.
fn value(attr: &Attribute) -> syn::Result<&Expr> {
    match &attr.meta {
        Meta::NameValue(pair) => Ok(&pair.value),
        Meta::Path(_) | Meta::List(_) => Err(Error::new_spanned(
            attr,
            "write it with its value: #[range = 1..=65535], #[default = \"10ms\"], #[unit = \"events\"]",
        )),
    }
}

fn text(expr: &Expr) -> syn::Result<String> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(text.value()),
        _ => Err(Error::new_spanned(expr, "a text is wanted here")),
    }
}

/// A number or a text.
fn literal(expr: &Expr) -> syn::Result<TokenStream> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Int(number),
            ..
        }) => Ok(quote!(crate::Literal::Number(#number))),
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(quote!(crate::Literal::Text(#text))),
        _ => Err(Error::new_spanned(
            expr,
            "a whole number or a text is wanted here, such as 4096 or \"64KiB\"",
        )),
    }
}

fn range(expr: &Expr) -> syn::Result<(TokenStream, TokenStream)> {
    let wrong = || Error::new_spanned(expr, "a range is wanted here: 1..=65535, \"1ms\".., ..=8");
    let Expr::Range(ExprRange {
        start, limits, end, ..
    }) = expr
    else {
        return Err(wrong());
    };
    if matches!(limits, RangeLimits::HalfOpen(_)) && end.is_some() {
        return Err(wrong());
    }
    let bound = |bound: &Option<Box<Expr>>| match bound {
        None => Ok(quote!(None)),
        Some(expr) => literal(expr).map(|literal| quote!(Some(#literal))),
    };
    Ok((bound(start)?, bound(end)?))
}

fn strip(input: &mut DeriveInput) {
    if let syn::Data::Struct(data) = &mut input.data {
        for field in &mut data.fields {
            field.attrs.retain(|attr| ours(attr).is_none());
        }
    }
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

//! `#[event]`: columns, decoding and, for aggregating tracers, the map's key and value.

use crate::fields::{doc, named, required_doc, shared_derives};
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::{Attribute, DeriveInput, Error, Field};

/// A field's attributes that are ours: they are taken off before the struct is emitted.
const ROLES: [(&str, &str); 7] = [
    ("key", "Key"),
    ("count", "Count"),
    ("sum", "Sum"),
    ("max", "Max"),
    ("min", "Min"),
    ("last", "Last"),
    ("histogram", "Histogram"),
];

struct Parsed {
    field: Field,
    role: &'static str,
    wide: bool,
    doc: String,
}

pub(crate) fn expand(mut input: DeriveInput) -> syn::Result<TokenStream> {
    let about = doc(&input.attrs);
    if about.is_empty() {
        return Err(Error::new_spanned(
            &input.ident,
            "say what the rows are, in a doc comment: it is the first line of `tracejob describe`",
        ));
    }
    let fields = named(&input)?
        .cloned()
        .map(parse)
        .collect::<syn::Result<Vec<_>>>()?;
    let (keys, values) = split(&fields)?;
    strip(&mut input);

    let name = &input.ident;
    let columns = fields.iter().filter(|f| !padding(&f.field)).map(|f| {
        let (ty, about, wide) = (&f.field.ty, &f.doc, f.wide);
        let column = f.field.ident.as_ref().map(Ident::to_string);
        let role = format_ident!("{}", f.role);
        quote!(<#ty as crate::Cell>::columns(crate::Column::of(#column, #about, crate::Role::#role, #wide), out);)
    });
    let cells = fields.iter().filter(|f| !padding(&f.field)).map(|f| {
        let ident = &f.field.ident;
        quote!(crate::Cell::push(&self.#ident, out);)
    });
    let source = match keys.is_empty() {
        true => quote!(crate::Source::Ring),
        false => quote!(crate::Source::Map),
    };
    let parts = match keys.is_empty() {
        true => quote!(
            const KEY_BYTES: usize = 0;
        ),
        false => {
            let key = format_ident!("{name}Key");
            quote!(const KEY_BYTES: usize = core::mem::size_of::<#key>();)
        }
    };
    let map_types = map_types(name, &keys, &values);
    let derives = shared_derives();
    Ok(quote! {
        #derives
        #input

        #map_types

        impl crate::Event for #name {
            const ABOUT: &'static str = #about;
            const SOURCE: crate::Source = #source;
            #parts
            crate::user_only! {
                fn columns(out: &mut std::vec::Vec<crate::Column>) { #(#columns)* }
                fn push(&self, out: &mut crate::Cursor<'_>) { #(#cells)* }
            }
        }
    })
}

/// `NameKey` and `NameValue`: the same fields, as the map in the kernel holds them.
fn map_types(name: &Ident, keys: &[&Parsed], values: &[&Parsed]) -> TokenStream {
    if keys.is_empty() {
        return TokenStream::new();
    }
    let part = |suffix: &str, of: &str, fields: &[&Parsed]| {
        let ident = format_ident!("{name}{suffix}");
        let derives = shared_derives();
        let about = format!("What [`{name}`] {of} by, as its map in the kernel holds it.");
        let fields = fields.iter().map(|f| {
            let Field { vis, ident, ty, .. } = &f.field;
            let doc = &f.doc;
            quote!(#[doc = #doc] #vis #ident: #ty)
        });
        quote!(#[doc = #about] #derives pub struct #ident { #(#fields),* })
    };
    let (key, value) = (
        part("Key", "is told apart", keys),
        part("Value", "adds up", values),
    );
    let (key_ident, value_ident) = (format_ident!("{name}Key"), format_ident!("{name}Value"));
    quote! {
        #key
        #value
        const _: () = assert!(
            core::mem::size_of::<#name>()
                == core::mem::size_of::<#key_ident>() + core::mem::size_of::<#value_ident>(),
            "the keys end off an 8-byte boundary: add a `_pad` key"
        );
    }
}

/// Keys first, then values; exactly one `#[count]` where there are keys.
fn split(fields: &[Parsed]) -> syn::Result<(Vec<&Parsed>, Vec<&Parsed>)> {
    let is_key = |f: &&Parsed| f.role == "Key";
    let first_value = fields
        .iter()
        .position(|f| !is_key(&f) && !padding(&f.field));
    let keys: Vec<_> = fields.iter().filter(is_key).collect();
    if keys.is_empty() {
        if let Some(field) = fields.iter().find(|f| f.role == "Count") {
            return Err(Error::new_spanned(
                &field.field,
                "a count adds up rows with equal keys: give the struct a `#[key]`",
            ));
        }
        return Ok((vec![], vec![]));
    }
    let first_value = first_value.unwrap_or(fields.len());
    if let Some(late) = fields[first_value..].iter().find(is_key) {
        return Err(Error::new_spanned(
            &late.field,
            "keys come before values: together they are the map's key",
        ));
    }
    if let Some(bare) = fields
        .iter()
        .find(|f| f.role == "None" && !padding(&f.field))
    {
        return Err(Error::new_spanned(
            &bare.field,
            "say how this merges: #[count], #[sum], #[max], #[min], #[last] or #[histogram]",
        ));
    }
    if fields.iter().filter(|f| f.role == "Count").count() != 1 {
        return Err(Error::new_spanned(
            &keys[0].field,
            "exactly one column is the `#[count]` of events: the account is kept by it",
        ));
    }
    Ok((
        fields[..first_value].iter().collect(),
        fields[first_value..].iter().collect(),
    ))
}

fn parse(field: Field) -> syn::Result<Parsed> {
    let doc = match padding(&field) {
        true => "Padding, always zero.".to_owned(),
        false => required_doc(&field)?,
    };
    let mut roles = ROLES
        .iter()
        .filter(|(attr, _)| has(&field.attrs, attr))
        .map(|(_, role)| *role);
    let role = roles.next().unwrap_or("None");
    if roles.next().is_some() {
        return Err(Error::new_spanned(&field, "a column has one role"));
    }
    let wide = has(&field.attrs, "wide");
    Ok(Parsed {
        field,
        role,
        wide,
        doc,
    })
}

fn strip(input: &mut DeriveInput) {
    let syn::Data::Struct(data) = &mut input.data else {
        return;
    };
    for field in &mut data.fields {
        if padding(field) && !has(&field.attrs, "doc") {
            field
                .attrs
                .push(syn::parse_quote!(#[doc = "Padding, always zero."]));
        }
        field.attrs.retain(|attr| {
            !attr.path().is_ident("wide")
                && !ROLES.iter().any(|(name, _)| attr.path().is_ident(name))
        });
    }
}

fn has(attrs: &[Attribute], name: &str) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident(name))
}

fn padding(field: &Field) -> bool {
    field
        .ident
        .as_ref()
        .is_some_and(|ident| ident.to_string().starts_with('_'))
}

//! `#[event]`: columns, decoding and, for tables that the kernel keeps, the map's key and value.

use crate::fields::{doc, named, required_doc, shared_derives};
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, DeriveInput, Error, Field, LitStr,
    parse::{Parse, ParseStream},
    spanned::Spanned,
};

/// How the rows leave the kernel: `tracers::Source`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Ring,
    PerCpu,
    Shared,
    Snapshot,
}

/// What the attribute's arguments choose; without them the fields do.
#[derive(Default)]
pub(crate) struct Chosen(Option<Source>);

impl Parse for Chosen {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.is_empty() {
            return Ok(Self(None));
        }
        let word: Ident = input.parse()?;
        match word.to_string().as_str() {
            "shared" => Ok(Self(Some(Source::Shared))),
            "snapshot" => Ok(Self(Some(Source::Snapshot))),
            _ => Err(Error::new_spanned(
                &word,
                "rows come from a ring or a table of each CPU, as their fields say, or by `#[event(shared)]` or `#[event(snapshot)]`",
            )),
        }
    }
}

impl Source {
    /// Its name in the crate `tracers`.
    fn ident(self) -> Ident {
        format_ident!(
            "{}",
            match self {
                Self::Ring => "Ring",
                Self::PerCpu => "PerCpu",
                Self::Shared => "Shared",
                Self::Snapshot => "Snapshot",
            }
        )
    }

    /// Whether the kernel holds rows in a map, by key.
    fn has_map(self) -> bool {
        match self {
            Self::PerCpu | Self::Shared => true,
            Self::Ring | Self::Snapshot => false,
        }
    }

    /// Why a column of its rows cannot have a role; `None` where it can.
    fn refuses(self, role: Role) -> Option<&'static str> {
        match (self, role) {
            (Self::Ring, Role::Count) => {
                Some("a count adds up rows with equal keys: give the struct a `#[key]`")
            }
            (
                Self::Ring,
                Role::Key
                | Role::Sum
                | Role::Max
                | Role::Min
                | Role::Last
                | Role::Gauge
                | Role::Histogram,
            ) => Some("a role says how rows with equal keys merge: give the struct a `#[key]`"),
            (Self::PerCpu, Role::Gauge) => Some(
                "a table of each CPU has a value for each of them, of which none is the current one: use `#[event(shared)]` or `#[event(snapshot)]`",
            ),
            (Self::PerCpu, Role::Last) => Some(
                "a table of each CPU has a value for each of them, of which none is known to be the newest: use `#[event(snapshot)]`",
            ),
            (Self::Shared, Role::Max | Role::Min | Role::Last) => Some(
                "all CPUs change this value at once, and only adding is atomic: use #[gauge], #[count], #[sum] or #[histogram]",
            ),
            (Self::Snapshot, Role::Count) => Some(
                "an event is a row of a snapshot, whatever is in it: use #[gauge] for a current value, #[sum] for a number that only grows",
            ),
            (Self::PerCpu | Self::Shared | Self::Snapshot, Role::None) => Some(
                "say how this merges: #[count], #[sum], #[gauge], #[max], #[min], #[last] or #[histogram]",
            ),
            (Self::Ring, Role::None)
            | (
                Self::PerCpu,
                Role::Key | Role::Count | Role::Sum | Role::Max | Role::Min | Role::Histogram,
            )
            | (Self::Shared, Role::Key | Role::Count | Role::Sum | Role::Gauge | Role::Histogram)
            | (
                Self::Snapshot,
                Role::Key
                | Role::Sum
                | Role::Max
                | Role::Min
                | Role::Last
                | Role::Gauge
                | Role::Histogram,
            ) => None,
        }
    }
}

/// How a column merges: `tracers::Role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    None,
    Key,
    Count,
    Sum,
    Max,
    Min,
    Last,
    Gauge,
    Histogram,
}

/// A field's attributes that are ours: they are taken off before the struct is emitted.
const ROLES: [(&str, Role); 8] = [
    ("key", Role::Key),
    ("count", Role::Count),
    ("sum", Role::Sum),
    ("max", Role::Max),
    ("min", Role::Min),
    ("last", Role::Last),
    ("gauge", Role::Gauge),
    ("histogram", Role::Histogram),
];

struct Parsed {
    field: Field,
    role: Role,
    wide: bool,
    spare: bool,
    on_top: bool,
    part: Option<LitStr>,
    doc: String,
}

impl Parsed {
    fn is_key(&self) -> bool {
        self.role == Role::Key
    }
}

pub(crate) fn expand(Chosen(chosen): Chosen, mut input: DeriveInput) -> syn::Result<TokenStream> {
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
    let has_keys = fields.iter().any(Parsed::is_key);
    let source = chosen.unwrap_or(match has_keys {
        true => Source::PerCpu,
        false => Source::Ring,
    });
    check(&input.ident, source, &fields)?;
    let (keys, values) = match source.has_map() {
        true => split(&fields)?,
        false => (vec![], vec![]),
    };
    strip(&mut input);

    let name = &input.ident;
    let columns = fields.iter().filter(|f| !padding(&f.field)).map(|f| {
        let (ty, about, wide) = (&f.field.ty, &f.doc, f.wide);
        let spare = f.spare.then(|| quote!(.spare()));
        let on_top = f.on_top.then(|| quote!(.on_top()));
        let part = f.part.as_ref().map(|command| quote!(.part(#command)));
        let ident = &f.field.ident;
        let column = ident.as_ref().map(Ident::to_string);
        let role = format_ident!("{}", format!("{:?}", f.role));
        quote!(<#ty as crate::Cell>::columns(crate::Column::of(#column, #about, crate::Role::#role, #wide).at(core::mem::offset_of!(#name, #ident))#spare #on_top #part, out);)
    });
    let cells = fields.iter().filter(|f| !padding(&f.field)).map(|f| {
        let ident = &f.field.ident;
        quote!(crate::Cell::push(&self.#ident, out);)
    });
    let key_bytes = match source.has_map() {
        false => quote!(0),
        true => {
            let key = format_ident!("{name}Key");
            quote!(core::mem::size_of::<#key>())
        }
    };
    let whole_words = match source {
        Source::Shared => values.iter().map(|f| whole_words(&f.field)).collect(),
        Source::Ring | Source::PerCpu | Source::Snapshot => TokenStream::new(),
    };
    let source = source.ident();
    let map_types = map_types(name, &keys, &values);
    let derives = shared_derives();
    Ok(quote! {
        #derives
        #input

        #map_types

        #whole_words

        impl crate::Event for #name {
            const ABOUT: &'static str = #about;
            const SOURCE: crate::Source = crate::Source::#source;
            const KEY_BYTES: usize = #key_bytes;
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

/// Programs of several CPUs add to values at once, by words.
fn whole_words(field: &Field) -> TokenStream {
    let ty = &field.ty;
    quote_spanned! {ty.span()=>
        const _: () = assert!(
            core::mem::size_of::<#ty>() % 8 == 0,
            "a value that all CPUs add to is of words of 8 bytes"
        );
    }
}

/// Whether the roles of all columns fit the way that their rows come.
fn check(name: &Ident, source: Source, fields: &[Parsed]) -> syn::Result<()> {
    let columns = || fields.iter().filter(|f| !padding(&f.field));
    let table = match source {
        Source::Ring => false,
        Source::PerCpu | Source::Shared | Source::Snapshot => true,
    };
    if table && !fields.iter().any(Parsed::is_key) {
        return Err(Error::new_spanned(
            name,
            "rows of a table are told apart by a `#[key]`",
        ));
    }
    if let Some((bad, why)) = columns().find_map(|f| Some((f, source.refuses(f.role)?))) {
        return Err(Error::new_spanned(&bad.field, why));
    }
    if table && columns().all(Parsed::is_key) {
        return Err(Error::new_spanned(name, "a table has a value in each row"));
    }
    let mut counts = columns().filter(|f| f.role == Role::Count);
    let first = counts.next();
    match (source, first, counts.next()) {
        (Source::PerCpu, None, _) => Err(Error::new_spanned(
            fields.iter().find(|f| f.is_key()).map(|f| &f.field),
            "exactly one column is the `#[count]` of events: the account is kept by it",
        )),
        (Source::PerCpu | Source::Shared, _, Some(second)) => Err(Error::new_spanned(
            &second.field,
            "one column at most is the `#[count]` of events",
        )),
        (Source::Ring | Source::PerCpu | Source::Shared | Source::Snapshot, _, _) => Ok(()),
    }
}

/// Keys first, then values, as the map in the kernel holds them.
fn split(fields: &[Parsed]) -> syn::Result<(Vec<&Parsed>, Vec<&Parsed>)> {
    let first_value = fields
        .iter()
        .position(|f| !f.is_key() && !padding(&f.field))
        .unwrap_or(fields.len());
    if let Some(late) = fields[first_value..].iter().find(|f| f.is_key()) {
        return Err(Error::new_spanned(
            &late.field,
            "keys come before values: together they are the map's key",
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
    let role = roles.next().unwrap_or(Role::None);
    if roles.next().is_some() {
        return Err(Error::new_spanned(&field, "a column has one role"));
    }
    let part = { field.attrs.iter() }
        .find(|attr| attr.path().is_ident("part"))
        .map(|attr| attr.parse_args::<LitStr>())
        .transpose()?;
    let wide = has(&field.attrs, "wide") || part.is_some();
    let (spare, on_top) = (has(&field.attrs, "spare"), has(&field.attrs, "on_top"));
    Ok(Parsed {
        field,
        role,
        wide,
        spare,
        on_top,
        part,
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
                && !attr.path().is_ident("spare")
                && !attr.path().is_ident("on_top")
                && !attr.path().is_ident("part")
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

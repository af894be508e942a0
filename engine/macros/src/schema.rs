//! Derives the JSON schema of a type from its fields.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Expr, ExprLit, Field, Lit, Meta, Result};

/// A struct is an object with its fields. An enum without data is one of the words that serde writes for its variants.
pub fn derive(input: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(input)?;
    let name = &input.ident;
    let schema = match &input.data {
        Data::Struct(data) => {
            let members = data.fields.iter().map(member);
            quote!(::orderlog_core::schema::object(stringify!(#name), vec![#(#members),*]))
        }
        Data::Enum(data) => {
            let words = data.variants.iter().map(|variant| &variant.ident);
            quote!(::orderlog_core::schema::one_of(stringify!(#name), &[#(Self::#words),*]))
        }
        Data::Union(_) => return Err(Error::new_spanned(name, "a union has no schema")),
    };
    Ok(quote! {
        impl ::orderlog_core::schema::Schema for #name {
            fn schema() -> ::orderlog_core::schema::Value {
                #schema
            }
        }
    })
}

/// A field that serde leaves out if there is no value has the schema of its value.
fn member(field: &Field) -> TokenStream {
    let (name, of, description) = (&field.ident, &field.ty, description(&field.attrs));
    let may_be_left_out = field.attrs.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.tokens.to_string().contains("skip_serializing_if"),
        Meta::Path(_) | Meta::NameValue(_) => false,
    });
    let schema = if may_be_left_out { quote!(present) } else { quote!(schema) };
    quote! {
        ::orderlog_core::schema::Member {
            name: stringify!(#name),
            description: #description,
            schema: <#of as ::orderlog_core::schema::Schema>::#schema(),
            is_required: !<#of as ::orderlog_core::schema::Schema>::IS_OPTIONAL,
        }
    }
}

/// The doc comment on one line.
fn description(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(member) if member.path.is_ident("doc") => match &member.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value().trim().to_owned()),
            _ => None,
        },
        Meta::Path(_) | Meta::List(_) | Meta::NameValue(_) => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}

//! Parses the attributes of a handler.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Attribute, Error, Expr, ExprLit, Lit, Meta, Path, Result, Token, punctuated::Punctuated, spanned::Spanned};

/// The module in which generated code finds the types.
pub fn engine() -> TokenStream {
    quote!(::orderlog_http::operations)
}

/// `#[oai(path, method, operation_id)]`, the framework's own attribute.
pub struct Route {
    pub path: String,
    pub method: String,
    pub id: String,
}

impl Route {
    /// Parses the attribute; members other than these three are left to the framework.
    pub fn read(attribute: &Attribute) -> Result<Self> {
        let members = members(attribute)?;
        let text = |name: &str| {
            let value = members.iter().find(|member| member.path().is_ident(name)).map(text_of);
            value.unwrap_or_else(|| Err(Error::new_spanned(attribute, format!("an operation needs `{name}`"))))
        };
        Ok(Self { path: text("path")?, method: text("method")?, id: text("operation_id")? })
    }
}

/// `#[operation(...)]`: what the gate and the contract need to know about an operation.
pub struct Needs {
    scope: Path,
    bound: TokenStream,
    has_target: bool,
    key_may_be_required: bool,
    asks: Option<String>,
    problems: Vec<Path>,
}

impl Needs {
    pub fn read(attribute: &Attribute) -> Result<Self> {
        let (mut scope, mut bound, mut asks, mut problems) = (None, None, None, Vec::new());
        let (mut has_target, mut key_may_be_required) = (true, false);
        for member in members(attribute)? {
            match member.path().require_ident()?.to_string().as_str() {
                "scope" => scope = Some(path_of(&member)?),
                "bound" => bound = Some(bound_callers(&path_of(&member)?)?),
                "no_target" => has_target = member.require_path_only().map(|_| false)?,
                "key_may_be_required" => key_may_be_required = member.require_path_only().map(|_| true)?,
                "asks" => asks = Some(text_of(&member)?),
                "problems" => problems
                    .extend(member.require_list()?.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated)?),
                other => return Err(Error::new_spanned(&member, format!("an operation declares no `{other}`"))),
            }
        }
        let missing = |name| Error::new_spanned(attribute, format!("an operation declares its `{name}`"));
        let (scope, bound) = (scope.ok_or_else(|| missing("scope"))?, bound.ok_or_else(|| missing("bound"))?);
        Ok(Self { scope, bound, has_target, key_may_be_required, asks, problems })
    }

    /// The operation as an expression. `path` is the full path, as OpenAPI writes it.
    pub fn operation(&self, route: &Route, path: &str) -> TokenStream {
        let (engine, Self { scope, bound, has_target, key_may_be_required, asks, problems }) = (engine(), self);
        let asks = asks.as_ref().map_or_else(|| quote!(None), |service| quote!(Some(#service)));
        let (id, method) = (&route.id, format_ident!("{}", route.method.to_ascii_uppercase()));
        quote! {
            #engine::Operation {
                id: #id,
                method: #engine::Method::#method,
                path: #path,
                scope: #scope,
                bound: #bound,
                has_target: #has_target,
                key_may_be_required: #key_may_be_required,
                asks: #asks,
                problems: &[#(#problems),*],
            }
        }
    }
}

/// The members of `#[name(...)]`; `#[name]` has none.
pub fn members(attribute: &Attribute) -> Result<Punctuated<Meta, Token![,]>> {
    match attribute.meta {
        Meta::Path(_) => Ok(Punctuated::new()),
        Meta::List(_) | Meta::NameValue(_) => attribute.parse_args_with(Punctuated::parse_terminated),
    }
}

/// The text of `name = "text"`.
pub fn text_of(member: &Meta) -> Result<String> {
    match &member.require_name_value()?.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.value()),
        other => Err(Error::new_spanned(other, "expected a text")),
    }
}

fn path_of(member: &Meta) -> Result<Path> {
    match &member.require_name_value()?.value {
        Expr::Path(path) => Ok(path.path.clone()),
        other => Err(Error::new_spanned(other, "expected a path")),
    }
}

fn bound_callers(word: &Path) -> Result<TokenStream> {
    let engine = engine();
    let variant = match word.get_ident().map(ToString::to_string).as_deref() {
        Some("own") => "Own",
        Some("shared") => "Shared",
        Some("refused") => "Refused",
        _ => return Err(Error::new(word.span(), "expected `own`, `shared` or `refused`")),
    };
    let variant = proc_macro2::Ident::new(variant, Span::call_site());
    Ok(quote!(#engine::BoundCallers::#variant))
}

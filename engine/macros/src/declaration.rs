//! Parses the attributes of a handler.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{
    Attribute, Error, Expr, ExprLit, Ident, Lit, Meta, Path, Result, Token, parse_quote, punctuated::Punctuated,
    spanned::Spanned,
};

/// The module in which generated code finds the types.
pub fn engine() -> TokenStream {
    quote!(::orderlog_http::operations)
}

/// `#[operation(...)]`: the route of an operation, and what the gate and the contract need to know about it.
pub struct Declaration {
    /// In lower case.
    method: String,
    path: String,
    /// The name of the handler.
    id: String,
    scope: Path,
    bound: TokenStream,
    has_target: bool,
    key_may_be_required: bool,
    waits: bool,
    asks: Option<String>,
    problems: Vec<Path>,
}

impl Declaration {
    pub fn read(attribute: &Attribute, handler: &Ident) -> Result<Self> {
        let (mut route, mut scope, mut bound, mut asks, mut problems) = (None, None, None, None, Vec::new());
        let (mut has_target, mut key_may_be_required, mut waits) = (true, false, false);
        for member in members(attribute)? {
            match member.path().require_ident()?.to_string().as_str() {
                method @ ("get" | "post" | "put" | "patch" | "delete") => {
                    route = Some((method.to_owned(), text_of(&member)?));
                }
                "scope" => scope = Some(path_of(&member)?),
                "bound" => bound = Some(bound_callers(&path_of(&member)?)?),
                "no_target" => has_target = member.require_path_only().map(|_| false)?,
                "key_may_be_required" => key_may_be_required = member.require_path_only().map(|_| true)?,
                "waits" => waits = member.require_path_only().map(|_| true)?,
                "asks" => asks = Some(text_of(&member)?),
                "problems" => problems
                    .extend(member.require_list()?.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated)?),
                other => return Err(Error::new_spanned(&member, format!("an operation declares no `{other}`"))),
            }
        }
        let missing = |name| Error::new_spanned(attribute, format!("an operation declares its `{name}`"));
        let (method, path) = route.ok_or_else(|| missing("method"))?;
        let (scope, bound) = (scope.ok_or_else(|| missing("scope"))?, bound.ok_or_else(|| missing("bound"))?);
        let id = handler.to_string();
        Ok(Self { method, path, id, scope, bound, has_target, key_may_be_required, waits, asks, problems })
    }

    /// The framework's attribute for the route.
    pub fn route(&self) -> Attribute {
        let Self { method, path, id, .. } = self;
        parse_quote!(#[oai(path = #path, method = #method, operation_id = #id)])
    }

    /// The operation as an expression. All paths begin with `prefix`.
    pub fn operation(&self, prefix: &str) -> TokenStream {
        let (engine, Self { id, scope, bound, has_target, key_may_be_required, waits, problems, .. }) =
            (engine(), self);
        let asks = self.asks.as_ref().map_or_else(|| quote!(None), |service| quote!(Some(#service)));
        let (method, path) = (format_ident!("{}", self.method.to_ascii_uppercase()), template(prefix, &self.path));
        quote! {
            #engine::Operation {
                id: #id,
                method: #engine::Method::#method,
                path: #path,
                scope: #scope,
                bound: #bound,
                has_target: #has_target,
                key_may_be_required: #key_may_be_required,
                waits: #waits,
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
    let variant = Ident::new(variant, Span::call_site());
    Ok(quote!(#engine::BoundCallers::#variant))
}

/// `/orders` and `/:order_id/cancel` as OpenAPI writes them: `/orders/{order_id}/cancel`.
pub fn template(prefix: &str, path: &str) -> String {
    let segments = prefix.split('/').chain(path.split('/')).filter(|segment| !segment.is_empty());
    segments
        .map(|segment| match segment.strip_prefix(':') {
            Some(name) => format!("/{{{name}}}"),
            None => format!("/{segment}"),
        })
        .collect()
}

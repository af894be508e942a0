//! Builds the table of operations from the handlers' attributes.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Error, ImplItem, ImplItemFn, ItemImpl, Result};

use crate::{
    declaration::{Needs, Route, engine, members, text_of},
    parameters::fill_in,
};

/// Returns the routes without our attributes, followed by their table.
pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`operations` takes no arguments"));
    }
    let mut routes: ItemImpl = syn::parse2(item)?;
    let prefix = prefix(&routes)?;
    let mut table = Vec::new();
    for item in &mut routes.items {
        if let ImplItem::Fn(handler) = item {
            table.extend(operation(handler, &prefix)?);
        }
    }
    let (engine, api) = (engine(), &routes.self_ty);
    let (generics, _, bounds) = routes.generics.split_for_impl();
    Ok(quote! {
        #routes

        impl #generics #engine::Operations for #api #bounds {
            const OPERATIONS: &'static [#engine::Operation] = &[#(#table),*];
        }
    })
}

/// The prefix of all paths: `#[OpenApi(prefix_path = "...")]`.
fn prefix(routes: &ItemImpl) -> Result<String> {
    let Some(framework) = find(&routes.attrs, "OpenApi") else {
        return Err(Error::new_spanned(&routes.self_ty, "write `#[operations]` above `#[OpenApi]`"));
    };
    let members = members(framework)?;
    members.iter().find(|member| member.path().is_ident("prefix_path")).map_or(Ok(String::new()), text_of)
}

/// The operation of a handler, from which `#[operation]` is removed; `None` for a method that is not a handler.
fn operation(handler: &mut ImplItemFn, prefix: &str) -> Result<Option<TokenStream>> {
    let (route, needs) = (find(&handler.attrs, "oai"), find(&handler.attrs, "operation"));
    let declared = match (route, needs) {
        (None, None) => return Ok(None),
        (Some(route), Some(needs)) => (Route::read(route)?, Needs::read(needs)?),
        (Some(_), None) => return Err(Error::new_spanned(&handler.sig.ident, "this operation needs `#[operation]`")),
        (None, Some(needs)) => return Err(Error::new_spanned(needs, "this operation needs `#[oai]`")),
    };
    let (route, needs) = declared;
    handler.attrs.retain(|attribute| !attribute.path().is_ident("operation"));
    handler.sig.inputs.iter_mut().for_each(fill_in);
    Ok(Some(needs.operation(&route, &template(prefix, &route.path))))
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.path().is_ident(name))
}

/// `/orders` and `/:order_id/cancel` as OpenAPI writes them: `/orders/{order_id}/cancel`.
fn template(prefix: &str, path: &str) -> String {
    let segments = prefix.split('/').chain(path.split('/')).filter(|segment| !segment.is_empty());
    segments
        .map(|segment| match segment.strip_prefix(':') {
            Some(name) => format!("/{{{name}}}"),
            None => format!("/{segment}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(item: TokenStream) -> String {
        expand(TokenStream::new(), item).map_or_else(|error| error.to_string(), |code| code.to_string())
    }

    #[test]
    fn a_handler_declares_its_operation() {
        let code = expanded(quote! {
            #[OpenApi(prefix_path = "/things", tag = "Tag::Things")]
            impl ThingsApi {
                #[oai(path = "/:id/move", method = "put", operation_id = "move_thing")]
                #[operation(scope = scopes::WRITE, bound = own, key_may_be_required, asks = "maps", problems(codes::TOO_FAR))]
                async fn move_thing(&self, id: Path<ThingId>, asked: params::CommandHeaders) -> Done<Thing> {}

                fn helper(&self, seen: Freshness) {}
            }
        });
        let engine = engine();
        let operation = quote! {
            #engine::Operation {
                id: "move_thing",
                method: #engine::Method::PUT,
                path: "/things/{id}/move",
                scope: scopes::WRITE,
                bound: #engine::BoundCallers::Own,
                has_target: true,
                key_may_be_required: true,
                asks: Some("maps"),
                problems: &[codes::TOO_FAR],
            }
        };
        assert!(code.contains(&operation.to_string()), "{code}");
        assert!(code.contains("operation_id") && !code.contains("# [operation"), "{code}");
        assert!(code.contains(&quote!(#[oai(name = "Idempotency-Key")]).to_string()), "{code}");
        assert!(!code.contains("Orderlog-Min-Position"), "only parameters of operations: {code}");
    }

    #[test]
    fn what_is_missing_or_unknown_is_a_compile_error() {
        let declared = |needs: TokenStream| {
            expanded(quote! {
                #[OpenApi]
                impl ThingsApi {
                    #[oai(path = "/things", method = "get", operation_id = "list_things")]
                    #needs
                    async fn list_things(&self) {}
                }
            })
        };
        assert!(declared(quote!(#[operation(scope = READ, bound = shared)])).contains("\"/things\""));
        for (needs, error) in [
            (quote!(), "this operation needs `#[operation]`"),
            (quote!(#[operation(bound = own)]), "an operation declares its `scope`"),
            (quote!(#[operation(scope = READ)]), "an operation declares its `bound`"),
            (quote!(#[operation(scope = READ, bound = all)]), "expected `own`, `shared` or `refused`"),
            (quote!(#[operation(scope = READ, bound = own, key)]), "an operation declares no `key`"),
            (quote!(#[operation(scope = READ, bound = own, no_target = 1)]), "unexpected token in attribute"),
        ] {
            let code = declared(needs);
            assert!(code.contains(error), "{code}");
        }
    }

    #[test]
    fn paths_are_joined_as_the_framework_joins_them() {
        for (prefix, path, joined) in
            [("/orders", "/", "/orders"), ("/orders", "/:order_id", "/orders/{order_id}"), ("", "/notify", "/notify")]
        {
            assert_eq!(template(prefix, path), joined);
        }
    }
}

//! Builds the table of operations from the handlers' attributes.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Error, ImplItem, ImplItemFn, ItemImpl, Result};

use crate::{
    declaration::{Declaration, engine, members, text_of},
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

/// The operation of a handler, whose declaration becomes the framework's attribute; `None` for a method that is not a handler.
fn operation(handler: &mut ImplItemFn, prefix: &str) -> Result<Option<TokenStream>> {
    let (route, declared) = (find(&handler.attrs, "oai"), find(&handler.attrs, "operation"));
    let declared = match (route, declared) {
        (None, None) => return Ok(None),
        (None, Some(declared)) => Declaration::read(declared, &handler.sig.ident)?,
        (Some(route), _) => return Err(Error::new_spanned(route, "declare the route in `#[operation]`")),
    };
    handler.attrs.retain(|attribute| !attribute.path().is_ident("operation"));
    handler.attrs.push(declared.route());
    fill_in(&mut handler.sig.inputs);
    Ok(Some(declared.operation(prefix)))
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.path().is_ident(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declaration::template;

    fn expanded(item: TokenStream) -> String {
        expand(TokenStream::new(), item).map_or_else(|error| error.to_string(), |code| code.to_string())
    }

    #[test]
    fn a_handler_declares_its_operation() {
        let code = expanded(quote! {
            #[OpenApi(prefix_path = "/things")]
            impl ThingsApi {
                #[operation(put = "/:id/move", scope = scopes::WRITE, bound = own, key_may_be_required, waits, asks = "maps", problems(codes::TOO_FAR))]
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
                waits: true,
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
                    #needs
                    async fn list_things(&self) {}
                }
            })
        };
        assert!(declared(quote!(#[operation(get = "/things", scope = READ, bound = shared)])).contains("\"/things\""));
        for (needs, error) in [
            (quote!(#[oai(path = "/things", method = "get")]), "declare the route in `#[operation]`"),
            (quote!(#[operation(scope = READ, bound = own)]), "an operation declares its `method`"),
            (quote!(#[operation(get = "/", bound = own)]), "an operation declares its `scope`"),
            (quote!(#[operation(get = "/", scope = READ)]), "an operation declares its `bound`"),
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

//! The attribute macro [`macro@operations`], which declares operations at their handlers: route, scope, callers, codes; and the derive macro
//! [`macro@Schema`].

mod declaration;
mod operations;
mod parameters;
mod schema;

use proc_macro::TokenStream;

/// Implements `orderlog_http::operations::Operations` for the routes below it. Write it above `#[OpenApi]`:
///
/// ```ignore
/// #[operations]
/// #[OpenApi(prefix_path = "/orders")]
/// impl OrdersApi {
///     #[operation(post = "/:order_id/cancel", scope = scopes::WRITE, bound = own, problems(codes::UNKNOWN_ORDER))]
///     async fn cancel_order(&self, order_id: Path<OrderId>, head: CommandHeaders) -> Result<Done<Order>, ApiError> { .. }
/// }
/// ```
///
/// A handler's name is the `operationId`. Its `#[operation]` takes:
///
/// - `get = "PATH"`, or another method: the route, as the framework writes paths.
/// - `scope = PATH`: the scope that a caller needs.
/// - `bound = own | shared | refused`: what the operation does for callers that are bound to an owner (`BoundCallers`).
/// - `no_target`: the command makes something new, so there is no version for `If-Match` to name.
/// - `key_may_be_required`: a deployment may reject the command without an `Idempotency-Key`.
/// - `waits`: with `Prefer: wait=N` the response is sent once the command's outcome is settled, and names the applied preference.
/// - `asks = "SERVICE"`: the other service that its answer comes from; positions are passed on to it.
/// - `problems(PATH, ...)`: the codes of problems that only some operations answer with.
///
/// Parameters of the types `CommandHeaders`, `Freshness`, `AsOf` and `Paged` get the name and the description that they have everywhere; `Paged`
/// is both `limit` and `cursor`.
#[proc_macro_attribute]
pub fn operations(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = operations::expand(arguments.into(), item.into());
    expanded.unwrap_or_else(|error| error.into_compile_error()).into()
}

/// Implements `orderlog_core::schema::Schema` for a struct, or for an enum without data. Doc comments of fields become descriptions.
#[proc_macro_derive(Schema)]
pub fn schema(item: TokenStream) -> TokenStream {
    schema::derive(item.into()).unwrap_or_else(|error| error.into_compile_error()).into()
}

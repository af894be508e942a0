//! Parameters that operations share: their type determines their name and description.

use syn::{FnArg, PatType, Token, Type, parse_quote, punctuated::Punctuated};

/// The last segment of a type's path, the name of its parameter, and the description.
const SHARED: [(&str, &str, &str); 4] = [
    (
        "CommandHeaders",
        "Idempotency-Key",
        "A key of your choice. Repeating the request with the same key does nothing more and returns the same \
            response.",
    ),
    ("Freshness", "Orderlog-Min-Position", "Positions returned by earlier responses. The response reflects them."),
    (PAGED, "cursor", "The `next_cursor` of the previous page, with the same filters."),
    (
        "AsOf",
        "as_of",
        "Returns a past state: right after the record at this position in the service's journal, as returned in \
            `Orderlog-Position`, or after the last record whose own timestamp is not later than this RFC 3339 time. A \
            time in the future returns the newest state. The response says which position it reflects.",
    ),
];
/// The type of two parameters: the limit of a page, and its cursor.
const PAGED: &str = "Paged";

/// Adds the names and descriptions of shared parameters, and the limit of a page.
pub fn fill_in(arguments: &mut Punctuated<FnArg, Token![,]>) {
    for mut argument in std::mem::take(arguments) {
        if let FnArg::Typed(PatType { attrs, ty, .. }) = &mut argument
            && let Type::Path(path) = ty.as_ref()
            && let Some(last) = path.path.segments.last()
            && let Some((of, name, description)) = SHARED.iter().find(|(of, ..)| last.ident == of)
        {
            attrs.push(parse_quote!(#[doc = #description]));
            attrs.push(parse_quote!(#[oai(name = #name)]));
            if *of == PAGED {
                arguments.push(limit());
            }
        }
        arguments.push(argument);
    }
}

/// The framework checks and documents it; `Paged` reads it from the request too.
fn limit() -> FnArg {
    parse_quote! {
        /// The maximum number of items to return.
        #[oai(name = "limit", validator(minimum(value = "1"), maximum(value = "100")))]
        _limit: ::poem_openapi::param::Query<Option<u32>>
    }
}

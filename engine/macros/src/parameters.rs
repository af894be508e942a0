//! Parameters that operations share: their type determines their name and description.

use syn::{FnArg, PatType, Type, parse_quote};

/// The last segment of a type's path, the name of its parameter, and the description.
const SHARED: [(&str, &str, &str); 3] = [
    (
        "CommandHeaders",
        "Idempotency-Key",
        "A key of your choice. Repeating the request with the same key does nothing more and returns the same \
            response.",
    ),
    ("Freshness", "Orderlog-Min-Position", "Positions returned by earlier responses. The response reflects them."),
    ("Paged", "cursor", "The `next_cursor` of the previous page, with the same filters."),
];

/// Adds the name and description if the parameter is a shared one.
pub fn fill_in(argument: &mut FnArg) {
    let FnArg::Typed(PatType { attrs, ty, .. }) = argument else { return };
    let Type::Path(path) = ty.as_ref() else { return };
    let shared = path.path.segments.last().and_then(|last| SHARED.iter().find(|(of, ..)| last.ident == of));
    if let Some((_, name, description)) = shared {
        attrs.push(parse_quote!(#[doc = #description]));
        attrs.push(parse_quote!(#[oai(name = #name)]));
    }
}

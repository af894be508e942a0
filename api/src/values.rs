//! Values of the domain in requests: an invalid one is a fault with its own code.

pub mod codes;

use std::fmt::Display;

use orderlog_domain::values::ValueError;
use orderlog_http::problem::{self, Code, Faults};

/// Collects the faults of values that the domain rejects.
pub trait CheckValues {
    /// Returns the value, or `None` after adding a fault at `pointer`, a JSON pointer such as `#/lines/0/sku`.
    fn check<T>(&mut self, pointer: impl Display, value: Result<T, impl Into<ValueError>>) -> Option<T>;

    /// The same for an optional value.
    fn check_if<T>(&mut self, pointer: impl Display, value: Option<Result<T, impl Into<ValueError>>>) -> Option<T> {
        value.and_then(|value| self.check(pointer, value))
    }
}

impl CheckValues for Faults {
    fn check<T>(&mut self, pointer: impl Display, value: Result<T, impl Into<ValueError>>) -> Option<T> {
        value.map_err(Into::into).map_err(|error| self.add(pointer, code_of(&error), error.to_string())).ok()
    }
}

const fn code_of(error: &ValueError) -> Code {
    match error {
        ValueError::Amount { .. } => codes::INVALID_AMOUNT,
        ValueError::Currency { .. } => codes::INVALID_CURRENCY,
        ValueError::Token { .. } => codes::INVALID_IDENTIFIER,
        ValueError::Quantity { .. } => codes::INVALID_QUANTITY,
        ValueError::Ttl { .. } => codes::INVALID_TTL,
        ValueError::Text(_) => problem::codes::INVALID_TEXT,
        ValueError::Email { .. } => codes::INVALID_EMAIL,
    }
}

//! The definition of each code, and the problems as documents for people and programs.
//!
//! The list is open: each service declares its codes with [`problem_codes!`](crate::problem_codes).

use std::{fmt, ops::Deref};

use orderlog_core::words;
use poem_openapi::{
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde_json::{Value, json};

use super::{ApiError, Fault, Faults, Problem, codes};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Any,
    /// In every query.
    Queries,
    /// In every command.
    Commands,
    /// In every operation with a body.
    Bodies,
    /// In the operations whose handlers declare it.
    Declared,
    /// In the `errors` of `invalid_request`, for a single value; never as a problem's own code.
    Values,
    /// Outside the operations of the contract: unknown paths, operators' paths.
    Elsewhere,
}

/// The kind of a problem, or of an invalid value. Codes never change their meaning, and are compared by name.
#[derive(Clone, Copy)]
pub struct Code(&'static Entry);

/// The definition of a code.
#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    pub statuses: &'static [u16],
    pub scope: Scope,
    /// What it means, in several pieces.
    pub meaning: &'static [&'static str],
    /// An example of a `detail`.
    pub detail: &'static str,
    /// The members that its problems have besides those of all problems.
    pub members: &'static [&'static Member],
    /// How to fix or avoid it.
    pub remedy: &'static str,
    /// Whether the same request, with the same idempotency key, can succeed later or report how it ended.
    pub retryable: bool,
}

/// A member that the problems of some codes have besides those of all problems (RFC 9457, section 3.2).
#[derive(Debug)]
pub struct Member {
    pub name: &'static str,
    pub description: &'static str,
    /// Its schema, see [`Member::schema_of`].
    pub schema: fn(&mut Registry) -> MetaSchemaRef,
    pub example: fn() -> Value,
}

/// Declares codes, each as a constant, and `ALL` of them. The remedy follows `retry` if the same request can succeed later,
/// and `so` if the request or the state must change first.
#[macro_export]
macro_rules! problem_codes {
    ($(
        $(#[doc = $meaning:literal])+
        $code:ident $name:literal [$($status:literal),+], $scope:expr,
            says $detail:literal,
            $(with $member:expr,)*
            $(so $change:literal)? $(retry $repeat:literal)?;
    )+) => {
        $(
            $(#[doc = $meaning])+
            pub const $code: $crate::problem::Code = {
                use $crate::problem::Scope::*;
                static ENTRY: $crate::problem::Entry = $crate::problem::Entry {
                    name: $name,
                    statuses: &[$($status),+],
                    scope: $scope,
                    meaning: &[$($meaning),+],
                    detail: $detail,
                    members: &[$(&$member),*],
                    remedy: concat!($($change)? $($repeat)?),
                    retryable: !concat!($($repeat)?).is_empty(),
                };
                $crate::problem::Code::of(&ENTRY)
            };
        )+

        pub const ALL: &[$crate::problem::Code] = &[$($code),+];
    };
}

impl Member {
    /// Registers a type with everything that it refers to, and returns its schema.
    pub fn schema_of<T: Type>(registry: &mut Registry) -> MetaSchemaRef {
        T::register(registry);
        T::schema_ref()
    }
}

impl Deref for Code {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        self.0
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Code {}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Code {
    /// Returns the code of an entry created by [`problem_codes!`](crate::problem_codes).
    pub const fn of(entry: &'static Entry) -> Self {
        Self(entry)
    }

    /// Returns the name as a title: `out_of_stock` is `Out of stock`.
    pub fn title(self) -> String {
        let mut title = self.name.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        title
    }

    /// Returns the path of its documentation, which is also its problems' `type`.
    pub fn path(self) -> String {
        format!("/problems/{}", self.name)
    }

    /// Returns the meaning as one text.
    pub fn meaning(self) -> String {
        words::fill(&self.meaning.iter().map(|piece| piece.trim()).collect::<Vec<_>>().join(" "))
    }

    pub fn example(self) -> Problem {
        if self == codes::INVALID_REQUEST {
            let (pointer, detail) = self.detail.split_once(": ").unwrap_or_default();
            let (pointer, code, detail) = (Some(pointer.to_owned()), "invalid_quantity".to_owned(), detail.to_owned());
            return ApiError::from(Faults::from(Fault { pointer, parameter: None, code, detail })).into();
        }
        if self.scope == Scope::Values {
            let (code, detail) = (self.name.to_owned(), self.detail.to_owned());
            return ApiError::from(Faults::from(Fault { pointer: None, parameter: None, code, detail })).into();
        }
        let status = self.statuses.first().and_then(|status| (*status).try_into().ok()).unwrap_or_default();
        let plain = ApiError::new(status, self, words::fill(self.detail));
        self.members.iter().fold(plain, |problem, member| problem.with(member, (member.example)())).into()
    }

    /// Returns how to fix or avoid it.
    pub fn remedy(self) -> String {
        words::fill(self.remedy)
    }

    /// Returns a summary for lists.
    pub fn in_short(self) -> Value {
        json!({
            "code": self.name,
            "type": self.path(),
            "title": self.title(),
            "statuses": self.statuses,
            "retryable": self.retryable,
            "in_errors": self.scope == Scope::Values,
            "meaning": self.meaning(),
        })
    }

    pub fn in_full(self) -> Value {
        let mut full = self.in_short();
        full["remedy"] = self.remedy().into();
        full["example"] = json!(self.example());
        full
    }
}

//! What is known of each code, and the problems as documents for people and programs.
//!
//! The list is open: each service declares its codes by [`problem_codes!`](crate::problem_codes).

use std::{fmt, ops::Deref};

use poem_openapi::{
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde_json::{Value, json};

use super::{ApiError, Fault, Faults, Problem, codes};

/// Where a code may be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Any,
    /// At everything that reads.
    Queries,
    /// At everything that writes.
    Commands,
    /// At everything that has a body.
    Bodies,
    /// At the operations whose handlers declare it.
    Declared,
    /// In the `errors` of `invalid_request`, about one value; never as a problem's own code.
    Values,
    /// At what is no operation of the contract: a path that does not exist, operators' paths.
    Elsewhere,
}

/// The kind of a problem, or of what is wrong with one value. Codes never change their meaning, and are equal by name.
#[derive(Clone, Copy)]
pub struct Code(&'static Entry);

/// What is known of a code.
#[derive(Debug)]
pub struct Entry {
    /// How it is written.
    pub name: &'static str,
    /// The statuses that come with it.
    pub statuses: &'static [u16],
    /// Where it may be met.
    pub scope: Scope,
    /// What it means, in several pieces.
    pub meaning: &'static [&'static str],
    /// What a `detail` may say.
    pub detail: &'static str,
    /// The members that its problems have besides those of all problems.
    pub members: &'static [&'static Member],
    /// What to do about it.
    pub remedy: &'static str,
}

/// A member that the problems of some codes have besides those of all problems (RFC 9457, section 3.2).
#[derive(Debug)]
pub struct Member {
    /// How it is written.
    pub name: &'static str,
    pub description: &'static str,
    /// Its schema, see [`Member::schema_of`].
    pub schema: fn(&mut Registry) -> MetaSchemaRef,
    /// What it may be.
    pub example: fn() -> Value,
}

/// Declares codes, each as a constant, and `ALL` of them.
#[macro_export]
macro_rules! problem_codes {
    ($(
        $(#[doc = $meaning:literal])+
        $code:ident $name:literal [$($status:literal),+], $scope:expr,
            says $detail:literal,
            $(with $member:expr,)*
            so $remedy:literal;
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
                    remedy: $remedy,
                };
                $crate::problem::Code::of(&ENTRY)
            };
        )+

        /// All of these.
        pub const ALL: &[$crate::problem::Code] = &[$($code),+];
    };
}

impl Member {
    /// The schema of a type, which is registered with those that it refers to.
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
    /// The code of an entry, which [`problem_codes!`](crate::problem_codes) makes.
    pub const fn of(entry: &'static Entry) -> Self {
        Self(entry)
    }

    /// `out_of_stock` as a title: `Out of stock`.
    pub fn title(self) -> String {
        let mut title = self.name.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        title
    }

    /// Where it is explained; also its problems' `type`.
    pub fn path(self) -> String {
        format!("/problems/{}", self.name)
    }

    /// What it means, as a text.
    pub fn meaning(self) -> String {
        self.meaning.iter().map(|piece| piece.trim()).collect::<Vec<_>>().join(" ")
    }

    /// A problem with this code.
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
        let plain = ApiError::new(status, self, self.detail);
        self.members.iter().fold(plain, |problem, member| problem.with(member, (member.example)())).into()
    }

    /// In a line of a list.
    pub fn in_short(self) -> Value {
        json!({
            "code": self.name,
            "type": self.path(),
            "title": self.title(),
            "statuses": self.statuses,
            "in_errors": self.scope == Scope::Values,
            "meaning": self.meaning(),
        })
    }

    pub fn in_full(self) -> Value {
        let mut full = self.in_short();
        full["remedy"] = self.remedy.into();
        full["example"] = json!(self.example());
        full
    }
}

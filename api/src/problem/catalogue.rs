//! What is known of each code, and the problems as documents for people and programs.

use serde_json::{Value, json};

use super::{ApiError, Fault, Faults, Shortage, codes::Code};

/// Where a code may be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// At every operation.
    Any,
    /// At everything that reads.
    Queries,
    /// At everything that writes.
    Commands,
    /// At everything that has a body.
    Bodies,
    /// At these operations, by their ids.
    Of(&'static [&'static str]),
    /// In the `errors` of `invalid_request`, about one value; never as a problem's own code.
    Values,
    /// At what is no operation of the contract: a path that does not exist, operators' paths.
    Elsewhere,
}

/// What is known of a code.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The code.
    pub code: Code,
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
    /// What to do about it.
    pub remedy: &'static str,
}

/// The codes, as an enum and as a table: one can't be without the other.
macro_rules! catalogue {
    ($(
        $(#[doc = $meaning:literal])+
        $code:ident, $name:literal, [$($status:literal),+], $scope:expr,
            says $detail:literal,
            so $remedy:literal;
    )+) => {
        /// The kind of a problem, or of what is wrong with one value. Codes never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $meaning])+ $code,)+
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$code),+];

            /// What is known of it.
            pub const fn entry(self) -> $crate::problem::catalogue::Entry {
                let (name, scope, statuses, meaning, detail, remedy): (_, _, &[u16], &[&str], _, _) = match self {
                    $(Self::$code => ($name, $scope, &[$($status),+], &[$($meaning),+], $detail, $remedy),)+
                };
                $crate::problem::catalogue::Entry { code: self, name, statuses, scope, meaning, detail, remedy }
            }
        }
    };
}

pub(super) use catalogue;

impl Code {
    /// How it is written.
    pub const fn as_str(self) -> &'static str {
        self.entry().name
    }

    /// The code that is written so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// `out_of_stock` as a title: `Out of stock`.
    pub fn title(self) -> String {
        let mut title = self.as_str().replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        title
    }

    /// Where it is explained; also its problems' `type`.
    pub fn path(self) -> String {
        format!("/problems/{}", self.as_str())
    }
}

impl Entry {
    /// What it means, as a text.
    pub fn meaning(&self) -> String {
        self.meaning.iter().map(|piece| piece.trim()).collect::<Vec<_>>().join(" ")
    }

    /// A problem with this code.
    pub fn example(&self) -> ApiError {
        let status = self.statuses.first().and_then(|status| (*status).try_into().ok()).unwrap_or_default();
        let plain = || ApiError::new(status, self.code, self.detail);
        match (self.code, self.scope) {
            (Code::InvalidRequest, _) => {
                let quantity = Code::InvalidQuantity.entry();
                Faults::from(Fault::of_body("#/lines/0/quantity", quantity.code, quantity.detail)).into()
            }
            (Code::NotEnoughStock, _) => {
                let mut problem = plain();
                let short = Shortage { sku: "espresso-beans-1kg".to_owned(), requested: 99, available: 8 };
                problem.0.shortages = Some(vec![short]);
                problem
            }
            (Code::NotYet, _) => plain().lagging(3),
            (_, Scope::Values) => {
                let (code, detail) = (self.name.to_owned(), self.detail.to_owned());
                Faults::from(Fault { pointer: None, parameter: None, code, detail }).into()
            }
            (_, Scope::Any | Scope::Queries | Scope::Commands | Scope::Bodies | Scope::Of(_) | Scope::Elsewhere) => {
                plain()
            }
        }
    }

    /// Whether an operation may answer with it.
    pub fn is_of(&self, operation_id: &str, is_query: bool, has_body: bool) -> bool {
        match self.scope {
            Scope::Any => true,
            Scope::Queries => is_query,
            Scope::Commands => !is_query,
            Scope::Bodies => has_body,
            Scope::Of(operations) => operations.contains(&operation_id),
            Scope::Values | Scope::Elsewhere => false,
        }
    }

    /// In a line of a list.
    pub fn in_short(&self) -> Value {
        json!({
            "code": self.name,
            "type": self.code.path(),
            "title": self.code.title(),
            "statuses": self.statuses,
            "in_errors": self.scope == Scope::Values,
            "meaning": self.meaning(),
        })
    }

    /// With everything.
    pub fn in_full(&self) -> Value {
        let mut full = self.in_short();
        full["remedy"] = self.remedy.into();
        full["example"] = json!(*self.example().0);
        if let Scope::Of(operations) = self.scope {
            full["operations"] = operations.into();
        }
        full
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use poem::{IntoResponse, http::StatusCode};

    use super::*;
    use crate::problem::ApiError;

    #[test]
    fn every_code_is_explained_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for code in Code::ALL {
            let entry = code.entry();
            assert!(names.insert(entry.name), "{} is there twice", entry.name);
            assert!(entry.name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{}", entry.name);
            for text in [&entry.meaning(), entry.remedy] {
                assert!(text.ends_with('.') && !text.contains("  "), "{}: {text}", entry.name);
            }
            assert_eq!(Code::named(entry.name), Some(*code));
            let example = *entry.example().0;
            let told = example.errors.map_or(example.code, |errors| errors[0].code.clone());
            let expected = if *code == Code::InvalidRequest { "invalid_quantity" } else { entry.name };
            assert_eq!(told, expected);
        }
    }

    /// The contract can't require the header, which 409 has with one code only.
    #[test]
    fn a_problem_that_passes_says_when_to_ask_again() {
        for code in Code::ALL {
            for status in code.entry().statuses {
                let status = StatusCode::from_u16(*status).unwrap();
                let response = ApiError::new(status, *code, "").into_response();
                let passes = [503, 504].contains(&status.as_u16()) || *code == Code::IdempotencyKeyInUse;
                assert_eq!(response.headers().contains_key("retry-after"), passes, "{code:?}, {status}");
            }
        }
    }
}

//! The invalid values of a request. All of them are counted. Only the first [`N_KEPT_MAX`] are kept, with shortened texts, so that a
//! response is never larger than the request that caused it.

use std::{fmt::Display, ops::RangeInclusive};

use poem_openapi::Object;
use serde::{Deserialize, Serialize};

use super::{ApiError, Code, codes};

/// The maximum number of faults that a problem names.
pub const N_KEPT_MAX: usize = 100;
/// The maximum length of a fault's texts in characters. A pointer contains field names as the caller wrote them.
const CHARS_MAX: usize = 200;

/// An invalid value.
#[derive(Clone, Debug, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Fault {
    /// A JSON pointer to the value in the request body. Ends in `…` if it was too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The name of the path or query parameter, or of the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// A machine-readable code for the kind of error.
    pub code: String,
    /// What the value must be.
    pub detail: String,
}

impl Fault {
    /// A fault of a value in the body, at a JSON pointer such as `#/lines/0/sku`.
    pub fn of_body(pointer: impl Display, code: Code, detail: impl Into<String>) -> Self {
        let pointer = Some(pointer.to_string());
        Self { pointer, parameter: None, code: code.name.to_owned(), detail: detail.into() }
    }

    /// A fault of a path parameter, query parameter or header.
    pub fn of_parameter(name: &str, code: Code, detail: impl Into<String>) -> Self {
        let parameter = Some(name.to_owned());
        Self { pointer: None, parameter, code: code.name.to_owned(), detail: detail.into() }
    }

    /// Returns a value of the body if it is in this range.
    pub fn unless_in<T: PartialOrd + Display>(
        range: RangeInclusive<T>,
        pointer: &str,
        value: T,
    ) -> Result<T, ApiError> {
        if range.contains(&value) {
            return Ok(value);
        }
        let detail = format!("it must be from {} to {}", range.start(), range.end());
        Err(Faults::from(Self::of_body(pointer, codes::OUT_OF_RANGE, detail)).into())
    }

    fn shortened(self) -> Self {
        let short = |text: String| shortened(text, CHARS_MAX);
        let Self { pointer, parameter, code, detail } = self;
        Self { pointer: pointer.map(short), parameter: parameter.map(short), code, detail: short(detail) }
    }
}

/// Shortens a text to `n_chars_max` characters, followed by `…` if it was longer.
pub fn shortened(mut text: String, n_chars_max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(n_chars_max) {
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// The invalid values of a request, collected so that one response names them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    kept: Vec<Fault>,
    n: u32,
}

impl Faults {
    /// Adds a fault of the body.
    pub fn add(&mut self, pointer: impl Display, code: Code, detail: impl Into<String>) {
        self.push_with(|| Fault::of_body(pointer, code, detail));
    }

    pub fn push(&mut self, fault: Fault) {
        self.push_with(|| fault);
    }

    fn push_with(&mut self, fault: impl FnOnce() -> Fault) {
        self.n = self.n.saturating_add(1);
        if !self.is_full() {
            self.kept.push(fault().shortened());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Whether further faults are only counted.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= N_KEPT_MAX
    }

    /// Adds the faults of another error.
    pub fn extend(&mut self, error: Option<ApiError>) {
        self.extend_where(error, |_| true);
    }

    /// Adds the faults of another error for which `is_news` is true. Faults that were only counted there are counted here.
    pub fn extend_where(&mut self, error: Option<ApiError>, is_news: impl Fn(&Fault) -> bool) {
        let Some(ApiError::Own(failure)) = error else { return };
        let Self { kept, n } = failure.faults;
        let n_unnamed = n.saturating_sub(u32::try_from(kept.len()).unwrap_or(u32::MAX));
        kept.into_iter().filter(is_news).for_each(|fault| self.push(fault));
        self.n = self.n.saturating_add(n_unnamed);
    }

    /// Returns the kept faults and the total number; `None` if there are none.
    pub fn named(self) -> Option<(Vec<Fault>, u32)> {
        (!self.is_empty()).then_some((self.kept, self.n))
    }

    /// Succeeds if there are no faults.
    pub fn none(self) -> Result<(), ApiError> {
        if self.is_empty() { Ok(()) } else { Err(self.into()) }
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        let mut faults = Self::default();
        faults.push(fault);
        faults
    }
}

/// 400: these values are invalid.
impl From<Faults> for ApiError {
    fn from(faults: Faults) -> Self {
        let detail = faults.kept.first().map_or_else(
            || "the request is not valid".to_owned(),
            |fault| match fault.pointer.as_ref().or(fault.parameter.as_ref()) {
                Some(place) => format!("{place}: {}", fault.detail),
                None => fault.detail.clone(),
            },
        );
        let mut error = Self::invalid(codes::INVALID_REQUEST, detail);
        if let Self::Own(failure) = &mut error {
            failure.faults = faults;
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problem;

    fn faults(n: u32) -> Faults {
        let mut faults = Faults::default();
        (0..n).for_each(|i| faults.add(format_args!("#/lines/{i}"), codes::UNKNOWN_FIELD, "too few"));
        faults
    }

    #[test]
    fn the_first_hundred_faults_are_named_and_all_are_counted() {
        for (n, n_named) in [(1, 1), (100, 100), (101, 100), (75_000, 100)] {
            let problem = Problem::from(ApiError::from(faults(n)));
            let errors = problem.errors.unwrap();
            assert_eq!((errors.len(), problem.error_count), (n_named, Some(n)));
            assert_eq!(errors[0].pointer.as_deref(), Some("#/lines/0"));
        }
    }

    #[test]
    fn faults_of_two_errors_are_counted_together() {
        let mut all = faults(3);
        all.extend(Some(faults(200).into()));
        all.extend(None);
        all.extend_where(Some(faults(150).into()), |fault| fault.pointer.as_deref() != Some("#/lines/7"));
        let problem = Problem::from(ApiError::from(all));
        assert_eq!((problem.errors.unwrap().len(), problem.error_count), (100, Some(3 + 200 + 149)));
    }

    #[test]
    fn no_text_of_a_fault_is_longer_than_a_person_reads() {
        let long = "ä".repeat(1_000_000);
        let fault = Fault::of_body(format_args!("#/{long}"), codes::UNKNOWN_FIELD, long.clone());
        let problem = Problem::from(ApiError::from(Faults::from(fault)));
        let fault = &problem.errors.unwrap()[0];
        let pointer = fault.pointer.as_deref().unwrap();
        assert!(pointer.starts_with("#/ää") && pointer.ends_with("ä…"), "{pointer}");
        assert_eq!((pointer.chars().count(), fault.detail.chars().count()), (CHARS_MAX + 1, CHARS_MAX + 1));
        assert!(problem.detail.len() < 2_000, "{}", problem.detail);
    }

    #[test]
    fn an_error_that_names_a_value_counts_it() {
        let error = ApiError::invalid_at("#/lines", codes::MISSING_FIELD, "none");
        assert_eq!(Problem::from(error).error_count, Some(1));
    }
}

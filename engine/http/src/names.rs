//! Service names.

use std::{fmt, sync::Arc};

use orderlog_core::decider::Decider;

/// The name of a service, which is also that of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(&'static str);

/// The names of all services of a deployment, in order. Attached to requests, to parse positions.
pub type ServiceNames = Arc<[ServiceName]>;

impl ServiceName {
    /// Returns the name of the service whose commands `D` decides.
    pub const fn of<D: Decider>() -> Self {
        Self(D::JOURNAL)
    }

    /// Creates a name without a decider, for tests.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

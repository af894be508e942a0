//! The names of services.

use std::{fmt, sync::Arc};

use orderlog_core::decider::Decider;

/// The name of a service, which is also that of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(&'static str);

/// The names of all services of a deployment, in their order. Requests carry them, for what they say in positions.
pub type ServiceNames = Arc<[ServiceName]>;

impl ServiceName {
    /// The service whose commands `D` decides.
    pub const fn of<D: Decider>() -> Self {
        Self(D::JOURNAL)
    }

    /// A name that need not be in a registry, for tests.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// The name as text.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

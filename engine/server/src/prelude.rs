//! Everything that a single-file service imports.

pub use orderlog_core::{
    decider::{At, Decider, Kind, Millis, Ref, View},
    key::Key,
    public::Nothing,
    public_events,
};
pub use orderlog_http::{
    answer::{Created, Done, Found, Listed},
    auth::Scope,
    freshness::Freshness,
    json::{Checked, Given},
    list::{ListBody, ListItem},
    operations::operations,
    paging::Paged,
    params::{CommandHeaders, Path},
    problem::{ApiError, Code, Fault, Faults, codes},
    problem_codes,
    service::{
        Service, ServiceDefinition,
        contract::{TopicContract, payload},
        look::Visibility,
        mounted::Mounted,
        parts::{NotStarted, Parts},
    },
};
pub use orderlog_readmodel::{Table, Tables};
pub use orderlog_runtime::environment::mint;

pub use crate::registry::{About, Registry};

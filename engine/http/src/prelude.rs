//! Everything that a service with routes imports.

pub use orderlog_core::{
    decider::{At, Decider, Kind, Millis, Ref, View},
    key::Key,
    public::Nothing,
    public_events,
    schema::Schema,
};
pub use orderlog_readmodel::{SqlView, Table, Tables, ViewColumn};
pub use orderlog_runtime::{environment::mint, replica::Executed};
pub use poem_openapi::{Enum, Object, OpenApi, param::Query, types::Example};
pub use serde::{Deserialize, Serialize};
pub use uuid::Uuid;

pub use crate::{
    answer::{Created, Done, Found, Listed},
    auth::{Caller, Scope},
    freshness::Freshness,
    json::{Checked, Given, MaybeGiven},
    list::{ListBody, ListItem},
    names::ServiceName,
    operations::operations,
    paging::Paged,
    params::{AsOf, CommandHeaders, Path},
    peers::Call,
    problem::{ApiError, ApiResult, Code, Fault, Faults, codes},
    problem_codes,
    service::{
        Service, ServiceDefinition,
        contract::{EXAMPLE_TIME, ExampleId},
        look::Visibility,
        mounted::{Dependency, Mounted},
        parts::{NotStarted, Parts},
        unexpected,
    },
    time::{ms, time, time_of},
};

//! HTTP for services: what all routes of all services share.
//!
//! - [`service`]: a running service as used by its routes, and what a service declares about itself.
//! - [`operations`]: what each operation declares at its handler.
//! - [`problem`]: errors as problem details; services add codes of their own.
//! - [`json`], [`params`], [`paging`], [`freshness`], [`point`]: parsing requests. [`answer`], [`list`]: responses.
//! - [`auth`]: callers, scopes, keys and tokens. [`tls`]: certificates.
//! - [`peers`]: calls to the other services over HTTP.
//! - [`waiting`]: how requests wait without holding a place; [`pool`]: how places are shared between callers.
//! - [`prelude`]: everything that a service with routes imports. [`measures`]: request metrics. [`request`]: the current request of a task.
//!
//! Services, the process around them (`orderlog-server`) and SQL are not part of this crate.

pub mod answer;
pub mod auth;
pub mod freshness;
pub mod json;
pub mod list;
pub mod measures;
pub mod names;
pub mod operations;
pub mod paging;
pub mod params;
pub mod peers;
pub mod point;
pub mod pool;
pub mod prelude;
pub mod probe;
pub mod problem;
pub mod request;
pub mod service;
pub mod time;
pub mod tls;
pub mod waiting;
pub mod watched;

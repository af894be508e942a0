//! HTTP for services: what all routes of all services have in common.
//!
//! - [`service`]: a running service as its routes see it, and what a service declares of itself.
//! - [`operations`]: what each operation declares at its handler.
//! - [`problem`]: errors as problem documents; services add codes of their own.
//! - [`json`], [`params`], [`paging`], [`freshness`], [`point`]: what requests say. [`answer`], [`list`]: what they get.
//! - [`auth`]: callers, scopes, keys and tokens. [`tls`]: certificates.
//! - [`peers`]: the other services over HTTP.
//! - [`waiting`]: how requests wait without holding a place; [`pool`]: how places are shared between callers.
//! - [`measures`]: requests, counted. [`request`]: the request that a task works on.
//!
//! Deliberately absent: any service, the process around them (`orderlog-server`), SQL.

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
pub mod probe;
pub mod problem;
pub mod request;
pub mod service;
pub mod time;
pub mod tls;
pub mod waiting;
pub mod watched;

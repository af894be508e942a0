//! Observability of a process: request ids, an access log, metrics, traces.
//!
//! Deliberately absent from all of it: bodies, e-mail addresses, ids in paths, query values. A request is reported
//! under its route's template, which bounds the number of label values.

pub mod metrics;
pub mod otlp;
mod process;
mod sheet;

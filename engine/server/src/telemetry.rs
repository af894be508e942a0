//! What operators see of a process: requests by their ids, an access log, metrics, traces.
//!
//! Deliberately absent from all of it: bodies, e-mail addresses, ids in paths, values of queries. A request is told by the
//! template of its route, so that there are never more of them than there are routes.

pub mod metrics;
pub mod otlp;
mod process;
mod sheet;

//! The shop over HTTP: the routes, bodies and problem codes of each service, and how a refusal is answered.
//!
//! Each service is a marker type that implements [`ServiceDefinition`](orderlog_http::service::ServiceDefinition). [`values`] has
//! what is wrong with a value, as a problem.
//!
//! Deliberately absent: rules (they are in `orderlog-domain`), SQL, and whatever is the same for every service.

pub mod billing;
pub mod customers;
pub mod inventory;
pub mod notifications;
pub mod orders;
pub mod values;

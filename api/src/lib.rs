//! The shop over HTTP: the routes, bodies and problem codes of each service, and the responses for rejections.
//!
//! Each service is a marker type that implements [`ServiceDefinition`](orderlog_http::service::ServiceDefinition).
//! [`values`] turns invalid values into problems.
//!
//! Deliberately absent: rules (they are in `orderlog-domain`), SQL, and everything that is the same for every service.

#[macro_use]
mod mirror;

pub mod billing;
pub mod customers;
#[cfg(test)]
mod examples;
pub mod inventory;
pub mod notifications;
pub mod orders;
pub mod values;

//! A process over a list of services: start, gate, limits, contracts, command line.
//!
//! - [`registry`]: the services, listed once. Everything else in here is made from that list.
//! - [`server`]: puts services, routes and documents together. [`config`]: options. [`commands`]: the command line.
//! - [`openapi`] and [`asyncapi`]: the published contracts, generated from the same types.
//! - [`inspect`]: the log's records as operators see them.
//! - [`telemetry`]: logs, metrics and traces. [`output`]: everything it prints. [`private`]: permissions of its files.
//! - [`prelude`]: everything that a single-file service imports.
//!
//! Deliberately absent: any service.

pub mod asyncapi;
pub mod commands;
pub mod config;
pub mod inspect;
pub mod openapi;
pub mod output;
pub mod prelude;
pub mod private;
pub mod program;
pub mod registry;
pub mod server;
pub mod telemetry;
mod topics;

//! orderlog over HTTP: routes, contracts, configuration, command line.
//!
//! - One module per service ([`customers`], [`orders`], [`inventory`], [`billing`], [`notifications`]): its routes, bodies
//!   and answers, and the problem of each rejection. [`shop`] lists them, [`demo`] plays a story with them, [`values`] has the
//!   problems of values that they share. No other module names a service.
//! - [`registry`]: what the other modules know of the services. [`names`]: how services are called.
//! - [`problem`], [`answer`], [`json`], [`params`], [`service`]: what all routes have in common.
//! - [`operations`]: what the handlers declare of each operation, for the gate and the contract.
//! - [`openapi`] and [`asyncapi`]: the published contracts, generated from the same types.
//! - [`server`]: puts services, routes and documents together; [`config`] and [`cli`]: what can be set, and asked.
//! - [`telemetry`]: what operators see of a process; [`output`]: what it prints;
//!   [`private`]: who may read its files.
//! - [`inspect`]: the log's records as operators see them.
//! - [`peers`]: the other services over HTTP.
//! - [`auth`]: who asks, and what they may.
//!
//! Deliberately absent: rules (they are in `orderlog-domain`) and SQL.

// `#[operations]` names the crate that has its types.
extern crate self as orderlog_http;

pub mod answer;
pub mod asyncapi;
pub mod auth;
pub mod billing;
pub mod cli;
pub mod config;
pub mod customers;
pub mod demo;
pub mod freshness;
pub mod inspect;
pub mod inventory;
pub mod json;
pub mod measures;
pub mod names;
pub mod notifications;
pub mod openapi;
pub mod operations;
pub mod orders;
pub mod output;
pub mod paging;
pub mod params;
pub mod peers;
pub mod point;
mod pool;
pub mod private;
pub mod probe;
pub mod problem;
pub mod registry;
pub mod server;
pub mod service;
pub mod shop;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod values;
mod waiting;
pub mod watched;

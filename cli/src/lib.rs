//! The shop's program: its list of services, and its demo.

pub mod demo;
pub mod shop;

//! Deterministic simulation: all five services, the very code that ships, on a simulated log, clock, row store and network, in
//! one thread, from one seed. See `docs/reliability.md`.

mod chance;
mod client;
mod commands;
mod instance;
mod lease;
mod life;
mod link;
mod meaning;
mod nemesis;
mod notifier;
mod rest;
mod rows;
mod run;
mod shop;
mod tasks;
mod workload;
mod world;

pub use run::{Report, run, run_all};

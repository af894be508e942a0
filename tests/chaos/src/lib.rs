//! Real processes under load while things go wrong, judged by the checker of histories.
//!
//! Clients ask over HTTP and write down what they are told; something is killed, full, slow or cut off; then everything is mended and
//! has to come to rest. What clients noted, the log and the rows are a [`History`](orderlog_history::History), which is checked as those
//! of the simulation are. A fault counts only if it hit somebody at work.
//!
//! Deliberately absent: knowledge of how orderlog works inside. What clients ask is drawn from a seed, what happens when is not:
//! processes do not run by seed, that is what the simulation is for.

pub mod book;
pub mod brokers;
pub mod client;
pub mod cluster;
pub mod embedded;
pub mod gather;
pub mod network;
pub mod report;
pub mod signal;
pub mod workload;

//! What the end-to-end tests stand on: running servers, HTTP, patience.
//!
//! Every test starts the real `orderlog` binary on a data folder, topics and ports of its own, and asks it over HTTP as any
//! caller would. Nothing here knows how orderlog works inside.

pub mod certificates;
pub mod collector;
pub mod deployment;
pub mod disk;
pub mod ends;
pub mod http;
pub mod kcat;
pub mod keys;
pub mod planting;
pub mod poison;
pub mod raw;
pub mod rows;
pub mod story;
pub mod tokens;

use std::time::{Duration, Instant};

/// How long a test waits for what must happen. Generous: these machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ask again and again until there is an answer.
///
/// # Panics
/// When [`PATIENCE`] is at its end.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

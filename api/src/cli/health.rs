//! `orderlog health`: for containers, which have no other way to ask.

use std::time::Duration;

use anyhow::{Context, bail};

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Fails unless `url` answers 200.
pub async fn ask(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().context("no HTTP client can be made")?;
    let response = client.get(url).send().await.context("it does not answer")?;
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    println!("{body}");
    if !status.is_success() {
        bail!("it is not ready: {status}");
    }
    Ok(())
}

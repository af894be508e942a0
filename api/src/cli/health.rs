//! `orderlog health`: for containers, which have no other way to ask.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::{config::Trust, output, tls};

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Fails unless `url` answers 200.
pub async fn ask(url: &str, trust: &Trust) -> anyhow::Result<()> {
    let client = tls::client(trust.ca.as_deref(), [url])?.timeout(TIMEOUT).build();
    let client = client.context("no HTTP client can be made")?;
    let response = client.get(url).send().await.context("it does not answer")?;
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    // The exit code is the answer; what was answered is for people.
    drop(output::print(&body));
    if !status.is_success() {
        bail!("it is not ready: {status}");
    }
    Ok(())
}

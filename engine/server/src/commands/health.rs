//! `orderlog health`, for containers, which have no other way to check.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    exit::Failure,
    running::{Running, client},
};
use crate::{
    config::{Trust, http_url},
    output,
};

/// How long the response may take.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Which process to ask.
#[derive(Args, Clone, Debug)]
pub struct Health {
    /// The URL of the process, such as http://127.0.0.1:8080. Default: the URL that the server wrote to the data folder
    #[arg(long, value_name = "URL", value_parser = http_url)]
    url: Option<String>,

    /// The data folder of the process
    #[arg(short, long, env = "ORDERLOG_DATA", value_name = "DIR", default_value = "./data")]
    data: PathBuf,

    #[command(flatten)]
    trust: Trust,
}

/// The decisive part of the readiness document. `_services` identifies orderlog.
#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    #[serde(rename = "services")]
    _services: Map<String, Value>,
}

impl Health {
    /// Succeeds if the process answers with orderlog's readiness document and is ready.
    pub async fn run(&self) -> anyhow::Result<()> {
        let (status, body) = match &self.url {
            Some(url) => self.ask(url).await?,
            None => {
                let running = Running::of_folder(client(&self.trust, None, TIMEOUT)?, &self.data).await;
                let none =
                    || Failure::unavailable(format!("no server runs on the data folder {}", self.data.display()));
                running.ok_or_else(none)?.readiness().await?
            }
        };
        let Ok(Readiness { ready, .. }) = serde_json::from_str(&body) else {
            bail!("{status}, but no readiness document: something else than orderlog answers there");
        };
        // The exit code is the result; the body is for people.
        drop(output::print(&body));
        if !ready || status != StatusCode::OK {
            bail!("it is not ready: {status}");
        }
        Ok(())
    }

    async fn ask(&self, url: &str) -> anyhow::Result<(StatusCode, String)> {
        let mut readiness = Url::parse(url).map_err(|error| Failure::usage(format!("--url {url}: {error}")))?;
        if readiness.path() == "/" {
            readiness.set_path("/readyz");
        }
        let answer =
            client(&self.trust, Some(url), TIMEOUT)?.get(readiness).send().await.context("it does not answer")?;
        Ok((answer.status(), answer.text().await.context("its answer broke off")?))
    }
}

//! HTTP as bytes: for callers who do not keep to it.

use std::{io, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

#[derive(Debug)]
pub struct Raw(TcpStream);

/// What came before a connection was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    pub body: String,
}

impl Last {
    /// The code of the problem that it is.
    pub fn code(&self) -> String {
        let problem: Value = serde_json::from_str(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Raw {
    /// A connection to the server at `base`, a URL.
    ///
    /// # Errors
    /// The system's words.
    pub async fn to(base: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(base.trim_start_matches("http://")).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Send this.
    ///
    /// # Errors
    /// The system's words: the other end has closed, for one.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref()).await
    }

    /// The answer, if one comes within `patience` and the connection is closed after it.
    pub async fn last(&mut self, patience: Duration) -> Option<Last> {
        let mut bytes = Vec::new();
        // A connection that is reset is closed as well.
        drop(timeout(patience, self.0.read_to_end(&mut bytes)).await.ok()?);
        Some(answer_in(&bytes))
    }

    /// The next answer, whose connection may stay open.
    ///
    /// # Panics
    /// If none comes within `patience`.
    pub async fn answer(&mut self, patience: Duration) -> Last {
        let mut bytes = Vec::new();
        let whole = async {
            loop {
                let n = self.0.read_buf(&mut bytes).await.unwrap_or_default();
                if n == 0 || is_whole(&bytes) {
                    return;
                }
            }
        };
        timeout(patience, whole).await.expect("an answer");
        answer_in(&bytes)
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

fn answer_in(bytes: &[u8]) -> Last {
    let text = String::from_utf8_lossy(bytes);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Last { status, body }
}

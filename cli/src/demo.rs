//! `serve --demo`: plays through the public HTTP API of this process, with or without a number of orders.
//!
//! Both create new customers each time, so they can be repeated on the same data.

mod api;
mod plan;
mod shop;
mod story;

use orderlog_http::auth::Token;
use orderlog_server::registry::Registry;

use api::Api;

/// Plays the story, or a shop with this many orders, with these services at `url`.
pub async fn play(registry: &Registry, url: String, key: Token, size: Option<u32>) -> anyhow::Result<()> {
    let api = Api::new(url, key)?;
    api.ready(registry).await?;
    match size {
        None => story::play(api).await,
        Some(n_orders) => shop::play(&api, n_orders).await,
    }
}

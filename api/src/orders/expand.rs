//! What other services know of an order, asked over HTTP while the caller waits: for a bounded time, and without failing
//! the query.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use orderlog_domain::orders;

use super::bodies::{ExpandedInvoice, ExpandedStock};
use crate::{
    peers::{PeerError, Peers},
    problem::ApiError,
    services::ServiceName,
};

/// How long the other services have.
const WAIT: Duration = Duration::from_millis(1_000);
/// So many SKUs are asked for at once.
const N_AT_ONCE: usize = 8;

/// What to add to an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expand {
    /// The stock of its SKUs.
    pub stock: bool,
    /// Its invoice.
    pub invoice: bool,
}

impl Expand {
    /// What `stock,invoice` asks for.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let mut expand = Self::default();
        for part in text.unwrap_or_default().split(',').filter(|part| !part.is_empty()) {
            match part {
                "stock" => expand.stock = true,
                "invoice" => expand.invoice = true,
                _ => {
                    let detail = "it must be `stock`, `invoice`, or both with a comma between";
                    return Err(ApiError::parameter("expand", "invalid_parameter", detail));
                }
            }
        }
        Ok(expand)
    }
}

/// The stock of the order's SKUs.
pub async fn stock(peers: &Peers, order: &orders::Order) -> ExpandedStock {
    let skus: BTreeSet<&str> = order.lines.iter().map(|line| line.sku.as_str()).collect();
    // Collected first: a stream over borrowed names would tie the future to them.
    let paths: Vec<String> = skus.into_iter().map(|sku| format!("/stock/{sku}")).collect();
    let asked = stream::iter(paths)
        .map(|path| async move { peers.get(ServiceName::Inventory, &path, &[]).await })
        .buffered(N_AT_ONCE)
        .try_collect::<Vec<Option<serde_json::Value>>>();
    match in_time(ServiceName::Inventory, asked).await {
        Ok(items) => ExpandedStock { items: Some(items.into_iter().flatten().collect()), unavailable: None },
        Err(error) => ExpandedStock { items: None, unavailable: Some(error.to_string()) },
    }
}

/// The order's invoice.
pub async fn invoice(peers: &Peers, order: &orders::Order) -> ExpandedInvoice {
    let path = format!("/billing/{}", order.order_id);
    match in_time(ServiceName::Billing, peers.get(ServiceName::Billing, &path, &[])).await {
        Ok(found) => ExpandedInvoice { found, unavailable: None },
        Err(error) => ExpandedInvoice { found: None, unavailable: Some(error.to_string()) },
    }
}

async fn in_time<T>(service: ServiceName, asked: impl Future<Output = Result<T, PeerError>>) -> Result<T, PeerError> {
    tokio::time::timeout(WAIT, asked).await.unwrap_or(Err(PeerError::TimedOut(service)))
}

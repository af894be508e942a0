//! Adds data of other services to an order, over HTTP while the caller waits: for a bounded time, and without failing
//! the query.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use orderlog_domain::{billing::Billing, inventory::Inventory};
use orderlog_http::{
    peers::{PeerError, Peers},
    prelude::*,
};

use super::bodies::Order;
use crate::{billing::Invoice, inventory::Stock};

pub const INVENTORY: ServiceName = ServiceName::of::<Inventory>();
pub const BILLING: ServiceName = ServiceName::of::<Billing>();

/// How long the other services may take.
const WAIT: Duration = Duration::from_millis(1_000);
/// The most concurrent requests for SKUs.
const N_AT_ONCE: usize = 8;

/// What to add to an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expand {
    /// The stock of its SKUs.
    pub stock: bool,
    pub invoice: bool,
}

impl Expand {
    /// Parses `stock,invoice`.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn parse(text: Option<&str>) -> ApiResult<Self> {
        let mut expand = Self::default();
        for part in text.unwrap_or_default().split(',').filter(|part| !part.is_empty()) {
            match part {
                "stock" => expand.stock = true,
                "invoice" => expand.invoice = true,
                _ => {
                    let detail = "it must be `stock`, `invoice`, or both with a comma between";
                    return Err(ApiError::parameter("expand", codes::INVALID_PARAMETER, detail));
                }
            }
        }
        Ok(expand)
    }
}

/// Adds what `expand` requests to `order`, reflecting everything that the caller has seen. A service that does not
/// answer is named under `unavailable`.
pub async fn expanded(order: Order, expand: Expand, peers: &Peers, seen: &Freshness) -> Order {
    let stock = async { if expand.stock { stock(peers, &order, seen).await.map(Some) } else { Ok(None) } };
    let invoice = async { if expand.invoice { invoice(peers, &order, seen).await } else { Ok(None) } };
    let (stock, invoice) = tokio::join!(stock, invoice);
    let failures = [stock.as_ref().err(), invoice.as_ref().err()];
    let failures: Vec<String> = failures.into_iter().flatten().map(ToString::to_string).collect();
    let unavailable = (!failures.is_empty()).then_some(failures);
    Order { stock: stock.unwrap_or_default(), invoice: invoice.unwrap_or_default(), unavailable, ..order }
}

async fn stock(peers: &Peers, order: &Order, seen: &Freshness) -> Result<Vec<Stock>, PeerError> {
    let seen = &seen.awaited_by::<Inventory>();
    let skus: BTreeSet<&str> = order.lines.iter().map(|line| line.sku.as_str()).collect();
    // Collected first: a stream over borrowed names would tie the future to them.
    let paths: Vec<String> = skus.into_iter().map(|sku| format!("/stock/{sku}")).collect();
    let stock = stream::iter(paths)
        .map(|path| async move { peers.get(INVENTORY, &path, &[], seen).await })
        .buffered(N_AT_ONCE)
        .try_collect::<Vec<Option<Stock>>>();
    Ok(in_time(INVENTORY, stock).await?.into_iter().flatten().collect())
}

async fn invoice(peers: &Peers, order: &Order, seen: &Freshness) -> Result<Option<Invoice>, PeerError> {
    let path = format!("/billing/{}", order.order_id);
    let seen = seen.awaited_by::<Billing>();
    in_time(BILLING, peers.get(BILLING, &path, &[], &seen)).await
}

async fn in_time<T>(service: ServiceName, answer: impl Future<Output = Result<T, PeerError>>) -> Result<T, PeerError> {
    tokio::time::timeout(WAIT, answer).await.unwrap_or(Err(PeerError::TimedOut(service)))
}

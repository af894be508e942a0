//! Rows of stopped services, compared.

use std::path::{Path, PathBuf};

use orderlog_core::decider::Decider;
use orderlog_projections::{billing, customers, inventory, notifications, orders};
use orderlog_readmodel::{Store, Tables};

async fn same_rows<D: Decider>(tables: &'static Tables<D>, one: &Path, other: &Path) {
    let one = Store::open(one, tables).await.expect("rows that can be opened");
    let other = Store::open(other, tables).await.expect("rows that can be opened");
    let differences = one.compare(&other).await.expect("rows that can be compared");
    assert!(differences.is_empty(), "{}: {differences:?}", D::JOURNAL);
    assert!(one.checkpoint().await.expect("a checkpoint").next > 1, "{} has something to compare", D::JOURNAL);
}

/// The rows of every service are the same in both: each is told the service and tells the data folder.
///
/// # Panics
/// With the first rows that differ.
pub async fn all_same(one: impl Fn(&str) -> PathBuf, other: impl Fn(&str) -> PathBuf) {
    let both = |service: &str| (one(service), other(service));
    let (a, b) = both("customers");
    same_rows(&customers::TABLES, &a, &b).await;
    let (a, b) = both("orders");
    same_rows(&orders::TABLES, &a, &b).await;
    let (a, b) = both("inventory");
    same_rows(&inventory::TABLES, &a, &b).await;
    let (a, b) = both("billing");
    same_rows(&billing::TABLES, &a, &b).await;
    let (a, b) = both("notifications");
    same_rows(&notifications::TABLES, &a, &b).await;
}

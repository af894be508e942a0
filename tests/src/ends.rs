//! Where topics end: each record that anybody wrote is counted.

use std::{collections::BTreeMap, time::Duration};

use orderlog_domain::SERVICES;

use crate::{eventually, http::Http};

/// Where each topic ends.
pub type Ends = BTreeMap<&'static str, u64>;

/// Where every topic of the embedded log ends.
///
/// # Panics
/// If a topic has no end.
pub async fn ends(http: &Http) -> Ends {
    let mut ends = BTreeMap::new();
    let public = SERVICES.iter().flat_map(|(_, published)| *published).map(|(topic, _)| *topic);
    for topic in public.chain(SERVICES.iter().map(|(journal, _)| *journal)) {
        let chunk = http.get(&format!("/admin/log/{topic}/0?limit=0")).await.expect(200);
        ends.insert(topic, chunk["end"].as_u64().unwrap_or_else(|| panic!("{topic} has an end: {chunk}")));
    }
    ends
}

/// Where every topic ends once nothing more happens by itself.
pub async fn ends_at_rest(http: &Http) -> Ends {
    eventually("the services come to rest", async || {
        let before = ends(http).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        (before == ends(http).await).then_some(before)
    })
    .await
}

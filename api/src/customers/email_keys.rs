//! Claims the canonical spelling of e-mail addresses that an earlier version accepted, before the customers service is ready.
//!
//! Earlier versions compared addresses in lower case only. For each customer whose address has another canonical
//! spelling that is free, one record claims it. An interrupted run resumes with the remaining customers, and several
//! instances may run it at the same time, because the log arbitrates. If another customer holds the spelling, nothing
//! is written: an operator decides who keeps the address, and everything else about both customers can be changed.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use orderlog_domain::{
    customers::{Address, Command, Customer, Customers, Rejection},
    values::CustomerId,
};
use orderlog_projections::customers;
use orderlog_readmodel::StoreError;
use orderlog_runtime::replica::{ExecuteError, Replica, State, ToSettle};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

/// The number of customers per query.
const N_MAX: u32 = 500;
/// The most concurrent claims.
const N_AT_ONCE: usize = 64;
/// How long one attempt may take.
const DEADLINE_MS: i64 = 10_000;
/// The pause after a failed attempt.
const AGAIN: Duration = Duration::from_secs(1);
/// How often to check whether a collision was settled and the spelling can be claimed.
const EVERY: Duration = Duration::from_secs(60);

/// The name under which collisions are reported.
const NAME: &str = "email_collisions";

/// Two customers whose addresses differ only in spellings that an earlier version took for different addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Collision {
    /// The customer who does not hold the canonical spelling.
    pub customer_id: CustomerId,
    /// The one who does.
    pub held_by: CustomerId,
}

/// Why not every spelling could be claimed.
#[derive(Debug, thiserror::Error)]
enum ClaimError {
    #[error(transparent)]
    Rows(#[from] StoreError),
    #[error(transparent)]
    Command(#[from] ExecuteError<Rejection>),
}

/// Keeps the replica from becoming ready until all spellings are claimed, and claims later those that become free.
pub fn begin(replica: &Replica<Customers>) {
    replica.prepare_first();
    replica.setup().environment.spawn(keep_claiming(replica.clone()).boxed());
}

async fn keep_claiming(replica: Replica<Customers>) {
    let mut known = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = replica.is_to_end() => return,
            () = replica.caught_up() => {}
        }
        let rest = match claim_all(&replica).await {
            Ok(collisions) => {
                for Collision { customer_id, held_by } in collisions.iter().filter(|it| !known.contains(*it)) {
                    warn!(
                        service = "customers",
                        %customer_id,
                        %held_by,
                        "the e-mail addresses of customers {customer_id} and {held_by} are spellings of one: change one of them"
                    );
                }
                known.clone_from(&collisions);
                replica.prepared(to_settle(&collisions));
                EVERY
            }
            Err(failure) => {
                warn!(service = "customers", "spellings of e-mail addresses can't be claimed yet: {failure}");
                AGAIN
            }
        };
        let mut state = replica.state();
        tokio::select! {
            biased;
            () = replica.is_to_end() => return,
            // It restarted with an empty read model, or stopped.
            _ = state.wait_for(|state| !matches!(state, State::Ready | State::Preparing)) => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// The collisions as `orderlog projection status` reports them.
fn to_settle(collisions: &[Collision]) -> ToSettle {
    let any = (!collisions.is_empty()).then(|| (NAME.to_owned(), serde_json::json!(collisions)));
    any.into_iter().collect()
}

/// The collisions in a report.
pub fn reported(to_settle: &ToSettle) -> Vec<Collision> {
    let found = to_settle.get(NAME).map(Vec::deserialize);
    found.and_then(Result::ok).unwrap_or_default()
}

/// Claims every free spelling, older customers first. Returns the collisions.
async fn claim_all(replica: &Replica<Customers>) -> Result<Vec<Collision>, ClaimError> {
    let (mut collisions, mut after, mut n_claimed) = (Vec::new(), None, 0_u64);
    loop {
        let customers = customers::without_canonical_key(&replica.store(), after, N_MAX).await?;
        let Some(last) = customers.last() else { break };
        after = Some(last.customer_id);
        let mut outcomes = stream::iter(customers).map(|customer| claim(replica, customer)).buffered(N_AT_ONCE);
        while let Some(outcome) = outcomes.next().await {
            match outcome? {
                Claimed::Now => n_claimed += 1,
                Claimed::By(collision) => collisions.push(collision),
                Claimed::NotNeeded => {}
            }
        }
    }
    if n_claimed > 0 {
        info!(service = "customers", n_claimed, "claimed the canonical spelling of {n_claimed} e-mail addresses");
    }
    Ok(collisions)
}

/// The outcome of one claim.
enum Claimed {
    Now,
    By(Collision),
    NotNeeded,
}

async fn claim(replica: &Replica<Customers>, customer: Customer) -> Result<Claimed, ExecuteError<Rejection>> {
    let customer_id = customer.customer_id;
    let address = Address::new(customer.email, replica.hash_key());
    let command = Command::ClaimEmailKey { customer_id, address };
    match replica.execute_own(command, replica.now_ms() + DEADLINE_MS).await {
        Ok(_) => Ok(Claimed::Now),
        Err(ExecuteError::Rejected(Rejection::EmailKeyTaken { customer_id, held_by })) => {
            Ok(Claimed::By(Collision { customer_id, held_by }))
        }
        // Another instance claimed it, or the customer has a different address by now.
        Err(ExecuteError::Rejected(Rejection::NothingToClaim { .. })) => Ok(Claimed::NotNeeded),
        Err(ExecuteError::Parked) => {
            warn!(service = "customers", %customer_id, "a parked record keeps a spelling of customer {customer_id} from being claimed");
            Ok(Claimed::NotNeeded)
        }
        Err(failure) => Err(failure),
    }
}

//! The routes of the orders service.

mod bodies;
pub mod codes;
mod expand;
mod history;
pub mod scopes;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use orderlog_domain::{
    orders::{self, Command, Orders, Rejection},
    paths::EXAMPLE_ORDER,
    values::{Channel, CustomerId, OrderId},
};
use orderlog_http::{prelude::*, waiting::aside};
use orderlog_projections::orders::{self as projections, OrderFilter};
use poem::http::StatusCode;
use serde_json::Value;

pub use bodies::{
    Order, OrderChanged, OrderLine, OrderPayment, OrderRejection, OrderSort, OrderState, PlaceOrder, PlacedOrder,
    ShortageReason,
};
pub use history::HistoryEntry;

use expand::Expand;

pub struct OrdersApi(Service<OrdersService>);

pub struct OrdersService;

impl ServiceDefinition for OrdersService {
    type Decider = Orders;
    type Api = OrdersApi;

    const TABLES: &'static Tables<Orders> = &projections::TABLES;
    const ABOUT: &'static str = "Orders, and whether they can be supplied and are paid";
    const SCOPES: &'static [Scope] = &[scopes::PRICE];
    const CODES: &'static [Code] = codes::ALL;
    const CALLS: &'static [Call] = &[
        (expand::INVENTORY, "`GET /orders/{order_id}?expand=stock` leaves out the stock"),
        (expand::BILLING, "`GET /orders/{order_id}?expand=invoice` leaves out the invoice"),
    ];

    fn fingerprint(command: &Command) -> String {
        command.fingerprint_text()
    }

    fn problem_of(rejection: Rejection) -> ApiError {
        let detail = rejection.to_string();
        match rejection {
            Rejection::NoLines => ApiError::invalid_at("#/lines", codes::NO_LINES, detail),
            Rejection::TooManyLines { .. } => ApiError::invalid_at("#/lines", codes::TOO_MANY_LINES, detail),
            Rejection::TotalTooLarge { .. } => ApiError::invalid_at("#/lines", codes::TOTAL_TOO_LARGE, detail),
            Rejection::QuantityTooLarge { .. } => ApiError::invalid_at("#/lines", codes::QUANTITY_TOO_LARGE, detail),
            Rejection::UnknownCustomer { .. } => {
                ApiError::not_found(crate::customers::codes::UNKNOWN_CUSTOMER, detail).at("#/customer_id")
            }
            Rejection::CustomerInactive { .. } => {
                ApiError::conflict(codes::CUSTOMER_INACTIVE, detail).at("#/customer_id")
            }
            Rejection::UnknownOrder { .. } => ApiError::not_found(codes::UNKNOWN_ORDER, detail),
            Rejection::IllegalTransition { .. } => ApiError::conflict(codes::ILLEGAL_TRANSITION, detail),
            Rejection::NotPaid { .. } => ApiError::conflict(codes::NOT_PAID, detail),
        }
    }

    async fn start(parts: &Parts) -> Result<Mounted, NotStarted> {
        parts.mount::<Self>(OrdersApi).await
    }

    fn example_ids() -> Vec<ExampleId> {
        vec![ExampleId { id: EXAMPLE_ORDER, list: "/orders?limit=1", field: "order_id" }]
    }

    fn examples() -> Vec<(&'static str, Value)> {
        bodies::examples()
    }
}

impl OrdersApi {
    /// Waits until the order is confirmed or rejected, for at most `wait`. Returns the newest record that `placed` then
    /// reflects, if it was read, and whether waiting was allowed.
    async fn wait_until_settled(&self, placed: &mut PlacedOrder, wait: Duration) -> ApiResult<(Option<u64>, bool)> {
        let (until, mut committed) = (Instant::now() + wait, self.0.replica.committed());
        let Ref { kind, key, .. } = orders::Order::aggregate(OrderId(placed.order_id));
        let mut newest = None;
        while placed.state == OrderState::Placed && Instant::now() < until {
            // Marked as seen before the row is read, so that later writes wake this task.
            committed.borrow_and_update();
            if let Some((_, offset, orders::Entity::Order(order))) = self.0.rows().await?.get(kind, &key).await? {
                placed.becomes(&Order::from(&order));
                newest = Some(offset);
            }
            // The loop condition checks whether it changed or the time is up.
            if placed.state == OrderState::Placed
                && aside(tokio::time::timeout_at(until.into(), committed.changed())).await.is_none()
            {
                return Ok((newest, false));
            }
        }
        Ok((newest, true))
    }

    /// The order, and the position that a past state (`as_of`) reflects.
    async fn order(
        &self,
        id: OrderId,
        as_of: Option<&str>,
        caller: &Caller,
        seen: &Freshness,
    ) -> ApiResult<(orders::Order, Option<String>)> {
        let shown = Visibility::ToItsOwner(caller, |owner, entity: &orders::Entity| {
            entity.as_order().is_some_and(|order| order.customer_id.0 == owner)
        });
        let looked = self.0.look(orders::Order::aggregate(id), as_of, seen, shown).await?;
        looked.found(orders::Entity::into_order, || OrdersService::problem_of(Rejection::UnknownOrder { order_id: id }))
    }
}

/// Rejects callers that may not set prices. For callers that are not bound to a customer, `orders:write` implies
/// `orders:price` until prices come from a catalogue.
///
/// # Errors
/// 403 for callers that act as a customer, and for others without either scope.
fn may_name_prices(caller: &Caller) -> ApiResult<()> {
    if caller.owner().is_none() && (caller.has(scopes::PRICE) || caller.has(scopes::WRITE)) {
        return Ok(());
    }
    let detail = "callers that act as a customer cannot name prices, and there is no catalogue of prices yet";
    Err(ApiError::new(StatusCode::FORBIDDEN, codes::PRICE_NOT_ALLOWED, detail))
}

fn done(executed: &Executed<Orders>) -> ApiResult<Done<OrderChanged>> {
    let changed = OrderChanged::of(executed)?;
    let version = changed.version;
    Ok(Done::new(executed, changed, version))
}

#[operations]
#[OpenApi(prefix_path = "/orders")]
impl OrdersApi {
    /// Place an order
    ///
    /// Responds with state `placed`. Shortly afterwards the order becomes `confirmed`, with all its stock reserved, or
    /// `rejected`. With `Prefer: wait=10` the response is sent once that is known, or after that many seconds; with
    /// `Prefer: respond-async` it is sent immediately. To try the example, use a `customer_id` returned by `POST
    /// /customers`.
    ///
    /// The caller sets the prices, so a caller that acts as a customer gets 403 `price_not_allowed`.
    #[operation(post = "/", scope = scopes::WRITE, bound = own, no_target, key_may_be_required, waits,
        problems(
            codes::PRICE_NOT_ALLOWED, codes::NO_LINES, codes::TOO_MANY_LINES, codes::TOTAL_TOO_LARGE,
            codes::QUANTITY_TOO_LARGE, codes::CUSTOMER_INACTIVE, crate::customers::codes::UNKNOWN_CUSTOMER,
        )
    )]
    async fn place_order(&self, head: CommandHeaders, body: Given<PlaceOrder>) -> ApiResult<Created<PlacedOrder>> {
        may_name_prices(&head.caller)?;
        let (customer_id, currency, lines, channel) = body.0;
        if !head.caller.sees(customer_id.0) {
            return Err(OrdersService::problem_of(Rejection::UnknownCustomer { customer_id }));
        }
        let order_id = OrderId(mint());
        let command = Command::Place { order_id, customer_id, currency, lines, channel };
        let mut freshness = head.freshness.clone();
        let executed = self.0.execute(command, head, || "POST /orders".to_owned()).await?;
        let mut placed = PlacedOrder::of(&executed)?;
        let mut newest = None;
        if let Some(wait) = freshness.wait {
            let (found, has_waited) = self.wait_until_settled(&mut placed, wait).await?;
            newest = found;
            freshness.wait = freshness.wait.filter(|_| has_waited);
        }
        let (location, version) = (format!("/orders/{}", placed.order_id), placed.version);
        let created = Created::new(&executed, placed, version).at(location).applied(freshness.applied());
        Ok(created.telling_of::<Orders>(newest))
    }

    /// Cancel an order
    ///
    /// Possible until the order is fulfilled. Its stock is released; its invoice is voided, or refunded if something
    /// was paid. Repeating it changes nothing.
    #[operation(post = "/:order_id/cancel", scope = scopes::WRITE, bound = own, problems(codes::UNKNOWN_ORDER, codes::ILLEGAL_TRANSITION))]
    async fn cancel_order(&self, order_id: Path<OrderId>, head: CommandHeaders) -> ApiResult<Done<OrderChanged>> {
        let id = order_id.0;
        if head.caller.owner().is_some() {
            // An order's owner never changes, so it can be checked before.
            self.order(id, None, &head.caller, &head.freshness).await?;
        }
        let command = Command::Cancel { order_id: id };
        done(&self.0.execute(command, head, || format!("POST /orders/{id}/cancel")).await?)
    }

    /// Fulfil an order
    ///
    /// The order must be `confirmed` and `paid`. Its units leave the stock. Repeating it changes nothing.
    #[operation(post = "/:order_id/fulfil", scope = scopes::WRITE, bound = refused,
        problems(codes::UNKNOWN_ORDER, codes::ILLEGAL_TRANSITION, codes::NOT_PAID)
    )]
    async fn fulfil_order(&self, order_id: Path<OrderId>, head: CommandHeaders) -> ApiResult<Done<OrderChanged>> {
        let id = order_id.0;
        let command = Command::Fulfil { order_id: id };
        done(&self.0.execute(command, head, || format!("POST /orders/{id}/fulfil")).await?)
    }

    /// Get an order
    ///
    /// Reflects everything this instance has answered so far. `expand` also queries other services; one that does not
    /// answer within a second is named under `unavailable`.
    #[operation(get = "/:order_id", scope = scopes::READ, bound = own, problems(codes::UNKNOWN_ORDER))]
    async fn get_order(
        &self,
        caller: Caller,
        order_id: Path<OrderId>,
        /// `stock`, `invoice`, or `stock,invoice`.
        #[oai(validator(pattern = "^(stock|invoice)(,(stock|invoice))*$"))]
        expand: Query<Option<String>>,
        as_of: AsOf,
        seen: Freshness,
    ) -> ApiResult<Found<Order>> {
        if expand.0.is_some() && as_of.0.is_some() {
            let detail = "other services only return their current state: omit `expand` or `as_of`";
            return Err(ApiError::parameter("expand", codes::EXPAND_WITH_AS_OF, detail));
        }
        let expand = Expand::parse(expand.0.as_deref())?;
        // This service queries others in its own name, so it has to check the caller's scopes itself.
        if expand.stock {
            caller.require(crate::inventory::scopes::READ)?;
        }
        if expand.invoice {
            caller.require(crate::billing::scopes::READ)?;
        }
        let (order, position) = self.order(order_id.0, as_of.0.as_deref(), &caller, &seen).await?;
        let version = order.version;
        let shown = expand::expanded(Order::from(&order), expand, &self.0.peers, &seen).await;
        Ok(Found::new(shown, version).at(position))
    }

    /// List orders
    ///
    /// Newest first by default, in pages. Callers that act as a customer see only that customer's orders.
    #[operation(get = "/", scope = scopes::READ, bound = own)]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the operation")]
    async fn list_orders(
        &self,
        caller: Caller,
        /// Only this customer's orders.
        customer_id: Query<Option<Uuid>>,
        /// Only orders in this state.
        state: Query<Option<OrderState>>,
        /// Only orders with this payment status.
        payment: Query<Option<OrderPayment>>,
        /// Only orders from this channel.
        #[oai(validator(pattern = "^[a-z0-9-]{1,40}$"))]
        channel: Query<Option<String>>,
        /// Only orders placed at or after this time.
        created_from: Query<Option<DateTime<Utc>>>,
        /// Only orders placed before this time.
        created_to: Query<Option<DateTime<Utc>>>,
        /// The sort order: `newest` first by default, or `oldest`.
        sort: Query<Option<OrderSort>>,
        page: Paged,
        seen: Freshness,
    ) -> ApiResult<Listed<ListBody<Order>>> {
        let customer_id = customer_id.0.map(CustomerId);
        if customer_id.is_some_and(|id| !caller.sees(id.0)) {
            // As for a customer without orders.
            return Ok(Listed::new(Vec::new().into(), None));
        }
        let channel = channel.0.map(Channel::new).transpose().map_err(|error| {
            ApiError::parameter("channel", crate::values::codes::INVALID_IDENTIFIER, error.to_string())
        })?;
        let filter = OrderFilter {
            customer_id: customer_id.or_else(|| caller.owner().map(CustomerId)),
            state: state.0.map(orders::OrderState::from),
            payment: payment.0.map(orders::Payment::from),
            channel,
            created_ms: (created_from.0.map(ms), created_to.0.map(ms)),
            oldest_first: sort.0 == Some(OrderSort::Oldest),
        };
        let rows = self.0.fresh_rows(&seen).await?;
        let found = projections::list(&rows, &filter, &page.paging()?).await?;
        Ok(page.list(found, |order| Order::from(&order)))
    }

    /// Get an order's history
    ///
    /// Every record about the order, oldest first: what happened, when, and which event of which service caused it.
    #[operation(get = "/:order_id/history", scope = scopes::READ, bound = own, problems(codes::UNKNOWN_ORDER))]
    async fn get_order_history(
        &self,
        caller: Caller,
        order_id: Path<OrderId>,
        page: Paged,
        seen: Freshness,
    ) -> ApiResult<Listed<ListBody<HistoryEntry>>> {
        let (order, _) = self.order(order_id.0, None, &caller, &seen).await?;
        let key = Key::of(order.order_id);
        let found = history::of(&self.0, &key, &page.paging()?).await?;
        Ok(page.list(found, |entry| entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_callers_that_are_bound_to_no_customer_name_prices() {
        let caller = |scope, owner| Caller::new("key:app".to_owned(), [scope], owner);
        for scope in [scopes::WRITE, scopes::PRICE] {
            assert!(may_name_prices(&caller(scope, None)).is_ok(), "{scope}");
            let refused = may_name_prices(&caller(scope, Some(Uuid::from_u128(1)))).unwrap_err();
            assert!(refused.is(codes::PRICE_NOT_ALLOWED), "{scope}");
        }
    }
}

//! The request and response bodies of the orders service.

use chrono::{DateTime, Utc};
use orderlog_domain::{
    inventory::ShortageReason as StoredReason,
    orders::{self, Event, OrderLine as StoredLine, OrderPlaced, Orders, Standing},
    paths::{EXAMPLE_CUSTOMER, EXAMPLE_ORDER},
    values::{Channel, Currency, CustomerId, Money, Quantity, Sku},
};
use orderlog_http::prelude::*;
use serde_json::{Value, json};

use super::OrdersService;
use crate::{
    billing::Invoice,
    inventory::{Shortage, Stock},
    values::CheckValues,
};

mirror! {
    /// The state of an order.
    pub enum OrderState of orders::OrderState {
        /// It is not known yet whether it can be supplied.
        Placed,
        /// All its stock is reserved.
        Confirmed,
        /// It can't be supplied. Terminal state.
        Rejected,
        /// Shipped. Terminal state.
        Fulfilled,
        /// Cancelled. Terminal state.
        Cancelled,
    }
}

mirror! {
    /// The payment status of an order.
    pub enum OrderPayment of orders::Payment {
        /// Not paid in full.
        Unpaid,
        /// Paid in full.
        Paid,
        /// Refunded.
        Refunded,
    }
}

/// An order line: a SKU at the price quoted to the customer.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct OrderLine {
    /// The SKU: 1 to 64 letters, digits, dots, dashes or underscores, with at least one letter or digit.
    #[oai(validator(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    pub sku: String,
    /// The number of units.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub quantity: i64,
    /// The price per unit, in minor units of the currency (cents).
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000000")))]
    pub unit_price: i64,
}

impl From<&StoredLine> for OrderLine {
    fn from(line: &StoredLine) -> Self {
        Self {
            sku: line.sku.as_str().to_owned(),
            quantity: i64::from(line.quantity.get()),
            unit_price: line.unit_price.minor_units(),
        }
    }
}

/// A new order.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields, example)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrder {
    /// The customer placing the order, who must be active.
    pub customer_id: Uuid,
    /// The ISO 4217 currency code of the prices.
    #[oai(validator(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
    /// 1 to 100 lines. SKUs may repeat; their quantities are added up.
    #[oai(validator(min_items = 1, max_items = 100))]
    pub lines: Vec<OrderLine>,
    /// The channel the order comes from, such as `web` or `store-7`: 1 to 40 lowercase letters a to z, digits and
    /// dashes.
    #[oai(validator(pattern = "^[a-z0-9-]{1,40}$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}

impl Example for PlaceOrder {
    fn example() -> Self {
        let PlacedOrder { customer_id, currency, lines, channel, .. } = PlacedOrder::example();
        Self { customer_id, currency, lines, channel }
    }
}

impl Checked for PlaceOrder {
    type Values = (CustomerId, Currency, Vec<StoredLine>, Option<Channel>);

    fn checked(self) -> ApiResult<Self::Values> {
        let (mut faults, n_lines) = (Faults::default(), self.lines.len());
        let currency = faults.check("#/currency", Currency::new(&self.currency));
        let channel = faults.check_if("#/channel", self.channel.map(Channel::new));
        let mut lines = Vec::with_capacity(self.lines.len());
        for (i, OrderLine { sku, quantity, unit_price }) in self.lines.into_iter().enumerate() {
            let sku = faults.check(format_args!("#/lines/{i}/sku"), Sku::new(sku));
            let quantity = Quantity::new(u32::try_from(quantity).unwrap_or(0));
            let quantity = faults.check(format_args!("#/lines/{i}/quantity"), quantity);
            let unit_price = faults.check(format_args!("#/lines/{i}/unit_price"), Money::new(unit_price));
            if let (Some(sku), Some(quantity), Some(unit_price)) = (sku, quantity, unit_price) {
                lines.push(StoredLine { sku, quantity, unit_price });
            }
        }
        // If this is the only fault, the service rejects it; otherwise it is reported together with the others.
        if !faults.is_empty() && lines.len() == n_lines {
            faults.extend(orders::total_of_order(&lines).err().map(OrdersService::problem_of));
        }
        let Some(currency) = currency else { return Err(faults.into()) };
        faults.none()?;
        Ok((CustomerId(self.customer_id), currency, lines, channel))
    }
}

/// An order as it was placed.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(example, skip_serializing_if_is_none)]
pub struct PlacedOrder {
    /// The order's id.
    pub order_id: Uuid,
    /// The customer who placed the order.
    pub customer_id: Uuid,
    /// `placed`: its stock is not reserved yet. Another state only if the request waited for it.
    pub state: OrderState,
    /// `unpaid`.
    pub payment: OrderPayment,
    /// The currency of the prices and the total.
    pub currency: String,
    /// The sum of the lines, in minor units.
    pub total: i64,
    /// The lines as ordered.
    pub lines: Vec<OrderLine>,
    /// The channel it came from, if the request that placed it named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Why it was rejected, if the request waited for the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<OrderRejection>,
    /// Incremented by every change to the order.
    pub version: u64,
    /// When it was placed.
    pub created_at: DateTime<Utc>,
}

impl Example for PlacedOrder {
    fn example() -> Self {
        let line = OrderLine { sku: "espresso-beans-1kg".to_owned(), quantity: 2, unit_price: 1890 };
        Self {
            order_id: EXAMPLE_ORDER,
            customer_id: EXAMPLE_CUSTOMER,
            state: OrderState::Placed,
            payment: OrderPayment::Unpaid,
            currency: "EUR".to_owned(),
            total: 3780,
            lines: vec![line],
            channel: Some("web".to_owned()),
            rejection: None,
            version: 1,
            created_at: time(1_790_000_000_000),
        }
    }
}

impl PlacedOrder {
    /// The response for the record of a placed order.
    pub fn of(executed: &Executed<Orders>) -> ApiResult<Self> {
        let Event::OrderPlaced(OrderPlaced { order_id, customer_id, currency, lines, total, channel, version }) =
            &*executed.accepted.event
        else {
            return Err(unexpected(&executed.accepted.event));
        };
        Ok(Self {
            order_id: order_id.0,
            customer_id: customer_id.0,
            state: OrderState::Placed,
            payment: OrderPayment::Unpaid,
            currency: currency.as_str().to_owned(),
            total: total.minor_units(),
            lines: lines.iter().map(OrderLine::from).collect(),
            channel: channel.clone().map(String::from),
            rejection: None,
            version: *version,
            created_at: time_of(&executed.accepted.at),
        })
    }

    /// Updates the state from the order as it is now.
    pub fn becomes(&mut self, order: &Order) {
        (self.state, self.payment, self.version) = (order.state, order.payment, order.version);
        self.rejection.clone_from(&order.rejection);
    }
}

/// An order after a command.
#[derive(Debug, Object, Deserialize, Serialize)]
pub struct OrderChanged {
    /// The order's id.
    pub order_id: Uuid,
    /// The customer who placed the order.
    pub customer_id: Uuid,
    /// The order's state.
    pub state: OrderState,
    /// The payment status.
    pub payment: OrderPayment,
    /// Incremented by every change to the order.
    pub version: u64,
    /// When the change was made.
    pub changed_at: DateTime<Utc>,
}

impl OrderChanged {
    /// The response for the record of a command.
    pub fn of(executed: &Executed<Orders>) -> ApiResult<Self> {
        let event = &executed.accepted.event;
        let Standing { order_id, customer_id, state, payment, version } =
            event.standing().ok_or_else(|| unexpected(event))?;
        Ok(Self {
            order_id: order_id.0,
            customer_id: customer_id.0,
            state: state.into(),
            payment: payment.into(),
            version,
            changed_at: time_of(&executed.accepted.at),
        })
    }
}

mirror! {
    /// Why an order could not be supplied.
    pub enum ShortageReason of StoredReason {
        /// Too few units of at least one SKU.
        OutOfStock,
        /// At least one SKU has never been received.
        UnknownSku,
    }
}

/// Why an order was rejected.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
pub struct OrderRejection {
    /// The reason, as a code.
    pub reason: ShortageReason,
    /// Each SKU that was short.
    pub shortages: Vec<Shortage>,
}

/// An order.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Order {
    /// The order's id.
    pub order_id: Uuid,
    /// The customer who placed the order.
    pub customer_id: Uuid,
    /// The order's state.
    pub state: OrderState,
    /// The payment status.
    pub payment: OrderPayment,
    /// The currency of the prices and the total.
    pub currency: String,
    /// The sum of the lines, in minor units.
    pub total: i64,
    /// The lines as ordered.
    pub lines: Vec<OrderLine>,
    /// The channel it came from, if the request that placed it named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Why it was rejected, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<OrderRejection>,
    /// Incremented by every change to the order.
    pub version: u64,
    /// When it was placed.
    pub created_at: DateTime<Utc>,
    /// When the order last changed.
    pub updated_at: DateTime<Utc>,
    /// With `expand=stock`: the stock of each of its SKUs that was ever received, as returned by `GET /stock/{sku}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stock: Option<Vec<Stock>>,
    /// With `expand=invoice`: the invoice as returned by `GET /billing/{order_id}`; absent if billing does not know the
    /// order yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice: Option<Invoice>,
    /// The parts that could not be expanded because their service did not answer, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<Vec<String>>,
}

impl From<&orders::Order> for Order {
    fn from(order: &orders::Order) -> Self {
        let rejection = order.rejection.as_ref().map(|rejection| OrderRejection {
            reason: rejection.reason.into(),
            shortages: rejection.shortages.iter().map(Shortage::from).collect(),
        });
        Self {
            order_id: order.order_id.0,
            customer_id: order.customer_id.0,
            state: order.state.into(),
            payment: order.payment.into(),
            currency: order.currency.as_str().to_owned(),
            total: order.total.minor_units(),
            lines: order.lines.iter().map(OrderLine::from).collect(),
            channel: order.channel.clone().map(String::from),
            rejection,
            version: order.version,
            created_at: time(order.created_ms),
            updated_at: time(order.updated_ms),
            stock: None,
            invoice: None,
            unavailable: None,
        }
    }
}

/// The sort order of a list of orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum OrderSort {
    /// Newest first.
    Newest,
    /// Oldest first.
    Oldest,
}

impl ListItem for Order {}

/// The examples that can't be composed of others without contradictions.
pub fn examples() -> Vec<(&'static str, Value)> {
    let line = json!({ "sku": "espresso-beans-1kg", "quantity": 2, "unit_price": 1890 });
    let order = json!({
        "order_id": EXAMPLE_ORDER, "customer_id": EXAMPLE_CUSTOMER, "state": "confirmed", "payment": "unpaid",
        "currency": "EUR", "total": 3780, "lines": [line], "channel": "web", "version": 2, "created_at": EXAMPLE_TIME,
        "updated_at": EXAMPLE_TIME,
    });
    let changed = json!({
        "order_id": EXAMPLE_ORDER, "customer_id": EXAMPLE_CUSTOMER, "state": "cancelled", "payment": "unpaid", "version": 3,
        "changed_at": EXAMPLE_TIME,
    });
    let entry = json!({
        "offset": 1042, "time": EXAMPLE_TIME, "type": "order_confirmed", "version": 2,
        "summary": "confirmed: all of its stock is reserved",
    });
    let detail = "a quantity must be from 1 to 1000000";
    let fault = json!({ "pointer": "#/lines/0/quantity", "code": "invalid_quantity", "detail": detail });
    vec![("OrderLine", line), ("Order", order), ("OrderChanged", changed), ("HistoryEntry", entry), ("Fault", fault)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use orderlog_http::json::assert_all_told;

    #[test]
    fn wrong_values_are_told_beside_wrong_types() {
        assert_all_told::<PlaceOrder>(
            r#"{"customer_id": 7, "currency": "eu", "lines": []}"#,
            &[("#/currency", "invalid_currency"), ("#/customer_id", "wrong_type"), ("#/lines", "no_lines")],
        );
        assert_all_told::<PlaceOrder>(
            r#"{"currency": "EUR", "lines": [{"sku": "a b", "quantity": "x", "unit_price": -1}]}"#,
            &[
                ("#/customer_id", "missing_field"),
                ("#/lines/0/quantity", "wrong_type"),
                ("#/lines/0/sku", "invalid_identifier"),
                ("#/lines/0/unit_price", "invalid_amount"),
            ],
        );
    }
}

//! The routes of the billing service.

mod bodies;
pub mod codes;
mod overpayments;
pub mod scopes;
mod topics;

use std::sync::Arc;

use orderlog_domain::{
    billing::{self, Billing, Command, Rejection},
    values::{CustomerId, OrderId},
};
use orderlog_http::{
    answer::{Created, Done, Found, Listed},
    auth::{Caller, Scope},
    freshness::Freshness,
    json::{Given, MaybeGiven},
    list::ListBody,
    operations::operations,
    paging::Paged,
    params::{CommandHeaders, Path},
    problem::{ApiError, Code},
    service::{
        Service, ServiceDefinition,
        contract::TopicContract,
        look::Visibility,
        mounted::Mounted,
        parts::{NotStarted, Parts},
    },
};
use orderlog_projections::billing as projections;
use orderlog_readmodel::Tables;
use poem_openapi::{OpenApi, Tags, param::Query};
use serde_json::Value;

pub use bodies::{
    Invoice, InvoiceState, Payment, PaymentAnswer, RecordPayment, Refund, RefundAnswer, RefundCause, RefundPayment,
};

use crate::notifications::ByNotifications;

use overpayments::{Overpayment, Overpayments};

pub struct BillingApi {
    service: Service<BillingService>,
    overpayments: Overpayments,
}

pub struct BillingService;

impl ServiceDefinition for BillingService {
    type Decider = Billing;
    type Api = BillingApi;

    const TABLES: &'static Tables<Billing> = &projections::TABLES;
    const ABOUT: &'static str = "What is paid";
    const SCOPES: &'static [Scope] = scopes::ALL;
    const CODES: &'static [Code] = codes::ALL;

    fn fingerprint(command: &Command) -> String {
        command.fingerprint_text()
    }

    fn problem_of(rejection: Rejection) -> ApiError {
        let detail = rejection.to_string();
        match rejection {
            Rejection::UnknownOrder { .. } => ApiError::not_found(crate::orders::codes::UNKNOWN_ORDER, detail),
            Rejection::WrongCurrency { .. } => ApiError::conflict(codes::WRONG_CURRENCY, detail).at("#/currency"),
            Rejection::Overpayment { .. } => ApiError::conflict(codes::OVERPAYMENT, detail).at("#/amount"),
            Rejection::InvoiceClosed { .. } => ApiError::conflict(codes::INVOICE_CLOSED, detail),
            Rejection::NotPaid { .. } => ApiError::conflict(crate::orders::codes::NOT_PAID, detail),
            Rejection::RefundTooLarge { .. } => ApiError::conflict(codes::REFUND_TOO_LARGE, detail).at("#/amount"),
        }
    }

    async fn start(parts: &Parts) -> Result<Mounted, NotStarted> {
        let service = parts.start::<Self>().await?;
        let overpayments = Overpayments::new(Arc::new(ByNotifications(Arc::clone(&parts.peers))));
        Ok(Mounted::new(&service.clone(), BillingApi { service, overpayments }))
    }

    fn topic(topic: &str) -> TopicContract {
        topics::of(topic)
    }

    fn examples() -> Vec<(&'static str, Value)> {
        bodies::examples()
    }
}

#[derive(Tags)]
enum Tag {
    /// Amounts due, paid and refunded for each order.
    #[oai(rename = "billing")]
    Billing,
}

impl BillingApi {
    /// The invoice, and the position that a past state (`as_of`) reflects.
    async fn invoice(
        &self,
        order_id: OrderId,
        as_of: Option<&str>,
        caller: &Caller,
        seen: &Freshness,
    ) -> Result<(billing::Invoice, Option<String>), ApiError> {
        let shown =
            Visibility::ToItsOwner(caller, |owner, billing::Entity::Invoice(invoice)| invoice.customer_id.0 == owner);
        let looked = self.service.look(billing::Invoice::aggregate(order_id), as_of, seen, shown).await?;
        match looked.entity {
            Some(billing::Entity::Invoice(invoice)) => Ok((invoice, looked.position)),
            None => Err(looked.absent(BillingService::problem_of(Rejection::UnknownOrder { order_id }))),
        }
    }
}

/// The payment in `command`, for the notice about an overpayment.
fn payment_of(command: &Command) -> Option<Overpayment> {
    match command {
        Command::RecordPayment { payment_id: _, order_id, amount, currency, reference } => {
            let reference = reference.clone();
            Some(Overpayment { order_id: *order_id, amount: *amount, currency: *currency, reference })
        }
        Command::Refund { .. } | Command::OpenInvoice { .. } | Command::CloseInvoice { .. } => None,
    }
}

#[operations]
#[OpenApi(prefix_path = "/billing", tag = "Tag::Billing")]
impl BillingApi {
    /// Record a payment
    ///
    /// Records it on the invoice that an order gets as soon as it is placed. Partial payments add up; a payment above
    /// the open amount is rejected, and operations are notified. To try the example, use an `order_id` returned by
    /// `POST /orders`.
    #[oai(path = "/", method = "post", operation_id = "record_payment")]
    #[operation(
        scope = scopes::WRITE, bound = refused, key_may_be_required,
        problems(codes::WRONG_CURRENCY, codes::OVERPAYMENT, codes::INVOICE_CLOSED, crate::orders::codes::UNKNOWN_ORDER)
    )]
    async fn record_payment(
        &self,
        asked: CommandHeaders,
        body: Given<RecordPayment>,
    ) -> Result<Created<PaymentAnswer>, ApiError> {
        let command = body.0;
        let payment = payment_of(&command);
        let executed = match self.service.execute(command, asked, || "POST /billing".to_owned()).await {
            Ok(executed) => executed,
            Err(refused) => {
                if let Some(payment) = payment.filter(|_| refused.is(codes::OVERPAYMENT)) {
                    self.overpayments.tell(payment);
                }
                return Err(refused);
            }
        };
        let recorded = PaymentAnswer::of(&executed)?;
        let (location, version) = (format!("/billing/{}", recorded.order_id), recorded.version);
        Ok(Created::new(&executed, recorded, version).at(location))
    }

    /// Refund an order
    ///
    /// The invoice must be paid in full. Refunds add up, but never exceed the amount paid. A cancelled order is
    /// refunded automatically. Without a body, the whole remaining amount is refunded.
    #[oai(path = "/:order_id/refund", method = "post", operation_id = "refund_order")]
    #[operation(
        scope = scopes::REFUND, bound = refused, key_may_be_required,
        problems(
            codes::INVOICE_CLOSED, codes::REFUND_TOO_LARGE, crate::orders::codes::UNKNOWN_ORDER,
            crate::orders::codes::NOT_PAID,
        )
    )]
    async fn refund_order(
        &self,
        /// The order's id.
        order_id: Path<OrderId>,
        asked: CommandHeaders,
        body: MaybeGiven<RefundPayment>,
    ) -> Result<Done<RefundAnswer>, ApiError> {
        let id = order_id.0;
        let (amount, reason) = body.0.unwrap_or_default();
        let command = Command::Refund { order_id: id, amount, reason };
        let executed = self.service.execute(command, asked, || format!("POST /billing/{id}/refund")).await?;
        let refunded = RefundAnswer::of(&executed)?;
        let version = refunded.version;
        Ok(Done::new(&executed, refunded, version))
    }

    /// Get an order's invoice
    ///
    /// Reflects everything this instance has answered so far. An order that was just placed may not have an invoice
    /// yet.
    #[oai(path = "/:order_id", method = "get", operation_id = "get_invoice")]
    #[operation(scope = scopes::READ, bound = own, problems(crate::orders::codes::UNKNOWN_ORDER))]
    async fn get_invoice(
        &self,
        caller: Caller,
        /// The order's id.
        order_id: Path<OrderId>,
        /// Returns a past state: right after the record at this position, such as `billing@1042`, or after this
        /// service's last record whose own timestamp is not later than this RFC 3339 time. A time in the future returns
        /// the newest state. The response says which position it reflects.
        as_of: Query<Option<String>>,
        seen: Freshness,
    ) -> Result<Found<Invoice>, ApiError> {
        let id = order_id.0;
        let look = || self.invoice(id, as_of.0.as_deref(), &caller, &seen);
        let (invoice, position) = self.service.held_back(&seen, look).await?;
        Ok(Found::new(Invoice::from(&invoice), invoice.version).at(position))
    }

    /// List invoices
    ///
    /// Invoices of the newest orders first, in pages. Callers that act as a customer see only that customer's invoices.
    #[oai(path = "/", method = "get", operation_id = "list_invoices")]
    #[operation(scope = scopes::READ, bound = own)]
    async fn list_invoices(
        &self,
        caller: Caller,
        /// Only invoices in this state.
        state: Query<Option<InvoiceState>>,
        /// The maximum number of items to return.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
        page: Paged,
        seen: Freshness,
    ) -> Result<Listed<ListBody<Invoice>>, ApiError> {
        let state = state.0.map(billing::InvoiceState::from);
        let rows = self.service.fresh_rows(&seen).await?;
        let found = projections::list(&rows, state, caller.owner().map(CustomerId), &page.paging(limit.0)?).await?;
        Ok(page.list(found, |invoice| Invoice::from(&invoice)))
    }
}

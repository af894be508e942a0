//! The routes of the billing service.

mod bodies;
pub mod codes;
mod overpayments;
pub mod scopes;

use orderlog_domain::{
    billing::{self, Billing, Command, Rejection},
    values::{CustomerId, OrderId},
};
use orderlog_http::prelude::*;
use orderlog_projections::billing as projections;
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
    const ABOUT: &'static str = "Amounts due, paid and refunded for each order";
    const CODES: &'static [Code] = codes::ALL;
    const CALLS: &'static [Call] =
        &[(ByNotifications::SERVICE, "operations are not notified of rejected overpayments")];

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
        let overpayments = Overpayments::new(ByNotifications::through(&parts.peers));
        Ok(Mounted::new(&service.clone(), BillingApi { service, overpayments }))
    }

    fn examples() -> Vec<(&'static str, Value)> {
        bodies::examples()
    }
}

impl BillingApi {
    /// The invoice, and the position that a past state (`as_of`) reflects.
    async fn invoice(
        &self,
        order_id: OrderId,
        as_of: Option<&str>,
        caller: &Caller,
        seen: &Freshness,
    ) -> ApiResult<(billing::Invoice, Option<String>)> {
        let shown =
            Visibility::ToItsOwner(caller, |owner, billing::Entity::Invoice(invoice)| invoice.customer_id.0 == owner);
        let looked = self.service.look(billing::Invoice::aggregate(order_id), as_of, seen, shown).await?;
        let unknown = || BillingService::problem_of(Rejection::UnknownOrder { order_id });
        looked.found(billing::Entity::into_invoice, unknown)
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
#[OpenApi(prefix_path = "/billing")]
impl BillingApi {
    /// Record a payment
    ///
    /// Records it on the invoice that an order gets as soon as it is placed. Partial payments add up; a payment above
    /// the open amount is rejected, and operations are notified. To try the example, use an `order_id` returned by
    /// `POST /orders`.
    #[operation(post = "/", scope = scopes::WRITE, bound = refused, key_may_be_required,
        problems(codes::WRONG_CURRENCY, codes::OVERPAYMENT, codes::INVOICE_CLOSED, crate::orders::codes::UNKNOWN_ORDER)
    )]
    async fn record_payment(
        &self,
        head: CommandHeaders,
        body: Given<RecordPayment>,
    ) -> ApiResult<Created<PaymentAnswer>> {
        let command = body.0;
        let payment = payment_of(&command);
        let executed = match self.service.execute(command, head, || "POST /billing".to_owned()).await {
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
    #[operation(post = "/:order_id/refund", scope = scopes::REFUND, bound = refused, key_may_be_required,
        problems(
            codes::INVOICE_CLOSED, codes::REFUND_TOO_LARGE, crate::orders::codes::UNKNOWN_ORDER,
            crate::orders::codes::NOT_PAID,
        )
    )]
    async fn refund_order(
        &self,
        order_id: Path<OrderId>,
        head: CommandHeaders,
        body: MaybeGiven<RefundPayment>,
    ) -> ApiResult<Done<RefundAnswer>> {
        let id = order_id.0;
        let (amount, reason) = body.0.unwrap_or_default();
        let command = Command::Refund { order_id: id, amount, reason };
        let executed = self.service.execute(command, head, || format!("POST /billing/{id}/refund")).await?;
        let refunded = RefundAnswer::of(&executed)?;
        let version = refunded.version;
        Ok(Done::new(&executed, refunded, version))
    }

    /// Get an order's invoice
    ///
    /// Reflects everything this instance has answered so far. An order that was just placed may not have an invoice
    /// yet.
    #[operation(get = "/:order_id", scope = scopes::READ, bound = own, problems(crate::orders::codes::UNKNOWN_ORDER))]
    async fn get_invoice(
        &self,
        caller: Caller,
        order_id: Path<OrderId>,
        as_of: AsOf,
        seen: Freshness,
    ) -> ApiResult<Found<Invoice>> {
        let id = order_id.0;
        let (invoice, position) = self.invoice(id, as_of.0.as_deref(), &caller, &seen).await?;
        Ok(Found::new(Invoice::from(&invoice), invoice.version).at(position))
    }

    /// List invoices
    ///
    /// Invoices of the newest orders first, in pages. Callers that act as a customer see only that customer's invoices.
    #[operation(get = "/", scope = scopes::READ, bound = own)]
    async fn list_invoices(
        &self,
        caller: Caller,
        /// Only invoices in this state.
        state: Query<Option<InvoiceState>>,
        page: Paged,
        seen: Freshness,
    ) -> ApiResult<Listed<ListBody<Invoice>>> {
        let state = state.0.map(billing::InvoiceState::from);
        let rows = self.service.fresh_rows(&seen).await?;
        let found = projections::list(&rows, state, caller.owner().map(CustomerId), &page.paging()?).await?;
        Ok(page.list(found, |invoice| Invoice::from(&invoice)))
    }
}

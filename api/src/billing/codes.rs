//! The codes of problems with invoices, payments and refunds.

orderlog_http::problem_codes! {
    /// The payment is in another currency than the invoice.
    WRONG_CURRENCY "wrong_currency" [409], Declared,
        says "the invoice is in EUR, the payment in USD",
        so "Pay in the invoice's currency.";
    /// The payment is more than what is open. Nothing was recorded, and operations were told, since money came in.
    OVERPAYMENT "overpayment" [409], Declared,
        says "only 1890 minor units are open, 3780 were given",
        so "Record no more than what is open, and give the rest back.";
    /// The invoice is void or refunded and takes neither payments nor refunds any more.
    INVOICE_CLOSED "invoice_closed" [409], Declared,
        says "the invoice is void",
        so "Give the money back; a closed invoice is never opened again.";
    /// More is to be refunded than is left of what was paid.
    REFUND_TOO_LARGE "refund_too_large" [409], Declared,
        says "only 1890 minor units can be refunded, 3780 were asked for",
        so "Refund at most what is left, or send no body to refund just that.";
}

//! The codes of problems with invoices, payments and refunds.

orderlog_http::problem_codes! {
    /// The payment's currency is not the invoice's.
    WRONG_CURRENCY "wrong_currency" [409], Declared,
        says "the invoice is in EUR, the payment in USD",
        so "Pay in the invoice's currency.";
    /// The payment exceeds the open amount. It was not recorded, and operations were notified because money came in.
    OVERPAYMENT "overpayment" [409], Declared,
        says "a payment of 3780 minor units exceeds the 1890 that are open",
        so "Record at most the open amount, and return the rest.";
    /// The invoice is void or refunded and no longer accepts payments or refunds.
    INVOICE_CLOSED "invoice_closed" [409], Declared,
        says "the invoice is void",
        so "Return the money; a closed invoice is never reopened.";
    /// The refund exceeds the amount paid and not yet refunded.
    REFUND_TOO_LARGE "refund_too_large" [409], Declared,
        says "only 1890 minor units can be refunded, 3780 were requested",
        so "Refund at most the remaining amount, or send no body to refund exactly that.";
}

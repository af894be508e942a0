//! The codes of problems with orders.

orderlog_http::problem_codes! {
    /// The caller acts as a customer and can't set prices, which every order contains. Nothing was written.
    PRICE_NOT_ALLOWED "price_not_allowed" [403], Declared,
        says "callers that act as a customer cannot name prices, and there is no catalogue of prices yet",
        so "Place the order from your own server, with your prices and a key that is not bound to a customer.";
    /// The request has no lines.
    NO_LINES "no_lines" [400], Declared,
        says "an order needs at least one line",
        so "Send at least one line.";
    /// The order or reservation has too many lines.
    TOO_MANY_LINES "too_many_lines" [400], Declared,
        says "an order has at most 100 lines, this one has 101",
        so "Split it into several.";
    /// The sum of the lines exceeds the maximum amount.
    TOTAL_TOO_LARGE "total_too_large" [400], Declared,
        says "the total is above 1000000000000 minor units",
        so "Split it into several orders.";
    /// The lines of one SKU add up to more units than can be reserved together.
    QUANTITY_TOO_LARGE "quantity_too_large" [400], Declared,
        says "the lines of SKU espresso-beans-1kg add up to more than 1000000 units",
        so "Request fewer units, or split it into several.";
    /// The customer is deactivated and can't place orders.
    CUSTOMER_INACTIVE "customer_inactive" [409], Declared,
        says "customer 019a0000-0000-7000-8000-000000000001 is inactive",
        so "Orders can't be placed for this customer.";
    /// There is no such order, or no invoice for it yet.
    UNKNOWN_ORDER "unknown_order" [404], Declared,
        says "there is no order 019a0000-0000-7000-8000-000000000002",
        so "Check the id. If the order was just placed, send the `Orderlog-Position` of that response as \
            `Orderlog-Min-Position`.";
    /// The order's state does not allow it: only a confirmed order can be fulfilled, and a fulfilled or rejected order
    /// can't be cancelled.
    ILLEGAL_TRANSITION "illegal_transition" [409], Declared,
        says "order 019a0000-0000-7000-8000-000000000002 is fulfilled: it can't be cancelled",
        so "Get the order, and act on its current state.";
    /// The order is not paid in full, so it can be neither fulfilled nor refunded.
    NOT_PAID "not_paid" [409], Declared,
        says "order 019a0000-0000-7000-8000-000000000002 is unpaid: only a paid order can be fulfilled",
        so "Record the payment first.";
    /// `expand` queries other services, which only return their current state.
    EXPAND_WITH_AS_OF "expand_with_as_of" [400], Values,
        says "other services only return their current state: omit `expand` or `as_of`",
        so "Omit one of the two.";
}

//! The codes of problems with orders.

orderlog_http::problem_codes! {
    /// The caller acts as a customer, and every order names its prices. Nothing was written.
    PRICE_NOT_ALLOWED "price_not_allowed" [403], Declared,
        says "callers that act as a customer cannot name prices, and there is no catalogue of prices yet",
        so "Let your own server place the order, with a key that is not bound to a customer and with the prices that you charge.";
    /// There is no line.
    NO_LINES "no_lines" [400], Declared,
        says "an order needs at least one line",
        so "Send at least one line.";
    /// There are more lines than one order or reservation may have.
    TOO_MANY_LINES "too_many_lines" [400], Declared,
        says "an order has at most 100 lines, this one has 101",
        so "Divide it into several.";
    /// The sum of the lines is more than an amount can be.
    TOTAL_TOO_LARGE "total_too_large" [400], Declared,
        says "the total is above 1000000000000 minor units",
        so "Divide it into several orders.";
    /// The lines of one SKU add up to more than can be set aside at once.
    QUANTITY_TOO_LARGE "quantity_too_large" [400], Declared,
        says "the lines of SKU espresso-beans-1kg add up to more than 1000000 units",
        so "Ask for less, or divide it into several.";
    /// The customer is deactivated and may place no orders.
    CUSTOMER_INACTIVE "customer_inactive" [409], Declared,
        says "customer 019a0000-0000-7000-8000-000000000001 is inactive",
        so "There is no way to place an order for this customer.";
    /// There is no such order, or no invoice for it yet.
    UNKNOWN_ORDER "unknown_order" [404], Declared,
        says "there is no order 019a0000-0000-7000-8000-000000000002",
        so "Check the id. If the order was placed a moment ago, send what its answer said as `Orderlog-Position` as \
            `Orderlog-Min-Position`.";
    /// The order's state does not allow it: only what is confirmed is fulfilled, and what is fulfilled or rejected can't be
    /// cancelled.
    ILLEGAL_TRANSITION "illegal_transition" [409], Declared,
        says "order 019a0000-0000-7000-8000-000000000002 is fulfilled: it can't be cancelled",
        so "Get the order, and decide on the state that it has.";
    /// The order is not paid in full, so that it can be neither fulfilled nor refunded.
    NOT_PAID "not_paid" [409], Declared,
        says "order 019a0000-0000-7000-8000-000000000002 is unpaid: only a paid order can be fulfilled",
        so "Record the payment first.";
    /// `expand` asks other services, which only know what is.
    EXPAND_WITH_AS_OF "expand_with_as_of" [400], Values,
        says "other services are asked for what is, not for what was: leave out `expand` or `as_of`",
        so "Leave out one of both.";
}

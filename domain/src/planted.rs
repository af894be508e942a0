//! Deliberate bugs in the shop's rules. See [`orderlog_core::planted`].

orderlog_core::planted_bugs! {
    /// An order is reserved for although it was cancelled.
    HoldAfterCancel,
    /// A released reservation is released again.
    ReleaseTwice,
    /// A refunded invoice is refunded again.
    RefundTwice,
    /// A reservation expires although it has ended.
    ExpireTheEnded,
    /// One unit more is reserved than is available.
    OversellByOne,
    /// An unpaid order is shipped.
    FulfilUnpaid,
    /// A movement reports the change of the units on hand, not of the available ones.
    CountUnitsOnHand,
    /// A partial refund marks the order as refunded.
    RefundInPart,
    /// Only the first line of an order is reserved.
    ReserveFirstLine,
    /// The notification of a paid order names the customer instead of the order.
    NoticeOfAnotherOrder,
    /// A reservation expires a second early.
    ExpireEarly,
    /// A customer's former address stays claimed.
    KeepGivenUp,
    /// A customer's creation time is that of the last change.
    ForgetCreation,
    /// Only the first line of an order is kept.
    FirstLineOnly,
    /// The reason of a refund is dropped.
    DropReason,
    /// A payment in another currency counts as one in the invoice's.
    TakeAnyCurrency,
    /// Only the first of several shortages is reported.
    FirstShortageOnly,
    /// Only the first of a reservation's movements is listed.
    FirstMovementOnly,
}

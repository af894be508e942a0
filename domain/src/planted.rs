//! Bugs in the shop's rules that are planted on purpose: see [`orderlog_core::planted`].

orderlog_core::planted_bugs! {
    /// A cancelled order's reservation is held after all.
    HoldAfterCancel,
    /// What was released is released again.
    ReleaseTwice,
    /// An invoice that was given back is given back again.
    RefundTwice,
    /// A reservation expires though it has ended.
    ExpireTheEnded,
    /// One unit more is set aside than there is.
    OversellByOne,
    /// An order that is not paid leaves the house.
    FulfilUnpaid,
    /// A movement says by how much the units on hand changed, not the available ones.
    CountUnitsOnHand,
    /// An order is marked as refunded when a part of its payment was given back.
    RefundInPart,
    /// Only the first line of an order is reserved.
    ReserveFirstLine,
    /// A notice of a paid order names the customer in place of the order.
    NoticeOfAnotherOrder,
    /// A reservation expires a second before its time is up.
    ExpireEarly,
    /// An address that its customer gave up stays claimed.
    KeepGivenUp,
    /// A customer was created when they were changed last.
    ForgetCreation,
    /// Only the first line of an order is kept.
    FirstLineOnly,
    /// The reason of a refund is dropped.
    DropReason,
    /// A payment in another currency counts as one in the invoice's.
    TakeAnyCurrency,
    /// Of several SKUs that are short only the first is named.
    FirstShortageOnly,
    /// Of a reservation's movements only the first is listed.
    FirstMovementOnly,
}

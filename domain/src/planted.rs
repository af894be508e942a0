//! Bugs that are planted on purpose, so that it can be asked whether the simulation finds them.
//!
//! Only a build with the feature `planted` has them; there, one at a time is let loose per thread. In every other build [`has`] is
//! `false`, known at compile time, and the code behind it is not there.

macro_rules! bugs {
    ($($(#[doc = $text:literal])+ $bug:ident,)+) => {
        /// A bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $text])+ $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug,)+];
        }
    };
}

bugs! {
    /// A command is answered before its record is appended.
    AnswerBeforeAppend,
    /// A command is answered when its record is acknowledged, whatever its verdict.
    AnswerBeforeVerdict,
    /// Only the first key that a record names is arbitrated.
    ArbitrateFirstKeyOnly,
    /// A record names only the first of the aggregates that it was decided by.
    NameFirstOnly,
    /// A late copy of a void record is judged anew.
    ForgetVoidIds,
    /// Nobody looks whether an idempotency key was used.
    IgnoreIdempotencyKey,
    /// A refusal is told without having read to the journal's end.
    RefuseFromStaleState,
    /// A refusal is told although only records in flight say no.
    RefuseFromFlights,
    /// A decision does not see records in flight.
    ForgetFlights,
    /// After an append of unknown outcome the command is decided anew.
    UnknownIsRefused,
    /// A refused repetition counts, though an earlier attempt is in doubt.
    ForgetDoubt,
    /// When the time is up nothing was written, whatever is in flight.
    ExpiredWhateverFlies,
    /// Now and then a record is skipped.
    SkipAnOffset,
    /// Own records are folded from memory, and again from the log.
    FoldTwice,
    /// Rows that could not be written are taken for written.
    ForgetFailedWrites,
    /// What is not written yet is forgotten like what is.
    ForgetUnwritten,
    /// Queries do not wait for what was answered.
    ReadWithoutWaiting,
    /// Queries wait for all that was answered but the last record.
    ReadOneBehind,
    /// An answer does not wait for what follows from other services' records that its caller has seen.
    ReadBeforeNews,
    /// Positions of another history are gone on from.
    TrustAnyPosition,
    /// Rows of another history are gone on with.
    IgnoreOtherHistory,
    /// News that come late overwrite newer ones.
    CopyAnyVersion,
    /// Void records are published too.
    PublishVoid,
    /// What a topic did not take is taken for published.
    IgnoreFailedPublication,
    /// A group without positions begins at the end.
    BeginAtTheEnd,
    /// A reactor's position passes over what is under way.
    PassOverUnderWay,
    /// A delivery that is begun again has another key.
    NotifyOnReplay,
    /// A record that can't be decoded is passed over, not parked.
    SkipUnreadable,
    /// What stands behind a parked record is folded all the same.
    FoldBehindParked,
    /// Keys with a parked record take commands.
    DecideOnParked,
    /// A pass over what is parked folds what stands behind a record that stays.
    FoldOutOfOrder,
    /// A newer program leaves parked what it could fold.
    NeverRetry,
    /// The relay goes on behind a parked record.
    PassOverParked,
    /// A reaction that meets a parked key is dropped, not set aside.
    DropSetAside,
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
    /// The events of a batch are published in reverse order.
    PublishInReverse,
    /// A public event does not name its cause.
    PublishWithoutCause,
    /// A public event has no key.
    PublishWithoutKey,
    /// A movement says by how much the units on hand changed, not the available ones.
    CountUnitsOnHand,
    /// A reaction begins a story of its own.
    ForgetCorrelation,
    /// A public event that comes again is answered again.
    AnswerEachCopy,
    /// An order is marked as refunded when a part of its payment was given back.
    RefundInPart,
    /// Only the first line of an order is reserved.
    ReserveFirstLine,
    /// A notice of a paid order names the customer in place of the order.
    NoticeOfAnotherOrder,
    /// A reservation expires a second before its time is up.
    ExpireEarly,
    /// A reservation expires ten seconds after its time is up.
    ExpireLate,
    /// A delivery does not belong to the trace of the request that it follows from.
    DeliverWithoutTrace,
    /// A key that comes again with another command is answered as a repetition.
    RepeatAnyBody,
    /// All callers share their idempotency keys.
    ShareKeys,
    /// Nobody looks at the versions that an `If-Match` names.
    IgnoreVersions,
    /// An `If-Match` matches what callers do not see.
    MatchTheHidden,
    /// A record's time is an hour ahead of its writer's clock.
    WrongTime,
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

#[cfg(feature = "planted")]
mod loose {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static LOOSE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Let this bug loose in this thread, or none.
    pub fn let_loose(bug: Option<Bug>) {
        LOOSE.set(bug);
    }

    /// Whether the program has this bug.
    pub fn has(bug: Bug) -> bool {
        LOOSE.get() == Some(bug)
    }
}

#[cfg(feature = "planted")]
pub use loose::{has, let_loose};

/// Whether the program has this bug: never.
#[cfg(not(feature = "planted"))]
pub const fn has(_: Bug) -> bool {
    false
}

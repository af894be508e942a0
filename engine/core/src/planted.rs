//! Deliberate bugs, planted to check whether the simulation finds them.
//!
//! Each crate with rules to break declares its own with [`planted_bugs!`](crate::planted_bugs); those below are the
//! engine's. They exist only in builds with the feature `planted`, where each thread can enable one at a time. In every
//! other build `Bug::is_loose` is `false` at compile time, and the code behind it is removed.

/// Declares the bugs of a crate as an enum `Bug`. Names must be unique across all lists of a program.
#[macro_export]
macro_rules! planted_bugs {
    ($($(#[doc = $text:literal])+ $bug:ident,)+) => {
        /// A deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $text])+ $bug,)+
        }

        impl Bug {
            /// Every bug of this list.
            pub const ALL: &'static [Self] = &[$(Self::$bug,)+];

            /// The name that [enables]($crate::planted) it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bug => stringify!($bug),)+ }
            }

            /// Whether the bug is enabled in this thread.
            #[inline]
            pub fn is_loose(self) -> bool {
                $crate::planted::is_loose(self.name())
            }
        }
    };
}

planted_bugs! {
    /// A command is answered before its record is appended.
    AnswerBeforeAppend,
    /// A command is answered when its record is acknowledged, regardless of the verdict.
    AnswerBeforeVerdict,
    /// Only the first key that a record names is arbitrated.
    ArbitrateFirstKeyOnly,
    /// A record names only the first of the aggregates that its decision read.
    NameFirstOnly,
    /// A late copy of a void record is arbitrated again.
    ForgetVoidIds,
    /// Reuse of an idempotency key is not checked.
    IgnoreIdempotencyKey,
    /// A command is rejected without reading to the journal's end.
    RefuseFromStaleState,
    /// A command is rejected because of records in flight alone.
    RefuseFromFlights,
    /// A decision does not see records in flight.
    ForgetFlights,
    /// After an append of unknown outcome the command is decided again.
    UnknownIsRefused,
    /// A refused retry is taken as final, although an earlier attempt is in doubt.
    ForgetDoubt,
    /// After the deadline the answer is that nothing was written, even with a record in flight.
    ExpiredWhateverFlies,
    /// Every sixteenth record is skipped.
    SkipAnOffset,
    /// Own records are folded from memory, and again from the log.
    FoldTwice,
    /// Rows that failed to be written count as written.
    ForgetFailedWrites,
    /// Unwritten state is evicted like written state.
    ForgetUnwritten,
    /// Queries do not wait for the records of earlier answers.
    ReadWithoutWaiting,
    /// Queries wait for the records of earlier answers, except the last one.
    ReadOneBehind,
    /// A response does not wait for the effects of other services' records that its caller has seen.
    ReadBeforeNews,
    /// Positions of another history are resumed from.
    TrustAnyPosition,
    /// Rows of another history are kept in use.
    IgnoreOtherHistory,
    /// Public events that arrive late overwrite newer facts.
    CopyAnyVersion,
    /// Void records are published too.
    PublishVoid,
    /// A failed publication counts as published.
    IgnoreFailedPublication,
    /// A group without positions starts at the end.
    BeginAtTheEnd,
    /// A reactor's position moves past events still being processed.
    PassOverUnderWay,
    /// A repeated delivery has a new key.
    NotifyOnReplay,
    /// A record that can't be decoded is skipped, not parked.
    SkipUnreadable,
    /// A record behind a parked one is folded anyway.
    FoldBehindParked,
    /// Keys with a parked record accept commands.
    DecideOnParked,
    /// A pass over parked records folds records behind one that stays parked.
    FoldOutOfOrder,
    /// A newer program leaves records parked that it could fold.
    NeverRetry,
    /// The relay continues past a parked record.
    PassOverParked,
    /// A reaction to a parked key is dropped, not set aside.
    DropSetAside,
    /// The events of a batch are published in reverse order.
    PublishInReverse,
    /// A public event does not name its cause.
    PublishWithoutCause,
    /// A public event has no key.
    PublishWithoutKey,
    /// A reaction starts a new correlation.
    ForgetCorrelation,
    /// A redelivered public event is answered again.
    AnswerEachCopy,
    /// A reservation expires ten seconds late.
    ExpireLate,
    /// A delivery does not belong to the trace of the request that caused it.
    DeliverWithoutTrace,
    /// A key reused with a different command is answered as a repetition.
    RepeatAnyBody,
    /// All callers share their idempotency keys.
    ShareKeys,
    /// The versions in an `If-Match` are not checked.
    IgnoreVersions,
    /// An `If-Match` matches entities hidden from callers.
    MatchTheHidden,
    /// A record's time is an hour ahead of its writer's clock.
    WrongTime,
}

#[cfg(feature = "planted")]
mod loose {
    use std::cell::Cell;

    thread_local! {
        static LOOSE: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Enables the bug with this name in this thread. `None` disables all.
    pub fn let_loose(name: Option<&'static str>) {
        LOOSE.set(name);
    }

    /// Whether the bug with this name is enabled in this thread.
    pub fn is_loose(name: &str) -> bool {
        LOOSE.get() == Some(name)
    }
}

#[cfg(feature = "planted")]
pub use loose::{is_loose, let_loose};

/// Always `false`: this build has no planted bugs.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn is_loose(_: &str) -> bool {
    false
}

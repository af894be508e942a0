//! Bugs that are planted on purpose, so that it can be asked whether the simulation finds them.
//!
//! Each crate that has rules to break declares its own by [`planted_bugs!`](crate::planted_bugs); those below are the engine's. Only a
//! build with the feature `planted` has them; there, one at a time is let loose per thread. In every other build `Bug::is_loose` is
//! `false`, known at compile time, and the code behind it is not there.

/// Declares the bugs of a crate as an enum `Bug`. No two lists of a program may have a name in common.
#[macro_export]
macro_rules! planted_bugs {
    ($($(#[doc = $text:literal])+ $bug:ident,)+) => {
        /// A bug that is planted on purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $text])+ $bug,)+
        }

        impl Bug {
            /// Every bug of this list.
            pub const ALL: &'static [Self] = &[$(Self::$bug,)+];

            /// By which it is [let loose]($crate::planted).
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bug => stringify!($bug),)+ }
            }

            /// Whether the program has it now.
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
    /// The events of a batch are published in reverse order.
    PublishInReverse,
    /// A public event does not name its cause.
    PublishWithoutCause,
    /// A public event has no key.
    PublishWithoutKey,
    /// A reaction begins a story of its own.
    ForgetCorrelation,
    /// A public event that comes again is answered again.
    AnswerEachCopy,
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
}

#[cfg(feature = "planted")]
mod loose {
    use std::cell::Cell;

    thread_local! {
        static LOOSE: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Let the bug of this name loose in this thread, or none.
    pub fn let_loose(name: Option<&'static str>) {
        LOOSE.set(name);
    }

    /// Whether the bug of this name is let loose in this thread.
    pub fn is_loose(name: &str) -> bool {
        LOOSE.get() == Some(name)
    }
}

#[cfg(feature = "planted")]
pub use loose::{is_loose, let_loose};

/// Whether the bug of this name is let loose in this thread: never.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn is_loose(_: &str) -> bool {
    false
}

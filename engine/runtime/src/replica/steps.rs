//! Timestamps of a command's progress for its trace: decided, appended, read back. Recorded only for commands that are traced.

use std::time::SystemTime;

use crate::trace::Span;

/// When a command reached each step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    submitted: SystemTime,
    sent: Option<SystemTime>,
    acknowledged: Option<SystemTime>,
    n_attempts: i64,
}

impl Steps {
    /// Starts the clock when the command is submitted.
    pub fn begin() -> Self {
        Self { submitted: SystemTime::now(), sent: None, acknowledged: None, n_attempts: 0 }
    }

    /// Records that the command's record was sent to the log, for the first time or again.
    pub fn sent(&mut self) {
        *self = Self { sent: Some(SystemTime::now()), acknowledged: None, n_attempts: self.n_attempts + 1, ..*self };
    }

    /// Records that the log acknowledged it.
    pub fn acknowledged(&mut self) {
        self.acknowledged = Some(SystemTime::now());
    }

    /// Adds the steps of the last attempt to the command's span.
    pub fn tell(&self, span: &mut Span) {
        let now = SystemTime::now();
        span.part("decide", (self.submitted, self.sent.unwrap_or(now)));
        if let Some(sent) = self.sent {
            let acknowledged = self.acknowledged.unwrap_or(now);
            span.part("append", (sent, acknowledged));
            span.part("read back", (acknowledged, now));
        }
        span.set("orderlog.attempts", self.n_attempts);
    }
}

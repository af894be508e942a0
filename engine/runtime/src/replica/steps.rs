//! How far a command came when, for its trace: decided, appended, read back. Only those that somebody will see are told of.

use std::time::SystemTime;

use crate::trace::Span;

/// When a command came how far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    asked: SystemTime,
    handed: Option<SystemTime>,
    acknowledged: Option<SystemTime>,
    n_attempts: i64,
}

impl Steps {
    /// It is asked now.
    pub fn begin() -> Self {
        Self { asked: SystemTime::now(), handed: None, acknowledged: None, n_attempts: 0 }
    }

    /// Its record is handed to the log, for the first time or again.
    pub fn handed(&mut self) {
        *self = Self { handed: Some(SystemTime::now()), acknowledged: None, n_attempts: self.n_attempts + 1, ..*self };
    }

    /// The log has it.
    pub fn acknowledged(&mut self) {
        self.acknowledged = Some(SystemTime::now());
    }

    /// Tell it as parts of the command's span: those of the last attempt.
    pub fn tell(&self, span: &mut Span) {
        let now = SystemTime::now();
        span.part("decide", (self.asked, self.handed.unwrap_or(now)));
        if let Some(handed) = self.handed {
            let acknowledged = self.acknowledged.unwrap_or(now);
            span.part("append", (handed, acknowledged));
            span.part("read back", (acknowledged, now));
        }
        span.set("orderlog.attempts", self.n_attempts);
    }
}

//! Commands of the service itself that must precede all others, such as those that make data of an earlier version obey the rules
//! of this one. The replica is not ready until they are executed.

use std::sync::{Arc, atomic::Ordering};

use orderlog_core::{
    decider::{Decider, Millis},
    header::Origin,
    machine::Request,
};
use orderlog_readmodel::Rows;
use tracing::debug;

use super::{ExecuteError, Executed, Replica, State};
use crate::trace::{Kind, Span};

/// What an operator has to settle, by kind: data that the service's own commands could not make conform to its rules.
pub type ToSettle = serde_json::Map<String, serde_json::Value>;

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    /// Makes the replica enter [`State::Preparing`] once it has caught up, until [`Replica::prepared`] is called. Must be called before any
    /// other caller can reach the replica.
    pub fn prepare_first(&self) {
        self.shared.prepares.store(true, Ordering::Release);
        // The loop reads the flag while it changes the state, so either it sees the flag or the change is seen here.
        self.shared.state.send_if_modified(|state| {
            let is_ready = *state == State::Ready;
            if is_ready {
                *state = State::Preparing;
            }
            is_ready
        });
    }

    /// Waits until the replica has caught up. A stopped replica may still do so with other rows.
    pub async fn caught_up(&self) {
        // The sender lives as long as this handle, so waiting cannot fail.
        drop(self.state().wait_for(|state| matches!(state, State::Preparing | State::Ready)).await);
    }

    /// Executes one of the service's own commands, also while the replica prepares.
    pub async fn execute_own(
        &self,
        command: D::Command,
        deadline: Millis,
    ) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        let mut span = Span::begin(Kind::Internal, || format!("{} command", D::JOURNAL), None);
        let origin = Origin { trace: span.trace().map(str::to_owned), ..Origin::default() };
        let request = Request { command, stamp: None, versions: None, origin, deadline };
        self.ask(Arc::new(request), &mut span, &[State::Preparing, State::Ready]).await
    }

    /// Makes the replica ready: its own commands are executed, except for what an operator has to settle.
    pub fn prepared(&self, to_settle: ToSettle) {
        self.shared.to_settle.send_replace(to_settle);
        let is_ready_now = self.shared.state.send_if_modified(|state| {
            let prepares = *state == State::Preparing;
            if prepares {
                *state = State::Ready;
            }
            prepares
        });
        if is_ready_now {
            debug!(service = D::JOURNAL, "{} takes commands", D::JOURNAL);
        }
    }

    /// Returns what an operator has to settle.
    pub fn to_settle(&self) -> ToSettle {
        self.shared.to_settle.borrow().clone()
    }
}

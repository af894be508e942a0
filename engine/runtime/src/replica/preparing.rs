//! Commands of the service itself that have to come before anybody else's, such as those by which data of an earlier version obeys
//! the rules of this one. Until they are carried out the replica is not ready.

use std::sync::{Arc, atomic::Ordering};

use orderlog_core::{
    decider::{Decider, Millis},
    header::Origin,
    machine::Request,
};
use orderlog_readmodel::Rows;
use tracing::info;

use super::{ExecuteError, Executed, Replica, State};
use crate::trace::{Kind, Span};

/// What an operator has to settle, each kind under its name: what a service's own commands could not bring under its rules.
pub type ToSettle = serde_json::Map<String, serde_json::Value>;

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    /// From now on the replica prepares once it has caught up, and is ready after [`Replica::prepared`]. To be called before
    /// anybody else can ask it.
    pub fn prepare_first(&self) {
        self.shared.prepares.store(true, Ordering::Release);
        // The loop looks at the flag while it changes the state, so it has seen it, or is seen here.
        self.shared.state.send_if_modified(|state| {
            let is_ready = *state == State::Ready;
            if is_ready {
                *state = State::Preparing;
            }
            is_ready
        });
    }

    /// Waits until the replica has caught up. One that has stopped may still do so, with other rows.
    pub async fn caught_up(&self) {
        // The sender lives as long as this handle, so waiting can't fail.
        drop(self.state().wait_for(|state| matches!(state, State::Preparing | State::Ready)).await);
    }

    /// Have a command of the service's own decided, also while it prepares.
    ///
    /// # Errors
    /// [`ExecuteError`] says what became of it.
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

    /// All commands of the service's own are carried out, but for these, which an operator has to settle.
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
            info!(service = D::JOURNAL, "{} takes commands", D::JOURNAL);
        }
    }

    /// What an operator has to settle.
    pub fn to_settle(&self) -> ToSettle {
        self.shared.to_settle.borrow().clone()
    }
}

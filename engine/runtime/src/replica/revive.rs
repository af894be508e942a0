//! How an instance with damaged rows recovers: it continues on rows that a rebuild has built beside them.

use std::sync::{Arc, PoisonError};

use orderlog_core::{decider::Decider, machine::Outcome};
use orderlog_readmodel::Rows;
use tracing::info;

use super::{
    Reach, State, Switch, SwitchError,
    run::{Beginning, Inbox, Loop, Own},
    switch::has_stopped,
};

impl<R> Own<R> {
    /// Rejects all requests until sound rows take over, and returns a loop that runs on them. `None` once every handle is gone.
    pub(super) async fn wait_for_rows<D: Decider>(&self, mut inbox: Inbox<D, R>) -> Option<Loop<D, R>>
    where
        R: Rows<D>,
    {
        loop {
            let switch = loop {
                tokio::select! {
                    biased;
                    Some(switch) = inbox.to_switch.recv() => break switch,
                    // The caller may have gone away.
                    Some(repair) = inbox.to_repair.recv() => drop(repair),
                    ask = inbox.commands.recv() => drop(ask?.waiting.reply.send((Outcome::Expired, None))),
                }
            };
            let Switch { builder, limit: _, done } = switch;
            match self.take_over(builder).await {
                Ok(beginning) => {
                    let next = beginning.next;
                    let event_loop = Loop::new(beginning, self, inbox, Reach::unlimited());
                    info!(
                        service = D::JOURNAL,
                        "the rows of {} were damaged: others serve from offset {next} on",
                        D::JOURNAL
                    );
                    drop(done.send(Ok(next)));
                    return Some(event_loop);
                }
                Err(failure) => drop(done.send(Err(failure))),
            }
        }
    }

    async fn take_over<D: Decider>(&self, builder: super::Replica<D, R>) -> Result<Beginning<D>, SwitchError>
    where
        R: Rows<D>,
    {
        let (number, state) = (builder.store().generation(), builder.state());
        drop(builder);
        has_stopped(number, state).await?;
        let damaged = Arc::clone(&self.serving.read().unwrap_or_else(PoisonError::into_inner));
        let store = Arc::new(damaged.have_serve(number).await?);
        let stopped = |why: String| SwitchError::Stopped { number, why };
        let beginning = Beginning::of(&self.setup, store.as_ref()).await.map_err(|error| stopped(error.to_string()))?;
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = store;
        self.shared.copied.send_replace(beginning.copied.clone());
        self.shared.committed.send_replace(beginning.next);
        self.shared.folded.send_replace(beginning.next);
        // Set before the damage is cleared: an observer of a stopped instance without damage gives up.
        self.shared.state.send_replace(State::CatchingUp);
        *self.shared.damage.write().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(beginning)
    }
}

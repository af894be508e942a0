//! The clock as the core sees it. It may be set back, and waits must not get longer because of that.

use super::{Core, commands::Pending, flights::Append};
use crate::decider::{Decider, Millis};

impl<D: Decider> Core<D> {
    /// Sets the current time. If the clock went back, all times that are waited for move back by as much.
    pub(super) fn tell_time(&mut self, now: Millis) {
        let back = self.commands.now.saturating_sub(now);
        self.commands.now = now;
        if back <= 0 {
            return;
        }
        // `MIN` and `MAX` are sentinels and are not shifted.
        let earlier = |time: &mut Millis| {
            if *time != Millis::MAX {
                *time = time.saturating_sub(back);
            }
        };
        for Pending { deadline, rests_until, .. } in self.commands.pending.values_mut() {
            [deadline, rests_until].into_iter().for_each(earlier);
        }
        for flight in self.flights.all_mut() {
            if let Append::Unknown { again_at } = &mut flight.append {
                earlier(again_at);
            }
        }
        earlier(&mut self.commands.wake_at);
        earlier(&mut self.commands.expire_at);
    }
}

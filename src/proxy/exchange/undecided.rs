//! An exchange whose outcome shows only after its answer has been sent.

use http::request::Parts;

use super::super::traced::RequestTrace;
use super::Exchange;

impl Exchange {
    /// What a CONNECT becomes shows in what its client sends behind the answer. The one that is returned is counted and
    /// recorded as what it has become when it is dropped. The one that stays carries the answer, and nothing is counted
    /// of it.
    pub fn leave_undecided(&mut self, head: &Parts) -> Box<Self> {
        let in_flight = self.client().begin_request();
        let mut answering = Self::begin(self.shard.clone(), self.listener, in_flight, head);
        answering.is_recorded_elsewhere = true;
        answering.trace = RequestTrace::default();
        std::mem::swap(self, &mut *answering);
        let mut undecided = answering;
        undecided.route = None;
        undecided
    }

    /// Whether another one counts and records it.
    pub fn is_recorded_elsewhere(&self) -> bool {
        self.is_recorded_elsewhere
    }
}

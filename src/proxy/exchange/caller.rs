//! Who sent the request of an exchange.

use std::sync::Arc;

use super::super::caller_rule::CallerRule;
use super::super::client_connection::{NamedCaller, ShownSecret};
use super::Exchange;
use crate::caller::CallerIndex;

impl Exchange {
    /// Who sent it.
    pub fn caller_index(&self) -> Option<CallerIndex> {
        self.caller.map(|identified| identified.caller)
    }

    /// The name of who sent it.
    pub fn caller_name(&self) -> Option<&str> {
        let names = &self.shard.snapshot.callers.names;
        self.caller_index().map(|caller| names.name(caller))
    }

    /// Who sent it, for what outlives the snapshot.
    pub fn named_caller(&self) -> Option<NamedCaller> {
        let means = self.caller?.means;
        let opener = self.client().target();
        let opener = opener.and_then(|target| target.caller.as_ref());
        let of_opener = || opener.and_then(|opener| opener.shown.as_ref());
        let shown = self.shown.as_ref().or_else(of_opener);
        Some(NamedCaller {
            name: self.caller_name()?.into(),
            means,
            shown: shown.filter(|_| !means.is_of_connection()).cloned(),
        })
    }

    /// It asks for what outlives it, and its caller is known by this alone.
    pub fn set_shown(&mut self, shown: ShownSecret) {
        self.shown = Some(Arc::new(shown));
    }

    /// The header for callers is judged: it goes no further.
    pub fn set_caller_header_judged(&mut self) {
        self.judged_caller_header = true;
    }

    /// Whether the header for callers was judged.
    pub fn caller_header_judged(&self) -> bool {
        self.judged_caller_header
    }

    /// `Authorization` shows a caller where it is the API's: it goes no further.
    pub fn keep_authorization(&mut self) {
        self.keeps_authorization = true;
    }

    /// Whether `Authorization` goes no further since it shows a caller.
    pub fn keeps_authorization(&self) -> bool {
        self.keeps_authorization
    }

    /// It is served though this list of callers would refuse it.
    pub fn report(&mut self, rule: Option<CallerRule>) {
        let Some(rule) = rule.filter(|_| self.reported.is_none()) else {
            return;
        };
        self.reported = Some(rule);
        self.notes.set_rule(rule.as_str());
        let snapshot = &self.shard.snapshot;
        let listener = &snapshot.listeners[self.listener].name;
        snapshot.count_reported(listener, self.caller_name().unwrap_or_default());
    }
}

//! Lists of callers that contradict each other.

use std::collections::{HashMap, HashSet};

use super::super::super::draft::{Draft, Tables};
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::{CallerList, EgressAction, EgressRule, Route, Upstream};
use super::super::super::words::QuotedWord;
use super::super::passing::may_pass;
use super::admission::{ListenerCallers, names};
use super::means;

const ON_NOBODY: &str = "give the listener `callers`, or name other listeners here";

/// Why a list lets nobody through.
const NOBODY_LET_IN: &str = "its listeners let none of its `callers` in";
const NOBODY_KNOWN: &str =
    "its listeners can know none of its `callers`, by a certificate, a user or a key";
const NO_CREDENTIAL: &str = "its upstream has a credential for none of the callers that may use it";

/// Why a listener serves nobody.
const NO_WAY: &str = "no route of it lets a caller through that can be known there, and whose credential the upstream has";

/// Reports lists that could let in someone who is not known, and those that let nobody in.
pub(super) fn check(draft: &Draft, listeners: &[ListenerCallers<'_>], report: &Report<'_>) {
    for listener in listeners {
        if listener.lets_any_in() && draft.callers.is_empty() && draft.are_whole(&[Tables::Callers])
        {
            let name = QuotedWord(&listener.listener.name);
            let message = format!("listener {name} refuses everyone");
            let help = "it is for every caller, and there is no [callers.NAME]";
            report.warning(listener.place, message, help);
        }
    }
    for listener in listeners {
        reports_nothing(draft, listener, report);
    }
    let lists = Lists::new(draft, listeners);
    let mut idle = HashSet::new();
    for (at, (route, place)) in draft.routes.iter().enumerate() {
        if lists.check_route(route, place, report).is_err() {
            idle.insert(at);
        }
    }
    lists.check_listeners(&idle, report);
    for rule in &draft.egress_rules {
        if !rule.rule.callers.is_unsaid() {
            lists.check_rule(&rule.rule, &rule.place, report);
        } else if let Some(place) = &rule.empty_callers {
            lists.check_open_rule(&rule.rule, place, report);
        }
    }
}

/// A listener that lets every caller in, and only reports what lists would refuse, though nothing has one.
fn reports_nothing(draft: &Draft, listener: &ListenerCallers<'_>, report: &Report<'_>) {
    let of = listener.listener;
    let is_narrow = |list: &CallerList| matches!(list, CallerList::Named(_));
    let by_route = || {
        let mut routes = draft.routes.iter().map(|(route, _)| route);
        routes.any(|route| listener.has(route) && is_narrow(&route.callers))
    };
    let by_rule = || {
        let mut rules = draft.egress_rules.iter().map(|rule| &rule.rule);
        of.forward.is_some() && rules.any(|rule| rule.is_for(&of.name) && is_narrow(&rule.callers))
    };
    if listener.only_reports()
        && listener.lets_any_in()
        && draft.are_whole(&[Tables::Routes, Tables::Egress])
        && !by_route()
        && !by_rule()
    {
        let name = QuotedWord(&of.name);
        let message = format!("`enforcement = \"report\"` of listener {name} has no effect");
        let help = "it lets every caller in, and no route or rule has a list of callers: take it away before there is one";
        report.warning(listener.place, message, help);
    }
}

/// The lists of all listeners, found fast for thousands of routes.
struct Lists<'l, 'd> {
    draft: &'d Draft,
    all: &'l [ListenerCallers<'d>],
    by_name: HashMap<&'d str, &'l ListenerCallers<'d>>,
}

impl<'l, 'd> Lists<'l, 'd> {
    fn new(draft: &'d Draft, all: &'l [ListenerCallers<'d>]) -> Self {
        let by_name = all
            .iter()
            .map(|listener| (listener.listener.name.as_str(), listener));
        Self {
            draft,
            all,
            by_name: by_name.collect(),
        }
    }

    /// Reports the list of a route.
    ///
    /// # Errors
    /// It refuses everyone: that has been said.
    fn check_route(
        &self,
        route: &Route,
        place: &SourceSpan,
        report: &Report<'_>,
    ) -> Result<(), RefusesEveryone> {
        let listeners: Vec<_> = match &route.listener {
            Some(name) => self
                .by_name
                .get(name.as_str())
                .copied()
                .into_iter()
                .collect(),
            None => self.all.iter().filter(|it| it.has(route)).collect(),
        };
        let of = ListOf {
            what: "route",
            idle: "refuses everyone",
            callers: &route.callers,
            upstream: self.upstream(&route.upstream),
            place,
        };
        self.check(&of, &listeners, report)
    }

    /// The upstream with a name, as far as one knows all that it says.
    fn upstream(&self, name: &str) -> Option<&'d Upstream> {
        let whole = self.draft.are_whole(&[Tables::Upstreams]);
        let slot = self.draft.upstreams.get(name);
        slot.filter(|_| whole)?.as_ref()?.0.as_ref()
    }

    /// Listeners all of whose ways are for others. What is said of a route of one is not said again.
    fn check_listeners(&self, idle: &HashSet<usize>, report: &Report<'_>) {
        let ways = [
            Tables::Listeners,
            Tables::Routes,
            Tables::Egress,
            Tables::Upstreams,
        ];
        if !self.draft.are_whole(&ways) {
            return;
        }
        for listener in self.all.iter().filter(|listener| listener.serves_someone) {
            let of = listener.listener;
            let routes = || {
                let routes = self.draft.routes.iter().enumerate();
                routes.filter(|(_, (route, _))| listener.has(route))
            };
            let own_names = || {
                let upstreams = self.draft.upstreams.iter();
                upstreams.filter(|(name, _)| listener.leads_to(name))
            };
            let is_used = || {
                routes().any(|(at, (route, _))| {
                    let upstream = self.upstream(&route.upstream);
                    idle.contains(&at) || listener.lets_through(&route.callers, upstream)
                }) || own_names().any(|(name, _)| {
                    listener.lets_through(&CallerList::Unsaid, self.upstream(name))
                })
            };
            let passes = |forward| may_pass(self.draft, &of.name, forward);
            let leads_somewhere = routes().next().is_some() || own_names().next().is_some();
            if leads_somewhere && !of.forward.as_ref().is_some_and(passes) && !is_used() {
                let message = format!("listener {} refuses everyone", QuotedWord(&of.name));
                report.warning(listener.place, message, NO_WAY);
            }
        }
    }

    fn check_rule(&self, rule: &EgressRule, place: &SourceSpan, report: &Report<'_>) {
        let listeners: Vec<_> = self.of_rule(rule).collect();
        let of = ListOf {
            what: "rule",
            idle: "never decides",
            callers: &rule.callers,
            upstream: None,
            place,
        };
        // What is idle is a listener's matter for routes alone.
        let _ = self.check(&of, &listeners, report);
    }

    /// An empty list reads as if it let nobody pass.
    fn check_open_rule(&self, rule: &EgressRule, place: &SourceSpan, report: &Report<'_>) {
        let identifies = |listener: &&ListenerCallers<'_>| !listener.identifies_nobody();
        let mut listeners = self.of_rule(rule).filter(identifies);
        if rule.action == EgressAction::Pass
            && let Some(first) = listeners.next()
        {
            let name = QuotedWord(&first.listener.name);
            let message = format!("this rule is for every client of listener {name}");
            let help = "name callers, or leave `callers` out if every client is meant";
            report.warning(place, message, help);
        }
    }

    /// The listeners whose requests a rule decides about.
    fn of_rule(&self, rule: &EgressRule) -> impl Iterator<Item = &'l ListenerCallers<'d>> {
        self.all.iter().filter(|listener| {
            listener.listener.forward.is_some() && rule.is_for(&listener.listener.name)
        })
    }

    /// Reports one list of a route or rule for these listeners.
    ///
    /// # Errors
    /// It lets nobody through: that has been said.
    fn check(
        &self,
        of: &ListOf<'_>,
        listeners: &[&ListenerCallers<'_>],
        report: &Report<'_>,
    ) -> Result<(), RefusesEveryone> {
        let ListOf {
            what,
            callers,
            place,
            ..
        } = *of;
        let mut open = listeners.iter();
        if !callers.is_unsaid()
            && let Some(open) = open.find(|listener| listener.identifies_nobody())
        {
            let name = QuotedWord(&open.listener.name);
            let message =
                format!("this {what} is for callers, and listener {name} identifies nobody");
            report.error(place, message, ON_NOBODY);
            return Ok(());
        }
        if listeners.is_empty() || !self.draft.are_whole(&[Tables::Listeners]) {
            return Ok(());
        }
        // That others do not exist is said of their names.
        let defined = |caller: &&str| self.draft.callers.contains_key(*caller);
        let named = || names(callers).filter(defined);
        let let_in = |caller: &str| listeners.iter().any(|listener| listener.lets_in(caller));
        let known = |caller: &str| listeners.iter().any(|listener| listener.serves(caller));
        let mut all = listeners.iter();
        if all.any(|listener| listener.lets_through(callers, of.upstream)) {
            self.check_named(of, listeners, report);
            return Ok(());
        }
        let is_list = matches!(callers, CallerList::Named(_));
        let help = if is_list && !named().any(let_in) {
            NOBODY_LET_IN
        } else if !listeners.iter().any(|listener| listener.serves_someone) {
            // That is said of the listeners.
            return Ok(());
        } else if is_list && !named().any(known) {
            NOBODY_KNOWN
        } else {
            NO_CREDENTIAL
        };
        report.warning(place, format!("this {what} {}", of.idle), help);
        Err(RefusesEveryone)
    }

    /// Reports the first caller of a list that others of it get through, and it does not.
    fn check_named(
        &self,
        of: &ListOf<'_>,
        listeners: &[&ListenerCallers<'_>],
        report: &Report<'_>,
    ) {
        for name in names(of.callers) {
            let Some(slot) = self.draft.callers.get(name) else {
                continue;
            };
            let let_in = || listeners.iter().filter(|listener| listener.lets_in(name));
            let what = of.what;
            // Not an error: who takes a caller off the list of a listener wants it refused, now.
            if let_in().next().is_none() {
                let caller = QuotedWord(name);
                let message =
                    format!("caller {caller} of this {what} is let in by none of its listeners");
                let help = "name it in `callers` of a listener, or not here";
                report.warning(of.place, message, help);
                return;
            }
            // What the list of a listener names is compared with the listener.
            if let Some((Some(caller), _)) = slot
                && !let_in().any(|listener| listener.serves(name) || listener.has_named(name))
            {
                let message = format!(
                    "caller {} of this {what} can be known by none of its listeners",
                    QuotedWord(name)
                );
                report.warning(of.place, message, means::help(caller));
                return;
            }
        }
    }
}

/// One list of callers, and what has it.
struct ListOf<'a> {
    what: &'static str,
    /// What is said of it when it lets nobody through.
    idle: &'static str,
    callers: &'a CallerList,
    /// Whose credentials callers need as well.
    upstream: Option<&'a Upstream>,
    place: &'a SourceSpan,
}

/// A list, which lets nobody through.
struct RefusesEveryone;

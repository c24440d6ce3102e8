//! Lists of callers that contradict each other.

use std::collections::HashMap;

use super::super::super::draft::Draft;
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::{CallerList, EgressAction, EgressRule, Enforcement, Route};
use super::super::super::words::QuotedWord;
use super::super::led_to;
use super::admission::{ListenerCallers, names};

const ON_NOBODY: &str = "give the listener `callers`, or name other listeners here";

/// Reports lists that could let in someone who is not known, and those that let nobody in.
pub(super) fn check(draft: &Draft, listeners: &[ListenerCallers<'_>], report: &Report<'_>) {
    for listener in listeners {
        if listener.lets_any_in() && draft.callers.is_empty() {
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
    for (route, place) in &draft.routes {
        if !route.callers.is_unsaid() {
            lists.check_route(route, place, report);
        }
    }
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
    if of.enforcement == Enforcement::Report
        && listener.lets_any_in()
        && led_to::routes_are_known(draft)
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

    fn check_route(&self, route: &Route, place: &SourceSpan, report: &Report<'_>) {
        let one = route.listener.as_ref();
        let one = one.map(|name| self.by_name.get(name.as_str()).copied());
        let listeners: Vec<_> = match one {
            Some(listener) => listener.into_iter().collect(),
            None => self.all.iter().collect(),
        };
        let idle = ("route", "refuses everyone");
        self.check(idle, &route.callers, &listeners, (place, report));
    }

    fn check_rule(&self, rule: &EgressRule, place: &SourceSpan, report: &Report<'_>) {
        let listeners: Vec<_> = self.of_rule(rule).collect();
        let idle = ("rule", "never decides");
        self.check(idle, &rule.callers, &listeners, (place, report));
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

    /// Reports one list of a route or rule, with what it is for these listeners when it lets nobody in.
    fn check(
        &self,
        (what, idle): (&str, &str),
        callers: &CallerList,
        listeners: &[&ListenerCallers<'_>],
        (place, report): (&SourceSpan, &Report<'_>),
    ) {
        let mut open = listeners.iter();
        if let Some(open) = open.find(|listener| listener.identifies_nobody()) {
            let name = QuotedWord(&open.listener.name);
            let message =
                format!("this {what} is for callers, and listener {name} identifies nobody");
            report.error(place, message, ON_NOBODY);
            return;
        }
        // That others do not exist is said of their names.
        let defined = |caller: &&str| self.draft.callers.contains_key(*caller);
        let named = || names(callers).filter(defined);
        let let_in = |caller: &str| listeners.iter().any(|listener| listener.lets_in(caller));
        let Some(first) = named().find(|caller| !let_in(caller)) else {
            return;
        };
        // Not an error: who takes a caller off the list of a listener wants it refused, now.
        if named().any(let_in) {
            let name = QuotedWord(first);
            let message =
                format!("caller {name} of this {what} is let in by none of its listeners");
            let help = "name it in `callers` of a listener, or not here";
            report.warning(place, message, help);
        } else if !listeners.is_empty() {
            let help = "its listeners let none of its `callers` in";
            report.warning(place, format!("this {what} {idle}"), help);
        }
    }
}

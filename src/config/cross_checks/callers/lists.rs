//! Lists of callers that contradict each other.

use std::collections::HashSet;

use super::super::super::draft::Tables;
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::{CallerList, EgressAction, EgressRule, Route, Upstream};
use super::super::super::words::QuotedWord;
use super::admission::{ListenerSet, Listeners};
use super::audience::{Audience, names};
use super::{closed, means};

const ON_NOBODY: &str = "give the listener `callers`, or name other listeners here";

/// Why a list lets nobody through.
const NOBODY_LET_IN: &str = "its listeners let none of its `callers` in";
const NOBODY_KNOWN: &str =
    "its listeners can know none of its `callers`, by a certificate, a user or a key";
const NO_CREDENTIAL: &str = "its upstream has a credential for none of the callers that may use it";

/// Reports lists that could let in someone who is not known, and those that let nobody in.
pub(super) fn check(listeners: &Listeners<'_>, report: &Report<'_>) {
    let draft = listeners.draft;
    for listener in &listeners.all {
        if listener.lets_any_in() && draft.callers.is_empty() && draft.are_whole(&[Tables::Callers])
        {
            let name = QuotedWord(&listener.listener.name);
            let message = format!("listener {name} refuses everyone");
            let help = "it is for every caller, and there is no [callers.NAME]";
            report.warning(listener.place, message, help);
        }
    }
    reports_nothing(listeners, report);
    let lists = Lists { listeners };
    let mut idle = HashSet::new();
    for (at, (route, place)) in draft.routes.iter().enumerate() {
        if lists.check_route(route, place, report).is_err() {
            idle.insert(at);
        }
    }
    closed::check(listeners, &idle, report);
    for rule in &draft.egress_rules {
        if !rule.rule.callers.is_unsaid() {
            lists.check_rule(&rule.rule, &rule.place, report);
        } else if let Some(place) = &rule.empty_callers {
            lists.check_open_rule(&rule.rule, place, report);
        }
    }
}

/// Listeners that let every caller in, and only report what lists would refuse, though nothing has one.
fn reports_nothing(listeners: &Listeners<'_>, report: &Report<'_>) {
    let draft = listeners.draft;
    if !draft.are_whole(&[Tables::Routes, Tables::Egress]) {
        return;
    }
    let is_narrow = |list: &CallerList| matches!(list, CallerList::Named(_));
    let routes = draft.routes.iter().map(|(route, _)| route);
    let routes = routes.filter(|route| is_narrow(&route.callers));
    let rules = draft.egress_rules.iter().map(|rule| &rule.rule);
    let rules = rules.filter(|rule| is_narrow(&rule.callers));
    let by_routes = routes.filter_map(|route| listeners.way_of(route));
    let by_rules = rules.flat_map(|rule| listeners.ways_of(rule));
    let narrow: HashSet<_> = by_routes.chain(by_rules).collect();
    for (at, listener) in listeners.all.iter().enumerate() {
        let mut ways = listeners.ways_over(at).into_iter();
        if listener.only_reports()
            && listener.lets_any_in()
            && !ways.any(|way| narrow.contains(&way))
        {
            let name = QuotedWord(&listener.listener.name);
            let message = format!("`enforcement = \"report\"` of listener {name} has no effect");
            let help = "it lets every caller in, and no route or rule has a list of callers: take it away before there is one";
            report.warning(listener.place, message, help);
        }
    }
}

/// Looks at each list.
struct Lists<'l, 'd> {
    listeners: &'l Listeners<'d>,
}

impl<'d> Lists<'_, 'd> {
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
        let of = ListOf {
            what: "route",
            idle: "refuses everyone",
            callers: &route.callers,
            upstream: self.listeners.upstream(&route.upstream),
            place,
        };
        let way = self.listeners.way_of(route);
        self.check(&of, way.as_slice(), report)
    }

    fn check_rule(&self, rule: &EgressRule, place: &SourceSpan, report: &Report<'_>) {
        let of = ListOf {
            what: "rule",
            idle: "never decides",
            callers: &rule.callers,
            upstream: None,
            place,
        };
        // What is idle is a listener's matter for routes alone.
        let _ = self.check(&of, &self.listeners.ways_of(rule), report);
    }

    /// An empty list reads as if it let nobody pass.
    fn check_open_rule(&self, rule: &EgressRule, place: &SourceSpan, report: &Report<'_>) {
        let ways = self.listeners.ways_of(rule);
        let identifying = self.audiences(&ways).map(|audience| audience.identifying);
        if rule.action == EgressAction::Pass
            && let Some(first) = identifying.flatten().min()
        {
            let name = QuotedWord(&self.listeners.all[first].listener.name);
            let message = format!("this rule is for every client of listener {name}");
            let help = "name callers, or leave `callers` out if every client is meant";
            report.warning(place, message, help);
        }
    }

    fn audiences(&self, ways: &[ListenerSet]) -> impl Iterator<Item = &Audience<'d>> {
        ways.iter().map(|way| self.listeners.audience(*way))
    }

    /// Reports one list of a route or rule for the listeners of these ways.
    ///
    /// # Errors
    /// It lets nobody through: that has been said.
    fn check(
        &self,
        of: &ListOf<'_, 'd>,
        ways: &[ListenerSet],
        report: &Report<'_>,
    ) -> Result<(), RefusesEveryone> {
        let ListOf {
            what,
            callers,
            place,
            ..
        } = *of;
        let draft = self.listeners.draft;
        let audiences = || self.audiences(ways);
        if !callers.is_unsaid()
            && let Some(open) = audiences().filter_map(|audience| audience.open).min()
        {
            let name = QuotedWord(&self.listeners.all[open].listener.name);
            let message =
                format!("this {what} is for callers, and listener {name} identifies nobody");
            report.error(place, message, ON_NOBODY);
            return Ok(());
        }
        if audiences().all(Audience::is_empty) || !draft.are_whole(&[Tables::Listeners]) {
            return Ok(());
        }
        let mut all = ways.iter();
        if all.any(|way| self.listeners.lets_through(*way, callers, of.upstream)) {
            self.check_named(of, ways, report);
            return Ok(());
        }
        // That others do not exist is said of their names.
        let defined = |caller: &&str| draft.callers.contains_key(*caller);
        let named = || names(callers).filter(defined);
        let let_in = |caller: &str| audiences().any(|audience| audience.lets_in(caller));
        let is_list = matches!(callers, CallerList::Named(_));
        let help = if is_list && !named().any(let_in) {
            NOBODY_LET_IN
        } else if !audiences().any(|audience| audience.serves_someone) {
            // That is said of the listeners.
            return Ok(());
        } else if is_list && !named().any(|caller| self.serves(ways, caller)) {
            NOBODY_KNOWN
        } else {
            NO_CREDENTIAL
        };
        report.warning(place, format!("this {what} {}", of.idle), help);
        Err(RefusesEveryone)
    }

    fn serves(&self, ways: &[ListenerSet], caller: &str) -> bool {
        let mut ways = ways.iter();
        ways.any(|way| self.listeners.serves(*way, caller))
    }

    /// Reports the first caller of a list that others of it get through, and it does not.
    fn check_named(&self, of: &ListOf<'_, 'd>, ways: &[ListenerSet], report: &Report<'_>) {
        let audiences = || self.audiences(ways);
        for name in names(of.callers) {
            let Some(slot) = self.listeners.draft.callers.get(name) else {
                continue;
            };
            let what = of.what;
            // Not an error: who takes a caller off the list of a listener wants it refused, now.
            if !audiences().any(|audience| audience.lets_in(name)) {
                let caller = QuotedWord(name);
                let message =
                    format!("caller {caller} of this {what} is let in by none of its listeners");
                let help = "name it in `callers` of a listener, or not here";
                report.warning(of.place, message, help);
                return;
            }
            // What the list of a listener names is compared with the listener.
            if let Some((Some(caller), _)) = slot
                && !audiences().any(|audience| audience.has_named(name))
                && !self.serves(ways, name)
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
struct ListOf<'a, 'd> {
    what: &'static str,
    /// What is said of it when it lets nobody through.
    idle: &'static str,
    callers: &'a CallerList,
    /// Whose credentials callers need as well.
    upstream: Option<&'d Upstream>,
    place: &'a SourceSpan,
}

/// A list, which lets nobody through.
struct RefusesEveryone;

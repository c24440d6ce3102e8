//! What is shown of a route, a rule, an upstream and a refusal.

use std::error::Error;
use std::sync::Arc;

use super::steps::Steps;
use super::stop::{Stop, always, way_denied};
use crate::explanation::{
    Dialled, ExplainedRefusal, ExplainedRoute, ExplainedRule, ExplainedUpstream,
};
use crate::proxy::caller_rule::CallerRule;
use crate::proxy::error::{ErrorKind, ProxyError};
use crate::proxy::failure;
use crate::proxy::passing::{self, Passage};
use crate::proxy::route_taken::RouteTaken;
use crate::snapshot::{BuiltUpstream, PassingWay};
use crate::upstream::{Origin, OriginPoolError};

impl Steps<'_> {
    pub(super) fn report(&mut self, rule: Option<CallerRule>) {
        if let Some(rule) = rule.filter(|_| self.shown.reported.is_none()) {
            self.shown.reported = Some(rule.as_str().to_owned());
        }
    }

    pub(super) fn show_route(&mut self, taken: &RouteTaken<'_>) {
        self.route = Some(taken.route);
        let snapshot = self.snapshot;
        let written = snapshot.config.routes.get(taken.route as usize);
        let methods = written.map(|route| route.methods.iter());
        self.shown.route = Some(ExplainedRoute {
            route: snapshot.route_label(taken.route as usize).to_string(),
            methods: methods
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .collect(),
            listener: written.and_then(|route| Some(route.listener.as_deref()?.to_owned())),
            implied: written.is_none(),
        });
        let upstream = &snapshot.upstreams[taken.upstream as usize].config;
        self.shown.upstream = Some(ExplainedUpstream {
            name: Some(upstream.name.clone()),
            url: upstream.url.to_string(),
        });
    }

    /// What was shown of the way of a connection is not that of the requests on it.
    pub(super) fn forget_way(&mut self) {
        self.route = None;
        let shown = &mut self.shown;
        (shown.route, shown.rule) = (None, None);
        (shown.upstream, shown.dialled) = (None, None);
        (shown.credential, shown.state) = (None, None);
        shown.inside = None;
        shown.lost.clear();
    }

    /// The rule with this index has decided.
    pub(super) fn show_rule(&mut self, rule: usize) {
        let snapshot = self.snapshot;
        let label = snapshot.route_label(snapshot.egress_route(rule));
        let listener = &snapshot.config.listeners[self.listener];
        let action = match rule.checked_sub(1) {
            None => listener.forward.as_ref().map(|forward| forward.unmatched),
            Some(at) => {
                let rules = snapshot.config.egress.rules.iter();
                let mut by_host = rules.flat_map(|rule| rule.hosts.iter().map(|_| rule.action));
                by_host.nth(at)
            }
        };
        self.shown.rule = Some(ExplainedRule {
            rule: label.to_string(),
            action: action.map_or("", |action| action.word()).to_owned(),
        });
    }

    /// It goes on to where its client names.
    pub(super) fn pass(
        &mut self,
        origin: &Origin,
        passage: Passage,
        way: PassingWay,
    ) -> Result<Arc<BuiltUpstream>, Stop> {
        self.show_rule(passage.rule);
        self.report(passage.reported);
        let passing = self.snapshot.passing.as_ref();
        let passing = passing.ok_or_else(|| {
            let detail = "nothing may leave that no route leads to";
            always(ProxyError::new(ErrorKind::DestinationDenied, detail))
        })?;
        let made = passing.upstream(origin, way);
        let made = made.map_err(|error| passing::no_pool(OriginPoolError::Endpoint(error)));
        let upstream = made.map_err(always)?;
        self.shown.upstream = Some(ExplainedUpstream {
            name: None,
            url: upstream.config.url.to_string(),
        });
        Ok(upstream)
    }

    /// How an upstream is connected to, and whether an address that it is written as may be. A tunnel leads to its host and port,
    /// without TLS of ours.
    pub(super) fn dial(&mut self, upstream: &BuiltUpstream, is_tunnel: bool) -> Result<(), Stop> {
        let connector = &upstream.endpoint.connector;
        let is_passed = upstream.config.name.is_empty();
        let is_named = matches!(upstream.config.url.host(), Some(url::Host::Domain(_)));
        let judged = if self.is_elsewhere && is_passed {
            Some("it is the address that the connection was on its way to, which [egress] judges")
        } else if is_passed && is_named && !connector.is_proxied() {
            Some("[egress] judges its addresses when it is dialled")
        } else {
            None
        };
        self.shown.dialled = Some(Dialled {
            authority: connector.authority(),
            tls: upstream.config.url.scheme() == "https" && !is_tunnel,
            through: connector.proxy().map(str::to_owned),
            judged: judged.map(str::to_owned),
        });
        if self.is_elsewhere && is_passed {
            return Ok(());
        }
        let checked = connector.check_written();
        checked.map_err(|error| way_denied(failure::from_connect_error(Arc::new(error))))
    }

    pub(super) fn refusal(error: &ProxyError, change: Option<&str>) -> ExplainedRefusal {
        let cause = error
            .source
            .as_deref()
            .map(|cause: &(dyn Error + Send + Sync)| cause.to_string());
        ExplainedRefusal {
            error: error.kind.code().to_owned(),
            status: error.status().as_u16(),
            detail: error.detail.to_string(),
            cause,
            change: change.map(str::to_owned),
        }
    }
}

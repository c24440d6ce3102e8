//! The steps of one request by one listener, in the order of `answer`.

use std::net::Ipv4Addr;

use http::Version;
use http::request::Parts;

use super::explained_request::{
    ExplainedRequest, ExplainedUrl, Target, address_of, means_at, own_host,
};
use super::lost::{self, Matched};
use super::sent::{self, Leaving};
use super::state::{self, ExplainState};
use super::stop::{Stop, always, unless, way_denied};
use crate::caller::{CallerIndex, Identified};
use crate::client_socket::Peer;
use crate::config::{ListenAddress, Scheme};
use crate::egress::Reach;
use crate::explanation::{ExplainedCaller, ExplainedListener, Explanation, QuestionError};
use crate::policy::RequestKind;
use crate::proxy::admission::{HeldLimits, LimitReached};
use crate::proxy::client_connection::ClientConnection;
use crate::proxy::decide;
use crate::proxy::destination::{self, Way};
use crate::proxy::error::ProxyError;
use crate::proxy::identify;
use crate::proxy::permit;
use crate::proxy::reception::Reception;
use crate::proxy::request::Checked;
use crate::proxy::role::ProxyRole;
use crate::proxy::route_taken::RouteTaken;
use crate::proxy::target;
use crate::snapshot::{BuiltUpstream, Injection, ListenerRules, Snapshot};

/// One request on its way by one listener.
pub(super) struct Steps<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) listener: usize,
    caller: Option<CallerIndex>,
    state: ExplainState,
    /// It stands inside of a CONNECT whose caller is known.
    pub(super) is_inside: bool,
    /// The address that its connection was on its way to is not known.
    pub(super) is_elsewhere: bool,
    /// The index of the route that it takes.
    pub(super) route: Option<u32>,
    /// How many requests its caller has asked for by now.
    asked_of_caller: u32,
    /// The limit that leaves no room now.
    limited: Option<LimitReached>,
    pub(super) shown: Explanation,
}

impl<'s> Steps<'s> {
    /// A request of this caller comes in by the listener with this index.
    pub(super) fn begin(
        snapshot: &'s Snapshot,
        listener: usize,
        caller: Option<CallerIndex>,
        state: ExplainState,
    ) -> Self {
        let config = &snapshot.config.listeners[listener];
        let kind = match (&config.forward, config.redirection()) {
            (None, _) => "reverse",
            (Some(_), None) => "forward",
            (Some(_), Some(_)) => "redirected",
        };
        let shown = Explanation {
            listener: ExplainedListener {
                name: config.name.clone(),
                address: address_of(config),
                kind: kind.to_owned(),
            },
            ..Explanation::default()
        };
        Self {
            snapshot,
            listener,
            caller,
            state,
            is_inside: false,
            is_elsewhere: false,
            route: None,
            asked_of_caller: 0,
            limited: None,
            shown,
        }
    }

    /// Takes them.
    ///
    /// # Errors
    /// What is asked is no request.
    pub(super) fn take(mut self, request: &ExplainedRequest) -> Result<Explanation, QuestionError> {
        self.shown.remarks.extend(request.remark());
        let arrived = self.arrive(request);
        // What else refuses it, but is shown as well, comes behind the limits.
        match (arrived, self.limited.take()) {
            (Err(Stop::Question(error)), _) => return Err(error),
            (_, Some(limited)) => {
                self.shown.refused = Some(Self::refusal(&limited.to_error(), Some(limited.keys())))
            }
            (Err(Stop::Refused(error, change)), None) => {
                self.shown.refused = Some(Self::refusal(&error, change))
            }
            (Ok(()), None) => {}
        }
        if self.state == ExplainState::Shown && self.shown.state.is_none() {
            self.shown.state = Some(state::now(self.snapshot, None, None));
        }
        Ok(self.shown)
    }

    fn arrive(&mut self, request: &ExplainedRequest) -> Result<(), Stop> {
        let config = &self.snapshot.config.listeners[self.listener];
        let client = self.client();
        let own = own_host(config);
        match &request.target {
            Target::Authority(authority) => {
                if config.redirection().is_some() {
                    // Wherever that was: what comes on it is not for a proxy.
                    let anywhere = (Ipv4Addr::UNSPECIFIED, 0);
                    client.set_original_destination(anywhere.into());
                }
                self.connect(&client, request, authority).map(drop)
            }
            Target::Path(path) => {
                self.shown.asked = format!("{} {path} with Host: {own}", request.method);
                self.request(&client, request.head(path, &own)?)
            }
            Target::Url(url) if config.redirection().is_some() => {
                self.redirected(&client, request, url)
            }
            Target::Url(url) if config.forward.is_some() && url.scheme == Scheme::Https => {
                self.inside_of_connect(&client, request, url)
            }
            Target::Url(url) if config.forward.is_some() => {
                self.shown.asked = format!("{} {}", request.method, url.whole);
                self.request(&client, request.head(&url.whole, &url.authority)?)
            }
            Target::Url(url) => self.reverse(&client, request, url),
        }
    }

    fn reverse(
        &mut self,
        client: &ClientConnection,
        request: &ExplainedRequest,
        url: &ExplainedUrl,
    ) -> Result<(), Stop> {
        let ExplainedUrl {
            authority, path, ..
        } = url;
        self.shown.asked = format!("{} {path} with Host: {authority}", request.method);
        let speaks_tls = self.rules().tls.is_some();
        if speaks_tls != (url.scheme == Scheme::Https) {
            return Err(always(ProxyError::bad_request(if speaks_tls {
                "plain HTTP comes to a listener that speaks TLS: use https://"
            } else {
                "TLS comes to a listener that speaks plain HTTP: use http://, or give the listener a certificate (tls)"
            })));
        }
        self.request(client, request.head(path, authority)?)
    }

    /// The steps of a request, in their order.
    pub(super) fn request(
        &mut self,
        client: &ClientConnection,
        mut head: Parts,
    ) -> Result<(), Stop> {
        let (snapshot, listener) = (self.snapshot, self.listener);
        let method = head.method.clone();
        // It stays while its head is scrubbed.
        let received = head.clone();
        let checked = decide::check_head(snapshot, &received).map_err(always)?;
        let caller = self.identify()?;
        let reception = Reception {
            snapshot,
            listener,
            caller: caller.map(|identified| identified.caller),
            client,
        };
        self.permit_listener(reception.caller)?;
        decide::admit_browsers(self.rules(), &checked, &received)
            .map_err(unless("`hosts` of the listener"))?;
        let way = decide::find_way(&reception, &checked, &received);
        let taken = match &way {
            Ok(Way::Routed(taken, _)) => Some(taken),
            _ => None,
        };
        self.show_lost(&reception, &checked, &received, taken);
        let passed;
        let (upstream, path, role) = match way.map_err(|error| self.denied(error))? {
            Way::Routed(taken, role) => {
                let upstream = &*snapshot.upstreams[taken.upstream as usize];
                let routed = Some((&taken, upstream));
                let path = target::write(&received, &checked, routed).map_err(always)?;
                self.show_route(&taken);
                self.permit_route(&taken, reception.caller)?;
                (upstream, path, role)
            }
            Way::Passed(origin, passage) => {
                let path = target::write(&received, &checked, None).map_err(always)?;
                let way = passage.way(&origin, received.version);
                passed = self.pass(&origin, passage, way)?;
                let role = if passage.reach == Reach::Redirected {
                    ProxyRole::Transparent
                } else {
                    ProxyRole::Forward
                };
                (&*passed, path, role)
            }
        };
        let injection = self.choose_injection(upstream, reception.caller)?;
        self.show_limits(reception.caller, RequestKind::Response);
        self.show_state(upstream, injection);
        let leaving = Leaving {
            upstream,
            injection,
            target: path,
            role,
            caller_header_judged: self.judges_caller_header(caller),
        };
        head.method = method;
        head.version = Version::HTTP_11;
        let mut sent = sent::head(&reception, head, leaving);
        if self.state == ExplainState::Left {
            // The process that will run has another one.
            for (_, value) in &mut sent.headers {
                *value = value.replace(&snapshot.instance, "sidebearer-ID");
            }
        }
        self.shown.sent = Some(sent);
        self.dial(upstream, false)
    }

    pub(super) fn rules(&self) -> &'s ListenerRules {
        &self.snapshot.listeners[self.listener]
    }

    /// The connection that it comes on.
    fn client(&self) -> std::sync::Arc<ClientConnection> {
        let peer = match self.snapshot.config.listeners[self.listener].address {
            ListenAddress::Tcp(address) => Peer::Tcp(address),
            ListenAddress::Unix { .. } => Peer::Unix(None),
        };
        ClientConnection::new(self.rules().name.clone(), peer, 0, None, ())
    }

    /// Who sends it: the caller that is named, if it can show itself here.
    pub(super) fn identify(&mut self) -> Result<Option<Identified>, Stop> {
        const CHANGE: &str =
            "`callers` of the listener, or what callers are known by in [callers.NAME]";
        let snapshot = self.snapshot;
        if !snapshot.permits.identifies(self.listener) {
            if let Some(caller) = self.caller {
                self.remark_unknown(snapshot.callers.names.name(caller));
            }
            return Ok(None);
        }
        let rules = self.rules();
        let unknown = |reason: String| unless(CHANGE)(identify::caller_unknown(rules, reason));
        let Some(caller) = self.caller else {
            return Err(unknown("the request shows no caller".to_owned()));
        };
        let name = snapshot.callers.names.name(caller);
        let config = &snapshot.config.listeners[self.listener];
        let means = snapshot.config.callers.get(name);
        let Some(means) = means.and_then(|known| means_at(known, config)) else {
            return Err(unknown(format!(
                "the caller {name:?} is known by nothing that comes to this listener: certificates need its \
                 tls.client_ca_file, and users a unix socket"
            )));
        };
        self.shown.caller = Some(ExplainedCaller {
            name: name.to_owned(),
            by: means.as_str().to_owned(),
        });
        Ok(Some(Identified { caller, means }))
    }

    /// Whether the header for callers is judged, so that it goes no further.
    fn judges_caller_header(&self, caller: Option<Identified>) -> bool {
        let by_connection = |known: Identified| self.is_inside || known.means.is_of_connection();
        let of_api = self.rules().caller_header == http::header::AUTHORIZATION;
        caller.is_some_and(|known| !(by_connection(known) && of_api))
    }

    pub(super) fn permit_listener(&mut self, caller: Option<CallerIndex>) -> Result<(), Stop> {
        let judged = permit::judge_listener(self.snapshot, self.listener, caller);
        let reported = judged.map_err(unless("`callers` of the listener"))?;
        self.report(reported);
        Ok(())
    }

    pub(super) fn permit_route(
        &mut self,
        taken: &RouteTaken<'_>,
        caller: Option<CallerIndex>,
    ) -> Result<(), Stop> {
        let judged = permit::judge_route(self.snapshot, self.listener, taken.route, caller);
        let reported = judged.map_err(unless("`callers` of the route"))?;
        self.report(reported);
        Ok(())
    }

    pub(super) fn choose_injection<'u>(
        &mut self,
        upstream: &'u BuiltUpstream,
        caller: Option<CallerIndex>,
    ) -> Result<Option<&'u Injection>, Stop> {
        let chosen = permit::judge_credentials(upstream, caller).map_err(way_denied)?;
        self.shown.credential = chosen.map(|injection| injection.source.name().to_owned());
        Ok(chosen)
    }

    /// The rule that refuses a way.
    pub(super) fn denied(&mut self, error: ProxyError) -> Stop {
        if let Some(denial) = error.egress {
            self.show_rule(denial.rule);
        }
        way_denied(error)
    }

    fn show_lost(
        &mut self,
        reception: &Reception<'_, '_>,
        checked: &Checked<'_>,
        head: &Parts,
        taken: Option<&RouteTaken<'_>>,
    ) {
        let host = destination::host(reception, checked);
        let destination = if self.rules().is_forward {
            match destination::asked(reception, &host, checked, head) {
                Ok(destination) => Some(destination),
                Err(_) => return,
            }
        } else {
            None
        };
        let matched = Matched {
            listener: self.listener,
            host: &host,
            destination,
            path: &checked.path.canonical,
            method: &head.method,
        };
        self.shown.lost = lost::routes(self.snapshot, matched, taken);
    }

    fn remark_unknown(&mut self, caller: &str) {
        let remark = format!(
            "the listener asks nobody who they are (no `callers` are written for it or its routes), so that the caller {caller:?} \
             makes no difference"
        );
        if !self.shown.remarks.contains(&remark) {
            self.shown.remarks.push(remark);
        }
    }

    /// The limits that it has to stay within here, and whether one leaves no room now.
    pub(super) fn show_limits(&mut self, caller: Option<CallerIndex>, kind: RequestKind) {
        let limits = &self.snapshot.limits;
        let shows_use = self.state == ExplainState::Shown;
        let of_caller = caller.and_then(|caller| limits.caller(caller as usize));
        let of_route = self.route.and_then(|route| limits.route(route as usize));
        // A CONNECT and the request inside of it are two.
        self.asked_of_caller += u32::from(caller.is_some());
        self.shown.limits.clear();
        for (of, found, requests) in [
            ("caller", of_caller, self.asked_of_caller),
            ("route", of_route, 1),
        ] {
            let shown = found.map(|found| state::limits(of, found, shows_use, requests));
            self.shown.limits.extend(shown.into_iter().flatten());
        }
        if shows_use && self.limited.is_none() {
            let caller = caller.map(|it| (it as usize, self.asked_of_caller));
            let route = self.route.map(|it| it as usize);
            self.limited = HeldLimits::judge(self.snapshot, caller, route, kind).err();
        }
    }

    pub(super) fn show_state(&mut self, upstream: &BuiltUpstream, injection: Option<&Injection>) {
        if self.state == ExplainState::Shown {
            let configured = (!upstream.config.name.is_empty()).then_some(upstream);
            self.shown.state = Some(state::now(self.snapshot, configured, injection));
        }
    }
}

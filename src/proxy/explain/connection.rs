//! What a CONNECT and a redirected connection become, and what stands inside of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::Version;

use super::explained_request::{ExplainedRequest, ExplainedUrl};
use super::lost;
use super::steps::Steps;
use super::stop::{Stop, always, unless, way_denied};
use crate::config::Scheme;
use crate::explanation::{ExplainedConnection, ExplainedUpstream, LostRoute};
use crate::host::canonical_host;
use crate::policy::{CallerIndex, RequestKind};
use crate::proxy::client_connection::{ClientConnection, ConnectionTarget};
use crate::proxy::connect::{self, ConnectVerdict};
use crate::proxy::destination;
use crate::proxy::error::{ErrorKind, PLAIN_HTTP_INSIDE, ProxyError};
use crate::proxy::intercept;
use crate::proxy::passing::Passage;
use crate::route::{self, Destination};
use crate::snapshot;

/// What follows on a connection whose way is known.
pub(super) enum Follows {
    /// Nothing that is read here, or nothing that was asked about.
    Nothing,
    /// Plain HTTP.
    PlainHttp,
    /// Requests inside of TLS, on a connection that this caller has opened.
    Requests(ConnectionTarget, Option<CallerIndex>),
}

impl Steps<'_> {
    /// A CONNECT to this host and port.
    pub(super) fn connect(
        &mut self,
        client: &ClientConnection,
        request: &ExplainedRequest,
        authority: &str,
    ) -> Result<Follows, Stop> {
        if !self.rules().is_forward {
            self.shown.asked = format!("CONNECT {authority}");
            self.request(client, request.head(authority, authority)?)?;
            return Ok(Follows::Nothing);
        }
        if self.shown.asked.is_empty() {
            self.shown.asked = format!("CONNECT {authority}");
        }
        let mut head = request.head(authority, authority)?;
        head.method = http::Method::CONNECT;
        let (host, port) = connect::check(client, &head).map_err(always)?;
        let caller = self.identify()?.map(|identified| identified.caller);
        self.permit_listener(caller)?;
        let target = ConnectionTarget {
            scheme: Scheme::Http,
            host: host.into(),
            port,
            caller: None,
            extended_connect: true,
        };
        self.lead(client, target, caller)
    }

    /// A request for an https URL that its client sends inside of a CONNECT.
    pub(super) fn inside_of_connect(
        &mut self,
        client: &ClientConnection,
        request: &ExplainedRequest,
        url: &ExplainedUrl,
    ) -> Result<(), Stop> {
        let authority = format!("{}:{}", url.host(), url.port());
        self.shown.asked = format!(
            "CONNECT {authority}, and inside of it, over TLS, {} {} with Host: {}",
            request.method, url.path, url.authority
        );
        match self.connect(client, request, &authority)? {
            Follows::Nothing => Ok(()),
            Follows::PlainHttp => Err(unless("`url` of the upstream")(ProxyError::bad_request(
                PLAIN_HTTP_INSIDE,
            ))),
            Follows::Requests(target, caller) => {
                self.requests(client, request, url, target, caller)
            }
        }
    }

    /// A request on a connection that the system has redirected here.
    pub(super) fn redirected(
        &mut self,
        client: &ClientConnection,
        request: &ExplainedRequest,
        url: &ExplainedUrl,
    ) -> Result<(), Stop> {
        let bare = url.host().trim_start_matches('[').trim_end_matches(']');
        let ip = bare.parse::<IpAddr>();
        // Its client has resolved the name, and what it has found is not known here.
        self.is_elsewhere = ip.is_err();
        let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        client.set_original_destination(SocketAddr::new(ip.to_canonical(), url.port()));
        let (method, path, authority) = (&request.method, &url.path, &url.authority);
        let over = match url.scheme {
            Scheme::Http => "",
            Scheme::Https => ", over TLS,",
        };
        self.shown.asked = format!(
            "{method} {path} with Host: {authority}{over} on a connection to port {}",
            url.port()
        );
        if url.scheme == Scheme::Http {
            return self.request(client, request.head(path, authority)?);
        }
        let target = ConnectionTarget {
            scheme: Scheme::Https,
            host: canonical_host(&url.host().to_ascii_lowercase()).into(),
            port: url.port(),
            caller: None,
            extended_connect: true,
        };
        match self.lead(client, target, None)? {
            Follows::Requests(target, caller) => {
                self.requests(client, request, url, target, caller)
            }
            Follows::Nothing | Follows::PlainHttp => Ok(()),
        }
    }

    /// Leads a connection on whose client is known.
    fn lead(
        &mut self,
        client: &ClientConnection,
        target: ConnectionTarget,
        caller: Option<CallerIndex>,
    ) -> Result<Follows, Stop> {
        let snapshot = self.snapshot;
        let original = client.original_destination();
        let destination = |scheme| Destination {
            scheme,
            ..target.destination()
        };
        let verdict = connect::judge(snapshot, self.listener, caller, &target, original);
        let (verdict, reported) = match verdict {
            Ok(judged) => judged,
            Err(error) => {
                match error.kind {
                    ErrorKind::InterceptionOff => self.show_owed(destination(Scheme::Https)),
                    ErrorKind::DestinationDenied => {
                        self.show_near(destination(Scheme::Https), caller)
                    }
                    _ => {}
                }
                return Err(self.denied(error));
            }
        };
        self.report(reported);
        match verdict {
            ConnectVerdict::PlainHttp => {
                self.shown.connection = Some(ExplainedConnection::PlainHttp);
                self.show_limits(caller, RequestKind::Response);
                self.show_inside(destination(Scheme::Http), caller);
                Ok(Follows::PlainHttp)
            }
            ConnectVerdict::Intercept(taken) => {
                self.shown.connection = Some(ExplainedConnection::Intercepted);
                // Those of the route are for the requests that follow.
                self.show_limits(caller, RequestKind::Response);
                self.show_route(&taken);
                self.dial(&snapshot.upstreams[taken.upstream as usize], false)?;
                self.show_inside(destination(Scheme::Https), caller);
                Ok(Follows::Requests(target, caller))
            }
            ConnectVerdict::InterceptByName(passage) => {
                self.shown.connection = Some(ExplainedConnection::InterceptedByName);
                self.show_near(destination(Scheme::Https), caller);
                match passage {
                    Some(passage) => {
                        self.show_limits(caller, RequestKind::Tunnel);
                        self.tunnel_past_routes(client, &target, passage)?;
                    }
                    None => self.show_limits(caller, RequestKind::Response),
                }
                Ok(Follows::Requests(target, caller))
            }
            ConnectVerdict::Tunnel(taken) => {
                self.shown.connection = Some(ExplainedConnection::Tunnel);
                self.show_route(&taken);
                let upstream = &snapshot.upstreams[taken.upstream as usize];
                self.show_limits(caller, RequestKind::Tunnel);
                self.show_state(upstream, None);
                self.dial(upstream, true)?;
                Ok(Follows::Nothing)
            }
            ConnectVerdict::Pass(passage) => {
                self.shown.connection = Some(ExplainedConnection::Tunnel);
                self.show_near(destination(Scheme::Https), caller);
                self.show_limits(caller, RequestKind::Tunnel);
                self.tunnel_past_routes(client, &target, passage)?;
                Ok(Follows::Nothing)
            }
        }
    }

    /// What a tunnel would lead past.
    fn show_owed(&mut self, destination: Destination<'_>) {
        let snapshot = self.snapshot;
        let mut routes = destination::routes_to(snapshot, self.listener, destination);
        self.shown.lost.extend(
            routes.next().map(|taken| LostRoute {
                reason: "its requests have to be read, and nothing reads them inside of this TLS"
                    .to_owned(),
                ..lost::named(snapshot, &taken)
            }),
        );
    }

    /// What nearly leads there.
    fn show_near(&mut self, destination: Destination<'_>, caller: Option<CallerIndex>) {
        let (snapshot, listener) = (self.snapshot, self.listener);
        self.shown.lost = lost::of_connection(snapshot, listener, caller, destination);
    }

    fn tunnel_past_routes(
        &mut self,
        client: &ClientConnection,
        target: &ConnectionTarget,
        passage: Passage,
    ) -> Result<(), Stop> {
        let origin = if self.is_elsewhere {
            snapshot::origin(Scheme::Http, &target.host, target.port)
        } else {
            connect::passes_to(target, client.original_destination())
        };
        let way = passage.way(&origin, Version::HTTP_11);
        let passed = self.pass(&origin, passage, way)?;
        // It has no scheme.
        let url = passed.endpoint.connector.authority();
        self.shown.upstream = Some(ExplainedUpstream { name: None, url });
        self.dial(&passed, true)
    }

    /// A request inside of TLS that is ended here. A client whose URL holds an address names nothing in its handshake.
    fn requests(
        &mut self,
        client: &ClientConnection,
        request: &ExplainedRequest,
        url: &ExplainedUrl,
        target: ConnectionTarget,
        caller: Option<CallerIndex>,
    ) -> Result<(), Stop> {
        let name = url.host().to_ascii_lowercase();
        let name = (!route::is_address(&name)).then_some(&*name);
        let named = intercept::name_inside_for(self.snapshot, self.listener, caller, &target, name);
        let named = match named {
            Ok(named) => named,
            // It is a tunnel, as it was shown.
            Err(refused) if refused.is_unmatched && self.shown.upstream.is_some() => {
                self.shown.connection = Some(ExplainedConnection::Tunnel);
                return Ok(());
            }
            Err(refused) => {
                let error = ProxyError::new(ErrorKind::Misdirected, refused.reason);
                return Err(way_denied(error));
            }
        };
        self.shown.connection = Some(ExplainedConnection::Intercepted);
        client.set_target(named.target);
        self.is_inside = true;
        // From here on it is the request that counts.
        self.forget_way();
        self.request(client, request.head(&url.path, &url.authority)?)
    }
}

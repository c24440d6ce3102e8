//! The record of one request: what is counted and logged when it has ended.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use tokio::time::Instant;

use super::client::InFlight;
use super::error::ProxyError;
use super::view::View;
use crate::config::AccessLog;
use crate::snapshot::Target;
use crate::token::Token;

/// One request and its response, until the end of both. Counted and logged when dropped.
pub struct Exchange {
    /// The snapshot it began with, and stays with.
    pub view: Rc<View>,
    /// The listener it came in by: an index of the snapshot.
    pub listener: usize,
    /// The upstream it was matched to.
    pub upstream: Option<usize>,
    /// The client's connection.
    pub in_flight: InFlight,
    start: Instant,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    route: Option<usize>,
    status: Option<StatusCode>,
    error: Option<&'static str>,
    cause: Option<String>,
    cut: bool,
    token: Option<Arc<Token>>,
}

impl Exchange {
    /// A request has arrived.
    pub fn begin(view: Rc<View>, listener: usize, in_flight: InFlight, head: &Parts) -> Self {
        Self {
            view,
            listener,
            upstream: None,
            in_flight,
            start: Instant::now(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(header::HOST).cloned(),
            route: None,
            status: None,
            error: None,
            cause: None,
            cut: false,
            token: None,
        }
    }

    /// A route leads to an upstream.
    pub fn matched(&mut self, target: &Target) {
        self.upstream = Some(target.upstream);
        self.route = Some(target.route);
    }

    /// A token goes out with it.
    pub fn carries(&mut self, token: Option<&Arc<Token>>) {
        self.token = token.cloned();
    }

    /// The response head is sent.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.traffic().answered(status);
    }

    /// The answer is an error of ours.
    pub fn failed(&mut self, error: &ProxyError) {
        self.error = Some(error.kind.code());
        // Without the causes beneath: they can hold what an upstream sent.
        self.cause = error.source.as_ref().map(ToString::to_string);
        self.traffic().failed(error.kind.code());
    }

    /// The response broke off after its head was sent.
    pub fn cut_off(&mut self, error: &'static str) {
        self.cut = true;
        self.error = Some(error);
        self.traffic().failed(error);
        self.in_flight.client().reset();
    }

    fn traffic(&self) -> &crate::metrics::TrafficMetrics {
        self.view.snapshot.traffic(self.listener, self.upstream)
    }

    fn is_logged(&self) -> bool {
        match self.view.snapshot.config.log.access {
            AccessLog::Off => false,
            AccessLog::All => true,
            AccessLog::Errors => {
                self.error.is_some() || self.status.is_some_and(|status| status.is_server_error())
            }
        }
    }

    fn log(&self, took: Duration) {
        let snapshot = &self.view.snapshot;
        let authority = self.uri.authority().map(|authority| authority.as_str());
        let host = authority
            .or_else(|| self.host.as_ref()?.to_str().ok())
            .unwrap_or_default();
        let upstream = self
            .upstream
            .map_or("", |at| &snapshot.upstreams[at].config.name);
        let token_age = self.token.as_ref().map(|token| {
            let now = snapshot.clock.now();
            now.boot.saturating_sub(token.issued().boot).as_millis() as f64 / 1000.0
        });
        tracing::info!(
            target: "sidebearer::access",
            method = %self.method,
            host,
            path = self.uri.path(),
            listener = snapshot.listeners[self.listener].name,
            route = self.route.map(|at| snapshot.route_labels[at].as_str()),
            upstream,
            status = self.status.map(|status| status.as_u16()),
            error = self.error,
            cause = self.cause,
            cut = self.cut,
            duration_ms = took.as_micros() as f64 / 1000.0,
            token_age_s = token_age,
        );
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.start.elapsed();
        self.traffic().took(took);
        if self.is_logged() {
            self.log(took);
        }
    }
}

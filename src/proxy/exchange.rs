//! The record of one request: what is counted and logged when it has ended.

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use tokio::time::Instant;

use super::client::InFlight;
use super::error::{ErrorKind, ProxyError};
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
    /// It is a gRPC call.
    pub grpc: bool,
    start: Instant,
    http1: bool,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    route: Option<usize>,
    status: Option<StatusCode>,
    error: Option<ErrorKind>,
    /// What is behind the error, for the log.
    cause: Option<Box<str>>,
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
            grpc: false,
            start: Instant::now(),
            http1: head.version < Version::HTTP_2,
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
        self.upstream = Some(target.upstream as usize);
        self.route = Some(target.route as usize);
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
        self.note(error.kind, || match &error.source {
            Some(cause) => in_words(cause.as_ref()),
            None => error.detail.to_string(),
        });
    }

    /// The response broke off after its head was sent.
    pub fn cut_off(&mut self, kind: ErrorKind, cause: &dyn Error) {
        self.cut = true;
        self.note(kind, || in_words(cause));
        if self.http1 {
            // In HTTP/2 the stream is reset, and others of the connection go on.
            self.in_flight.client().reset();
        }
    }

    fn note(&mut self, kind: ErrorKind, cause: impl FnOnce() -> String) {
        self.error = Some(kind);
        self.traffic().failed(kind.code());
        if self.is_logged() {
            self.cause = Some(cause().into());
        }
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
        // What is before it is a name and a password, and the request was refused for it.
        let host = host.rsplit('@').next().unwrap_or_default();
        let upstream = self
            .upstream
            .map_or("", |at| &snapshot.upstreams[at].config.name);
        let token_age = self.token.as_ref().map(|token| {
            let now = snapshot.clock.now();
            let age = now.boot.saturating_sub(token.issued().boot);
            age.as_millis() as f64 / 1e3
        });
        tracing::info!(
            target: "sidebearer::access",
            client = %self.in_flight.client().peer,
            method = %self.method,
            host,
            path = self.uri.path(),
            listener = snapshot.listeners[self.listener].name,
            route = self.route.map(|at| snapshot.route_labels[at].as_str()),
            upstream,
            status = self.status.map(|status| status.as_u16()),
            error = self.error.map(ErrorKind::code),
            cause = self.cause.as_deref(),
            cut = self.cut,
            duration_ms = took.as_micros() as f64 / 1e3,
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

/// An error with everything beneath it; libraries do not repeat their cause in their own words.
fn in_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_words = match cause.downcast_ref::<h2::Error>().map(h2::Error::reason) {
            // Its own words quote what the upstream sent along, which may be our token.
            Some(Some(reason)) => format!("HTTP/2 {reason:?}"),
            Some(None) => "HTTP/2".to_owned(),
            None => cause.to_string(),
        };
        if !words.ends_with(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        next = cause.source();
    }
    words
}

//! One request to the upstream, sent again where that is provably safe.

mod attempt;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderValue, Response, StatusCode, Version, header};

use super::error::{ErrorKind, ProxyError};
use super::failure::{self, ExchangeFailure};
use super::outgoing::{AttemptHeaders, OutgoingRequest};
use super::response::{self, Framing, UpstreamResponse};
use super::send_record::SendRecord;
use super::token_echo;
use super::token_verdict;
use super::traced::RequestTrace;
use crate::dpop::Nonce;
use crate::http1;
use crate::snapshot::Injection;
use crate::token::Token;
use crate::upstream::{Checkout, Pool};
use attempt::{Attempt, AttemptFailure};

/// Sends one request: gets connections for it, and decides which attempts are followed by another.
pub struct RequestSender<'r> {
    /// The request.
    pub request: &'r OutgoingRequest<'r>,
    /// This shard's connections to its upstream.
    pub pool: &'r Rc<Pool>,
    /// The token that it carries, and how often it is sent.
    pub record: &'r SendRecord,
    /// What is recorded of that.
    pub trace: &'r RequestTrace,
}

impl RequestSender<'_> {
    /// Sends it with the token of its record, which is replaced if it expires while a connection is
    /// opened. An upstream that wants a nonce of its own in the proof gets it, once (RFC 9449 section
    /// 9); one that refuses the proof gets one that is dated by its own clock, if that differs from ours.
    pub async fn send(&self) -> Result<UpstreamResponse, ProxyError> {
        let injection = self.request.injection;
        let Some(injection) = injection.filter(|_| self.record.has_bound_token()) else {
            return self.note(self.transmit().await);
        };
        let sent = injection.now().wall;
        let mut answer = self.note(self.transmit().await)?;
        let nonce = self.take_nonce(injection, &mut answer);
        let dated =
            self.learn_clock(injection, &answer, sent) && token_verdict::refuses_proof(&answer);
        let wanted = nonce.is_some() && token_verdict::wants_nonce(&answer);
        if !(wanted || dated) || !self.request.can_replay() {
            nonce
                .into_iter()
                .for_each(|nonce| injection.nonce.set(nonce));
            return Ok(answer);
        }
        drop(answer);
        self.request.set_nonce(nonce.clone());
        let mut answer = self.note(Box::pin(self.transmit()).await)?;
        let next = self.take_nonce(injection, &mut answer);
        let last = next.or(nonce);
        last.into_iter()
            .for_each(|nonce| injection.nonce.set(nonce));
        Ok(answer)
    }

    /// An upstream that refuses a request with a proof may do so because of the proof's date: the
    /// next ones are dated by its clock. Whether that is another than before.
    fn learn_clock(
        &self,
        injection: &Injection,
        answer: &UpstreamResponse,
        sent: Duration,
    ) -> bool {
        if answer.status() != StatusCode::UNAUTHORIZED {
            return false;
        }
        let during = UNIX_EPOCH + sent..=UNIX_EPOCH + injection.now().wall;
        if !injection.clock.learn(answer.headers(), &during) {
            return false;
        }
        injection.clock.measure(answer.headers(), &during);
        let upstream = &self.request.upstream.config.name;
        let difference = injection.clock.difference();
        let difference = difference
            .as_deref()
            .unwrap_or("its clock agrees with ours again");
        tracing::warn!(%upstream, "{difference}");
        true
    }

    /// The nonce that the next proof has to hold, if the token is bound to a key.
    fn take_nonce(&self, injection: &Injection, response: &mut UpstreamResponse) -> Option<Nonce> {
        let bound = self.record.has_bound_token();
        bound.then(|| Nonce::take(response.headers_mut(), injection.max_nonce_bytes))?
    }

    /// Notes how the last attempt went.
    fn note(
        &self,
        outcome: Result<UpstreamResponse, ProxyError>,
    ) -> Result<UpstreamResponse, ProxyError> {
        match &outcome {
            Ok(answer) => self.trace.note_answer(answer.status()),
            Err(error) => self.trace.note_failure(error.kind.code()),
        }
        outcome
    }

    /// Sends it on one connection after another, until there is an answer or no other attempt is safe.
    async fn transmit(&self) -> Result<UpstreamResponse, ProxyError> {
        self.trace.begin_attempt(self.request);
        if let Some(protocol) = self.request.upgrade() {
            return Box::pin(self.send_upgrade(protocol)).await;
        }
        let connects = self.request.is_extended_connect();
        if connects && self.request.upstream.endpoint.connector.speaks_only_http1() {
            return Err(connect_not_supported());
        }
        let mut waited = connects;
        let mut checkout = match self.pool.take() {
            Some(idle) => idle,
            None => {
                waited = true;
                self.open_connection(true).await?
            }
        };
        let mut retries = 0;
        loop {
            if connects {
                let open = Box::pin(supporting_connect(checkout)).await;
                checkout = open.ok_or_else(connect_not_supported)?;
            }
            if waited {
                self.renew_if_expired().await?;
                if !checkout.is_usable() {
                    checkout = self.open_connection(false).await?;
                    continue;
                }
            }
            // Beyond it the upstream is closing connections as fast as they open.
            let retries_left = retries < self.request.upstream.config.max_retries;
            let failed = {
                let mut attempt =
                    self.begin_attempt(|headers| Attempt::begin(self.request, checkout, headers));
                match attempt
                    .response(self.request, &|interim| self.send_interim(interim))
                    .await?
                {
                    Ok(answer) if attempt.is_for_idle_connection() => {
                        self.trace.note_answer(answer.status());
                        if !(retries_left && self.request.can_replay()) {
                            // The same as if it had been closed without a word.
                            let closed = ExchangeFailure::Http1(http1::Error::Closed);
                            return Err(failure::from_exchange_failure(closed, false));
                        }
                        None
                    }
                    Ok(answer) => {
                        self.check_proxy(&answer)?;
                        check_not_switched(answer.status(), connects)?;
                        return check_response(answer);
                    }
                    Err(failed) => Some(failed),
                }
            };
            if let Some(failed) = failed {
                self.check_retry(failed, retries)?;
            }
            retries += 1;
            self.trace.begin_attempt(self.request);
            checkout = self.open_connection(false).await?;
            waited = true;
        }
    }

    /// Passes an interim response of the upstream on.
    fn send_interim(&self, mut interim: Response<()>) {
        token_echo::mask_interim(self.request.upstream, self.record, &mut interim);
        self.request.send_interim(interim);
    }

    /// Refuses a response of the proxy on the way that is none of the upstream.
    fn check_proxy(&self, answer: &UpstreamResponse) -> Result<(), ProxyError> {
        if !answer.body().is_read_by_proxy() {
            return Ok(());
        }
        let connector = &self.request.upstream.endpoint.connector;
        match connector.proxy_refusal(answer.status(), answer.headers()) {
            Some(refused) => Err(failure::from_connect_error(Arc::new(refused))),
            None => Ok(()),
        }
    }

    /// The error, unless the same request can be sent once more without doing anything twice.
    #[cold]
    fn check_retry(&self, failed: AttemptFailure, retries: usize) -> Result<(), ProxyError> {
        let not_processed = failed.unsent || failure::is_refused_stream(&failed.error);
        // The upstream closed a connection that was idle: nothing of this request has had an
        // effect that a second one would double.
        // A new one may have been closed before the upstream was ready to serve; twice means something
        // else.
        let unnoticed = (failed.unnoticed || failed.ended_new && retries == 0)
            && self.request.method().is_idempotent()
            && failure::is_closed_early(&failed.error);
        let again = (not_processed || unnoticed) && self.request.can_restart(failed.unsent);
        let retries_left = retries < self.request.upstream.config.max_retries;
        let retried = again && retries_left && failed.alert.is_none();
        let error = self.to_error(failed);
        self.trace.note_failure(error.kind.code());
        if retried { Ok(()) } else { Err(error) }
    }

    /// A connection when none is free. Without `reuse` it is a new one: an old one has failed.
    async fn open_connection(&self, reuse: bool) -> Result<Checkout, ProxyError> {
        self.pool
            .open(reuse)
            .await
            .map_err(failure::from_connect_error)
    }

    /// Sends it on a connection of its own that can be upgraded.
    async fn send_upgrade(&self, protocol: &HeaderValue) -> Result<UpstreamResponse, ProxyError> {
        let opened = self.pool.open_dedicated().await;
        let connection = opened.map_err(|error| failure::from_connect_error(Arc::new(error)))?;
        self.renew_if_expired().await?;
        let asks = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, protocol.clone()),
        ];
        let mut attempt = self
            .begin_attempt(|headers| Attempt::over_http1(self.request, connection, headers, &asks));
        let answer = attempt
            .response(self.request, &|interim| self.send_interim(interim))
            .await?;
        let answer = answer.map_err(|failed| self.to_error(failed))?;
        response::check_http1(answer.headers())?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            response::check_switch(protocol, answer.headers())?;
            if !answer.body().is_sent() {
                return Err(switched_early());
            }
        }
        Ok(answer)
    }

    /// Time has passed since the token was taken: one that has expired meanwhile must not be sent.
    async fn renew_if_expired(&self) -> Result<(), ProxyError> {
        if let Some(injection) = self.request.injection
            && self.record.has_expired_token(injection)
        {
            self.take_token(injection).await?;
        }
        Ok(())
    }

    /// The token to send now, waiting for one if that can help.
    pub async fn take_token(&self, injection: &Injection) -> Result<(), ProxyError> {
        let token = match injection.ready_token() {
            Some(token) => token,
            None => Box::pin(self.wait_for_token(injection)).await?,
        };
        self.record.set_token(token);
        Ok(())
    }

    async fn wait_for_token(&self, injection: &Injection) -> Result<Arc<Token>, ProxyError> {
        let wait = self.trace.wait_for_token(&injection.source);
        let token = injection.acquire().await;
        let token = token.map_err(failure::from_unavailable_token);
        let error = token.as_ref().err().map(|error| error.kind.code());
        wait.end(injection.source.last_fetch(), error);
        token
    }

    /// Begins an attempt, with what is written into it alone.
    fn begin_attempt<T>(&self, begin: impl FnOnce(AttemptHeaders<'_>) -> T) -> T {
        let trace = self.trace.headers();
        self.record
            .begin_attempt(|token| begin(AttemptHeaders { token, trace }))
    }

    fn to_error(&self, failed: AttemptFailure) -> ProxyError {
        if let Some(fault) = self.request.upload.and_then(|upload| upload.fault()) {
            return failure::from_body_fault(fault);
        }
        let connector = &self.request.upstream.endpoint.connector;
        let refused = failed
            .alert
            .and_then(|alert| connector.certificate_refusal(&alert));
        match refused {
            Some(refused) => failure::from_connect_error(Arc::new(refused)),
            None => failure::from_exchange_failure(failed.error, failed.http1_instead),
        }
    }
}

/// The answer, if it can be passed on. One that cannot leaves its connection behind.
fn check_response(mut answer: UpstreamResponse) -> Result<UpstreamResponse, ProxyError> {
    if answer.version() == Version::HTTP_2 {
        response::check_http2(answer.headers())?;
    } else if response::check_http1(answer.headers())? == Framing::Ambiguous {
        answer.body_mut().retire();
    }
    Ok(answer)
}

/// The connection, if the upstream takes extended CONNECT on it.
async fn supporting_connect(checkout: Checkout) -> Option<Checkout> {
    let takes = match &checkout {
        Checkout::Http1(_) => false,
        Checkout::Http2(stream) => stream.supports_connect().await,
    };
    takes.then_some(checkout)
}

/// An answer may begin a tunnel only where one was asked for, and in the way it was.
fn check_not_switched(status: StatusCode, connects: bool) -> Result<(), ProxyError> {
    // Over HTTP/2 nothing else becomes a tunnel.
    let tunnels = connects && status.is_success() && status != StatusCode::OK;
    if status != StatusCode::SWITCHING_PROTOCOLS && !tunnels {
        return Ok(());
    }
    Err(ProxyError::new(
        ErrorKind::UpstreamProtocol,
        "the upstream switched protocols without being asked to",
    ))
}

/// What is left of the request would be taken for the new protocol (RFC 9110 section 7.8).
#[cold]
fn switched_early() -> ProxyError {
    ProxyError::new(
        ErrorKind::UpstreamProtocol,
        "the upstream switched protocols before it had all of the request",
    )
}

#[cold]
fn connect_not_supported() -> ProxyError {
    ProxyError::new(
        ErrorKind::MethodNotAllowed,
        "the upstream does not take extended CONNECT (RFC 8441); ask for the upgrade over HTTP/1.1",
    )
}

//! What follows from an answer for the token that the request carried: it is noted as accepted or
//! rejected, and a rejected one is renewed and the request replayed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::error::ProxyError;
use super::outgoing::OutgoingRequest;
use super::response::UpstreamResponse;
use super::send::RequestSender;
use super::token_verdict;
use crate::oauth::challenge;
use crate::snapshot::Injection;
use crate::token::Token;

/// What has to be waited for where a token was rejected: the answer that goes to the client.
type Renewal<F> = Pin<Box<F>>;

/// Judges an answer. Where the token was accepted, there is nothing to wait for.
///
/// # Errors
/// The token was rejected. The answer that goes to the client has yet to come.
pub fn judge<'a>(
    injection: &'a Injection,
    sender: &'a RequestSender<'a>,
    answer: UpstreamResponse,
) -> Result<
    UpstreamResponse,
    Renewal<impl Future<Output = Result<UpstreamResponse, ProxyError>> + use<'a>>,
> {
    let Some(sent) = sender.record.token() else {
        return Ok(answer);
    };
    if is_rejected(sender.request, injection, &answer, &sent) {
        return Err(Box::pin(renew_and_replay(injection, sender, answer, sent)));
    }
    note_accepted(injection, &answer, &sent);
    Ok(answer)
}

/// Whether the upstream rejects the token that this request carried. When an `Authorization` of
/// the client's own went with it, in a header of its own, nobody can tell which of them is meant.
fn is_rejected(
    request: &OutgoingRequest<'_>,
    injection: &Injection,
    answer: &UpstreamResponse,
    token: &Token,
) -> bool {
    token_verdict::rejects(answer, &schemes(injection, token))
        && !request.carries_authorization_of_client()
}

/// Notes that the upstream takes this token, if the answer says so.
fn note_accepted(injection: &Injection, answer: &UpstreamResponse, token: &Token) {
    let known = injection.fresh.has_accepted(token);
    if !known && token_verdict::accepts(answer) {
        injection.fresh.accept(token, || injection.now());
    }
}

/// Notes that the rejection of this token goes to the client.
fn note_rejected(injection: &Injection, answer: &UpstreamResponse, token: &Token) {
    injection.fresh.reject(token, injection.now(), || {
        let reason = challenge::reason(answer.headers(), &schemes(injection, token));
        let clean = |text: &str| injection.redactor.clean(text);
        (clean(&reason.error), clean(&reason.description))
    });
}

/// The schemes whose challenges are about our token.
fn schemes<'a>(injection: &'a Injection, token: &'a Token) -> [&'a str; 2] {
    let token_type = token.token_type();
    [token_type, injection.scheme().unwrap_or(token_type)]
}

/// Renews a rejected token and sends the request once more, or lets the 401 through.
async fn renew_and_replay(
    injection: &Injection,
    sender: &RequestSender<'_>,
    rejection: UpstreamResponse,
    rejected: Arc<Token>,
) -> Result<UpstreamResponse, ProxyError> {
    let request = sender.request;
    if !request.upstream.config.retry_on_401 {
        note_rejected(injection, &rejection, &rejected);
        return Ok(rejection);
    }
    if !request.can_replay() {
        // Too late for this request, not for the next one.
        injection.rejections.reject(&injection.source, &rejected);
        note_rejected(injection, &rejection, &rejected);
        return Ok(rejection);
    }
    let wait = sender.trace.wait_for_token(&injection.source);
    let newer = injection.rejections.renew(&injection.source, &rejected);
    let newer = newer.await;
    let error = newer.is_none().then_some("token_unavailable");
    wait.end(injection.source.last_fetch(), error);
    let Some(newer) = newer else {
        note_rejected(injection, &rejection, &rejected);
        return Ok(rejection);
    };
    drop(rejection);
    sender.record.set_token(newer.clone());
    let answer = sender.send().await?;
    // It may have expired in the meantime, so that another one was sent.
    let replayed = sender.record.token().unwrap_or(newer);
    let accepted = !is_rejected(request, injection, &answer, &replayed);
    let rejections = &injection.rejections;
    rejections.record_replay(&injection.source, &replayed, accepted);
    if !accepted {
        note_rejected(injection, &answer, &replayed);
    } else if token_verdict::accepts(&answer) {
        injection.fresh.accept_replacement(&replayed);
    }
    Ok(answer)
}

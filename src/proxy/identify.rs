//! Who is calling: by the connection, or by what each request shows.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method};

use super::client_connection::{ClientConnection, ShownSecret};
use super::error::{CallerChallenge, ErrorKind, ProxyError};
use super::exchange::Exchange;
use crate::caller::token::{PendingVerification, Verified};
use crate::caller::{
    CertificateIdentity, CertificateRefusal, Claim, Identified, PresentedSecret, each_candidate,
};
use crate::client_socket::Peer;
use crate::snapshot::{ListenerRules, Snapshot};

/// How far one knows who is calling.
enum Identification {
    /// Its caller; `None` where nobody has to be known.
    Over(Option<Identified>),
    /// What the token has to be verified with is being fetched that has opened the connection.
    OfOpener(PendingVerification),
    /// The same of the token that the request shows. The caller that the connection has shown is given, if there is
    /// one.
    OfRequest(PendingVerification, Option<Identified>),
}

/// Finds out who sent a request.
///
/// A connection that shows its caller by a certificate or by its user leaves `Authorization` to the API; another header for
/// callers is judged all the same. On any other connection each request has to show its own. What was judged is noted: it
/// never goes any further, and neither does a key or token of a caller in `Authorization` where that is the API's.
///
/// What a CONNECT has shown counts for each request inside as if that had shown it: for whom it means now, if it still
/// means anyone.
///
/// # Errors
/// `caller_unknown` for nobody, for two, or for what is no caller's; `caller_unavailable` if that cannot be told now.
pub async fn identify(exchange: &mut Exchange, headers: &HeaderMap) -> Result<(), ProxyError> {
    let mut opener = None;
    exchange.caller = loop {
        match begin(exchange, headers, opener)? {
            Identification::Over(caller) => break caller,
            Identification::OfOpener(pending) => opener = Some(Box::pin(wait(pending)).await?),
            Identification::OfRequest(pending, of_connection) => {
                let shown = Box::pin(wait(pending)).await?;
                let rules = &exchange.shard.snapshot.listeners[exchange.listener];
                break Some(conclude(rules, shown, of_connection)?);
            }
        }
    };
    if let Some(known) = exchange.caller
        && let Some(pending) = judge_authorization(exchange, headers, known)?
    {
        let shown = Box::pin(wait(pending)).await?;
        keep_from_api(exchange, shown, known)?;
    }
    Ok(())
}

/// Goes on as far as nothing has to be waited for. Of an opener whose token had to be, it is given what is known now.
fn begin(
    exchange: &mut Exchange,
    headers: &HeaderMap,
    opener: Option<Verified>,
) -> Result<Identification, ProxyError> {
    let shard = Rc::clone(&exchange.shard);
    let (snapshot, listener) = (&*shard.snapshot, exchange.listener);
    let rules = &snapshot.listeners[listener];
    // Whoever else it shows, and where nobody is identified: the listener takes no such clients.
    good_certificate(snapshot, rules, exchange.client())
        .map_err(|refusal| caller_unknown(rules, refusal.to_string()))?;
    if !snapshot.permits.identifies(listener) {
        return Ok(Identification::Over(None));
    }
    let unknown = |reason: &'static str| caller_unknown(rules, reason);
    let client = exchange.client();
    let opener = match opener.map_or_else(|| by_opener(snapshot, client), |it| Ok(Some(it))) {
        Ok(opener) => opener,
        Err(pending) => return Ok(Identification::OfOpener(pending)),
    };
    let of_connection = by_connection(snapshot, rules, client)
        .and_then(|claim| Ok(claim.and(opener.map_or(Ok(Claim::Nobody), claim_of)?)));
    let of_connection = match of_connection {
        Ok(Claim::Of(identified)) => Ok(Some(identified)),
        Ok(Claim::Several) => return Err(unknown("the connection shows two callers")),
        Ok(Claim::Nobody) => Ok(None),
        Err(reason) => Err(reason),
    };
    let known = *of_connection.as_ref().unwrap_or(&None);
    if let Some(known) = known.filter(|_| rules.caller_header == AUTHORIZATION) {
        return Ok(Identification::Over(Some(known)));
    }
    exchange.set_caller_header_judged();
    // A header that holds nothing shows nothing.
    let is_said = |value: &&HeaderValue| !value.as_bytes().trim_ascii().is_empty();
    let values = headers.get_all(&rules.caller_header).iter();
    let mut values = values.filter(is_said);
    let Some(value) = values.next() else {
        return match (known, of_connection) {
            (Some(known), _) => Ok(Identification::Over(Some(known))),
            (None, Err(reason)) => Err(caller_unknown(rules, reason)),
            (None, Ok(_)) => Err(unknown(nothing_shown(exchange.client()))),
        };
    };
    if values.next().is_some() {
        return Err(unknown("the header for callers came more than once"));
    }
    let bare = ![AUTHORIZATION, PROXY_AUTHORIZATION].contains(&rules.caller_header);
    let secret = PresentedSecret::read(value, bare).map_err(unknown)?;
    let secret = secret.expose().map_err(unknown)?;
    let verification = (snapshot.callers).by_secret(secret, &snapshot.caller_tokens);
    let outlives = exchange.method == Method::CONNECT || headers.contains_key(UPGRADE);
    if outlives && known.is_none() {
        exchange.set_shown(ShownSecret::new(secret));
    }
    match verification.settled() {
        Ok(shown) => conclude(rules, shown, known).map(|it| Identification::Over(Some(it))),
        Err(pending) => Ok(Identification::OfRequest(pending, known)),
    }
}

/// Looks whether `Authorization`, where it is the API's, holds what shows a caller too. What it takes to tell is returned if
/// it is to be waited for.
///
/// # Errors
/// It shows another caller than this one.
fn judge_authorization(
    exchange: &mut Exchange,
    headers: &HeaderMap,
    known: Identified,
) -> Result<Option<PendingVerification>, ProxyError> {
    let shard = Rc::clone(&exchange.shard);
    let snapshot = &*shard.snapshot;
    let rules = &snapshot.listeners[exchange.listener];
    if exchange.caller_header_judged() && rules.caller_header == AUTHORIZATION {
        return Ok(None);
    }
    let mut unsettled = None;
    for value in headers.get_all(AUTHORIZATION) {
        each_candidate(value, |secret| {
            let verification = (snapshot.callers).by_secret(secret, &snapshot.caller_tokens);
            match verification.settled() {
                Ok(shown) => keep_from_api(exchange, shown, known),
                Err(_) if unsettled.is_some() => {
                    Err(caller_unknown(rules, "tokens came more than once"))
                }
                Err(pending) => {
                    unsettled = Some(pending);
                    Ok(())
                }
            }
        })?;
    }
    Ok(unsettled)
}

/// Keeps from the API what shows a caller, or would if it could be verified; anything else in `Authorization` is the API's.
fn keep_from_api(
    exchange: &mut Exchange,
    shown: Verified,
    known: Identified,
) -> Result<(), ProxyError> {
    match shown {
        Verified::Unknown(_) => return Ok(()),
        // Who cannot prove to be another caller is none.
        Verified::Unproven(_) => {}
        Verified::Caller(_) | Verified::Ambiguous => {
            let rules = &exchange.shard.snapshot.listeners[exchange.listener];
            conclude(rules, shown, Some(known))?;
        }
    }
    exchange.keep_authorization();
    Ok(())
}

/// Whose the key or token is now that has opened a connection, if one has.
///
/// # Errors
/// What is to be waited for until that is known.
fn by_opener(
    snapshot: &Snapshot,
    client: &ClientConnection,
) -> Result<Option<Verified>, PendingVerification> {
    let opener = client.target().and_then(|target| target.caller.as_ref());
    let Some(shown) = opener.and_then(|opener| opener.shown.as_ref()) else {
        return Ok(None);
    };
    let verification = (snapshot.callers).by_secret(shown.expose(), &snapshot.caller_tokens);
    verification.settled().map(Some)
}

/// The claim of who has opened a connection.
///
/// # Errors
/// It is nobody.
fn claim_of(opener: Verified) -> Result<Claim<Identified>, Cow<'static, str>> {
    match opener {
        Verified::Caller(identified) => Ok(Claim::Of(identified)),
        Verified::Ambiguous => Ok(Claim::Several),
        Verified::Unknown(reason) | Verified::Unproven(reason) => {
            Err(format!("what opened the connection is no caller's any more: {reason}").into())
        }
    }
}

/// What is missing where a request shows nothing of its own.
#[cold]
fn nothing_shown(client: &ClientConnection) -> &'static str {
    if client.certificate().is_some() {
        return "the client's certificate is of no caller, and the request shows none";
    }
    match client.peer {
        Peer::Unix(Some(_)) => "the client's user is no caller, and the request shows none",
        _ => "the request shows no caller",
    }
}

/// Waits for what a token has to be verified with.
async fn wait(pending: PendingVerification) -> Result<Verified, ProxyError> {
    pending.await.map_err(|unavailable| {
        ProxyError::new(
            ErrorKind::CallerUnavailable,
            "what the caller's token has to be verified with cannot be had now (the log says more)",
        )
        .retry_after(unavailable.retry_after)
        .caused_by(unavailable)
    })
}

/// Who it is, if the connection shows nobody else.
fn conclude(
    rules: &ListenerRules,
    verified: Verified,
    of_connection: Option<Identified>,
) -> Result<Identified, ProxyError> {
    let shown = match verified {
        Verified::Caller(identified) => identified,
        Verified::Unknown(reason) | Verified::Unproven(reason) => {
            return Err(caller_unknown(rules, reason));
        }
        Verified::Ambiguous => {
            return Err(caller_unknown(
                rules,
                "two callers could claim what the header holds",
            ));
        }
    };
    match of_connection {
        Some(known) if known.caller != shown.caller => Err(caller_unknown(
            rules,
            "the connection and the header show two callers",
        )),
        Some(known) => Ok(known),
        None => Ok(shown),
    }
}

/// Who a connection is by its certificate, which is looked at by this snapshot and now; `None` without one.
///
/// # Errors
/// It is not good any more.
pub fn good_certificate<'c>(
    snapshot: &Snapshot,
    rules: &ListenerRules,
    client: &'c ClientConnection,
) -> Result<Option<&'c CertificateIdentity>, CertificateRefusal> {
    let Some(certificate) = client.certificate() else {
        return Ok(None);
    };
    let now = snapshot.clock.now().wall;
    certificate.check(rules.tls.as_deref(), now).map(Some)
}

/// Whose a connection is by what it shows itself, by one snapshot: by its certificate, or by the user at its other end.
///
/// # Errors
/// Why a certificate does not count.
pub fn by_connection(
    snapshot: &Snapshot,
    rules: &ListenerRules,
    client: &ClientConnection,
) -> Result<Claim<Identified>, Cow<'static, str>> {
    let callers = &snapshot.callers;
    let mut claim = Claim::Nobody;
    if let Peer::Unix(Some(process)) = client.peer {
        claim = claim.and(callers.by_user(process.uid));
    }
    let certificate = good_certificate(snapshot, rules, client);
    if let Some(identity) = certificate.map_err(|refusal| refusal.to_string())? {
        claim = claim.and(callers.by_certificate(identity));
    }
    Ok(claim)
}

/// Nobody knows who is calling. Only the log is told why.
#[cold]
pub fn caller_unknown(rules: &ListenerRules, reason: impl Into<Cow<'static, str>>) -> ProxyError {
    let detail = "the listener serves callers that it knows: send what one is known by";
    let mut error = ProxyError::new(ErrorKind::CallerUnknown, detail).caused_by(reason.into());
    error.challenge = Some(CallerChallenge {
        of_proxy: rules.is_forward,
        schemes: Arc::clone(&rules.challenges),
    });
    error
}

//! Who is calling: by the connection, or by what each request shows.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION, UPGRADE};
use http::{HeaderMap, Method};

use super::client_connection::{ClientConnection, NamedCaller, ShownSecret};
use super::error::{CallerChallenge, ErrorKind, ProxyError};
use super::exchange::Exchange;
use crate::caller::token::{self, PendingVerification, Verification, Verified};
use crate::caller::{
    self, CertificateIdentity, CertificateRefusal, Claim, IdentificationMeans, Identified,
    PresentedSecret,
};
use crate::client_socket::Peer;
use crate::snapshot::{ListenerRules, Snapshot};

/// How far one knows who is calling.
enum Identification {
    /// Its caller; `None` where nobody has to be known.
    Over(Option<Identified>),
    /// What its token has to be verified with is being fetched. The caller that the connection has shown is given, if
    /// there is one.
    Pending(PendingVerification, Option<Identified>),
}

/// Finds out who sent a request.
///
/// A connection that shows its caller by a certificate or by its user leaves `Authorization` to the API, and so does
/// what stands inside of a CONNECT whose caller is known; another header for callers is judged all the same. On any
/// other connection each request has to show its own. What was judged is noted: it never goes any further.
///
/// # Errors
/// `caller_unknown` for nobody, for two, or for what is no caller's; `caller_unavailable` if that cannot be told now.
pub async fn identify(exchange: &mut Exchange, headers: &HeaderMap) -> Result<(), ProxyError> {
    exchange.caller = match begin(exchange, headers)? {
        Identification::Over(caller) => caller,
        Identification::Pending(pending, of_connection) => {
            Some(Box::pin(wait(exchange, pending, of_connection)).await?)
        }
    };
    Ok(())
}

fn begin(exchange: &mut Exchange, headers: &HeaderMap) -> Result<Identification, ProxyError> {
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
    let opened_by = client.target().and_then(|target| target.caller.as_ref());
    let of_connection = match by_connection(snapshot, rules, client, opened_by) {
        Ok(Claim::Of(identified)) => Ok(Some(identified)),
        Ok(Claim::Several) => return Err(unknown("the connection shows two callers")),
        Ok(Claim::Nobody) => Ok(None),
        Err(reason) => Err(reason),
    };
    let known = *of_connection.as_ref().unwrap_or(&None);
    if known.is_some() && rules.caller_header == AUTHORIZATION {
        return Ok(Identification::Over(known));
    }
    exchange.set_caller_header_judged();
    let mut values = headers.get_all(&rules.caller_header).iter();
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
    if outlives
        && known.is_none()
        && let Some(shown) = kept_of(secret, &verification)
    {
        exchange.set_shown(shown);
    }
    let verified = match verification {
        Verification::Caller(identified) => Verified::Caller(identified),
        Verification::Unknown(reason) => Verified::Unknown(reason),
        Verification::Ambiguous => Verified::Ambiguous,
        Verification::Pending(pending) => return Ok(Identification::Pending(pending, known)),
    };
    conclude(rules, verified, known).map(|identified| Identification::Over(Some(identified)))
}

/// What is kept of a key or token for what outlives its request.
fn kept_of(secret: &str, verification: &Verification) -> Option<ShownSecret> {
    match verification {
        Verification::Caller(identified) if identified.means == IdentificationMeans::Key => {
            let digest = caller::digest_of(secret.as_bytes());
            Some(ShownSecret::Key(Box::new(digest)))
        }
        // Only tokens are waited for.
        Verification::Caller(_) | Verification::Pending(_) => {
            token::end_of(secret).map(ShownSecret::TokenUntil)
        }
        Verification::Unknown(_) | Verification::Ambiguous => None,
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
async fn wait(
    exchange: &Exchange,
    pending: PendingVerification,
    of_connection: Option<Identified>,
) -> Result<Identified, ProxyError> {
    let verified = pending.await.map_err(|unavailable| {
        ProxyError::new(
            ErrorKind::CallerUnavailable,
            "what the caller's token has to be verified with cannot be had now (the log says more)",
        )
        .retry_after(unavailable.retry_after)
        .caused_by(unavailable)
    })?;
    let rules = &exchange.shard.snapshot.listeners[exchange.listener];
    conclude(rules, verified, of_connection)
}

/// Who it is, if the connection shows nobody else.
fn conclude(
    rules: &ListenerRules,
    verified: Verified,
    of_connection: Option<Identified>,
) -> Result<Identified, ProxyError> {
    let shown = match verified {
        Verified::Caller(identified) => identified,
        Verified::Unknown(reason) => return Err(caller_unknown(rules, reason)),
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

/// Whose a connection is, by one snapshot: by its certificate, by the user at its other end, or by the caller of the
/// CONNECT that it stands inside of.
///
/// # Errors
/// Why a certificate does not count.
pub fn by_connection(
    snapshot: &Snapshot,
    rules: &ListenerRules,
    client: &ClientConnection,
    opened_by: Option<&NamedCaller>,
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
    // By what the connection shows itself it has just been judged.
    if let Some(opener) = opened_by.filter(|opener| !opener.means.is_of_connection()) {
        claim = claim.and(Claim::Of(opener_of(snapshot, opener)?));
    }
    Ok(claim)
}

/// The caller by whose key or token a connection was opened.
///
/// # Errors
/// It was removed meanwhile, is known by that no more, or its token has ended.
fn opener_of(snapshot: &Snapshot, opener: &NamedCaller) -> Result<Identified, &'static str> {
    let (callers, means) = (&snapshot.callers, opener.means);
    let known = callers.names.index(&opener.name);
    let known = known.zip(snapshot.config.callers.get(&*opener.name));
    let (caller, now) = known.ok_or("the caller that opened it was removed")?;
    let identified = Identified { caller, means };
    if opener.has_ended(snapshot.clock.now().wall) {
        return Err("the token that opened it has ended");
    }
    let is_known = match (means, &opener.shown) {
        (IdentificationMeans::Token, Some(ShownSecret::TokenUntil(_))) => now.token.is_some(),
        (IdentificationMeans::ServiceAccount, Some(ShownSecret::TokenUntil(_))) => {
            now.service_account.is_some()
        }
        (IdentificationMeans::Key, Some(ShownSecret::Key(key))) => {
            callers.by_key_digest(key) == Claim::Of(identified)
        }
        _ => false,
    };
    if is_known {
        Ok(identified)
    } else {
        Err("its caller is not known any more by what opened it")
    }
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

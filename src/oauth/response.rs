//! What a token endpoint may answer (RFC 6749 sections 5.1 and 5.2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::auth::invalid_client_hint;
use super::{Requester, TokenError, TokenErrorKind, TokenResponse, grant};
use crate::config::{ClientAuth, Dpop, Grant, Secret};
use crate::dpop::{self, Nonce, ProofKey};
use crate::http_client::{self, digits};
use crate::redact::Redactor;

const NO_LIFETIME: &str = "an expires_in that is no number of seconds";
const EMPTY: &str = "without a body";
/// RFC 9449 section 5
const NOT_BOUND: &str = "a Bearer token where dpop = true asks for one that is bound to a key; the \
                         server may not know DPoP, or not for this client (dpop = \"optional\" \
                         takes either)";
const BOUND: &str =
    "a DPoP token, which nobody asked for and no request could use; set dpop = true";
/// Lives long and renews others: no API may see it (RFC 8693 section 3).
const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";
/// Longer lifetimes are as good as this one, and sums with it do not overflow.
const MAX_LIFETIME: Duration = Duration::from_secs(u32::MAX as u64);

/// One answer, read to its end.
pub struct EndpointResponse {
    /// The status of its head.
    pub status: StatusCode,
    /// The headers of its head.
    pub headers: HeaderMap,
    /// Its body as it was before any content coding, or why it was not read to its end.
    pub body: Result<Zeroizing<Vec<u8>>, &'static str>,
    /// What the next proof has to say.
    pub nonce: Option<Nonce>,
    /// The address that it came from.
    pub peer: Option<SocketAddr>,
}

/// What an answer is judged by.
pub struct RequestContext<'a> {
    /// The token endpoint, for messages.
    pub endpoint: String,
    /// How the client authenticated, for hints.
    pub auth: &'a ClientAuth,
    /// What it asked by, for hints.
    pub grant: &'a Grant,
    /// Bytes of the largest token.
    pub max_token: usize,
    /// What a token is when the answer does not say.
    pub default_token_type: Option<&'static str>,
    /// The two ways of Basic authentication send its id and secret differently.
    pub encodings_differ: bool,
    /// What the token is to be bound to, and whether it has to be.
    pub possession: Option<(&'a Dpop, Arc<ProofKey>)>,
    /// Who asked, as far as that is known.
    pub requester: Option<Requester>,
    /// Knows what was sent.
    pub redactor: Arc<Redactor>,
}

/// The members that count; one that occurs twice makes the answer invalid.
#[derive(Deserialize, Default)]
struct ResponseMembers {
    access_token: Option<Value>,
    token_type: Option<Value>,
    issued_token_type: Option<Value>,
    expires_in: Option<Value>,
    error: Option<Value>,
    error_description: Option<Value>,
}

impl ResponseMembers {
    /// Some servers send an empty `error` together with a good token.
    fn is_error(&self) -> bool {
        let none = |error: &Value| error.as_str().is_some_and(str::is_empty);
        self.error.as_ref().is_some_and(|error| !none(error))
    }
}

impl EndpointResponse {
    /// The token that it brings, or why it brings none; it arrived at `now`.
    ///
    /// # Errors
    ///
    /// A redirect, an OAuth error (RFC 6749 section 5.2), or anything else that is not a usable token.
    pub fn judge(
        self,
        context: RequestContext<'_>,
        now: SystemTime,
    ) -> Result<TokenResponse, TokenError> {
        let result = match self.parse() {
            _ if self.status.is_redirection() => Err(self.redirected(&context)),
            Ok(body) if self.status.is_success() && !body.is_error() => accept(body, &context)
                .inspect(|token| context.redactor.add_token(token.access_token.expose()))
                .map_err(|what| bad(&context, &format!("answered with {what}"))),
            Ok(body) if body.is_error() => Err(self.refused(body, context)),
            Ok(_) => Err(self.garbled("without an OAuth error", &context)),
            Err(what) => Err(self.garbled(what, &context)),
        };
        result.map_err(|e| TokenError {
            retry_after: self.retry_after(now),
            ..e
        })
    }

    /// Whether all that it wants is a nonce of its own in the proof (RFC 9449 section 8).
    pub(super) fn wants_nonce(&self) -> bool {
        let error = self.parse().ok().and_then(|body| body.error);
        self.status.is_client_error() && error.is_some_and(|error| error == dpop::USE_NONCE)
    }

    /// Whether it may have been refused for the date in an assertion or a proof: not if the server
    /// is only busy, when another request at once would make that worse.
    pub(super) fn may_refuse_date(&self) -> bool {
        self.status.is_client_error() && self.kind(None) == TokenErrorKind::BadResponse
    }

    /// See [`http_client::retry_after`].
    pub(super) fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        http_client::retry_after(&self.headers, now)
    }

    fn parse(&self) -> Result<ResponseMembers, &'static str> {
        let body = self.body.as_ref().map_err(|what| *what)?;
        match body.trim_ascii_start().first() {
            None => Err(EMPTY),
            Some(b'<') => Err("with HTML or XML instead of JSON"),
            // The library would take an array for an object whose members are in order.
            Some(b'{') => {
                // Names and texts in another encoding, of members that do not count, cost nobody a token.
                let text = Zeroizing::new(String::from_utf8_lossy(body).into_owned());
                serde_json::from_str(&text).map_err(
                    |_| "with a JSON object that is cut off, malformed or repeats a member",
                )
            }
            Some(_) => Err("with something other than a JSON object"),
        }
    }

    fn redirected(&self, context: &RequestContext<'_>) -> TokenError {
        let status = self.status.as_u16();
        let what = format!(
            "redirects ({status}), which token requests do not follow; configure the final URL"
        );
        bad(context, &what)
    }

    /// A JSON object that is not a token.
    fn refused(&self, body: ResponseMembers, context: RequestContext<'_>) -> TokenError {
        let code = match &body.error {
            Some(Value::String(code)) => code.as_str(),
            Some(_) if self.status.is_success() => "an error that is not text",
            _ => return self.garbled("without an OAuth error", &context),
        };
        if let Some(Value::String(token)) = &body.access_token {
            context.redactor.add(token);
        }
        let description = match &body.error_description {
            Some(Value::String(text)) if !text.is_empty() => {
                format!(" ({})", context.redactor.clean(text))
            }
            _ => String::new(),
        };
        let (status, shown) = (self.status.as_u16(), context.redactor.clean(code));
        let kind = match (code, &context.possession) {
            // Without proofs no nonce helps.
            (dpop::USE_NONCE, None) => TokenErrorKind::Refused,
            _ => self.kind(Some(code)),
        };
        let hint = match hint(code, &context) {
            Some(hint) if kind == TokenErrorKind::Refused => format!("; {hint}"),
            _ => String::new(),
        };
        let endpoint = &context.endpoint;
        let message = format!("{endpoint} answered {status} {shown}{description}{hint}");
        TokenError::new(kind, message)
    }

    /// An answer that does not follow OAuth at all.
    fn garbled(&self, what: &str, context: &RequestContext<'_>) -> TokenError {
        let status = self.status.as_u16();
        let unlike = what == EMPTY && context.encodings_differ;
        if matches!(status, 401 | 403) && unlike {
            // All that some servers say about a secret that they read differently.
            let hint = invalid_client_hint(context.auth);
            let message = format!("{} answered {status} {what}; {hint}", context.endpoint);
            return TokenError::new(TokenErrorKind::Refused, message);
        }
        let hint = match status {
            404 | 405 => "; is this the URL of the token endpoint?",
            401 | 403 => "; a gateway or firewall before the server may have answered",
            _ => "",
        };
        let message = format!("{} answered {status} {what}{hint}", context.endpoint);
        TokenError::new(self.kind(None), message)
    }

    /// What kind of failure this is; `error` is the OAuth error code, if there is one.
    pub(super) fn kind(&self, error: Option<&str>) -> TokenErrorKind {
        match (self.status.as_u16(), error) {
            (429, _) => TokenErrorKind::Throttled,
            (408 | 425 | 500..=599, _) => TokenErrorKind::ServerError,
            // The nonce that it wants came with the answer.
            (400..=499, Some("temporarily_unavailable" | "server_error" | dpop::USE_NONCE)) => {
                TokenErrorKind::ServerError
            }
            (400..=499, Some(_)) => TokenErrorKind::Refused,
            _ => TokenErrorKind::BadResponse,
        }
    }
}

fn accept(
    body: ResponseMembers,
    context: &RequestContext<'_>,
) -> Result<TokenResponse, &'static str> {
    let Some(Value::String(token)) = body.access_token else {
        return Err("no access_token");
    };
    let access_token = Secret::new(token);
    let token = access_token.expose();
    if token.is_empty() {
        return Err("an access_token that is empty");
    }
    if token.len() > context.max_token {
        return Err("an access_token that exceeds max_token_bytes");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("an access_token with characters that no header may hold");
    }
    if body
        .issued_token_type
        .is_some_and(|issued| issued == REFRESH_TOKEN)
    {
        return Err("a refresh token (issued_token_type) where an access token was asked for");
    }
    let token_type = token_type(body.token_type, context.default_token_type)?;
    let (token_type, proof_key) = match (token_type, context.possession.clone()) {
        ("Bearer", Some((Dpop { required: true, .. }, _))) => return Err(NOT_BOUND),
        ("Bearer", _) => ("Bearer", None),
        (bound, Some((_, key))) => (bound, Some(key)),
        (_, None) => return Err(BOUND),
    };
    Ok(TokenResponse {
        access_token,
        token_type,
        proof_key,
        requester: context.requester,
        expires_in: expires_in(body.expires_in)?,
    })
}

fn token_type(
    value: Option<Value>,
    default: Option<&'static str>,
) -> Result<&'static str, &'static str> {
    match value {
        // Apigee calls the same type `BearerToken`.
        Some(Value::String(name))
            if ["bearer", "bearertoken"].contains(&&*name.to_ascii_lowercase()) =>
        {
            Ok("Bearer")
        }
        Some(Value::String(name)) if name.eq_ignore_ascii_case(dpop::SCHEME) => Ok(dpop::SCHEME),
        // RFC 8693 section 2.2.1
        Some(Value::String(name)) if name.eq_ignore_ascii_case("N_A") => {
            Err("a token_type of N_A: no request can carry it; ask for another type")
        }
        Some(name) if name != "" => Err("a token_type that is neither Bearer nor DPoP"),
        // Some servers write "unknown" so.
        _ => default.ok_or(
            "no token_type; default_token_type = \"Bearer\" takes it for what it most likely is",
        ),
    }
}

fn expires_in(value: Option<Value>) -> Result<Option<Duration>, &'static str> {
    let text = match value {
        None => return Ok(None),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(_) => return Err(NO_LIFETIME),
    };
    // Some servers write "unknown" so.
    if text.is_empty() || text.parse() == Ok(0.0) && !text.starts_with('-') {
        return Ok(None);
    }
    let seconds = digits(&text).or_else(|| {
        let numeric = |b: u8| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+');
        let number = text.parse::<f64>().ok();
        // A cast rounds down and stops at the type's limits.
        number
            .filter(|_| text.bytes().all(numeric))
            .map(|n| n as u64)
    });
    match seconds {
        Some(seconds @ 1..) => Ok(Some(Duration::from_secs(seconds).min(MAX_LIFETIME))),
        _ => Err(NO_LIFETIME),
    }
}

fn bad(context: &RequestContext<'_>, what: &str) -> TokenError {
    let message = format!("{} {what}", context.endpoint);
    TokenError::new(TokenErrorKind::BadResponse, message)
}

fn hint(code: &str, context: &RequestContext<'_>) -> Option<&'static str> {
    if let Some(hint) = grant::hint(code, context.grant) {
        return Some(hint);
    }
    Some(match code {
        "invalid_client" => invalid_client_hint(context.auth),
        "invalid_dpop_proof" if context.possession.is_some() => {
            "the server's clock must agree with ours to five minutes, and it must know its own URL as \
             the one configured here"
        }
        "invalid_dpop_proof" | dpop::USE_NONCE => {
            "the server wants tokens bound to a key: set dpop = true"
        }
        "invalid_scope" => "check scopes: the server does not grant one of them to this client",
        "invalid_target" => "check resources and audience: the server does not know one of them",
        "invalid_request" => {
            "the server may need scopes, audience, resources or extra_parameters, or refuse one"
        }
        "access_denied" => "the server has to grant this client what scopes or audience ask for",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

//! One request to an upstream with its token, for `check --online --try`.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use url::Position;

use crate::config::{Credential, Upstream};
use crate::dpop::{DPOP, Nonce, ProofClaims, ProofKey};
use crate::http_client::Transport;
use crate::oauth::{Client, TokenEndpoint, TokenResponse, challenge};
use crate::path::{Path, check_query};
use crate::server_clock::ServerClock;

/// `--try UPSTREAM=/PATH`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The upstream: NAME in `[upstreams.NAME]`.
    pub upstream: String,
    /// What is asked for there, behind the path of its url.
    pub path: PathAndQuery,
}

impl FromStr for ProbeTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected UPSTREAM=/PATH, as in crm=/v2/me";
        let (upstream, path) = text.split_once('=').ok_or(EXPECTED)?;
        if upstream.is_empty() || !path.starts_with('/') {
            return Err(EXPECTED.to_owned());
        }
        // As the proxy takes it of a request: it would send no other.
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        let refused = |error| format!("{EXPECTED}; {error}");
        let path = Path::read(path).map_err(refused)?;
        query.map_or(Ok(()), check_query).map_err(refused)?;
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        let target = format!("{}{query}", path.written);
        Ok(Self {
            upstream: upstream.to_owned(),
            path: target.parse().map_err(|_| EXPECTED)?,
        })
    }
}

/// A token, the credential it came from and the client that asked for it.
pub(super) type ObtainedToken<'a> = (&'a Credential, &'a Client, &'a TokenResponse);

/// Sends `GET` of that path with the token; what came back. It is good below status 400, unless it is a
/// redirect. Takes as long as the upstream likes. Sends twice if the API wants a nonce of its own in the proof (RFC 9449
/// section 9), or another date.
pub(super) async fn get(
    upstream: &Upstream,
    path: &PathAndQuery,
    obtained: Option<ObtainedToken<'_>>,
    transport: &dyn Transport,
) -> Result<String, String> {
    let base = upstream.url.path().trim_end_matches('/');
    let target = format!("{base}{path}");
    let clock = ServerClock::default();
    let send = async |nonce: Option<&Nonce>| {
        let sent = SystemTime::now();
        let dated = clock.date(sent.duration_since(UNIX_EPOCH).unwrap_or_default());
        let request = request(upstream, &target, obtained, dated, nonce)?;
        let response = transport.carry(&upstream.url, request, &|| ()).await;
        let response = response.map_err(|error| error.to_string())?;
        let during = sent..=SystemTime::now();
        clock.measure(&response.headers, &during);
        Ok::<_, String>((response.status, response.headers, during))
    };
    let (mut status, mut headers, during) = send(None).await?;
    let proves = obtained.filter(|(.., token)| token.proof_key.is_some());
    if let Some((credential, ..)) = proves.filter(|_| status == StatusCode::UNAUTHORIZED) {
        let nonce = Nonce::take(&mut headers, credential.max_nonce_bytes);
        let wanted = nonce.is_some() && challenge::wants_nonce(&headers);
        let dated = clock.learn(&headers, &during) && challenge::refuses_proof(&headers);
        if wanted || dated {
            (status, headers, _) = send(nonce.as_ref()).await?;
        }
    }
    let clock = clock.difference();
    let clock = clock.map_or_else(String::new, |difference| format!("; {difference}"));
    match judge(upstream, &target, status, &headers, obtained) {
        Ok(said) => Ok(said + &clock),
        Err(said) => Err(said + &clock),
    }
}

fn request(
    upstream: &Upstream,
    target: &str,
    obtained: Option<ObtainedToken<'_>>,
    dated: u64,
    nonce: Option<&Nonce>,
) -> Result<Request<Bytes>, String> {
    let url = &upstream.url;
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    let host = upstream.host.as_deref().unwrap_or(authority);
    let mut request = Request::get(target)
        .header(header::HOST, host)
        .body(Bytes::new())
        .map_err(|error| format!("{target} cannot be asked for: {error}"))?;
    if let Some((.., token)) = obtained {
        let headers = request.headers_mut();
        headers.insert(upstream.header.clone(), injected(upstream, token)?);
        if let Some(key) = &token.proof_key {
            let path = target.split('?').next().unwrap_or_default();
            let address = [url.scheme(), host, path];
            headers.insert(DPOP, proof(key, token, address, dated, nonce));
        }
    }
    Ok(request)
}

fn injected(upstream: &Upstream, token: &TokenResponse) -> Result<HeaderValue, String> {
    let value = token.access_token.expose();
    let prefix = upstream.header_prefix.as_deref();
    let text = match prefix.unwrap_or(token.token_type) {
        "" => zeroize::Zeroizing::new(value.to_owned()),
        prefix => zeroize::Zeroizing::new(format!("{prefix} {value}")),
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "the token cannot stand in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn proof(
    key: &ProofKey,
    token: &TokenResponse,
    target: [&str; 3],
    issued_at: u64,
    nonce: Option<&Nonce>,
) -> HeaderValue {
    key.prove(ProofClaims {
        method: "GET",
        target,
        issued_at,
        token_hash: Some(&ProofKey::token_hash(token.access_token.expose())),
        nonce: nonce.map(Nonce::as_str),
    })
}

/// What an answer says of the token.
fn judge(
    upstream: &Upstream,
    target: &str,
    status: StatusCode,
    headers: &HeaderMap,
    obtained: Option<ObtainedToken<'_>>,
) -> Result<String, String> {
    let said = format!("GET {target} answers {}", status.as_u16());
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        return Err(format!("{said}{}", redirected(headers, obtained)));
    }
    if status.as_u16() < 400 {
        return Ok(said);
    }
    let Some((_, client, token)) = obtained else {
        return Err(said);
    };
    let prefix = upstream.header_prefix.as_deref();
    let schemes = [token.token_type, prefix.unwrap_or(token.token_type)];
    let reason = challenge::reason(headers, &schemes);
    let redactor = client.redactor();
    let words = [&reason.error, &reason.description]
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|text| redactor.clean(text))
        .collect::<Vec<_>>()
        .join(": ");
    let words = match words.as_str() {
        "" => String::new(),
        words => format!(" ({words})"),
    };
    let cause = match status {
        StatusCode::UNAUTHORIZED => {
            "; it rejects the token: check the credential's audience and scopes, the clocks, and \
             that url is the API that the token is for"
        }
        StatusCode::FORBIDDEN => "; the token is not enough: check the credential's scopes",
        _ => "",
    };
    Err(format!("{said}{words}{cause}"))
}

/// A redirect shows nothing of the token: an API that wants a browser to log in answers so too.
fn redirected(headers: &HeaderMap, obtained: Option<ObtainedToken<'_>>) -> String {
    let redactor = obtained.map_or_else(Arc::default, |(_, client, _)| client.redactor());
    let location = headers.get(header::LOCATION);
    let to = location.map_or_else(
        || "a redirect without Location".to_owned(),
        |to| {
            let to = String::from_utf8_lossy(to.as_bytes());
            // A query may hold what nobody should read.
            let to = to.split(['?', '#']).next().unwrap_or_default();
            format!("redirected to {}", redactor.clean(to))
        },
    );
    format!("; {to} (the API may want a browser's login); not shown to accept the token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_upstream_and_a_path() {
        let target: ProbeTarget = "crm=/v2/me?fields=a=b".parse().unwrap();
        assert_eq!(target.upstream, "crm");
        assert_eq!(target.path, "/v2/me?fields=a=b");
        let target: ProbeTarget = "crm=/v2/./me".parse().unwrap();
        assert_eq!(target.path, "/v2/me");
        for (refused, why) in [
            ("crm=/../x", "\"..\""),
            ("crm=/v2/%2e%2e/x", "\"..\""),
            ("crm=/x#y", "\"#\""),
            ("crm=/x?a#y", "\"#\""),
            ("crm=/x?a=%00", "\"%00\""),
        ] {
            let error = refused.parse::<ProbeTarget>().unwrap_err();
            assert!(error.contains(why), "{refused}: {error}");
        }
        for wrong in ["crm", "/v2/me", "=/v2/me", "crm=v2", "crm=", "crm=/a b"] {
            let error = wrong.parse::<ProbeTarget>().unwrap_err();
            assert!(error.contains("crm=/v2/me"), "{wrong}: {error}");
        }
    }
}

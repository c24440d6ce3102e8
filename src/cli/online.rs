//! Fetches tokens and connects to APIs as a running sidebearer would: for `check --online` and `init`.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::{Position, Url};

use super::confirmation::{ConfirmationKeys, decode};
use super::output::{CommandError, print_note};
use super::probe::{self, ProbeTarget};
use super::terminal::{self, waiting};
use crate::address::OwnSockets;
use crate::caller::token::{KeyEndpoint, KeySource, NetworkEndpoints, TokenCallers, key_endpoints};
use crate::config::{AuthorizationServer, Config, Credential, EVERY_CALLER, Upstream};
use crate::http_client::{NetworkSettings, NetworkTransport};
use crate::oauth::{self, TokenEndpoint, TokenResponse};
use crate::redact::{self, Redactor};
use crate::upstream::{ClientCertificate, Connected};

/// A token, and the client that it came to.
type Fetched = (oauth::Client, TokenResponse);

/// What cleans the text of the servers that see a credential, by its name.
type Redactors<'a> = BTreeMap<&'a str, Arc<Redactor>>;

/// Fetches each token, reads the keys of each issuer of callers, connects to each upstream and sends what is to be
/// tried; tells how each went.
pub(super) async fn try_out(config: &Config, tries: &[ProbeTarget]) -> Result<(), CommandError> {
    terminal::undo_at_signals()
        .map_err(|error| CommandError::Failed(format!("cannot watch for signals: {error}")))?;
    let mut failed = 0;
    let mut tokens = BTreeMap::new();
    let mut redactors = Redactors::new();
    let mut report = |what: &str, name: &str, outcome: Result<String, String>| match outcome {
        Ok(good) => print_note(format_args!("ok      {what} {name}: {good}")),
        Err(reason) => {
            failed += 1;
            print_note(format_args!("FAILED  {what} {name}: {reason}"));
        }
    };
    for (name, credential) in &config.credentials {
        let fetched = match client(config, credential) {
            Ok(client) => {
                redactors.insert(name, client.redactor());
                let what = format!(
                    "credential {name}: waiting for a token from {}",
                    asked(credential)
                );
                waiting(what, fetch(credential, client)).await
            }
            Err(error) => Err(error),
        };
        report("credential", name, judge(config, credential, &fetched));
        tokens.extend(
            fetched
                .ok()
                .map(|fetched| (name.as_str(), (credential, fetched))),
        );
    }
    let endpoints = NetworkEndpoints {
        proxy: config.egress.proxy.clone(),
        own_sockets: own_sockets(config),
    };
    for (name, keys) in key_endpoints(TokenCallers::of(config), &endpoints) {
        let what = format!("keys of {name}: waiting for the issuer");
        let read = waiting(what, read_keys(&name, &*keys)).await;
        report("keys of", &name, read);
    }
    for (name, upstream) in &config.upstreams {
        let what = format!("upstream {name}: connecting to {}", origin(&upstream.url));
        let connected = waiting(what, connect(config, upstream, &redactors)).await;
        report(
            "upstream",
            name,
            connected.map(|connected| describe(&connected)),
        );
    }
    for target in tries {
        let Some(upstream) = config.upstreams.get(&target.upstream) else {
            continue;
        };
        let what = format!(
            "try {}: waiting for an answer to GET {}",
            target.upstream,
            target.path.path()
        );
        let sent = send(config, upstream, target, &tokens, &redactors);
        report("try", &target.upstream, waiting(what, sent).await);
    }
    match failed {
        0 => Ok(()),
        _ => Err(CommandError::Failed(format!("{failed} failed, see above"))),
    }
}

/// Whom a credential asks, without what may be secret about it.
fn asked(credential: &Credential) -> String {
    match &credential.server {
        AuthorizationServer::TokenEndpoint(url) | AuthorizationServer::Issuer(_, url) => {
            origin(url)
        }
    }
}

fn origin(url: &Url) -> String {
    url[..Position::BeforePath].to_owned()
}

/// A client that keeps away from the sockets which a process with this configuration has.
pub(super) fn client(config: &Config, credential: &Credential) -> Result<oauth::Client, String> {
    let client = oauth::Client::with_own_sockets(own_sockets(config), credential);
    client.map_err(|error| error.to_string())
}

/// The sockets that a process with this configuration has.
fn own_sockets(config: &Config) -> Arc<OwnSockets> {
    let own = OwnSockets::default();
    own.set(config.tcp_sockets());
    own.into()
}

async fn fetch(credential: &Credential, client: oauth::Client) -> Result<Fetched, String> {
    let within = credential.fetch_timeout;
    let answer = tokio::time::timeout(within, client.request()).await;
    let answer = answer.map_err(|_| format!("no answer within {within:?}"))?;
    let clock = client.clock_difference();
    let clock = clock.map_or_else(String::new, |difference| format!("; {difference}"));
    let token = answer.map_err(|error| error.message + &clock)?;
    Ok((client, token))
}

/// What came, and whether it is bound to what the client holds.
fn judge(
    config: &Config,
    credential: &Credential,
    fetched: &Result<Fetched, String>,
) -> Result<String, String> {
    let (client, token) = fetched.as_ref().map_err(String::clone)?;
    let clock = client.clock_difference();
    let clock = clock.map_or_else(String::new, |difference| format!("; {difference}"));
    let lifetime = match token.expires_in {
        Some(lifetime) => format!("for {} s", lifetime.as_secs()),
        None => "without expires_in".to_owned(),
    };
    let method = credential.auth.name();
    let good = format!("a {} token {lifetime}, by {method}", token.token_type);
    let jwt = decode(token.access_token.expose());
    let keys = ConfirmationKeys::of(config, credential, client, token);
    match keys.confirm(jwt.as_ref().map(|jwt| &jwt.claims)) {
        None => Ok(good + &clock),
        Some(Ok(bound)) => Ok(format!("{good}, bound {bound}{clock}")),
        Some(Err(wrong)) => Err(format!("{good}, but bound {wrong}{clock}")),
    }
}

/// How many keys an issuer of tokens of callers publishes.
async fn read_keys(name: &str, keys: &dyn KeyEndpoint) -> Result<String, String> {
    let within = KeySource::READ_TIMEOUT;
    let found = tokio::time::timeout(within, keys.read()).await;
    let found = found.map_err(|_| format!("no answer within {within:?}"))?;
    let found = found.map_err(|error| error.message)?;
    let mut count = match found.keys.keys.len() {
        1 => "1 key".to_owned(),
        count => format!("{count} keys"),
    };
    if let Some((left_out, reason)) = found.keys.left_out {
        count += &format!(" and {left_out} left out, the first of which {reason}");
    }
    Ok(if found.issuer == name {
        count
    } else {
        // Kubernetes, whose issuer the configuration need not name.
        format!("{count}; the issuer is {}", redact::visible(&found.issuer))
    })
}

/// The way to the API of an upstream, of whose answers the head is enough.
fn transport(
    config: &Config,
    upstream: &Upstream,
    redactors: &Redactors<'_>,
) -> Result<NetworkTransport, String> {
    let names = upstream.credential_names();
    let known = names.iter().filter_map(|name| redactors.get(*name));
    let redactor = Redactor::of_all(known.cloned().collect());
    let mut bound = names.iter().filter(|_| upstream.certificate_bound);
    let credential = bound.next().and_then(|name| config.credentials.get(*name));
    let certificate = credential.map(|credential| ClientCertificate::read(&credential.tls));
    let certificate = certificate.transpose().map_err(|error| error.to_string())?;
    let settings = NetworkSettings {
        tls: upstream.tls.clone(),
        certificate: certificate.map(Arc::new),
        http: upstream.http,
        dialing: upstream.dialing.clone(),
        connect_timeout: upstream.connect_timeout,
        max_header_bytes: upstream.max_response_header_bytes,
        max_body_bytes: None,
        proxy: upstream.egress_proxy().cloned(),
        address_policy: None,
        own_sockets: own_sockets(config),
        redactor,
    };
    NetworkTransport::new(&upstream.url, settings).map_err(|error| error.to_string())
}

async fn connect(
    config: &Config,
    upstream: &Upstream,
    redactors: &Redactors<'_>,
) -> Result<Connected, String> {
    let connected = transport(config, upstream, redactors)?.connect().await;
    connected.map_err(|error| error.to_string())
}

fn describe(connected: &Connected) -> String {
    let version = if connected.http2 {
        "HTTP/2"
    } else {
        "HTTP/1.1"
    };
    format!("connected to {}, {version}", connected.peer)
}

async fn send(
    config: &Config,
    upstream: &Upstream,
    target: &ProbeTarget,
    tokens: &BTreeMap<&str, (&Credential, Fetched)>,
    redactors: &Redactors<'_>,
) -> Result<String, String> {
    // Of several credentials, one for each caller, the one that most callers have.
    let of_callers = || {
        let others = upstream.credentials.get(EVERY_CALLER);
        others.or_else(|| upstream.credentials.values().next())
    };
    let obtained = match upstream.credential.as_ref().or_else(of_callers) {
        Some(name) => match tokens.get(name.as_str()) {
            Some((credential, (client, token))) => Some((*credential, client, token)),
            None => return Err(format!("not sent: there is no token of credential {name}")),
        },
        None => None,
    };
    let transport = transport(config, upstream, redactors)?;
    let answer = probe::get(upstream, &target.path, obtained, &transport);
    let within = upstream.response_timeout;
    let answer = tokio::time::timeout(within, answer).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {within:?}")))
}

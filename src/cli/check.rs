//! `sidebearer check`: every problem of a configuration, or "ok".

use std::path::Path;

use super::confirmation::{Means, decode};
use super::{Failure, block_on, print, tell};
use crate::address::OwnSockets;
use crate::config::{self, Config, Credential, Loaded, Upstream};
use crate::oauth::{self, TokenEndpoint};
use crate::upstream::{Connector, Identity, Protocols};

/// Checks without touching the network. Warnings are told; they refuse nothing.
///
/// # Errors
/// Every problem at once, as [`Failure::Configuration`].
pub(super) fn offline(path: &Path) -> Result<Loaded, Failure> {
    let loaded = config::load(path)?;
    if !loaded.warnings.0.is_empty() {
        tell(&loaded.warnings);
    }
    Ok(loaded)
}

/// The whole command.
pub(super) fn run(path: &Path, online: bool) -> Result<(), Failure> {
    let loaded = offline(path)?;
    if online {
        block_on(go_online(&loaded.config))??;
    }
    print("ok")
}

/// Fetches each token and connects to each upstream; tells how each went.
async fn go_online(config: &Config) -> Result<(), Failure> {
    let mut failed = 0;
    let mut report = |what: &str, name: &str, outcome: Result<String, String>| match outcome {
        Ok(good) => tell(format_args!("ok      {what} {name}: {good}")),
        Err(reason) => {
            failed += 1;
            tell(format_args!("FAILED  {what} {name}: {reason}"));
        }
    };
    for (name, credential) in &config.credentials {
        report("credential", name, fetch(config, credential).await);
    }
    for (name, upstream) in &config.upstreams {
        report("upstream", name, connect(config, upstream).await);
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Failed(format!("{failed} failed, see above"))),
    }
}

/// A client that keeps away from the sockets which a process with this configuration has.
pub(super) fn client(config: &Config, credential: &Credential) -> Result<oauth::Client, String> {
    let own = OwnSockets::default();
    own.set(config.tcp_sockets());
    let client = oauth::Client::new(credential).map_err(|error| error.to_string())?;
    Ok(client.with_own_sockets(own.into()))
}

async fn fetch(config: &Config, credential: &Credential) -> Result<String, String> {
    let client = client(config, credential)?;
    let within = credential.fetch_timeout;
    let answer = tokio::time::timeout(within, client.request()).await;
    let answer = answer.map_err(|_| format!("no answer within {within:?}"))?;
    let token = answer.map_err(|error| error.message)?;
    let lifetime = match token.expires_in {
        Some(lifetime) => format!("for {} s", lifetime.as_secs()),
        None => "without expires_in".to_owned(),
    };
    let method = credential.auth.name();
    let good = format!("a {} token {lifetime}, by {method}", token.token_type);
    let jwt = decode(token.access_token.expose());
    let means = Means::of(config, credential, &client, &token);
    match means.confirm(jwt.as_ref().map(|jwt| &jwt.claims)) {
        None => Ok(good),
        Some(Ok(bound)) => Ok(format!("{good}, bound {bound}")),
        Some(Err(wrong)) => Err(format!("{good}, but bound {wrong}")),
    }
}

async fn connect(config: &Config, upstream: &Upstream) -> Result<String, String> {
    let credential = upstream.credential.as_ref().filter(|_| upstream.bound);
    let credential = credential.and_then(|name| config.credentials.get(name));
    let identity = credential.map(|credential| Identity::read(&credential.tls));
    let identity = identity.transpose().map_err(|error| error.to_string())?;
    let (url, tls) = (&upstream.url, &upstream.tls);
    let connector = Connector::presenting(identity.as_ref(), url, tls, upstream.http);
    let connector = connector.map_err(|error| error.to_string())?;
    let connected = connector
        .dialing(upstream.dialing.clone())
        .connect(Protocols::Any, upstream.connect_timeout)
        .await;
    let connected = connected.map_err(|error| error.to_string())?;
    let version = if connected.http2 {
        "HTTP/2"
    } else {
        "HTTP/1.1"
    };
    Ok(format!("{} answers, {version}", connected.peer))
}

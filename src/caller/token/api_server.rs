//! The API server of Kubernetes: its keys, and its reviews of tokens.

use std::net::Ipv6Addr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};
use url::{Host, Position, Url};
use zeroize::Zeroizing;

use super::keys::{FoundKeys, KeyEndpoint, KeyFetchError, json, key_set};
use super::origin::{OriginClient, ServerAnswer, ServerReach};
use super::reviews::{Review, ReviewEndpoint};
use crate::blocking;
use crate::config::{Kubernetes, ProxyChoice, Secret, SecretSource, Tls};
use crate::http_client::{BoxFuture, max_age};
use crate::oauth::{TokenErrorKind, discovery};
use crate::redact::Redactor;

const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Where every API server has its keys; what its metadata name may be out of reach, and the token of the pod goes
/// nowhere else.
const KEYS: &str = "/openid/v1/jwks";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// The API server, asked with the token of our own pod. The token is read again for each request: it is replaced
/// long before it ends.
pub(super) struct ApiServer {
    config: Kubernetes,
    /// Or why it is not known where it is.
    origin: Result<OriginClient, KeyFetchError>,
    redactor: Arc<Redactor>,
}

impl ApiServer {
    /// `variable` reads the environment of the process.
    pub(super) fn new(
        config: &Kubernetes,
        reach: ServerReach,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let redactor = Arc::<Redactor>::default();
        // The environment names an address of the cluster itself, where no proxy leads.
        let (url, proxy) = match &config.api_server {
            Some(url) => (check_url(url.clone()), reach.proxy),
            None => (url_of_pod(variable), ProxyChoice::Direct),
        };
        let reach = ServerReach {
            tls: Tls {
                ca_file: Some(config.ca_file.clone()),
                ..Tls::default()
            },
            proxy,
            ..reach
        };
        Self {
            config: config.clone(),
            origin: url.map(|url| OriginClient::new(url, reach, None, Arc::clone(&redactor))),
            redactor,
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<ServerAnswer, KeyFetchError> {
        let origin = self.origin.as_ref().map_err(Clone::clone)?;
        let mut url = origin.url.clone();
        url.set_path(path);
        let mut headers = json();
        headers.insert(AUTHORIZATION, self.authorization().await?);
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        origin.ask(method, &url, headers, body).await
    }

    async fn authorization(&self) -> Result<HeaderValue, KeyFetchError> {
        let local = |what: String| KeyFetchError::new(TokenErrorKind::Local, what);
        let file = SecretSource::File(self.config.token_file.clone());
        let read = blocking::run(move || file.read()).await;
        let token = read
            .map_err(|error| local(format!("files cannot be read: {error}")))?
            .map_err(|error| local(error.to_string()))?;
        self.redactor.begin([token.expose()]);
        let text = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            let path = self.config.token_file.path().display();
            local(format!("{path} holds no token"))
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn find_keys(&self) -> Result<FoundKeys, KeyFetchError> {
        let bad = |what: String| KeyFetchError::new(TokenErrorKind::BadResponse, what);
        let answer = self.ask(Method::GET, DISCOVERY, Bytes::new()).await?;
        let issuer = discovery::issuer(&answer.body)
            .ok_or_else(|| bad("the API server names no issuer of its tokens".to_owned()))?;
        if let Some(expected) = self
            .config
            .issuer
            .as_ref()
            .filter(|known| **known != issuer)
        {
            let issuer = self.redactor.clean(&issuer);
            return Err(bad(format!(
                "the API server says that its issuer is {issuer}, the configured one is {expected}"
            )));
        }
        let answer = self.ask(Method::GET, KEYS, Bytes::new()).await?;
        Ok(FoundKeys {
            issuer,
            keys: key_set(&answer.body, &format!("{KEYS} of the API server"))?,
            max_age: max_age(&answer.headers),
        })
    }

    /// TokenReview (authentication.k8s.io/v1)
    async fn ask_for_review(&self, token: &Secret) -> Result<Review, KeyFetchError> {
        let request = ReviewRequest {
            api_version: "authentication.k8s.io/v1",
            kind: "TokenReview",
            spec: ReviewSpec {
                token: token.expose(),
                audiences: [&self.config.audience],
            },
        };
        // As large as it gets: growing would leave copies of the token behind.
        let capacity = 2 * token.expose().len() + 6 * self.config.audience.len() + 256;
        let mut body = Zeroizing::new(Vec::with_capacity(capacity));
        serde_json::to_writer(&mut *body, &request).map_err(|_| {
            let what = "a TokenReview could not be written: a defect of sidebearer";
            KeyFetchError::new(TokenErrorKind::Local, what)
        })?;
        let body = Bytes::from_owner(body);
        let answer = self.ask(Method::POST, REVIEWS, body).await?;
        let answer: ReviewAnswer = serde_json::from_slice(&answer.body).map_err(|_| {
            let what = "the API server answered a TokenReview with something else";
            KeyFetchError::new(TokenErrorKind::BadResponse, what)
        })?;
        let status = answer.status;
        Ok(Review {
            is_authenticated: status.authenticated,
            audiences: status.audiences,
            username: status.user.username,
        })
    }
}

#[derive(Serialize)]
struct ReviewRequest<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    spec: ReviewSpec<'a>,
}

#[derive(Serialize)]
struct ReviewSpec<'a> {
    token: &'a str,
    audiences: [&'a str; 1],
}

#[derive(Deserialize)]
struct ReviewAnswer {
    status: ReviewedStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ReviewedStatus {
    authenticated: bool,
    audiences: Vec<String>,
    user: ReviewedUser,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ReviewedUser {
    username: String,
}

impl KeyEndpoint for ApiServer {
    fn read(&self) -> BoxFuture<'_, Result<FoundKeys, KeyFetchError>> {
        Box::pin(self.find_keys())
    }
}

impl ReviewEndpoint for ApiServer {
    fn review<'a>(&'a self, token: &'a Secret) -> BoxFuture<'a, Result<Review, KeyFetchError>> {
        Box::pin(self.ask_for_review(token))
    }
}

/// What the environment of every pod says.
fn url_of_pod(variable: impl Fn(&str) -> Option<String>) -> Result<Url, KeyFetchError> {
    let local = |what: &str| KeyFetchError::new(TokenErrorKind::Local, what);
    let read = |name| variable(name).filter(|value| !value.is_empty());
    let host = read("KUBERNETES_SERVICE_HOST").ok_or_else(|| {
        local("KUBERNETES_SERVICE_HOST is not set, as it is in a pod; [kubernetes] api_server names another API server")
    })?;
    let port = read("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
    let host = match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host,
    };
    let url = Url::parse(&format!("https://{host}:{port}/")).ok();
    let is_bare = |url: &Url| url[Position::AfterPort..] == *"/" && url.username().is_empty();
    url.filter(is_bare).ok_or_else(|| {
        local("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT make no URL of an API server")
    })
}

/// The token of the pod goes nowhere in clear but to this machine.
fn check_url(url: Url) -> Result<Url, KeyFetchError> {
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || is_local {
        return Ok(url);
    }
    let what = "[kubernetes] api_server is not https: the token of the pod is not sent in clear";
    Err(KeyFetchError::new(TokenErrorKind::Local, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str, port: &str) -> Result<String, String> {
        let found = url_of_pod(|name| match name {
            "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some(port.to_owned()),
            other => panic!("{other}"),
        });
        found.map(String::from).map_err(|error| error.message)
    }

    #[test]
    fn the_environment_of_a_pod_names_the_api_server() {
        assert_eq!(url("10.0.0.1", "443").unwrap(), "https://10.0.0.1/");
        assert_eq!(url("10.0.0.1", "6443").unwrap(), "https://10.0.0.1:6443/");
        assert_eq!(url("fd00::1", "6443").unwrap(), "https://[fd00::1]:6443/");
        assert_eq!(url("api.example", "").unwrap(), "https://api.example/");
        assert!(
            url("", "443")
                .unwrap_err()
                .contains("KUBERNETES_SERVICE_HOST")
        );
        for bad in ["a b", "a/b", "u@a", "a?b", "a#b:"] {
            url(bad, "443").unwrap_err();
        }
        url("10.0.0.1", "https").unwrap_err();
    }

    #[test]
    fn the_token_of_the_pod_is_not_sent_in_clear() {
        for good in [
            "https://a.example",
            "http://127.0.0.1:8001",
            "http://[::1]/",
            "http://localhost/",
        ] {
            check_url(good.parse().unwrap()).unwrap();
        }
        for bad in [
            "http://a.example",
            "http://10.0.0.1/",
            "http://localhost.a.example/",
        ] {
            check_url(bad.parse().unwrap()).unwrap_err();
        }
    }
}

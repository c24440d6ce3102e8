//! What is asked about tokens: issuers, files and the API server.

use std::sync::Arc;

use url::Url;

use super::api_server::ApiServer;
use super::keys::{IssuerEndpoint, JwksFile, KeyEndpoint, KeyFetchError, Unusable};
use super::origin::ServerReach;
use super::reviews::ReviewEndpoint;
use crate::address::OwnSockets;
use crate::config::{IssuerKeys, Kubernetes, ProxyChoice, Tls};
use crate::oauth::TokenErrorKind;

/// Makes what keys and reviews are asked for; a trait, so that tests need no network.
pub trait TokenEndpoints: Send + Sync {
    /// Where the keys of an issuer are.
    fn issuer_keys(&self, issuer: &str, keys: &IssuerKeys) -> Arc<dyn KeyEndpoint>;

    /// Where the keys of service accounts are.
    fn account_keys(&self, kubernetes: &Kubernetes) -> Arc<dyn KeyEndpoint>;

    /// What reviews the tokens of service accounts.
    fn reviews(&self, kubernetes: &Kubernetes) -> Arc<dyn ReviewEndpoint>;
}

/// The network, and files.
#[derive(Debug, Clone)]
pub struct NetworkEndpoints {
    /// Through which proxy issuers are reached.
    pub proxy: ProxyChoice,
    /// Where no document of an issuer may lead.
    pub own_sockets: Arc<OwnSockets>,
}

impl NetworkEndpoints {
    fn api_server(&self, kubernetes: &Kubernetes) -> Arc<ApiServer> {
        let variable = |name: &str| std::env::var(name).ok();
        let server = ApiServer::new(kubernetes, self.reach(Tls::default()), variable);
        Arc::new(server)
    }

    fn reach(&self, tls: Tls) -> ServerReach {
        ServerReach {
            tls,
            proxy: self.proxy.clone(),
            own_sockets: Arc::clone(&self.own_sockets),
        }
    }
}

impl TokenEndpoints for NetworkEndpoints {
    fn issuer_keys(&self, issuer: &str, keys: &IssuerKeys) -> Arc<dyn KeyEndpoint> {
        let tls = match keys {
            IssuerKeys::File(file) => return Arc::new(JwksFile::new(issuer, file.clone())),
            IssuerKeys::Discovery(tls) => tls,
        };
        match Url::parse(issuer) {
            Ok(url) => Arc::new(IssuerEndpoint::new(
                issuer,
                url,
                self.reach((**tls).clone()),
            )),
            // The configuration takes no such issuer.
            Err(_) => Arc::new(Unusable(KeyFetchError::new(
                TokenErrorKind::Local,
                "the issuer is no URL, so that its keys cannot be found",
            ))),
        }
    }

    fn account_keys(&self, kubernetes: &Kubernetes) -> Arc<dyn KeyEndpoint> {
        self.api_server(kubernetes)
    }

    fn reviews(&self, kubernetes: &Kubernetes) -> Arc<dyn ReviewEndpoint> {
        self.api_server(kubernetes)
    }
}

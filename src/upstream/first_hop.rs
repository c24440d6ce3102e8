//! The host that a connection is made to first: DNS and TCP.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::time::Instant;
use url::Host;

use super::address_check::AddressCheck;
use super::addresses::KnownAddresses;
use super::dial::dial;
use super::dns::Resolver;
use super::error::{ConnectError, Stage};
use super::socket::CountingSocket;
use crate::address::OwnSockets;
use crate::config::Dialing;
use crate::process::is_shortage;
use crate::redact::Redactor;
use crate::tls::reason;

/// The host that a connection to a server is made to first: the server itself, or the proxy on the way to it.
pub(super) struct FirstHop {
    resolver: Resolver,
    /// Host and port of the server, if a proxy is on the way to it.
    behind_proxy: Option<(Host, u16)>,
    pub(super) dialing: Dialing,
    /// Judges the addresses of the server.
    pub(super) address_check: Option<Arc<dyn AddressCheck>>,
    pub(super) own_sockets: Arc<OwnSockets>,
    pub(super) redactor: Arc<Redactor>,
    /// Those that the resolver finds.
    pub(super) addresses: KnownAddresses,
}

impl FirstHop {
    /// The server at this host and port.
    pub(super) fn new(host: Host, port: u16) -> Self {
        Self {
            resolver: Resolver::new(host, port),
            behind_proxy: None,
            dialing: Dialing::default(),
            address_check: None,
            own_sockets: Arc::default(),
            redactor: Arc::default(),
            addresses: KnownAddresses::default(),
        }
    }

    /// The proxy that this resolver finds, and the host and port of the server behind it.
    pub(super) fn through(self, proxy: Resolver) -> (Self, (Host, u16)) {
        let server = (self.resolver.host().clone(), self.resolver.port());
        let hop = Self {
            resolver: proxy,
            behind_proxy: Some(server.clone()),
            ..self
        };
        (hop, server)
    }

    /// Resolves its host to these addresses, one answer after the other.
    #[cfg(test)]
    pub(super) fn with_answers(self, answers: Vec<Vec<SocketAddr>>) -> Self {
        Self {
            resolver: self.resolver.with_answers(answers),
            ..self
        }
    }

    /// Whether its host has a name, whose addresses a resolver knows.
    pub(super) fn is_named(&self) -> bool {
        self.resolver.is_named()
    }

    /// Asks the resolver for the addresses, and records them.
    pub(super) async fn look_up(&self) {
        let Some(permit) = self.resolver.try_permit() else {
            return; // Earlier lookups have not been answered yet.
        };
        // A failed lookup shows nothing about the server.
        if let Ok(answer) = self.resolver.resolve(permit).await {
            self.addresses.record_lookup(&answer, Instant::now());
        }
    }

    /// DNS and TCP.
    ///
    /// # Errors
    /// Which step failed and why, or that no address may be connected to.
    pub(super) async fn dial(
        &self,
        stage: &mut Stage,
    ) -> Result<(CountingSocket, SocketAddr), ConnectError> {
        let permit = self.resolver.acquire_permit().await;
        *stage = Stage::Resolve;
        let resolved = self.resolver.resolve(permit).await;
        let addresses = resolved.map_err(|e| self.unresolved(reason(&e)))?;
        self.addresses.record_lookup(&addresses, Instant::now());

        let addresses = self.allowed(addresses)?;

        *stage = Stage::Connect;
        let connected = dial(addresses, &self.dialing)
            .await
            .and_then(|(socket, failed)| {
                let peer = socket.peer_addr()?;
                self.addresses
                    .record_connection(peer.ip(), &failed, Instant::now());
                Ok((socket, peer))
            });
        connected.map_err(|e| {
            let (authority, reason) = (self.dialled_authority(), reason(&e));
            if is_shortage(&e) {
                ConnectError::Shortage { authority, reason }
            } else {
                ConnectError::Connect { authority, reason }
            }
        })
    }

    /// The error when the host has no address.
    fn unresolved(&self, reason: String) -> ConnectError {
        let authority = self.dialled_authority();
        let check = self.address_check.as_ref();
        // What resolves or not is the proxy then.
        let check = check.filter(|_| self.behind_proxy.is_none());
        match check.and_then(|check| check.rule_for_none()) {
            Some(rule) => ConnectError::Forbidden {
                authority,
                reason: format!("it cannot be resolved: {reason}"),
                rule,
            },
            None => ConnectError::Resolve { authority, reason },
        }
    }

    /// Those of the addresses that may be connected to.
    fn allowed(&self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ConnectError> {
        let mut refused = None;
        addresses.retain(|address| {
            let judged = self.judge(*address);
            judged.map_err(|why| refused.get_or_insert(why)).is_ok()
        });
        match refused {
            Some(refused) if addresses.is_empty() => Err(refused),
            _ => Ok(addresses),
        }
    }

    fn judge(&self, address: SocketAddr) -> Result<(), ConnectError> {
        if self.own_sockets.contain(address) {
            return Err(ConnectError::OwnSocket {
                authority: self.authority(),
                address,
            });
        }
        // The address of a proxy is the operator's word.
        if self.behind_proxy.is_some() {
            return Ok(());
        }
        self.check(address)
    }

    fn check(&self, address: SocketAddr) -> Result<(), ConnectError> {
        let Some(check) = &self.address_check else {
            return Ok(());
        };
        check
            .judge(address)
            .map_err(|forbidden| ConnectError::Forbidden {
                authority: self.authority(),
                reason: format!("{} {}", address.ip(), forbidden.reason),
                rule: forbidden.rule,
            })
    }

    /// As [`dial`](Self::dial) judges it, as far as that shows without a resolver: an address that the host is written as.
    ///
    /// # Errors
    /// It may not be connected to.
    pub(super) fn check_written(&self) -> Result<(), ConnectError> {
        let ip = match self.resolver.host() {
            Host::Ipv4(ip) => IpAddr::V4(*ip),
            Host::Ipv6(ip) => IpAddr::V6(*ip),
            Host::Domain(_) => return Ok(()),
        };
        self.judge(SocketAddr::new(ip, self.resolver.port()))
    }

    /// Where addresses are checked: whether the server behind a proxy may be at the one that its URL names.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn check_server(&self) -> Result<(), ConnectError> {
        let (ip, port) = match &self.behind_proxy {
            Some((Host::Ipv4(ip), port)) => (IpAddr::V4(*ip), *port),
            Some((Host::Ipv6(ip), port)) => (IpAddr::V6(*ip), *port),
            Some((Host::Domain(_), _)) | None => return Ok(()),
        };
        self.check(SocketAddr::new(ip, port))
    }

    /// Host and port that the resolver looks for.
    fn dialled_authority(&self) -> String {
        match self.behind_proxy {
            Some(_) => format!("{}:{}", self.resolver.host(), self.resolver.port()),
            None => self.authority(),
        }
    }

    /// Host and port of the server.
    pub(super) fn authority(&self) -> String {
        let authority = match &self.behind_proxy {
            Some((host, port)) => format!("{host}:{port}"),
            None => format!("{}:{}", self.resolver.host(), self.resolver.port()),
        };
        // Only where a server gave the name of this one are addresses checked.
        match self.address_check {
            Some(_) => self.redactor.clean(&authority),
            None => authority,
        }
    }
}

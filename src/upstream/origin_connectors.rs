//! How connections to origins are made that nobody configured.

use std::fmt;
use std::sync::Arc;

use http::uri::Scheme;
use url::Host;

use super::address_check::AddressCheck;
use super::client_tls::ClientTls;
use super::connect::Connector;
use super::error::TlsError;
use super::pool::Origin;
use super::proxy_hop::ReadyProxy;
use crate::address::OwnSockets;
use crate::config::{HttpVersion, Tls};

/// Makes connectors for origins that nobody configured, all with the same settings: the CA certificates of the system. They are read once, so that nothing is read while a request
/// waits.
pub struct OriginConnectors {
    tls: Result<ClientTls, TlsError>,
    own_sockets: Arc<OwnSockets>,
}

impl OriginConnectors {
    /// Reads the CA certificates of the system. Without any, connectors for https cannot be made.
    pub fn new(own_sockets: Arc<OwnSockets>) -> Self {
        let any = Host::Domain("origin.invalid".to_owned());
        Self {
            tls: ClientTls::new(&any, None, &Tls::default(), HttpVersion::Auto),
            own_sockets,
        }
    }

    /// A connector for this origin, which speaks `http`, and connects to what `check` allows or goes through `proxy`.
    ///
    /// # Errors
    /// There are no CA certificates, or no certificate can carry the name.
    pub fn connector(
        &self,
        origin: &Origin,
        http: HttpVersion,
        check: Arc<dyn AddressCheck>,
        proxy: Option<Arc<ReadyProxy>>,
    ) -> Result<Connector, TlsError> {
        let Origin { scheme, host, port } = origin;
        let tls = if *scheme == Scheme::HTTPS {
            let tls = self.tls.as_ref().map_err(Clone::clone)?;
            Some(tls.for_host(host)?)
        } else {
            None
        };
        let connector = Connector::with_tls(host.clone(), *port, tls, http);
        let connector = connector
            .with_own_sockets(Arc::clone(&self.own_sockets))
            .with_address_check(check);
        Ok(match proxy {
            Some(proxy) => connector.behind(proxy),
            None => connector,
        })
    }
}

impl fmt::Debug for OriginConnectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = self.tls.as_ref().map(|_| "TLS");
        write!(f, "OriginConnectors({tls:?})")
    }
}

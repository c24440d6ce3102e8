//! Connections to the protected APIs and to authorization servers.

mod address_check;
mod addresses;
mod client_tls;
mod connect;
mod dial;
mod dns;
mod endpoint;
mod error;
mod first_hop;
mod handshake;
mod history;
mod http2_io;
#[cfg(test)]
pub mod in_memory;
mod io;
mod keep_alive;
mod origin_connectors;
mod outgoing_body;
mod permits;
mod pool;
mod proxy_hop;
mod socket;
mod system_roots;
mod tls;

pub use address_check::{AddressCheck, ForbiddenAddress};
pub use client_tls::Protocols;
pub use connect::{Connected, Connector};
pub use endpoint::{Endpoint, TunnelLease};
pub use error::{ConnectError, Stage, TlsError};
pub use history::{ConnectionHistory, SpokenHttp};
pub use http2_io::TransportStatus;
pub use io::UpstreamIo;
pub use origin_connectors::OriginConnectors;
pub use outgoing_body::OutgoingBody;
pub use permits::{ConnectionPermit, ConnectionPermits};
pub use pool::{
    Checkout, Http1Connection, Http2Stream, Lease, Origin, OriginPoolError, OriginPools, Pool,
};
pub use proxy_hop::ReadyProxy;
pub use socket::CountingSocket;
pub use system_roots::certificates as system_certificates;
pub use tls::{ClientCertificate, fingerprint};

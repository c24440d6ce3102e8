//! Tunnels through corporate proxies.

mod http_connect;
mod refusal;
mod socks5;
mod tunnel;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{ProxyAuthorization, ProxyScheme};

pub use refusal::{ProxyRefusal, is_refused};
pub use tunnel::{TunnelError, TunnelTarget};

/// Asks the proxy at the other end of `io` for a tunnel. Behind it `io` is that tunnel: no byte of it has been
/// read. Dropping the future leaves `io` of no use.
///
/// # Errors
/// The proxy refuses, or the connection to it broke.
pub async fn open_tunnel<I: AsyncRead + AsyncWrite + Unpin>(
    io: &mut I,
    scheme: ProxyScheme,
    target: TunnelTarget<'_>,
    authorization: Option<&ProxyAuthorization>,
) -> Result<(), TunnelError> {
    match scheme {
        ProxyScheme::Http | ProxyScheme::Https => {
            http_connect::open(io, target, authorization).await
        }
        ProxyScheme::Socks5h => socks5::open(io, target, authorization).await,
    }
}

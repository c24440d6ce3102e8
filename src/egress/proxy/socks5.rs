//! Tunnels through a SOCKS 5 proxy (RFC 1928), which resolves the names.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::Host;
use zeroize::Zeroizing;

use super::refusal::ProxyRefusal;
use super::tunnel::{TunnelError, TunnelTarget};
use crate::config::ProxyAuthorization;

const VERSION: u8 = 5;
const NO_AUTHORIZATION: u8 = 0;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xFF;
/// Of the negotiation by user and password (RFC 1929).
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

pub(super) async fn open<I: AsyncRead + AsyncWrite + Unpin>(
    io: &mut I,
    target: TunnelTarget<'_>,
    authorization: Option<&ProxyAuthorization>,
) -> Result<(), TunnelError> {
    let password = match authorization {
        Some(ProxyAuthorization::Password { user, password }) => Some((user, password)),
        _ => None,
    };
    let greeting: &[u8] = match password {
        Some(_) => &[VERSION, 2, NO_AUTHORIZATION, PASSWORD],
        None => &[VERSION, 1, NO_AUTHORIZATION],
    };
    send(io, greeting).await?;
    match (receive(io).await?, password) {
        ([VERSION, NO_AUTHORIZATION], _) => {}
        ([VERSION, PASSWORD], Some((user, password))) => {
            send(io, &credentials(user.expose(), password.expose())).await?;
            match receive(io).await? {
                [PASSWORD_VERSION, 0] => {}
                [PASSWORD_VERSION, _] => return Err(ProxyRefusal::SocksPassword.into()),
                _ => return Err(ProxyRefusal::NotSocks.into()),
            }
        }
        ([VERSION, PASSWORD | NO_METHOD], _) => return Err(ProxyRefusal::SocksMethod.into()),
        _ => return Err(ProxyRefusal::NotSocks.into()),
    }
    send(io, &request(target)?).await?;
    let [VERSION, code, 0, kind] = receive(io).await? else {
        return Err(ProxyRefusal::NotSocks.into());
    };
    if code != 0 {
        return Err(ProxyRefusal::Socks(code).into());
    }
    // The address that the proxy connects from follows, with a port. It means nothing to us.
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(receive::<I, 1>(io).await?[0]),
        _ => return Err(ProxyRefusal::NotSocks.into()),
    };
    let mut address = [0; 255 + 2];
    io.read_exact(&mut address[..length + 2])
        .await
        .map_err(ended)?;
    Ok(())
}

/// The message with user and password (RFC 1929 section 2). Both are 1 to 255 bytes long: it was checked when the
/// authorization was made.
fn credentials(user: &str, password: &str) -> Zeroizing<Vec<u8>> {
    let mut message = Zeroizing::new(Vec::with_capacity(3 + user.len() + password.len()));
    message.push(PASSWORD_VERSION);
    for part in [user, password] {
        message.push(part.len() as u8);
        message.extend_from_slice(part.as_bytes());
    }
    message
}

/// The message that asks for the connection (RFC 1928 section 4).
fn request(target: TunnelTarget<'_>) -> io::Result<Vec<u8>> {
    let mut message = vec![VERSION, CONNECT, 0];
    match target.host {
        Host::Ipv4(ip) => {
            message.push(IPV4);
            message.extend_from_slice(&ip.octets());
        }
        Host::Ipv6(ip) => {
            message.push(IPV6);
            message.extend_from_slice(&ip.octets());
        }
        Host::Domain(name) => {
            let length = u8::try_from(name.len())
                .map_err(|_| io::Error::other("SOCKS carries no name of more than 255 bytes"))?;
            message.extend_from_slice(&[NAME, length]);
            message.extend_from_slice(name.as_bytes());
        }
    }
    message.extend_from_slice(&target.port.to_be_bytes());
    Ok(message)
}

async fn send<I: AsyncWrite + Unpin>(io: &mut I, message: &[u8]) -> Result<(), TunnelError> {
    io.write_all(message).await?;
    Ok(io.flush().await?)
}

/// Reads exactly `N` bytes: what comes behind the last reply belongs to the tunnel.
async fn receive<I: AsyncRead + Unpin, const N: usize>(io: &mut I) -> Result<[u8; N], TunnelError> {
    let mut message = [0; N];
    io.read_exact(&mut message).await.map_err(ended)?;
    Ok(message)
}

fn ended(error: io::Error) -> TunnelError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ProxyRefusal::Closed.into(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::config::Secret;

    /// What comes of a proxy that sends these bytes, what it was sent, and what is left for the tunnel.
    async fn through(
        answers: &[u8],
        host: &str,
        password: bool,
    ) -> (Result<(), TunnelError>, Vec<u8>, Vec<u8>) {
        let (mut near, mut far) = duplex(1024);
        far.write_all(answers).await.unwrap();
        let authorization = password.then(|| ProxyAuthorization::Password {
            user: Secret::new("me"),
            password: Secret::new("pw"),
        });
        let host = Host::parse(host).unwrap();
        let target = TunnelTarget {
            host: &host,
            port: 443,
        };
        far.shutdown().await.unwrap();
        let opened = open(&mut near, target, authorization.as_ref()).await;
        let mut left = Vec::new();
        near.read_to_end(&mut left).await.unwrap();
        drop(near);
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        (opened, sent, left)
    }

    #[tokio::test]
    async fn the_proxy_gets_the_name_and_what_comes_behind_its_reply_is_the_tunnel() {
        let bound: [&[u8]; 3] = [
            b"\x01\x7f\0\0\x01\x01\x02",
            b"\x04aaaabbbbccccdddd\x01\x02",
            b"\x03\x03abc\x01\x02",
        ];
        for address in bound {
            let answers = [b"\x05\0\x05\0\0", address, b"behind"].concat();
            let (opened, sent, left) = through(&answers, "api.corp", false).await;
            opened.unwrap();
            assert_eq!(sent, b"\x05\x01\0\x05\x01\0\x03\x08api.corp\x01\xbb");
            assert_eq!(left, b"behind");
        }
        let (opened, sent, _) = through(b"\x05\0\x05\0\0\x01aaaapp", "10.0.0.1", false).await;
        opened.unwrap();
        assert!(sent.ends_with(b"\x05\x01\0\x01\x0a\0\0\x01\x01\xbb"));
        let (opened, sent, _) = through(b"\x05\0\x05\0\0\x01aaaapp", "[::1]", false).await;
        opened.unwrap();
        assert!(sent.ends_with(b"\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb"));
    }

    #[tokio::test]
    async fn user_and_password_are_shown_to_a_proxy_that_asks_for_them() {
        let (opened, sent, _) = through(b"\x05\x02\x01\0\x05\0\0\x01aaaapp", "a", true).await;
        opened.unwrap();
        assert!(sent.starts_with(b"\x05\x02\0\x02\x01\x02me\x02pw\x05\x01"));
        let (opened, sent, _) = through(b"\x05\0\x05\0\0\x01aaaapp", "a", true).await;
        opened.unwrap();
        assert!(!sent.windows(2).any(|bytes| bytes == b"pw"));
    }

    #[tokio::test]
    async fn every_other_answer_is_a_refusal() {
        for (answers, password, expected) in [
            (&b"\x05\x02\x01\x01"[..], true, ProxyRefusal::SocksPassword),
            (b"\x05\x02", false, ProxyRefusal::SocksMethod),
            (b"\x05\xff", true, ProxyRefusal::SocksMethod),
            (b"\x05\x01", true, ProxyRefusal::NotSocks),
            (b"\x04\x00", false, ProxyRefusal::NotSocks),
            (b"HTTP/1.1 400", false, ProxyRefusal::NotSocks),
            (b"\x05\x02\x05\0", true, ProxyRefusal::NotSocks),
            (b"\x05\0\x05\x02\0\x01", false, ProxyRefusal::Socks(2)),
            (b"\x05\0\x05\0\x01\x01", false, ProxyRefusal::NotSocks),
            (b"\x05\0\x05\0\0\x02", false, ProxyRefusal::NotSocks),
            (b"\x05\0\x05\0\0\x01aaa", false, ProxyRefusal::Closed),
            (b"\x05", false, ProxyRefusal::Closed),
            (b"", false, ProxyRefusal::Closed),
        ] {
            let refused = through(answers, "a", password).await.0.unwrap_err();
            let is_expected = matches!(refused, TunnelError::Refused(found) if found == expected);
            assert!(is_expected, "{answers:?}: {refused:?}");
        }
    }
}

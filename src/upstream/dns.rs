//! From a host to the addresses to connect to.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use url::Host;

use crate::blocking;

/// Lookups of one name that may wait for the system's resolver at a time.
const MAX_LOOKUPS_OF_NAME: usize = 4;

/// Lookups of all names that may wait for it. Each holds a thread that nobody can interrupt.
const MAX_LOOKUPS: usize = 64;

static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// Looks up the addresses of one host.
pub(super) struct Resolver {
    host: Host,
    port: u16,
    lookups: Arc<Semaphore>,
    #[cfg(test)]
    fixed: Option<std::sync::Mutex<Vec<Vec<SocketAddr>>>>,
}

/// Allows one lookup.
pub(super) struct LookupPermit {
    _of_name: Option<OwnedSemaphorePermit>,
    _of_all: Option<SemaphorePermit<'static>>,
}

impl Resolver {
    pub(super) fn new(host: Host, port: u16) -> Self {
        Self {
            host,
            port,
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS_OF_NAME)),
            #[cfg(test)]
            fixed: None,
        }
    }

    /// Finds these addresses, one answer after the other, the last one again and again.
    #[cfg(test)]
    pub(super) fn with_answers(self, mut answers: Vec<Vec<SocketAddr>>) -> Self {
        answers.reverse();
        Self {
            fixed: Some(answers.into()),
            ..self
        }
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until a lookup may begin. A resolver that does not answer keeps its threads for as long as it
    /// wants: without a bound the lookups of one name could take all the threads that may wait.
    pub async fn acquire_permit(&self) -> LookupPermit {
        if !self.is_named() {
            return LookupPermit::unneeded();
        }
        // These fail only when a semaphore is closed, which nobody does.
        LookupPermit {
            _of_name: Arc::clone(&self.lookups).acquire_owned().await.ok(),
            _of_all: LOOKUPS.acquire().await.ok(),
        }
    }

    /// The same, if a lookup may begin now.
    pub(super) fn try_permit(&self) -> Option<LookupPermit> {
        if !self.is_named() {
            return Some(LookupPermit::unneeded());
        }
        Some(LookupPermit {
            _of_name: Some(Arc::clone(&self.lookups).try_acquire_owned().ok()?),
            _of_all: Some(LOOKUPS.try_acquire().ok()?),
        })
    }

    /// Whether the host has a name, whose addresses a resolver knows.
    pub(super) fn is_named(&self) -> bool {
        matches!(self.host, Host::Domain(_))
    }

    /// The addresses of the host, families alternating (RFC 8305 section 4). If the future is dropped, the
    /// permit is held until the resolver has answered.
    ///
    /// Names go through the system's resolver, so that `/etc/hosts` and `nsswitch.conf` count.
    pub(super) async fn resolve(&self, permit: LookupPermit) -> io::Result<Vec<SocketAddr>> {
        #[cfg(test)]
        if let Some(fixed) = &self.fixed {
            let mut answers = fixed.lock().unwrap();
            let answer = answers.last().cloned().unwrap_or_default();
            if answers.len() > 1 {
                answers.pop();
            }
            return match &answer[..] {
                [] => Err(io::Error::other("the name is not known")),
                _ => Ok(answer),
            };
        }
        let name = match &self.host {
            Host::Ipv4(ip) => return Ok(vec![SocketAddr::from((*ip, self.port))]),
            Host::Ipv6(ip) => return Ok(vec![SocketAddr::from((*ip, self.port))]),
            Host::Domain(name) => name.clone(),
        };
        let port = self.port;
        let found = on_thread(permit, move || (name.as_str(), port).to_socket_addrs()).await?;
        let addresses = interleave(found.filter(|found| is_allowed(&self.host, found.ip())));
        if addresses.is_empty() {
            return Err(io::Error::other("the name has no usable address"));
        }
        Ok(addresses)
    }
}

impl LookupPermit {
    /// Of a host that is an address.
    fn unneeded() -> Self {
        Self {
            _of_name: None,
            _of_all: None,
        }
    }
}

/// Runs a lookup on a thread that may wait. The permit is held until it returns.
async fn on_thread<T: Send + 'static>(
    permit: LookupPermit,
    look_up: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let lookup = blocking::run(move || {
        let _permit = permit;
        look_up()
    });
    lookup.await?
}

/// Plain HTTP is allowed to `localhost`. So that name must not lead to another machine, whatever a resolver
/// says (RFC 6761 section 6.3).
fn is_allowed(host: &Host, ip: IpAddr) -> bool {
    let local = |name: &str| name.trim_end_matches('.') == "localhost";
    !matches!(host, Host::Domain(name) if local(name)) || ip.is_loopback()
}

/// Alternates the families, beginning with the one the resolver put first; keeps its order within
/// each.
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.peekable();
    let first_is_v4 = addresses.peek().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.partition(|a| a.is_ipv4() == first_is_v4);
    let mut second = second.into_iter();
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(addresses: &[&str]) -> Vec<String> {
        let parsed = addresses.iter().map(|a| a.parse().unwrap());
        interleave(parsed).iter().map(|a| a.to_string()).collect()
    }

    #[test]
    fn families_alternate_and_the_resolvers_first_stays_first() {
        assert_eq!(
            mixed(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]),
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]
        );
        assert_eq!(
            mixed(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]),
            ["1.1.1.1:1", "[::1]:1", "[::2]:1"]
        );
        assert_eq!(mixed(&["1.1.1.1:1"]), ["1.1.1.1:1"]);
        assert!(mixed(&[]).is_empty());
    }

    #[test]
    fn localhost_never_leads_to_another_machine() {
        for name in ["localhost", "localhost."] {
            let localhost = Host::Domain(name.to_owned());
            assert!(is_allowed(&localhost, [127, 0, 0, 1].into()));
            assert!(!is_allowed(&localhost, [192, 0, 2, 1].into()));
        }
        let other = Host::Domain("api.example.com".to_owned());
        assert!(is_allowed(&other, [192, 0, 2, 1].into()));
    }

    #[tokio::test]
    async fn literals_need_no_resolver() {
        let resolver = Resolver::new(Host::Ipv6("::1".parse().unwrap()), 443);
        let found = resolver.resolve(resolver.acquire_permit().await).await;
        assert_eq!(found.unwrap(), ["[::1]:443".parse().unwrap()]);
    }

    #[tokio::test]
    async fn lookups_that_are_not_answered_hold_their_permits_until_they_are() {
        use std::sync::mpsc;
        use std::time::Duration;

        use tokio::time::timeout;

        let resolver = Resolver::new(Host::Domain("api.example.com".to_owned()), 443);
        let other = Resolver::new(Host::Domain("idp.example.com".to_owned()), 443);
        let short = Duration::from_millis(50);
        let mut answers = Vec::new();
        for _ in 0..MAX_LOOKUPS_OF_NAME {
            let (answer, answered) = mpsc::channel::<()>();
            answers.push(answer);
            let permit = timeout(Duration::from_secs(20), resolver.acquire_permit()).await;
            let lookup = on_thread(permit.unwrap(), move || {
                let _ = answered.recv();
                Ok(())
            });
            // Its request has given up, but the thread still waits.
            assert!(timeout(short, lookup).await.is_err());
        }
        assert!(timeout(short, resolver.acquire_permit()).await.is_err());
        assert!(resolver.try_permit().is_none());
        let of_another_name = timeout(Duration::from_secs(20), other.acquire_permit()).await;
        assert!(of_another_name.is_ok());
        answers.pop();
        let again = timeout(Duration::from_secs(20), resolver.acquire_permit()).await;
        assert!(again.is_ok());
    }
}

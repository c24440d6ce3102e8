//! Servers and proxies that would be this process itself: nothing is ever sent there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

use super::super::draft::Draft;
use super::super::report::{Report, SourceSpan};
use super::super::settings::{AuthorizationServer, EgressProxy, IssuerKeys, ProxyChoice};
use super::super::words::QuotedWord;

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    let own = ListeningAddresses::of(draft);
    let of_egress = draft.egress.as_ref().map(|(egress, _)| &egress.proxy);
    // What is said of the proxy of [egress] is said once.
    let has_own_proxy = |choice: &ProxyChoice| of_egress != Some(choice);
    let reaches = |(server, table): (&str, String),
                   url: &Url,
                   choice: &ProxyChoice,
                   place: &SourceSpan| match choice.proxy_for(url) {
        Some(proxy) if has_own_proxy(choice) => {
            own.check_proxy(&format!("the proxy of {table}"), proxy, place, report);
        }
        Some(_) => {}
        None => own.check_url(&format!("{server}{table}"), url, place, report),
    };
    if let Some((egress, place)) = &draft.egress {
        let place = draft.egress_places.proxy.as_ref().unwrap_or(place);
        if let Some(proxy) = egress.proxy.proxies().next() {
            own.check_proxy("the proxy of [egress]", proxy, place, report);
        }
    }
    for (name, slot) in &draft.upstreams {
        if let Some((Some(upstream), place)) = slot {
            let who = ("", format!("upstream {}", QuotedWord(name)));
            reaches(who, &upstream.url, &upstream.proxy, place);
        }
    }
    for (name, slot) in &draft.credentials {
        if let Some((Some(credential), place)) = slot {
            let (AuthorizationServer::Issuer(_, url) | AuthorizationServer::TokenEndpoint(url)) =
                &credential.server;
            let table = format!("credential {}", QuotedWord(name));
            let who = ("the authorization server of ", table);
            reaches(who, url, &credential.proxy, place);
        }
    }
    let direct = ProxyChoice::Direct;
    let choice = of_egress.unwrap_or(&direct);
    for (caller, place) in draft.sound_callers() {
        if let Some(token) = &caller.token
            && let IssuerKeys::Discovery(_) = token.issuer.keys
            && let Ok(url) = Url::parse(&token.issuer.name)
        {
            let table = format!("caller {}", QuotedWord(&caller.name));
            let who = ("the issuer of ", table);
            reaches(who, &url, choice, place);
        }
    }
    if let Some((Some(kubernetes), place)) = &draft.kubernetes
        && let Some(url) = &kubernetes.api_server
    {
        let who = ("the API server of ", "[kubernetes]".to_owned());
        reaches(who, url, choice, place);
    }
    if let Some((tracing, source)) = &draft.settled_tracing {
        let who = match source.variable {
            Some(variable) => format!("the collector of the variable {variable}"),
            None => "the collector of [tracing]".to_owned(),
        };
        own.check_url(&who, &tracing.endpoint, &source.place, report);
    }
}

/// The addresses that are listened on, with their places: `None` for a default.
struct ListeningAddresses<'d>(Vec<(SocketAddr, Option<&'d SourceSpan>)>);

impl<'d> ListeningAddresses<'d> {
    fn of(draft: &'d Draft) -> Self {
        Self(draft.listening_addresses())
    }

    fn check_url(&self, who: &str, url: &Url, place: &SourceSpan, report: &Report<'_>) {
        if let Some(host) = url.host()
            && let Some(port) = url.port_or_known_default()
        {
            self.report(who, (host, port), place, report);
        }
    }

    fn check_proxy(&self, who: &str, proxy: &EgressProxy, place: &SourceSpan, report: &Report<'_>) {
        let host = match &proxy.host {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(ip) => Host::Ipv4(*ip),
            Host::Ipv6(ip) => Host::Ipv6(*ip),
        };
        self.report(who, (host, proxy.port), place, report);
    }

    fn report(
        &self,
        who: &str,
        (host, port): (Host<&str>, u16),
        place: &SourceSpan,
        report: &Report<'_>,
    ) {
        let written = match host {
            Host::Ipv4(ip) => [Some(IpAddr::V4(ip)), None],
            Host::Ipv6(ip) => [Some(IpAddr::V6(ip)), None],
            Host::Domain(name) if name.trim_end_matches('.') == "localhost" => [
                Some(Ipv4Addr::LOCALHOST.into()),
                Some(Ipv6Addr::LOCALHOST.into()),
            ],
            // Only a resolver tells its addresses.
            Host::Domain(_) => return,
        };
        let is_own = |ip: IpAddr| {
            let mut own = self.0.iter();
            own.find(|(own, _)| leads_to(*own, SocketAddr::new(ip, port)))
        };
        let Some((own, named)) = written.into_iter().flatten().find_map(is_own) else {
            return;
        };
        let message = format!("{who} would be this process itself");
        let help = match named {
            Some(named) => format!(
                "{own} is listened on (see {}), and nothing is sent there: expected the address of another process",
                report.locate(named)
            ),
            None => format!(
                "{own} is the default of `address` in [admin], and nothing is sent there: expected the address of another process"
            ),
        };
        // Not an error: what else there is works, and each request that would come back is refused as a loop.
        report.warning(place, message, help);
    }
}

/// Whether a connection to `address` arrives at a socket of this machine at `own`, as far as that is the same on every
/// machine.
fn leads_to(own: SocketAddr, address: SocketAddr) -> bool {
    let dialled = match address.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let ip = own.ip().to_canonical();
    let takes_all = match ip {
        IpAddr::V4(ip) => ip.is_unspecified() && dialled.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    own.port() == address.port() && (ip == dialled || takes_all && dialled.is_loopback())
}

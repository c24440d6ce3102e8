//! A proxy that the environment names, and that nobody said anything about.

use url::Url;

use super::parse::proxy::{ProxyVariables, proxy_variables};
use super::settings::{
    AuthorizationServer, Config, EgressAction, HostPattern, IssuerKeys, ProxyChoice,
};

/// A host that no list exempts, unless it exempts all.
const ANY_HOST: &str = "any.invalid";

/// One line about it, if there is one for a server about whose proxy the configuration says nothing.
pub fn unused_proxy(config: &Config) -> Option<String> {
    let get = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
    let (variable, table) = match proxy_variables(get) {
        Err((variable, _)) => (variable, ""),
        Ok(variables) => {
            let of_tables = || Some((for_tables(config, &variables)?, ""));
            let of_egress = || Some((for_egress(config, &variables)?, " in [egress]"));
            of_tables().or_else(of_egress)?
        }
    };
    Some(format!(
        "the proxy that {variable} names is not used: `proxy = \"environment\"`{table} uses it, `proxy = \"none\"` says that it is not wanted"
    ))
}

/// The variable for an upstream or an authorization server.
fn for_tables(config: &Config, variables: &ProxyVariables) -> Option<&'static str> {
    let upstreams = config.upstreams.values();
    let upstreams = upstreams.map(|upstream| (&upstream.proxy, &upstream.url));
    let credentials = config.credentials.values().map(|credential| {
        let (AuthorizationServer::Issuer(_, url) | AuthorizationServer::TokenEndpoint(url)) =
            &credential.server;
        (&credential.proxy, url)
    });
    let mut unsaid = upstreams
        .chain(credentials)
        .filter(|(choice, _)| **choice == ProxyChoice::Unsaid);
    unsaid.find_map(|(_, url)| variables.variable_for(url))
}

/// The variable for what no table but `[egress]` says a proxy of: what verifies tokens of callers, and what passes.
fn for_egress(config: &Config, variables: &ProxyVariables) -> Option<&'static str> {
    if config.egress.proxy != ProxyChoice::Unsaid {
        return None;
    }
    let tokens = config.callers.values();
    let tokens = tokens.filter_map(|caller| caller.token.as_deref());
    let discovered = tokens.filter(|token| matches!(token.issuer.keys, IssuerKeys::Discovery(_)));
    let issuers = discovered.filter_map(|token| Url::parse(&token.issuer.name).ok());
    // The API server that the environment of a pod names is never reached through a proxy.
    let kubernetes = config.kubernetes.as_ref();
    let api_server = kubernetes.and_then(|kubernetes| kubernetes.api_server.clone());
    let passing = passing_hosts(config).into_iter().flat_map(|host| {
        ["https", "http"]
            .into_iter()
            .filter_map(move |scheme| Url::parse(&format!("{scheme}://{host}/")).ok())
    });
    let mut reached = issuers.chain(api_server).chain(passing);
    reached.find_map(|url| variables.variable_for(&url))
}

/// Hosts that requests may pass to through a proxy; one in the place of those that nothing names. What was redirected
/// goes on to its own address.
fn passing_hosts(config: &Config) -> Vec<String> {
    let listeners = config.listeners.iter();
    let by_proxy = listeners.filter_map(|listener| {
        let forward = listener.forward.as_ref()?;
        let is_redirected = forward.redirection.is_some();
        (!is_redirected).then_some((listener.name.as_str(), forward.unmatched))
    });
    let listeners: Vec<_> = by_proxy.collect();
    let rules = config.egress.rules.iter().filter(|rule| {
        let mut listeners = listeners.iter();
        rule.action == EgressAction::Pass && listeners.any(|(name, _)| rule.is_for(name))
    });
    let named = rules.flat_map(|rule| &rule.hosts).map(|host| match host {
        HostPattern::Any => ANY_HOST.to_owned(),
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Wildcard(parent) => format!("any.{parent}"),
    });
    let mut unmatched = listeners.iter().map(|(_, unmatched)| unmatched);
    let any = unmatched.any(|unmatched| *unmatched == EgressAction::Pass);
    named.chain(any.then(|| ANY_HOST.to_owned())).collect()
}

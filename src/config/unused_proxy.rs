//! A proxy that the environment names, and that nobody said anything about.

use super::parse::proxy::proxy_variables;
use super::settings::{AuthorizationServer, Config, ProxyChoice};

/// One line about it, if there is one for a server about whose proxy the configuration says nothing.
pub fn unused_proxy(config: &Config) -> Option<String> {
    let get = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
    let variable = match proxy_variables(get) {
        Err((variable, _)) => variable,
        Ok(variables) => {
            let upstreams = config.upstreams.values();
            let upstreams = upstreams.map(|upstream| (&upstream.proxy, &upstream.url));
            let credentials =
                config.credentials.values().map(|credential| {
                    let (AuthorizationServer::Issuer(_, url)
                    | AuthorizationServer::TokenEndpoint(url)) = &credential.server;
                    (&credential.proxy, url)
                });
            let mut unsaid = upstreams
                .chain(credentials)
                .filter(|(choice, _)| **choice == ProxyChoice::Unsaid);
            unsaid.find_map(|(_, url)| variables.variable_for(url))?
        }
    };
    Some(format!(
        "the proxy that {variable} names is not used: `proxy = \"environment\"` uses it, `proxy = \"none\"` says that it is not wanted"
    ))
}

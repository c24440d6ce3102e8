//! Proxies: their URLs, and the variables of the environment that name some.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::super::report::Expected;
use super::super::settings::{NoProxy, ProxyScheme, Secret};
use super::forward::host_and_port;

/// The URL of a proxy.
#[derive(Debug, PartialEq)]
pub(in crate::config) struct ProxyUrl {
    pub(in crate::config) scheme: ProxyScheme,
    pub(in crate::config) host: Host,
    pub(in crate::config) port: u16,
    /// `user:password`, which only a variable may hold.
    pub(in crate::config) userinfo: Option<Secret>,
}

/// What the proxy variables say.
#[derive(Debug, Default)]
pub(in crate::config) struct ProxyVariables {
    /// For `http` URLs, and the variable that says so.
    pub(in crate::config) http: Option<(&'static str, ProxyUrl)>,
    /// For `https` URLs, and the variable that says so.
    pub(in crate::config) https: Option<(&'static str, ProxyUrl)>,
    pub(in crate::config) no_proxy: NoProxy,
}

impl ProxyVariables {
    /// The variable that names the proxy for `url`.
    pub(in crate::config) fn variable_for(&self, url: &Url) -> Option<&'static str> {
        let named = if url.scheme() == "https" {
            &self.https
        } else {
            &self.http
        };
        let exempt = url.host().is_some_and(|host| self.no_proxy.exempts(&host));
        named.as_ref().filter(|_| !exempt).map(|(name, _)| *name)
    }
}

/// The variables that name a proxy, those that count first before the others. `HTTP_PROXY` is none: a CGI
/// program gets it from the header `Proxy` of a request.
const FOR_HTTP: [&str; 3] = ["http_proxy", "all_proxy", "ALL_PROXY"];
const FOR_HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXEMPT: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// What the whole of every good choice of a proxy matches.
pub(in crate::config) const PROXY: Option<&str> = Some(concat!(
    "(?:none|environment|(?:[Hh][Tt][Tt][Pp][Ss]?|[Ss][Oo][Cc][Kk][Ss]5[Hh])://",
    pattern!(host),
    ":",
    pattern!(port),
    "/?)"
));

/// What the whole of every choice matches with which TLS to the proxy may be spoken.
pub(in crate::config) const TLS_PROXY: Option<&str> =
    Some(r"(?:environment|[Hh][Tt][Tt][Pp][Ss]://[\s\S]*)");

/// The URL of a proxy as the configuration has it.
pub(in crate::config) fn proxy_url(text: &str) -> Result<ProxyUrl, Expected> {
    const EXPECTED: &str =
        "expected a URL such as \"http://proxy.corp:3128\", \"environment\" or \"none\"";
    let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
    if rest.contains('@') {
        return Err(
            "a user or password is not allowed in a URL: name them in `proxy_authorization`".into(),
        );
    }
    let scheme = proxy_scheme(scheme)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err("a proxy has no path: expected scheme, host and port".into());
    }
    let named = host_and_port(authority)?;
    let Some(port) = named.port else {
        return Err(format!(
            "expected a port, such as \"{scheme}://{authority}:3128\": programs do not agree on one that holds without it"
        )
        .into());
    };
    Ok(ProxyUrl {
        scheme,
        host: Host::parse(&named.host).map_err(|_| EXPECTED)?,
        port,
        userinfo: None,
    })
}

/// The proxies that variables name, as curl reads them. `get` tells what a variable holds.
///
/// # Errors
/// The variable that cannot be used, and what was expected in it. Its value may hold a password, and is not shown.
pub(in crate::config) fn proxy_variables(
    get: impl Fn(&str) -> Option<String>,
) -> Result<ProxyVariables, (&'static str, Expected)> {
    // An empty variable is as good as none.
    let first = |names: &[&'static str]| {
        let mut held = names.iter().map(|name| (*name, get(name)));
        held.find_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?)))
    };
    let proxy = |names: &[&'static str]| match first(names) {
        Some((name, text)) => match variable(&text) {
            Ok(url) => Ok(Some((name, url))),
            Err(expected) => Err((name, expected)),
        },
        None => Ok(None),
    };
    let exempt = first(&EXEMPT).map_or_else(String::new, |(_, list)| list);
    Ok(ProxyVariables {
        http: proxy(&FOR_HTTP)?,
        https: proxy(&FOR_HTTPS)?,
        no_proxy: NoProxy::new(&exempt),
    })
}

/// The URL of a proxy as a variable has it: without a scheme it is `http`, and what stands behind the port is
/// nothing.
fn variable(text: &str) -> Result<ProxyUrl, Expected> {
    const EXPECTED: &str = "expected the URL of a proxy, such as \"http://proxy.corp:3128\"";
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (proxy_scheme(scheme)?, rest),
        None => (ProxyScheme::Http, text),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (userinfo, host) = match authority.rsplit_once('@') {
        Some((userinfo, host)) => (Some(decoded(userinfo)?), host),
        None => (None, authority),
    };
    let named = host_and_port(host).map_err(|_| EXPECTED)?;
    Ok(ProxyUrl {
        scheme,
        host: Host::parse(&named.host).map_err(|_| EXPECTED)?,
        port: named.port.unwrap_or(match scheme {
            ProxyScheme::Https => 443,
            ProxyScheme::Http | ProxyScheme::Socks5h => 1080,
        }),
        userinfo,
    })
}

/// `user:password` as it was before it was made fit for a URL.
fn decoded(userinfo: &str) -> Result<Secret, Expected> {
    let text = percent_decode_str(userinfo).decode_utf8();
    let text = text.map_err(|_| "expected a user and a password in UTF-8")?;
    let pair = if text.contains(':') {
        text.into_owned()
    } else {
        format!("{text}:")
    };
    Ok(Secret::new(pair))
}

fn proxy_scheme(text: &str) -> Result<ProxyScheme, Expected> {
    match text.to_ascii_lowercase().as_str() {
        "http" => Ok(ProxyScheme::Http),
        "https" => Ok(ProxyScheme::Https),
        "socks5h" => Ok(ProxyScheme::Socks5h),
        "socks5" | "socks" => {
            Err("did you mean socks5h://, with which the proxy resolves the names?".into())
        }
        _ => Err("expected a URL that begins with http://, https:// or socks5h://".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &ProxyUrl) -> String {
        let userinfo = url.userinfo.as_ref();
        let userinfo = userinfo.map_or(String::new(), |pair| format!("{} at ", pair.expose()));
        format!("{userinfo}{}://{}:{}", url.scheme, url.host, url.port)
    }

    #[test]
    fn a_proxy_is_a_scheme_a_host_and_a_port() {
        for (written, read) in [
            ("http://proxy.corp:3128", "http://proxy.corp:3128"),
            ("HTTPS://Proxy.Corp:443/", "https://proxy.corp:443"),
            ("socks5h://[::1]:1080", "socks5h://[::1]:1080"),
            ("http://10.0.0.1:80", "http://10.0.0.1:80"),
        ] {
            assert_eq!(shown(&proxy_url(written).unwrap()), read);
        }
        for bad in [
            "",
            "proxy.corp:3128",
            "http://proxy.corp",
            "http://proxy.corp:0",
            "http://proxy.corp:3128/x",
            "http://proxy.corp:3128?x",
            "http://:3128",
            "ftp://proxy.corp:21",
            "socks4://proxy.corp:1080",
            "http://a b:1",
        ] {
            assert!(proxy_url(bad).is_err(), "{bad:?}");
        }
        let help = proxy_url("http://user:hunter2@proxy.corp:3128").unwrap_err();
        assert!(help.contains("`proxy_authorization`") && !help.contains("hunter2"));
        assert!(
            proxy_url("socks5://a:1")
                .unwrap_err()
                .contains("socks5h://")
        );
    }

    /// The proxy for http and the one for https.
    fn of(variables: &[(&str, &str)]) -> (String, String) {
        let get = |name: &str| {
            let held = variables.iter().find(|(known, _)| *known == name);
            held.map(|(_, text)| (*text).to_owned())
        };
        let read = proxy_variables(get).unwrap();
        let shown =
            |proxy: Option<(&str, ProxyUrl)>| proxy.map_or(String::new(), |(_, url)| shown(&url));
        (shown(read.http), shown(read.https))
    }

    #[test]
    fn variables_count_in_the_order_of_curl() {
        let (http, https) = ("http://a:1", "http://b:2");
        for (variables, expected) in [
            (
                &[("http_proxy", "a:1"), ("HTTPS_PROXY", "b:2")][..],
                (http, https),
            ),
            (&[("HTTP_PROXY", "a:1")], ("", "")),
            (
                &[("https_proxy", "b:2"), ("HTTPS_PROXY", "c:3")],
                ("", https),
            ),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "b:2")], ("", https)),
            (
                &[("ALL_PROXY", "a:1"), ("https_proxy", "b:2")],
                (http, https),
            ),
            (&[("all_proxy", "a:1"), ("ALL_PROXY", "c:3")], (http, http)),
            (&[("http_proxy", ""), ("ALL_PROXY", "a:1")], (http, http)),
        ] {
            let read = of(variables);
            assert_eq!((&*read.0, &*read.1), expected, "{variables:?}");
        }
    }

    #[test]
    fn a_variable_may_leave_out_the_scheme_and_hold_a_password() {
        for (text, read) in [
            ("proxy.corp", "http://proxy.corp:1080"),
            ("https://proxy.corp", "https://proxy.corp:443"),
            ("socks5h://proxy.corp", "socks5h://proxy.corp:1080"),
            (
                "http://u:p%40ss@proxy.corp:1/x?y",
                "u:p@ss at http://proxy.corp:1",
            ),
            ("http://u@proxy.corp:1", "u: at http://proxy.corp:1"),
            ("http://u:p@x@proxy.corp:1", "u:p@x at http://proxy.corp:1"),
        ] {
            assert_eq!(of(&[("http_proxy", text)]).0, read, "{text}");
        }
        for bad in [
            "http:a:1",
            "//a:1",
            " http://a:1",
            "socks5://a:1",
            "ftp://a:1",
            "a:x",
        ] {
            let get = |name: &str| (name == "all_proxy").then(|| bad.to_owned());
            assert_eq!(proxy_variables(get).unwrap_err().0, "all_proxy", "{bad}");
        }
    }
}

//! Reads through which proxy a server is reached.

use super::super::file_rules::FileRules;
use super::super::keys::{CREDENTIAL, EGRESS, UPSTREAM};
use super::super::kinds::{Raw, SecretText, SubTable};
use super::super::parse::proxy::{ProxyUrl, ProxyVariables, proxy_url, proxy_variables};
use super::super::read::{Key, Section};
use super::super::report::{Expected, Report, SourceSpan};
use super::super::settings::{
    EgressProxy, EnvironmentProxies, ProxyAuthorization, ProxyChoice, ProxyScheme, Secret,
    SecretSource, Tls,
};
use super::super::value::Value;
use super::super::words::did_you_mean;
use super::secret_source::need_secret;

/// The keys of one table.
struct ProxyKeys {
    proxy: &'static Key<Raw>,
    tls: &'static Key<SubTable>,
    authorization: &'static Key<SecretText>,
}

const OF_UPSTREAM: ProxyKeys = ProxyKeys {
    proxy: &UPSTREAM.proxy,
    tls: &UPSTREAM.proxy_tls,
    authorization: &UPSTREAM.proxy_authorization,
};

const OF_CREDENTIAL: ProxyKeys = ProxyKeys {
    proxy: &CREDENTIAL.proxy,
    tls: &CREDENTIAL.proxy_tls,
    authorization: &CREDENTIAL.proxy_authorization,
};

const OF_EGRESS: ProxyKeys = ProxyKeys {
    proxy: &EGRESS.proxy,
    tls: &EGRESS.proxy_tls,
    authorization: &EGRESS.proxy_authorization,
};

impl ProxyChoice {
    /// What stands in `[egress]`, for all that say nothing.
    pub(super) fn of_egress(section: &Section<'_>, files: &FileRules<'_>) -> Self {
        read(section, files, &OF_EGRESS)
    }

    /// What the environment says, for a program that would have used its proxies itself: `HTTP_PROXY` counts too,
    /// except in a CGI program, and loopback is always reached directly. Reports a variable that cannot be used.
    pub(in crate::config) fn inherited(report: &Report<'_>, place: &SourceSpan) -> Self {
        let variables = usable_variables(|name| match name {
            "http_proxy" => held(name).or_else(|| {
                let outside_of_cgi = held("REQUEST_METHOD").is_none();
                outside_of_cgi.then(|| held("HTTP_PROXY")).flatten()
            }),
            "no_proxy" => {
                let list = held(name).or_else(|| held("NO_PROXY"));
                Some(match list {
                    Some(list) if list == "*" => list,
                    list => format!("{},{LOOPBACK}", list.unwrap_or_default()),
                })
            }
            _ => held(name),
        });
        let make = |(_, url): (_, ProxyUrl)| EgressProxy {
            scheme: url.scheme,
            host: url.host,
            port: url.port,
            tls: Tls::default(),
            authorization: url.userinfo.map(SecretSource::Literal),
        };
        match variables {
            Ok(variables) if variables.http.is_none() && variables.https.is_none() => Self::Unsaid,
            Ok(variables) => Self::Environment(Box::new(EnvironmentProxies {
                http: variables.http.map(make),
                https: variables.https.map(make),
                no_proxy: variables.no_proxy,
            })),
            Err((name, expected)) => {
                let message = format!("the proxy that {name} names cannot be used");
                let help = format!("{expected}; or say `proxy` in [egress]");
                report.error(place, message, help);
                Self::Unsaid
            }
        }
    }

    /// What stands in the table of an upstream.
    pub(super) fn of_upstream(section: &Section<'_>, files: &FileRules<'_>) -> Self {
        read(section, files, &OF_UPSTREAM)
    }

    /// What stands in the table of a credential.
    pub(super) fn of_credential(section: &Section<'_>, files: &FileRules<'_>) -> Self {
        read(section, files, &OF_CREDENTIAL)
    }
}

/// What no proxy is needed for: it would look for it on its own machine.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// What `proxy` says.
enum Written {
    Nothing,
    Direct,
    Environment,
    Url(ProxyUrl),
}

/// What is shown to a proxy, and where it is written.
type Shown<'a> = (Value<'a>, SecretSource, Secret);

fn read(section: &Section<'_>, files: &FileRules<'_>, keys: &ProxyKeys) -> ProxyChoice {
    let proxy = section.read(keys.proxy).filter(|value| !value.is_empty());
    // Both are read even if there is no proxy, so that their mistakes are found.
    let tls = section
        .read(keys.tls)
        .map(|table| Tls::read_keys(&table, files));
    let authorization = section
        .has(keys.authorization)
        .then(|| need_secret(section, files, keys.authorization))
        .flatten();
    let Ok(written) = proxy.as_ref().map_or(Ok(Written::Nothing), parse) else {
        return ProxyChoice::Unsaid;
    };
    refuse_unused(section, keys, &written);
    let make = |url: ProxyUrl| EgressProxy {
        scheme: url.scheme,
        host: url.host,
        port: url.port,
        tls: tls.clone().unwrap_or_default(),
        authorization: match &authorization {
            Some((_, source, _)) => Some(source.clone()),
            None => url.userinfo.map(SecretSource::Literal),
        },
    };
    match written {
        Written::Nothing => ProxyChoice::Unsaid,
        Written::Direct => ProxyChoice::Direct,
        Written::Url(url) => {
            check_authorization(authorization.as_ref(), url.scheme);
            ProxyChoice::Proxy(Box::new(make(url)))
        }
        Written::Environment => {
            let Some(variables) = proxy.and_then(|value| environment(&value)) else {
                return ProxyChoice::Unsaid;
            };
            let named = [&variables.http, &variables.https];
            for (_, url) in named.into_iter().flatten() {
                check_authorization(authorization.as_ref(), url.scheme);
            }
            ProxyChoice::Environment(Box::new(EnvironmentProxies {
                http: variables.http.map(|(_, url)| make(url)),
                https: variables.https.map(|(_, url)| make(url)),
                no_proxy: variables.no_proxy,
            }))
        }
    }
}

/// What the value says; an error has been reported.
fn parse(value: &Value<'_>) -> Result<Written, ()> {
    const EXPECTED: &str = "a URL such as \"http://proxy.corp:3128\", \"environment\" or \"none\"";
    value.reveal_address();
    let text = value.text(EXPECTED).ok_or(())?;
    match text {
        "none" => Ok(Written::Direct),
        "environment" => Ok(Written::Environment),
        _ => {
            let words = ["none", "environment"];
            let parsed = proxy_url(text).map_err(|expected| {
                let meant = (!text.contains(['.', ':'])).then(|| did_you_mean(text, words));
                meant.flatten().map_or(expected, Into::into)
            });
            value.check(parsed).map(Written::Url).ok_or(())
        }
    }
}

/// What a variable of this process holds.
fn held(name: &str) -> Option<String> {
    let held = std::env::var_os(name)?;
    Some(held.to_string_lossy().into_owned()).filter(|held| !held.is_empty())
}

/// The proxies that variables name, with users and passwords that can be shown to them.
fn usable_variables(
    get: impl Fn(&str) -> Option<String>,
) -> Result<ProxyVariables, (&'static str, Expected)> {
    let variables = proxy_variables(get)?;
    for (name, url) in [&variables.http, &variables.https].into_iter().flatten() {
        if let Some(userinfo) = &url.userinfo {
            ProxyAuthorization::new(userinfo, url.scheme)
                .map_err(|expected| (*name, expected.into()))?;
        }
    }
    Ok(variables)
}

/// The proxy variables of this process.
fn environment(value: &Value<'_>) -> Option<ProxyVariables> {
    usable_variables(held)
        .map_err(|(name, expected)| {
            let message = format!("leads to the variable {name}, which cannot be used");
            value.error(&message, expected);
        })
        .ok()
}

/// Reports what stands beside `proxy` and could have no effect.
fn refuse_unused(section: &Section<'_>, keys: &ProxyKeys, written: &Written) {
    let directly = match written {
        Written::Nothing => Some("there is no `proxy` beside it, whose default comes with its own"),
        Written::Direct => Some("`proxy` is \"none\""),
        Written::Environment | Written::Url(_) => None,
    };
    let without_tls = match written {
        Written::Url(url) if url.scheme != ProxyScheme::Https => {
            Some("`proxy` is not an https:// URL")
        }
        _ => directly,
    };
    for (value, why) in [
        (section.written(keys.tls), without_tls),
        (section.written(keys.authorization), directly),
    ] {
        if let (Some(value), Some(why)) = (value, why) {
            value.error("has no effect", why);
        }
    }
}

fn check_authorization(authorization: Option<&Shown<'_>>, scheme: ProxyScheme) {
    if let Some((value, _, secret)) = authorization {
        let checked = ProxyAuthorization::new(secret, scheme);
        value.check(checked.map_err(Into::into));
    }
}

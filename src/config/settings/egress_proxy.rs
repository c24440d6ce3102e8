//! Corporate proxies: through which one a server is reached.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use http::HeaderValue;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{NoProxy, Secret, SecretSource, Tls};

/// A proxy, and what is needed to be let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressProxy {
    /// What is spoken with it.
    pub scheme: ProxyScheme,
    /// Its name or address.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// TLS towards it.
    pub tls: Tls,
    /// `user:password`, or a whole value of `Proxy-Authorization`.
    pub authorization: Option<SecretSource>,
}

/// What is spoken with a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyScheme {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// SOCKS 5 (RFC 1928); the proxy resolves the names.
    Socks5h,
}

/// `proxy`: how a server is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProxyChoice {
    /// Nothing is said: directly.
    #[default]
    Unsaid,
    /// `"none"`: directly.
    Direct,
    /// Through this one.
    Proxy(Box<EgressProxy>),
    /// `"environment"`: as the variables of the process say.
    Environment(Box<EnvironmentProxies>),
}

/// What the proxy variables of the environment say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentProxies {
    /// For `http` URLs.
    pub http: Option<EgressProxy>,
    /// For `https` URLs.
    pub https: Option<EgressProxy>,
    /// Which hosts are reached directly.
    pub no_proxy: NoProxy,
}

/// What a proxy is shown to be let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyAuthorization {
    /// A user and a password, for `Basic` (RFC 7617) or SOCKS (RFC 1929).
    Password {
        /// The user.
        user: Secret,
        /// The password.
        password: Secret,
    },
    /// A whole value of `Proxy-Authorization`.
    Whole(Secret),
}

impl ProxyChoice {
    /// The proxy through which `url` is reached; `None`: directly.
    pub fn proxy_for(&self, url: &Url) -> Option<&EgressProxy> {
        match self {
            Self::Unsaid | Self::Direct => None,
            Self::Proxy(proxy) => Some(proxy),
            Self::Environment(variables) => variables.proxy_for(url),
        }
    }

    /// Every proxy that it may lead to.
    pub fn proxies(&self) -> impl Iterator<Item = &EgressProxy> {
        let (first, second) = match self {
            Self::Unsaid | Self::Direct => (None, None),
            Self::Proxy(proxy) => (Some(&**proxy), None),
            Self::Environment(variables) => (variables.http.as_ref(), variables.https.as_ref()),
        };
        first.into_iter().chain(second)
    }
}

impl EnvironmentProxies {
    /// The proxy through which `url` is reached; `None`: directly.
    pub fn proxy_for(&self, url: &Url) -> Option<&EgressProxy> {
        let proxy = if url.scheme() == "https" {
            &self.https
        } else {
            &self.http
        };
        let exempt = url.host().is_some_and(|host| self.no_proxy.exempts(&host));
        proxy.as_ref().filter(|_| !exempt)
    }
}

impl EgressProxy {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &super::NamedFile> {
        let secret = self.authorization.as_ref().and_then(SecretSource::file);
        self.tls.files().chain(secret)
    }

    /// Whether requests for an `http` URL are sent to the proxy itself; else it makes a tunnel for them too.
    pub fn takes_requests(&self) -> bool {
        self.scheme != ProxyScheme::Socks5h
    }
}

impl ProxyAuthorization {
    /// The longest user and the longest password that SOCKS can carry (RFC 1929 section 2).
    const LONGEST_OF_SOCKS: usize = 255;

    /// What `secret` is to a proxy of this scheme.
    ///
    /// # Errors
    /// What was expected in its place.
    pub fn new(secret: &Secret, scheme: ProxyScheme) -> Result<Self, &'static str> {
        let text = secret.expose();
        if text.contains(|c: char| c.is_ascii_control()) {
            return Err("expected one line without control characters");
        }
        let is_socks = scheme == ProxyScheme::Socks5h;
        if is_whole_value(text) {
            return if is_socks {
                Err("expected `user:password`: SOCKS has no other authorization")
            } else if HeaderValue::from_str(text).is_err() {
                Err("expected a value that fits into a header")
            } else {
                Ok(Self::Whole(secret.clone()))
            };
        }
        let Some((user, password)) = text.split_once(':') else {
            return Err("expected `user:password`, or a whole value such as `Bearer TOKEN`");
        };
        let fits = |part: &str| (1..=Self::LONGEST_OF_SOCKS).contains(&part.len());
        if is_socks && !(fits(user) && fits(password)) {
            return Err(
                "expected a user and a password of 1 to 255 bytes each, as SOCKS takes them",
            );
        }
        Ok(Self::Password {
            user: Secret::new(user),
            password: Secret::new(password),
        })
    }

    /// The value of `Proxy-Authorization`.
    pub fn header_value(&self) -> HeaderValue {
        let value = match self {
            Self::Whole(value) => Zeroizing::new(value.expose().to_owned()),
            Self::Password { user, password } => {
                let pair = format!("{}:{}", user.expose(), password.expose());
                let mut value = Zeroizing::new("Basic ".to_owned());
                BASE64_STANDARD.encode_string(Zeroizing::new(pair).as_bytes(), &mut value);
                value
            }
        };
        // Both forms were checked when it was made.
        let mut value = HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

/// Whether it is a scheme, a space and one word in the alphabet of RFC 9110 section 11.2, as in `Bearer TOKEN`.
/// Such a word has no colon, which every `user:password` has.
fn is_whole_value(text: &str) -> bool {
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    text.split_once(' ').is_some_and(|(scheme, word)| {
        !scheme.is_empty()
            && !word.is_empty()
            && scheme.bytes().all(is_scheme)
            && word.bytes().all(is_word)
    })
}

impl fmt::Display for ProxyScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5h => "socks5h",
        })
    }
}

impl fmt::Display for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(text: &str, scheme: ProxyScheme) -> Result<ProxyAuthorization, &'static str> {
        ProxyAuthorization::new(&Secret::new(text), scheme)
    }

    #[test]
    fn a_user_and_a_password_become_basic_and_a_whole_value_stays_what_it_is() {
        for (written, sent) in [
            ("Aladdin:open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("a:b:c", "Basic YTpiOmM="),
            ("user:", "Basic dXNlcjo="),
            ("ü:é", "Basic w7w6w6k="),
            ("Bearer abc.DEF-1~+/=", "Bearer abc.DEF-1~+/="),
            (
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            // It has a colon, so that it is no whole value.
            ("two words:x", "Basic dHdvIHdvcmRzOng="),
        ] {
            let header = authorization(written, ProxyScheme::Http)
                .unwrap()
                .header_value();
            assert_eq!(header, sent, "{written}");
            assert!(header.is_sensitive());
        }
    }

    #[test]
    fn what_no_proxy_can_be_shown_is_refused() {
        let long = format!("{}:x", "u".repeat(256));
        for (written, scheme) in [
            ("nobody", ProxyScheme::Http),
            ("", ProxyScheme::Http),
            ("a:b\nc", ProxyScheme::Http),
            ("Bearer two words", ProxyScheme::Http),
            ("Bearer abc", ProxyScheme::Socks5h),
            ("user:", ProxyScheme::Socks5h),
            (":password", ProxyScheme::Socks5h),
            (&long, ProxyScheme::Socks5h),
        ] {
            assert!(authorization(written, scheme).is_err(), "{written:?}");
        }
        assert!(authorization(&long, ProxyScheme::Https).is_ok());
    }

    #[test]
    fn nothing_shows_the_password() {
        let shown = authorization("user:hunter2", ProxyScheme::Http).unwrap();
        assert!(!format!("{shown:?}").contains("hunter2"));
        assert!(!format!("{:?}", shown.header_value()).contains("aHVudGVy"));
    }
}

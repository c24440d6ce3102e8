//! What a proxy answers in place of a tunnel.

use std::fmt;

use http::header::PROXY_AUTHENTICATE;
use http::{HeaderMap, StatusCode};

/// Why a proxy lets something not through. As text it follows the name of the proxy, and says what may help; it
/// repeats no word of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyRefusal {
    /// The status of its HTTP response.
    Status(StatusCode),
    /// It wants an authorization.
    Authorization(Wanted),
    /// The code of its reply (RFC 1928 section 6).
    Socks(u8),
    /// It does not take the user and the password (RFC 1929 section 2).
    SocksPassword,
    /// It takes none of the ways to be authorized that there are (RFC 1928 section 3).
    SocksMethod,
    /// What it answers is not HTTP/1.1.
    NotHttp,
    /// The head of its response is too large.
    HeadTooLarge,
    /// What it answers is not SOCKS 5.
    NotSocks,
    /// It closed the connection.
    Closed,
}

/// What a proxy asks for with 407 (RFC 9110 section 15.5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// An authorization, and none was shown.
    Any,
    /// Another one than was shown.
    Another,
    /// One that is negotiated.
    Negotiated,
}

/// Whether a response to a request that a proxy reads is one of the proxy itself, which refuses the request
/// (RFC 9110 section 15.5.8).
pub fn is_refused(status: StatusCode) -> bool {
    status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
}

impl ProxyRefusal {
    /// Of a response with this status. `authorized`: an authorization was shown.
    pub fn of_response(status: StatusCode, headers: &HeaderMap, authorized: bool) -> Self {
        if status != StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Self::Status(status);
        }
        Self::Authorization(if offers_only_negotiation(headers) {
            Wanted::Negotiated
        } else if authorized {
            Wanted::Another
        } else {
            Wanted::Any
        })
    }
}

/// Whether every challenge is one that no file can answer.
fn offers_only_negotiation(headers: &HeaderMap) -> bool {
    let is = |challenge: &[u8], scheme: &[u8]| {
        let begun = challenge.get(..scheme.len());
        begun.is_some_and(|begun| begun.eq_ignore_ascii_case(scheme))
    };
    let mut challenges = headers.get_all(PROXY_AUTHENTICATE).iter().peekable();
    challenges.peek().is_some()
        && challenges.all(|value| {
            let challenge = value.as_bytes().trim_ascii_start();
            is(challenge, b"negotiate") || is(challenge, b"ntlm") || is(challenge, b"kerberos")
        })
}

impl fmt::Display for ProxyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => {
                write!(f, "answered {status}")?;
                match status.as_u16() {
                    401 | 403 => f.write_str("; ask who runs it to allow this destination"),
                    405 | 501 => f.write_str("; it does not take CONNECT, or not here"),
                    500..=599 => f.write_str("; it could not reach the server"),
                    _ => Ok(()),
                }
            }
            Self::Authorization(wanted) => {
                write!(f, "answered {}; ", StatusCode::PROXY_AUTHENTICATION_REQUIRED)?;
                f.write_str(match wanted {
                    Wanted::Any => "set proxy_authorization",
                    Wanted::Another => "it does not take what proxy_authorization holds",
                    Wanted::Negotiated => {
                        "it takes only NTLM or Kerberos, which sidebearer does not speak"
                    }
                })
            }
            Self::Socks(code) => {
                write!(f, "answered with the SOCKS reply {code} (")?;
                f.write_str(match code {
                    1 => "general failure)",
                    2 => "not allowed by its rules); ask who runs it to allow this destination",
                    3 => "network unreachable)",
                    4 => "host unreachable)",
                    5 => "connection refused)",
                    6 => "TTL expired)",
                    7 => "command not supported)",
                    8 => "address type not supported)",
                    _ => "unassigned)",
                })
            }
            Self::SocksPassword => f.write_str("does not take what proxy_authorization holds"),
            Self::SocksMethod => f.write_str(
                "takes no way of authorization that was offered; set proxy_authorization, or check it",
            ),
            Self::NotHttp => f.write_str("does not answer in HTTP/1.1; is its scheme or port wrong?"),
            Self::HeadTooLarge => f.write_str("answered with a head that is too large"),
            Self::NotSocks => f.write_str("does not answer in SOCKS 5; is its scheme or port wrong?"),
            Self::Closed => f.write_str("closed the connection without an answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(challenges: &[&'static str], authorized: bool) -> String {
        let mut headers = HeaderMap::new();
        for challenge in challenges {
            headers.append(PROXY_AUTHENTICATE, challenge.parse().unwrap());
        }
        let status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        ProxyRefusal::of_response(status, &headers, authorized).to_string()
    }

    #[test]
    fn a_refusal_says_what_may_help() {
        let basic = "Basic realm=\"x\"";
        assert_eq!(
            told(&[basic], false),
            "answered 407 Proxy Authentication Required; set proxy_authorization"
        );
        assert!(told(&[basic], true).ends_with("does not take what proxy_authorization holds"));
        assert!(told(&["Negotiate", "NTLM"], false).contains("NTLM or Kerberos"));
        assert!(told(&["Negotiate", basic], false).ends_with("set proxy_authorization"));
        assert!(told(&[], false).ends_with("set proxy_authorization"));
        let forbidden = ProxyRefusal::Status(StatusCode::FORBIDDEN).to_string();
        assert!(forbidden.starts_with("answered 403 Forbidden; ask who runs it"));
        let rules = ProxyRefusal::Socks(2).to_string();
        assert!(rules.contains("reply 2 (not allowed by its rules)"));
    }
}

//! A pattern that editors go by refuses nothing that the reader takes.

use proptest::prelude::*;
use regex_lite::Regex;

use crate::config::parse::syntax::Syntax;
use crate::config::parse::{
    address, caller, egress, forward, http, interception, listener, oauth, proxy, units,
};

/// A way to write something: its name, its pattern, whether the reader takes a text, and texts that it takes.
struct Pattern {
    name: &'static str,
    pattern: Regex,
    /// What the whole of no good text matches.
    except: Option<Regex>,
    is_good: Box<dyn Fn(&str) -> bool>,
    good: &'static [&'static str],
    /// What both refuse.
    bad: &'static [&'static str],
}

impl Pattern {
    fn takes(&self, text: &str) -> bool {
        let is_excepted = |except: &Regex| except.is_match(text);
        self.pattern.is_match(text) && !self.except.as_ref().is_some_and(is_excepted)
    }
}

fn written(
    name: &'static str,
    pattern: &str,
    is_good: impl Fn(&str) -> bool + 'static,
    good: &'static [&'static str],
    bad: &'static [&'static str],
) -> Pattern {
    let pattern = Regex::new(&format!("^(?:{pattern})$")).unwrap();
    Pattern {
        name,
        pattern,
        except: None,
        is_good: Box::new(is_good),
        good,
        bad,
    }
}

fn syntax<T: 'static>(
    name: &'static str,
    syntax: Syntax<T>,
    good: &'static [&'static str],
    bad: &'static [&'static str],
) -> Pattern {
    let Syntax {
        pattern,
        except,
        parse,
        ..
    } = syntax;
    let is_good = move |text: &str| parse(text).is_ok();
    let except = except.map(|except| Regex::new(&format!("^(?:{})$", (except.pattern)())).unwrap());
    Pattern {
        except,
        ..written(name, pattern.unwrap(), is_good, good, bad)
    }
}

#[rustfmt::skip]
fn all() -> Vec<Pattern> {
    let url = |query| move |text: &str| address::http_url(text, query).is_ok();
    vec![
        syntax("socket", address::SOCKET,
            &["127.0.0.1:0", "127.0.0.1:00080", "[::1]:65535", "[fe80::1%5]:80", "[::ffff:1.2.3.4]:1"],
            &["", ":7080", "localhost:7080", "127.0.0.1", "127.0.0.1:65536", "256.0.0.1:1", "::1:80", "[]:1"]),
        syntax("host name", address::HOST_NAME,
            &["a", "CRM.Local.", "a_b.svc", "10.0.0.1", "10.0.0.1.", "[0::1]", "xn--bcher-kva.example", "1.a", "1a", "0x7f.1a", "-"],
            &["", ".", "a..b", "a b", "a/b", "a:80", "::1", "[::1", "b\u{fc}cher.example", "*", "127.1", "1", "a.1", "10.0.0.256"]),
        syntax("host pattern", address::HOST_PATTERN,
            &["a", "*.Example.com", "[::1]", "10.0.0.1"], &["*", "**.a", "*.", "a.*.b", "x*.a", "crm:80", "*.10.0.0.1", "*.[::1]"]),
        syntax("origin", address::ORIGIN,
            &["https://a", "HTTPS://a:443", "http://[::1]:3000", "tauri://localhost", "chrome-extension://abc"],
            &["", "*", "null", "app.example.com", "https://", "https://a/", "https://u@a", "https://a?b", "1a://b"]),
        syntax("server name", address::SERVER_NAME,
            &["a.example", "10.0.0.1", "::1", "a_b"], &["", "a b", "a/b", "[::1]", "*.a", "-a"]),
        written("URL", address::HTTP_URL.unwrap(), url(false),
            &["https://a", "HTTP://a:8080/v%41%2f", "https://[::1]:1/", "http://10.0.0.1", "https://a%2eb/"],
            &["", "a", "ftp://a", "https:/a", "https://", "https:///a", "https://u@a", "https://a?", "https://a/#", "https://a b"]),
        written("URL with a query", address::HTTP_URL_WITH_QUERY.unwrap(), url(true),
            &["https://a/t?v=1", "https://a?b?c", "https://a"], &["https://a/t?v=1#", "https://u@a/t?v=1", "?"]),
        syntax("caller", caller::CALLER_NAME, &["billing", "*", "a/b"], &["", "a b", "\u{e9}"]),
        syntax("SPIFFE ID", caller::SPIFFE_PATTERN,
            &["spiffe://corp.example/ns/*/sa/A-1", "spiffe://a"],
            &["", "spiffe://", "spiffe://A/b", "spiffe://a/", "spiffe://a//b", "spiffe://a/b*", "https://a", "spiffe://a:1/b"]),
        syntax("certificate name", caller::CERTIFICATE_NAME, &["billing.internal", "A."], &["", "*.a", "[::1]", "a:1", "10.0.0.1"]),
        syntax("service account", caller::SERVICE_ACCOUNT,
            &["billing/app", "a/b.c-d", "1/2"], &["", "a", "a/", "/a", "A/b", "-a/b", "a/b-", "a/b/c"]),
        syntax("caller header", caller::CALLER_HEADER, &["authorization", "X-Api-Key", "Proxy-Authorization", "acceptance", "x-if"],
            &["", "a b", "a:", "Host", "te", "Accept", "accept_language", "If-Match", "Content-Type", "user.agent", "x-forwarded-for"]),
        syntax("prefix", egress::PREFIX,
            &["10.20.0.0/16", "10.0.0.1", "::1", "2001:db8::/32", "::ffff:1.2.3.4"],
            &["", "10.0.0", "[::1]", "a", "10.0.0.0/", "10.0.0.0/a", "256.0.0.1"]),
        syntax("allowed prefix", egress::ALLOWED_PREFIX, &["10.20.0.0/16", "2001:db8::1"], &["", "x"]),
        syntax("host of a rule", egress::RULE_HOST, &["a", "*.a.b", "10.0.0.1"], &["", "*", "a:1"]),
        syntax("host and port", forward::HOST_AND_PORT,
            &["a", "a:8443", "[::1]:1", "10.0.0.1:080"], &["", "a:", "a:0", "a:65536", "*:1", "::1", "a:b"]),
        syntax("path", http::ROUTE_PATH, &["/", "/crm/%2F", "/a//b"], &["", "crm", "/a?b", "/a b", "/a#", "/\u{e9}", "/a\\b"]),
        syntax("method", http::METHOD, &["GET", "PROPFIND", "M-SEARCH", "X1", "TRACES"], &["", "get", "GET ", "G/T", "TRACE", "CONNECT"]),
        syntax("header", http::HEADER, &["authorization", "X_A", "a~1", "proxied", "hosts", "x-via"],
            &["", "a b", "\u{e9}", "a:", "Host", "dpop", "VIA", "Content_Length", "proxy", "Proxy-Authorization", "keep~alive", "te"]),
        syntax("injected header", http::INJECTED, &["authorization", "x-token", "x-request-ids"], &["", "a b", "host", "Transfer_Encoding", "X-Request-ID", "x_request.id"]),
        syntax("prefix of a token", http::PREFIX, &["", "Bearer", "Token:"], &["a b", "\u{e9}"]),
        syntax("host", http::HOST, &["a", "a:80", "[::1]:1", "a_b"], &["", "u@a", "a/b", "a b"]),
        syntax("domain", interception::DOMAIN, &["example.com", "10.0.0.1", "[::1]", "localhost"], &["", "*.a", ".a", "a/b"]),
        syntax("name", listener::NAME, &["app", "\u{e9} 1", "a.b"], &["", "a\nb", "\u{7f}", "\u{85}"]),
        syntax("accepted host", listener::ACCEPTED_HOST, &["*", "a.b", "[::1]"], &["", "*.a", "a:1"]),
        syntax("mode", listener::OCTAL, &["0660", "777", "0", "00000660"], &["", "8", "+660", "1000", "rw"]),
        syntax("scope", oauth::SCOPE, &["crm.read", "a:b/c", "!", "~"], &["", "a b", "\"", "\\", "\u{e9}"]),
        syntax("resource", oauth::RESOURCE, &["https://a/b?c", "urn:a", "a:b"], &["", "a", "https://a#b", "a b:c"]),
        syntax("token type", oauth::TOKEN_TYPE, &["urn:ietf:params:oauth:token-type:jwt", "https://a#b"], &["", "jwt", "a b:c"]),
        written("proxy", proxy::PROXY.unwrap(),
            |text| ["none", "environment"].contains(&text) || proxy::proxy_url(text).is_ok(),
            &["none", "environment", "http://proxy.corp:3128", "HTTPS://a:443/", "socks5h://[::1]:1080"],
            &["", "proxy.corp:3128", "http://proxy.corp", "http://a:0", "http://a:1/x", "socks5://a:1", "http://u:p@a:1"]),
        written("duration", units::DURATION_PATTERN, |text| units::duration(text).is_some(),
            &["0s", "500ms", "1m30s", "007h"], &["", "30", "s", "1.5s", "-1s", "1d", " 1s"]),
        written("size", units::SIZE_PATTERN, |text| units::size(text).is_some(),
            &["0B", "64KiB", "1GiB"], &["", "64", "64kB", "1.5MiB"]),
    ]
}

#[test]
fn a_pattern_takes_what_is_good_and_refuses_common_mistakes() {
    for written in all() {
        let name = written.name;
        for text in written.good {
            assert!((written.is_good)(text), "{name}: {text:?} is not good");
            assert!(written.takes(text), "{name}: no match of {text:?}");
        }
        for text in written.bad {
            assert!(!(written.is_good)(text), "{name}: {text:?} is good");
            assert!(!written.takes(text), "{name}: a match of {text:?}");
        }
    }
}

/// A good text with something else in one place, or two of them together.
fn near() -> impl Strategy<Value = String> {
    let good: Vec<_> = all().iter().flat_map(|written| written.good).collect();
    let text = prop::sample::select(good);
    let piece = "[ -~]|\u{e9}|%[0-9a-f]{2}|::|\\*|\\.\\.|//";
    (text.clone(), any::<prop::sample::Index>(), piece, text).prop_map(
        |(text, at, piece, other)| {
            let at = at.index(text.len() + 1);
            let at = (0..=at).rev().find(|at| text.is_char_boundary(*at));
            let (before, after) = text.split_at(at.unwrap_or(0));
            match other.len() % 3 {
                0 => format!("{before}{piece}{after}"),
                1 => format!("{before}{piece}{other}"),
                _ => format!("{before}{other}"),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_pattern_refuses_nothing_that_is_good(text in near()) {
        for written in WRITTEN.with(|all| all.clone()).iter() {
            let taken = !(written.is_good)(&text) || written.takes(&text);
            prop_assert!(taken, "{} takes {text:?}", written.name);
        }
    }
}

thread_local! {
    static WRITTEN: std::rc::Rc<Vec<Pattern>> = std::rc::Rc::new(all());
}

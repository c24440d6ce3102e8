//! Who may use a TCP listener: it can be reached by every web page that a browser near it shows,
//! directly or through a name of the page's own that resolves to its address (DNS rebinding).
//!
//! Browsers name the page that makes a request in `Origin`, but not with a plain GET. There they
//! send `Sec-Fetch-*`, but neither with a WebSocket handshake nor to a host that they do not take
//! for trustworthy: any but `localhost` and the loopback addresses. Where both are missing, what is
//! left tells that a browser asks, though not for whom.

use http::header::{ACCEPT, ACCEPT_LANGUAGE, HOST, ORIGIN, UPGRADE_INSECURE_REQUESTS, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::{ErrorKind, ProxyError};
use super::request::{Checked, is_browser};
use crate::config::Scheme;
use crate::route::is_loopback_host;
use crate::snapshot::BrowserGuard;

#[cfg(test)]
mod tests;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// How much of an `Origin` or a host is quoted: no name of a host is longer.
const QUOTED: usize = 280;

/// Why a request is refused that a browser made, or may have made, for the page of another site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrowserRefusal<'r> {
    /// Its `Host`, which a page chose for itself.
    Host(&'r str),
    /// Its `Origin`.
    Origin(&'r HeaderValue),
    /// Its `Sec-Fetch-Site`: it was made for the page of another site.
    FetchSite(&'r HeaderValue),
    /// Its `Sec-Fetch-Mode`: the browser made it of its own accord (`Sec-Fetch-Site: none`), and not to
    /// open a page that its user asked for.
    FetchMode(&'r HeaderValue),
    /// It asks by name, and does not say for which page.
    Unmarked,
}

/// As [`admit_host`], and then as [`admit_page`].
///
/// # Errors
///
/// The header that decided.
pub fn admit<'r>(
    browser_guard: &BrowserGuard,
    own: Scheme,
    checked: &'r Checked<'_>,
    headers: &'r HeaderMap,
) -> Result<(), BrowserRefusal<'r>> {
    admit_host(browser_guard, checked)?;
    admit_page(browser_guard, own, checked, headers)
}

/// Refuses a host that is not the socket's. Consent to browsers is not consent to rebinding: such a page passes for
/// same-origin.
///
/// # Errors
///
/// The host.
pub fn admit_host<'r>(
    browser_guard: &BrowserGuard,
    checked: &'r Checked<'_>,
) -> Result<(), BrowserRefusal<'r>> {
    if browser_guard.allowed_hosts.contains(checked.written_host()) {
        Ok(())
    } else {
        Err(BrowserRefusal::Host(checked.written_host()))
    }
}

/// Refuses what a foreign web page may have caused, where those that have come from here have come in the `own` scheme.
///
/// # Errors
///
/// The header that decided.
pub fn admit_page<'r>(
    browser_guard: &BrowserGuard,
    own: Scheme,
    checked: &Checked<'_>,
    headers: &'r HeaderMap,
) -> Result<(), BrowserRefusal<'r>> {
    if !checked.seen.browser || browser_guard.allow_browsers {
        return Ok(());
    }
    let mut allowed = false;
    for origin in headers.get_all(ORIGIN) {
        if is_listed(origin.as_bytes(), &browser_guard.allow_origins) {
            allowed = true;
        } else if !is_own(origin.as_bytes(), checked.authority, own) {
            return Err(BrowserRefusal::Origin(origin));
        }
    }
    if allowed {
        return Ok(());
    }
    check_fetch_metadata(headers)?;
    let is_asked_by_name = || !is_loopback_host(checked.written_host());
    if browser_guard.refuse_unmarked && is_asked_by_name() && is_unmarked(headers) {
        return Err(BrowserRefusal::Unmarked);
    }
    Ok(())
}

/// Copies the headers by which a request is judged, here and by the host that it is for.
pub fn keep_judged(from: &HeaderMap, to: &mut HeaderMap) {
    const JUDGED: [HeaderName; 8] = [
        HOST,
        ORIGIN,
        SEC_FETCH_SITE,
        SEC_FETCH_MODE,
        USER_AGENT,
        ACCEPT,
        ACCEPT_LANGUAGE,
        UPGRADE_INSECURE_REQUESTS,
    ];
    for name in JUDGED {
        for value in from.get_all(&name) {
            to.append(name.clone(), value.clone());
        }
    }
}

impl BrowserRefusal<'_> {
    /// The answer of a listener, which can be told to allow it.
    #[cold]
    pub fn to_listener_error(self) -> ProxyError {
        let detail = match self {
            Self::Host(host) => {
                let detail = format!(
                    "the host {} is not one of this listener's: if it should be, \
                     add it to `hosts` of the listener",
                    quoted(host)
                );
                return ProxyError::new(ErrorKind::NoRoute, detail);
            }
            // It stands for all pages that may not be known, so that it cannot be listed.
            Self::Origin(origin) if origin == "null" => {
                "the Origin \"null\" can be any web page's: if every page should be able to use \
                 this listener, set `allow_browsers` of the listener"
                    .to_owned()
            }
            Self::Origin(origin) => format!(
                "the Origin {} is not this listener's own: if its pages, or an app that relays \
                 their requests, should be able to use the listener, add it to its `allow_origins`; \
                 `allow_browsers` lets the pages of every origin in",
                quoted(origin.as_bytes())
            ),
            Self::FetchSite(site) => format!(
                "a browser made this request for another site, as its Sec-Fetch-Site {} says: if \
                 the pages of other sites should be able to use this listener, set \
                 `allow_browsers` of the listener",
                quoted(site.as_bytes())
            ),
            Self::FetchMode(mode) => format!(
                "a browser made this request of its own accord, and not to open a page, as its \
                 Sec-Fetch-Mode {} says: if it should be able to, set `allow_browsers` of the \
                 listener",
                quoted(mode.as_bytes())
            ),
            Self::Unmarked => "a browser asked for this by a name, and does not tell for which \
                               page: ask by loopback address or as localhost, or set \
                               `allow_browsers` of the listener"
                .to_owned(),
        };
        ProxyError::new(ErrorKind::BrowserRequest, detail)
    }

    /// The answer of the admin pages, which cannot.
    #[cold]
    pub fn to_admin_error(self) -> ProxyError {
        match self {
            Self::Host(_) => {
                ProxyError::new(ErrorKind::NoRoute, "ask by IP address, or as localhost")
            }
            Self::Origin(origin) => {
                let detail = format!(
                    "a web page of another site made this request: its Origin is {}",
                    quoted(origin.as_bytes())
                );
                ProxyError::new(ErrorKind::BrowserRequest, detail)
            }
            Self::FetchSite(site) => {
                let detail = format!(
                    "a web page of another site made this request: its Sec-Fetch-Site is {}",
                    quoted(site.as_bytes())
                );
                ProxyError::new(ErrorKind::BrowserRequest, detail)
            }
            Self::FetchMode(mode) => {
                let detail = format!(
                    "a browser made this request of its own accord: its Sec-Fetch-Mode is {}",
                    quoted(mode.as_bytes())
                );
                ProxyError::new(ErrorKind::BrowserRequest, detail)
            }
            Self::Unmarked => {
                let detail = "a browser made this request, and does not tell for which page";
                ProxyError::new(ErrorKind::BrowserRequest, detail)
            }
        }
    }
}

/// Whether an `Origin` is that of a page which came from here: the very host and port that are
/// asked, in the scheme that is spoken.
fn is_own(origin: &[u8], authority: &str, own: Scheme) -> bool {
    let (scheme, usual_port): (&[u8], &[u8]) = match own {
        Scheme::Https => (b"https://", b":443"),
        Scheme::Http => (b"http://", b":80"),
    };
    let Some((begins, host)) = origin.split_at_checked(scheme.len()) else {
        return false;
    };
    let with_port_implied = |host| without_suffix(host, usual_port);
    let asked = with_port_implied(authority.as_bytes());
    begins.eq_ignore_ascii_case(scheme)
        && !asked.is_empty()
        && with_port_implied(host).eq_ignore_ascii_case(asked)
}

/// Whether an `Origin` is one of `allowed`, which never have the port that their scheme implies.
fn is_listed(origin: &[u8], allowed: &[String]) -> bool {
    let is = |allowed: &String| {
        let port: &[u8] = match allowed.split_once(':') {
            Some(("http", _)) => b":80",
            Some(("https", _)) => b":443",
            _ => b"",
        };
        without_suffix(origin, port).eq_ignore_ascii_case(allowed.as_bytes())
    };
    allowed.iter().any(is)
}

fn without_suffix<'t>(text: &'t [u8], suffix: &[u8]) -> &'t [u8] {
    text.strip_suffix(suffix).unwrap_or(text)
}

/// Checks what the browser says about where a request comes from (Fetch Metadata); pages can neither
/// forge nor leave it out. `none` is the user's own doing, such as an address typed in, and navigates. A
/// certificate can make the browser ask for what it names as well: that is `none` too, but no
/// navigation.
fn check_fetch_metadata(headers: &HeaderMap) -> Result<(), BrowserRefusal<'_>> {
    let is = |value: &HeaderValue, known: &[u8]| value.as_bytes().eq_ignore_ascii_case(known);
    for site in headers.get_all(SEC_FETCH_SITE) {
        if is(site, b"same-origin") {
            continue;
        }
        if !is(site, b"none") {
            return Err(BrowserRefusal::FetchSite(site));
        }
        let mut modes = headers.get_all(SEC_FETCH_MODE).iter();
        if let Some(mode) = modes.find(|mode| !is(mode, b"navigate")) {
            return Err(BrowserRefusal::FetchMode(mode));
        }
    }
    Ok(())
}

/// Whether a browser asks that says nothing about where the request comes from. Programs that borrow
/// a browser's `User-Agent` do not borrow the rest.
fn is_unmarked(headers: &HeaderMap) -> bool {
    let marks = [ORIGIN, SEC_FETCH_SITE, SEC_FETCH_MODE];
    let html = |accept: &HeaderValue| {
        let mut windows = accept.as_bytes().windows(b"text/html".len());
        windows.any(|window| window.eq_ignore_ascii_case(b"text/html"))
    };
    headers.get_all(USER_AGENT).iter().any(is_browser)
        && !marks.iter().any(|mark| headers.contains_key(mark))
        && (headers.contains_key(ACCEPT_LANGUAGE)
            || headers.contains_key(UPGRADE_INSECURE_REQUESTS)
            || headers.get_all(ACCEPT).iter().any(html))
}

/// What a client sent, as an answer and the log may repeat it: it can hold any bytes, and many.
fn quoted(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let end = if bytes.len() > QUOTED { "..." } else { "" };
    let start = &bytes[..bytes.len().min(QUOTED)];
    format!("\"{}{end}\"", start.escape_ascii())
}

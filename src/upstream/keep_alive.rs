//! How long an upstream says that it keeps an idle connection.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// A connection is given up this long before the upstream said it would close it.
const SAFETY: Duration = Duration::from_secs(1);

/// `Keep-Alive: timeout=N` of the upstream, less a second for what is under way.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let seconds = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?;
    let promised = Duration::from_secs(seconds.trim().parse().ok()?);
    Some(promised.saturating_sub(SAFETY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_of_the_upstream_is_read_with_a_second_to_spare() {
        let parse = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", http::HeaderValue::from_static(text));
            timeout(&headers)
        };
        assert_eq!(parse("timeout=5, max=100"), Some(Duration::from_secs(4)));
        assert_eq!(parse("max=100, timeout=5"), Some(Duration::from_secs(4)));
        assert_eq!(parse("timeout=0"), Some(Duration::ZERO));
        assert_eq!(parse("max=100"), None);
        assert_eq!(parse("timeout=soon"), None);
    }
}

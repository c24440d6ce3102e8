//! Through corporate proxies.

mod environment;
mod http;
mod misbehaving;
mod passing;
mod reload;
mod socks;
mod tokens;

use crate::support::api::Api;
use crate::support::server::response;
use crate::support::tls::Ca;
use crate::support::unprotected;

/// The name of an API that only the proxies of these tests resolve.
const NAME: &str = "api.internal";

/// An API over TLS by this name.
fn secure_api(ca: &Ca) -> Api {
    let tls = ca.certificate(&[NAME]).server(&["h2", "http/1.1"]);
    Api::with_tls(Some(tls), |seen| response(200, seen.body.clone()))
}

/// A configuration whose upstream is at `https://` this name and port 8443, with more lines of its table.
fn secure(ca: &Ca, lines: &str) -> String {
    let url = format!("https://{NAME}:8443");
    let tls = format!("tls = {{ ca_file = \"{}\" }}\n{lines}", ca.file().display());
    unprotected(&url, &tls)
}

/// A configuration whose upstream is at `http://` this name, with more lines of its table.
fn plain(lines: &str) -> String {
    unprotected(&format!("http://{NAME}"), lines)
}

//! The configuration of the site.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use crate::support::ip;

/// Where everything is.
pub(super) struct Places<'a> {
    pub(super) listeners: &'a BTreeMap<&'static str, SocketAddr>,
    pub(super) crm: SocketAddr,
    pub(super) web: SocketAddr,
    pub(super) secure: SocketAddr,
    pub(super) far: SocketAddr,
    pub(super) corporate: SocketAddr,
    pub(super) ca_file: &'a Path,
    pub(super) token_endpoint: &'a str,
}

pub(super) fn config(places: &Places<'_>) -> String {
    format!(
        r#"
[log]
format = "json"
access = "all"

[interception]
key_directory = "ca"
trust_directory = "trust"
domains = ["example.com", "{ip}"]

[[listeners]]
name = "app"
address = "{app}"
upstream = "crm"
hosts = ["crm.internal"]

[[listeners]]
name = "gate"
address = "{gate}"
callers = ["billing", "audit"]

[[listeners]]
name = "proxy"
address = "{proxy}"
kind = "forward"
upstreams = ["crm", "web", "secure", "bare", "round"]

[[listeners]]
name = "known"
address = "{known}"
kind = "forward"
callers = ["billing", "audit", "slow"]
intercept = true

[[listeners]]
name = "open"
address = "{open}"
kind = "forward"
upstreams = ["crm"]
unmatched = "pass"

[callers.billing]
key = {{ file = "billing" }}
limits = {{ concurrent = 50 }}

[callers.audit]
key = {{ file = "audit" }}

[callers.slow]
key = {{ file = "slow" }}
limits = {{ requests_per_second = 1 }}

[upstreams.crm]
url = "http://{crm}/v2"
hosts = ["crm.example.com:80"]
credential = "crm"

[upstreams.web]
url = "http://{web}"
hosts = ["web.example.com:80"]
forward_caller = "x-caller"

[upstreams.secure]
url = "https://{secure}"
hosts = ["secure.example.com:443"]
host = "api.example.com"
credential = "crm"
tls = {{ ca_file = "{ca_file}", server_name = "{ip}" }}

[upstreams.bare]
url = "https://{secure}/bare"
hosts = ["bare.example.com:443"]
tls = {{ ca_file = "{ca_file}", server_name = "{ip}" }}

[upstreams.own]
url = "http://{web}/own"
hosts = ["own.example.com:80"]
credentials = {{ billing = "crm" }}

[upstreams.far]
url = "http://far.example.net"
proxy = "http://{corporate}"

[upstreams.round]
url = "http://{app}"
hosts = ["round.example.com:80"]

[[routes]]
path = "/web"
upstream = "web"

[[routes]]
path = "/web/only"
methods = ["POST"]
upstream = "crm"

[[routes]]
path = "/cut/"
replace_prefix = "/"
upstream = "web"

[[routes]]
path = "/new"
replace_prefix = "/old"
upstream = "crm"

[[routes]]
host = "*.tenants.example"
upstream = "web"

[[routes]]
host = "one.tenants.example"
path = "/deep"
upstream = "crm"

[[routes]]
path = "/own"
listener = "gate"
upstream = "own"

[[routes]]
path = "/audit"
listener = "gate"
callers = ["audit"]
limits = {{ requests_per_second = 1000 }}
upstream = "web"

[[routes]]
path = "/far"
upstream = "far"

[[routes]]
path = "/round"
upstream = "round"

[[routes]]
host = "web.example.com"
path = "/written"
upstream = "crm"

[egress]
allow = ["{ip}"]
ports = [80, 443, {far_port}, {web_port}]

[[egress.rules]]
hosts = ["*.denied.example", "denied.example"]
action = "deny"

[[egress.rules]]
hosts = ["{ip}"]
listeners = ["known"]
callers = ["billing"]
action = "pass"

[[egress.rules]]
hosts = ["{ip}"]
listeners = ["proxy"]
action = "pass"

[credentials.crm]
token_endpoint = "{endpoint}"
client_id = "billing"
client_secret = {{ file = "secret" }}
"#,
        ip = ip(),
        app = places.listeners["app"],
        gate = places.listeners["gate"],
        proxy = places.listeners["proxy"],
        known = places.listeners["known"],
        open = places.listeners["open"],
        crm = places.crm,
        web = places.web,
        secure = places.secure,
        ca_file = places.ca_file.display(),
        corporate = places.corporate,
        far_port = places.far.port(),
        web_port = places.web.port(),
        endpoint = places.token_endpoint,
    )
}

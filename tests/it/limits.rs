//! Each limit holds at the number that its key says.

mod admission;
mod clients;
mod connections;
mod pages;
mod upstreams;

use std::net::SocketAddr;

use crate::support::any_port;

/// One upstream without a credential, one shard; `server` and `upstream` are more lines of theirs.
fn config(server: &str, api: SocketAddr, upstream: &str) -> String {
    let any = any_port();
    format!(
        r#"
[server]
workers = 1
{server}
[[listeners]]
name = "app"
address = "{any}"
upstream = "api"
[upstreams.api]
url = "http://{api}"
{upstream}
"#
    )
}

//! Routes for any host, which forward listeners take only if they are named.

use super::offline::explain;
use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::sidebearer::directory;
use crate::support::{loopback, smallest};

#[tokio::test]
async fn a_route_for_any_host_of_a_proxy_says_what_of_it_does_not_fit() {
    let (api, idp) = (Api::open(), Idp::start());
    let forward = format!(
        "\n[[listeners]]\nname = \"proxy\"\naddress = \"{}\"\nkind = \"forward\"\nupstreams = []\n\n\
         [[routes]]\nlistener = \"proxy\"\npath = \"/api\"\nmethods = [\"POST\"]\nupstream = \"web\"\n\n\
         [upstreams.web]\nurl = \"http://web.example.com:8081\"\n",
        loopback()
    );
    let (_dir, path) = directory(&(smallest(&api, &idp) + &forward));
    let scheme = "its upstream has another scheme or port";
    for (method, target, reason) in [
        ("CONNECT", "x.example.com:443", scheme),
        ("POST", "https://x.example.com/api", scheme),
        ("POST", "http://x.example.com:8080/api", scheme),
        (
            "POST",
            "http://x.example.com/foo",
            "its path \"/api\" does not begin \"/foo\"",
        ),
        (
            "GET",
            "http://x.example.com/api",
            "it is for POST alone, and not for GET",
        ),
    ] {
        let ended = explain(&path, &[method, target, "--listener", "proxy"]).await;
        assert_eq!(ended.code, 0, "{target}: {ended:?}");
        let line = format!("*/api (to web): {reason}");
        assert!(ended.stdout.contains(&line), "{target}: {}", ended.stdout);
    }
}

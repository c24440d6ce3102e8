//! Changes of a running configuration: nothing is lost on the way, and nothing half done.

mod credentials;
mod faults;
mod files;
mod findings;
mod listeners;
mod rotation;
mod snapshot;
mod under_load;
mod upgrades;

use std::net::SocketAddr;

use crate::support::api::{Api, unauthorized};
use crate::support::client;
use crate::support::idp::Idp;
use crate::support::server::response;
use crate::support::sidebearer::Sidebearer;

/// An API that answers its name to who brings a token of `idp`.
fn api(name: &'static str, idp: &Idp) -> Api {
    let idp = idp.clone();
    Api::start(move |seen| {
        if idp.accepts(seen.authorization()) {
            response(200, name)
        } else {
            unauthorized("Bearer error=\"invalid_token\"")
        }
    })
}

fn listener(name: &str, address: SocketAddr) -> String {
    format!("[[listeners]]\nname = \"{name}\"\naddress = \"{address}\"\n\n")
}

fn route(path: &str, upstream: &str) -> String {
    format!("[[routes]]\npath = \"{path}\"\nupstream = \"{upstream}\"\n\n")
}

/// An upstream with the credential of this name; without one if it is empty.
fn upstream(name: &str, url: &str, credential: &str) -> String {
    format!("[upstreams.{name}]\nurl = \"{url}\"\ncredential = \"{credential}\"\n\n")
}

/// A credential that reads its secret from the file `secret`.
fn credential(name: &str, idp: &Idp) -> String {
    format!(
        "[credentials.{name}]\ntoken_endpoint = \"{}\"\nclient_id = \"billing\"\n\
         client_secret = {{ file = \"secret\" }}\n\n",
        idp.endpoint()
    )
}

async fn text(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = client::get(address, path).await;
    (answer.status, answer.text())
}

async fn generation(sidebearer: &Sidebearer) -> u64 {
    let status = sidebearer.status().await;
    status["snapshot"]["generation"].as_u64().unwrap()
}

/// How the last reload went, and why it was refused.
async fn outcome(sidebearer: &Sidebearer) -> (String, String) {
    let status = sidebearer.status().await;
    let reload = &status["reload"];
    let outcome = reload["outcome"].as_str().unwrap().to_owned();
    (outcome, reload["diagnostics"].to_string())
}

async fn reloads(sidebearer: &Sidebearer, outcome: &str) -> f64 {
    let series = format!("sidebearer_config_reloads_total{{outcome=\"{outcome}\"}}");
    sidebearer.metric(&series).await
}

fn refuses_connections(address: SocketAddr) -> bool {
    std::net::TcpStream::connect(address)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

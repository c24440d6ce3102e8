//! What the status shows of listeners.

use serde_json::{Map, Value, json};

use crate::config::ListenAddress;
use crate::metrics::RequestCounts;
use crate::snapshot::Snapshot;
use crate::tls::{ServerCertificate, ServerTls};

/// Each by its name: its address, what becomes of what no route leads to, its TLS.
pub(super) fn configured(snapshot: &Snapshot) -> Map<String, Value> {
    let configured = snapshot.config.listeners.iter();
    let shown = configured
        .zip(&snapshot.listeners)
        .map(|(listener, rules)| {
            let address = match &listener.address {
                ListenAddress::Tcp(address) => address.to_string(),
                ListenAddress::Unix { path, .. } => format!("unix:{}", path.display()),
            };
            let mut shown = json!({ "address": address });
            if let Some(forward) = &listener.forward {
                shown["unmatched"] = json!(forward.unmatched.word());
            }
            if let Some(tls) = &rules.tls {
                shown["tls"] = listener_tls(tls);
            }
            (listener.name.clone(), shown)
        });
    shown.collect()
}

/// Each by its name, with what has been answered there.
pub(super) fn with_counts(snapshot: &Snapshot, counted: &RequestCounts) -> Map<String, Value> {
    let mut shown = configured(snapshot);
    for (name, listener) in &mut shown {
        let counts = counted.listeners.get(name);
        let counts = counts.cloned().unwrap_or_default();
        listener["responses"] = json!(counts.responses);
        listener["errors"] = json!(counts.errors);
    }
    shown
}

/// What ends when, as Unix times.
fn listener_tls(tls: &ServerTls) -> Value {
    let certificate = |certificate: &ServerCertificate| {
        json!({
            "file": certificate.file.display().to_string(),
            "expires": certificate.not_after.as_secs(),
        })
    };
    json!({
        "certificates": tls.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "verifies_clients": tls.clients.is_some(),
        "crl_next_update": tls.next_crl_update().map(|at| at.as_secs()),
    })
}

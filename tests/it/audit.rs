//! The record of every decision: what stands in it, and that it holds up.

mod disk;
mod file;
mod lines;
mod reload;

use std::path::Path;

use serde_json::Value;

use crate::support::{any_port, eventually};

/// One listener, an upstream `api` at `url` with a credential, and the audit in `file`.
fn config(url: &str, token_endpoint: &str, file: &str, overflow: &str) -> String {
    let any = any_port();
    format!(
        r#"
[audit]
file = "{file}"
overflow = "{overflow}"

[[listeners]]
name = "app"
address = "{any}"

[[routes]]
path = "/crm"
upstream = "api"
limits = {{ tunnels = 1 }}

[upstreams.api]
url = "{url}"
credential = "crm"

[credentials.crm]
token_endpoint = "{token_endpoint}"
client_id = "billing"
client_secret = {{ file = "secret" }}
"#
    )
}

/// The records in a file; every line is one.
fn records(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last line may be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let record = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    whole.lines().map(record).collect()
}

/// Nothing can be written under this name any more. In one step: else the file could be made anew meanwhile.
fn spoil(file: &Path) {
    let link = file.with_extension("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    std::fs::rename(link, file).unwrap();
}

/// Waits for this many records of an event.
pub(crate) async fn wait_for(file: &Path, event: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    eventually("the records are written", async || {
        found = records(file);
        found.retain(|record| record["event"] == event);
        found.len() >= count
    })
    .await;
    assert_eq!(found.len(), count, "{found:?}");
    found
}

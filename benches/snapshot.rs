//! What a reload costs: from the text of a configuration to one that serves.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use sidebearer::config::{Config, load};
use sidebearer::metrics::Metrics;
use sidebearer::snapshot::Builder;
use sidebearer::token::SystemClock;

const ROUTES: usize = 10_000;

fn main() {
    divan::main();
}

fn write_config(directory: &Path) -> std::path::PathBuf {
    let mut text = r#"
[[listeners]]
address = "127.0.0.1:7080"
[upstreams.crm]
url = "https://crm.example.com"
credential = "crm"
[credentials.crm]
token_endpoint = "https://login.example.com/token"
client_id = "billing"
client_secret = "a literal one is warned about"
refresh = "lazy"
"#
    .to_owned();
    for at in 0..ROUTES {
        let route = writeln!(
            text,
            "[[routes]]\npath = \"/team/{at:06}\"\nupstream = \"crm\""
        );
        route.expect("memory takes everything");
    }
    let path = directory.join("sidebearer.toml");
    std::fs::write(&path, text).expect("a temporary file");
    path
}

fn checked(path: &Path) -> Config {
    load(path).expect("a valid configuration").config
}

/// Reads and checks the file.
#[divan::bench(sample_count = 20)]
fn check(bencher: divan::Bencher<'_, '_>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = write_config(directory.path());
    bencher.bench_local(|| checked(&path));
}

/// Builds what serves, as at the start.
#[divan::bench(sample_count = 20)]
fn build(bencher: divan::Bencher<'_, '_>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = write_config(directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let _inside = runtime.enter();
    let builder = Builder::new(Metrics::new(), Arc::new(SystemClock), 2);
    bencher
        .with_inputs(|| checked(&path))
        .bench_local_values(|config| builder.build(config, None).expect("TLS can be set up"));
}

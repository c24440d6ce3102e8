//! What the first connection to a host takes longer than others, where its TLS is ended here: a key and a certificate of
//! its own, and its settings of TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use sidebearer::config::Interception;
use sidebearer::interception::{Interceptor, MirroredAlpn};
use tempfile::TempDir;

fn main() {
    divan::main();
}

/// With a CA that is made for it.
fn interceptor() -> (TempDir, Arc<Interceptor>) {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Interception {
        key_directory: directory.path().join("ca"),
        trust_directory: directory.path().join("trust"),
        domains: vec!["example.com".to_owned()],
        roots_file: None,
        leaf_lifetime: Duration::from_secs(86_400),
    };
    let interceptor = Interceptor::open(&settings, None).expect("a CA");
    (directory, interceptor)
}

/// A host that has no certificate yet.
#[divan::bench(sample_count = 1000, sample_size = 1)]
fn first(bencher: divan::Bencher<'_, '_>) {
    let (_directory, interceptor) = interceptor();
    let hosts = AtomicUsize::new(0);
    bencher
        .with_inputs(|| format!("host-{}.example.com", hosts.fetch_add(1, Relaxed)))
        .bench_refs(|host| interceptor.server_config(host, MirroredAlpn::Http2AndHttp1));
}

/// One that has.
#[divan::bench]
fn known(bencher: divan::Bencher<'_, '_>) {
    let (_directory, interceptor) = interceptor();
    let config = || interceptor.server_config("crm.example.com", MirroredAlpn::Http2AndHttp1);
    config().expect("a certificate");
    bencher.bench_local(config);
}

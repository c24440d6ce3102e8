//! What it costs to tell a caller by a name in its certificate and by its key: as much among 10,000 as alone.

use std::time::Duration;

use sidebearer::caller::token::{TokenVerifier, Verification};
use sidebearer::caller::{CallerIndex, Callers, CertificateIdentity, Claim};
use sidebearer::config;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// Patterns with wildcards at different places, none of which has an ID in common with another.
const SHAPES: [&str; 4] = ["/ns/N/sa/*", "/zone/*/host/N", "/*/job/N/run", "/fleet/N/*"];

/// So many callers, of whom each is known by what `means` says of its number.
fn callers(count: usize, means: impl Fn(usize) -> String) -> Callers {
    let mut text = "[[listeners]]\naddress = \"127.0.0.1:7080\"\nupstream = \"crm\"\n\
                    [upstreams.crm]\nurl = \"http://localhost:1\"\n"
        .to_owned();
    for n in 0..count {
        text += &format!("[callers.c{n}]\n{}\n", means(n));
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &text).expect("it is written");
    let loaded = config::load(file.path()).expect("a configuration");
    Callers::build(&loaded.config, None)
}

fn certificate(spiffe_id: Option<&str>, dns_names: &[&str]) -> CertificateIdentity {
    CertificateIdentity {
        spiffe_id: spiffe_id.map(Into::into),
        dns_names: dns_names.iter().map(|name| (*name).into()).collect(),
        not_before: Duration::ZERO,
        not_after: Duration::MAX,
    }
}

/// Looks up a certificate that must be a caller's.
fn look_up(bencher: divan::Bencher<'_, '_>, callers: &Callers, certificate: &CertificateIdentity) {
    bencher.bench_local(|| owner(callers, certificate));
}

fn owner(callers: &Callers, certificate: &CertificateIdentity) -> CallerIndex {
    match callers.by_certificate(certificate) {
        Claim::Of(identified) => identified.caller,
        other => panic!("{other:?}"),
    }
}

/// The second of two DNS names is a caller's.
#[divan::bench(args = [1, 10_000])]
fn certificate_name(bencher: divan::Bencher<'_, '_>, count: usize) {
    let callers = callers(count, |n| {
        format!("certificate_name = \"team-{n}.example.org\"")
    });
    let certificate = certificate(None, &["other.example.org", "team-0.example.org"]);
    look_up(bencher, &callers, &certificate);
}

/// An ID that is written out.
#[divan::bench(args = [1, 10_000])]
fn spiffe_id(bencher: divan::Bencher<'_, '_>, count: usize) {
    let callers = callers(count, |n| {
        format!("spiffe_id = \"spiffe://example.org/ns/team-{n}/sa/app\"")
    });
    let certificate = certificate(Some("spiffe://example.org/ns/team-0/sa/app"), &[]);
    look_up(bencher, &callers, &certificate);
}

/// An ID of one pattern, where patterns have their wildcards in four ways.
#[divan::bench(args = [SHAPES.len(), 10_000])]
fn spiffe_pattern(bencher: divan::Bencher<'_, '_>, count: usize) {
    let callers = callers(count, |n| {
        let path = SHAPES[n % SHAPES.len()].replace('N', &format!("t{n}"));
        format!("spiffe_id = \"spiffe://example.org{path}\"")
    });
    let certificate = certificate(Some("spiffe://example.org/zone/a/host/t1"), &[]);
    look_up(bencher, &callers, &certificate);
}

/// A key of 43 characters, whose digest is made each time.
#[divan::bench(args = [1, 10_000])]
fn key(bencher: divan::Bencher<'_, '_>, count: usize) {
    let callers = callers(count, |n| format!("key = \"{n:0>43}\""));
    let (key, no_tokens) = (format!("{:0>43}", 0), TokenVerifier::default());
    bencher.bench_local(|| match callers.by_secret(&key, &no_tokens) {
        Verification::Caller(identified) => identified,
        _ => panic!("nobody"),
    });
}

//! What one proof of possession costs: it is owed by every request with a bound token.

use std::hint::black_box;

use sidebearer::dpop::{ProofClaims, ProofKey};

fn main() {
    divan::main();
}

fn claims() -> ProofClaims<'static> {
    ProofClaims {
        method: "POST",
        target: ["https", "api.example.com", "/v2/accounts/0123456789/orders"],
        issued_at: 1_800_000_000,
        token_hash: Some("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"),
        nonce: Some("eyJ7S_zG.eyJH0-Z.HX4w-7v"),
    }
}

/// The whole: claims, signature, header value.
#[divan::bench]
fn proof(bencher: divan::Bencher<'_, '_>) {
    let key = ProofKey::generate();
    bencher.bench_local(|| key.prove(black_box(claims())));
}

/// The signature alone, which is the floor.
#[divan::bench]
fn signature(bencher: divan::Bencher<'_, '_>) {
    let key = sidebearer::jose::SigningKey::generate_es256();
    let message = [b'x'; 512];
    bencher.bench_local(|| key.sign(black_box(&message)));
}

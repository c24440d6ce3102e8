//! What it costs to know that nothing has come on a connection before it carries another request.

use std::net::TcpListener;

use sidebearer::upstream::UpstreamIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// What all of it needs.
const LOOPBACK: &str = "sockets on loopback";

fn main() {
    divan::main();
}

/// A connection on which nothing comes, its other end, and what watches it.
fn quiet() -> (Runtime, UpstreamIo, std::net::TcpStream) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect(LOOPBACK);
    let listener = TcpListener::bind("127.0.0.1:0").expect(LOOPBACK);
    let connecting = TcpStream::connect(listener.local_addr().expect(LOOPBACK));
    let tcp = runtime.block_on(connecting).expect(LOOPBACK);
    let (other, _) = listener.accept().expect(LOOPBACK);
    (runtime, UpstreamIo::Tcp(tcp.into()), other)
}

/// As far as the runtime knows.
#[divan::bench(sample_size = 1000)]
fn asking_the_runtime(bencher: divan::Bencher<'_, '_>) {
    let (_runtime, mut io, _other) = quiet();
    bencher.bench_local(|| io.known_unsolicited());
}

/// As far as the system knows.
#[divan::bench(sample_size = 1000)]
fn asking_the_system(bencher: divan::Bencher<'_, '_>) {
    let (_runtime, mut io, _other) = quiet();
    bencher.bench_local(|| io.unsolicited());
}

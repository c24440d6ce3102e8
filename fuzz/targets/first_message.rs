//! What a client sends first where TLS may be ended, or on a redirected connection: how it arrives changes nothing, what was
//! read can be passed on as it came, and memory is bounded.
//!
//! The first byte is the size of the pieces, 0 for all at once. The rest is what is sent.

#![no_main]

use std::future::poll_fn;
use std::task::Poll;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sidebearer::client_socket::ClientSocket;
use sidebearer::server::tls::client_hello::{self, NoHello};
use sidebearer::server::{FirstWords, first_words, may_become_http};
use sidebearer_fuzz::measure;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// What the first message may take: twice the 64 KiB of the TLS library, and what is read at once.
const MOST: usize = 160 * 1024;

fuzz_target!(|data: &[u8]| {
    let Some((size, sent)) = data.split_first() else {
        return;
    };
    words(sent);
    let size = if *size == 0 {
        usize::MAX
    } else {
        (*size).into()
    };
    let (whole, cost) = measure(|| hello(sent, usize::MAX));
    assert!(cost.peak <= MOST + 8 * sent.len(), "{cost:?}");
    assert_eq!(hello(sent, size), whole, "in pieces of {size}");
    if matches!(whole, Hello::Accepted { .. }) {
        assert_eq!(first_words(sent), Some(FirstWords::Tls));
    }
});

/// What has been said of the first words stays said, and what is read here is waited for.
fn words(sent: &[u8]) {
    let mut said = None;
    for length in 0..=sent.len().min(512) {
        let now = first_words(&sent[..length]);
        assert!(
            said.is_none() || now == said,
            "{said:?} became {now:?} at {length}"
        );
        said = now;
        if said == Some(FirstWords::Tls) {
            assert!(may_become_http(&sent[..1]));
        }
    }
    if said == Some(FirstWords::Http) {
        assert!(sent.contains(&b'/') || sent.contains(&b'*'));
    }
}

/// What became of a first message.
#[derive(Debug, PartialEq)]
enum Hello {
    Accepted {
        name: Option<String>,
        alpn: Option<Vec<Vec<u8>>>,
    },
    Plaintext,
    Silent,
    Gone,
    Refused(Vec<u8>),
}

/// Reads it from a socket that gives it in pieces of this size.
fn hello(sent: &[u8], size: usize) -> Hello {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    runtime.expect("a runtime").block_on(async {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let write = async move {
            for piece in sent.chunks(size.min(sent.len().max(1))) {
                // It may have been enough already.
                if theirs.write_all(piece).await.is_err() {
                    return;
                }
                let mut waited = false;
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    if std::mem::replace(&mut waited, true) {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
            }
        };
        let read = async {
            let mut socket = ClientSocket::Unix(ours);
            let mut received = BytesMut::new();
            let read = client_hello::read(&mut socket, &mut received).await;
            assert!(
                sent.starts_with(&received),
                "what was read is not what was sent"
            );
            match read {
                Ok(accepted) => {
                    let hello = accepted.client_hello();
                    let alpn = hello
                        .alpn()
                        .map(|names| names.map(<[u8]>::to_vec).collect());
                    Hello::Accepted {
                        name: hello.server_name().map(str::to_owned),
                        alpn,
                    }
                }
                Err(NoHello::Plaintext) => Hello::Plaintext,
                Err(NoHello::Silent) => Hello::Silent,
                Err(NoHello::Gone(_)) => Hello::Gone,
                Err(NoHello::Refused { alert, .. }) => Hello::Refused(alert),
            }
        };
        tokio::join!(write, read).1
    })
}

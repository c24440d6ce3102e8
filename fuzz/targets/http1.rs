//! HTTP/1.1 on the wire: what is read does not depend on how it arrives, and what is written again
//! is read as the same and nothing else.
//!
//! The first line is `Q` for what a client sends or `A` for what an upstream answers, and the sizes
//! of the pieces it comes in, a character each: `1` and so on, and from `a` on large ones. The first
//! size of an answer also tells who asked. The rest is what is sent.

#![no_main]

#[path = "http1/answers.rs"]
mod answers;
#[path = "http1/requests.rs"]
mod requests;

use libfuzzer_sys::fuzz_target;
use sidebearer::http1::HeadLimits;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 512,
    fields: 8,
};
/// Room for what a request gains on its way, so that what was read can be read again.
const WIDER: HeadLimits = HeadLimits {
    bytes: 2048,
    fields: 16,
};
/// All of an input at once.
const READ: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (line, rest) = (&data[..end], &data[end + 1..]);
    match line.split_first() {
        Some((b'Q', pieces)) => requests::judge(rest, pieces),
        Some((b'A', pieces)) => answers::judge(rest, pieces),
        _ => {}
    }
});

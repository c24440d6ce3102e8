//! Connections that are drained.

use super::frames::{END_HEADERS, END_STREAM, HEADERS, frame, get};
use super::*;

#[test]
fn a_request_that_crosses_the_goaway_of_a_drain_is_answered_whenever_the_connection_was_idle() {
    on_paused_time(async {
        serve_ok();
        let shard = shard("idle_timeout = \"10s\"", "");
        let ask = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/", &[]));
        let mut client = FrameClient::over(shard.connect(), &[]).await;
        client.send(&ask(1)).await;
        assert!(client.outcome(1).await.0.is_ok());

        sleep(Duration::from_millis(9_900)).await;
        shard.close();
        while client.next().await.expect("it is told first").kind != GOAWAY {}
        // The client does not know of it yet.
        sleep(Duration::from_millis(200)).await;
        client.send(&ask(3)).await;
        let (outcome, _) = client.outcome(3).await;
        assert!(outcome.is_ok(), "{outcome:?}");
        // It ends, though the client acknowledges nothing.
        while client.next().await.is_some() {}
    });
}

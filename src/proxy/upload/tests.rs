use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::*;
use crate::client_socket::ClientSocket;
use crate::http1::{HeadLimits, ServerConnection};

#[tokio::test]
async fn a_body_that_is_not_as_long_as_was_declared_breaks_off() {
    let limits = HeadLimits {
        bytes: 1000,
        fields: 10,
    };
    for (declared, good) in [(4, false), (5, true), (6, false)] {
        let (mut client, stream) = UnixStream::pair().unwrap();
        let connection =
            ServerConnection::new(ClientSocket::Unix(stream), Bytes::new(), limits, 1000);
        let asked = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        client.write_all(asked).await.unwrap();
        let request = std::future::poll_fn(|cx| connection.poll_request(cx)).await;
        let body = request.unwrap().unwrap().into_body().unwrap();
        let mut upload = Upload::new(ClientBody::Http1(body));
        assert_eq!(upload.declared_length, Some(5));
        // As if the server side had not checked it.
        Rc::get_mut(&mut upload).unwrap().declared_length = Some(declared);
        let sent = upload.begin_attempt().collect().await;
        assert_eq!(sent.is_ok(), good, "{declared}");
        assert_eq!(upload.fault(), (!good).then_some(BodyFault::Malformed));
    }
}

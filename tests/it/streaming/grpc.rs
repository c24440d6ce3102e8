//! gRPC from an HTTP/2 listener without TLS to an HTTP/2 upstream with it: every kind of call, and
//! every way one ends.

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use super::*;
use crate::support::unprotected;

/// A message as it travels (gRPC over HTTP/2: Length-Prefixed-Message).
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0], &length[..], text.as_bytes()].concat().into()
}

/// Messages out of however many frames.
struct Messages {
    stream: RecvStream,
    buffer: Vec<u8>,
}

impl Messages {
    fn of(stream: RecvStream) -> Self {
        let buffer = Vec::new();
        Self { stream, buffer }
    }

    /// The next; `None` at the end of the data.
    async fn next(&mut self) -> Option<Result<String, h2::Error>> {
        loop {
            if let Some((head, rest)) = self.buffer.split_at_checked(5) {
                assert_eq!(head[0], 0, "not compressed");
                let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
                if let Some((text, rest)) = rest.split_at_checked(length) {
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    self.buffer = rest.to_vec();
                    return Some(Ok(text));
                }
            }
            match self.stream.data().await {
                None => {
                    assert!(self.buffer.is_empty(), "the end of a message is missing");
                    return None;
                }
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(data)) => {
                    let flow = self.stream.flow_control();
                    flow.release_capacity(data.len()).unwrap();
                    self.buffer.extend_from_slice(&data);
                }
            }
        }
    }

    async fn text(&mut self) -> String {
        self.next().await.unwrap().unwrap()
    }
}

fn status(code: &'static str, text: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", code.parse().unwrap());
    headers.insert("grpc-message", text.parse().unwrap());
    headers
}

/// One call, by its path. Reports the deadline it was told, and how a cancelled one ended.
async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    told: mpsc::UnboundedSender<String>,
) {
    let (head, body) = request.into_parts();
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(head.headers["content-type"], "application/grpc+proto");
    if let Some(deadline) = head.headers.get("grpc-timeout") {
        told.send(deadline.to_str().unwrap().to_owned()).unwrap();
    }
    let mut requests = Messages::of(body);
    let begin = |respond: &mut SendResponse<Bytes>| {
        let answer = Response::builder().header("content-type", "application/grpc+proto");
        respond
            .send_response(answer.body(()).unwrap(), false)
            .unwrap()
    };
    match head.uri.path() {
        "/svc/Unary" => {
            let asked = requests.text().await;
            let mut responses = begin(&mut respond);
            responses
                .send_data(message(&format!("re: {asked}")), false)
                .unwrap();
            responses.send_trailers(status("0", "fine")).unwrap();
        }
        "/svc/Client" => {
            let mut all = Vec::new();
            while let Some(text) = requests.next().await {
                all.push(text.unwrap());
            }
            let mut responses = begin(&mut respond);
            responses.send_data(message(&all.join("+")), false).unwrap();
            responses.send_trailers(status("0", "")).unwrap();
        }
        "/svc/Server" => {
            let asked = requests.text().await;
            let mut responses = begin(&mut respond);
            for number in 1..=3 {
                responses
                    .send_data(message(&format!("{asked} {number}")), false)
                    .unwrap();
            }
            responses.send_trailers(status("11", "no more")).unwrap();
        }
        "/svc/Bidi" => {
            let mut responses = begin(&mut respond);
            while let Some(text) = requests.next().await {
                responses.send_data(message(&text.unwrap()), false).unwrap();
            }
            responses.send_trailers(status("0", "")).unwrap();
        }
        "/svc/Missing" => {
            let mut answer = Response::new(());
            *answer.headers_mut() = status("5", "not here");
            answer
                .headers_mut()
                .insert("content-type", "application/grpc+proto".parse().unwrap());
            respond.send_response(answer, true).unwrap();
        }
        "/svc/Silent" => {
            told.send("silent".to_owned()).unwrap();
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            told.send(format!("{:?}", reason.unwrap())).unwrap();
        }
        "/svc/Begun" => {
            let mut responses = begin(&mut respond);
            responses.send_data(message("begun"), false).unwrap();
            let reason = std::future::poll_fn(|cx| responses.poll_reset(cx)).await;
            told.send(format!("{:?}", reason.unwrap())).unwrap();
        }
        "/svc/Resets" => {
            let asked = requests.text().await;
            let mut responses = begin(&mut respond);
            responses.send_data(message(&asked), false).unwrap();
            // The client says when it has read that: a reset overtakes what waits to be sent.
            requests.text().await;
            responses.send_reset(Reason::ENHANCE_YOUR_CALM);
        }
        other => panic!("{other}"),
    }
}

/// A gRPC server, and the product before it.
fn start() -> (Sidebearer, mpsc::UnboundedReceiver<String>) {
    let ca = Ca::new();
    let tls = ca.own_certificate().server(&["h2"]);
    let (told, tells) = mpsc::unbounded_channel();
    let settings = h2::server::Builder::new();
    let api = server::http2_with(Some(tls), settings, move |request, respond| {
        call(request, respond, told.clone())
    });
    let lines = format!("tls = {{ ca_file = \"{}\" }}", ca.file().display());
    let sidebearer = Sidebearer::start(&unprotected(&format!("https://{api}"), &lines));
    (sidebearer, tells)
}

async fn channel(sidebearer: &Sidebearer) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

type Answering = h2::client::ResponseFuture;

fn begin(channel: &mut SendRequest<Bytes>, method: &str) -> (Answering, SendStream<Bytes>) {
    let request = Request::post(format!("http://localhost/svc/{method}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .header("grpc-timeout", "30S")
        .body(())
        .unwrap();
    channel.send_request(request, false).unwrap()
}

async fn answered(answering: Answering) -> Messages {
    let answer = timeout(PATIENCE, answering).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/grpc+proto");
    assert!(
        !answer.headers().contains_key("grpc-status"),
        "it has trailers"
    );
    Messages::of(answer.into_body())
}

async fn assert_ends(mut messages: Messages, code: &str, text: &str) {
    assert!(messages.next().await.is_none());
    let trailers = messages.stream.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], code);
    assert_eq!(trailers["grpc-message"], text);
}

#[tokio::test]
async fn calls_of_all_four_kinds_pass_with_their_trailers() {
    let (sidebearer, mut told) = start();
    let mut channel = channel(&sidebearer).await;

    let (answering, mut sending) = begin(&mut channel, "Unary");
    sending.send_data(message("question"), true).unwrap();
    let mut answer = answered(answering).await;
    assert_eq!(answer.text().await, "re: question");
    assert_ends(answer, "0", "fine").await;
    assert_eq!(
        told.recv().await.unwrap(),
        "30S",
        "the deadline is the upstream's to keep"
    );

    let (answering, mut sending) = begin(&mut channel, "Client");
    for text in ["a", "b"] {
        sending.send_data(message(text), false).unwrap();
    }
    sending.send_data(message("c"), true).unwrap();
    let mut answer = answered(answering).await;
    assert_eq!(answer.text().await, "a+b+c");
    assert_ends(answer, "0", "").await;

    let (answering, mut sending) = begin(&mut channel, "Server");
    sending.send_data(message("item"), true).unwrap();
    let mut answer = answered(answering).await;
    for number in 1..=3 {
        assert_eq!(answer.text().await, format!("item {number}"));
    }
    assert_ends(answer, "11", "no more").await;

    // Each answer is there before the next question is asked.
    let (answering, mut sending) = begin(&mut channel, "Bidi");
    let mut answer = answered(answering).await;
    for number in 0..10 {
        let text = format!("{number}").repeat(1 + number * 5_000);
        sending.send_data(message(&text), false).unwrap();
        assert_eq!(timeout(PATIENCE, answer.text()).await.unwrap(), text);
    }
    sending.send_data(Bytes::new(), true).unwrap();
    assert_ends(answer, "0", "").await;
}

#[tokio::test]
async fn an_error_without_trailers_passes_as_it_is() {
    let (sidebearer, _told) = start();
    let (answering, mut sending) = begin(&mut channel(&sidebearer).await, "Missing");
    sending.send_data(message("question"), true).unwrap();
    let answer = answering.await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "5");
    assert_eq!(answer.headers()["grpc-message"], "not here");
    assert!(answer.body().is_end_stream());
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_upstream() {
    let (sidebearer, mut told) = start();
    let mut channel = channel(&sidebearer).await;

    let (answering, mut sending) = begin(&mut channel, "Silent");
    sending.send_data(message("never mind"), false).unwrap();
    assert_eq!(told.recv().await.unwrap(), "30S");
    assert_eq!(told.recv().await.unwrap(), "silent");
    sending.send_reset(Reason::CANCEL);
    drop(answering);
    let reason = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!(reason, "CANCEL");

    let (answering, mut sending) = begin(&mut channel, "Begun");
    let mut answer = answered(answering).await;
    assert_eq!(answer.text().await, "begun");
    assert_eq!(told.recv().await.unwrap(), "30S");
    sending.send_reset(Reason::CANCEL);
    let reason = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!(reason, "CANCEL");
}

#[tokio::test]
async fn a_call_that_the_upstream_resets_is_reset_with_its_reason() {
    let (sidebearer, _told) = start();
    let (answering, mut sending) = begin(&mut channel(&sidebearer).await, "Resets");
    sending.send_data(message("one"), false).unwrap();
    let mut answer = answered(answering).await;
    assert_eq!(answer.text().await, "one");
    sending.send_data(message("two"), false).unwrap();
    let end = timeout(PATIENCE, answer.next()).await.unwrap();
    let error = end.unwrap().unwrap_err();
    assert!(error.is_reset());
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
}

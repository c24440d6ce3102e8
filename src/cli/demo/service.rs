//! A small HTTP/1.1 server, enough for the two services of the demo.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Largest request body that is read.
const MAX_BODY: usize = 1024 * 1024;

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers requests until the future is dropped, and all connections with it.
pub(super) async fn serve<H>(listener: TcpListener, handler: H)
where
    H: Fn(&Parts, &[u8]) -> Answer + Send + Sync + 'static,
{
    let handler = Arc::new(handler);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let handler = handler.clone();
                    let service = service_fn(move |request| respond(handler.clone(), request));
                    connections.spawn(
                        http1::Builder::new()
                            .timer(TokioTimer::new())
                            .serve_connection(TokioIo::new(stream), service),
                    );
                }
                // Usually no file descriptors are left: wait until some are closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            // How a connection ended concerns its client alone.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// An answer with a JSON body; nothing here may be cached.
pub(super) fn json(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::from(format!("{body:#}\n")));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let value = header::HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, value("application/json"));
    headers.insert(header::CACHE_CONTROL, value("no-store"));
    answer
}

async fn respond<H>(handler: Arc<H>, request: Request<Incoming>) -> Result<Answer, Infallible>
where
    H: Fn(&Parts, &[u8]) -> Answer,
{
    let (head, body) = request.into_parts();
    Ok(match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => handler(&head, &body.to_bytes()),
        Err(error) => json(
            StatusCode::PAYLOAD_TOO_LARGE,
            &serde_json::json!({ "error": error.to_string() }),
        ),
    })
}

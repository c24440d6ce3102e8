//! `sidebearer health`: asks a running sidebearer whether it is ready.

use std::time::Duration;

use http::{Method, StatusCode};
use url::Url;

use super::output::CommandError;
use super::request::{RequestError, send};

/// Everything together; probes are impatient.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Done when a GET of `url` is answered 200.
///
/// # Errors
/// The answer, or why there was none.
pub(super) async fn run(url: Url) -> Result<(), CommandError> {
    match send(Method::GET, &url, TIMEOUT).await {
        Ok((StatusCode::OK, _)) => Ok(()),
        Ok((status, text)) => Err(CommandError::Failed(format!(
            "{url} answered {status}\n{text}"
        ))),
        Err(reason @ RequestError::Scheme) => Err(CommandError::Usage(format!("{url}: {reason}"))),
        Err(reason) => Err(CommandError::Failed(format!(
            "{url}: {reason}; --url or SIDEBEARER_ADMIN names another address"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// A server that answers one request with `answer` and tells what it was asked.
    async fn server(answer: &'static str) -> (Url, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/readyz?full", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        (url.parse().unwrap(), asked)
    }

    async fn check(url: Url) -> Result<(), CommandError> {
        run(url).await
    }

    #[tokio::test]
    async fn only_200_is_ready_and_anything_else_is_shown() {
        let (url, asked) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        check(url.clone()).await.unwrap();
        let head = asked.await.unwrap().to_ascii_lowercase();
        assert!(head.starts_with("get /readyz?full http/1.1\r\n"), "{head}");
        let host = format!("host: {}\r\n", url.authority());
        assert!(head.contains(&host), "{head}");

        let (url, _) =
            server("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\ncrm").await;
        let failure = check(url).await.unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        let text = failure.to_string();
        assert!(
            text.ends_with("answered 503 Service Unavailable\ncrm"),
            "{text}"
        );

        let (url, _) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(check(url).await.unwrap_err().exit_code(), 1);
    }

    #[tokio::test]
    async fn no_server_is_not_ready() {
        // Taken, so that no other server gets it; but nobody listens.
        let taken = TcpSocket::new_v4().unwrap();
        taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/readyz", taken.local_addr().unwrap());
        let failure = check(url.parse().unwrap()).await.unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.to_string().contains("cannot connect"), "{failure}");
    }

    #[tokio::test]
    async fn https_is_refused_as_wrong_usage() {
        let failure = check("https://127.0.0.1/".parse().unwrap())
            .await
            .unwrap_err();
        assert_eq!(failure.exit_code(), 2);
    }
}

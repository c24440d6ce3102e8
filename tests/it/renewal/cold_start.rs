//! Before there is a token.

use super::*;

#[tokio::test]
async fn ten_thousand_requests_at_a_cold_start_cause_one_token_request() {
    const CONNECTIONS: usize = 100;
    let idp = Idp::start();
    idp.behave(Behaviour::Holds);
    let api = Api::protected_by(&idp);
    let patience = "acquire_timeout = \"60s\"\nfetch_timeout = \"60s\"";
    let mut config = config(&api.url(), &idp, "http = \"2\"", patience);
    config.push_str(&format!(
        "[upstreams.open]\nurl = \"{}\"\n[[routes]]\npath = \"/open\"\nupstream = \"open\"\n",
        Api::open().url()
    ));
    let sidebearer = Sidebearer::start(&config);

    let mut requests = JoinSet::new();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = http2(sidebearer.address()).await;
        for number in 0..10_000 / CONNECTIONS {
            let request = streaming(Method::GET, &format!("/{number}"), whole(""));
            requests.spawn(connection.send_request(request));
        }
        connections.push(connection);
    }
    // What comes behind them on each connection is answered: they have all arrived.
    for connection in &mut connections {
        let request = streaming(Method::GET, "/open", whole(""));
        let answer = connection.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!((api.seen().len(), idp.requests()), (0, 1));

    idp.let_go(1);
    while let Some(response) = requests.join_next().await {
        assert_eq!(response.unwrap().unwrap().status(), 200);
    }
    assert_eq!((api.seen().len(), idp.requests()), (10_000, 1));
}

#[tokio::test]
async fn the_client_that_caused_a_fetch_leaves_and_takes_nobody_along() {
    let idp = Idp::start();
    idp.behave(Behaviour::Holds);
    let api = Api::protected_by(&idp);
    let sidebearer = Sidebearer::start(&config(&api.url(), &idp, "", "refresh = \"lazy\""));

    let mut first = TcpStream::connect(sidebearer.address()).await.unwrap();
    let request = "GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n";
    first.write_all(request.as_bytes()).await.unwrap();
    eventually("a token request", async || idp.requests() == 1).await;
    let address = sidebearer.address();
    let others: Vec<_> = (0..10)
        .map(|_| tokio::spawn(async move { client::get(address, "/other").await.status }))
        .collect();
    drop(first);
    idp.let_go(1);

    for other in others {
        assert_eq!(other.await.unwrap(), 200);
    }
    assert_eq!(idp.requests(), 1);
}

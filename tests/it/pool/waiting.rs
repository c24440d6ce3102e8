//! Requests that wait for a connection.

use super::*;

fn trusting(ca: &std::path::Path) -> String {
    let ca = ca.display();
    format!("tls = {{ ca_file = \"{ca}\", server_name = \"localhost\" }}")
}

#[tokio::test]
async fn a_burst_is_served_by_few_connections_at_a_time() {
    let ca = Ca::new();
    let tls = ca.certificate(&["localhost"]).server(&[]);
    let api = Api::with_tls(Some(tls), |_| response(200, "ok"));
    let lines = format!("max_connecting = 1\n{}", trusting(&ca.file()));
    let sidebearer = Sidebearer::start(&config(&format!("https://{}", api.address), &lines));
    let address = sidebearer.address();
    let requests: Vec<_> = (0..200)
        .map(|_| tokio::spawn(client::get(address, "/")))
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
    eventually("what was opened for it is kept", async || {
        idle(&sidebearer).await == sidebearer.connects("api").await
    })
    .await;
}

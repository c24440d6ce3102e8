//! The lines of tunnels.

use super::*;

#[tokio::test]
async fn a_tunnel_is_logged_at_its_end_with_what_went_each_way() {
    let idp = Idp::start();
    let echo = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let switch = "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello";
        stream.write_all(switch.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
    });
    let config = with_upstream(&smallest(&Api::open(), &idp), echo);
    let process = Process::start(&format!("[log]\naccess = \"all\"\n{config}")).await;
    let mut tunnel = TcpStream::connect(process.address()).await.unwrap();
    let asked = b"GET /chat HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\nx-request-id: chat-1\r\n\r\n";
    tunnel.write_all(asked).await.unwrap();
    read_head(&mut tunnel).await;
    tunnel.write_all(b"ping").await.unwrap();
    tunnel.shutdown().await.unwrap();
    tunnel.read_to_end(&mut Vec::new()).await.unwrap();
    let log = log_of(process).await;
    assert_eq!(log[0]["status"], 101, "{log:?}");
    let ended = &log[1];
    for (key, expected) in [
        ("message", "tunnel ended"),
        ("request_id", "chat-1"),
        ("upstream", "api"),
    ] {
        assert_eq!(ended[key], expected, "{ended}");
    }
    assert_eq!(ended["client"], log[0]["client"]);
    assert_eq!(
        (&ended["request_bytes"], &ended["response_bytes"]),
        (&4.into(), &5.into())
    );
}

#[tokio::test]
async fn a_tunnel_by_connect_has_a_line_at_its_beginning_and_one_at_its_end_by_default() {
    let echo = server::bytes(|_, mut stream| async move {
        stream.read_exact(&mut [0; 4]).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
    });
    let config = format!(
        "[[listeners]]\nname = \"proxy\"\naddress = \"{}\"\nkind = \"forward\"\n\
         [upstreams.far]\nurl = \"https://{echo}\"\n",
        any_port()
    );
    let process = Process::start(&config).await;
    let mut tunnel = TcpStream::connect(process.address()).await.unwrap();
    let connect = format!("CONNECT {echo} HTTP/1.1\r\nHost: {echo}\r\nx-request-id: t-1\r\n\r\n");
    tunnel.write_all(connect.as_bytes()).await.unwrap();
    read_head(&mut tunnel).await;
    tunnel.write_all(b"ping").await.unwrap();
    tunnel.shutdown().await.unwrap();
    tunnel.read_to_end(&mut Vec::new()).await.unwrap();
    let log = log_of(process).await;
    let [begun, ended] = &log[..] else {
        panic!("{log:?}")
    };
    assert_eq!(
        (&begun["method"], &begun["status"]),
        (&"CONNECT".into(), &200.into())
    );
    for line in [begun, ended] {
        for (key, expected) in [
            ("request_id", "t-1"),
            ("listener", "proxy"),
            ("upstream", "far"),
            ("host", &echo.to_string()),
        ] {
            assert_eq!(line[key], expected, "{line}");
        }
        assert_eq!(line["client"], begun["client"]);
    }
    for (key, expected) in [("message", "tunnel ended"), ("end", "closed")] {
        assert_eq!(ended[key], expected, "{ended}");
    }
    assert!(ended["duration_ms"].as_f64().unwrap() > 0.0, "{ended}");
    let bytes = (&ended["request_bytes"], &ended["response_bytes"]);
    assert_eq!(bytes, (&4.into(), &5.into()));
}

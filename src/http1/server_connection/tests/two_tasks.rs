//! A connection of which one task reads the upload and another sends the response.

use super::*;

/// A task that counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn reading_the_upload_does_not_keep_the_response_from_its_task() {
    for reads_on in [true, false] {
        let (mut near, far) = duplex(256);
        let head = b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n";
        let connection = ServerConnection::new(far, Bytes::from_static(head), LIMITS, 1000);
        let mut upload = next(&connection).await.into_body().unwrap();
        let (task, reader) = (Arc::new(Task::default()), Arc::new(Task::default()));
        let (its, readers) = (Arc::clone(&task).into(), reader.into());
        let mut reading = Context::from_waker(&readers);
        let (head, body) = Response::new(Full::from(vec![b'x'; 300])).into_parts();
        connection.start_response(&head, &body, false);
        let mut body = Some(body);
        let answered = connection.poll_send_response(&mut Context::from_waker(&its), &mut body);
        assert!(answered.is_pending(), "more than the client has room for");
        assert!(Pin::new(&mut upload).poll_frame(&mut reading).is_pending());

        near.read_exact(&mut [0; 256]).await.unwrap();
        if reads_on {
            assert!(Pin::new(&mut upload).poll_frame(&mut reading).is_pending());
            assert!(near.read(&mut [0; 256]).await.unwrap() > 0);
        }
        assert!(task.0.load(Relaxed) > 0, "{reads_on}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_while_it_does_not_read_is_not_taken_for_gone() {
    let (mut near, far) = duplex(256);
    let head = b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n";
    let connection = ServerConnection::new(far, Bytes::from_static(head), LIMITS, 1000);
    let mut upload = next(&connection).await.into_body().unwrap();
    let (head, body) = Response::new(Full::from(vec![b'x'; 300])).into_parts();
    connection.start_response(&head, &body, false);
    let mut cx = Context::from_waker(Waker::noop());
    let began = Instant::now();
    assert!(
        connection
            .poll_send_response(&mut cx, &mut Some(body))
            .is_pending()
    );
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(connection.stalled_since(), Some(began));

    near.write_all(b"some").await.unwrap();
    assert!(Pin::new(&mut upload).poll_frame(&mut cx).is_ready());
    assert_eq!(connection.stalled_since(), Some(Instant::now()));
}

#[tokio::test]
async fn a_client_that_goes_when_another_task_has_read_its_upload_is_noticed() {
    let (mut near, far) = duplex(256);
    let head = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
    let connection = ServerConnection::new(far, Bytes::from_static(head), LIMITS, 1000);
    let mut upload = next(&connection).await.into_body().unwrap();
    let task = Arc::new(Task::default());
    let its = Arc::clone(&task).into();
    let mut its = Context::from_waker(&its);
    assert!(connection.poll_client_gone(&mut its).is_pending());
    near.write_all(b"some").await.unwrap();
    upload.frame().await.unwrap().unwrap();
    assert_eq!(task.0.load(Relaxed), 1, "there is no more of the upload");
    assert!(connection.poll_client_gone(&mut its).is_pending());
    drop(near);
    assert_eq!(task.0.load(Relaxed), 2, "it has gone");
    assert!(connection.poll_client_gone(&mut its).is_ready());
}

#[tokio::test]
async fn a_client_that_goes_when_nobody_reads_its_upload_is_noticed() {
    let (mut near, far) = duplex(256);
    let head = b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n";
    let connection = ServerConnection::new(far, Bytes::from_static(head), LIMITS, 10);
    let upload = next(&connection).await.into_body().unwrap();
    let task = Arc::new(Task::default());
    let its = Arc::clone(&task).into();
    let mut its = Context::from_waker(&its);
    assert!(connection.poll_client_gone(&mut its).is_pending());
    drop(upload);
    assert_eq!(task.0.load(Relaxed), 1, "nobody reads it any more");
    near.write_all(&[b'x'; 100]).await.unwrap();
    assert!(connection.poll_client_gone(&mut its).is_pending());
    drop(near);
    assert_eq!(task.0.load(Relaxed), 2, "it has gone");
    assert!(connection.poll_client_gone(&mut its).is_ready());
}

#[tokio::test]
async fn the_reader_of_an_upload_is_woken_though_the_response_took_its_place_at_the_socket() {
    let (mut near, far) = duplex(256);
    let socket = WakesLast::new(far);
    let head = b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n";
    let connection = ServerConnection::new(socket, Bytes::from_static(head), LIMITS, 1000);
    let request = std::future::poll_fn(|cx| connection.poll_request(cx)).await;
    let mut upload = request.unwrap().unwrap().into_body().unwrap();
    let (task, reader) = (Arc::new(Task::default()), Arc::new(Task::default()));
    let (its, readers) = (Arc::clone(&task).into(), Arc::clone(&reader).into());
    let (mut its, mut readers) = (Context::from_waker(&its), Context::from_waker(&readers));
    assert!(Pin::new(&mut upload).poll_frame(&mut readers).is_pending());

    let (head, body) = Response::new(Full::from(vec![b'x'; 300])).into_parts();
    connection.start_response(&head, &body, false);
    let sent = connection.poll_send_response(&mut its, &mut Some(body));
    assert!(sent.is_pending(), "more than the client has room for");
    assert_eq!(reader.0.load(Relaxed), 1, "it has to wait again");
    assert!(Pin::new(&mut upload).poll_frame(&mut readers).is_pending());
    near.write_all(b"some").await.unwrap();
    assert_eq!(reader.0.load(Relaxed), 2, "some of it has come");
    assert!(Pin::new(&mut upload).poll_frame(&mut readers).is_ready());

    // The client reads on while both wait: each of them hears of it.
    assert!(Pin::new(&mut upload).poll_frame(&mut readers).is_pending());
    near.read_exact(&mut [0; 256]).await.unwrap();
    let before = task.0.load(Relaxed);
    assert!(Pin::new(&mut upload).poll_frame(&mut readers).is_pending());
    assert!(
        task.0.load(Relaxed) > before,
        "there is room for the response"
    );
}

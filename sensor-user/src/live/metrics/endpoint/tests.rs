use tokio::net::{TcpStream, UnixStream};

use super::*;
use crate::live::control::answer_line;

/// An endpoint on a port of its own, before a sensor that answers with a count of how often it was asked, or never.
fn endpoint(listen: &str, answers: bool) -> Endpoint {
    let (send, mut receive) = mpsc::channel::<Question>(1);
    let endpoint = start(listen, send).unwrap();
    tokio::spawn(async move {
        let (mut asked, mut kept) = (0, Vec::new());
        while let Some(question) = receive.recv().await {
            asked += 1;
            if answers {
                let hooks =
                    if asked == 1 { serde_json::json!([{"program": "x"}]) } else { serde_json::json!([]) };
                let status = serde_json::json!({"messages": asked, "hooks": hooks});
                let _ = question.answer.send(answer_line(&status));
            } else {
                kept.push(question);
            }
        }
    });
    endpoint
}

async fn connect(endpoint: &Endpoint) -> TcpStream {
    TcpStream::connect(endpoint.place.trim_start_matches("http://")).await.unwrap()
}

async fn said(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    String::from_utf8(answer).unwrap()
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

const LOOPBACK: &str = "127.0.0.1:0";

#[test]
fn pages_are_answered_and_the_sensor_is_asked_once_a_second() {
    run(async {
        let endpoint = endpoint(LOOPBACK, true);
        for _ in 0..3 {
            let text = said(connect(&endpoint).await, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{text}");
            assert!(text.contains("\nearthdog_messages_total 1\n"), "of the first answer: {text}");
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        }
        let open = b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n";
        assert!(said(connect(&endpoint).await, open).await.ends_with("# EOF\n"));
        let ready = b"GET /readyz HTTP/1.1\r\n\r\n";
        assert!(said(connect(&endpoint).await, ready).await.ends_with("\r\n\r\nready\n"));
        let head = said(connect(&endpoint).await, b"HEAD /healthz HTTP/1.1\r\n\r\n").await;
        assert!(head.contains("Content-Length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        tokio::time::sleep(FRESH).await;
        let text = said(connect(&endpoint).await, ready).await;
        assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("no hook is in force\n"), "{text}");
    });
}

#[test]
fn what_is_malformed_or_too_large_gets_its_status() {
    run(async {
        let endpoint = endpoint(LOOPBACK, true);
        let large = [b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &vec![b'x'; 1 << 20]].concat();
        for (request, status) in [
            (b"\x16\x03\x01\x00".as_slice(), "400"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"GET /x HTTP/1.1\r\n\r\n", "404"),
            (b"GET /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "413"),
            (&large[..HEAD_MAX + 100], "431"),
        ] {
            let text = said(connect(&endpoint).await, request).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {text}");
        }
        // A megabyte: the answer may be lost in the reset, the endpoint goes on.
        let _ = connect(&endpoint).await.write_all(&large).await;
        assert!(said(connect(&endpoint).await, b"GET /healthz HTTP/1.1\r\n\r\n").await.ends_with("ok\n"));
    });
}

#[test]
fn who_is_slow_is_cut_off_and_who_comes_beyond_the_bound_is_sent_away() {
    run(async {
        let endpoint = endpoint(LOOPBACK, true);
        let mut slow = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = connect(&endpoint).await;
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
            slow.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let text = said(connect(&endpoint).await, b"GET /healthz HTTP/1.1\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("too many connections\n"), "{text}");
        // A byte now and then does not help.
        let began = clock::monotonic();
        for stream in &mut slow {
            let _ = stream.write_all(b"X").await;
        }
        let text = said(slow.remove(0), b"").await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert!(began.elapsed() < PATIENCE + Duration::from_secs(1), "{:?}", began.elapsed());
        drop(slow);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let text = said(connect(&endpoint).await, b"GET /healthz HTTP/1.1\r\n\r\n").await;
        assert!(text.ends_with("ok\n"), "{text}");
    });
}

#[test]
fn a_sensor_that_hangs_is_not_healthy() {
    run(async {
        let endpoint = endpoint(LOOPBACK, false);
        let text = said(connect(&endpoint).await, b"GET /healthz HTTP/1.1\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("does not answer\n"), "{text}");
    });
}

#[test]
fn a_unix_socket_will_do_and_goes_with_the_endpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.sock");
    run(async {
        let endpoint = endpoint(path.to_str().unwrap(), true);
        let stream = UnixStream::connect(&path).await.unwrap();
        assert!(said(stream, b"GET /healthz HTTP/1.1\r\n\r\n").await.ends_with("ok\n"));
        drop(endpoint);
        assert!(!path.exists());
    });
}

//! The sockets of a running sensor before clients that mean no good: too much, too slowly, nonsense, and from whom may not
//! ask. Others are answered all the while.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use earthdog_tests::deadline::now;
use earthdog_tests::host::{self, Host};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary};
use earthdog_tests::{require, serial};
use serde_json::Value;

const CONTROL: &str = "/run/earthdog/control.sock";
const METRICS: &str = "/run/metrics.sock";
const CONFIG: &str = "/run/earthdog.toml";
/// A client may take so long, and a little more (control.rs, endpoint.rs: ten seconds each, and twice that in all).
const PATIENCE: Duration = Duration::from_secs(25);

fn sensor() -> Result<(Host, Host, Sensor), String> {
    let (client, server) = host::pair()?;
    std::fs::write(client.file(CONFIG), format!("[metrics]\nlisten = \"{METRICS}\"\n")).unwrap();
    let sensor = Sensor::start(&client, &["-c", CONFIG])?;
    Ok((client, server, sensor))
}

fn connect(host: &Host, socket: &str) -> UnixStream {
    let stream = UnixStream::connect(host.file(socket)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back until the other side closes.
fn exchange(host: &Host, socket: &str, request: &[u8]) -> String {
    let mut stream = connect(host, socket);
    // The answer may come, and the end, before all is read.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// `status`, long before anybody who is slow is let go.
fn answers(host: &Host) {
    let began = now();
    let mut stream = connect(host, CONTROL);
    stream.write_all(b"{\"v\":1,\"command\":\"status\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(answer["ok"], true, "{answer:#}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn nonsense_and_too_much_are_refused_and_the_next_is_answered() {
    let _alone = serial::lock();
    let (client, _server, sensor) = require!(sensor());
    let long = vec![b'a'; 1 << 20];
    for request in [
        &b"\n"[..],
        b"{}\n",
        b"{\"v\":9,\"command\":\"status\"}\n",
        b"{\"v\":1,\"command\":\"\\u001b[2J\"}\n",
        b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
        b"\xff\xfe\x00\n",
        &long,
    ] {
        let answer = exchange(&client, CONTROL, request);
        let first: Value = serde_json::from_str(answer.lines().next().unwrap_or_default()).unwrap_or_default();
        assert_eq!(first["ok"], false, "{:?}: {answer}", String::from_utf8_lossy(&request[..request.len().min(60)]));
        assert!(!answer.contains('\u{1b}'), "{answer:?}");
        answers(&client);
    }
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(4000));
    for (request, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], "400"),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello", "405"),
        (b"GET /metrics HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "413"),
        (many.as_bytes(), "431"),
        (&long, "431"),
    ] {
        let answer = exchange(&client, METRICS, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        let good = exchange(&client, METRICS, b"GET /healthz HTTP/1.1\r\n\r\n");
        assert!(good.starts_with("HTTP/1.1 200 "), "{good}");
    }
    sensor.stop();
}

#[test]
fn who_is_slow_is_let_go_and_holds_up_nobody() {
    let _alone = serial::lock();
    let (client, _server, sensor) = require!(sensor());
    let began = now();
    let mut slow = Vec::new();
    for (socket, part) in [(CONTROL, &b"{\"v\":1,"[..]), (METRICS, b"GET /metrics HT")] {
        for _ in 0..4 {
            let mut stream = connect(&client, socket);
            stream.write_all(part).unwrap();
            slow.push(stream);
        }
    }
    answers(&client);
    let good = exchange(&client, METRICS, b"GET /metrics HTTP/1.1\r\n\r\n");
    assert!(good.starts_with("HTTP/1.1 200 "), "{good}");
    for stream in &mut slow {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408 "), "{rest}");
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    sensor.stop();
}

#[test]
fn more_idle_clients_than_there_are_places_are_let_go_and_the_next_has_its_turn() {
    let _alone = serial::lock();
    let (client, _server, sensor) = require!(sensor());
    // There are eight places; each idle client is let go after ten seconds.
    let idle: Vec<_> = (0..12).map(|_| connect(&client, CONTROL)).collect();
    let mut last = connect(&client, CONTROL);
    last.write_all(b"{\"v\":1,\"command\":\"status\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(last).read_line(&mut line).unwrap();
    assert!(line.contains("\"ok\":true"), "{line:?}");
    drop(idle);
    answers(&client);
    sensor.stop();
}

#[test]
fn another_user_is_not_answered() {
    let _alone = serial::lock();
    let (client, _server, sensor) = require!(sensor());
    let mode = std::fs::metadata(client.file(CONTROL)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    // Where nobody can read it.
    let files = tempfile::tempdir().unwrap();
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = files.path().join("earthdog");
    std::fs::copy(binary().unwrap(), &copy).unwrap();
    let as_nobody = |words: &[&str]| {
        let mut command = client.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&copy).args(words);
        Finished::of(Process::spawn(command))
    };
    client.run("chmod 755 /run /run/earthdog");
    for words in [&["status"][..], &["flows"], &["top", "--once"], &["alerts"], &["pdns", "example.com"]] {
        let done = as_nobody(words);
        assert_eq!(done.code(), Some(77), "{words:?}: {}", done.stderr);
        assert!(
            done.stderr.contains("not permitted") && done.stderr.contains("group `earthdog`"),
            "{}",
            done.stderr
        );
    }
    answers(&client);
    sensor.stop();
}

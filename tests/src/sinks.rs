//! Sinks in the test's own process, and what they tell.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use earthdog::config::{Config, OcsfVersion};
use earthdog::finding::Finding;
use earthdog::logged::Logged;
use earthdog::sink::{About, Sinks};
use serde_json::Value;

use crate::deadline::Deadline;
use crate::outputs::{HOSTILE, of_process};
use crate::peer;

/// Sinks of a configuration; whatever a default would put below /var goes to the folder.
pub fn sinks(text: &str) -> Sinks {
    let config = Config::parse(text, "test").unwrap_or_else(|error| panic!("{}", error.message));
    let about = About { hostname: Some("sensor-1.example".into()), ocsf: OcsfVersion::V1_1 };
    let (sinks, news) = Sinks::start(&config, &about).unwrap_or_else(|error| panic!("{error}"));
    assert!(news.is_empty(), "{news:?}");
    sinks
}

/// A finding of each hostile string, and one that names a number.
pub fn hostile() -> Vec<Finding> {
    HOSTILE.iter().map(|(_, text)| of_process(text).findings.remove(0)).collect()
}

pub fn put(sinks: &Sinks, findings: &[Finding]) {
    for finding in findings {
        sinks.finding(finding);
    }
}

pub fn tell(sinks: &Sinks, messages: &[Logged]) {
    for message in messages {
        sinks.message(message.clone());
    }
}

pub fn numbered(finding: &Finding, number: usize) -> Finding {
    Finding { id: format!("finding-{number}"), ..finding.clone() }
}

pub fn messages() -> Vec<Logged> {
    of_process(b"x").messages
}

pub fn status(sinks: &Sinks) -> Value {
    sinks.status()[0].clone()
}

pub fn count(status: &Value, name: &str) -> u64 {
    status[name].as_u64().unwrap_or_else(|| panic!("no count {name}: {status:#}"))
}

pub fn lost(status: &Value) -> u64 {
    let lost = status["lost"].as_object().into_iter().flat_map(|lost| lost.values());
    lost.map(|count| count.as_u64().expect("a count is a number")).sum()
}

/// Waits until so many records are delivered.
pub fn delivered(sinks: &Sinks, want: usize) -> Value {
    let done =
        Deadline::secs(20).poll(|| Some(status(sinks)).filter(|s| count(s, "delivered") >= want as u64));
    done.unwrap_or_else(|| panic!("never {want}: {:#}", status(sinks)))
}

/// Every record in the form that it must have, whatever is in it.
pub fn parsed(lines: &[String]) -> Vec<Value> {
    let hides = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}')
    };
    let parse = |line: &String| {
        assert!(!line.chars().any(hides), "{line:?}");
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
    };
    lines.iter().map(parse).collect()
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.unwrap_or_else(|error| panic!("listen on loopback: {error}")).port()
}

pub fn lines(path: &Path) -> Vec<String> {
    let text = fs::read(path).unwrap_or_default();
    String::from_utf8(text).expect("records are UTF-8").lines().map(str::to_owned).collect()
}

/// Waits for so many lines of a file.
pub fn lines_of(path: &Path, want: usize) -> Vec<String> {
    let done = Deadline::secs(20).poll(|| Some(lines(path)).filter(|lines| lines.len() >= want));
    done.unwrap_or_else(|| panic!("{} of {want} lines in {}", lines(path).len(), path.display()))
}

/// The names of this machine.
pub const HERE: &str = "DNS:localhost,IP:127.0.0.1";

/// An authority, and a certificate of it for these names.
pub fn certificates(dir: &Path, names: &str) -> Result<(), String> {
    let openssl = peer::find("openssl")?;
    fs::write(
        dir.join("openssl.cnf"),
        format!(
            "[req]\ndistinguished_name=d\n[d]\n[ca]\nbasicConstraints=critical,CA:TRUE\n\
             keyUsage=critical,keyCertSign\n[leaf]\nsubjectAltName={names}\n"
        ),
    )
    .map_err(|e| format!("{}: {e}", dir.display()))?;
    let steps = [
        "req -x509 -config openssl.cnf -extensions ca -subj /CN=authority -days 2 -newkey ec -pkeyopt \
         ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem",
        "req -config openssl.cnf -subj /CN=localhost -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout \
         server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -set_serial 1 -days 2 -extfile openssl.cnf -extensions leaf \
         -out server.pem",
    ];
    for step in steps {
        let output = Command::new(&openssl).args(step.split_whitespace()).current_dir(dir).output();
        let output = output.map_err(|e| format!("openssl: {e}"))?;
        assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

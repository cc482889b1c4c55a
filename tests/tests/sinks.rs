//! Sinks with real receivers, and with such as take nothing: what is delivered, lost and counted.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use earthdog::finding::{Finding, Origin};
use earthdog::sink::Sinks;
use earthdog_tests::collector::{Collector, Mode};
use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::host::SERVER_V4;
use earthdog_tests::outputs::{HOSTILE, of_process};
use earthdog_tests::process::{Process, Stream};
use earthdog_tests::sensor::{Finished, Sensor};
use earthdog_tests::sinks::{
    HERE, certificates, count, delivered, free_port, hostile, lines, lines_of, lost, messages, numbered,
    parsed, put, sinks, status, tell,
};
use earthdog_tests::{host, peer, require, serial, traffic};
use serde_json::{Value, json};

/// rsyslog with an input; what comes is written to the file returned.
fn rsyslog(dir: &Path, modules: &str, input: &str) -> Result<(Process, PathBuf), String> {
    let program = peer::find("rsyslogd")?;
    // bin/rsyslogd is a wrapper; what it needs lies in root/ beside it.
    let unpacked = program.parent().unwrap().with_file_name("root/usr/lib");
    let unpacked = fs::read_dir(&unpacked).map_err(|e| format!("{}: {e}", unpacked.display()))?;
    let folder = unpacked.flatten().map(|entry| entry.path().join("rsyslog")).find(|path| path.is_dir());
    let folder = folder.ok_or("rsyslog is not from the peers: `cargo xtask setup` fetches them")?;
    let out = dir.join("received");
    let config = dir.join("rsyslog.conf");
    let text = format!(
        "global(workDirectory=\"{dir}\" maxMessageSize=\"64k\")\n{modules}\n\
         template(name=\"all\" type=\"string\" string=\"%pri% %hostname% %app-name% %msgid% %msg%\\n\")\n\
         ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{out}\" template=\"all\") }}\n{input}\n",
        dir = dir.display(),
        out = out.display(),
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-n").arg("-i").arg(dir.join("pid")).arg("-f").arg(&config).arg("-M").arg(folder);
    Ok((Process::spawn(command), out))
}

/// What rsyslog says of each message: its header as we meant it, and the record after it.
fn syslog_records(lines: &[String]) -> Vec<Value> {
    let bodies = lines.iter().map(|line| {
        let words: Vec<_> = line.splitn(5, ' ').collect();
        assert!(words[0] == "28" || words[0] == "27", "daemon, warning or error: {line}");
        assert_eq!((words[1], words[2]), ("sensor-1.example", "earthdog"), "{line}");
        assert!(words[3].starts_with("dns-"), "{line}");
        words[4].trim_start().to_owned()
    });
    parsed(&bodies.collect::<Vec<_>>())
}

/// A canary's finding goes through, and the receiver shows that it reads.
#[track_caller]
fn canary_is_read(sinks: &Sinks, finding: &Finding) {
    let canary = Finding { origin: Origin::Selftest, ..finding.clone() };
    sinks.finding(&canary);
    let came = Deadline::secs(10).poll(|| status(sinks)["canaries"].as_array().cloned());
    let came = came.unwrap_or_else(|| panic!("it never came: {:#}", status(sinks)));
    let own = json!([{"id": canary.id, "first_seen": canary.first_seen, "unread": null}]);
    assert_eq!(Value::from(came), own);
}

#[test]
fn rsyslog_takes_records_over_udp() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let input = format!("input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"all\")");
    let (server, out) = require!(rsyslog(dir.path(), "module(load=\"imudp\")", &input));
    // Nobody says when it listens.
    let ready = Deadline::secs(10).poll(|| UdpSocket::bind(("127.0.0.1", port)).err());
    assert!(ready.is_some(), "{}", server.transcript());
    let mut sinks = sinks(&format!("[[sink]]\ntype = \"syslog_udp\"\nto = \"127.0.0.1:{port}\"\n"));
    let findings = hostile();
    put(&sinks, &findings);
    let records = syslog_records(&lines_of(&out, findings.len()));
    for (record, finding) in records.iter().zip(&findings) {
        assert_eq!(
            (&record["id"], &record["title"]),
            (&finding.id.clone().into(), &finding.title.clone().into())
        );
    }
    assert!(sinks.finish().is_empty());
}

#[test]
fn rsyslog_takes_records_over_tcp_and_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let input = format!("input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"all\")");
    let start = || rsyslog(dir.path(), "module(load=\"imtcp\")", &input);
    let spool = dir.path().join("spool");
    let mut sinks = sinks(&format!(
        "[[sink]]\ntype = \"syslog_tcp\"\nto = \"localhost:{port}\"\nspool = \"{}\"\n",
        spool.display()
    ));
    let findings = hostile();
    // Before there is anybody.
    put(&sinks, &findings);
    let refused = Deadline::secs(10).poll(|| Some(status(&sinks)).filter(|s| s["error"].is_string()));
    assert!(refused.unwrap()["error"].as_str().unwrap().contains("cannot connect"));
    let (mut server, out) = require!(start());
    let records = syslog_records(&lines_of(&out, findings.len()));
    assert_eq!(records.len(), findings.len(), "{}", server.transcript());
    server.terminate(Deadline::secs(10));
    let (server, _) = require!(start());
    // It takes the old connection for one of another life: the sink sees that and connects anew.
    put(&sinks, &findings);
    let records = syslog_records(&lines_of(&out, 2 * findings.len()));
    let titles: BTreeSet<_> = records.iter().map(|record| record["title"].to_string()).collect();
    assert_eq!(titles.len(), findings.len(), "{}", server.transcript());
    canary_is_read(&sinks, &findings[0]);
    // That has ended a connection: the next record makes another.
    put(&sinks, &findings[..1]);
    lines_of(&out, 2 * findings.len() + 2);
    assert!(sinks.finish().is_empty());
    assert_eq!(lost(&status(&sinks)), 0);
}

#[test]
fn rsyslog_takes_records_over_tls_from_whom_trusts_it() {
    let dir = tempfile::tempdir().unwrap();
    require!(certificates(dir.path(), HERE));
    let port = free_port();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let modules = format!(
        "global(defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\" \
         defaultNetstreamDriverKeyFile=\"{}\")\n\
         module(load=\"imtcp\" streamDriver.name=\"ossl\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")",
        at("ca.pem"),
        at("server.pem"),
        at("server.key")
    );
    let input = format!("input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"all\")");
    let (server, out) = require!(rsyslog(dir.path(), &modules, &input));
    let config = |ca: &str, spool: &str| {
        let spool = at(spool);
        format!(
            "[[sink]]\ntype = \"syslog_tls\"\nto = \"localhost:{port}\"\nca = \"{ca}\"\nspool = \"{spool}\"\n"
        )
    };
    let findings = hostile();
    let mut trusting = sinks(&config(&at("ca.pem"), "a"));
    put(&trusting, &findings);
    let records = syslog_records(&lines_of(&out, findings.len()));
    assert_eq!(records.last().unwrap()["title"], findings.last().unwrap().title, "{}", server.transcript());
    canary_is_read(&trusting, &findings[0]);
    assert!(trusting.finish().is_empty());

    // Another authority, of the same name.
    let other = tempfile::tempdir().unwrap();
    require!(certificates(other.path(), HERE));
    let mut wary = sinks(&config(&other.path().join("ca.pem").display().to_string(), "b"));
    wary.finding(&findings[0]);
    let refused = Deadline::secs(10).poll(|| Some(status(&wary)).filter(|s| s["error"].is_string()));
    let refused = refused.unwrap();
    assert!(refused["error"].as_str().unwrap().to_lowercase().contains("certificate"), "{refused:#}");
    assert_eq!((count(&refused, "delivered"), count(&refused["spool"], "records")), (0, 1));
    assert!(wary.finish()[0].contains("1 records wait in its spool"));
    assert_eq!(lines(&out).len(), findings.len() + 1, "nothing went to whom is not trusted");
}

/// A receiver that speaks journald's protocol: a datagram is an entry.
#[test]
fn journald_gets_entries_and_unix_sockets_get_lines() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let journal = UnixDatagram::bind(at("journal")).unwrap();
    let datagrams = UnixDatagram::bind(at("datagrams")).unwrap();
    let stream = UnixListener::bind(at("stream")).unwrap();
    for socket in [&journal, &datagrams] {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    let entry =
        |kind: &str, name: &str| format!("[[sink]]\ntype = \"{kind}\"\nto = \"{}\"\n", at(name).display());
    let text = [entry("journald", "journal"), entry("unix_datagram", "datagrams"), entry("unix", "stream")];
    let mut sinks = sinks(&text.concat());
    let findings = hostile();
    put(&sinks, &findings);
    let mut buffer = vec![0; 1 << 18];
    let mut next = |socket: &UnixDatagram| {
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let (mut stream, _) = stream.accept().unwrap();
    for finding in &findings {
        let entry = next(&journal);
        let fields: Vec<_> = entry.trim_end().split('\n').map(|line| line.split_once('=').unwrap()).collect();
        let field = |name: &str| fields.iter().find(|(known, _)| *known == name).unwrap().1.to_owned();
        assert_eq!(
            (field("SYSLOG_IDENTIFIER"), field("EARTHDOG_ID")),
            ("earthdog".into(), finding.id.clone())
        );
        assert_eq!(fields.iter().filter(|(name, _)| *name == "PRIORITY").count(), 1);
        assert_eq!(parsed(&[field("EARTHDOG_RECORD")])[0]["title"], finding.title);
        assert_eq!(parsed(&[next(&datagrams)])[0]["title"], finding.title);
    }
    assert!(sinks.finish().is_empty());
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let records = parsed(&text.lines().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(records.len(), findings.len());
}

#[test]
fn fstrm_capture_takes_what_dnstap_ldns_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (capture, ldns) = (require!(peer::find("fstrm_capture")), require!(peer::find("dnstap-ldns")));
    let at = |name: &str| dir.path().join(name).display().to_string();
    let mut command = Command::new(capture);
    command.args(["-t", "protobuf:dnstap.Dnstap", "-u", &at("socket"), "-w", &at("captured")]);
    let mut capture = Process::spawn(command);
    let ready = Deadline::secs(10).poll(|| Path::new(&at("socket")).exists().then_some(()));
    assert!(ready.is_some(), "{}", capture.transcript());
    let mut sinks = sinks(&format!(
        "[[sink]]\ntype = \"dnstap_unix\"\nto = \"{}\"\n[[sink]]\ntype = \"dnstap_file\"\nto = \"{}\"\n",
        at("socket"),
        at("file")
    ));
    let mut made: Vec<_> =
        HOSTILE.iter().flat_map(|(_, text)| of_process(text).messages.into_iter().take(6)).collect();
    made.extend(messages());
    let responses = made.iter().filter(|message| message.response).count();
    tell(&sinks, &made);
    delivered(&sinks, made.len());
    assert!(sinks.finish().is_empty(), "{:#}", sinks.status());
    capture.terminate(Deadline::secs(10));
    for name in ["captured", "file"] {
        let mut command = Command::new(&ldns);
        let output = command.args(["-y", "-r", &at(name)]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.matches("\n---\n").count() + 1, made.len() + 1, "{name}");
        assert_eq!(text.matches("type: CLIENT_RESPONSE").count(), responses, "{name}");
        assert_eq!(text.matches("type: CLIENT_QUERY").count(), made.len() - responses, "{name}");
        assert!(
            text.contains("identity: \"sensor-1.example\"") && text.contains("x.example."),
            "{name}: {text:.2000}"
        );
    }
}

/// Of every form a file, and a collector: each record is there once, and is what it says.
#[test]
fn files_and_collectors_get_hostile_records_whole() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start(Mode::Takes);
    let at = |name: &str| dir.path().join(name);
    let forms = ["json", "ocsf", "ecs", "zeek", "cof"];
    let entries = forms.map(|form| {
        let takes = if ["zeek", "cof"].contains(&form) { "messages" } else { "findings" };
        let path = at(form).display().to_string();
        format!("[[sink]]\ntype = \"file\"\nname = \"{form}\"\nto = \"{path}\"\nformat = \"{form}\"\ntakes = [\"{takes}\"]\n")
    });
    let http = format!(
        "[[sink]]\ntype = \"http\"\nto = \"{}\"\nspool = \"{}\"\nformat = \"ocsf\"\ntakes = [\"findings\", \"messages\"]\n",
        collector.url("/"),
        at("spool").display()
    );
    let mut sinks = sinks(&(entries.concat() + &http));
    let findings = hostile();
    let messages: Vec<_> =
        HOSTILE.iter().flat_map(|(_, text)| of_process(text).messages.into_iter().take(2)).collect();
    put(&sinks, &findings);
    tell(&sinks, &messages);
    assert_eq!(sinks.finish(), Vec::<String>::new(), "{:#}", sinks.status());
    let answers = messages.iter().filter(|message| message.response).count();
    for (form, want) in
        forms.iter().zip([findings.len(), findings.len(), findings.len(), messages.len(), answers])
    {
        assert_eq!(parsed(&lines(&at(form))).len(), want, "{form}");
    }
    let records = parsed(&collector.lines());
    assert_eq!(records.len(), findings.len() + messages.len());
    let titles: Vec<_> = records.iter().filter_map(|record| record["message"].as_str()).collect();
    assert_eq!(titles, findings.iter().map(|finding| finding.title.as_str()).collect::<Vec<_>>());
}

/// Receivers that take nothing, each in its own way: the pipeline does not wait, the count is right, the end is bounded.
#[test]
fn a_dead_receiver_costs_its_queue_and_a_count() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // Accepts, and reads nothing.
    let stalled = UnixListener::bind(at("stalled")).unwrap();
    let full = UnixDatagram::bind(at("full")).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at: SocketAddr = silent.local_addr().unwrap();
    let of = |kind: &str, to: &str, more: &str| {
        format!("[[sink]]\ntype = \"{kind}\"\nto = \"{to}\"\nqueue = 512\n{more}")
    };
    let path = |name: &str| at(name).display().to_string();
    fs::write(at("a-file"), "").unwrap();
    let text = [
        of("unix", &path("stalled"), "timeout_s = 1\n"),
        of("unix_datagram", &path("full"), ""),
        of("file", "/dev/full", ""),
        of("journald", &path("nobody"), ""),
        of("http", &format!("http://{silent_at}/"), "timeout_s = 1\nspool = \"\"\n"),
        of("syslog_tcp", &format!("127.0.0.1:{}", free_port()), "spool = \"\"\n"),
        of("dnstap_unix", &path("stalled"), "timeout_s = 1\n"),
        of("dnstap_file", &path("a-file/below"), ""),
    ];
    let mut sinks = sinks(&text.concat());
    let made = of_process(b"x");
    let begun = now();
    let mut longest = Duration::ZERO;
    for number in 0..3000 {
        let before = now();
        sinks.finding(&numbered(&made.findings[0], number));
        sinks.message(made.messages[number % made.messages.len()].clone());
        longest = longest.max(before.elapsed());
    }
    let took = begun.elapsed();
    println!("6,000 records to 8 dead sinks in {took:?}, the longest {longest:?}");
    assert!(took < Duration::from_secs(5), "the pipeline waited: {took:?}");
    let begun = now();
    let says = sinks.finish();
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    for status in sinks.status().as_array().unwrap() {
        assert_eq!(count(status, "taken"), 3000, "{status:#}");
        let all = count(status, "delivered") + lost(status) + count(status, "left_out");
        assert_eq!(all, 3000, "{status:#}");
        assert!(status["lost"]["queue_full"].as_u64() > Some(0), "{status:#}");
        assert!(count(status, "failed_attempts") > 0, "{status:#}");
    }
    assert_eq!(says.len(), 8, "{says:#?}");
    drop((stalled, full, silent));
}

/// The whole way: packets on a wire, the sensor, a file and a collector.
#[test]
fn a_sensor_writes_to_its_sinks_and_tells_how_it_goes() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let program = env!("CARGO_BIN_EXE_traffic");
    let _dns = traffic::ready(program, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let text = "[output.ocsf]\nversion = \"1.8.0\"\n\
        [[sink]]\ntype = \"file\"\nto = \"/run/out/findings.json\"\n\
        [[sink]]\nname = \"dns\"\ntype = \"file\"\nformat = \"zeek\"\nto = \"/run/out/dns.json\"\n\
        [[sink]]\ntype = \"http\"\nto = \"http://127.0.0.1:9/\"\n";
    let config = client.file("/run/sinks.toml");
    fs::write(&config, text).unwrap();
    let mut sensor = require!(Sensor::start(&client, &["-c", "/run/sinks.toml"]));
    let mut command = client.command(program);
    command.args(["leak", &format!("{SERVER_V4}:53"), "60", "200"]);
    let leak = Finished::of(Process::spawn(command));
    assert!(leak.stdout.starts_with("sent 60"), "{}", leak.stdout);
    sensor.wait_for_finding("leak", Deadline::secs(10), |finding| finding["state"] == "create");
    let told = Deadline::secs(10).poll(|| {
        let status = sensor.status()["sinks"].clone();
        let ready = count(&status[0], "delivered") > 0 && count(&status[1], "delivered") >= 120;
        (ready && count(&status[2]["spool"], "records") > 0).then_some(status)
    });
    let told = told.unwrap_or_else(|| panic!("{:#}", sensor.status()["sinks"]));
    assert_eq!((told[0]["format"].as_str(), told[1]["name"].as_str()), (Some("ocsf"), Some("dns")));
    assert!(told[2]["error"].as_str().unwrap().contains("no answer"), "{told:#}");
    let mut human = client.command(earthdog_tests::sensor::binary().unwrap());
    human.arg("status");
    let human = Finished::of(Process::spawn(human)).stdout;
    assert!(
        human.contains("sink       file (/run/out/findings.json, ocsf): ") && human.contains("in its spool"),
        "{human}"
    );
    sensor.process().wait_for_text("warning: sink http (http://127.0.0.1:9/): no answer", Deadline::secs(10));
    let (findings, rows) = (client.file("/run/out/findings.json"), client.file("/run/out/dns.json"));
    let native = sensor.process().lines(Stream::Out).len();
    sensor.process().signal("TERM");
    let status = sensor.process().wait(Deadline::secs(20));
    assert_eq!(status.code(), Some(0), "{}", sensor.process().transcript());
    let events = parsed(&lines(&findings));
    assert!(events.len() >= native && events.iter().all(|event| event["class_uid"] == 2004));
    assert_eq!(events[0]["metadata"]["version"], "1.8.0");
    assert_eq!(events.last().unwrap()["activity_name"], "Close", "what closes at the end is there");
    let rows = parsed(&lines(&rows));
    assert!(rows.len() >= 120 && rows.iter().any(|row| row["rcode_name"] == "NOERROR"), "{}", rows.len());
    let waits = client.run("ls /var/lib/earthdog/spool/http/findings");
    assert!(waits.contains(".spool"), "{waits}");
}

/// A reader of standard output that stands still: the sensor goes on, answers, and ends.
#[test]
fn a_reader_that_stands_still_does_not_hold_up_the_sensor() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let program = env!("CARGO_BIN_EXE_traffic");
    let _dns = traffic::ready(program, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let mut command = client.command("bash");
    // A pipe that nobody reads, and that is full from the start.
    command.args(["-c", "mkfifo /run/pipe && exec 3<>/run/pipe && (timeout 2 dd if=/dev/zero bs=4096 >&3 2>/dev/null; true) && \
                        exec \"$0\" run --output json >&3"]);
    command.arg(require!(earthdog_tests::sensor::binary()));
    let mut process = Process::spawn(command);
    process.wait_for_text("watching", Deadline::secs(30));
    let mut command = client.command(program);
    command.args(["leak", &format!("{SERVER_V4}:53"), "60", "200"]);
    assert!(Finished::of(Process::spawn(command)).stdout.starts_with("sent 60"));
    let mut ask = client.command(earthdog_tests::sensor::binary().unwrap());
    ask.args(["status", "--json"]);
    let status: Value = serde_json::from_str(&Finished::of(Process::spawn(ask)).stdout).unwrap();
    assert!(status["stdout"]["waiting"].as_u64() > Some(0), "{:#}", status["stdout"]);
    process.signal("TERM");
    let ended = process.wait(Deadline::secs(20));
    assert_eq!(ended.code(), Some(0), "{}", process.transcript());
    assert!(process.transcript().contains("standard output: "), "{}", process.transcript());
}

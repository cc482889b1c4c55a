//! What an analyst types: from the list of findings to a decision, on a replay and beside a running sensor, and the page
//! in a browser.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use earthdog_tests::capture::Capture as _;
use earthdog_tests::deadline::Deadline;
use earthdog_tests::emulate::{self, Pace};
use earthdog_tests::host::{self, Host, SERVER_V4};
use earthdog_tests::process::{Process, Stream};
use earthdog_tests::sensor::{self, Finished, Sensor, binary};
use earthdog_tests::{peer, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");

/// A replay of an emulated tool, as NDJSON with trails.
fn replayed(dir: &Path, tool: &str) -> PathBuf {
    let tool = emulate::ALL.iter().find(|known| known.name == tool).unwrap();
    let capture = dir.join("tool.pcap");
    fs::write(&capture, tool.make(1, Pace::default()).pcap()).unwrap();
    findings_of(&capture, &dir.join("findings.json"))
}

/// Names that would move a cursor, colour, reorder or end a line, of the fuzzers' corpus.
fn hostile_names(dir: &Path) -> PathBuf {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/pipeline/hostile-names");
    findings_of(&capture, &dir.join("hostile-names.json"))
}

fn findings_of(capture: &Path, file: &Path) -> PathBuf {
    let done = run(&["replay", "--output", "json", "--trail", text(capture)]);
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    fs::write(file, done.stdout + "\n").unwrap();
    file.to_owned()
}

/// A finding of which every string is an attacker's, in the place of those in a file; its id.
fn make_hostile(file: &Path) -> String {
    let evil = "</style></svg><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\
                \u{1b}[2J\u{202e}\"'`--><!--\u{9b}31m\r\n\u{7}";
    let text = fs::read_to_string(file).unwrap();
    let mut record: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for key in ["title", "zone", "resolver", "encoding", "tool", "counterfactual", "first_seen", "last_seen"]
    {
        record[key] = evil.into();
    }
    record["samples"] = vec![evil; 5].into();
    for key in ["exe", "cmdline", "user", "unit", "via", "script"] {
        record["client"][key] = evil.into();
    }
    record["client"]["kind"] = "process".into();
    record["client"]["ancestry"] = vec![evil; 4].into();
    record["evidence"][0]["observed"] = evil.into();
    record["attack"]["techniques"] = vec![evil].into();
    fs::write(file, record.to_string() + "\n").unwrap();
    record["id"].as_str().unwrap().to_owned()
}

fn run(arguments: &[&str]) -> Finished {
    sensor::run(arguments).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The first id of a list.
fn first_id(list: &Finished) -> String {
    let value: Value = serde_json::from_str(&list.stdout).unwrap_or_else(|e| panic!("{e}: {}", list.stderr));
    value["findings"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_replay_is_listed_explained_and_reported() {
    let _binary = require!(binary());
    let dir = tempfile::tempdir().unwrap();
    let file = replayed(dir.path(), "dns exfiltrator");
    let list = run(&["alerts", text(&file)]);
    assert!(list.code() == Some(0) && list.stdout.starts_with("LAST SEEN"), "{}{}", list.stdout, list.stderr);
    let id = first_id(&run(&["alerts", "--json", "--severity", "medium", text(&file)]));
    let short = &id.rsplit('-').next().unwrap()[..8];
    assert!(list.stdout.contains(short), "{}", list.stdout);

    let explained = run(&["explain", short, text(&file)]);
    for says in ["% sure: ", "TIME BETWEEN LOOK-UPS", "LEDGER OVER TIME", "as base64url", "NEXT"] {
        assert!(explained.stdout.contains(says), "{says}: {}", explained.stdout);
    }
    let json: Value = serde_json::from_str(&run(&["explain", "--json", short, text(&file)]).stdout).unwrap();
    assert_eq!((&json["v"], json["id"].as_str()), (&Value::from(1), Some(&*id)));
    assert!(json["gaps"].as_array().is_some_and(|gaps| !gaps.is_empty()), "{json:#}");

    let page = dir.path().join("page.html");
    assert_eq!(run(&["report", short, text(&file), "-o", text(&page)]).code(), Some(0));
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains(&id));
    assert_eq!(run(&["report", short, text(&file), "-o", "-"]).stdout.trim(), page.trim());
}

#[test]
fn what_cannot_be_done_is_said_with_its_exit_code() {
    let _binary = require!(binary());
    let dir = tempfile::tempdir().unwrap();
    let file = replayed(dir.path(), "over 20 zones");
    let file = text(&file);
    let foreign = dir.path().join("foreign");
    fs::write(&foreign, "GET / HTTP/1.1\n").unwrap();
    let none = dir.path().join("none.toml");
    fs::write(
        &none,
        format!(
            "[live]\ncontrol_socket = \"{0}/no.sock\"\n[store]\npath = \"{0}/no.redb\"\n",
            dir.path().display()
        ),
    )
    .unwrap();
    let (foreign, none) = (text(&foreign), text(&none));
    for (arguments, code, says) in [
        (&["explain", "ffffffffffff", file][..], 1, "`earthdog alerts` lists them"),
        (&["explain", "client-", file], 2, "give more of the id"),
        (&["report", "ffffffffffff", file, "-o", "/tmp/x.html"], 1, "no finding ffffffffffff"),
        (&["report", "client", file], 2, "--output"),
        (&["alerts", "/nonexistent"], 1, "/nonexistent: No such file"),
        (&["alerts", foreign], 1, "line 1, at byte 0: no finding"),
        (&["alerts", "--since", "soon", file], 2, "--since soon: no time"),
        (&["alerts", "--rule", "x", file], 2, "there is no rule x"),
        (&["alerts", "--follow", file], 2, "cannot be used with"),
        (&["alerts", "--follow", "-c", none], 1, "there is nothing to follow"),
        (&["alerts", "-c", none], 1, "there is no store"),
        (&["explain", "a", "-c", none], 1, "there is no store"),
        (&["top", "-c", none], 1, "no sensor answers"),
        (&["coverage", "--attack", foreign], 1, "no ATT&CK excerpt"),
        (&["coverage", "--json", "--markdown"], 2, "cannot be used with"),
        (&["pdns", "192.0.2.1", "--who", "-c", none], 1, "there is no store"),
        (&["pdns", "a", "--who", "--cof"], 2, "cannot be used with"),
    ] {
        let done = run(arguments);
        assert_eq!(done.code(), Some(code), "{arguments:?}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{arguments:?}: {}", done.stderr);
    }
    let id = first_id(&run(&["alerts", "--json", file]));
    let denied = run(&["report", &id, file, "-o", "/proc/none/x.html"]);
    assert!(denied.code() == Some(1) && denied.stderr.contains("/proc/none/x.html"), "{}", denied.stderr);
    let half = dir.path().join("half.json");
    fs::write(&half, fs::read_to_string(file).unwrap() + "{\"schema\":1,\"id\"").unwrap();
    let done = run(&["alerts", text(&half)]);
    assert!(done.code() == Some(1) && done.stdout.contains("LAST SEEN"), "what could be read is listed");
    for command in ["alerts", "explain", "report", "coverage", "pdns", "top"] {
        let help = run(&[command, "--help"]);
        assert!(help.code() == Some(0) && help.stdout.contains("Example"), "{}", help.stdout);
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let binary = require!(binary());
    let dir = tempfile::tempdir().unwrap();
    let file = replayed(dir.path(), "dns exfiltrator");
    let id = first_id(&run(&["alerts", "--json", text(&file)]));
    for arguments in [
        &["alerts", text(&file)][..],
        &["explain", &id, text(&file)],
        &["report", &id, text(&file), "-o", "-"],
        &["coverage"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = Command::new(&binary).args(arguments).stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(0), "{arguments:?}");
        let full = Command::new(&binary)
            .args(arguments)
            .stdout(File::options().write(true).open("/dev/full").unwrap())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(full.code(), Some(1), "{arguments:?}");
    }
}

fn earthdog(host: &Host, arguments: &[&str]) -> Finished {
    let mut command = host.command(binary().unwrap());
    command.args(arguments);
    Finished::of(Process::spawn(command))
}

#[test]
fn a_running_sensor_tells_and_the_store_afterwards() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let sensor = require!(Sensor::start(&client, &[]));
    assert_eq!(earthdog(&client, &["alerts"]).stdout, "no findings");
    let mut follow = client.command(binary().unwrap());
    follow.args(["alerts", "--follow"]);
    let mut follow = Process::spawn(follow);
    let mut leak = client.command(TRAFFIC);
    leak.args(["leak", &format!("{SERVER_V4}:53"), "200", "5000"]);
    let done = Finished::of(Process::spawn(leak));
    assert!(done.stdout.starts_with("sent 200"), "{}", done.stderr);
    let found = sensor.wait_for_finding("leak", Deadline::secs(10), |finding| finding["state"] == "create");
    follow.wait_for_text("leak.example", Deadline::secs(10));

    let list: Value = serde_json::from_str(&earthdog(&client, &["alerts", "--json"]).stdout).unwrap();
    assert_eq!(list["findings"][0]["id"], found["id"], "{list:#}");
    let id = found["id"].as_str().unwrap();
    let json: Value = serde_json::from_str(&earthdog(&client, &["explain", id, "--json"]).stdout).unwrap();
    let processes = json["processes"].as_array().unwrap();
    assert!(processes.last().unwrap().as_str().unwrap().contains("traffic"), "{json:#}");
    assert!(json["curve"].as_array().is_some_and(|curve| curve.len() >= 2), "{json:#}");
    let rows = json["habits"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["what"] == "look-ups of this client"), "{json:#}");
    let who = earthdog(&client, &["pdns", "leak.example", "--who"]);
    assert!(who.stdout.contains("traffic"), "{}{}", who.stdout, who.stderr);
    let covered = earthdog(&client, &["coverage"]);
    assert!(
        covered.stdout.contains("0 of ") && covered.stdout.contains("Kept of findings"),
        "{}",
        covered.stdout
    );

    let closed = sensor.stop();
    assert!(closed.iter().any(|finding| finding["state"] == "close"));
    // Nobody to follow any more.
    assert_eq!(follow.wait(Deadline::secs(10)).code(), Some(1), "{}", follow.transcript());
    assert!(follow.lines(Stream::Err).concat().contains("nothing to follow"), "{}", follow.transcript());
    let stored = earthdog(&client, &["explain", id]);
    for says in ["closed", "LEDGER OVER TIME", "THIS HOST", "look-ups of this client"] {
        assert!(stored.stdout.contains(says), "{says}: {}{}", stored.stdout, stored.stderr);
    }
    // A new run knows what the old one found.
    let sensor = require!(Sensor::start(&client, &[]));
    let list: Value = serde_json::from_str(&earthdog(&client, &["alerts", "--json"]).stdout).unwrap();
    assert!(
        list["findings"].as_array().unwrap().iter().any(|finding| finding["id"] == found["id"]),
        "{list:#}"
    );
    sensor.stop();
}

/// A terminal of 80 columns that shows a command's output; its own, by a socket of its own.
struct Terminal {
    tmux: PathBuf,
    socket: String,
}

impl Terminal {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.tmux);
        command.args(["-f", "/dev/null", "-L", &self.socket]).args(arguments);
        command
    }

    fn shows(&self, binary: &Path, arguments: &[&str], wanted: usize) -> Vec<String> {
        let mut start = self.command(&["new-session", "-d", "-x", "80", "-y", "400", "sh", "-c"]);
        start.arg("\"$0\" \"$@\"; exec sleep 60").arg(binary).args(arguments);
        assert!(start.status().unwrap().success(), "tmux does not start");
        let mut screen = Vec::new();
        Deadline::secs(20).poll(|| {
            let output = self.command(&["capture-pane", "-p"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            screen = text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect();
            (screen.len() >= wanted).then_some(())
        });
        assert!(self.command(&["kill-server"]).status().unwrap().success());
        screen
    }
}

#[test]
fn hostile_names_cannot_break_a_terminal() {
    let binary = require!(binary());
    let tmux = require!(peer::find("tmux"));
    let dir = tempfile::tempdir().unwrap();
    let names = hostile_names(dir.path());
    let every = dir.path().join("every.json");
    fs::copy(&names, &every).unwrap();
    make_hostile(&every);
    for (number, file) in [names, every].iter().enumerate() {
        let id = first_id(&run(&["alerts", "--json", text(file)]));
        for (kind, arguments) in [("a", &["alerts", text(file)][..]), ("e", &["explain", &id, text(file)])] {
            let socket = format!("earthdog-{}-{number}{kind}", std::process::id());
            let terminal = Terminal { tmux: tmux.clone(), socket };
            let told = run(arguments).stdout;
            let told: Vec<_> = told.trim_end().lines().map(str::to_owned).collect();
            assert_eq!(terminal.shows(&binary, arguments, told.len()), told, "{arguments:?}");
        }
    }
}

#[test]
fn top_shows_who_leaks_in_80_by_24_with_and_without_colour() {
    let _alone = serial::lock();
    let tmux = require!(peer::find("tmux"));
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let sensor = require!(Sensor::start(&client, &[]));
    let mut leak = client.command(TRAFFIC);
    leak.args(["leak", &format!("{SERVER_V4}:53"), "200", "5000"]);
    let done = Finished::of(Process::spawn(leak));
    assert!(done.stdout.starts_with("sent 200"), "{}", done.stderr);
    sensor.wait_for_finding("leak", Deadline::secs(10), |finding| finding["state"] == "create");
    let piped = earthdog(&client, &["top"]);
    assert!(
        piped.code() == Some(0) && piped.stdout.contains("leak.example"),
        "{}{}",
        piped.stdout,
        piped.stderr
    );
    for (name, variable, is_coloured) in [("c", "TERM=screen-256color", true), ("n", "NO_COLOR=1", false)] {
        let socket = format!("earthdog-{}-top-{name}", std::process::id());
        let terminal = |arguments: &[&str]| {
            let mut command = client.command(&tmux);
            command.args(["-f", "/dev/null", "-L", &socket]).args(arguments);
            let output = command.output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let mut start = client.command(&tmux);
        start.args([
            "-f",
            "/dev/null",
            "-L",
            &socket,
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "env",
            variable,
        ]);
        assert!(start.arg(binary().unwrap()).arg("top").status().unwrap().success());
        let shown = |what: &str| {
            let mut screen = String::new();
            let found = Deadline::secs(10).poll(|| {
                screen = terminal(&["capture-pane", "-p"]);
                screen.contains(what).then_some(())
            });
            assert!(found.is_some(), "{what} is not shown:\n{screen}");
            screen
        };
        let screen = shown("leak.example");
        assert!(screen.contains("lost 0") && screen.contains("q quit"), "{screen}");
        assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
        let coded = terminal(&["capture-pane", "-p", "-e"]);
        assert_eq!(coded.contains("38;5;"), is_coloured, "{coded:?}");
        terminal(&["send-keys", "Enter"]);
        shown("% sure");
        terminal(&["send-keys", "q"]);
        shown("CLIENT");
        terminal(&["send-keys", "/"]);
        terminal(&["send-keys", "-l", "nobody"]);
        terminal(&["send-keys", "Enter"]);
        shown("rows 0 of");
        terminal(&["send-keys", "q"]);
        let gone = Deadline::secs(10).poll(|| terminal(&["list-sessions"]).is_empty().then_some(()));
        assert!(gone.is_some(), "top ends with q");
    }
    sensor.stop();
}

/// The browser, in a host without a network.
struct Browser<'a> {
    host: &'a Host,
    program: PathBuf,
    dir: &'a Path,
}

impl Browser<'_> {
    fn run(&self, arguments: &[&str], page: &Path) -> Finished {
        let mut command = self.host.command(&self.program);
        command
            .env("HOME", self.dir)
            .env("FONTCONFIG_FILE", self.dir.join("fonts.conf"))
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--disable-background-networking", "--hide-scrollbars", "--virtual-time-budget=2000"])
            .arg(format!("--user-data-dir={}", self.dir.join("profile").display()))
            .args(arguments)
            .arg(format!("file://{}", page.display()));
        Finished::of(Process::spawn(command))
    }

    fn picture(&self, page: &Path, name: &str, width: u32, more: &[&str]) -> Vec<u8> {
        let path = self.dir.join(name);
        let (shot, size) =
            (format!("--screenshot={}", path.display()), format!("--window-size={width},3600"));
        let done = self.run(&[&[&*shot, &*size][..], more].concat(), page);
        fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}; {}", done.stderr))
    }
}

/// `EARTHDOG_PICTURES` names a folder that keeps the pictures, to be looked at.
#[test]
fn a_page_is_rendered_small_and_large_dark_and_printed_and_runs_nothing() {
    let _alone = serial::lock();
    let _binary = require!(binary());
    let program = require!(
        peer::find("chromium")
            .map_err(|_| { "chromium is missing: `cargo xtask setup --browser` fetches it".to_owned() })
    );
    let host = require!(Host::new());
    let dir = tempfile::tempdir().unwrap();
    let fonts = program.parent().unwrap().join("../root/usr/share/fonts");
    fs::write(
        dir.path().join("fonts.conf"),
        format!(
            "<fontconfig><dir>{}</dir><dir>/usr/share/fonts</dir><cachedir>{}</cachedir></fontconfig>",
            fonts.display(),
            dir.path().join("fonts").display()
        ),
    )
    .unwrap();
    let file = replayed(dir.path(), "dns exfiltrator");
    let id = first_id(&run(&["alerts", "--json", "--severity", "medium", text(&file)]));
    let page = dir.path().join("page.html");
    assert_eq!(run(&["report", &id, text(&file), "-o", text(&page)]).code(), Some(0));
    let browser = Browser { host: &host, program, dir: dir.path() };
    let first = browser.run(&["--dump-dom"], &page);
    if !first.stdout.contains("<html") {
        println!("skipped: chromium does not run here: {}", first.stderr.lines().last().unwrap_or_default());
        return;
    }
    let pictures = [
        ("390.png", browser.picture(&page, "390.png", 390, &[])),
        ("1280.png", browser.picture(&page, "1280.png", 1280, &[])),
        (
            "dark.png",
            browser.picture(
                &page,
                "dark.png",
                1280,
                &["--force-dark-mode", "--blink-settings=preferredColorScheme=0"],
            ),
        ),
    ];
    let bare = dir.path().join("bare.html");
    let source = fs::read_to_string(&page).unwrap();
    fs::write(&bare, source.replacen("style-src 'sha256-", "style-src 'sha256-x", 1)).unwrap();
    let unstyled = browser.picture(&bare, "bare.png", 1280, &[]);
    for (name, picture) in &pictures {
        assert!(picture.len() > 10_000 && picture.starts_with(b"\x89PNG"), "{name}: {} bytes", picture.len());
    }
    assert_ne!(pictures[1].1, unstyled, "the policy lets the page's style in");
    assert_ne!(pictures[1].1, pictures[2].1, "dark mode looks otherwise");
    let pdf = dir.path().join("page.pdf");
    browser.run(&[&format!("--print-to-pdf={}", pdf.display())], &page);
    assert!(fs::read(&pdf).is_ok_and(|pdf| pdf.starts_with(b"%PDF")), "prints");

    let names = hostile_names(dir.path());
    let names_id = first_id(&run(&["alerts", "--json", text(&names)]));
    let named = dir.path().join("names.html");
    assert_eq!(run(&["report", &names_id, text(&names), "-o", text(&named)]).code(), Some(0));
    let dom = browser.run(&["--dump-dom"], &named).stdout;
    assert!(dom.contains(&format!("<title>{names_id}</title>")) && dom.contains("\\027[2J"), "{dom}");
    make_hostile(&file);
    let hostile = dir.path().join("hostile.html");
    let done = run(&["report", &id, text(&file), "-o", text(&hostile)]);
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let dom = browser.run(&["--dump-dom"], &hostile).stdout;
    assert!(dom.contains(&format!("<title>{id}</title>")), "nothing has run: {dom}");
    for tag in ["<script", "<img", "<!--"] {
        assert!(!dom.contains(tag), "{tag} in {dom}");
    }
    let hostile = browser.picture(&hostile, "hostile.png", 390, &[]);
    if let Some(folder) = std::env::var_os("EARTHDOG_PICTURES").map(PathBuf::from) {
        fs::create_dir_all(&folder).unwrap();
        for (name, picture) in pictures.iter().chain([&("hostile.png", hostile)]) {
            fs::write(folder.join(name), picture).unwrap();
        }
    }
}

//! Machines that run no sensor: the inventory, from entries and from a file, and what an ESXi host is held to.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use earthdog_tests::capture::{ETHERNET, Pcap};
use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{CLIENT_V4, Host, SERVER_V4};
use earthdog_tests::kernel::bpf;
use earthdog_tests::message::{Message, rtype};
use earthdog_tests::packet::Frame;
use earthdog_tests::sensor::{self, Finished, Sensor, binary, in_state};
use earthdog_tests::{require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const RULE: &str = "dns-asset-policy";
/// The management network behind the gateway: an ESXi host and a machine that is only known by its card.
const ESX: &str = "192.168.77.7";
const OTHER: &str = "192.168.77.9";
const GATEWAY: &str = "192.168.77.1";
/// A server that nobody approved, at the approved one's machine.
const ELSEWHERE: &str = "10.77.0.9";
const LAN: &str = "lan0";
const WAN: &str = "wan0";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(arguments: &[&str]) -> Finished {
    sensor::run(arguments).unwrap()
}

/// Client network, gateway and server in a row, without translation.
fn row() -> Result<(Host, Host, Host), String> {
    bpf()?;
    let (client, gateway, server) = (Host::new()?, Host::new()?, Host::new()?);
    client.link(LAN, &gateway, LAN);
    gateway.link(WAN, &server, WAN);
    for (host, address, interface) in [
        (&client, ESX, LAN),
        (&client, OTHER, LAN),
        (&gateway, GATEWAY, LAN),
        (&gateway, CLIENT_V4, WAN),
        (&server, SERVER_V4, WAN),
        (&server, ELSEWHERE, WAN),
    ] {
        host.ip(&format!("addr add {address}/24 dev {interface}"));
        host.ip(&format!("link set {interface} up"));
    }
    client.ip(&format!("route add default via {GATEWAY}"));
    server.ip(&format!("route add 192.168.77.0/24 via {CLIENT_V4}"));
    gateway.forward();
    Ok((client, gateway, server))
}

fn names(finding: &Value) -> Vec<&str> {
    finding["evidence"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect()
}

fn of_rule<'a>(findings: &'a [Value], state: &str) -> Vec<&'a Value> {
    in_state(findings, state).into_iter().filter(|finding| finding["rule"] == RULE).collect()
}

#[test]
fn an_esxi_host_behind_a_gateway_is_held_to_its_entry() {
    let _alone = serial::lock();
    let (client, gateway, server) = require!(row());
    let dir = "/run/earthdog.d";
    fs::create_dir(gateway.file(dir)).unwrap();
    let (config, assets) = (format!("{dir}/earthdog.toml"), format!("{dir}/assets.csv"));
    fs::write(gateway.file(&config), format!("[inventory]\nfile = \"{assets}\"\n")).unwrap();
    let rows = "name,addresses,platform,role,resolvers,zones,outbound_dns_volume_bytes\n";
    let esx = format!("esx-07,{ESX},esxi,management,{SERVER_V4},repeat.example,20000\n");
    fs::write(gateway.file(&assets), format!("{rows}{esx}")).unwrap();
    let arguments = ["-c", &config, "--role", "gateway", "--interface", LAN];
    let mut sensor = require!(Sensor::start(&gateway, &arguments));
    let (approved, elsewhere) = (format!("{SERVER_V4}:53"), format!("{ELSEWHERE}:53"));
    let _servers = [&approved, &elsewhere].map(|at| traffic::ready(TRAFFIC, &server, &["dns", at]));

    // What it may, as often as a management plane does.
    traffic::run(TRAFFIC, &client, &["repeat", &approved, "100", "4"]);
    sensor.settled(Deadline::secs(10));
    assert_eq!(sensor.findings(), Vec::<Value>::new(), "100 look-ups within its lists");

    // The resolver is another one, the names are approved.
    traffic::run(TRAFFIC, &client, &["repeat", &elsewhere, "20", "10"]);
    let created =
        sensor.wait_for_finding("server", Deadline::secs(10), |finding| finding["state"] == "create");
    assert_eq!((&created["rule"], &created["severity"]), (&RULE.into(), &"low".into()), "{created:#}");
    assert_eq!(names(&created), ["unapproved_server"], "{created:#}");
    assert_eq!(created["client"]["asset"]["name"], "esx-07", "{created:#}");
    assert_eq!(created["client"]["asset"]["platform"], "esxi", "{created:#}");
    assert_eq!(created["attack"]["analytics"], serde_json::json!(["AN1124", "AN1125"]), "{created:#}");
    let title = created["title"].as_str().unwrap();
    assert!(
        title.starts_with(&format!(
            "esx-07 ({ESX}) asks outside its approved resolvers: the server {ELSEWHERE}"
        )),
        "{title}"
    );

    // The approved one is asked for names of a zone that is none of its own, until that is too much as well.
    traffic::run(TRAFFIC, &client, &["lookup", &approved, "10", "0"]);
    sensor.settled(Deadline::secs(10));
    traffic::run(TRAFFIC, &client, &["lookup", &approved, "400", "0"]);
    sensor.settled(Deadline::secs(10));
    let text = gateway.run(&format!("{} alerts -c {config}", binary().unwrap().display()));
    assert!(text.lines().any(|line| line.contains("asset-poli") && line.contains("esx-07")), "{text}");
    let binary = binary().unwrap();
    let id = created["id"].as_str().unwrap();
    let told = gateway.run(&format!("{} explain -c {config} {id}", binary.display()));
    for says in ["esx-07: esxi, management", "unapproved", "AN1125", "esxcli software vib list"] {
        assert!(told.contains(says), "{says}: {told}");
    }
    let page = gateway.run(&format!("{} report -c {config} {id} -o -", binary.display()));
    assert!(page.contains("<dt>machine</dt><dd>esx-07: esxi, management</dd>"), "{page}");
    let top = gateway.run(&format!("{} top -c {config}", binary.display()));
    assert!(top.contains("esx-07 ("), "{top}");

    // Other lists from here on; what was wrong once is not forgotten, and a file with anything wrong changes nothing.
    let refused = reload(&mut sensor, &gateway, &assets, &format!("{rows}esx-07,{ESX},vax,,,,\n"));
    let problem = refused["last"]["problems"][0].as_str().unwrap();
    assert!(problem.contains("assets.csv:2: asset.platform = \"vax\" is not allowed"), "{refused:#}");
    let mac = client.run(&format!("cat /sys/class/net/{LAN}/address"));
    let by_card = format!("name,mac,platform,resolvers\nmac-lab,{},macos,{SERVER_V4}\n", mac.trim());
    let told = reload(&mut sensor, &gateway, &assets, &by_card);
    let changed: Vec<_> = told["last"]["changed"].as_array().unwrap().iter().collect();
    assert!(
        changed.iter().any(|change| change["old"].as_str().unwrap().starts_with("esx-07, esxi at ")),
        "{told:#}"
    );
    assert!(changed.iter().all(|change| !change["key"].as_str().unwrap().contains("esx")), "{told:#}");

    // Whoever has that card is the asset, whatever its address.
    let from_other = ["spread", &elsewhere, OTHER, "1", "8", "1", "1000"];
    let found = Deadline::secs(20).poll(|| {
        traffic::run(TRAFFIC, &client, &from_other);
        sensor.settled(Deadline::secs(10));
        let findings = sensor.findings();
        let of_card =
            |finding: &&Value| finding["client"]["asset"]["name"] == "mac-lab" && finding["rule"] == RULE;
        findings.iter().rfind(of_card).cloned()
    });
    let found = found.unwrap_or_else(|| panic!("{}", sensor.process().transcript()));
    assert_eq!(
        (&found["client"]["ip"], names(&found)),
        (&OTHER.into(), vec!["unapproved_server"]),
        "{found:#}"
    );
    assert_eq!(found["attack"]["analytics"], serde_json::json!(["AN1124", "AN1123"]), "{found:#}");

    let findings = sensor.stop();
    let closed: Vec<_> =
        of_rule(&findings, "close").into_iter().filter(|one| one["id"] == created["id"]).collect();
    assert_eq!(closed.len(), 1, "{findings:#?}");
    assert_eq!(
        names(closed[0]),
        ["unapproved_server", "unapproved_zone", "outbound_dns_volume"],
        "{:#}",
        closed[0]
    );
    assert_eq!(of_rule(&findings, "create").len(), 2, "one a machine: {findings:#?}");
}

/// Writes the file, sends SIGHUP and waits until it was dealt with.
fn reload(sensor: &mut Sensor, gateway: &Host, file: &str, text: &str) -> Value {
    let done = |status: &Value| {
        let of = |what: &str| status["configuration"][what].as_u64().unwrap();
        of("applied") + of("refused")
    };
    fs::write(gateway.file(file), text).unwrap();
    let before = done(&sensor.status());
    sensor.process().signal("HUP");
    let told = Deadline::secs(10).poll(|| Some(sensor.status()).filter(|status| done(status) > before));
    told.unwrap_or_else(|| panic!("no reload:\n{}", sensor.process().transcript()))["configuration"].clone()
}

#[test]
fn a_bad_file_is_refused_with_its_line() {
    let _binary = require!(binary());
    let dir = tempfile::tempdir().unwrap();
    let (config, assets, vibs) =
        (dir.path().join("earthdog.toml"), dir.path().join("assets.csv"), dir.path().join("vibs.csv"));
    let entry = "[[asset]]\nname = \"esx-01\"\naddresses = [\"192.0.2.1\"]\n";
    let named = format!(
        "[inventory]\nfile = \"{}\"\n[asset_policy]\nknown_good_vibs = \"{}\"\n{entry}",
        assets.display(),
        vibs.display()
    );
    fs::write(&config, named).unwrap();
    let good = "name,addresses\nesx-02,192.0.2.2\nesx-01,203.0.113.1\n";
    for (rows, vib_rows, says) in [
        (
            "name,addresses\nesx-02,192.0.2.999\n",
            "name\n",
            "assets.csv:2: asset.addresses = [\"192.0.2.999\"] is not allowed: use a list of",
        ),
        (
            "name,addresses\nesx-02,192.0.2.2\nx,192.0.2.1\n",
            "name\n",
            "assets.csv:3: asset.addresses: 192.0.2.1 of `x` is that of `esx-01` too",
        ),
        (
            "name,adresses\n",
            "name\n",
            "assets.csv:1: unknown column `adresses` (allowed: name, addresses, mac, ",
        ),
        (
            "name,addresses\n\"\u{1b}[2J\",\n",
            "name\n",
            "assets.csv:2: asset `\\x1b[2J` has neither `addresses` nor `mac`",
        ),
        (good, "vendor\n", "vibs.csv:1: there is no column `name`"),
    ] {
        fs::write(&assets, rows).unwrap();
        fs::write(&vibs, vib_rows).unwrap();
        for command in
            [&["config", "check", "-c"][..], &["run", "--role", "gateway", "--interface", "lo", "-c"]]
        {
            let done = run(&[command, &[text(&config)]].concat());
            assert_eq!(done.code(), Some(2), "{}{}", done.stdout, done.stderr);
            assert!(done.stderr.contains(says) && !done.stderr.contains('\u{1b}'), "{says}: {}", done.stderr);
        }
    }
    fs::write(&vibs, "Name,Vendor,Zones\nesx-base,VMware,vendor.test\n").unwrap();
    fs::remove_file(&assets).unwrap();
    let done = run(&["config", "check", "-c", text(&config)]);
    let says = format!("inventory.file = \"{}\": No such file", assets.display());
    assert!(done.code() == Some(2) && done.stderr.contains(&says), "{}", done.stderr);
    fs::write(&assets, good).unwrap();
    let done = run(&["config", "check", "-c", text(&config)]);
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    assert!(
        done.stdout.contains("2 assets, 1 known good VIBs"),
        "an entry replaces its row: {}",
        done.stdout
    );
}

/// What an ESXi host's names are asked for, and answered, every `gap` seconds.
fn capture(file: &Path, look_ups: u64, gap: u64, name: &dyn Fn(u64) -> String) {
    let mut frames = Vec::new();
    for n in 0..look_ups {
        let time = 1_768_204_800_000_000_000 + n * gap * 1_000_000_000;
        let (name, id) = (name(n), n as u16);
        let query = Message::query(name.as_str(), rtype::A).id(id).build();
        let answer = Message::response(name.as_str(), rtype::A).id(id);
        let answer = answer.answer(rtype::A, 5, [192, 0, 2, 1]).build();
        let (esx, resolver) = ([192, 0, 2, 7], [192, 0, 2, 53]);
        frames.push((time, Frame::v4(esx, resolver).udp(4000, 53).payload(query).build()));
        frames.push((time + 1_000_000, Frame::v4(resolver, esx).udp(53, 4000).payload(answer).build()));
    }
    fs::write(file, Pcap { nanos: true, ..Pcap::default() }.file(ETHERNET, &frames)).unwrap();
}

fn replay(config: &Path, capture: &Path) -> (Vec<Value>, String) {
    let done = run(&["replay", "--output", "json", "-c", text(config), text(capture)]);
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let findings = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (findings, done.stderr)
}

#[test]
fn a_replay_knows_assets_by_address_and_counts_what_the_filter_kept_back() {
    let _binary = require!(binary());
    let dir = tempfile::tempdir().unwrap();
    let (config, file, vibs) =
        (dir.path().join("c.toml"), dir.path().join("c.pcap"), dir.path().join("v.csv"));
    fs::write(&vibs, "Name,Vendor,zones\nesx-base,VMware,vendor.test\n").unwrap();
    let asset = "[[asset]]\nname = \"esx-07\"\naddresses = [\"192.0.2.0/28\"]\nplatform = \"esxi\"\nrole = \"management\"\n\
                 zones = [\"corp.example\"]\n[[asset]]\nname = \"card\"\nmac = [\"00:50:56:00:00:07\"]\n";
    let write = |more: &str| fs::write(&config, format!("{more}{asset}")).unwrap();
    // 35 bytes a message: 63,000 an hour, then twice as much.
    let usual = |n: u64| format!("{}.corp.example", ["vcen", "ntp1", "syslg", "ntp2"][n as usize % 4]);
    for filter in ["on", "off"] {
        write(&format!("[novelty]\nfilter = \"{filter}\"\n"));
        capture(&file, 3600, 2, &usual);
        let (findings, said) = replay(&config, &file);
        assert_eq!(of_rule(&findings, "create"), Vec::<&Value>::new(), "filter {filter}");
        assert!(said.contains("1 assets have a hardware address alone"), "{said}");
        capture(&file, 7200, 1, &usual);
        let (findings, _) = replay(&config, &file);
        let closed = of_rule(&findings, "close");
        assert_eq!(closed.len(), 1, "filter {filter}: {findings:#?}");
        assert_eq!(names(closed[0]), ["outbound_dns_volume"], "filter {filter}: {:#}", closed[0]);
    }
    // What a known good VIB asks for is approved where the list is, and only there.
    capture(&file, 20, 20, &|_| "hostupdate.vendor.test".to_owned());
    write("");
    let (findings, _) = replay(&config, &file);
    assert_eq!(names(of_rule(&findings, "close")[0]), ["unapproved_zone"]);
    write(&format!("[asset_policy]\nknown_good_vibs = \"{}\"\n", vibs.display()));
    let (findings, _) = replay(&config, &file);
    assert_eq!(of_rule(&findings, "close"), Vec::<&Value>::new());
    let done = run(&["coverage", "-c", text(&config)]);
    let says = format!("KnownGoodVIBs: asset_policy.known_good_vibs = \"{}\"", vibs.display());
    let unwrapped = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unwrapped.contains(&says), "{says}: {}", done.stdout);
}

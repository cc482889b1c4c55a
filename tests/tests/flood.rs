//! Floods of attacker-chosen names, zones and clients: memory stays within its caps, and a tunnel beside them is found.
//!
//! Short in the test run; `cargo test --release -p earthdog-tests --test flood -- --ignored --nocapture` sends ten million
//! look-ups of each kind.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use earthdog::config::Config;
use earthdog::event::{Event, Kind, Packet, Transport, View, no_owner};
use earthdog::finding::{Finding, Origin, Severity, State};
use earthdog::pipeline::Pipeline;
use earthdog_tests::capture::{leaking_name, mix};
use earthdog_tests::message::{Message, rtype};
use earthdog_tests::serial;
use rstest::rstest;
use sensor_ebpf::abi::flag;

#[rstest]
#[case::names("names")]
#[case::zones("zones")]
#[case::clients("clients")]
#[case::nxdomain("nxdomain")]
fn a_flood_hides_no_tunnel(#[case] kind: &str) {
    flood(kind, 200_000);
}

#[rstest]
#[ignore = "takes minutes: ten million look-ups"]
#[case::names("names")]
#[ignore = "takes minutes: ten million look-ups"]
#[case::zones("zones")]
#[ignore = "takes minutes: ten million look-ups"]
#[case::clients("clients")]
fn ten_million_neither_grow_memory_nor_hide_a_tunnel(#[case] kind: &str) {
    flood(kind, 10_000_000);
}

const START_NS: u64 = 1_700_000_000_000_000_000;
/// Ten thousand look-ups a second.
const STEP_NS: u64 = 100_000;
/// One query of the tunnel among so many.
const TUNNEL_EVERY: u32 = 10_000;
/// Of a round that is long enough to fill every table, bytes that the next may add: what an allocator keeps for itself.
const SLACK_BYTES: usize = 8 << 20;

fn flood(kind: &str, count: u32) {
    let _alone = serial::lock(); // what another adds to this process's memory is not ours
    let settings = Config::default().pipeline();
    let worst_bytes = settings.worst_case_bytes();
    let before = resident_bytes();
    let mut pipeline = Pipeline::new(settings, Origin::Replay);
    let mut leaks = Vec::new();
    let tunnel = IpAddr::from(Ipv4Addr::new(192, 0, 2, 7));
    let mut emit = |finding: &Finding| {
        let ours = finding.client.ip == Some(tunnel) && finding.zone.as_deref() == Some("leak.example");
        if ours && finding.state == State::Create && finding.severity >= Severity::Medium {
            leaks.push(finding.queries);
        }
    };
    let mut half = 0;
    for number in 0..count {
        let random = mix(number);
        let spoofed = IpAddr::from(Ipv4Addr::from(0x0b00_0000 | random >> 8));
        let fixed = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
        let (client, name, rcode) = match kind {
            "names" => (fixed, format!("{random:08x}{number:x}.victim.example"), 0),
            "zones" => (fixed, format!("www.z{random:08x}{number:x}.example"), 0),
            "clients" => (spoofed, format!("www.site{}.example", random % 500), 0),
            _ => (spoofed, format!("q{random:08x}{number:x}.com"), 3),
        };
        let time_ns = START_NS + u64::from(number) * STEP_NS;
        pipeline.push(query(client, &name, number as u16, time_ns), &mut emit);
        pipeline.push(answer(client, &name, number as u16, rcode, time_ns + STEP_NS / 4), &mut emit);
        // From when every table is full.
        if number > count / 4 && number.is_multiple_of(TUNNEL_EVERY) {
            let name = leaking_name(number);
            pipeline.push(query(tunnel, &name, number as u16, time_ns + STEP_NS / 2), &mut emit);
        }
        if number == count / 2 {
            half = resident_bytes();
        }
    }
    let after = resident_bytes();
    eprintln!(
        "{kind}: {count} look-ups, {} MiB before, {} MiB after half, {} MiB at the end, {} MiB allowed; tunnel found at \
         its query {leaks:?}",
        before >> 20,
        half >> 20,
        after >> 20,
        worst_bytes >> 20
    );
    assert_eq!(leaks.len(), 1, "the tunnel beside the flood");
    assert!(after.saturating_sub(before) <= worst_bytes, "{after} - {before} > {worst_bytes}");
    assert!(after.saturating_sub(half) <= SLACK_BYTES, "still growing: {half}, then {after}");
}

fn query(client: IpAddr, name: &str, id: u16, time_ns: u64) -> Event {
    packet(client, true, Message::query(name, rtype::A).id(id).build(), time_ns)
}

fn answer(client: IpAddr, name: &str, id: u16, rcode: u8, time_ns: u64) -> Event {
    packet(client, false, Message::response(name, rtype::A).id(id).rcode(rcode).build(), time_ns)
}

fn packet(client: IpAddr, to_server: bool, message: Vec<u8>, time_ns: u64) -> Event {
    let (client, server) = (SocketAddr::new(client, 4053), SocketAddr::from(([10, 255, 255, 53], 53)));
    let (src, dst) = if to_server { (client, server) } else { (server, client) };
    Event::Packet(Packet {
        time_ns,
        view: View::WireIngress,
        kind: Kind::Message,
        transport: Transport::Udp,
        src,
        dst,
        ifindex: 2,
        vlan: [None; 2],
        tcp_seq: 0,
        flags: if to_server { flag::TO_SERVER } else { flag::RESPONSE },
        true_len: message.len() as u32,
        payload: message.into(),
        owner: no_owner(1),
    })
}

/// Pages of this process in memory (proc(5), statm).
fn resident_bytes() -> usize {
    let text = fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm has it");
    pages * 4096
}

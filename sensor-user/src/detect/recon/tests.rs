use super::*;
use crate::finding::{Scope, Severity};
use crate::pipeline::bench::{Bench, message};

const WORDS: [&str; 20] = [
    "admin", "mail", "vpn", "portal", "intranet", "test", "backup", "shop", "login", "remote", "files",
    "dev", "stage", "webmail", "proxy", "monitor", "print", "wiki", "git", "jenkins",
];
const EXISTS: &[(u16, u32, &[u8])] = &[(1, 300, &[192, 0, 2, 1])];

fn bench() -> Bench {
    Bench::new(&Config::default())
}

#[track_caller]
fn found(bench: &Bench, evidence: &str) {
    let created = bench.created_by(Recon::RULE);
    assert_eq!(created.len(), 1, "{:#?}", bench.found);
    assert_eq!((created[0].severity, created[0].scope), (Severity::Low, Scope::Client));
    assert_eq!(created[0].evidence[0].name, evidence);
}

#[test]
fn sweeps_in_and_out_of_order_are_found() {
    let mut bench = bench();
    for n in 0..200_u32 {
        bench.wait(0.1);
        bench.look_up("10.0.0.2", &format!("{}.2.0.192.in-addr.arpa", n + 1), 12, 3, &[]);
    }
    found(&bench, "swept_addresses");
    let mut bench = self::bench();
    for n in 0..200_u32 {
        bench.wait(0.1);
        bench.look_up("10.0.0.2", &format!("{}.2.0.192.in-addr.arpa", n * 101 % 251), 12, 3, &[]);
    }
    found(&bench, "swept_addresses");
    assert_eq!(bench.created_by(Recon::RULE)[0].queries, 128);
    let mut bench = self::bench();
    for n in 0..60_u32 {
        bench.wait(0.1);
        let name = format!("{:x}.{:x}.{}2.ip6.arpa", n % 16, n / 16, "0.".repeat(29));
        bench.look_up("10.0.0.2", &name, 12, 3, &[]);
    }
    found(&bench, "swept_addresses");
}

#[test]
fn guessed_names_transfers_and_versions_are_found() {
    let mut bench = bench();
    for n in 0..200 {
        bench.wait(0.1);
        let name =
            format!("{}{}.example.com", WORDS[n % 20], ["", "-old", "-new", "-dev", "-lab"][n / 20 % 5]);
        bench.look_up("10.0.0.2", &name, 1, if n % 40 == 0 { 0 } else { 3 }, &[]);
    }
    found(&bench, "guessed_names");
    let mut bench = self::bench();
    bench.look_up("10.0.0.2", "example.com", AXFR, REFUSED, &[]);
    found(&bench, "zone_transfer");
    let mut bench = self::bench();
    let mut query = message(7, 0x0100, "version.bind", 16, &[]);
    let end = query.len();
    query[end - 1] = CHAOS as u8;
    bench.packet("10.0.0.2", &query, true);
    found(&bench, "server_version");
}

#[test]
fn bursts_of_cold_names_are_found() {
    let mut bench = bench();
    for n in 0..400 {
        bench.wait(0.05);
        let name = format!("{}.{}.example.com", WORDS[n % 20], WORDS[n / 20]);
        bench.look_up("10.0.0.2", &name, 1, 0, EXISTS);
    }
    found(&bench, "cold_names");
}

#[test]
fn honest_look_alikes_are_left_alone() {
    let mut bench = bench();
    for n in 0..600_u32 {
        bench.wait(0.5);
        // Visitors, some of one busy network.
        let (a, b) = if n % 5 == 0 { (66, n % 8) } else { (n * 37 % 200 + 11, n * 91 % 256) };
        bench.look_up("10.0.0.3", &format!("{}.{b}.249.{a}.in-addr.arpa", n * 57 % 256), 12, 3, &[]);
        // A search list behind names of other zones.
        let word = WORDS[n as usize % 20];
        bench.look_up("10.0.0.4", &format!("{word}{}.com.cluster.local", n / 20), 1, 3, &[]);
        bench.look_up("10.0.0.4", &format!("www.{word}{}.com.cluster.local", n / 20), 1, 3, &[]);
        // Hashes, block lists, service names.
        bench.look_up("10.0.0.5", &format!("{:08x}q{n}x.avqs.example.com", n * 2_654_435), 1, 3, &[]);
        bench.look_up("10.0.0.5", &format!("{}.{b}.2.192.list.example.net", n % 256), 1, 3, &[]);
        bench.look_up("10.0.0.5", &format!("_ldap._tcp.site{n}.example.org"), 33, 3, &[]);
        // Numbered hosts that are gone, and that exist.
        bench.look_up("10.0.0.7", &format!("client{n}.example.net"), 1, 3, &[]);
        bench.look_up("10.0.0.6", &format!("node{n}.example.org"), 1, 0, EXISTS);
    }
    bench.finish();
    assert!(bench.created_by(Recon::RULE).is_empty(), "{:#?}", bench.created_by(Recon::RULE));
}

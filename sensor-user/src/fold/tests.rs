//! What folds, what does not, and that nothing folds into nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const HOST: u32 = 100;
const CONTAINER: u32 = 200;

type Seed = foldhash::fast::FixedState;

fn hash(name: &str) -> u64 {
    Seed::with_seed(9).hash_one(name)
}

/// A fold with a clock that goes on by a millisecond a message.
struct Bench {
    fold: Fold<Seed>,
    now_ns: u64,
    search: &'static [&'static str],
}

fn bench() -> Bench {
    Bench { fold: Fold::new(&Settings::default(), Seed::with_seed(1)), now_ns: 1000 * MS, search: &[] }
}

fn leg(view: View, netns: u32, client: &str, server: &str, id: u16, name: &str, qtype: u16) -> Leg {
    Leg {
        client: client.parse().unwrap(),
        server: server.parse().unwrap(),
        transport: Transport::Udp,
        id,
        name: hash(name),
        qtype,
        view,
        ifindex: 1,
        netns,
    }
}

/// A process as an asker; its client's key is its number.
fn process(number: u64) -> Asker {
    Asker { key: number, process: Some(number * 1000) }
}

/// An address as an asker.
fn address(number: u64) -> Asker {
    Asker { key: number, process: None }
}

impl Bench {
    fn ask(&mut self, leg: Leg, name: &str, asker: Asker) -> Seen {
        self.now_ns += MS;
        let parents: Vec<u64> = name.match_indices('.').map(|(at, _)| hash(&name[at + 1..])).collect();
        let stem = self.search.iter().find_map(|suffix| name.strip_suffix(suffix)?.strip_suffix('.'));
        let stem = stem.map_or(leg.name, hash);
        let ancestors = if self.fold.wants_ancestors(&leg) { &parents[..] } else { &[] };
        self.fold.query(&Query { leg, asker, stem, ancestors }, self.now_ns)
    }

    fn answer(&mut self, leg: Leg) -> Answers {
        self.now_ns += MS;
        self.fold.response(&leg, None, self.now_ns)
    }

    /// A process of the host's namespace asks at its socket.
    fn sends(&mut self, asker: Asker, client: &str, server: &str, id: u16, name: &str) -> Seen {
        self.ask(leg(View::HostEgress, HOST, client, server, id, name, 1), name, asker)
    }

    /// The server's process sends the response.
    fn responds(&mut self, asker: Asker, netns: u32, client: &str, server: &str, id: u16, name: &str) {
        let leg = leg(View::HostEgress, netns, client, server, id, name, 1);
        assert!(matches!(self.answer(leg), Answers::Query(_)), "{leg:?}");
        self.fold.answers_at(leg.server.ip(), netns, asker, self.now_ns);
    }
}

fn sure(seen: Seen) -> Option<u64> {
    match seen {
        Seen::Forwarded { whose, ambiguous: false } if !whose.inferred => Some(whose.owner),
        _ => None,
    }
}

fn perhaps(seen: Seen) -> Option<u64> {
    match seen {
        Seen::Forwarded { whose, .. } if whose.inferred => Some(whose.owner),
        _ => None,
    }
}

const APP: &str = "127.0.0.1:4000";
const STUB: &str = "127.0.0.53:53";
const LAN: &str = "10.0.0.2:5000";
const UP: &str = "10.0.0.1:53";

#[test]
fn one_message_at_three_hooks_is_one() {
    let mut bench = bench();
    let at = |view, netns| leg(view, netns, "10.0.0.2:4000", UP, 7, "a.test", 16);
    assert_eq!(bench.ask(at(View::HostEgress, HOST), "a.test", process(1)), Seen::First);
    let own = Whose { asker: 1, owner: 1, inferred: false, loosely: false, at_socket: true };
    let loosely = Whose { inferred: true, loosely: true, ..own };
    assert_eq!(bench.ask(at(View::WireEgress, HOST), "a.test", address(2)), Seen::Duplicate(own));
    assert_eq!(bench.ask(at(View::HostIngress, 300), "a.test", address(2)), Seen::Duplicate(loosely));
    assert_eq!(bench.answer(at(View::WireIngress, HOST)), Answers::Query(own));
    assert_eq!(bench.answer(at(View::HostIngress, HOST)), Answers::Duplicate(Some(own)));
}

#[test]
fn retries_and_twins_are_one_lookup_and_it_ends() {
    let mut bench = bench();
    let at = |id, qtype| leg(View::HostEgress, HOST, "10.0.0.2:4000", UP, id, "a.test", qtype);
    assert_eq!(bench.ask(at(1, 1), "a.test", process(1)), Seen::First);
    assert_eq!(bench.ask(at(2, 28), "a.test", process(1)), Seen::Twin);
    assert_eq!(bench.ask(at(1, 1), "a.test", process(1)), Seen::Twin, "the same bytes sent again");
    bench.now_ns += 1500 * MS;
    assert_eq!(bench.ask(at(3, 1), "a.test", process(1)), Seen::Twin);
    bench.now_ns += 1000 * MS;
    assert_eq!(bench.ask(at(4, 1), "a.test", process(1)), Seen::First, "a twin does not keep it open");
}

/// As glibc walks a search list, with either end first.
#[test]
fn a_search_list_is_one_lookup() {
    for names in [["host", "host.corp.test", "host.lab.test"], ["host.lab.test", "host.corp.test", "host"]] {
        let mut bench = bench();
        bench.search = &["corp.test", "lab.test"];
        let seen = |bench: &mut Bench, asker| {
            [0, 1, 2].map(|n| {
                bench.sends(process(asker), "10.0.0.2:4000", UP, n as u16 + asker as u16 * 9, names[n])
            })
        };
        assert_eq!(seen(&mut bench, 1), [Seen::First, Seen::Twin, Seen::Twin]);
        assert_eq!(seen(&mut bench, 2), [Seen::First, Seen::Twin, Seen::Twin], "another client has its own");
        assert_eq!(bench.sends(process(1), "10.0.0.2:4000", UP, 90, "host.evil.test"), Seen::First);
    }
}

#[test]
fn a_known_resolver_passes_on_and_is_not_charged() {
    let mut bench = bench();
    // The first time it is only plausible: nobody is known to answer there.
    assert_eq!(bench.sends(process(1), APP, STUB, 1, "a.test"), Seen::First);
    assert_eq!(perhaps(bench.sends(process(2), LAN, UP, 9, "a.test")), Some(1));
    bench.responds(process(2), HOST, APP, STUB, 1, "a.test");
    // From then on it is known, and nobody else is.
    assert_eq!(bench.sends(process(1), APP, STUB, 2, "b.test"), Seen::First);
    let forwarded = bench.sends(process(2), LAN, UP, 10, "b.test");
    assert_eq!(sure(forwarded), Some(1));
    assert_eq!(bench.fold.via(&leg(View::HostEgress, HOST, APP, STUB, 3, "c.test", 1)), Some(2));
    assert_eq!(bench.sends(process(3), LAN, UP, 11, "b.test"), Seen::First, "another program is charged");
    // The response to the upstream query is part of the application's look-up.
    let upstream = leg(View::HostIngress, HOST, LAN, UP, 10, "b.test", 1);
    let Answers::Query(whose) = bench.answer(upstream) else { panic!() };
    assert_eq!((whose.asker, whose.owner, whose.inferred), (2, 1, false));
    // It asks on for seconds, and once more for what nobody asked: that is its own.
    bench.now_ns += 5000 * MS;
    assert_eq!(sure(bench.sends(process(2), LAN, UP, 12, "b.test")), Some(1));
    bench.now_ns += 6000 * MS;
    assert_eq!(bench.sends(process(2), LAN, UP, 13, "b.test"), Seen::First);
}

#[test]
fn a_listener_found_at_start_is_known_at_once() {
    for ip in ["127.0.0.53", "0.0.0.0"] {
        let mut bench = bench();
        let stub = Asker { key: 0, process: Some(2000) };
        bench.fold.answers_at(ip.parse().unwrap(), HOST, stub, 1);
        bench.fold.answers_at("127.0.0.53".parse().unwrap(), CONTAINER, process(5), 1);
        assert_eq!(bench.sends(process(1), APP, STUB, 1, "a.test"), Seen::First);
        assert_eq!(bench.sends(process(5), LAN, UP, 8, "a.test"), Seen::First, "of another namespace");
        assert_eq!(sure(bench.sends(process(2), LAN, UP, 9, "a.test")), Some(1), "{ip}");
    }
}

/// Who asks a server elsewhere has no resolver on this host.
#[test]
fn two_applications_with_one_name_are_each_charged() {
    let mut bench = bench();
    for (number, name) in [(1, "a.test"), (2, "a.test"), (3, "a.test")] {
        let client = format!("10.0.0.2:{}", 4000 + number);
        assert_eq!(bench.sends(process(number), &client, UP, number as u16, name), Seen::First);
    }
    // Two behind one resolver: what it passes on is one of theirs, but whose cannot be known.
    bench.fold.answers_at("127.0.0.53".parse().unwrap(), HOST, process(9), 1);
    assert_eq!(bench.sends(process(1), APP, STUB, 11, "b.test"), Seen::First);
    assert_eq!(bench.sends(process(2), "127.0.0.1:4001", STUB, 12, "b.test"), Seen::First);
    let Seen::Forwarded { whose, ambiguous } = bench.sends(process(9), LAN, UP, 13, "b.test") else {
        panic!()
    };
    assert!(ambiguous && whose.inferred && whose.owner == 1, "{whose:?}");
}

/// Docker: the resolver answers from a socket in the container's namespace and asks upstream from the host's. A stub of
/// the same address in another container is another one.
#[test]
fn a_role_is_the_processs_whatever_its_namespace() {
    let mut bench = bench();
    let docker = "127.0.0.11:53";
    let asks = |bench: &mut Bench, netns, id, name| {
        bench.ask(leg(View::HostEgress, netns, APP, docker, id, name, 1), name, process(u64::from(netns)))
    };
    for (netns, resolver) in [(CONTAINER, 7), (300, 8)] {
        assert_eq!(asks(&mut bench, netns, 1, "a.test"), Seen::First);
        bench.responds(process(resolver), netns, APP, docker, 1, "a.test");
    }
    assert_eq!(asks(&mut bench, CONTAINER, 2, "b.test"), Seen::First);
    assert_eq!(
        asks(&mut bench, 300, 2, "b.test"),
        Seen::First,
        "the same ends, id and name in another namespace"
    );
    assert_eq!(sure(bench.sends(process(7), LAN, UP, 3, "b.test")), Some(200));
    assert_eq!(sure(bench.sends(process(8), LAN, UP, 4, "b.test")), Some(300));
}

#[test]
fn chained_resolvers_lead_back_to_the_application() {
    let mut bench = bench();
    bench.fold.answers_at("127.0.0.53".parse().unwrap(), HOST, process(2), 1);
    bench.fold.answers_at("127.0.0.1".parse().unwrap(), HOST, process(3), 1);
    assert_eq!(bench.sends(process(1), APP, STUB, 1, "a.test"), Seen::First);
    assert_eq!(sure(bench.sends(process(2), "127.0.0.1:4001", "127.0.0.1:53", 2, "a.test")), Some(1));
    assert_eq!(sure(bench.sends(process(3), LAN, UP, 3, "a.test")), Some(1));
}

#[test]
fn a_minimising_resolver_asks_for_parents_and_follows_answers() {
    let mut bench = bench();
    bench.fold.answers_at("127.0.0.53".parse().unwrap(), HOST, process(2), 1);
    assert_eq!(bench.sends(process(1), APP, STUB, 1, "x.t.evil.test"), Seen::First);
    for (id, parent) in [(2, "test"), (3, "evil.test"), (4, "t.evil.test"), (5, "x.t.evil.test")] {
        assert_eq!(sure(bench.sends(process(2), LAN, UP, id, parent)), Some(1), "{parent}");
    }
    assert_eq!(bench.sends(process(2), LAN, UP, 6, "y.t.evil.test"), Seen::First, "a sister is nobody's");
    // A parent that the application asks for itself is charged.
    assert_eq!(bench.sends(process(1), APP, STUB, 7, "evil.test"), Seen::First);
    let Answers::Query(whose) = bench.answer(leg(View::HostIngress, HOST, LAN, UP, 5, "x.t.evil.test", 1))
    else {
        panic!()
    };
    let now_ns = bench.now_ns;
    bench.fold.led_to(whose, [hash("ns1.elsewhere.test")].into_iter(), now_ns);
    assert_eq!(sure(bench.sends(process(2), LAN, UP, 8, "ns1.elsewhere.test")), Some(1));
    assert_eq!(bench.sends(process(3), LAN, UP, 9, "ns1.elsewhere.test"), Seen::First, "not to another one");
}

/// Captures and gateways know addresses only.
#[test]
fn addresses_pass_on_what_they_were_asked() {
    let ask = |bench: &mut Bench, client: &str, server: &str, id, asker| {
        bench.ask(leg(View::Capture, 0, client, server, id, "a.test", 1), "a.test", address(asker))
    };
    let mut known = bench();
    assert_eq!(ask(&mut known, "10.0.0.5:4000", "10.0.0.1:53", 1, 5), Seen::First);
    assert_eq!(sure(ask(&mut known, "10.0.0.1:4000", "192.0.2.1:53", 2, 1)), Some(5));
    // With a leg of its own on another network it can only be guessed, and only while the answer is out.
    let mut other = bench();
    assert_eq!(ask(&mut other, "10.0.0.5:4000", "10.0.0.1:53", 1, 5), Seen::First);
    assert_eq!(ask(&mut other, "10.0.0.6:4000", "10.0.0.1:53", 2, 6), Seen::First, "asks the same server");
    assert_eq!(perhaps(ask(&mut other, "203.0.113.9:4000", "192.0.2.1:53", 3, 9)), Some(5));
    for (client, id) in [("10.0.0.5:4000", 1), ("10.0.0.6:4000", 2)] {
        other.answer(leg(View::Capture, 0, client, "10.0.0.1:53", id, "a.test", 1));
    }
    assert_eq!(ask(&mut other, "203.0.113.10:4000", "192.0.2.1:53", 4, 10), Seen::First);
    // A stub on loopback.
    let mut stub = bench();
    assert_eq!(ask(&mut stub, APP, STUB, 1, 1), Seen::First);
    assert_eq!(perhaps(ask(&mut stub, LAN, UP, 2, 2)), Some(1));
}

/// A masquerading gateway with both interfaces watched: the query before and after, the answer before and after.
#[test]
fn masquerading_does_not_make_two() {
    let mut bench = bench();
    let inside = |view| leg(view, HOST, "192.168.1.2:4000", "192.0.2.1:53", 7, "a.test", 1);
    let outside = |view| leg(view, HOST, "203.0.113.1:61000", "192.0.2.1:53", 7, "a.test", 1);
    assert_eq!(bench.ask(inside(View::WireIngress), "a.test", address(2)), Seen::First);
    let Seen::Duplicate(whose) = bench.ask(outside(View::WireEgress), "a.test", address(3)) else { panic!() };
    assert!(whose.owner == 2 && whose.inferred && whose.loosely, "{whose:?}");
    let Answers::Query(whose) = bench.answer(outside(View::WireIngress)) else { panic!() };
    assert_eq!(whose.owner, 2);
    assert!(matches!(
        bench.answer(inside(View::WireEgress)),
        Answers::Duplicate(Some(Whose { owner: 2, .. }))
    ));
    // Nothing that leaves a socket is anybody else's.
    assert_eq!(bench.ask(outside(View::HostEgress), "a.test", process(4)), Seen::First);
}

/// kube-proxy and the like give the query to another server than was asked; that one is the resolver.
#[test]
fn a_rewritten_server_is_still_the_one_that_was_asked() {
    let mut bench = bench();
    let asked = leg(View::HostEgress, CONTAINER, "10.244.0.9:4000", "10.96.0.10:53", 7, "a.test", 1);
    let taken_in = |view| leg(view, 300, "10.244.0.9:4000", "10.244.0.5:53", 7, "a.test", 1);
    assert_eq!(bench.ask(asked, "a.test", process(1)), Seen::First);
    let Seen::Duplicate(whose) = bench.ask(taken_in(View::HostIngress), "a.test", address(9)) else {
        panic!()
    };
    assert!(whose.owner == 1 && whose.loosely);
    let upstream = leg(View::HostEgress, 300, "10.244.0.5:5000", UP, 8, "a.test", 1);
    assert_eq!(perhaps(bench.ask(upstream, "a.test", process(2))), Some(1));
    let Answers::Query(whose) = bench.answer(taken_in(View::HostEgress)) else { panic!() };
    assert_eq!(whose.owner, 1);
    assert!(matches!(bench.answer(Leg { view: View::HostIngress, ..asked }), Answers::Duplicate(Some(_))));
}

/// Containers may have the same address: a message that leaves from sockets in two namespaces is two.
#[test]
fn two_containers_with_one_address_are_two() {
    let mut bench = bench();
    let at = |view, netns| leg(view, netns, "10.0.2.100:4000", UP, 7, "a.test", 1);
    assert_eq!(bench.ask(at(View::HostEgress, 1), "a.test", process(1)), Seen::First);
    assert_eq!(bench.ask(at(View::HostEgress, 2), "a.test", process(2)), Seen::First);
    let Seen::Duplicate(whose) = bench.ask(at(View::WireIngress, 9), "a.test", address(3)) else { panic!() };
    assert!(whose.loosely);
}

#[test]
fn a_response_alone_speaks_for_its_query() {
    let mut bench = bench();
    let one = leg(View::Capture, 0, "10.0.0.2:4000", UP, 7, "a.test", 16);
    assert_eq!(bench.answer(one), Answers::Unknown(false));
    assert_eq!(bench.answer(one), Answers::Duplicate(None));
}

#[test]
fn a_response_ahead_of_its_query_takes_nothing_from_it() {
    for view in [View::Capture, View::HostEgress] {
        let mut bench = bench();
        let one = leg(view, 0, "10.0.0.2:4000", UP, 7, "a.test", 16);
        assert_eq!(bench.answer(one), Answers::Unknown(false));
        assert_eq!(bench.ask(one, "a.test", address(3)), Seen::First);
        assert!(matches!(bench.answer(one), Answers::Query(Whose { owner: 3, .. })));
        let other = Leg { id: 8, name: hash("b.test"), ..one };
        assert_eq!(bench.answer(other), Answers::Unknown(false));
        assert_eq!(bench.ask(Leg { id: 9, ..other }, "b.test", address(3)), Seen::First);
    }
}

#[test]
fn room_is_bounded() {
    let settings = Settings { max_recent: 64, ..Settings::default() };
    let mut bench = bench();
    bench.fold = Fold::new(&settings, Seed::with_seed(1));
    for id in 0..4000u16 {
        let name = format!("a.b{id}.test");
        bench.now_ns -= MS;
        bench.sends(process(u64::from(id)), APP, STUB, id, &name);
        bench.fold.answers_at([10, 0, (id >> 8) as u8, id as u8].into(), 0, process(u64::from(id)), 1);
    }
    assert!(bench.fold.evicted() >= 3900 * 3, "{}", bench.fold.evicted());
    assert!(settings.worst_case_bytes() < 100_000, "{}", settings.worst_case_bytes());
}

/// A query by asker, client, server, name and view, so many milliseconds after the one before.
fn any_query() -> impl Strategy<Value = (u64, usize, usize, usize, usize, u16, u64)> {
    (1u64..6, 0usize..4, 0usize..5, 0usize..7, 0usize..5, 0u16..4, 0u64..900)
}

proptest! {
    /// Whatever comes: each query is exactly one of the four, and what is not charged is part of a look-up that
    /// somebody was charged for shortly before: the very name, one with a suffix of the search list, one below it, or,
    /// for what was never sent by its owner, one that an answer led to.
    #[test]
    fn nothing_folds_into_nothing(queries in proptest::collection::vec((any_query(), any::<bool>()), 1..200)) {
        const CLIENTS: [&str; 4] = ["127.0.0.1:4000", "10.0.0.2:4000", "10.0.0.1:4000", "10.0.0.3:4000"];
        const SERVERS: [&str; 5] = ["127.0.0.53:53", "127.0.0.1:53", "10.0.0.1:53", "10.0.0.2:53", "192.0.2.1:53"];
        const NAMES: [&str; 7] = ["test", "a.test", "b.a.test", "c.b.a.test", "x", "x.test", "y.c.b.a.test"];
        const VIEWS: [View; 5] =
            [View::HostEgress, View::HostIngress, View::WireIngress, View::WireEgress, View::Capture];
        let stem = |name: &'static str| name.strip_suffix(".test").unwrap_or(name);
        let mut bench = bench();
        bench.search = &["test"];
        // When each owner was last charged for each name, or for that with another suffix.
        let mut charged: BTreeMap<(u64, &'static str), u64> = BTreeMap::new();
        let mut count = [0u64; 4];
        for ((asker, client, server, name, view, id, gap), responds) in &queries {
            bench.now_ns += gap * MS;
            let name = NAMES[*name];
            let netns = if VIEWS[*view] == View::Capture { 0 } else { HOST };
            let leg = leg(VIEWS[*view], netns, CLIENTS[*client], SERVERS[*server], *id, name, 1);
            let asker = if *view == 0 { process(*asker) } else { address(50 + *client as u64) };
            let seen = bench.ask(leg, name, asker);
            let now_ns = bench.now_ns;
            let paid = |owner: u64, within_ms: u64| {
                let told = charged.iter().filter(|((who, what), at_ns)| {
                    let same = stem(what) == stem(name) || what.ends_with(&format!(".{name}"));
                    *who == owner && same && now_ns - **at_ns <= within_ms * MS
                });
                told.map(|(_, at_ns)| *at_ns).min()
            };
            match seen {
                Seen::First => {
                    charged.insert((asker.key, name), now_ns);
                    count[0] += 1;
                }
                Seen::Twin => {
                    let since_ns = paid(asker.key, 2000);
                    prop_assert!(since_ns.is_some(), "{seen:?} of {name} by {asker:?}");
                    // With another suffix it is told too, at the time of the first.
                    let at_ns = charged.entry((asker.key, name)).or_default();
                    *at_ns = since_ns.unwrap().max(*at_ns);
                    count[1] += 1;
                }
                Seen::Forwarded { whose, .. } => {
                    prop_assert!(whose.owner != asker.key && paid(whose.owner, 10_000).is_some(), "{seen:?} of {name}");
                    count[2] += 1;
                }
                Seen::Duplicate(whose) => {
                    // Of a message that was itself folded up to ten seconds after its look-up began.
                    prop_assert!(paid(whose.owner, 12_000).is_some(), "{seen:?} of {name}");
                    count[3] += 1;
                }
            }
            if *responds {
                bench.answer(leg);
                bench.fold.answers_at(leg.server.ip(), netns, process(asker.key), now_ns);
            }
        }
        prop_assert_eq!(count.iter().sum::<u64>(), queries.len() as u64);
    }

    /// Rings of several processors hand over what came within a moment in any order: who is charged for what stays the
    /// same, and how many are copies, retries and types of it. A packet that is seen at a socket and on the wire is seen
    /// there in this order, whatever comes between.
    #[test]
    fn order_within_the_slack_changes_nothing(
        messages in proptest::collection::vec((0u64..3, 0usize..4, 0usize..3, 0u16..4), 1..60),
        keys in proptest::collection::vec(any::<u64>(), 120),
        capture: bool,
        on_the_wire: bool,
    ) {
        // Ports of their own: one message from one port of two addresses is one that was translated.
        const CLIENTS: [&str; 3] = ["10.0.0.2:4000", "10.0.0.3:4001", "10.0.0.4:4002"];
        const NAMES: [&str; 4] = ["a.test", "b.test", "c.a.test", "x.example"];
        let hooks = if on_the_wire && !capture { 2 } else { 1 };
        // By number of the message times hooks, and the hook.
        let outcome = |order: &[usize]| {
            let mut bench = bench();
            let mut charged: BTreeMap<(u64, &str), u32> = BTreeMap::new();
            let mut folded: BTreeMap<(u64, &str, bool), u32> = BTreeMap::new();
            for at in order {
                let (client, name, qtype, id) = messages[*at / hooks];
                let (view, netns, asker) = match (capture, *at % hooks) {
                    (true, _) => (View::Capture, 0, address(client)),
                    (false, 0) => (View::HostEgress, HOST, process(client)),
                    _ => (View::WireEgress, HOST, address(10 + client)),
                };
                let (address_of, name) = (CLIENTS[client as usize], NAMES[name]);
                let leg = leg(view, netns, address_of, "192.0.2.1:53", id, name, [1, 28, 65][qtype]);
                match bench.ask(leg, name, asker) {
                    Seen::First => *charged.entry((asker.key, name)).or_default() += 1,
                    Seen::Twin => *folded.entry((client, name, false)).or_default() += 1,
                    Seen::Duplicate(_) => *folded.entry((client, name, true)).or_default() += 1,
                    Seen::Forwarded { .. } => *folded.entry((client, "passed on", true)).or_default() += 1,
                }
            }
            (charged, folded)
        };
        let as_sent: Vec<usize> = (0..messages.len() * hooks).collect();
        let mut shuffled = as_sent.clone();
        shuffled.sort_by_key(|at| keys[*at]);
        if hooks == 2 {
            let mut seen = vec![false; messages.len()];
            for at in &mut shuffled {
                let message = *at / 2;
                *at = message * 2 + usize::from(seen[message]);
                seen[message] = true;
            }
        }
        let (first, second) = (outcome(&as_sent), outcome(&shuffled));
        prop_assert!(first.0.values().all(|count| *count == 1), "{:?}", first.0);
        prop_assert_eq!(first, second);
    }
}

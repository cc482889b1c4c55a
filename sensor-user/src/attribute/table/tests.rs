//! Who is kept, who is forgotten, and what stands for a process in its client's key.

use proptest::prelude::*;

use super::*;
use crate::event::no_owner;

const SECOND: u64 = 1_000_000_000;

fn settings(max_processes: usize) -> Settings {
    Settings { max_processes, ..Settings::default() }
}

fn owner(tgid: u32, start_boot_ns: u64) -> Owner {
    Owner { tgid, start_boot_ns, grade: grade::EXACT, ..no_owner(0) }
}

/// Processes by id: each starts at a second of its own.
struct Tree {
    table: ProcessTable,
    starts: BTreeMap<u32, u64>,
}

impl Tree {
    fn new(max: usize) -> Self {
        Self { table: ProcessTable::new(&settings(max)), starts: BTreeMap::new() }
    }

    fn fork(&mut self, ppid: u32, tgid: u32, at_s: u64) {
        let start_boot_ns = at_s * SECOND + u64::from(tgid);
        self.starts.insert(tgid, start_boot_ns);
        let parent_start_boot_ns = self.starts.get(&ppid).copied().unwrap_or(0);
        self.table.fork(&Fork { tgid, ppid, start_boot_ns, parent_start_boot_ns, ..Fork::default() });
    }

    fn exec(&mut self, tgid: u32, exe: &'static str, line: &str) {
        let start_boot_ns = self.starts[&tgid];
        let (exe, args) = (Some(Bytes::from_static(exe.as_bytes())), line.replace(' ', "\0").into());
        self.table.exec(&Exec { tgid, start_boot_ns, exe, args, ..Exec::default() });
    }

    fn start(&mut self, ppid: u32, tgid: u32, at_s: u64, exe: &'static str) {
        self.fork(ppid, tgid, at_s);
        self.exec(tgid, exe, exe);
    }

    fn exit(&mut self, tgid: u32) {
        self.table.exit(&Exit { time_ns: 1, tgid, start_boot_ns: self.starts[&tgid] });
    }

    fn anchor(&mut self, tgid: u32) -> Option<String> {
        let anchor = self.table.anchor(tgid, self.starts[&tgid]);
        anchor.map(|exe| String::from_utf8(exe.to_vec()).unwrap())
    }

    fn has(&self, tgid: u32) -> bool {
        self.table.find(tgid, self.starts[&tgid]).is_some()
    }
}

/// systemd, cron that has run for long, sshd and a shell that was just opened.
fn machine() -> Tree {
    let mut tree = Tree::new(64);
    tree.start(0, 1, 0, "/sbin/init");
    tree.start(1, 10, 5, "/usr/sbin/cron");
    tree.start(1, 11, 5, "/usr/sbin/sshd");
    tree.start(11, 20, 1000, "/usr/bin/bash");
    tree
}

#[test]
fn a_loop_keeps_its_anchor_when_it_grows_old() {
    let mut tree = machine();
    tree.start(20, 21, 1001, "/usr/bin/dash");
    let anchors: Vec<_> = (0..10)
        .map(|n| {
            let tgid = 100 + n;
            tree.start(21, tgid, 1002 + 100 * u64::from(n), "/usr/bin/dig");
            tree.exit(tgid);
            tree.anchor(tgid).unwrap()
        })
        .collect();
    assert_eq!(anchors, ["/usr/sbin/sshd"; 10], "neither shell was old when the first one asked");
}

#[test]
fn two_runs_of_a_job_have_one_anchor() {
    let mut tree = machine();
    for run in 0..3 {
        let (job, shell, dig) = (200 + run, 300 + run, 400 + run);
        let at_s = 2000 + 600 * u64::from(run);
        tree.fork(10, job, at_s);
        tree.start(job, shell, at_s, "/bin/sh");
        // A job that runs for long before it asks.
        tree.start(shell, dig, at_s + 50, "/usr/bin/dig");
        assert_eq!(tree.anchor(dig).as_deref(), Some("/usr/sbin/cron"));
        assert_eq!(tree.anchor(shell).as_deref(), Some("/usr/sbin/cron"));
        for tgid in [dig, shell, job] {
            tree.exit(tgid);
        }
    }
}

#[test]
fn a_servers_worker_is_anchored_as_the_server() {
    let mut tree = machine();
    tree.start(10, 30, 100, "/opt/tunnel");
    tree.fork(30, 31, 5000);
    tree.fork(31, 32, 5001);
    assert_eq!([30, 31, 32].map(|tgid| tree.anchor(tgid)), [(); 3].map(|()| Some("/usr/sbin/cron".into())));
    let programs = tree.table.ancestry(32, tree.starts[&32]);
    assert_eq!(programs, [&b"/usr/sbin/cron"[..], b"/sbin/init"]);
}

#[test]
fn without_parents_there_is_no_anchor_and_no_end() {
    let mut tree = Tree::new(8);
    tree.fork(7, 8, 10);
    assert_eq!(tree.anchor(8), None);
    assert_eq!(tree.table.anchor(99, 99), None);
    assert!(tree.table.ancestry(99, 99).is_empty());
}

#[test]
fn a_fork_runs_what_its_parent_runs_until_it_execs() {
    let mut tree = machine();
    tree.fork(20, 21, 1001);
    let exe = |tree: &Tree| tree.table.find(21, tree.starts[&21]).unwrap().image.exe.clone().unwrap();
    assert_eq!(exe(&tree), "/usr/bin/bash");
    tree.exec(21, "/usr/bin/python3.11", "python3 -u tool.py");
    assert_eq!(exe(&tree), "/usr/bin/python3.11");
    let process = tree.table.find(21, tree.starts[&21]).unwrap();
    assert_eq!(process.image.script.as_deref(), Some(&b"tool.py"[..]));
    assert_eq!(process.parent, Some(key(20, tree.starts[&20])));
}

#[test]
fn exec_makes_another_client_and_facts_that_come_late_do_not() {
    let mut tree = machine();
    let shell = owner(20, tree.starts[&20]);
    tree.table.seen(&shell).unwrap().client = Some(1);
    tree.table.learn(ProcessFacts {
        tgid: 20,
        start_boot_ns: shell.start_boot_ns / TICK_NS * TICK_NS,
        exe: Some(Bytes::from_static(b"/other")),
        uid: Some(5),
        ..ProcessFacts::default()
    });
    let known = tree.table.find(20, shell.start_boot_ns).unwrap();
    assert_eq!((known.client, known.image.exe.as_deref()), (Some(1), Some(&b"/usr/bin/bash"[..])));
    tree.exec(20, "/usr/bin/dig", "dig");
    assert_eq!(tree.table.seen(&shell).unwrap().client, None);
}

#[test]
fn what_runs_without_being_seen_to_start_is_asked_for_once() {
    let mut table = ProcessTable::new(&Settings::default());
    assert!(table.seen(&no_owner(1)).is_none());
    for _ in 0..2 {
        table.seen(&owner(7, 70 * TICK_NS + 3)).unwrap();
    }
    assert!(table.is_unknown(7, 70 * TICK_NS));
    assert_eq!(table.unknown(), [(7, 70 * TICK_NS + 3)]);
    let exe = Some(Bytes::from_static(b"/usr/bin/dig"));
    table.learn(ProcessFacts { tgid: 7, start_boot_ns: 70 * TICK_NS, exe, ..ProcessFacts::default() });
    assert_eq!(table.find(7, 70 * TICK_NS + 3).unwrap().image.exe.as_deref(), Some(&b"/usr/bin/dig"[..]));
    table.seen(&owner(7, 70 * TICK_NS + 3)).unwrap();
    assert!(table.unknown().is_empty());
    assert!(table.find(7, 71 * TICK_NS).is_none(), "a later process of that id is another");
}

#[test]
fn a_number_given_again_within_a_tick_is_another_process() {
    let mut tree = machine();
    tree.start(20, 50, 1100, "/usr/bin/dig");
    let first = tree.starts[&50];
    tree.exit(50);
    tree.table.fork(&Fork { tgid: 50, start_boot_ns: first + 9, ..Fork::default() });
    assert!(tree.table.find(50, first).is_none());
    let second = tree.table.find(50, first + 9).unwrap();
    assert!(second.image.exe.is_none() && second.exit_ns.is_none());
}

#[test]
fn the_ended_go_first_then_the_quietest_and_ancestors_stay() {
    let mut tree = Tree::new(8);
    tree.start(0, 1, 0, "/sbin/init");
    tree.start(1, 2, 1, "/bin/sh");
    tree.start(2, 3, 2, "/bin/sh");
    tree.start(3, 4, 3, "/usr/bin/app");
    tree.exit(2);
    for n in 0..1000 {
        tree.start(1, 100 + n, 10 + u64::from(n), "/usr/bin/dig");
        tree.exit(100 + n);
    }
    assert!([1, 2, 3, 4].iter().all(|tgid| tree.has(*tgid)), "ancestors of one that runs, one of them ended");
    assert_eq!((tree.table.len(), tree.table.evicted, tree.table.expired), (8, 0, 996));
    for n in 0..6 {
        tree.start(1, 2000 + n, 2000, "/usr/bin/daemon");
    }
    assert!(!tree.has(4), "the quietest of those that run");
    assert!(tree.has(2000 + 5) && tree.table.evicted > 0);
}

#[test]
fn arrived_by_a_relative_path_or_a_script_without_its_own() {
    let mut table = ProcessTable::new(&Settings::default());
    let mut image = |exe: Option<&'static [u8]>, path: &'static [u8], is_script, tgid| {
        let exec = Exec {
            tgid,
            exe: exe.map(Bytes::from_static),
            path: Bytes::from_static(path),
            is_script,
            ..Exec::default()
        };
        table.exec(&exec);
        let process = table.find(tgid, 0).unwrap();
        (process.image.exe.clone(), process.image.script.clone(), process.asked)
    };
    assert_eq!(image(None, b"./dig", false, 1), (None, None, false));
    assert_eq!(image(None, b"/usr/bin/dig", false, 2), (Some("/usr/bin/dig".into()), None, false));
    let (sh, tool) = (Some("/bin/sh".into()), Some("./tool".into()));
    assert_eq!(image(Some(b"/bin/sh"), b"./tool", true, 3), (sh, tool.clone(), true));
    assert_eq!(image(None, b"./tool", true, 4), (None, tool, false));
}

#[derive(Clone, Debug)]
enum Step {
    Fork(u32, u32),
    Exec(u32, u32),
    Exit(u32),
    Seen(u32),
    Learn(u32, Option<u32>),
    Anchor(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 1..40u32;
    prop_oneof![
        (id(), id()).prop_map(|(a, b)| Step::Fork(a, b)),
        (id(), id()).prop_map(|(a, b)| Step::Exec(a, b)),
        id().prop_map(Step::Exit),
        id().prop_map(Step::Seen),
        (id(), prop::option::of(id())).prop_map(|(a, b)| Step::Learn(a, b)),
        id().prop_map(Step::Anchor),
    ]
}

proptest! {
    /// Events in any order, with parents that are not there, that come later, or that are their own.
    #[test]
    fn the_table_stays_whole(steps in prop::collection::vec(step(), 1..400), max in 1..24usize) {
        let mut table = ProcessTable::new(&settings(max));
        let mut starts: BTreeMap<u32, u64> = (1..40).map(|id| (id, u64::from(id % 5) * TICK_NS)).collect();
        for (now, step) in (1..).zip(steps) {
            let start = |id: u32| starts[&id];
            match step {
                Step::Fork(ppid, tgid) => {
                    let parent_start_boot_ns = start(ppid);
                    starts.insert(tgid, now * 3_000_000);
                    let start_boot_ns = now * 3_000_000;
                    table.fork(&Fork { tgid, ppid, start_boot_ns, parent_start_boot_ns, ..Fork::default() });
                }
                Step::Exec(tgid, ppid) => table.exec(&Exec {
                    tgid,
                    ppid,
                    start_boot_ns: start(tgid),
                    parent_start_boot_ns: start(ppid),
                    exe: Some(Bytes::from_static(if now % 2 == 0 { b"/a" } else { b"/b" })),
                    ..Exec::default()
                }),
                Step::Exit(tgid) => table.exit(&Exit { time_ns: now, tgid, start_boot_ns: start(tgid) }),
                Step::Seen(tgid) => drop(table.seen(&owner(tgid, start(tgid))).map(|p| p.client = Some(1))),
                Step::Learn(tgid, parent) => table.learn(ProcessFacts {
                    tgid,
                    start_boot_ns: start(tgid),
                    parent: parent.map(|id| (id, start(id))),
                    ..ProcessFacts::default()
                }),
                Step::Anchor(tgid) => {
                    table.anchor(tgid, start(tgid));
                    prop_assert!(table.ancestry(tgid, start(tgid)).len() <= MAX_ANCESTRY);
                }
            }
            prop_assert!(table.len() <= max);
            prop_assert_eq!(table.ranks.len(), table.len());
            prop_assert!(table.unknown.len() <= MAX_UNKNOWN);
            for (rank, key) in &table.ranks {
                prop_assert_eq!(table.map[key].rank, *rank);
            }
            for key in table.ranks.values() {
                let process = &table.map[key];
                let is_child = |child: &&Process| child.counted && child.parent == Some(*key);
                let children = table.ranks.values().map(|key| &table.map[key]).filter(is_child).count();
                prop_assert_eq!(process.children as usize, children);
                prop_assert_eq!(process.rank.0 == PARENT, children > 0);
            }
        }
    }
}

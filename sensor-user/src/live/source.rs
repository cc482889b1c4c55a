//! Owner sources: who asked, found out in one of four ways that fill the same record. What each sees, what it costs and
//! what it misses is data; which one to use is a function of that and of what this kernel can.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A way to learn who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    CurrentTask,
    Fentry,
    Kprobe,
    SockAddr,
}

/// How much of a host's DNS a source can name the sender of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Coverage {
    /// Nothing, or AF_PACKET senders only, which every source sees alike.
    Nothing,
    /// Sockets that connect or send to an address after the start, except shared, raw and inherited ones.
    Calls,
    /// Every IP socket, but not what NFQUEUE holds up.
    Direct,
    /// Every IP socket.
    Sockets,
}

/// A row of the table.
struct Row {
    source: Source,
    /// As in the configuration.
    name: &'static str,
    title: &'static str,
    with_cgroup2: Coverage,
    without: Coverage,
    /// The less, the cheaper, and what the cost is.
    cost: (u8, &'static str),
    misses: &'static [&'static str],
}

const HELD_UP: &str = "queries that NFQUEUE held up: the program that gives them back is named";
const KTHREAD: &str = "io_uring submission threads before 5.12 (kernel threads)";

const TABLE: &[Row] = &[
    Row {
        source: Source::CurrentTask,
        name: "current_task",
        title: "current task in the packet hook (exact)",
        with_cgroup2: Coverage::Direct,
        // IP packets that reach the device may have waited for their next hop's address (linux net/core/neighbour.c).
        without: Coverage::Nothing,
        cost: (0, "a few reads for each DNS packet, nothing for other traffic"),
        misses: &[HELD_UP, KTHREAD, "TCP connections of which no segment left in its sender's context"],
    },
    Row {
        source: Source::Fentry,
        name: "fentry",
        title: "fentry on the send path (exact)",
        with_cgroup2: Coverage::Sockets,
        without: Coverage::Sockets,
        cost: (1, "a call for each UDP, raw and TCP send of the host"),
        misses: &[KTHREAD],
    },
    Row {
        source: Source::Kprobe,
        name: "kprobe",
        title: "kprobes on the send path (exact)",
        with_cgroup2: Coverage::Sockets,
        without: Coverage::Sockets,
        cost: (2, "a breakpoint or ftrace call for each UDP, raw and TCP send of the host"),
        misses: &[KTHREAD],
    },
    Row {
        source: Source::SockAddr,
        name: "sock_addr",
        title: "cgroup connect and sendmsg hooks (by cookie)",
        with_cgroup2: Coverage::Calls,
        without: Coverage::Nothing,
        cost: (0, "a few reads for each connect and unconnected send to port 53"),
        misses: &[
            KTHREAD,
            "sockets that were connected before the start, except those of the snapshot",
            "inherited sockets: the process that connected them is not the one that sends",
            "raw sockets",
        ],
    },
];

const _: () = {
    let mut index = 0;
    while index < TABLE.len() {
        assert!(TABLE[index].source as usize == index, "a source is the index of its row");
        index += 1;
    }
};

impl Source {
    pub const ALL: [Self; 4] = [Self::CurrentTask, Self::Fentry, Self::Kprobe, Self::SockAddr];

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// As in the configuration and in `status`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What it does not see.
    pub fn misses(self) -> &'static [&'static str] {
        self.row().misses
    }

    fn coverage(self, offer: &Offer, cgroup2: bool) -> Coverage {
        let coverage = if cgroup2 { self.row().with_cgroup2 } else { self.row().without };
        // Where nothing is held up there is nothing to miss.
        if coverage == Coverage::Direct && !offer.nfqueue { Coverage::Sockets } else { coverage }
    }
}

/// What this machine can, and what was asked for.
#[derive(Clone, Debug)]
pub struct Offer {
    /// `live.owner_source`, `None` for `auto`.
    pub forced: Option<Source>,
    /// A program here takes packets out of the stack and gives them back (NFQUEUE).
    pub nfqueue: bool,
    /// Why each source cannot be used, if it cannot; in the order of `Source::ALL`.
    pub usable: [Result<(), String>; Source::ALL.len()],
}

impl Offer {
    fn of(&self, source: Source) -> &Result<(), String> {
        &self.usable[source as usize]
    }

    /// Takes a source out that turned out not to work.
    pub fn refuse(&mut self, source: Source, why: String) {
        self.usable[source as usize] = Err(why);
    }
}

/// The source in force and why not another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub source: Option<Source>,
    pub why: String,
    pub rejected: Vec<(Source, String)>,
}

/// The usable source that covers most, of those the cheapest; or the forced one, or why that cannot be.
pub fn choose(offer: &Offer, cgroup2: bool) -> Result<Choice, String> {
    let covers = |source: &Source| source.coverage(offer, cgroup2) > Coverage::Nothing;
    let refusal = |source: Source| match offer.of(source) {
        Err(why) => Some(why.clone()),
        Ok(()) if !covers(&source) => Some("sees no IP socket without cgroup2".to_owned()),
        Ok(()) => None,
    };
    let source = match offer.forced {
        Some(source) => match refusal(source) {
            Some(why) => return Err(format!("live.owner_source = \"{}\": {why}", source.name())),
            None => Some(source),
        },
        None => Source::ALL
            .into_iter()
            .filter(|source| refusal(*source).is_none())
            .min_by_key(|source| (std::cmp::Reverse(source.coverage(offer, cgroup2)), source.row().cost.0)),
    };
    let Some(chosen) = source else {
        let rejected = Source::ALL.into_iter().filter_map(|other| Some((other, refusal(other)?))).collect();
        return Ok(Choice { source: None, why: "no owner source works here".into(), rejected });
    };
    let reason = |other: Source| {
        refusal(other).unwrap_or_else(|| {
            if offer.forced.is_some() {
                format!("the configuration asks for {}", chosen.name())
            } else if other.coverage(offer, cgroup2) < chosen.coverage(offer, cgroup2) {
                "sees less".to_owned()
            } else {
                format!("sees no more and costs {}", other.row().cost.1)
            }
        })
    };
    let rejected = Source::ALL
        .into_iter()
        .filter(|other| *other != chosen)
        .map(|other| (other, reason(other)))
        .collect();
    let why = match (offer.forced, chosen.coverage(offer, cgroup2)) {
        (Some(_), _) => "the configuration asks for it".to_owned(),
        (None, Coverage::Sockets) => format!("sees every IP socket; costs {}", chosen.row().cost.1),
        (None, Coverage::Direct) => {
            format!(
                "sees every IP socket, but names the program behind NFQUEUE for what that held up; costs {}",
                chosen.row().cost.1
            )
        }
        (None, _) => format!("nothing else works here; costs {}", chosen.row().cost.1),
    };
    Ok(Choice { source, why, rejected })
}

impl Choice {
    /// What the source in force does not see.
    pub fn misses(&self) -> &'static [&'static str] {
        self.source.map_or(&["every process: queries are known by their address only"], Source::misses)
    }
}

/// As it stands in the messages at start and in `doctor`.
impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.source.map_or("nobody can tell", |source| source.row().title), self.why)?;
        for (index, (source, why)) in self.rejected.iter().enumerate() {
            write!(out, "{} {}: {why}", if index == 0 { "; rejected:" } else { "," }, source.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    use Source::{CurrentTask, Fentry, Kprobe, SockAddr};

    fn offer(forced: Option<Source>, usable: &[Source]) -> Offer {
        let usable = Source::ALL.map(|source| {
            if usable.contains(&source) { Ok(()) } else { Err(format!("no {} here", source.name())) }
        });
        Offer { forced, nfqueue: false, usable }
    }

    #[test]
    fn where_packets_are_held_up_their_callers_are_noted() {
        let mut offer = offer(None, &Source::ALL);
        offer.nfqueue = true;
        assert_eq!(choose(&offer, true).unwrap().source, Some(Fentry));
        for gone in [Fentry, Kprobe] {
            offer.refuse(gone, "not here".into());
        }
        let choice = choose(&offer, true).unwrap();
        assert!(choice.source == Some(CurrentTask) && choice.why.contains("NFQUEUE"), "{choice}");
    }

    #[rstest]
    #[case(&Source::ALL, true, Some(CurrentTask))]
    #[case(&[Fentry, Kprobe, SockAddr], true, Some(Fentry))]
    #[case(&[Kprobe, SockAddr], true, Some(Kprobe))]
    #[case(&[SockAddr], true, Some(SockAddr))]
    #[case(&[], true, None)]
    #[case(&Source::ALL, false, Some(Fentry))]
    #[case(&[CurrentTask, Kprobe, SockAddr], false, Some(Kprobe))]
    #[case(&[CurrentTask, SockAddr], false, None)]
    fn coverage_then_cost(#[case] usable: &[Source], #[case] cgroup2: bool, #[case] want: Option<Source>) {
        let choice = choose(&offer(None, usable), cgroup2).unwrap();
        assert_eq!(choice.source, want, "{choice}");
        let named = choice.rejected.len() + usize::from(want.is_some());
        assert_eq!(named, Source::ALL.len(), "each source is chosen or has its reason: {choice}");
    }

    #[test]
    fn the_reasons_are_told() {
        let choice = choose(&offer(None, &[CurrentTask, Kprobe]), true).unwrap();
        assert_eq!(
            choice.to_string(),
            "current task in the packet hook (exact): sees every IP socket; costs a few reads for each DNS packet, \
             nothing for other traffic; rejected: fentry: no fentry here, kprobe: sees no more and costs a breakpoint \
             or ftrace call for each UDP, raw and TCP send of the host, sock_addr: no sock_addr here"
        );
    }

    #[test]
    fn a_forced_source_is_taken_or_refused_by_name() {
        let choice = choose(&offer(Some(SockAddr), &Source::ALL), true).unwrap();
        assert_eq!(choice.source, Some(SockAddr));
        let refused = choose(&offer(Some(Kprobe), &[CurrentTask]), true).unwrap_err();
        assert_eq!(refused, "live.owner_source = \"kprobe\": no kprobe here");
        let refused = choose(&offer(Some(CurrentTask), &Source::ALL), false).unwrap_err();
        assert!(refused.contains("without cgroup2"), "{refused}");
    }

    #[test]
    fn a_source_that_fails_makes_way_for_the_next() {
        let mut offer = offer(None, &Source::ALL);
        for want in [CurrentTask, Fentry, Kprobe, SockAddr] {
            assert_eq!(choose(&offer, true).unwrap().source, Some(want));
            offer.refuse(want, "it told another process".into());
        }
        let none = choose(&offer, true).unwrap();
        assert_eq!((none.source, none.rejected.len()), (None, 4));
    }
}

//! Which tunnel is made into what.

use earthdog_tests::derive::Random;

use super::Material;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    /// Only the tunnel's own messages, nothing changed: what the others are compared with.
    AsItIs,
    Stretched(u64),
    OverZones(usize),
    OverClients(usize),
    Tcp,
    Ipv6,
    Vlan,
    Case,
    Diluted {
        benign: usize,
        host: usize,
    },
    BehindResolver {
        benign: usize,
        host: usize,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) tunnel: usize,
    pub(super) make: Make,
}

/// Shares of one payload in the sample.
const SHARES: [usize; 5] = [2, 5, 10, 20, 50];
/// Hosts of each honest capture that each tunnel is moved to in the sample, at most.
const HOSTS: usize = 4;

/// By derivation, then by tunnel. The sample takes a few shares and hosts, `full` all of them.
pub(super) fn jobs(material: &Material, full: bool, seed: u64) -> Vec<Job> {
    let shares: Vec<usize> = if full { (2..=50).collect() } else { SHARES.to_vec() };
    let mut makes = vec![Make::AsItIs];
    makes.extend([10, 100, 1000].map(Make::Stretched));
    makes.extend(shares.iter().map(|count| Make::OverZones(*count)));
    makes.extend(shares.iter().map(|count| Make::OverClients(*count)));
    makes.extend([Make::Tcp, Make::Ipv6, Make::Vlan, Make::Case]);
    let tunnels = 0..material.tunnels.len();
    let mut jobs = Vec::new();
    for make in makes {
        jobs.extend(tunnels.clone().map(|tunnel| Job { tunnel, make }));
    }
    for resolver in [false, true] {
        for (benign, honest) in material.benign.iter().enumerate() {
            for tunnel in tunnels.clone() {
                let hosts = hosts(
                    honest.hosts.len(),
                    full,
                    &mut Random::of(seed, &format!("{tunnel} {}", honest.file)),
                );
                jobs.extend(hosts.into_iter().map(|host| {
                    let make = if resolver {
                        Make::BehindResolver { benign, host }
                    } else {
                        Make::Diluted { benign, host }
                    };
                    Job { tunnel, make }
                }));
            }
        }
    }
    jobs
}

/// All of so many, or a few different ones.
fn hosts(count: usize, full: bool, random: &mut Random) -> Vec<usize> {
    let mut all: Vec<_> = (0..count).collect();
    if full {
        return all;
    }
    let chosen = HOSTS.min(count);
    for place in 0..chosen {
        let other = place + random.below(count - place);
        all.swap(place, other);
    }
    all.truncate(chosen);
    all
}

impl Job {
    /// Whether the goals ask for it: a hundred times slower, or hidden among honest traffic.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.make, Make::Stretched(100) | Make::Diluted { .. } | Make::BehindResolver { .. })
    }

    pub(super) fn label(&self, material: &Material) -> String {
        match self.make {
            Make::AsItIs => "as it is".to_owned(),
            Make::Stretched(factor) => format!("stretched x{factor}"),
            Make::OverZones(count) => format!("over {count} zones"),
            Make::OverClients(count) => format!("over {count} clients"),
            Make::Tcp => "TCP/53".to_owned(),
            Make::Ipv6 => "IPv6".to_owned(),
            Make::Vlan => "VLAN".to_owned(),
            Make::Case => "0x20 case".to_owned(),
            Make::Diluted { benign, .. } => format!("in {}", material.benign[benign].file),
            Make::BehindResolver { benign, .. } => {
                format!("behind one resolver, in {}", material.benign[benign].file)
            }
        }
    }

    pub(super) fn benign(&self) -> Option<usize> {
        match self.make {
            Make::Diluted { benign, .. } | Make::BehindResolver { benign, .. } => Some(benign),
            _ => None,
        }
    }

    /// Whose address the tunnel took.
    pub(super) fn host(&self, material: &Material) -> Option<String> {
        match self.make {
            Make::Diluted { benign, host } | Make::BehindResolver { benign, host } => {
                Some(material.benign[benign].hosts[host].client.to_string())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_sample_of_hosts_is_small_and_without_repeats() {
        for seed in 0..50 {
            let chosen = hosts(5, false, &mut Random::new(seed));
            assert!(
                chosen.len() == HOSTS
                    && chosen.iter().collect::<BTreeSet<_>>().len() == HOSTS
                    && chosen.iter().all(|host| *host < 5)
            );
        }
        assert_eq!(hosts(1, false, &mut Random::new(1)), [0]);
        assert_eq!(hosts(5, true, &mut Random::new(1)), [0, 1, 2, 3, 4]);
        assert!(hosts(0, false, &mut Random::new(1)).is_empty());
    }
}

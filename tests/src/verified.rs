//! How far the verifier walks each program, and how far it may: what was recorded for a kernel, and 15 % more.
//!
//! The verifier gives up after a million instructions, and a start waits for it. Kernels differ in how they walk, so
//! each series has counts of its own in `tests/data/verified.toml`; a change on purpose is recorded there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use earthdog::live::features::Features;
use earthdog::live::programs::Program;
use sensor_ebpf::abi::feature;

use crate::object::{NAME_OWNERS, Object, SEE_PACKETS, SOURCES};

const RECORDED: &str = include_str!("../data/verified.toml");
/// Part of what was recorded that may come on top, per cent.
const MARGIN: u32 = 15;

/// A program under one choice of what is compiled in.
#[derive(Debug)]
pub struct Loaded {
    pub program: String,
    /// The owner source, or the novelty filter.
    pub with: &'static str,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    /// Why the table of programs does not have it for this kernel.
    LeftOut(String),
    /// The verifier's last lines.
    Refused(String),
    /// Instructions walked; before 5.16 the kernel does not tell them.
    Walked(Option<u32>),
}

impl Loaded {
    /// A line for a log.
    pub fn line(&self) -> String {
        let Self { program, with, outcome } = self;
        match outcome {
            Outcome::LeftOut(why) => format!("{program} ({with}): left out, {why}"),
            Outcome::Refused(why) => format!("{program} ({with}): REFUSED: {why}"),
            Outcome::Walked(Some(count)) => format!("{program} ({with}): {count} instructions verified"),
            Outcome::Walked(None) => format!("{program} ({with}): loaded, this kernel tells no instructions"),
        }
    }
}

/// Loads every program that the table of programs has for this kernel: those that name owners with each owner source,
/// those that see packets with the novelty filter too.
pub fn load_all() -> Result<Vec<Loaded>> {
    let features = Features::probe();
    let rounds = SOURCES.into_iter().enumerate().map(|(round, (with, bits))| {
        let names: &[&str] = if round == 0 { &[] } else { &NAME_OWNERS };
        (with, bits, names)
    });
    let source = if features.task_btf { 1 } else { 2 };
    let filter = ("novelty filter", SOURCES[source].1 | feature::NOVELTY, &SEE_PACKETS[..]);
    let mut all = Vec::new();
    for (with, bits, only) in rounds.chain([filter]) {
        let mut object = Object::load(feature::DEFAULT | bits)?;
        for program in object.names() {
            if !only.is_empty() && !only.contains(&program.as_str()) {
                continue;
            }
            let outcome = if bits & feature::TASK_BTF != 0 && !features.task_btf {
                Outcome::LeftOut("the verifier lets nobody load the current task's fields here".to_owned())
            } else {
                load(&mut object, &program, &features)?
            };
            all.push(Loaded { program, with, outcome });
        }
    }
    Ok(all)
}

fn load(object: &mut Object, program: &str, features: &Features) -> Result<Outcome> {
    let Some(row) = Program::find(program) else {
        return Ok(Outcome::Refused("it is not in the table of programs".to_owned()));
    };
    let missing = row.missing(features);
    if !missing.is_empty() {
        return Ok(Outcome::LeftOut(format!("no {missing:?} here")));
    }
    match object.program(program) {
        Ok(_) => Ok(Outcome::Walked(object.verified_instructions(program)?)),
        Err(error) => Ok(Outcome::Refused(end(&format!("{error:#}")))),
    }
}

/// The last lines of a verifier's log: what it stopped at.
fn end(text: &str) -> String {
    const LINES: usize = 8;
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n    ")
}

/// The most that each program was walked, beside what was recorded.
#[derive(Debug)]
pub struct Walks {
    series: String,
    most: BTreeMap<String, u32>,
    /// Of this series, else of others; `None` where nothing was recorded of it.
    recorded: Option<BTreeMap<String, u32>>,
}

impl Walks {
    /// `release` as in /proc/sys/kernel/osrelease.
    pub fn of(release: &str, loaded: &[Loaded]) -> Result<Self> {
        let mut most = BTreeMap::new();
        for Loaded { program, outcome, .. } in loaded {
            if let Outcome::Walked(Some(count)) = outcome {
                let known = most.entry(program.clone()).or_insert(0);
                *known = (*count).max(*known);
            }
        }
        let series: String = release.split('.').take(2).collect::<Vec<_>>().join(".");
        let mut all: BTreeMap<String, BTreeMap<String, u32>> =
            toml::from_str(RECORDED).context("tests/data/verified.toml")?;
        let mut recorded = all.remove(&series);
        if let Some(recorded) = &mut recorded {
            for program in most.keys().filter(|program| !recorded.contains_key(*program)).collect::<Vec<_>>()
            {
                let elsewhere = all.values().filter_map(|series| series.get(program)).max();
                recorded.extend(elsewhere.map(|count| (program.clone(), *count)));
            }
        }
        Ok(Self { series, most, recorded })
    }

    /// A line for each program, most walked first.
    pub fn table(&self) -> String {
        if self.most.is_empty() {
            return format!("verified on {}: not told by this kernel (5.16 and later do)\n", self.series);
        }
        let mut text = format!(
            "{:<18} {:>9} {:>9} {:>9} {:>7}\n",
            format!("verified on {}", self.series),
            "walked",
            "recorded",
            "ceiling",
            "of it"
        );
        let mut rows: Vec<_> = self.most.iter().collect();
        rows.sort_by_key(|(_, walked)| std::cmp::Reverse(**walked));
        for (program, walked) in rows {
            let recorded = self.recorded.as_ref().and_then(|recorded| recorded.get(program));
            let (recorded, most, share) = recorded.map_or_else(Default::default, |&recorded| {
                let most = ceiling(recorded);
                let share = format!("{:.0} %", f64::from(*walked) * 100.0 / f64::from(most));
                (recorded.to_string(), most.to_string(), share)
            });
            let _ = writeln!(text, "{program:<18} {walked:>9} {recorded:>9} {most:>9} {share:>7}");
        }
        text
    }

    /// The program that is nearest to its ceiling, of those so long that it is above what was recorded, and the one that
    /// was walked furthest.
    pub fn nearest(&self) -> String {
        let recorded =
            self.recorded.iter().flatten().filter(|(_, recorded)| ceiling(**recorded) > **recorded);
        let shares = recorded.filter_map(|(program, &recorded)| {
            let walked = *self.most.get(program)?;
            Some((f64::from(walked) * 100.0 / f64::from(ceiling(recorded)), program, walked))
        });
        let nearest = shares.max_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(
            || format!("no ceilings on {}", self.series),
            |(share, program, walked)| format!("nearest {program}, {walked} or {share:.0} % of its ceiling"),
        );
        let furthest = self.most.iter().max_by_key(|(_, walked)| **walked);
        let Some((program, walked)) = furthest else { return nearest };
        format!("{nearest}; furthest {program}, {walked}")
    }

    /// What is over its ceiling, or has none though its kernel was recorded.
    pub fn problems(&self) -> Vec<String> {
        let Some(recorded) = &self.recorded else { return Vec::new() };
        let problem = |(program, &walked): (&String, &u32)| match recorded.get(program) {
            None => Some(format!("{program}: {walked} on {}, and nothing recorded", self.series)),
            Some(&known) if walked > ceiling(known) => {
                let most = ceiling(known);
                Some(format!(
                    "{program}: {walked} on {}, at most {most} ({known} and {MARGIN} %)",
                    self.series
                ))
            }
            Some(_) => None,
        };
        self.most.iter().filter_map(problem).collect()
    }

    /// As tests/data/verified.toml has it.
    pub fn section(&self) -> String {
        let head = format!("[\"{}\"]\n", self.series);
        self.most.iter().fold(head, |text, (program, walked)| text + &format!("{program} = {walked}\n"))
    }
}

fn ceiling(recorded: u32) -> u32 {
    recorded + recorded * MARGIN / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walks(series: &str, walked: &[(&str, u32)]) -> Walks {
        let loaded: Vec<_> = walked
            .iter()
            .map(|(program, count)| Loaded {
                program: (*program).to_owned(),
                with: "no source",
                outcome: Outcome::Walked(Some(*count)),
            })
            .collect();
        Walks::of(series, &loaded).unwrap()
    }

    #[test]
    fn one_over_the_ceiling_is_told_and_one_at_it_is_not() {
        let known = walks("6.18.5-test", &[]).recorded.unwrap()["xdp_dns"];
        let at = ceiling(known);
        assert_eq!(walks("6.18.5", &[("xdp_dns", at)]).problems(), Vec::<String>::new());
        let over = walks("6.18.5", &[("xdp_dns", 7), ("xdp_dns", at + 1)]);
        assert_eq!(over.problems().len(), 1);
        assert!(over.table().contains("xdp_dns"), "{}", over.table());
        assert!(over.section().contains(&format!("xdp_dns = {}", at + 1)));
    }

    #[test]
    fn a_program_without_a_record_is_told_on_recorded_kernels_alone() {
        assert_eq!(walks("6.18.0", &[("xdp_new", 1)]).problems().len(), 1);
        assert_eq!(walks("6.18.0", &[("probe_udp", 339)]).problems(), Vec::<String>::new());
        assert_eq!(walks("6.18.0", &[("probe_udp", 3390)]).problems().len(), 1);
        assert_eq!(walks("9.9.9", &[("xdp_new", 1)]).problems(), Vec::<String>::new());
        assert!(walks("5.10.0", &[]).table().contains("not told"));
    }
}

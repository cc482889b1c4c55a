//! Which known tool a finding's names look like: a label, and nothing else.
//!
//! What each tool's names look like is `data/tools.json`: a `mark` that nothing else has, or a `form` that several names
//! must have, with a part that is the same in them and one that is not. Names are looked at once a finding is open, the
//! ledger's first samples first, so honest traffic pays nothing. Where two tools fit, or a quarter of the names has
//! another form, there is no label. Sliver has none: its alphabets are made anew for each implant.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde::Deserialize;

use crate::attribute::clients::{FNV_START, fnv};
use crate::dns::{canonical, names};

static DATA: &str = include_str!("../../data/tools.json");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[expect(dead_code, reason = "raised when a form changes its meaning")]
    version: u32,
    tools: Vec<Written>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tool: String,
    #[expect(dead_code, reason = "where the forms come from, for people")]
    source: String,
    mark: Option<String>,
    form: Option<String>,
    /// Names of the form.
    #[serde(default)]
    least: u16,
    #[serde(default)]
    needs: Needs,
    /// Query types, by mnemonic; any if there are none.
    #[serde(default)]
    types: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Needs {
    #[default]
    Either,
    Both,
}

/// A tool's forms, ready to use.
#[derive(Debug)]
struct Tool {
    name: String,
    mark: Option<Regex>,
    form: Option<Regex>,
    least: u16,
    needs: Needs,
    types: Vec<String>,
}

static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
    let file: File = serde_json::from_str(DATA).expect("compiled in, read by a test");
    let regex = |text: String| Regex::new(&text).expect("compiled in, read by a test");
    let tool = |written: Written| Tool {
        name: written.tool,
        mark: written.mark.map(regex),
        form: written.form.map(regex),
        least: written.least,
        needs: written.needs,
        types: written.types,
    };
    file.tools.into_iter().map(tool).collect()
});

/// Names of one finding that are looked at.
const MAX_NAMES: u16 = 256;

/// What the names of one finding say so far.
#[derive(Debug, Default)]
pub(super) struct Label {
    /// Distinct from the one before.
    names: u16,
    last: u64,
    /// One for each tool.
    votes: Vec<Votes>,
}

#[derive(Clone, Debug, Default)]
struct Votes {
    marked: bool,
    formed: u16,
    /// Hash of the part that is the same, and in how many names it was.
    same: u64,
    alike: u16,
    /// Hash of the part that is not, and how often it was another one.
    differs: u64,
    differed: u16,
}

impl Label {
    pub(super) fn is_empty(&self) -> bool {
        self.names == 0
    }

    /// Takes a sub-name (wire form, lower case) and the type it was asked for; the tool, as soon as it is one.
    pub(super) fn observe(&mut self, sub: &[u8], qtype: u16) -> Option<&'static str> {
        if sub.is_empty() || self.names >= MAX_NAMES {
            return None;
        }
        let hash = fnv(FNV_START, sub);
        if hash == self.last {
            return None;
        }
        self.last = hash;
        self.names += 1;
        let tools = &*TOOLS;
        self.votes.resize(tools.len(), Votes::default());
        let text = canonical::text(sub);
        let mnemonic = names::rtype(qtype);
        for (tool, votes) in tools.iter().zip(&mut self.votes) {
            if tool.types.is_empty() || tool.types.contains(&mnemonic) {
                votes.take(tool, &text);
            }
        }
        let mut fitting = tools.iter().zip(&self.votes).filter(|(tool, votes)| votes.fit(tool, self.names));
        let (tool, _) = fitting.next()?;
        fitting.next().is_none().then_some(&tool.name)
    }
}

impl Votes {
    fn take(&mut self, tool: &Tool, text: &str) {
        self.marked |= tool.mark.as_ref().is_some_and(|mark| mark.is_match(text));
        let Some(found) = tool.form.as_ref().and_then(|form| form.captures(text)) else { return };
        self.formed += 1;
        let part =
            |name: &str| found.name(name).map_or(FNV_START, |part| fnv(FNV_START, part.as_str().as_bytes()));
        let (same, differs) = (part("same"), part("differs"));
        self.same = if self.formed == 1 { same } else { self.same };
        self.alike += u16::from(same == self.same);
        self.differed += u16::from(differs != self.differs);
        self.differs = differs;
    }

    fn fit(&self, tool: &Tool, names: u16) -> bool {
        let formed = tool.form.is_some()
            && self.alike >= tool.least
            && self.differed >= tool.least
            && u32::from(self.alike) * 4 >= u32::from(names) * 3;
        match tool.needs {
            Needs::Either => self.marked || formed,
            Needs::Both => {
                self.marked
                    && self.alike.min(self.differed) >= tool.least
                    && u32::from(self.formed + 1) * 4 >= u32::from(names) * 3
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Canonical, rtype};

    fn label<'a>(names: impl IntoIterator<Item = &'a str>, qtype: u16) -> Option<&'static str> {
        let mut label = Label::default();
        names.into_iter().find_map(|name| label.observe(Canonical::from_text(name).wire(), qtype))
    }

    #[test]
    fn tools_are_told_by_their_handshakes_and_forms() {
        let (txt, key) = (rtype::TXT, 25);
        for (names, qtype, tool) in [
            (&["vaaaakauuse.t"][..], 1, Some("iodine")),
            (&["aaaaacw4aa.=auth.t"], key, Some("dns2tcp")),
            (
                &["gq5vk29aba", "gq5vlg9bba", "gq5vlw9cba", "gq5vlm9dba", "gq5vl29eba", "gq5vmg9fba"],
                key,
                Some("dns2tcp"),
            ),
            (&["gq5vk29aba", "gq5vlg9bba", "gq5vlw9cba", "gq5vlm9dba", "gq5vl29eba", "gq5vmg9fba"], 1, None),
            (&["124f01fb09080715e5.t", "d3d001fb09080715e5.t", "527c01fb09080715e5.t"], 15, Some("dnscat2")),
            (&["124f01fb09080715e5", "124f01fb09080715e6", "124f01fb09080715e7"], 15, None),
            (&["000100000123456789ab", "000200000123456789ab", "000300000123456789ab"], 1, None),
            (&["3-17.id-5.down"], txt, Some("OzymanDNS")),
            (
                &[
                    "init.ojsxa33soqwtembsgyxhu2lq",
                    "0.abcdefghijklmnopqrstuvwxyz",
                    "1.abcdefghijklmnopqrstuvwxyz",
                ],
                txt,
                Some("DNSExfiltrator"),
            ),
            (&["init.ojsxa33soqwtembsgyxhu2lq", "www", "mail"], txt, None),
            (
                &[
                    "post.1384.0abc1234.12ab34cd",
                    "post.2aa.bb.1abc1234.12ab34cd",
                    "post.2ac.bd.2abc1234.12ab34cd",
                ],
                1,
                Some("Cobalt Strike"),
            ),
            (&["api.v1", "cdn.7.assets", "www6.shop"], 1, None),
        ] {
            assert_eq!(label(names.iter().copied(), qtype), tool, "{names:?}");
        }
    }

    #[test]
    fn random_names_are_no_tool() {
        let mut state = 7_u64;
        for alphabet in [
            &b"0123456789abcdef"[..],
            b"abcdefghijklmnopqrstuvwxyz234567",
            b"abcdefghijklmnopqrstuvwxyz0123456789-_",
        ] {
            for length in [10, 18, 40, 63] {
                let names: Vec<String> = (0..300)
                    .map(|_| {
                        (0..length)
                            .map(|_| {
                                state = state
                                    .wrapping_mul(6_364_136_223_846_793_005)
                                    .wrapping_add(1_442_695_040_888_963_407);
                                char::from(alphabet[(state >> 33) as usize % alphabet.len()])
                            })
                            .collect()
                    })
                    .collect();
                for qtype in [1, rtype::TXT] {
                    assert_eq!(label(names.iter().map(String::as_str), qtype), None);
                }
            }
        }
    }
}

//! The forms that a finding and a message can have: pure functions of the record and of what the sensor is.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Serializer;

use super::tally::Mark;
use super::{Ascii, Format, Visible, cof, dnstap, ecs, ocsf, zeek};
use crate::config::OcsfVersion;
use crate::config::sinks::SinkFormat;
use crate::finding::{Client, Finding, Origin};
use crate::logged::{Logged, Lookup};

/// One record on its way out.
#[derive(Clone, Debug)]
pub enum Item {
    Finding(Arc<Finding>),
    Message(Arc<Logged>),
}

/// What a record says of the sensor itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// None in a replay: the records are not of this host.
    pub hostname: Option<String>,
    pub ocsf: OcsfVersion,
}

/// What a record is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letters {
    /// UTF-8 that shows no control or bidirectional character.
    Utf8,
    /// ASCII alone.
    Ascii,
}

impl Item {
    pub const fn is_finding(&self) -> bool {
        matches!(self, Self::Finding(_))
    }

    /// Of a canary's record, which it is.
    pub fn canary(&self) -> Option<Mark> {
        match self {
            Self::Finding(finding) if finding.origin == Origin::Selftest => {
                Some(Mark { id: finding.id.clone(), first_seen: finding.first_seen.clone() })
            }
            _ => None,
        }
    }

    /// Bytes that it holds in memory, about.
    pub fn weight(&self) -> usize {
        let client = |client: &Client| {
            let texts = [&client.exe, &client.cmdline, &client.script, &client.interpreter];
            let texts: usize = texts.into_iter().flatten().map(String::len).sum();
            texts + client.ancestry.iter().map(String::len).sum::<usize>()
        };
        match self {
            Self::Finding(finding) => {
                let evidence = finding.evidence.iter().map(|e| e.observed.len() + e.baseline.len() + 64);
                let samples = finding.samples.iter().map(String::len);
                let texts = finding.title.len() + finding.counterfactual.len();
                2048 + texts + client(&finding.client) + evidence.chain(samples).sum::<usize>()
            }
            Self::Message(message) => 1024 + message.bytes.len() + message.client.as_ref().map_or(0, client),
        }
    }
}

/// The record in some form, without a line end: none where that form has none of it, and in COF as many as there are
/// sets of records in the answer.
pub fn encode(item: &Item, format: SinkFormat, letters: Letters, about: &About) -> Vec<Vec<u8>> {
    match item {
        Item::Finding(finding) => match format {
            SinkFormat::Json | SinkFormat::Auto => vec![json(&**finding, letters)],
            SinkFormat::Ocsf => vec![json(&ocsf::finding(finding, about), letters)],
            SinkFormat::Ecs => vec![json(&ecs::finding(finding, about), letters)],
            SinkFormat::Human => {
                let mut out = Vec::new();
                // Into memory.
                let _ = super::write(finding, Format::Human, about, &mut out);
                out.truncate(out.trim_ascii_end().len());
                vec![out]
            }
            SinkFormat::Zeek | SinkFormat::Cof | SinkFormat::Dnstap => Vec::new(),
        },
        Item::Message(message) if matches!(format, SinkFormat::Json | SinkFormat::Auto) => {
            vec![json(&**message, letters)]
        }
        // What is seen at two hooks is one message to everybody else.
        Item::Message(message) if message.lookup == Some(Lookup::Duplicate) => Vec::new(),
        Item::Message(message) => match format {
            SinkFormat::Ocsf => vec![json(&ocsf::dns::message(message, about), letters)],
            SinkFormat::Ecs => vec![json(&ecs::message(message, about), letters)],
            SinkFormat::Zeek => vec![json(&zeek::row(message), letters)],
            SinkFormat::Cof => cof::rows(message, about).iter().map(|row| json(row, letters)).collect(),
            SinkFormat::Dnstap => vec![dnstap::message(message, about)],
            SinkFormat::Json | SinkFormat::Auto | SinkFormat::Human => Vec::new(),
        },
    }
}

fn json(value: &impl Serialize, letters: Letters) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    // Into memory; nothing in a record cannot be encoded.
    let _ = match letters {
        Letters::Utf8 => value.serialize(&mut Serializer::with_formatter(&mut out, Visible)),
        Letters::Ascii => value.serialize(&mut Serializer::with_formatter(&mut out, Ascii)),
    };
    out
}

//! The ledger's evidence: how heavy it is, and in words.

use super::case::Said;
use super::text;
use crate::finding::{Evidence, Finding};
use crate::ledger::{Entry, Kind, Span, Standing};
use crate::model::UNIT;
use crate::verdict::family;

/// What new names say, what is in them by their form, and what they say in a clear encoding.
pub(super) fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Names => "new_name_bytes",
        Kind::Forms => "new_form_bytes",
        Kind::Encoded => "new_encoded_bytes",
        Kind::Answers => "new_answer_bytes",
    }
}

/// Evidence of a window.
pub(super) fn evidence(entry: &Entry, standing: &Standing, now_ns: u64) -> Evidence {
    let window_s = window_s(standing);
    let seconds = (now_ns.saturating_sub(entry.first_ns) / 1_000_000_000).min(window_s);
    let Standing { new_names, queries, .. } = standing;
    let said = bytes(standing.units);
    let encoding = entry.shape().recognised().encoding.name();
    let what = match standing.kind {
        Kind::Names => format!("together as improbable for host names as {said} random bytes"),
        Kind::Forms => format!("with addresses, numbers and hashes that hold as much as {said} random bytes"),
        Kind::Answers => String::new(),
        Kind::Encoded => format!(
            "in {encoding}, each answered with a payload of its own, together as improbable for host names as {said} random bytes"
        ),
    };
    let said_by = match standing.kind {
        Kind::Answers => {
            format!("new payload in the answers to {queries} look-ups within {seconds} s, {said} bytes")
        }
        _ => format!("{new_names} new names of {queries} look-ups within {seconds} s, {what}"),
    };
    Evidence {
        family: family::INFORMATION,
        name: name(standing.kind),
        observed: said_by,
        baseline: format!("{} such bytes in {window_s} s", bytes(standing.bound_units)),
        weight: super::rounded(standing.weight()),
    }
}

/// What the ledger says of a finding by its heaviest evidence.
pub(super) fn said(finding: &Finding, standing: &Standing) -> Said {
    let bound = bytes(standing.bound_units);
    Said {
        does: text::leaks(finding),
        counterfactual: text::counterfactual(finding, standing.kind, bound, window_s(standing)),
        ..Said::default()
    }
}

fn window_s(standing: &Standing) -> u64 {
    standing.span.map_or(0, Span::seconds)
}

fn bytes(units: u64) -> u64 {
    units / u64::from(UNIT) / 8
}

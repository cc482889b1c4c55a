//! A finding as it is kept: the native record, and beside it, in the same object, its trail as `trail`.
//!
//! The trail has a version of its own. Records without one, or with one of another version, can be read like others.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::trail::{self, Trail};
use super::{Finding, SCHEMA};

/// Bytes of a record that is read.
pub const MAX_LEN: usize = 1 << 20;

/// The record and its trail.
#[derive(Debug, Serialize)]
pub struct Stored<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    #[serde(skip_serializing_if = "Option::is_none")]
    trail: Option<&'a Trail>,
}

impl<'a> Stored<'a> {
    pub fn of(finding: &'a Finding) -> Self {
        Self { finding, trail: finding.trail.as_deref() }
    }
}

/// As JSON, compact.
pub fn write(finding: &Finding) -> Vec<u8> {
    // Nothing in a finding cannot be encoded.
    serde_json::to_vec(&Stored::of(finding)).unwrap_or_default()
}

/// A record that this or an earlier version wrote, here or in a replay's output.
pub fn read(json: &[u8]) -> Result<Finding, String> {
    #[derive(Deserialize)]
    struct Beside {
        schema: u32,
        #[serde(default)]
        trail: Value,
    }
    if json.len() > MAX_LEN {
        return Err(format!("longer than {MAX_LEN} bytes"));
    }
    let beside: Beside = serde_json::from_slice(json).map_err(|error| format!("no finding: {error}"))?;
    if beside.schema > SCHEMA {
        return Err(format!(
            "written by a later version: schema {}, this one reads up to {SCHEMA}",
            beside.schema
        ));
    }
    let mut finding: Finding =
        serde_json::from_slice(json).map_err(|error| format!("no finding: {error}"))?;
    let trail = serde_json::from_value::<Trail>(beside.trail).ok();
    finding.trail = trail.filter(|trail| trail.v == trail::VERSION).map(Box::new);
    Ok(finding)
}

/// Whether a finding's id, or the part behind its last hyphen, begins like this.
pub fn is_named(id: &str, begins: &str) -> bool {
    !begins.is_empty() && (id.starts_with(begins) || short(id).starts_with(begins))
}

/// The part of an id that tells it from others.
pub fn short(id: &str) -> &str {
    id.rsplit('-').next().unwrap_or(id)
}

/// The id in a record, without reading the rest.
pub fn id(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    serde_json::from_slice::<Id>(json).ok().map(|record| record.id)
}

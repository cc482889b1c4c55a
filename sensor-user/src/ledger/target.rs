//! A name that a record leads to, and what its labels say: read once for all who weigh answers.

use crate::dns::{Canonical, Record, labels};
use crate::model;
use crate::zone::Zone;

/// Labels of a name, the root left out (RFC 1035 section 2.3.4).
const MAX_LABELS: usize = 127;

/// Of CNAME, MX, NS, PTR, SRV and their like.
#[derive(Clone, Debug)]
pub struct Target {
    /// Of the record's data in its message.
    rdata_at: usize,
    pub name: Canonical,
    zone: Zone,
    /// By the static model, in units; of the labels below the zone, the leftmost first.
    costs: [u16; MAX_LABELS],
}

impl Target {
    /// `None` for types that lead nowhere.
    pub fn new(record: &Record<'_>) -> Option<Self> {
        let name = Canonical::new(record.target()?);
        let zone = Zone::of(&name);
        let mut costs = [0; MAX_LABELS];
        for (cost, label) in costs.iter_mut().zip(labels(name.prefix(zone.labels))) {
            // At most 63 characters of 379 units each.
            *cost = model::label_cost(label) as u16;
        }
        Some(Self { rdata_at: record.rdata_at, name, zone, costs })
    }

    pub fn is_of(&self, record: &Record<'_>) -> bool {
        self.rdata_at == record.rdata_at
    }

    /// Wire form of what is below its zone.
    pub fn sub_wire(&self) -> &[u8] {
        self.name.prefix(self.zone.labels)
    }

    /// Labels below its zone, each with what it costs to someone who knows host names in general.
    pub fn costs(&self) -> impl Iterator<Item = (&[u8], u32)> {
        labels(self.sub_wire()).zip(self.costs.iter().map(|cost| u32::from(*cost)))
    }
}

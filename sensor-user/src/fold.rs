//! One look-up out of many packets: duplicate legs, retries, A/AAAA/HTTPS twins, a resolver's own upstream query.

#[derive(Clone, Debug)]
pub struct Settings {
    /// Two records of one message (same ends, id and name) within this time are one, seen at two hooks; milliseconds.
    pub duplicate_ms: u64,
    /// A name asked again by the same client, or by another one after it, within this time is the same look-up;
    /// milliseconds.
    pub lookup_ms: u64,
    /// Recent queries remembered; the oldest goes first.
    pub max_recent: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { duplicate_ms: 2000, lookup_ms: 2000, max_recent: 16384 }
    }
}

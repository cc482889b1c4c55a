//! The leak ledger: how many bytes can have left, per client and zone.

#[derive(Clone, Debug)]
pub struct Settings {
    /// Window over which new information is summed, seconds.
    pub window_s: u64,
    /// New information in one window, bytes, from which a (client, zone) is reported.
    pub bound_bytes: u64,
    /// The same for reversed-address names (DNSBL, PTR), whose information is the address.
    pub address_bound_bytes: u64,
    /// Keys remembered; the one with least information goes first.
    pub max_keys: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { window_s: 600, bound_bytes: 256, address_bound_bytes: 4096, max_keys: 8192 }
    }
}

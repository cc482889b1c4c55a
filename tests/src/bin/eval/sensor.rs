//! The release binary, replaying one file.

pub(crate) use earthdog_tests::replayed::{Findings, Logged, Record, Scope, Sensor, Severity, is_below};

#[cfg(test)]
pub(crate) mod tests {
    use earthdog_tests::replayed::Client;

    use super::*;

    /// A finding's record as the sensor writes it, with what is not read here left out.
    pub(crate) fn record(id: &str, second: u64, severity: Severity, zone: Option<&str>) -> Record {
        Record {
            id: id.into(),
            time_ns: second * 1_000_000_000,
            rule: "rule".into(),
            severity,
            scope: if zone.is_some() { Scope::ClientZone } else { Scope::NoZone },
            zone: zone.map(str::to_owned),
            client: Client { ip: Some("192.0.2.7".parse().unwrap()) },
            name_bytes: second * 10,
            tool: None,
        }
    }
}

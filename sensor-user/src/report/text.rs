//! The sentences of a finding.

use crate::finding::{Bounds, Client, ClientKind, Finding, Scope, State};
use crate::ledger::Kind;

/// One sentence to decide on: who, and what it does.
pub fn title(finding: &Finding, does: &str) -> String {
    format!("{} {does}", who(finding))
}

/// What the ledger says a client does.
pub fn leaks(finding: &Finding) -> String {
    let verb = if finding.state == State::Close { "sent" } else { "is sending" };
    format!("{verb} data out in DNS names {}: {}", place(finding), range(finding.bytes_up))
}

/// What would have had to be different for this finding not to exist.
pub fn counterfactual(finding: &Finding, kind: Kind, bound_bytes: u64, window_s: u64) -> String {
    let place = place(finding);
    let had = match kind {
        Kind::Names => format!("Had the new names {place} been no more improbable than"),
        Kind::Forms => {
            format!("Had the addresses, numbers and hashes in new names {place} held no more than")
        }
        Kind::Answers => format!("Had the answers {place} brought no more than"),
        Kind::Encoded => {
            format!("Had the new names {place} been in no clear encoding, or no more improbable than")
        }
    };
    format!("{had} {bound_bytes} random bytes within {window_s} s, there would be no finding.")
}

/// `iodine (pid 4242, root)`, or an address; the zone, or the server, where it is about no client.
pub fn who(finding: &Finding) -> String {
    if finding.scope == Scope::Zone {
        let place = finding.zone.as_ref().or(finding.resolver.as_ref());
        return place.cloned().unwrap_or_else(|| "A zone".to_owned());
    }
    client(&finding.client)
}

/// `iodine (pid 4242, root)`, an asset with its address, or an address.
pub fn client(client: &Client) -> String {
    if client.kind == ClientKind::Address {
        return match (client.ip, &client.asset) {
            (Some(ip), Some(asset)) => format!("{} ({ip})", asset.name),
            (Some(ip), None) => ip.to_string(),
            (None, _) => "An unknown client".to_owned(),
        };
    }
    let program = client
        .exe
        .as_deref()
        .and_then(|exe| exe.rsplit('/').next())
        .filter(|name| !name.is_empty())
        .or(client.comm.as_deref())
        .unwrap_or("A process");
    let mut facts = Vec::new();
    match (client.pid, client.pids.len()) {
        (Some(pid), 0 | 1) => facts.push(format!("pid {pid}")),
        (_, count) if count > 1 => facts.push(format!("{count} processes")),
        _ => {}
    }
    match (&client.user, client.uid) {
        (Some(user), _) => facts.push(user.clone()),
        (None, Some(uid)) => facts.push(format!("uid {uid}")),
        (None, None) => {}
    }
    if facts.is_empty() { program.to_owned() } else { format!("{program} ({})", facts.join(", ")) }
}

fn place(finding: &Finding) -> String {
    match (&finding.zone, finding.scope) {
        (Some(zone), Scope::ClientZone | Scope::Zone) => format!("under {zone}"),
        (Some(_) | None, _) => "without a valid zone".to_owned(),
    }
}

/// `312 to 1,204 bytes`.
pub fn range(bounds: Bounds) -> String {
    format!("{} to {} bytes", thousands(bounds.low), thousands(bounds.high))
}

/// `40 minutes`, `5 hours`, `3 days`: in the largest unit that there are two of.
pub fn duration(seconds: u64) -> String {
    let units = [(86_400, "days"), (3600, "hours"), (60, "minutes")];
    let (unit, name) = units.into_iter().find(|(unit, _)| seconds >= 2 * unit).unwrap_or((1, "seconds"));
    format!("{} {name}", thousands(seconds / unit))
}

/// `####`: a count as part of the largest, to so many characters; one at least for what is not nought.
pub fn bar(count: u64, most: u64, width: u64) -> String {
    let part = (u128::from(count) * u128::from(width) * 2 + u128::from(most)) / (u128::from(most.max(1)) * 2);
    let length = part.max(u128::from(count > 0)).min(u128::from(width));
    "#".repeat(usize::try_from(length).unwrap_or(0))
}

/// Digits in groups of three.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

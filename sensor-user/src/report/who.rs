//! What a finding says of a client.

use sensor_ebpf::abi::grade;

use crate::attribute::clients::{comm, text as bytes_text};
use crate::attribute::{self, Client, Clients, Description, Identity, Names};
use crate::finding::{self, ClientKind};
use crate::logged::grade_name;

/// Everything known of a client; an address that is not known if there is none.
pub fn describe(client: Option<&Client>, names: &Names, settings: &attribute::Settings) -> finding::Client {
    let grade = grade_name(client.map_or(grade::NONE, |c| c.grade));
    let mut out =
        finding::Client { ip: client.map(|c| c.ip), ..finding::Client::unknown(ClientKind::Address, grade) };
    out.asset = out.ip.and_then(|ip| settings.assets.find(ip)).map(|known| finding::Asset {
        name: known.asset.name.clone(),
        platform: known.asset.platform.name().to_owned(),
        role: known.asset.role.clone(),
        authentication: known.asset.authentication.name().to_owned(),
    });
    let Some(Client { identity: Identity::Process { uid, .. }, pids, comm: name, image, .. }) = client else {
        return out;
    };
    out.kind = ClientKind::Process;
    out.uid = Some(*uid);
    out.comm = Some(bytes_text(comm(name))).filter(|name| !name.is_empty());
    out.pids = pids.iter().map(|(pid, _)| *pid).collect();
    out.user = names.user(*uid).map(str::to_owned);
    let Description { exe, cmdline, script, interpreter, stdio_socket } =
        attribute::describe(image, settings);
    (out.exe, out.cmdline, out.script) = (exe, cmdline, script);
    (out.interpreter, out.stdio_socket) = (interpreter, stdio_socket);
    out.ancestry = client.iter().flat_map(|c| &c.ancestry).map(|exe| bytes_text(exe)).collect();
    if let Some(place) = client.and_then(|c| c.place.as_deref()) {
        out.unit.clone_from(&place.unit);
        out.container.clone_from(&place.container);
        out.pod.clone_from(&place.pod);
    }
    let Some(&(pid, start)) = pids.first() else { return out };
    out.pid = Some(pid);
    out.start_time = settings.boot_unix_ns.map(|boot| finding::time(boot.saturating_add(start)));
    out
}

/// Executable of a client, or its name where that is unknown.
pub fn program(key: u64, clients: &Clients, names: &Names, settings: &attribute::Settings) -> Option<String> {
    let client = describe(Some(clients.find(key)?), names, settings);
    client.exe.or(client.comm)
}

//! Interfaces come and go, and the hooks with them: what was asked for is looked up anew whenever rtnetlink tells of a
//! change to it, and what is attached is made to fit. Hooks on interfaces that stay are not touched.
//!
//! An interface that was asked for is whatever bears the name; one that was renamed stays watched for as long as nothing
//! else bears it, or whoever may rename an interface could blind the sensor.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::Sensor;
use crate::clock;
use crate::escape::escape;
use crate::live::link::{Change, Link, default_route_interfaces, named, numbered};
use crate::live::plan::Request;
use crate::live::split::Placement;
use crate::live::watch::Watch;

/// From the first word of a change to the look: changes come in groups.
const SETTLE: Duration = Duration::from_millis(50);
/// Between two looks, at least; and so many times what the last one took, so that they take a twentieth of a core at most.
const LEAST_GAP: Duration = Duration::from_millis(200);
const GAP_PER_COST: u32 = 20;
/// Lines in a minute about changes; what goes beyond is counted alone.
const LINES: u64 = 60;
/// Interfaces watched at most: those asked for, or of the default routes.
const MAX_DEVICES: usize = 1024;

/// Kinds of changes, as `status` and the metrics name them.
const KINDS: [&str; 7] = ["came", "gone", "renamed", "mtu", "master", "xdp_lost", "refused"];

#[derive(Debug)]
pub(super) struct Follow {
    request: Request,
    watch: Option<Watch>,
    asked: Vec<String>,
    devices: Vec<Device>,
    waiting: Vec<String>,
    look_at: Option<Instant>,
    not_before: Instant,
    looks: u64,
    changes: BTreeMap<&'static str, u64>,
    /// Since when (a minute), how many lines, and how many were left out in all.
    lines: (Instant, u64, u64),
}

/// An interface that is to be watched.
#[derive(Clone, Debug)]
struct Device {
    asked: String,
    link: Link,
}

impl Follow {
    /// From `links`, which were there when the hooks were chosen: what has changed since is a change. Must be called
    /// inside the runtime.
    pub(super) fn new(request: Request, links: &[Link]) -> Self {
        let asked = asked(&request);
        let there = |name: &String| {
            let link = links.iter().find(|link| link.name == *name)?;
            Some(Device { asked: name.clone(), link: link.clone() })
        };
        let devices = asked.iter().filter_map(there).collect();
        let now = Instant::from_std(clock::monotonic());
        let with_routes = request.interfaces.is_empty();
        Self {
            // Without it the look every ten seconds is what there is.
            watch: Watch::open(with_routes).ok(),
            request,
            asked,
            devices,
            waiting: Vec::new(),
            look_at: None,
            not_before: now,
            looks: 0,
            changes: KINDS.iter().map(|kind| (*kind, 0)).collect(),
            lines: (now, 0, 0),
        }
    }

    /// Until there may be something to do.
    pub(super) async fn wait(&self) {
        match (self.look_at, &self.watch) {
            (Some(at), _) => sleep_until(at).await,
            (None, Some(watch)) => watch.readable().await,
            (None, None) => std::future::pending().await,
        }
    }

    fn count(&mut self, kind: &'static str) {
        *self.changes.entry(kind).or_default() += 1;
    }

    /// Whether there is room for one more line.
    fn may_tell(&mut self) -> bool {
        let now = Instant::from_std(clock::monotonic());
        if now.duration_since(self.lines.0) > Duration::from_mins(1) {
            self.lines = (now, 0, self.lines.2);
        }
        self.lines.1 += 1;
        let may = self.lines.1 <= LINES;
        self.lines.2 += u64::from(!may);
        may
    }

    fn is_watched(&self, change: &Change) -> bool {
        match change {
            Change::DefaultRoute => self.request.interfaces.is_empty(),
            Change::Link { index, name } => {
                self.devices.iter().any(|device| device.link.index == *index) || self.asked.contains(name)
            }
        }
    }

    /// Looks up what is to be watched now. An interface that cannot be asked for stays as it was.
    fn look(&mut self) -> (Vec<Device>, Vec<String>) {
        let mut asked = asked(&self.request);
        // A default route that is gone may come back: until another takes its place, what is there is watched.
        if asked.is_empty() {
            asked.clone_from(&self.asked);
        }
        let mut found: Vec<Device> = Vec::new();
        let mut missing = Vec::new();
        for name in &asked {
            let before = self.devices.iter().find(|device| device.asked == *name);
            let link = match named(name) {
                Ok(Some(link)) => Some(link),
                Ok(None) => before.and_then(|device| numbered(device.link.index).ok().flatten()),
                Err(_) => before.map(|device| device.link.clone()),
            };
            match link {
                Some(link) if found.iter().any(|known| known.link.index == link.index) => {}
                Some(link) => found.push(Device { asked: name.clone(), link }),
                None => missing.push(name.clone()),
            }
        }
        self.asked = asked;
        (found, missing)
    }

    pub(super) fn json(&self) -> Value {
        let [told, overflows] = self.watch.as_ref().map_or([0; 2], |watch| [watch.told, watch.overflows]);
        json!({
            "watched": self.devices.iter().map(|device| json!({
                "name": device.link.name,
                "asked": device.asked,
                "index": device.link.index,
                "mtu": device.link.mtu,
            })).collect::<Vec<_>>(),
            "waiting": self.waiting,
            "changes": self.changes,
            "looks": self.looks,
            "notices": told,
            "notices_dropped": overflows,
            "untold": self.lines.2,
        })
    }
}

/// Names of what is to be watched.
fn asked(request: &Request) -> Vec<String> {
    let mut asked =
        if request.interfaces.is_empty() { default_route_interfaces() } else { request.interfaces.clone() };
    asked.truncate(MAX_DEVICES);
    asked
}

impl Sensor {
    /// There is word of changes, or it is time to look.
    pub(super) fn links_changed(&mut self) {
        let follow = &mut self.follow;
        if follow.look_at.is_none() {
            let settled = Instant::from_std(clock::monotonic()) + SETTLE;
            follow.look_at = Some(settled.max(follow.not_before));
            return;
        }
        follow.look_at = None;
        let Some(mut watch) = follow.watch.take() else { return };
        let matters = watch.take(|change| follow.is_watched(change));
        follow.watch = Some(watch);
        let began = Instant::from_std(clock::monotonic());
        if matters {
            self.follow_links();
        }
        let ended = Instant::from_std(clock::monotonic());
        self.follow.not_before = ended + LEAST_GAP.max((ended - began) * GAP_PER_COST);
    }

    /// Makes the hooks fit the interfaces that are there.
    pub(super) fn follow_links(&mut self) {
        if self.follow.request.xdp_mode == crate::cli::XdpMode::Off || self.limits.is_detached() {
            return;
        }
        let (found, missing) = self.follow.look();
        self.follow.looks += 1;
        let before = std::mem::take(&mut self.follow.devices);
        let was = |index: u32| before.iter().find(|device| device.link.index == index);
        // Names first, since they are what hooks are told by.
        let mut leaving = Vec::new();
        for old in &before {
            let now = found.iter().find(|device| device.link.index == old.link.index);
            let stays = now.is_some();
            let link =
                now.map_or_else(|| numbered(old.link.index).ok().flatten(), |now| Some(now.link.clone()));
            match link {
                // What has vanished must go before another comes under its name.
                None => self.leave(old, "is gone"),
                Some(link) => {
                    self.renamed(&old.link, &link);
                    if !stays {
                        leaving.push(Device { link, ..old.clone() });
                    }
                }
            }
        }
        for device in &found {
            match was(device.link.index) {
                Some(old) => self.changed(&old.link, &device.link),
                None => self.come(&device.link),
            }
        }
        for old in leaving {
            self.leave(&old, "is no longer asked for");
        }
        let waited = std::mem::take(&mut self.follow.waiting);
        for name in missing.iter().filter(|name| !waited.contains(name)) {
            self.tell_link(&format!("{} is not there: waiting for it", escape(name)));
        }
        self.follow.devices = found;
        self.follow.waiting = missing;
    }

    fn tell_link(&mut self, line: &str) {
        if self.follow.may_tell() {
            self.printer.line(line);
        }
    }

    fn come(&mut self, link: &Link) {
        self.follow.count("came");
        let placement = self.privileged.come(link.index);
        let line = format!("{} came (index {}, MTU {})", escape(&link.name), link.index, link.mtu);
        self.tell_placement(&line, placement);
    }

    fn tell_placement(&mut self, line: &str, Placement { hooks, points, refused }: Placement) {
        self.hooks = hooks;
        let points = if points.is_empty() { "no hook".to_owned() } else { points.join(", ") };
        self.tell_link(&format!("{line}: {points}"));
        for why in &refused {
            self.follow.count("refused");
            self.tell_link(&format!("warning: {why}"));
        }
    }

    fn leave(&mut self, device: &Device, why: &str) {
        self.follow.count("gone");
        let Placement { hooks, points, .. } = self.privileged.leave(device.link.index);
        self.hooks = hooks;
        let name = escape(&device.link.name);
        self.tell_link(&format!("{name} {why} (index {}): off {}", device.link.index, points.join(", ")));
    }

    fn renamed(&mut self, old: &Link, new: &Link) {
        if old.name == new.name {
            return;
        }
        self.follow.count("renamed");
        self.hooks = self.privileged.renamed(new.index).hooks;
        self.tell_link(&format!("{} is now {}, and watched on", escape(&old.name), escape(&new.name)));
    }

    fn changed(&mut self, old: &Link, new: &Link) {
        let name = escape(&new.name);
        if old.mtu != new.mtu {
            self.follow.count("mtu");
            self.tell_link(&format!("{name}: MTU {} is now {}", old.mtu, new.mtu));
        }
        if old.master != new.master {
            self.follow.count("master");
            let of = numbered(new.master).ok().flatten().filter(|_| new.master != 0);
            let of = of.map_or_else(|| "none".to_owned(), |master| escape(&master.name).into_owned());
            self.tell_link(&format!("{name}: belongs to {of} now"));
        }
        if new.xdp.is_none() && self.hooks.iter().any(|hook| hook.is_xdp && hook.index == new.index) {
            self.follow.count("xdp_lost");
            let placement = self.privileged.xdp_lost(new.index);
            self.tell_placement(&format!("{name} lost its XDP program"), placement);
        }
    }
}

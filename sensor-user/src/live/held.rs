//! What holds the hooks on interfaces: given up, the hook is off. Interfaces come and go while the sensor runs, and each
//! takes its own hooks with it.

use std::io;

use aya::programs::ProgramError;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::XdpLink;

use super::attach::Attached;
use super::hook::{Hook, Point};
use super::link::named;
use super::pins::Pins;

/// One hook on an interface.
#[derive(Debug)]
pub(super) struct Held {
    index: u32,
    point: Point,
    grip: Grip,
}

/// Dropped, it lets go; a pin is let go of by its name.
#[derive(Debug)]
#[expect(dead_code, reason = "links are held to be dropped")]
pub(super) enum Grip {
    Xdp(XdpLink),
    Tc(SchedClassifierLink),
    Pin(String),
}

impl Attached {
    /// Puts hooks on an interface that came; returns what was refused, and what stands in its place.
    pub(super) fn add(&mut self, hooks: &[Hook]) -> Vec<String> {
        let before = self.warnings.len();
        for hook in hooks {
            if let Err(error) = self.hook(hook) {
                // At the start it ends the run; now other hooks are at work.
                self.warnings.push(error.message);
            }
        }
        if let Some(pins) = &mut self.pins {
            self.warnings.append(&mut pins.notes);
        }
        self.warnings.split_off(before)
    }

    /// Takes the hooks off an interface, those that `which` says; returns where they were.
    pub(super) fn release(&mut self, index: u32, which: impl Fn(&Point) -> bool) -> Vec<Point> {
        let gone = self.held.extract_if(.., |held| held.index == index && which(&held.point));
        let mut points = Vec::new();
        for held in gone.collect::<Vec<_>>() {
            if let (Grip::Pin(name), Some(pins)) = (&held.grip, &mut self.pins) {
                pins.release(name);
            }
            if let Some(at) = self.hooks.iter().position(|hook| hook.point == held.point) {
                self.hooks.remove(at);
            }
            points.push(held.point);
        }
        points
    }

    /// The interface has another name; its hooks stay.
    pub(super) fn rename(&mut self, index: u32, name: &str) {
        for held in self.held.iter_mut().filter(|held| held.index == index) {
            let at = self.hooks.iter().position(|hook| hook.point == held.point);
            held.point.rename(name);
            if let Some(at) = at {
                self.hooks[at].point.rename(name);
            }
        }
    }

    /// The interface of a hook; 0 for none.
    pub(super) fn index_of(&self, point: &Point) -> u32 {
        self.held.iter().find(|held| held.point == *point).map_or(0, |held| held.index)
    }

    /// Where an interface is watched.
    pub(super) fn points(&self, index: u32) -> impl Iterator<Item = &Point> {
        self.held.iter().filter(move |held| held.index == index).map(|held| &held.point)
    }

    pub(super) fn hold_link<L>(
        &mut self,
        hook: &Hook,
        link: L,
        grip: fn(L) -> Grip,
    ) -> Result<(), ProgramError>
    where
        FdLink: TryFrom<L, Error = LinkError>,
    {
        let Some(pins) = self.pins.as_mut().filter(|_| Pins::takes(hook)) else {
            return self.hold(hook, grip(link));
        };
        let link = FdLink::try_from(link).map_err(|error| ProgramError::IOError(io::Error::other(error)))?;
        let pin = pins.keep(hook, link).map_err(ProgramError::IOError)?;
        self.hold(hook, Grip::Pin(pin))
    }

    pub(super) fn hold(&mut self, hook: &Hook, grip: Grip) -> Result<(), ProgramError> {
        if let Some(name) = hook.point.interface() {
            // 0 where it went meanwhile: the next look lets go of it.
            let index = named(name).map_err(ProgramError::IOError)?.map_or(0, |link| link.index);
            self.held.push(Held { index, point: hook.point.clone(), grip });
        }
        Ok(())
    }
}

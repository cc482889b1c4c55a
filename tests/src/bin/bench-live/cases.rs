//! The cases that need no sensor process: nothing, two instructions, and our program with less or more switched on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use earthdog::clock::{self, BootClock};
use earthdog::config::Config;
use earthdog::dns::Message;
use earthdog::event::Event;
use earthdog::live::ring::Rings;
use earthdog_tests::drop_all;
use earthdog_tests::generator::{Kind, Sent};
use earthdog_tests::host::{Host, LINK};
use earthdog_tests::object::Object;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::Finished;
use sensor_ebpf::abi::{counter, feature};

/// Of one case in one round.
const TIME: Duration = Duration::from_millis(1500);
const GENERATOR_CPU: &str = "1";
/// Between two looks at the rings, as the sensor does by default.
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Packets a second.
    pub(crate) rate: f64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) filtered: u64,
    /// Sent, and neither delivered, lost nor filtered; or the other way round.
    pub(crate) unaccounted: u64,
}

/// Where the wire view's program is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    Xdp,
    Tcx,
}

pub(crate) struct Bed<'a> {
    pub(crate) client: &'a Host,
    pub(crate) server: &'a Host,
    generator: PathBuf,
    mac: String,
}

impl<'a> Bed<'a> {
    pub(crate) fn new(client: &'a Host, server: &'a Host) -> Result<Self> {
        let own = std::env::current_exe()?;
        let generator = own.with_file_name("generator");
        ensure!(generator.is_file(), "{} is missing: build earthdog-tests", generator.display());
        let mac = server.run(&format!("cat /sys/class/net/{LINK}/address")).trim().to_owned();
        Ok(Self { client, server, generator, mac })
    }

    /// Starts the generator.
    pub(crate) fn send(&self, kind: Kind, time: Duration, rate: u64) -> Process {
        let name = Kind::ALL.iter().find(|(_, known)| *known == kind).map_or("new", |(name, _)| name);
        let mut command = self.client.command(&self.generator);
        let seconds = time.as_secs_f64().to_string();
        command.args([LINK, &self.mac, name, &seconds, &rate.to_string(), GENERATOR_CPU]);
        Process::spawn(command)
    }

    /// What it sent, once it has ended.
    pub(crate) fn sent(generator: Process) -> Result<Sent> {
        let done = Finished::of(generator);
        let words: Vec<&str> = done.stdout.split_whitespace().collect();
        let ["sent", count, "seconds", seconds] = words[..] else {
            anyhow::bail!("the generator said {:?} {:?}", done.stdout, done.stderr)
        };
        Ok(Sent { count: count.parse()?, seconds: seconds.parse()? })
    }

    fn send_all(&self, kind: Kind) -> Result<Sent> {
        Self::sent(self.send(kind, TIME, 0))
    }

    pub(crate) fn nothing(&self, kind: Kind) -> Result<Measured> {
        let before = self.arrived()?;
        let sent = self.send_all(kind)?;
        let arrived = self.arrived()? - before;
        ensure!(arrived >= sent.count, "{} sent, {arrived} arrived", sent.count);
        Ok(of(sent))
    }

    pub(crate) fn drop_only(&self) -> Result<Measured> {
        let _link = self.server.inside(|| drop_all::on(LINK))?.context("an XDP program that drops all")?;
        Ok(of(self.send_all(Kind::New)?))
    }

    pub(crate) fn empty_program(&self) -> Result<Measured> {
        let mut object = Object::load(feature::DEFAULT)?;
        self.server.inside(|| object.attach_xdp("xdp_floor", LINK))??;
        Ok(of(self.send_all(Kind::New)?))
    }

    pub(crate) fn counters_only(&self, hook: At) -> Result<Measured> {
        let mut object = Object::load(feature::WALK | feature::HASH | feature::FLOW)?;
        self.attach(&mut object, hook)?;
        let sent = self.send_all(Kind::New)?;
        let counters = object.counters()?;
        let skipped = counters[counter::SKIP_RECORD_OFF as usize];
        ensure!(sent.count == skipped, "{} sent, {skipped} counted: {counters:?}", sent.count);
        Ok(of(sent))
    }

    /// Every message is read out of the ring, decoded and looked at; no detector, no table.
    pub(crate) fn read_and_decoded(&self, hook: At) -> Result<Measured> {
        let live = Config::default().live;
        let rings = [live.alert_ring_kib, live.bulk_ring_kib].map(|kib| kib as u32 * 1024);
        let mut object = Object::load_with_rings(feature::DEFAULT, rings[0], rings[1])?;
        let mut reader = object.take_rings()?;
        self.attach(&mut object, hook)?;
        let over = AtomicBool::new(false);
        let (sent, read) = std::thread::scope(|scope| {
            let reading = scope.spawn(|| read(&mut reader, &over));
            let sent = self.send_all(Kind::New);
            over.store(true, Ordering::Release);
            (sent, reading.join().unwrap_or(0))
        });
        let sent = sent?;
        let counters = object.counters()?;
        let of_index = |index: u32| counters[index as usize];
        let lost = of_index(counter::LOST_BULK) + of_index(counter::LOST_ALERT);
        ensure!(
            sent.count == read + lost && read == of_index(counter::DELIVERED),
            "{} sent, {read} read, {lost} lost: {counters:?}",
            sent.count
        );
        Ok(Measured { lost, ..of(sent) })
    }

    fn attach(&self, object: &mut Object, hook: At) -> Result<()> {
        self.server.inside(|| match hook {
            At::Xdp => object.attach_xdp("xdp_dns", LINK),
            At::Tcx => object.attach_tcx("tc_ingress", LINK),
        })?
    }

    /// Packets that the server's interface has taken in.
    fn arrived(&self) -> Result<u64> {
        Ok(self.server.run(&format!("cat /sys/class/net/{LINK}/statistics/rx_packets")).trim().parse()?)
    }
}

fn of(sent: Sent) -> Measured {
    Measured { rate: sent.count as f64 / sent.seconds, sent: sent.count, ..Measured::default() }
}

/// Messages read until it is over and the rings are empty.
fn read(rings: &mut Rings, over: &AtomicBool) -> u64 {
    let mut clock = BootClock::new();
    let (mut questions, mut last) = (0, false);
    loop {
        clock.look();
        let is_over = over.load(Ordering::Acquire);
        let more = rings.drain(&clock, clock::boot_ns(), &mut |event| {
            let Event::Packet(packet) = event else { return };
            let message = Message::parse(&packet.payload, packet.true_len as usize);
            questions += u64::from(message.question.is_some());
        });
        if !more {
            if last {
                return questions;
            }
            last = is_over;
            std::thread::park_timeout(PAUSE);
        }
    }
}

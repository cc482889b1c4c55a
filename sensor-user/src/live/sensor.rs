//! The running sensor: what was planned is attached, the rings are drained into the pipeline, findings go to stdout.
//!
//! One thread. Everything it does in turn is bounded: a batch of records, a few processes read, one question answered.

mod limits;
mod links;
mod questions;
mod reload;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use reload::Reloads;

use super::canary::{self, Canary, Route};
use super::control::{self, Question};
use super::cost::Cost;
use super::fit::Fit;
use super::local::{self, SearchList};
use super::maps::Maps;
use super::memory::{self, Memory};
use super::metrics::endpoint::{self, Endpoint};
use super::neighbours::neighbours;
use super::output::Findings;
use super::pace::Pace;
use super::priority::{Niceness, yield_to_others};
use super::ring::Rings;
use super::rollout::{Rollout, Waited};
use super::service::Service;
use super::source::Choice;
use super::split::{self, Begun, Placed, Privileged, plan_request};
use super::start::random;
use super::status::{Askers, Numbers, Printer};
use super::stop::{Hangup, Hung, Stop};
use super::{log, ring, status};
use crate::cli::{Role, RunArgs};
use crate::clock::{self, BootClock};
use crate::config::{Config, Live};
use crate::escape::escape;
use crate::event::{Event, View};
use crate::exception::Earlier;
use crate::exit::{Code, Error};
use crate::finding::{Finding, Origin};
use crate::pipeline::Pipeline;
use crate::sink::{
    About, Sinks,
    messages::{Existing, Messages},
};
use crate::source::feeds::{Feeds, Loaded};
use crate::store::keeper::Keeper;
use limits::Limits;
use links::Follow;

/// Processes, cgroups and users looked up in one drain, and processes after it; the rest waits for the next.
const PROC_READS: usize = 64;
/// Processes that wait to be read; the oldest goes first, since the youngest is the likeliest to be alive still.
const PROC_WAITING: usize = 1024;
/// Between two ticks of the pipeline and two looks at the clocks.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// Between two looks at the watched interfaces without any word of a change.
const LOOK_AT_LINKS: Duration = Duration::from_secs(10);
/// Between two looks at which address has which asset's hardware address.
const LOOK_AT_NEIGHBOURS: Duration = Duration::from_secs(2);
/// Drains at the end: what was in the rings when the sensor was told to stop, at most.
const LAST_DRAINS: usize = 4096;

/// Runs until a signal, the end of `--duration`, or a failure.
pub(super) fn run(args: &RunArgs, config: &Config, waited: Option<Waited>) -> anyhow::Result<Code> {
    config.threads_need_no_store()?;
    if args.selftest {
        // Whoever started it may be killed, and nobody else would end it.
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
        // It waits for signals itself, and what it keeps back would be kept back here.
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
    }
    // Opened once, while there is every right to: the file may be somebody else's.
    let messages = Messages::open(&config.output.messages, Existing::GoesOn)?;
    let niceness = yield_to_others(config.live.nice as i32);
    let begun = split::begin(args, config)?;
    let (runtime, signals) = match waited {
        Some(Waited { runtime, stop, hangup }) => (runtime, Some((stop, hangup))),
        None => (tokio::runtime::Builder::new_current_thread().enable_all().build()?, None),
    };
    runtime.block_on(async {
        let has_waited = signals.is_some();
        // Before anything is attached, so that a signal meanwhile ends the run as it should.
        let (mut stop, hangup) =
            signals.map_or_else(|| Ok((Stop::new()?, Hangup::new()?)), std::io::Result::Ok)?;
        // A file that may not grow (RLIMIT_FSIZE) is an error to be told, not the end.
        let _too_large = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
        let sensor = Sensor::start(args, config, begun, messages, niceness)?;
        if !has_waited {
            stop.after(args.duration);
        }
        Box::pin(sensor.watch(stop, hangup)).await
    })
}

struct Sensor {
    privileged: Privileged,
    /// In force.
    hooks: Vec<Placed>,
    warnings: Vec<String>,
    /// Hooks stay in the kernel when the sensor ends.
    stays: bool,
    owner: Choice,
    maps: Maps,
    rings: Rings,
    clock: BootClock,
    pipeline: Pipeline,
    search: SearchList,
    feeds: Feeds,
    /// The sensor's own network namespace, which its interfaces are in; 0 if unknown.
    netns: u32,
    waiting: VecDeque<(u32, u64)>,
    askers: Askers,
    follow: Follow,
    out: Findings,
    sinks: Sinks,
    messages: Option<Messages>,
    store: Keeper,
    printer: Printer,
    cost: Cost,
    canary: Option<Canary>,
    limits: Limits,
    fit: Fit,
    as_gateway: bool,
    settings: Live,
    reloads: Reloads,
    service: Service,
    /// Bytes that the pipeline and the reader can come to hold.
    worst_case: usize,
    since: String,
}

impl Sensor {
    /// Attaches. Must be called inside the runtime, for the control socket.
    fn start(
        args: &RunArgs,
        config: &Config,
        begun: Begun,
        messages: Option<Messages>,
        niceness: Niceness,
    ) -> anyhow::Result<Self> {
        let mut feeds = config.feeds();
        let lists = feeds.load().map_err(|message| Error::new(Code::Usage, message))?;
        let about = About { hostname: local::hostname(), ocsf: config.output.ocsf_version };
        let (sinks, news) =
            Sinks::start(config, &about).map_err(|message| Error::new(Code::Usage, message))?;
        let out = Findings::start(args.output.unwrap_or_else(|| config.output.format.into()), config, about)?;
        let clock = BootClock::new();
        let [seed] = random::<1>()?;
        let before = Memory::now().resident;
        let stored = config.with_tables(Fit::of_store(config).share);
        let (store, history) = Keeper::open(&stored, seed, clock::unix_ns());
        // Part of what the store can come to hold.
        let loaded = Memory::now().resident.saturating_sub(before);
        let beside = ring::WORST_CASE_BYTES
            + status::WORST_CASE_BYTES
            + sinks.worst_case_bytes()
            + out.worst_case_bytes()
            + store.worst_case_bytes();
        let (mut privileged, mut started, maps, rings) = begun.attach(config)?;
        log::to_stderr();
        memory::trim();
        let fit = Fit::of_pipeline(config, &stored, loaded, privileged.memory().total());
        if fit.is_over() {
            started.warnings.push(fit.to_string());
        }
        started.warnings.extend(niceness.missing);
        let mut settings = config.with_tables(fit.share).pipeline();
        settings.seed = seed;
        settings.attribute.boot_unix_ns = Some(clock.unix_ns(0));
        let worst_case = beside + settings.worst_case_bytes();
        let max_processes = settings.attribute.max_processes;
        let as_gateway = args.role == Role::Gateway;
        let filter = config.filters_repeats(as_gateway);
        let origin = if args.selftest { Origin::Selftest } else { Origin::Live };
        let threads = settings.threads;
        let mut pipeline = Pipeline::new(settings, origin);
        if threads > 1 && pipeline.threads() < threads {
            started.warnings.push(format!(
                "pipeline.threads = {threads}: no threads could be started, so that one does all"
            ));
        }
        if let Some(history) = history {
            pipeline.remember(history);
            pipeline.recall(&Earlier::of(store.kept().records()));
        }
        let mut sensor = Self {
            privileged,
            hooks: started.hooks,
            warnings: started.warnings,
            stays: started.stays,
            owner: started.owner,
            maps,
            rings,
            clock,
            pipeline,
            search: SearchList::default(),
            feeds,
            netns: local::netns(Path::new("/proc/self")).unwrap_or(0),
            waiting: VecDeque::new(),
            askers: Askers::default(),
            follow: Follow::new(plan_request(args, config), &started.links),
            out,
            sinks,
            messages,
            store,
            printer: Printer::new(),
            cost: Cost::new(),
            canary: None,
            limits: Limits::new(config, as_gateway, filter, niceness.value),
            fit,
            as_gateway,
            settings: config.live.clone(),
            reloads: Reloads::new(args.config.clone(), config),
            service: Service::new(),
            worst_case,
            since: jiff::Timestamp::now().to_string(),
        };
        sensor.obey_limits();
        sensor.take_feeds(lists);
        sensor.look_at_neighbours();
        sensor.warn(news);
        // After the attach: who starts from here on comes through the ring.
        sensor.take_snapshot(max_processes);
        memory::trim();
        Ok(sensor)
    }

    async fn watch(mut self, mut stop: Stop, mut hangup: Hangup) -> anyhow::Result<Code> {
        let (sender, mut questions) = mpsc::channel(1);
        // Held to the end: dropping it removes the socket.
        let _endpoint = self.tell_metrics(sender.clone());
        let _socket = self.listen(sender);
        self.look_at_resolvers();
        let memory = self.privileged.memory();
        self.announce(&memory);
        self.service.ready(&self.watching());
        if let Some(line) = split::attempt() {
            self.printer.line(&line);
        }
        let mut alone = None;
        let mut drain_at = Instant::from_std(clock::monotonic());
        let mut pace = Pace::new(clock::monotonic());
        let mut tick = ticker(TICK);
        let mut status = ticker(self.printer.interval());
        let mut look = ticker(LOOK_AT_LINKS);
        let mut meet = ticker(LOOK_AT_NEIGHBOURS);
        loop {
            // The branches are tried in random order, so none can keep the others from their turn.
            tokio::select! {
                () = stop.wait() => break,
                hung = hangup.wait() => match hung {
                    Hung::Reload => self.reload_told(),
                    Hung::TerminalGone => break,
                },
                () = sleep_until(drain_at) => {
                    let began = clock::monotonic();
                    let more = self.drain();
                    let ended = clock::monotonic();
                    let drain_every = Duration::from_millis(self.settings.drain_interval_ms);
                    let usual = pace.next(self.rings.stats().taken(), ended, drain_every);
                    let pause = self.limits.pause(more, usual, ended.duration_since(began));
                    drain_at = Instant::from_std(ended) + pause;
                }
                Some(question) = questions.recv() => self.answer(question),
                _ = tick.tick() => self.tick(),
                _ = status.tick() => self.status(),
                () = self.follow.wait() => self.links_changed(),
                _ = look.tick() => self.follow_links(),
                _ = meet.tick() => self.look_at_neighbours(),
                () = self.privileged.gone() => {
                    alone = Some(self.privileged.obituary());
                    break;
                }
            }
            self.out.flush()?;
        }
        let ended = self.finish()?;
        alone.map_or(Ok(ended), |error| Err(error.into()))
    }

    fn listen(&mut self, sender: mpsc::Sender<Question>) -> Option<control::Socket> {
        let path = &self.settings.control_socket;
        match control::bind(path.as_ref()) {
            Ok((listener, socket)) => {
                tokio::spawn(control::serve(listener, sender));
                Some(socket)
            }
            Err(error) => {
                // Watching matters more than answering.
                self.warnings.push(format!("no control socket at {}: {error}", path.escape_debug()));
                None
            }
        }
    }

    fn tell_metrics(&mut self, sender: mpsc::Sender<Question>) -> Option<Endpoint> {
        let listen = &self.reloads.config().metrics.listen;
        if listen.is_empty() {
            return None;
        }
        match endpoint::start(listen, sender) {
            Ok(endpoint) => {
                self.printer.line(&format!("metrics at {}", endpoint.place));
                Some(endpoint)
            }
            Err(error) => {
                let warning = format!("no metrics at {}: {error}", escape(listen));
                self.warnings.push(warning);
                None
            }
        }
    }

    /// Who listens on port 53 already: they answer, and ask on for others.
    fn look_at_resolvers(&mut self) {
        let mut known = 0;
        for listener in self.privileged.listeners() {
            let process = (listener.tgid, listener.start_boot_ns);
            self.pipeline.listens(listener.ip, listener.netns, process, clock::unix_ns());
            known += 1;
        }
        if known > 0 {
            self.printer.line(&format!("{known} sockets of resolvers on this host are known"));
        }
    }

    fn announce(&mut self, memory: &Memory) {
        self.printer.line(&format!("{}:", self.watching()));
        for hook in &self.hooks {
            self.printer.line(&format!("  {}: {}", hook.hook, hook.why));
        }
        self.printer.line(&format!("who asked: {}", self.owner));
        self.printer.line(&self.privileged.privilege().line());
        for missing in self.privileged.privilege().missing() {
            self.printer.line(&format!("warning: {missing}"));
        }
        if self.pipeline.threads() > 0 {
            let threads = self.pipeline.threads();
            self.printer.line(&format!("clients are shared out over {threads} threads (pipeline.threads)"));
        }
        self.printer.line(&self.store.announcement(self.pipeline.history()));
        let rollout = Rollout::new(self.reloads.config());
        if !rollout.takes_part() {
            self.printer.line(&format!("rollout: {rollout}"));
        }
        if self.reloads.config().output.observe {
            self.printer.line("observing: findings alert nobody (output.observe)");
        }
        for warning in &self.warnings {
            self.printer.line(&format!("warning: {warning}"));
        }
        let full = self.worst_case as f64 / 1e6;
        self.printer.line(&format!("memory {memory}; full tables add at most {full:.1} MB"));
        if self.fit.is_tight() && !self.fit.is_over() {
            self.printer.line(&self.fit.to_string());
        }
    }

    fn watching(&self) -> String {
        format!("watching with {} hooks", self.hooks.len())
    }

    /// Takes a batch out of the rings; true if there is more.
    fn drain(&mut self) -> bool {
        if canary::fault("drain") {
            return true;
        }
        let Self {
            rings,
            service,
            pipeline,
            privileged,
            out,
            sinks,
            messages,
            store,
            askers,
            printer,
            clock,
            netns,
            canary,
            ..
        } = self;
        let has_canary = canary.is_some();
        let mut marked = Vec::new();
        let mut reads = PROC_READS;
        clock.look();
        let before = rings.stats().taken();
        let mut emit = |finding: &Finding| {
            if has_canary && finding.origin == Origin::Selftest {
                if canary::fault("detectors") {
                    return;
                }
                marked.push(finding.clone());
            }
            out.write(finding, printer);
            sinks.finding(finding);
            store.finding(finding, clock::unix_ns());
        };
        let more = rings.drain(clock, clock::boot_ns(), &mut |mut event| {
            if let Event::Packet(packet) = &mut event {
                askers.note(&packet.owner);
                if matches!(packet.view, View::WireIngress | View::WireEgress) {
                    packet.owner.netns = *netns;
                }
            }
            let pipeline = match canary.as_mut().map_or(Route::Host, |canary| canary.route(&event)) {
                Route::Host => &mut *pipeline,
                Route::Canary(own) => own,
                Route::Nowhere => return,
            };
            look_up(pipeline, privileged, &event, &mut reads);
            pipeline.push(event, &mut emit);
            log_messages(pipeline, messages, sinks);
        });
        pipeline.settle(&mut emit);
        service.drained(rings.stats().taken() - before, more);
        if let Some(canary) = canary {
            for finding in &marked {
                canary.note(finding);
            }
        }
        self.flush_messages();
        self.read_processes();
        more
    }

    /// After each drain, so that the file is never far behind.
    fn flush_messages(&mut self) {
        let Some(messages) = &mut self.messages else { return };
        messages.flush();
        if let Some(warning) = messages.warning() {
            self.printer.line(&format!("warning: {warning}"));
            self.warnings.push(warning);
        }
    }

    /// Looks up in /proc who was seen asking for the first time and could not be looked up then, a few at a time.
    fn read_processes(&mut self) {
        self.waiting.extend(self.pipeline.unknown_processes());
        let excess = self.waiting.len().saturating_sub(PROC_WAITING);
        self.waiting.drain(..excess);
        for _ in 0..PROC_READS {
            let Some((tgid, start_boot_ns)) = self.waiting.pop_front() else { break };
            if let Some(facts) = self.privileged.process(tgid, start_boot_ns) {
                self.pipeline.learn(facts);
            }
        }
    }

    /// Who runs already: who started whom is known from here on, and nobody needs to be looked up while packets wait.
    fn take_snapshot(&mut self, max: usize) {
        let Self { privileged, pipeline, .. } = self;
        privileged.processes(max, |facts| pipeline.learn(facts));
    }

    fn take_feeds(&mut self, lists: Loaded) {
        for warning in &lists.warnings {
            self.printer.line(&format!("warning: {warning}"));
        }
        if !lists.feed.is_empty() {
            self.printer.line(&format!("{} domains of feeds are watched for", lists.feed.len()));
        }
        self.pipeline.feed(lists.feed);
    }

    fn tick(&mut self) {
        self.privileged.tick();
        self.cost.tick(&mut self.privileged);
        self.look_at_limits();
        self.clock.refresh();
        if let Some(suffixes) = self.search.changed(|| self.privileged.resolv_conf()) {
            self.pipeline.search(suffixes.into_iter());
        }
        if let Some(lists) = self.feeds.changed() {
            self.take_feeds(lists);
        }
        let Self { pipeline, out, sinks, store, printer, .. } = self;
        let now_ns = clock::unix_ns();
        pipeline.tick(now_ns, &mut |finding| {
            out.write(finding, printer);
            sinks.finding(finding);
            store.finding(finding, now_ns);
        });
        log_messages(&mut self.pipeline, &mut self.messages, &self.sinks);
        if self.canary.as_ref().is_some_and(|canary| canary.is_over(now_ns)) {
            self.end_canary();
        }
        let news = self.store.tick(self.pipeline.history(), now_ns);
        self.warn(news);
        self.service.beat();
        let news = self.service.news();
        self.warn(news);
        let ended = self.pipeline.exceptions_news();
        self.warn(ended);
        // `status` tells what is wrong with each sink as long as it is.
        for line in self.sinks.news() {
            self.printer.line(&line);
        }
    }

    /// Tells what `status` will go on to tell.
    fn warn(&mut self, news: Vec<String>) {
        for warning in news {
            self.printer.line(&format!("warning: {warning}"));
            // What comes and goes must not add up.
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// Nothing is asked where no asset is known by its hardware address.
    fn look_at_neighbours(&mut self) {
        let inventory = &self.reloads.config().known;
        if !inventory.needs_neighbours() {
            return;
        }
        match neighbours() {
            Ok(list) => _ = inventory.meet(list.into_iter()),
            Err(error) => self.warn(vec![format!("the neighbour table cannot be read: {error}")]),
        }
    }

    fn status(&mut self) {
        let line = self.numbers(|numbers| numbers.line());
        self.printer.status(&line);
        self.service.status(&line);
    }

    fn numbers<T>(&self, with: impl FnOnce(Numbers<'_>) -> T) -> T {
        with(Numbers {
            stats: &self.pipeline.stats(),
            processes: self.askers.count(),
            counters: &self.maps.counters(),
            ring: self.rings.stats(),
            attributions: self.askers.grades(),
            table: self.pipeline.process_count(),
            message_log: self.messages.as_ref().map(|log| [log.taken, log.lost]),
        })
    }

    fn finish(mut self) -> anyhow::Result<Code> {
        self.service.stopping();
        // First, or under a flood the rings would never be empty, and what comes after the last drain would count as
        // delivered without having been read.
        if !self.stays {
            self.privileged.detach();
        }
        for _ in 0..LAST_DRAINS {
            // What stays is read by the next run.
            if !self.drain() || self.stays {
                break;
            }
        }
        self.end_limits();
        let Self { pipeline, out, sinks, store, printer, .. } = &mut self;
        let now_ns = clock::unix_ns();
        pipeline.finish(&mut |finding| {
            out.write(finding, printer);
            sinks.finding(finding);
            store.finding(finding, now_ns);
        });
        log_messages(&mut self.pipeline, &mut self.messages, &self.sinks);
        self.flush_messages();
        let mut news = self.sinks.finish();
        news.extend(self.out.finish()?);
        news.extend(self.store.finish(self.pipeline.history(), now_ns));
        self.warn(news);
        self.printer.clear();
        let line = self.numbers(|numbers| numbers.line());
        self.printer.line(&format!("stopped: {line}"));
        Ok(Code::Ok)
    }
}

/// Facts that must be there before an event is handed in, or they would come too late to be part of its client's key.
/// Each number is looked up once; a flood of new ones waits for its turn, and counts by number until then.
fn look_up(pipeline: &mut Pipeline, privileged: &mut Privileged, event: &Event, reads: &mut usize) {
    let wanted = pipeline.wanted(event);
    if wanted.is_nothing() {
        return;
    }
    let mut next = wanted.process;
    while let Some((tgid, start_boot_ns)) = next.take()
        && *reads > 0
    {
        *reads -= 1;
        if let Some(facts) = privileged.process(tgid, start_boot_ns) {
            next = facts.parent.filter(|(tgid, start)| pipeline.is_unknown_process(*tgid, *start));
            pipeline.learn(facts);
        }
    }
    if let Some((id, tgid)) = wanted.cgroup
        && *reads > 0
    {
        *reads -= 1;
        pipeline.learn_cgroup(id, privileged.cgroup_path(id, tgid).as_deref());
    }
    if let Some(uid) = wanted.uid
        && *reads > 0
    {
        *reads -= 1;
        pipeline.learn_user(uid, privileged.user(uid));
    }
}

/// Passes on to the message log and the sinks what the last record gave.
fn log_messages(pipeline: &mut Pipeline, messages: &mut Option<Messages>, sinks: &Sinks) {
    pipeline.logged().for_each(|line| {
        if let Some(messages) = messages {
            messages.write(&line);
        }
        sinks.message(line);
    });
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = interval(period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

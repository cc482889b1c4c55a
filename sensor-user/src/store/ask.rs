//! `earthdog pdns` and `earthdog baseline`: through the control socket of the running sensor, or from the file where none
//! runs.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use super::file::{self, Refused};
use super::history::History;
use super::recorder::{self, Settings};
use super::tell::{Baselines, Pdns};
use crate::cli::{BaselineArgs, MemoryArgs, Output, PdnsArgs};
use crate::clock;
use crate::config::Config;
use crate::escape::escape;
use crate::exit::{Code, Error};
use crate::live::control;
use crate::sink;

/// What is remembered of a name.
pub fn pdns(args: &PdnsArgs, config: &Config) -> Result<String, Error> {
    let answer: Pdns = match online(config, "pdns", Some(&args.name))? {
        Some(answer) => answer,
        None => read(config)?.pdns(&args.name),
    };
    if (args.who || args.timeline) && answer.address.is_some() {
        let text = "--who and --timeline are about a zone: give a name, not an address".to_owned();
        return Err(Error::new(Code::Usage, text));
    }
    match args {
        PdnsArgs { cof: true, .. } => Ok(answer.cof()),
        PdnsArgs { who: true, .. } => shown(&answer, &args.memory, Pdns::who),
        PdnsArgs { timeline: true, .. } => shown(&answer, &args.memory, Pdns::timeline),
        _ => shown(&answer, &args.memory, Pdns::text),
    }
}

/// The habits of clients.
pub fn baseline(args: &BaselineArgs, config: &Config) -> Result<String, Error> {
    let which = args.client.as_deref();
    let answer: Baselines = match online(config, "baseline", which)? {
        Some(answer) => answer,
        None => read(config)?.baselines(which, clock::unix_ns()),
    };
    shown(&answer, &args.memory, Baselines::text)
}

/// Forgets the habits of clients. A client that was named and is not there is an error.
pub fn reset(args: &BaselineArgs, config: &Config) -> Result<String, Error> {
    let which = args.client.as_deref();
    let count: u64 = match online(config, "baseline_reset", which)? {
        Some(count) => count,
        None => reset_file(config, which)?,
    };
    if let (0, Some(which)) = (count, which) {
        let which = escape(which);
        let text = format!("no client is {which}; `earthdog baseline show` lists them with their ids");
        return Err(Error::new(Code::Failure, text));
    }
    shown(&count, &args.memory, |count| format!("the habits of {count} clients are forgotten\n"))
}

/// The running sensor's answer; `None` where none runs.
pub fn online<T: DeserializeOwned>(
    config: &Config,
    command: &str,
    about: Option<&str>,
) -> Result<Option<T>, Error> {
    let socket = Path::new(&config.live.control_socket);
    let gone = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
    if UnixStream::connect(socket).is_err_and(|error| gone.contains(&error.kind())) {
        return Ok(None);
    }
    let data = control::request_about(socket, command, about)?;
    serde_json::from_value(data).map(Some).map_err(|error| {
        Error::new(
            Code::Failure,
            format!("the sensor is of another version, its answer cannot be read: {error}"),
        )
    })
}

fn settings(config: &Config) -> Result<Settings, Error> {
    Settings::of(config).ok_or_else(|| {
        Error::new(Code::Failure, "no sensor answers, and there is no store: store.path is empty".to_owned())
    })
}

/// The history in the file, which stays as it is.
pub fn read(config: &Config) -> Result<History, Error> {
    let settings = settings(config)?;
    let loaded =
        file::read(&settings.path, settings.limits).map_err(|refused| unreadable(&settings, &refused))?.1;
    Ok(History::restore(settings.history, 0, loaded, clock::unix_ns()))
}

/// State changes of findings in the file, oldest first.
pub fn findings(config: &Config) -> Result<Vec<Vec<u8>>, Error> {
    let settings = settings(config)?;
    let refused = |refused: Refused| unreadable(&settings, &refused);
    let (tables, _) = file::read(&settings.path, settings.limits).map_err(refused)?;
    tables.findings_since(0, settings.limits.findings.max).map_err(|trouble| refused(trouble.into()))
}

/// What a replay knows of other days: the store that its configuration names, if that is not the running sensor's by
/// default. It is only read, and its time is its own, so that two replays give the same bytes.
pub fn for_replay(config: &Config, seed: u64) -> Result<Option<History>, Error> {
    if config.store.path == Config::default().store.path || config.store.path.is_empty() {
        return Ok(None);
    }
    let settings = settings(config)?;
    let loaded =
        file::read(&settings.path, settings.limits).map_err(|refused| unreadable(&settings, &refused))?.1;
    let now_ns = loaded.zones.iter().map(|(record, _)| record.last_ns).max().unwrap_or(0);
    Ok(Some(History::restore(settings.history, seed, loaded, now_ns)))
}

fn reset_file(config: &Config, which: Option<&str>) -> Result<u64, Error> {
    let settings = settings(config)?;
    // What cannot be read is not replaced here.
    file::read(&settings.path, settings.limits).map_err(|refused| unreadable(&settings, &refused))?;
    let now_ns = clock::unix_ns();
    let failed = |text: String| Error::new(Code::Failure, text);
    let (mut recorder, mut history, _) = recorder::open(&settings, 0, now_ns).map_err(failed)?;
    let count = history.reset_baselines(which);
    match recorder.finish(&mut history, now_ns).into_iter().next() {
        Some(news) => Err(failed(news)),
        None => Ok(count as u64),
    }
}

fn unreadable(settings: &Settings, refused: &Refused) -> Error {
    match refused {
        Refused::Io(error) if error.kind() == io::ErrorKind::NotFound => Error::new(
            Code::Failure,
            format!(
                "no sensor answers, and there is no store {}: start one with `earthdog run`, or name the configuration of \
                 the running one with -c FILE",
                settings.place()
            ),
        ),
        Refused::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => Error::new(
            Code::NotPermitted,
            format!("not permitted to read the store {}: be root", settings.place()),
        ),
        refused => Error::new(Code::Failure, file::advice(&settings.path, refused)),
    }
}

fn shown<T: Serialize>(answer: &T, args: &MemoryArgs, text: impl Fn(&T) -> String) -> Result<String, Error> {
    match args.output {
        Output::Human => Ok(text(answer)),
        Output::Json => sink::json(answer).map_err(|error| Error::stdout(&error)),
    }
}
